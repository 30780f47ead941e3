//! Questions for the tokens of a prompt, as vLLM and llama.cpp want them. OpenAI counts at itself alone, by an API
//! that no other server of the dialect has.

use penstock_proto::inference::v1::{Extension, GenerateRequest, TextInput, prompt::Kind};
use serde::{Deserialize, de::IgnoredAny};

use super::request::{DENIED, Habits, REQUEST, is_prefilled, messages, tool};
use crate::{error::Error, json::write::Writer};

/// Members beyond the contract that change what the model reads.
const READ: [&str; 3] = ["chat_template_kwargs", "mm_processor_kwargs", "add_special_tokens"];
/// Those of them that say how the prompt ends.
const ENDS: [&str; 2] = ["add_generation_prompt", "continue_final_message"];

/// The body for a conversation: what is made into the prompt, and nothing else.
pub(in crate::engine) fn conversation(
    request: &GenerateRequest,
    model: &str,
    habits: Habits,
) -> Result<Vec<u8>, Error> {
    let ends = |extension: &Extension| ENDS.contains(&extension.name.as_str());
    let reads = |extension: &Extension| READ.contains(&extension.name.as_str()) || ends(extension);
    let read: Vec<_> = request.extensions.iter().filter(|extension| reads(extension)).cloned().collect();
    let says_itself = read.iter().any(ends);
    let mut writer = Writer::default();
    writer.object(|object| {
        object.member("model", model);
        messages(object, request, habits);
        if !request.tools.is_empty() {
            object.key("tools").array(&request.tools, tool);
        }
        if !says_itself {
            let is_prefilled = is_prefilled(request);
            object.member("add_generation_prompt", &!is_prefilled);
            object.member("continue_final_message", &is_prefilled);
        }
        object.extensions("", &read, REQUEST, DENIED);
    });
    writer.finish()
}

/// The body for a text: these members.
pub(in crate::engine) fn text(members: &[(&str, &str)]) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.object(|object| members.iter().for_each(|(name, value)| object.member(name, *value)));
    // Texts can always be written.
    writer.finish().unwrap_or_default()
}

/// The text to continue, if that is all there is: several, or one with a gap, are not made into one prompt.
pub(in crate::engine) fn only_text(input: &TextInput) -> Option<&str> {
    match input.prompt.as_ref()?.kind.as_ref()? {
        Kind::Text(text) if input.suffix.is_none() => Some(text),
        _ => None,
    }
}

/// Reads a count: a number, or as many tokens as there are. No prompt is without any.
pub(in crate::engine) fn read(body: &[u8]) -> Option<i64> {
    #[derive(Deserialize)]
    struct Counted {
        count: Option<i64>,
        input_tokens: Option<i64>,
        tokens: Option<Vec<IgnoredAny>>,
    }
    let counted: Counted = serde_json::from_slice(body).ok()?;
    let tokens = || counted.tokens.and_then(|tokens| i64::try_from(tokens.len()).ok());
    counted.count.or(counted.input_tokens).or_else(tokens).filter(|count| *count > 0)
}
