//! Ollama's own API: newline-delimited JSON, options in a map, tool arguments as objects. Its `/v1` cannot set the
//! context, and cuts what does not fit.

mod capabilities;
mod context;
mod embed;
mod line;
pub(super) mod options;
mod request;
pub(super) mod show;
#[cfg(test)]
mod tests;
mod text;

use penstock_proto::inference::v1::{
    Capabilities, EmbedRequest, EmbedResponse, GenerateChunk, GenerateRequest, generate_request::Input,
};
use serde::Deserialize;

use super::{Ask, Detail, Dialect, Frame, Learnt, Reader, Target};
use crate::{
    error::{Error, Fault},
    frames::Ndjson,
    upstream::prompt_too_long,
};

/// Ollama.
#[derive(Debug)]
pub(crate) struct Ollama;

impl Dialect for Ollama {
    type Frames = Ndjson;
    type Reader = Lines;
    const ROOT: &'static str = "";
    const MODELS: &'static str = "/api/tags";
    const CHECK: &'static str = "/api/version";
    const RUNNING: Option<&'static str> = Some("/api/ps");
    const STREAM_TYPE: &'static str = "application/x-ndjson";
    const DETAIL_FIRST: bool = true;

    fn generate(request: &GenerateRequest, target: &Target) -> Result<Ask, Error> {
        let most = Self::prompt_max(request, target);
        if most.is_some_and(|most| context::is_surely_over(request, most)) {
            return Err(prompt_too_long().of(&target.deployment));
        }
        Ok(match &request.input {
            Some(Input::Text(text)) => {
                Ask { path: "/api/generate", body: text::encode(request, text, target)? }
            }
            _ => Ask { path: "/api/chat", body: request::encode(request, target)? },
        })
    }

    fn prompt_max(request: &GenerateRequest, target: &Target) -> Option<u64> {
        let (ours, _) = options::split(&request.extensions);
        (!ours.wants_cutting()).then(|| ours.context_tokens(target))
    }

    fn embed(request: &EmbedRequest, target: &Target) -> Result<Ask, Error> {
        Ok(Ask { path: "/api/embed", body: embed::encode(request, target)? })
    }

    fn embedded(body: &[u8], request: &EmbedRequest) -> Result<EmbedResponse, Fault> {
        embed::read(body, request)
    }

    fn models(body: &[u8]) -> Option<Vec<String>> {
        #[derive(Deserialize)]
        struct List {
            models: Vec<Model>,
        }
        #[derive(Deserialize)]
        struct Model {
            name: String,
        }
        let list: List = serde_json::from_slice(body).ok()?;
        Some(list.models.into_iter().map(|model| model.name).collect())
    }

    /// A name without a tag is that of the tag `latest`.
    fn is_it(listed: &str, model: &str) -> bool {
        listed == model || listed.strip_suffix(":latest") == Some(model)
    }

    fn detail(target: &Target) -> Option<Detail> {
        let body = serde_json::json!({"model": target.model}).to_string().into_bytes();
        Some(Detail { path: "/api/show".into(), body: Some(body) })
    }

    fn detailed(body: &[u8]) -> Learnt {
        let (said, shown) = (capabilities::read(body), show::read(body));
        // The context that is asked for, not the longest that there might be.
        let asked_for = shown.and_then(|shown| i64::try_from(shown.context_tokens).ok());
        let capabilities = Capabilities { context_tokens: asked_for.or(said.context_tokens), ..said };
        Learnt { capabilities, shown, ..Learnt::default() }
    }
}

/// Reads lines: each stands for itself.
#[derive(Debug, Default)]
pub(crate) struct Lines;

impl Reader for Lines {
    fn frame(&mut self, frame: &[u8]) -> Result<Frame, Fault> {
        let (chunk, done) = line::read(frame)?;
        Ok(if done { Frame::Last(chunk) } else { Frame::Piece(chunk) })
    }

    fn plain(&mut self, body: &[u8]) -> Result<GenerateChunk, Fault> {
        line::read(body).map(|(chunk, _)| chunk)
    }
}
