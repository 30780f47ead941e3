//! Anthropic's Messages API, translated both ways. What it cannot express is refused by name; left out is only
//! what changes nothing in an answer: hints for caches, the detail of an image, reasoning without its signature.

mod content;
mod event;
mod request;
#[cfg(test)]
mod tests;
mod usage;

use http::{HeaderName, HeaderValue};
use penstock_proto::inference::v1::{Capabilities, EmbedRequest, EmbedResponse, GenerateRequest};
use serde_json::Value;

use super::{
    Ask, Detail, Dialect, Learnt, Target,
    openai::{count, list},
};
use crate::{
    error::{Error, Fault},
    frames::Sse,
};

/// The version of the API that is spoken; the only one since 2023.
pub(super) const VERSION: (HeaderName, HeaderValue) =
    (HeaderName::from_static("anthropic-version"), HeaderValue::from_static("2023-06-01"));

/// Anthropic.
#[derive(Debug)]
pub(crate) struct Anthropic;

impl Dialect for Anthropic {
    type Frames = Sse;
    type Reader = event::Events;
    const ROOT: &'static str = "/v1";
    const MODELS: &'static str = "/models";
    const CHECK: &'static str = "/models";
    const STREAM_TYPE: &'static str = "text/event-stream";
    /// Another name for the bound of an answer, which the gateway caps.
    const DENIED: &'static [&'static str] = &["max_tokens_to_sample"];
    const COUNTS: bool = true;
    const OPTIONAL: &'static [&'static str] =
        &["cache_control", "eager_input_streaming", "thinking", "thinking_blocks"];

    fn generate(request: &GenerateRequest, target: &Target) -> Result<Ask, Error> {
        let body = request::encode(request, target)?;
        Ok(Ask { path: "/messages", body })
    }

    fn embed(_: &EmbedRequest, _: &Target) -> Result<Ask, Error> {
        Err(Error::NotOffered("this engine makes no vectors"))
    }

    fn embedded(_: &[u8], _: &EmbedRequest) -> Result<EmbedResponse, Fault> {
        Err(Fault::bad_answer("this engine makes no vectors"))
    }

    fn count(request: &GenerateRequest, target: &Target) -> Result<Option<Ask>, Error> {
        let body = request::encode_count(request, target)?;
        Ok(Some(Ask { path: "/messages/count_tokens", body }))
    }

    fn counted(body: &[u8]) -> Option<i64> {
        count::read(body)
    }

    fn models(body: &[u8]) -> Option<Vec<String>> {
        list::names(body)
    }

    /// The list comes in pages, and aliases are not in it: the model's own page is the proof.
    fn lacks(_: &[u8], _: &str) -> bool {
        false
    }

    fn detail(target: &Target) -> Option<Detail> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:@".contains(&byte);
        let fits = target.model.bytes().all(plain) && !target.model.starts_with('.');
        fits.then(|| Detail { path: format!("/models/{}", target.model).into(), body: None })
    }

    fn detailed(body: &[u8]) -> Learnt {
        let Ok(model) = serde_json::from_slice::<Value>(body) else { return Learnt::default() };
        let supported =
            |path: &str| model.pointer(&format!("/capabilities/{path}/supported")).and_then(Value::as_bool);
        let tokens = |name: &str| model.get(name).and_then(Value::as_i64).filter(|tokens| *tokens > 0);
        let capabilities = Capabilities {
            vision: supported("image_input"),
            json_schema: supported("structured_outputs"),
            reasoning: supported("thinking"),
            context_tokens: tokens("max_input_tokens"),
            ..Capabilities::default()
        };
        Learnt {
            capabilities,
            answer_tokens: tokens("max_tokens").and_then(|tokens| u64::try_from(tokens).ok()),
            thinks_by_budget: supported("thinking/types/enabled") == Some(true)
                && supported("thinking/types/adaptive") != Some(true),
            shown: None,
            loaded: None,
        }
    }
}
