//! The request that has another engine go on from what was said, and whether there can be one.

use penstock_proto::inference::v1::{
    GenerateRequest, Message, generate_request::Input, message::Content,
};

use crate::said::Said;

/// Members beyond the contract that bind an answer to a form, or say themselves how it is to go on.
const BINDING: &[&str] = &[
    "format",
    "grammar",
    "json_schema",
    "structured_outputs",
    "guided_json",
    "guided_regex",
    "guided_choice",
    "guided_grammar",
    "regex",
    "ebnf",
    "echo",
    "add_generation_prompt",
    "continue_final_message",
];

/// Whether an engine that knows no more than the text so far says just what would have come: it is one plain text.
pub(super) fn can_be_continued(request: &GenerateRequest, said: &Said) -> bool {
    let Some(Input::Chat(chat)) = &request.input else { return false };
    request.n.is_none_or(|n| n == 1)
        && request.logprobs != Some(true)
        && request.response_format_json.is_none()
        && request.audio_json.is_none()
        && !request.extensions.iter().any(|extension| BINDING.contains(&extension.name.as_str()))
        && chat.messages.last().is_some_and(|last| last.role != "assistant")
        && said.plain().is_some_and(|(text, _)| !text.trim().is_empty())
}

/// Whether an engine may repeat a prefill before it goes on, and whether it must not end with white space. Who is
/// behind an engine that is not named here may be llama.cpp, some versions of which repeat it.
pub(super) fn habits(engine: &str) -> (bool, bool) {
    match engine {
        "vllm" | "ollama" | "simulated" => (false, false),
        "anthropic" => (false, true),
        _ => (true, false),
    }
}

/// `request` as one to go on after `text`, which took so many tokens together with `reasoning`.
pub(super) fn request(
    request: &GenerateRequest,
    text: &str,
    reasoning: Option<&str>,
    tokens: i64,
) -> GenerateRequest {
    let mut request = request.clone();
    if let Some(Input::Chat(chat)) = &mut request.input {
        chat.messages.push(Message {
            role: "assistant".to_owned(),
            content: Some(Content::Text(text.to_owned())),
            reasoning: reasoning.map(str::to_owned),
            ..Message::default()
        });
    }
    for most in [&mut request.max_tokens, &mut request.max_completion_tokens].into_iter().flatten() {
        *most = most.saturating_sub(tokens).max(1);
    }
    request
}
