//! Requests to continue texts, as the legacy completions have it. Answers come in the same chunks as those of
//! conversations.

use penstock_proto::inference::v1::{GenerateRequest, Prompt, TextInput, prompt::Kind};

use super::request::{DENIED, sampling, stream_options};
use crate::{
    engine::house::without_housekeeping,
    error::Error,
    json::write::{Object, Writer},
};

/// Members of a request that the contract names: no extension may stand for one.
const REQUEST: &[&str] = &[
    "model",
    "prompt",
    "stream",
    "stream_options",
    "echo",
    "suffix",
    "best_of",
    "logprobs",
    "temperature",
    "top_p",
    "n",
    "max_tokens",
    "max_completion_tokens",
    "stop",
    "presence_penalty",
    "frequency_penalty",
    "seed",
    "logit_bias",
    "user",
    "store",
    "metadata",
];

/// The body of a request.
pub(super) fn encode(request: &GenerateRequest, text: &TextInput, model: &str) -> Result<Vec<u8>, Error> {
    let mut writer = Writer::default();
    writer.object(|object| {
        object.member("model", model);
        prompt(object, "prompt", text.prompt.as_ref());
        object.optional("suffix", &text.suffix);
        object.optional("echo", &text.echo);
        object.optional("best_of", &text.best_of);
        // As a number, which chat's `logprobs` is not.
        object.optional("logprobs", &text.logprobs);
        object.member("stream", &request.stream);
        if request.stream {
            stream_options(object.key("stream_options"), request.stream_options.as_ref());
        }
        refuse_what_is_for_chat(object, request);
        sampling(object, request);
        object.extensions("", &without_housekeeping(&request.extensions), REQUEST, DENIED);
    });
    writer.finish()
}

/// Writes a prompt in the shape in which it came.
pub(super) fn prompt(object: &mut Object<'_>, name: &'static str, prompt: Option<&Prompt>) {
    match prompt.and_then(|prompt| prompt.kind.as_ref()) {
        Some(Kind::Text(text)) => object.member(name, text),
        Some(Kind::Texts(list)) => object.member(name, &list.values),
        Some(Kind::Tokens(list)) => object.member(name, &list.values),
        Some(Kind::TokenLists(lists)) => {
            object.key(name).array(&lists.values, |writer, _, list| writer.value(&list.values));
        }
        None => object.refuse(name, "is required"),
    }
}

/// Only a gRPC caller can ask for these of a text; they are never left out without a word.
fn refuse_what_is_for_chat(object: &mut Object<'_>, request: &GenerateRequest) {
    let given = [
        ("logprobs", request.logprobs.is_some()),
        ("top_logprobs", request.top_logprobs.is_some()),
        ("tools", !request.tools.is_empty()),
        ("tool_choice", request.tool_choice_json.is_some()),
        ("parallel_tool_calls", request.parallel_tool_calls.is_some()),
        ("response_format", request.response_format_json.is_some()),
        ("reasoning_effort", request.reasoning_effort.is_some()),
        ("service_tier", request.service_tier.is_some()),
        ("verbosity", request.verbosity.is_some()),
        ("modalities", request.modalities.is_some()),
        ("audio", request.audio_json.is_some()),
        ("prediction", request.prediction_json.is_some()),
        ("web_search_options", request.web_search_options_json.is_some()),
        ("prompt_cache_key", request.prompt_cache_key.is_some()),
        ("safety_identifier", request.safety_identifier.is_some()),
        ("functions", request.functions_json.is_some()),
        ("function_call", request.function_call_json.is_some()),
    ];
    for (field, _) in given.into_iter().filter(|(_, given)| *given) {
        object.refuse(field, "is for conversations: leave it out, or send messages");
    }
}
