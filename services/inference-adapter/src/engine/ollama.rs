//! Ollama's own API, `/api/chat`: newline-delimited JSON, options in a map, tool arguments as objects.

mod capabilities;
mod line;
mod request;
#[cfg(test)]
mod tests;

use penstock_proto::inference::v1::{EmbedRequest, EmbedResponse, GenerateChunk, GenerateRequest};
use serde::Deserialize;

use super::{Ask, Detail, Dialect, Frame, Learnt, Reader, Target};
use crate::{
    error::{Error, Fault},
    frames::Ndjson,
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
    const STREAM_TYPE: &'static str = "application/x-ndjson";

    fn generate(request: &GenerateRequest, target: &Target) -> Result<Ask, Error> {
        let body = request::encode(request, target)?;
        Ok(Ask { path: "/api/chat", body })
    }

    fn embed(_: &EmbedRequest, _: &Target) -> Result<Ask, Error> {
        Err(Error::NotOffered("this engine makes no vectors"))
    }

    fn embedded(_: &[u8], _: &EmbedRequest) -> Result<EmbedResponse, Fault> {
        Err(Fault::bad_answer("this engine makes no vectors"))
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
    fn lacks(list: &[u8], model: &str) -> bool {
        let is_it = |name: &str| name == model || name.strip_suffix(":latest") == Some(model);
        Self::models(list).is_some_and(|models| !models.is_empty() && !models.iter().any(|one| is_it(one)))
    }

    fn detail(target: &Target) -> Option<Detail> {
        let body = serde_json::json!({"model": target.model}).to_string().into_bytes();
        Some(Detail { path: "/api/show".into(), body: Some(body) })
    }

    fn detailed(body: &[u8]) -> Learnt {
        Learnt { capabilities: capabilities::read(body), ..Learnt::default() }
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
