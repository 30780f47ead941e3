//! Ollama's own API, `/api/chat`: newline-delimited JSON, options in a map, tool arguments as objects.

mod line;
mod request;
#[cfg(test)]
mod tests;

use penstock_proto::{
    Violation,
    inference::v1::{GenerateChunk, GenerateRequest},
};
use serde::Deserialize;

use super::{Dialect, Frame, Target};
use crate::{error::Fault, frames::Ndjson};

/// Ollama.
#[derive(Debug)]
pub(crate) struct Ollama;

impl Dialect for Ollama {
    type Frames = Ndjson;
    const ROOT: &'static str = "";
    const GENERATE: &'static str = "/api/chat";
    const MODELS: &'static str = "/api/tags";
    const CHECK: &'static str = "/api/version";
    const STREAM_TYPE: &'static str = "application/x-ndjson";

    fn encode(request: &GenerateRequest, target: &Target) -> Result<Vec<u8>, Vec<Violation>> {
        request::encode(request, target)
    }

    fn frame(frame: &[u8]) -> Result<Frame, Fault> {
        let (chunk, done) = line::read(frame)?;
        Ok(if done { Frame::Last(chunk) } else { Frame::Piece(chunk) })
    }

    fn plain(body: &[u8]) -> Result<GenerateChunk, Fault> {
        line::read(body).map(|(chunk, _)| chunk)
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
}
