//! Schemas of requests: the members that the readers take, from their own tables, with the types and comments of
//! the contract. Only what JSON has in another form than the contract, and what `validate` bounds, stands here.
//! No schema is stricter than `validate`: members that nobody knows go on to the engine, so objects are open.

mod messages;
mod ollama;
mod responses;

use penstock_proto::inference::v1::{
    ContentPart, CustomCall, CustomTool, File, FunctionCall, FunctionTool, GenerateRequest, ImageUrl,
    InputAudio, Message, StreamOptions, Tool, ToolCall,
};
use serde_json::{Map, Value, json};

use super::{contract::Contract, reference};
use crate::{
    admin::{ENDPOINTS, Explain},
    embeddings::Embeddings,
    json::object::Object,
    moderations::Moderation,
    stored::Update,
    text::request::Completion,
};

/// A request's object: its schema, the messages of the contract that its members come from, what it is.
struct Described {
    schema: &'static str,
    messages: &'static [&'static str],
    members: Members,
    required: &'static [&'static str],
}

const fn object<T: Object>(schema: &'static str, required: &'static [&'static str]) -> Described {
    Described { schema, messages: &[T::NAME], members: T::MEMBERS, required }
}

type Members = &'static [(&'static str, &'static str)];

const fn of(
    schema: &'static str,
    messages: &'static [&'static str],
    members: Members,
    required: &'static [&'static str],
) -> Described {
    Described { schema, messages, members, required }
}

/// The one whose required member may be null.
const UPDATE: &str = "StoredCompletionUpdate";
/// The one that holds another request.
const EXPLAIN: &str = "ExplainRequest";

/// Every object of every request.
const OBJECTS: &[Described] = &[
    object::<GenerateRequest>("ChatCompletionRequest", &["model", "messages"]),
    object::<StreamOptions>("StreamOptions", &[]),
    object::<Message>("Message", &["role"]),
    object::<ContentPart>("ContentPart", &["type"]),
    object::<InputAudio>("InputAudio", &[]),
    object::<File>("File", &[]),
    object::<ImageUrl>("ImageUrl", &[]),
    object::<Tool>("Tool", &["type"]),
    object::<CustomTool>("CustomTool", &[]),
    object::<FunctionTool>("FunctionTool", &[]),
    object::<ToolCall>("ToolCall", &["id"]),
    object::<FunctionCall>("FunctionCall", &[]),
    object::<CustomCall>("CustomCall", &[]),
    of(UPDATE, &["UpdateStoredCompletionRequest"], Update::MEMBERS, &["metadata"]),
    of("CompletionRequest", &["TextInput", "GenerateRequest"], Completion::MEMBERS, &["model", "prompt"]),
    of("EmbeddingsRequest", &["EmbedRequest"], Embeddings::MEMBERS, &["model", "input"]),
    of("ModerationRequest", &["ModerateRequest"], Moderation::MEMBERS, &["input"]),
    of(EXPLAIN, &[], Explain::MEMBERS, &["request"]),
];

/// All schemas, by name.
pub(super) fn schemas(contract: &Contract) -> Map<String, Value> {
    let mut all = Map::new();
    for object in OBJECTS {
        all.insert(object.schema.to_owned(), schema(contract, object));
    }
    all.extend(messages::schemas());
    all.extend(responses::schemas());
    all.extend(ollama::schemas());
    all
}

fn schema(contract: &Contract, object: &Described) -> Value {
    let mut properties = Map::new();
    for (member, field) in object.members {
        let required = object.required.contains(member);
        properties.insert((*member).to_owned(), property(contract, object, member, field, required));
    }
    let about = object.messages.first().map(|message| contract.comment(message));
    let about = about.unwrap_or("A request, and where it would be sent.");
    json!({
        "type": "object",
        "description": about,
        "properties": properties,
        "required": object.required,
        // Others go on to the engine; but what else of a stored answer is there to change, or to explain?
        "additionalProperties": ![UPDATE, EXPLAIN].contains(&object.schema),
    })
}

