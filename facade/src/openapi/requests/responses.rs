//! Schemas of requests for responses: members from the readers' own tables, here with what each of them holds.

use serde_json::{Map, Value, json};

use super::{Members, described, nullable};
use crate::{
    json::object::Object as _,
    openapi::reference,
    responses::{
        items::{parts::InputPart, read::InputItem},
        request::{
            Body, CustomFormat, INCLUDE, InputTool, Obfuscation, ReasoningOptions, TextFormat, TextOptions,
        },
    },
};

/// An object: its schema, what it is, its members, those that are required, whether others go on to the engine.
type Described = (&'static str, &'static str, Members, &'static [&'static str], bool);

const OBJECTS: [Described; 9] = [
    ("ResponseRequest", "One request for a response.", Body::MEMBERS, &["model", "input"], true),
    ("ResponseStreamOptions", "Options that only apply to streams.", Obfuscation::MEMBERS, &[], true),
    (
        "ResponseItem",
        "An item of an input. Which members it needs, its type tells.",
        InputItem::MEMBERS,
        &[],
        true,
    ),
    ("ResponsePart", "A part of what is said.", InputPart::MEMBERS, &["type"], true),
    ("ResponseTool", "A tool that the model may call.", InputTool::MEMBERS, &["type", "name"], true),
    ("ResponseToolFormat", "The form of a custom tool's input.", CustomFormat::MEMBERS, &["type"], false),
    ("ResponseText", "How the text of the answer is to be.", TextOptions::MEMBERS, &[], false),
    ("ResponseTextFormat", "The form of the text.", TextFormat::MEMBERS, &["type"], true),
    ("ResponseReasoning", "How much thought goes before the answer.", ReasoningOptions::MEMBERS, &[], false),
];

/// All schemas, by name.
pub(super) fn schemas() -> Map<String, Value> {
    let schema = |(name, about, members, required, open): &Described| {
        let property = |(member, _): &(&str, &str)| {
            let (schema, about) = property(name, member);
            let schema = if required.contains(member) { schema } else { nullable(schema) };
            ((*member).to_owned(), described(schema, about))
        };
        let properties: Map<_, _> = members.iter().map(property).collect();
        let object = json!({
            "type": "object",
            "description": about,
            "properties": properties,
            "required": required,
            "additionalProperties": open,
        });
        ((*name).to_owned(), object)
    };
    OBJECTS.iter().map(schema).collect()
}

fn text() -> Value {
    json!({"type": "string"})
}

fn flag() -> Value {
    json!({"type": "boolean"})
}

fn whole(minimum: i64) -> Value {
    json!({"type": "integer", "format": "int64", "minimum": minimum})
}

fn number(minimum: i64, maximum: i64) -> Value {
    json!({"type": "number", "minimum": minimum, "maximum": maximum})
}

fn words(words: &[&str]) -> Value {
    json!({"type": "string", "enum": words})
}

fn list(schema: &str) -> Value {
    json!({"type": "array", "items": reference(schema)})
}

fn text_or(mut list: Value) -> Value {
    if let Some(list) = list.as_object_mut() {
        list.insert("minItems".to_owned(), 1.into());
    }
    json!({"anyOf": [{"type": "string"}, list]})
}

/// What a member holds, and what it is.
fn property(object: &str, member: &str) -> (Value, &'static str) {
    match object {
        "ResponseRequest" => of_request(member),
        "ResponseItem" => of_item(member),
        "ResponsePart" => of_part(member),
        _ => of_options(object, member),
    }
}

// One line for each member, as the table that it is.
#[rustfmt::skip]
fn of_request(member: &str) -> (Value, &'static str) {
    match member {
        "model" => (json!({"type": "string", "minLength": 1, "maxLength": 256}), "Model name or alias. Required."),
        "input" => (text_or(list("ResponseItem")), "What to answer: a text, or items, oldest first. Required."),
        "instructions" => (text(), "What holds for this response alone, before all else."),
        "max_output_tokens" => (whole(1), "Upper bound of tokens to generate, reasoning included."),
        "temperature" => (number(0, 2), "Sampling temperature. Absent: the engine's default."),
        "top_p" => (number(0, 1), "Nucleus sampling mass. Absent: the engine's default."),
        "top_logprobs" => (json!({"type": "integer", "minimum": 0, "maximum": 20}), "Number of most likely tokens per position."),
        "include" => (json!({"type": "array", "items": words(&INCLUDE)}), "What else to give. Log probabilities alone are not given anyway."),
        "stream" => (flag(), "True: events as the answer is made. False: all of it at once."),
        "stream_options" => (reference("ResponseStreamOptions"), "Options that only apply to streams."),
        "store" => (flag(), "Whether to keep the response, to be asked for and gone on from by its id. Absent: true."),
        "metadata" => (json!({"type": "object", "maxProperties": 16, "propertyNames": {"maxLength": 64},
            "additionalProperties": {"type": "string", "maxLength": 512}}), "What the caller attaches to the response."),
        "parallel_tool_calls" => (flag(), "Whether several tools may be called at once."),
        "tools" => (json!({"type": "array", "items": reference("ResponseTool"), "maxItems": 128}), "Tools that the model may call."),
        "tool_choice" => (json!({"anyOf": [words(&["none", "auto", "required"]), {"type": "object", "required": ["type"]}]}), "Which of them may or must be called."),
        "text" => (reference("ResponseText"), "How the text of the answer is to be."),
        "reasoning" => (reference("ResponseReasoning"), "How much thought goes before the answer."),
        "truncation" => (words(&["disabled"]), "Nothing is left out of a conversation here."),
        "user" => (text(), "End user as the caller names them."),
        "safety_identifier" => (json!({"type": "string", "maxLength": 64}), "Stable identifier of an end user."),
        "prompt_cache_key" => (json!({"type": "string", "maxLength": 64}), "Hint for an engine's prompt cache."),
        "prompt_cache_retention" => (words(&["in_memory", "in-memory", "24h"]), "Taken; engines keep what they keep."),
        "service_tier" => (text(), "auto, default, flex, … as the engine knows them."),
        "max_tool_calls" => (whole(1), "Bounds tools that a platform runs by itself: taken, there are none here."),
        "background" => (flag(), "Whether nobody waits: the response is asked for later, by its id. Needs store."),
        "previous_response_id" => (text(), "The response to go on from."),
        "stop" => (json!({"anyOf": [text(), {"type": "array", "items": text(), "minItems": 1, "maxItems": 4}]}), "Sequences that end the answer."),
        "seed" => (json!({"type": "integer", "format": "int64"}), "Seed for best-effort determinism."),
        "presence_penalty" | "frequency_penalty" => (number(-2, 2), "Absent: the engine's default."),
        "logit_bias" => (json!({"type": "object", "additionalProperties": number(-100, 100)}), "Biases by the ids of tokens."),
        _ => (Value::Null, ""),
    }
}

