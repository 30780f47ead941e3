//! Texts to continue, by `/api/generate`. `raw`: without it Ollama wraps the text into the model's chat template,
//! and the model answers it instead of going on. With a suffix it is the template that knows how to fill in.

use penstock_proto::inference::v1::{GenerateRequest, Prompt, TextInput, prompt::Kind};

use super::{options, request::unsupported};
use crate::{
    engine::{Target, openai::request::DENIED},
    error::Error,
    json::write::{Object, Writer},
};

/// Tokens of a continuation where the caller sets no maximum, as OpenAI has it: a raw text has no end.
const DEFAULT_MAX_TOKENS: i64 = 16;
/// Members that we write ourselves, or that would change whose text is continued.
const KNOWN: &[&str] = &[
    "model",
    "prompt",
    "suffix",
    "images",
    "stream",
    "raw",
    "system",
    "template",
    "context",
    "options",
    "think",
    "format",
    "keep_alive",
    "truncate",
    "shift",
    "logprobs",
    "top_logprobs",
];

/// The body of a request.
pub(super) fn encode(request: &GenerateRequest, text: &TextInput, target: &Target) -> Result<Vec<u8>, Error> {
    let mut writer = Writer::default();
    writer.object(|object| {
        object.member("model", &target.model);
        unsupported(object, request);
        cannot(object, text);
        match prompt(text.prompt.as_ref()) {
            Some(prompt) => object.member("prompt", prompt),
            None => object.unsupported("prompt", "must be one text for this engine"),
        }
        let suffix = text.suffix.as_deref().filter(|suffix| !suffix.is_empty());
        object.optional("suffix", &suffix);
        object.member("raw", &suffix.is_none());
        object.member("stream", &request.stream);
        let (ours, theirs) = options::split(&request.extensions);
        let most = request.max_completion_tokens.or(request.max_tokens);
        let default = (!ours.bounds_the_answer()).then_some(DEFAULT_MAX_TOKENS);
        ours.options(object, Some(request), most.or(default), target);
        ours.format(object, request);
        ours.keep_alive(object, target);
        ours.whole(object, true);
        object.extensions("", &theirs, KNOWN, DENIED);
    });
    writer.finish()
}

fn cannot(object: &mut Object<'_>, text: &TextInput) {
    for (is_asked, field, message) in [
        (text.echo == Some(true), "echo", "this engine does not give the prompt back"),
        (text.best_of.is_some_and(|best| best > 1), "best_of", "this engine gives one choice at a time"),
        (text.logprobs.is_some(), "logprobs", "this engine gives no log probabilities of texts"),
    ] {
        if is_asked {
            object.unsupported(field, message);
        }
    }
}

/// The one text to continue.
pub(super) fn prompt(prompt: Option<&Prompt>) -> Option<&str> {
    match prompt?.kind.as_ref()? {
        Kind::Text(text) => Some(text),
        Kind::Texts(texts) => match texts.values.as_slice() {
            [text] => Some(text),
            _ => None,
        },
        Kind::Tokens(_) | Kind::TokenLists(_) => None,
    }
}
