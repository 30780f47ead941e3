//! The dialect of OpenAI's chat completions, as vLLM, llama.cpp, LM Studio, SGLang and many others speak it.

mod chunk;
pub(super) mod request;
#[cfg(test)]
mod tests;

use penstock_proto::{
    Violation,
    inference::v1::{GenerateChunk, GenerateRequest},
};
use serde::Deserialize;

use super::{Dialect, Frame, Target};
use crate::{error::Fault, frames::Sse};

/// Any OpenAI-compatible server.
#[derive(Debug)]
pub(crate) struct OpenAi;

impl Dialect for OpenAi {
    type Frames = Sse;
    const ROOT: &'static str = "/v1";
    const GENERATE: &'static str = "/chat/completions";
    const MODELS: &'static str = "/models";
    const CHECK: &'static str = "/models";
    const STREAM_TYPE: &'static str = "text/event-stream";

    fn encode(request: &GenerateRequest, target: &Target) -> Result<Vec<u8>, Vec<Violation>> {
        request::encode(request, &target.model)
    }

    fn frame(frame: &[u8]) -> Result<Frame, Fault> {
        if frame.trim_ascii_start().starts_with(b"[DONE]") {
            return Ok(Frame::Done);
        }
        chunk::read(frame).map(Frame::Piece)
    }

    fn plain(body: &[u8]) -> Result<GenerateChunk, Fault> {
        chunk::read(body)
    }

    fn models(body: &[u8]) -> Option<Vec<String>> {
        #[derive(Deserialize)]
        struct List {
            data: Vec<Model>,
        }
        #[derive(Deserialize)]
        struct Model {
            id: String,
        }
        let list: List = serde_json::from_slice(body).ok()?;
        Some(list.data.into_iter().map(|model| model.id).collect())
    }
}
