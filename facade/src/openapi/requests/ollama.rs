//! Schemas of requests in Ollama's API: the members that its readers take, with words of their own, for few of them
//! are the contract's.

use penstock_proto::inference::v1::Tool;
use serde_json::{Map, Value, json};

use super::{described, nullable};
use crate::{
    json::object::Object as _,
    ollama::{
        chat::Chat,
        embed::{Embed, EmbedOne},
        models::Show,
        options::Options,
        prompt::Prompt,
        turns::{Call, Called, Turn},
    },
    openapi::reference,
};

/// A schema: its name, what it is, its members, and those that are required.
type Described = (&'static str, &'static str, super::Members, &'static [&'static str]);

const OBJECTS: &[Described] = &[
    ("OllamaChatRequest", "A conversation.", Chat::MEMBERS, &["model", "messages"]),
    ("OllamaGenerateRequest", "A prompt.", Prompt::MEMBERS, &["model", "prompt"]),
    ("OllamaMessageRequest", "A message.", Turn::MEMBERS, &["role"]),
    ("OllamaToolCallRequest", "A call that the assistant made.", Call::MEMBERS, &["function"]),
    ("OllamaFunctionRequest", "What it called.", Called::MEMBERS, &["name"]),
    ("OllamaOptions", "How to sample, and how an Ollama engine keeps house.", Options::MEMBERS, &[]),
    ("OllamaEmbedRequest", "Texts to turn into vectors.", Embed::MEMBERS, &["model", "input"]),
    ("OllamaEmbeddingsRequest", "A text to turn into a vector.", EmbedOne::MEMBERS, &["model", "prompt"]),
    ("OllamaShowRequest", "Which model is meant.", Show::MEMBERS, &[]),
];

/// All of them, by name.
pub(super) fn schemas() -> impl Iterator<Item = (String, Value)> {
    OBJECTS.iter().map(|(name, about, members, required)| {
        let mut properties = Map::new();
        for (member, _) in *members {
            let (schema, about) = member_of(name, member);
            let schema = if required.contains(member) { schema } else { nullable(schema) };
            properties.insert((*member).to_owned(), described(schema, about));
        }
        let schema = json!({
            "type": "object",
            "description": about,
            "properties": properties,
            "required": required,
            "additionalProperties": true,
        });
        ((*name).to_owned(), schema)
    })
}