fn property(contract: &Contract, object: &Described, member: &str, field: &str, required: bool) -> Value {
    let field = field.trim_start_matches("r#");
    let known = object.messages.iter().find_map(|message| contract.field(message, field));
    let mut schema = match shape(object.schema, member) {
        Some(shape) => shape,
        None => known.map(|field| field.schema(&named)).unwrap_or_default(),
    };
    if let (Some(bounds), Some(schema)) = (bounds(object.schema, member), schema.as_object_mut()) {
        schema.extend(bounds.as_object().cloned().unwrap_or_default());
    }
    if !required || object.schema == UPDATE {
        schema = nullable(schema);
    }
    let comment = match describes(object.schema, member) {
        Some(text) => text,
        None => known.map(|field| field.comment.as_str()).unwrap_or_default(),
    };
    described(schema, comment)
}

/// Adds a description. A reference takes no others beside it in every tool, so it is wrapped.
pub(super) fn described(schema: Value, comment: &str) -> Value {
    let mut schema = if schema.get("$ref").is_some() { json!({"allOf": [schema]}) } else { schema };
    if let (Some(schema), false) = (schema.as_object_mut(), comment.is_empty()) {
        schema.insert("description".to_owned(), comment.into());
    }
    schema
}

/// The same or `null`: every member that may be missing may be null.
pub(super) fn nullable(mut schema: Value) -> Value {
    if let Some(words) = schema.get_mut("enum").and_then(Value::as_array_mut) {
        words.push(Value::Null);
    }
    match schema.get_mut("type") {
        Some(one) => *one = json!([one.take(), "null"]),
        None => match schema.get_mut("anyOf").and_then(Value::as_array_mut) {
            Some(any) => any.push(json!({"type": "null"})),
            None => schema = json!({"anyOf": [schema, {"type": "null"}]}),
        },
    }
    schema
}

/// What a message of the contract is in JSON.
fn named(message: &str) -> Value {
    match message {
        "TextList" => json!({"type": "array", "items": {"type": "string"}}),
        "StopSequences" => json!({"anyOf": [
            {"type": "string"},
            {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 4},
        ]}),
        "Prompt" => json!({"anyOf": [
            {"type": "string"},
            {"type": "array", "items": {"type": "string"}, "minItems": 1},
            {"type": "array", "items": {"type": "integer", "format": "int64"}, "minItems": 1},
            {"type": "array", "minItems": 1,
             "items": {"type": "array", "items": {"type": "integer", "format": "int64"}, "minItems": 1}},
        ]}),
        "Metadata" => json!({
            "type": "object",
            "maxProperties": 16,
            "propertyNames": {"maxLength": 64},
            "additionalProperties": {"type": "string", "maxLength": 512},
        }),
        other => match OBJECTS.iter().find(|object| object.messages == [other]) {
            Some(object) => reference(object.schema),
            None => json!({}),
        },
    }
}

