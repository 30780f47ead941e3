//! What this API has and nobody here can do, and what it has not: refused with what to do instead.

use penstock_proto::Violation;

use super::Body;
use crate::error::VIOLATIONS_MAX;

/// What `include` may ask for. All but log probabilities is either always given, or belongs to tools that are not
/// offered here and so never have anything to give.
pub(crate) const INCLUDE: [&str; 8] = [
    "message.output_text.logprobs",
    "reasoning.encrypted_content",
    "message.input_image.image_url",
    "file_search_call.results",
    "web_search_call.results",
    "web_search_call.action.sources",
    "computer_call_output.output.image_url",
    "code_interpreter_call.outputs",
];

/// Members of chat completions, and what they are here. An engine would take them for its own.
const RENAMED: [(&str, &str); 9] = [
    ("messages", "input"),
    ("max_tokens", "max_output_tokens"),
    ("max_completion_tokens", "max_output_tokens"),
    ("response_format", "text.format"),
    ("reasoning_effort", "reasoning.effort"),
    ("verbosity", "text.verbosity"),
    ("functions", "tools"),
    ("function_call", "tool_choice"),
    ("logprobs", "include"),
];

/// Members that are not to be had here.
const NOT_HERE: [(&str, &str); 8] = [
    ("conversation", "is not kept here: go on from a response by previous_response_id"),
    ("prompt", "is not kept here: give instructions and input"),
    ("context_management", "is not offered here: what is too long for the model is refused"),
    ("n", "does not exist here: there is one answer"),
    ("modalities", "does not exist here: use chat completions"),
    ("audio", "does not exist here: use chat completions"),
    ("prediction", "does not exist here: use chat completions"),
    ("web_search_options", "does not exist here: use chat completions"),
];

/// Everything of that kind. Members that ask for nothing, since they are null, are taken away.
pub(super) fn of(body: &mut Body) -> Vec<Violation> {
    let mut found = Vec::new();
    words(body, &mut found);
    let known = |name: &str| {
        let here = RENAMED.iter().find(|(there, _)| *there == name);
        let here = here.map(|(there, here)| (*here, format!("is what {there} is called here")));
        here.or_else(|| NOT_HERE.iter().find(|(no, _)| *no == name).map(|(no, why)| (*no, (*why).to_owned())))
    };
    body.extensions.retain(|extension| {
        let Some((field, message)) = known(&extension.name) else { return true };
        if extension.json != "null" {
            found.push(Violation::new(field, message));
        }
        false
    });
    found
}

/// Members whose words are few.
fn words(body: &Body, found: &mut Vec<Violation>) {
    match body.truncation.as_deref() {
        None | Some("disabled") => {}
        Some("auto") => {
            let message = "must be disabled: nothing is left out of a conversation here, shorten it before";
            found.push(Violation::new("truncation", message));
        }
        Some(_) => found.push(Violation::new("truncation", "must be disabled")),
    }
    if body.max_tool_calls.is_some_and(|most| most < 1) {
        found.push(Violation::new("max_tool_calls", "must be at least 1"));
    }
    let retention = body.prompt_cache_retention.as_deref();
    if retention.is_some_and(|word| !matches!(word, "in_memory" | "in-memory" | "24h")) {
        found.push(Violation::new("prompt_cache_retention", "must be one of in_memory, 24h"));
    }
    for (index, word) in body.include.iter().flat_map(|list| &list.values).enumerate().take(VIOLATIONS_MAX) {
        if !INCLUDE.contains(&word.as_str()) {
            let message = format!("must be one of {}", INCLUDE.join(", "));
            found.push(Violation::new(format!("include[{index}]"), message));
        }
    }
}
