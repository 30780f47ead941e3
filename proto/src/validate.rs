//! What makes a request valid, in one place behind gRPC, so that callers by REST and by gRPC get the same
//! verdict. Ranges and shapes are those of OpenAI's specification (v2.3.0), no stricter; every violation is
//! reported, each with the path of the field. Words that engines add their own to (types of parts and tools,
//! reasoning_effort, service_tier, …) stay open.

mod found;
mod json;
mod messages;
mod options;
mod text;
mod tools;

use crate::{
    Violation,
    inference::v1::{
        CountTokensRequest, EmbedRequest, Extension, GenerateRequest, Metadata, ModerateRequest,
        generate_request::Input,
    },
};
use found::Found;
pub use options::asks_for_schema;

/// Most members of a request that the contract does not name: engines know some dozens.
const EXTENSIONS_MAX: usize = 1000;
/// Most names of extensions that engines may do without.
const OPTIONAL_MAX: usize = 16;
/// Most choices of one answer: OpenAI's bound of `n`.
pub const CHOICES_MAX: i64 = 128;

/// Fields whose verdict depends on another one: whoever could not read the second says nothing of the first.
pub const DEPENDS: [(&str, &str); 7] = [
    ("stream_options", "stream"),
    ("top_logprobs", "logprobs"),
    ("tool_choice", "tools"),
    ("function_call", "functions"),
    ("best_of", "n"),
    ("best_of", "stream"),
    ("n", "prompt"),
];

/// Every violation of `request`, in the order of its fields; empty if it is valid.
pub fn generate_request(request: &GenerateRequest) -> Vec<Violation> {
    let mut found = Found::default();
    found.model(&request.model);
    match &request.input {
        Some(Input::Chat(chat)) => messages::check(&mut found, chat),
        Some(Input::Text(text)) => text::check(&mut found, text, request),
        None => found.add("messages", "is required"),
    }
    let is_text = matches!(request.input, Some(Input::Text(_)));
    found.range("temperature", request.temperature, 0.0..=2.0);
    found.range("top_p", request.top_p, 0.0..=1.0);
    found.range("n", request.n, 1..=CHOICES_MAX);
    // A text alone may be asked for without a continuation: its log probabilities are the answer.
    found.at_least("max_tokens", request.max_tokens, i64::from(!is_text));
    found.at_least("max_completion_tokens", request.max_completion_tokens, 1);
    options::stop(&mut found, request.stop.as_ref());
    found.range("presence_penalty", request.presence_penalty, -2.0..=2.0);
    found.range("frequency_penalty", request.frequency_penalty, -2.0..=2.0);
    found.range("top_logprobs", request.top_logprobs, 0..=20);
    if request.top_logprobs.is_some() && request.logprobs != Some(true) {
        found.add("top_logprobs", "needs logprobs to be true");
    }
    if request.stream_options.is_some() && !request.stream {
        found.add("stream_options", "is only allowed when stream is true");
    }
    tools::check(&mut found, request);
    options::check(&mut found, request);
    extensions(&mut found, &request.extensions);
    if request.optional_extensions.len() > OPTIONAL_MAX {
        found.add("optional_extensions", format!("must have at most {OPTIONAL_MAX} names"));
    }
    found.violations()
}

/// Every violation of what is to be counted, under the names that it has where it is to be answered; empty if it is
/// valid.
pub fn count_tokens_request(request: &CountTokensRequest) -> Vec<Violation> {
    match &request.request {
        Some(request) => generate_request(request),
        None => vec![Violation::new("request", "is required")],
    }
}

/// Every violation of `request`; empty if it is valid.
pub fn embed_request(request: &EmbedRequest) -> Vec<Violation> {
    let mut found = Found::default();
    found.model(&request.model);
    text::inputs(&mut found, request.input.as_ref());
    found.at_least("dimensions", request.dimensions, 1);
    extensions(&mut found, &request.extensions);
    found.violations()
}

/// Every violation of `request`; empty if it is valid.
pub fn moderate_request(request: &ModerateRequest) -> Vec<Violation> {
    let mut found = Found::default();
    if let Some(model) = &request.model {
        found.model(model);
    }
    text::judged(&mut found, &request.input_json);
    extensions(&mut found, &request.extensions);
    found.violations()
}

/// Every violation of what a caller attaches to an answer that is kept; empty if it is valid.
pub fn metadata(metadata: &Metadata) -> Vec<Violation> {
    let mut found = Found::default();
    options::check_metadata(&mut found, metadata);
    found.violations()
}

fn extensions(found: &mut Found, extensions: &[Extension]) {
    if let Some(first_beyond) = extensions.get(EXTENSIONS_MAX) {
        let name: String = first_beyond.name.chars().take(64).collect();
        let message = format!("is one unknown member too many: at most {EXTENSIONS_MAX} are passed on");
        found.add(name, message);
    }
}

#[cfg(test)]
mod tests;