/// A member that JSON has in another form than the contract.
fn shape(object: &str, member: &str) -> Option<Value> {
    let word_or_object = |words: &[&str], needs: &str| json!({"anyOf": [{"type": "string", "enum": words}, {"type": "object", "required": [needs]}]});
    Some(match (object, member) {
        ("ChatCompletionRequest", "messages") => {
            json!({"type": "array", "items": reference("Message"), "minItems": 1})
        }
        ("Message", "content") => json!({"anyOf": [
            {"type": "string"},
            {"type": "array", "items": reference("ContentPart"), "minItems": 1},
        ]}),
        (EXPLAIN, "endpoint") => json!({"type": "string", "enum": ENDPOINTS}),
        (EXPLAIN, "request") => {
            let requests =
                ["ChatCompletionRequest", "CompletionRequest", "EmbeddingsRequest", "ModerationRequest"];
            json!({"anyOf": requests.map(reference)})
        }
        ("EmbeddingsRequest", "encoding_format") => json!({"type": "string", "enum": ["float", "base64"]}),
        ("ModerationRequest", "input") => json!({"anyOf": [
            {"type": "string"},
            {"type": "array", "items": {"type": "string"}, "minItems": 1},
            {"type": "array", "items": {"type": "object", "required": ["type"],
                "properties": {"type": {"type": "string", "enum": ["text", "image_url"]}}}, "minItems": 1},
        ]}),
        (_, "logit_bias") => json!({
            "type": "object",
            "additionalProperties": {"type": "number", "minimum": -100, "maximum": 100},
        }),
        (_, "tool_choice") => word_or_object(&["none", "auto", "required"], "type"),
        ("ChatCompletionRequest", "function_call") => word_or_object(&["none", "auto"], "name"),
        (_, "response_format") => json!({"type": "object", "required": ["type"],
        "properties": {
            "type": {"type": "string", "description": "text, json_object, json_schema, or what else the engine knows."},
            "json_schema": {"description": "For type json_schema: name, schema, strict."},
        }}),
        (_, "audio") => json!({"type": "object", "required": ["voice", "format"], "properties": {
            "format": {"type": "string", "enum": ["wav", "aac", "mp3", "flac", "opus", "pcm16"]},
        }}),
        (_, "prediction") => json!({"type": "object", "required": ["type", "content"],
            "properties": {"type": {"type": "string", "enum": ["content"]}}}),
        (_, "web_search_options" | "parameters" | "format") if object != "InputAudio" => {
            json!({"type": "object"})
        }
        (_, "functions") => json!({"type": "array", "minItems": 1, "maxItems": 128, "items": {
            "type": "object", "required": ["name"],
            "properties": {"name": {"type": "string", "pattern": "^[a-zA-Z0-9_-]{1,64}$"}},
        }}),
        _ => return None,
    })
}

/// What `validate` allows of a member, whatever the others are.
fn bounds(object: &str, member: &str) -> Option<Value> {
    Some(match (object, member) {
        (_, "model") => json!({"minLength": 1, "maxLength": 256}),
        (_, "temperature") => json!({"minimum": 0, "maximum": 2}),
        (_, "top_p") => json!({"minimum": 0, "maximum": 1}),
        (_, "presence_penalty" | "frequency_penalty") => json!({"minimum": -2, "maximum": 2}),
        (_, "n") => json!({"minimum": 1, "maximum": 128}),
        ("ChatCompletionRequest", "max_tokens") | (_, "max_completion_tokens" | "dimensions") => {
            json!({"minimum": 1})
        }
        (_, "max_tokens") => json!({"minimum": 0}),
        ("CompletionRequest", "logprobs") => json!({"minimum": 0, "maximum": 5}),
        ("CompletionRequest", "best_of") => json!({"minimum": 0, "maximum": 20}),
        (_, "top_logprobs") => json!({"minimum": 0, "maximum": 20}),
        ("ChatCompletionRequest", "tools") => json!({"maxItems": 128}),
        (_, "prompt_cache_key" | "safety_identifier") => json!({"maxLength": 64}),
        (_, "verbosity") => json!({"enum": ["low", "medium", "high"]}),
        (_, "modalities") => json!({"items": {"type": "string", "enum": ["text", "audio"]}}),
        ("Message", "role") => {
            json!({"enum": ["developer", "system", "user", "assistant", "tool", "function"]})
        }
        ("ContentPart" | "Tool", "type") => json!({"minLength": 1}),
        _ => return None,
    })
}

/// What is said of a member for which the contract has another word or none.
fn describes(object: &str, member: &str) -> Option<&'static str> {
    Some(match (object, member) {
        ("ChatCompletionRequest", "messages") => {
            "The conversation: at least one message, oldest first. Required."
        }
        ("EmbeddingsRequest", "encoding_format") => {
            "How vectors are written: as numbers, or as base64 of their floats. Absent: float."
        }
        (EXPLAIN, "endpoint") => "Where it would be sent. Absent: /v1/chat/completions.",
        (EXPLAIN, "request") => "What would be asked. Required.",
        (UPDATE, "metadata") => "Takes the place of all that was attached; null takes it away. Required.",
        _ => return None,
    })
}