fn member_of(object: &str, member: &str) -> (Value, &'static str) {
    let text = || json!({"type": "string"});
    let flag = || json!({"type": "boolean"});
    match (object, member) {
        ("OllamaOptions", _) => option(member),
        ("OllamaMessageRequest" | "OllamaToolCallRequest" | "OllamaFunctionRequest", _) => spoken(member),
        (_, "model") => {
            (json!({"type": "string", "minLength": 1, "maxLength": 256}), "Name or alias of the model.")
        }
        ("OllamaChatRequest", "messages") => {
            let messages = reference("OllamaMessageRequest");
            (json!({"type": "array", "items": messages, "minItems": 1}), "The conversation, oldest first.")
        }
        (_, "tools") => {
            let tools = json!({"type": "array", "items": reference(Tool::NAME), "maxItems": 128});
            (tools, "Functions that the model may call.")
        }
        (_, "stream") => (flag(), "Whether the answer comes as lines, as it is made. Absent: true."),
        (_, "format") => {
            let words = json!({"type": "string", "enum": ["", "json"]});
            (
                json!({"anyOf": [words, {"type": "object"}]}),
                "What the answer has to be: JSON, or JSON by this schema.",
            )
        }
        (_, "think") => {
            let words = json!({"type": "string", "enum": ["low", "medium", "high"]});
            (
                json!({"anyOf": [{"type": "boolean"}, words]}),
                "Whether the model is to think before it answers, and how much.",
            )
        }
        (_, "options") => (reference("OllamaOptions"), "How to sample."),
        (_, "keep_alive") => {
            let schema = json!({"anyOf": [{"type": "string"}, {"type": "number"}]});
            (
                schema,
                "How long an Ollama engine keeps the model in memory afterwards. Other engines are not told.",
            )
        }
        (_, "truncate") => {
            (flag(), "Whether an Ollama engine may cut what is too long. Absent: it is an error.")
        }
        (_, "shift") => (
            flag(),
            "Whether an Ollama engine may forget the beginning of what has become too long. Absent: it ends the answer.",
        ),
        (_, "logprobs") => (flag(), "Whether to give log probabilities."),
        (_, "top_logprobs") => (
            json!({"type": "integer", "minimum": 0, "maximum": 20}),
            "Most likely tokens per position; with logprobs.",
        ),
        ("OllamaGenerateRequest", "prompt") => (
            json!({"type": "string", "minLength": 1}),
            "What to answer, or, with raw or suffix, to continue.",
        ),
        (_, "prompt") => (json!({"type": "string", "minLength": 1}), "The text."),
        (_, "suffix") => (text(), "What comes after the answer: the model fills the gap."),
        (_, "system") => (text(), "What the model is to keep in mind. Not with raw or suffix."),
        (_, "images") => images(),
        (_, "raw") => (flag(), "Whether the prompt is continued as it is, instead of being answered."),
        (_, "template") => {
            (json!({"type": "string", "maxLength": 0}), "Belongs to the engine: refused unless it is empty.")
        }
        (_, "context") => (
            json!({"type": "array", "maxItems": 0, "items": {}}),
            "Belongs to one engine: refused unless it is empty.",
        ),
        (_, "name") => (text(), "The same as model, as older clients call it."),
        (_, "input") => {
            let texts = json!({"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1, "maxItems": 2048});
            (json!({"anyOf": [{"type": "string", "minLength": 1}, texts]}), "One text or several.")
        }
        (_, "dimensions") => (
            json!({"type": "integer", "minimum": 1}),
            "Length of the vectors, for models that let it be chosen.",
        ),
        (_, "verbose") => (flag(), "Changes nothing: nothing is left out."),
        _ => (json!({}), ""),
    }
}

fn images() -> (Value, &'static str) {
    let items = json!({"type": "string", "contentEncoding": "base64"});
    (json!({"type": "array", "items": items}), "Base64 of PNG, JPEG, GIF or WebP.")
}

/// Members of a message, of its calls and of what they call.
fn spoken(member: &str) -> (Value, &'static str) {
    let text = || json!({"type": "string"});
    match member {
        "images" => images(),
        "role" => {
            (json!({"type": "string", "enum": ["system", "user", "assistant", "tool"]}), "Who says it.")
        }
        "content" => (text(), "What is said."),
        "thinking" => (text(), "What the assistant thought before."),
        "tool_calls" => (
            json!({"type": "array", "items": reference("OllamaToolCallRequest")}),
            "Calls that the assistant made.",
        ),
        "tool_name" => (text(), "Which function answers; told by the order of the calls if it is absent."),
        "tool_call_id" => (text(), "Which call is answered, if it has an id."),
        "id" => (text(), "Identity of the call. Absent: it gets one."),
        "type" => (json!({"type": "string", "enum": ["function"]}), "Always the same."),
        "function" => (reference("OllamaFunctionRequest"), "What it called."),
        "index" => (json!({"type": "integer"}), "Its place among the calls. The order counts."),
        "name" => (text(), "Name of the function."),
        "arguments" => (json!({"type": "object"}), "What the function was given."),
        _ => (json!({}), ""),
    }
}

fn option(member: &str) -> (Value, &'static str) {
    let number = || json!({"type": "number"});
    let penalty = || json!({"type": "number", "minimum": -2, "maximum": 2});
    match member {
        "num_predict" => (
            json!({"type": "integer", "minimum": -2, "not": {"const": 0}}),
            "Tokens to generate at most; -1 and -2: as many as there are.",
        ),
        "temperature" => (json!({"type": "number", "minimum": 0, "maximum": 2}), "Sampling temperature."),
        "top_p" => (json!({"type": "number", "minimum": 0, "maximum": 1}), "Nucleus sampling mass."),
        "seed" => (json!({"type": "integer", "format": "int64"}), "Seed for best-effort determinism."),
        "stop" => (
            json!({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "maxItems": 4}]}),
            "Sequences that end the answer.",
        ),
        "presence_penalty" => (penalty(), "Against what was said at all."),
        "frequency_penalty" => (penalty(), "Against what was said often."),
        "penalize_newline" => (json!({"type": "boolean"}), "As engines that know it have it."),
        _ => (number(), "As engines that know it have it."),
    }
}