#[rustfmt::skip]
fn of_item(member: &str) -> (Value, &'static str) {
    match member {
        "type" => (words(&["message", "reasoning", "function_call", "function_call_output", "custom_tool_call",
            "custom_tool_call_output", "item_reference"]), "Type of the item. Absent: message."),
        "role" => (words(&["user", "assistant", "system", "developer"]), "Who says it, of a message."),
        "content" => (text_or(list("ResponsePart")), "What is said, of a message; what was thought, of reasoning."),
        "id" => (text(), "The item's own id. Needed of item_reference alone: an item of a response that is kept."),
        "call_id" => (text(), "Identity of the call, of a call and of what it gave back."),
        "name" => (text(), "What was called."),
        "arguments" => (text(), "JSON text of the arguments, of function_call."),
        "input" => (text(), "What the tool was given, of custom_tool_call."),
        "output" => (text_or(list("ResponsePart")), "What the tool gave back."),
        "summary" => (list("ResponsePart"), "What was told of the reasoning."),
        "encrypted_content" => (text(), "Taken: nobody here can read it."),
        "status" | "phase" => (text(), "Taken, as it was given."),
        _ => (Value::Null, ""),
    }
}

#[rustfmt::skip]
fn of_part(member: &str) -> (Value, &'static str) {
    match member {
        "type" => (words(&["input_text", "output_text", "text", "refusal", "input_image", "input_file", "input_audio",
            "summary_text", "reasoning_text"]), "Type of the part. Required."),
        "text" => (text(), "What is said."),
        "refusal" => (text(), "What is said of a refusal."),
        "image_url" => (text(), "http(s) or data URL of an input_image. Penstock never fetches it."),
        "detail" => (words(&["auto", "low", "high"]), "How closely to look at the image."),
        "file_id" => (text(), "Of an input_file: the id that the engine knows it by."),
        "file_data" => (text(), "Base64 of an input_file, or a data URL."),
        "file_url" => (text(), "Refused: nothing is fetched here."),
        "filename" => (text(), "Name of an input_file."),
        "input_audio" => (reference("InputAudio"), "A sound."),
        "annotations" | "logprobs" => (json!({"type": "array", "items": {"type": "object"}}), "Taken, as they were given."),
        _ => (Value::Null, ""),
    }
}

#[rustfmt::skip]
fn of_options(object: &str, member: &str) -> (Value, &'static str) {
    match (object, member) {
        ("ResponseStreamOptions", _) => (flag(), "Taken: nothing is padded, and usage always comes."),
        ("ResponseTool", "type") => (words(&["function", "custom"]), "function or custom: others are not offered here. Required."),
        (_, "type") => (json!({"type": "string", "minLength": 1}), "text, json_object, json_schema; of a custom tool text or grammar. Required."),
        ("ResponseTool", "name") => (json!({"type": "string", "minLength": 1, "maxLength": 64}), "What it is called by. Required."),
        ("ResponseTextFormat", "name") => (json!({"type": "string", "pattern": "^[a-zA-Z0-9_-]{1,64}$"}), "Name of the schema, for type json_schema."),
        (_, "description") => (text(), "What it is for, for the model."),
        (_, "parameters" | "schema") => (json!({"type": "object"}), "JSON Schema."),
        (_, "strict") => (flag(), "Whether it must be followed exactly."),
        ("ResponseTool", "format") => (reference("ResponseToolFormat"), "The form of its input, of a custom tool."),
        ("ResponseText", "format") => (reference("ResponseTextFormat"), "The form of the text. Absent: any."),
        (_, "definition") => (text(), "The grammar."),
        (_, "syntax") => (words(&["lark", "regex"]), "How it is written."),
        (_, "verbosity") => (words(&["low", "medium", "high"]), "Absent: the engine's default."),
        (_, "effort") => (text(), "none, minimal, low, medium, high, … as the engine knows them."),
        (_, "summary" | "generate_summary") => (words(&["auto", "concise", "detailed"]), "Whether to tell the reasoning as its summary, too; there is no shorter one."),
        _ => (Value::Null, ""),
    }
}
