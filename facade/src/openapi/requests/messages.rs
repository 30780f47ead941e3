//! Schemas of requests of Anthropic's API: the members of its readers, with types and words of their own, for the
//! contract has others.

use serde_json::{Map, Value, json};

use super::{super::reference, Members, described, nullable};
use crate::{json::object::Object, messages::request as read};

/// An object: its schema, the members that its reader takes, those that must be there, what it is.
struct Shape(&'static str, Members, &'static [&'static str], &'static str);

const SHAPES: &[Shape] = &[
    Shape(
        "MessagesRequest",
        read::MessagesRequest::MEMBERS,
        &["model", "max_tokens", "messages"],
        "A conversation to answer, as Anthropic's API has it.",
    ),
    Shape(
        "MessagesCountRequest",
        read::MessagesRequest::MEMBERS,
        &["model", "messages"],
        "A conversation whose tokens to count, as Anthropic's API has it.",
    ),
    Shape("MessagesTurn", read::Turn::MEMBERS, &["role", "content"], "What one side said."),
    Shape(
        "MessagesInputBlock",
        read::Block::MEMBERS,
        &["type"],
        "A block of any type, with the members of its type.",
    ),
    Shape("MessagesSource", read::Source::MEMBERS, &["type"], "Where an image or a document is."),
    Shape("MessagesTool", read::Offer::MEMBERS, &["name"], "A tool that the model may call."),
    Shape(
        "MessagesToolChoice",
        read::Choosing::MEMBERS,
        &["type"],
        "Which tools the model may or must call.",
    ),
    Shape("MessagesThinking", read::Thinking::MEMBERS, &["type"], "Whether to reason, and how much."),
    Shape(
        "MessagesOutputConfig",
        read::OutputConfig::MEMBERS,
        &[],
        "How much effort to make, and the form of the answer.",
    ),
    Shape("MessagesFormat", read::Format::MEMBERS, &["type"], "The form of the answer."),
    Shape("MessagesMetadata", read::Labels::MEMBERS, &[], "What the caller says of itself."),
];

/// All of them, by name.
pub(super) fn schemas() -> Map<String, Value> {
    SHAPES.iter().map(|shape| (shape.0.to_owned(), schema(shape))).collect()
}

fn schema(Shape(name, members, required, about): &Shape) -> Value {
    let property = |(member, _): &(&str, &str)| {
        let (schema, words) = property(name, member);
        let schema = if required.contains(member) { schema } else { nullable(schema) };
        ((*member).to_owned(), described(schema, words))
    };
    let properties: Map<_, _> = members.iter().map(property).collect();
    json!({
        "type": "object", "description": about, "properties": properties, "required": required,
        "additionalProperties": true,
    })
}

/// The type of a member, and what it is.
fn property(schema: &str, member: &str) -> (Value, &'static str) {
    match schema {
        "MessagesRequest" | "MessagesCountRequest" => of_request(member),
        _ => of_part(schema, member),
    }
}

/// A string, or blocks.
fn said() -> Value {
    json!({"anyOf": [{"type": "string"}, {"type": "array", "items": reference("MessagesInputBlock")}]})
}

fn words(words: &[&str]) -> Value {
    json!({"type": "string", "enum": words})
}

fn of_request(member: &str) -> (Value, &'static str) {
    match member {
        "model" => (
            json!({"type": "string", "minLength": 1, "maxLength": 256}),
            "Model name or alias, as in the list of models.",
        ),
        "max_tokens" => (
            json!({"type": "integer", "minimum": 1}),
            "Upper bound of tokens to generate, reasoning included.",
        ),
        "system" => (said(), "What the system says: a string or blocks of text."),
        "messages" => (
            json!({"type": "array", "minItems": 1, "items": reference("MessagesTurn")}),
            "The conversation, oldest first. If the assistant spoke last, it goes on from there.",
        ),
        "stream" => (json!({"type": "boolean"}), "Whether the answer comes as events as it is made."),
        "temperature" => (json!({"type": "number", "minimum": 0, "maximum": 1}), "Sampling temperature."),
        "top_p" => (json!({"type": "number", "minimum": 0, "maximum": 1}), "Nucleus sampling mass."),
        "stop_sequences" => (
            json!({"type": "array", "items": {"type": "string"}, "maxItems": 4}),
            "Sequences that end the answer.",
        ),
        "tools" => (
            json!({"type": "array", "items": reference("MessagesTool"), "maxItems": 128}),
            "Tools that the model may call. Only the caller's own: the provider's do not exist here.",
        ),
        "tool_choice" => (reference("MessagesToolChoice"), "Which of them may or must be called."),
        "thinking" => (
            reference("MessagesThinking"),
            "To the letter for engines that know it; for others it becomes an effort: up to 2048 tokens low, 8192 medium, 16384 high, more xhigh; disabled none.",
        ),
        "output_config" => (reference("MessagesOutputConfig"), "Effort and form of the answer."),
        "output_format" => (reference("MessagesFormat"), "The earlier name of `output_config.format`."),
        "metadata" => (reference("MessagesMetadata"), "Of it `user_id` is passed on."),
        "service_tier" => (words(&["auto", "standard_only"]), "Which capacity may be used."),
        "mcp_servers" => (
            json!({"type": "array", "maxItems": 0}),
            "Refused unless it is empty: no servers of tools are called here.",
        ),
        "container" => {
            (json!({"type": "string", "maxLength": 0}), "Refused unless it is empty: no code is run here.")
        }
        "thread" => (
            json!({"type": "object", "maxProperties": 0}),
            "Refused unless it is empty: no thread is kept here.",
        ),
        "context_management" => (
            json!({"type": "object"}),
            "Refused unless all of the conversation stays: no context is edited here.",
        ),
        _ => (json!({}), ""),
    }
}

fn of_part(schema: &str, member: &str) -> (Value, &'static str) {
    let text = || json!({"type": "string"});
    let flag = || json!({"type": "boolean"});
    let object = || json!({"type": "object"});
    match (schema, member) {
        (_, "role") => (words(&["user", "assistant"]), "Who said it."),
        ("MessagesTurn", "content") => (said(), "What was said: a string or blocks."),
        ("MessagesToolChoice", "type") => {
            (words(&["auto", "any", "tool", "none"]), "auto, any, tool or none.")
        }
        ("MessagesThinking", "type") => {
            (words(&["enabled", "adaptive", "disabled"]), "enabled, adaptive or disabled.")
        }
        ("MessagesFormat", "type") => (words(&["json_schema"]), "Always json_schema."),
        ("MessagesTool", "type") => (words(&["custom"]), "Absent, or custom."),
        ("MessagesSource", "type") => (
            words(&["base64", "url", "text", "content"]),
            "base64 or url of an image; base64 (of a PDF), text or content of a document.",
        ),
        (_, "type") => (
            words(&["text", "image", "document", "tool_use", "tool_result", "thinking", "redacted_thinking"]),
            "Type of the block.",
        ),
        (_, "text") => (text(), "Text, of type text."),
        (_, "source") => (reference("MessagesSource"), "Of type image or document."),
        (_, "title") => (text(), "Title of a document."),
        (_, "context") => (text(), "What there is to know of a document."),
        (_, "citations") => (json!({}), "Refused if they are enabled of a document; of a text left out."),
        (_, "id") => (text(), "Identity of a call, of type tool_use."),
        ("MessagesTool", "name") => {
            (json!({"type": "string", "pattern": "^[a-zA-Z0-9_-]{1,64}$"}), "Name of the tool.")
        }
        (_, "name") => (text(), "Name of the tool."),
        (_, "input") => (object(), "What a call gives to the tool, of type tool_use."),
        (_, "tool_use_id") => (text(), "Which call it answers, of type tool_result."),
        (_, "content") => (said(), "What a tool answered, or what a document is made of."),
        (_, "is_error") => (flag(), "Whether the tool failed: its text then begins with `Error`."),
        (_, "thinking") => (text(), "Reasoning of an earlier answer, as it came."),
        (_, "signature") => (text(), "Its signature, as it came."),
        (_, "data") => (text(), "Base64, text, or what an engine hid, as it came."),
        (_, "media_type") => (text(), "Media type of the data."),
        (_, "url") => (text(), "http(s) URL. It is never fetched here."),
        (_, "description") => (text(), "What the tool does, for the model."),
        (_, "input_schema") => (object(), "JSON Schema of its input."),
        (_, "strict") => (flag(), "Whether its input must follow the schema exactly."),
        (_, "disable_parallel_tool_use") => (flag(), "Whether to call one tool at most."),
        (_, "budget_tokens") => {
            (json!({"type": "integer", "minimum": 1024}), "Tokens to reason within, below max_tokens.")
        }
        (_, "effort") => (text(), "low, medium, high, … as the engine knows them."),
        (_, "format") => (reference("MessagesFormat"), "The form of the answer."),
        (_, "schema") => (object(), "JSON Schema of the answer."),
        (_, "user_id") => (text(), "End user as the caller names them."),
        _ => (json!({}), ""),
    }
}
