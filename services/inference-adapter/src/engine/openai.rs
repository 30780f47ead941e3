//! The dialect of OpenAI's API, as vLLM, llama.cpp, LM Studio, SGLang and many others speak it.

mod chunk;
pub(super) mod count;
mod judgements;
pub(super) mod list;
pub(super) mod request;
#[cfg(test)]
mod tests;
mod text;
pub(super) mod vectors;

use penstock_proto::inference::v1::{
    EmbedRequest, EmbedResponse, GenerateChunk, GenerateRequest, ModerateRequest, ModerateResponse,
    generate_request::Input,
};

use super::{Ask, Dialect, Frame, Learnt, Reader, Target};
use crate::{
    error::{Error, Fault},
    frames::Sse,
};

/// Any OpenAI-compatible server.
#[derive(Debug)]
pub(crate) struct OpenAi;

impl Dialect for OpenAi {
    type Frames = Sse;
    type Reader = Chunks;
    const ROOT: &'static str = "/v1";
    const MODELS: &'static str = "/models";
    const CHECK: &'static str = "/models";
    const STREAM_TYPE: &'static str = "text/event-stream";
    /// Which server it is nobody knows: what is denied to vLLM or llama.cpp for the sake of their memory and of
    /// other callers' slots.
    const DENIED: &'static [&'static str] = &[
        "n_discard",
        "id_slot",
        "slot_id",
        "n_cmpl",
        "kv_transfer_params",
        "prompt_embeds",
        "chat_template",
    ];

    fn generate(request: &GenerateRequest, target: &Target) -> Result<Ask, Error> {
        if let Some(Input::Text(input)) = &request.input {
            return Ok(Ask { path: "/completions", body: text::encode(request, input, &target.model)? });
        }
        let body = request::encode(request, &target.model, request::HABITS)?;
        Ok(Ask { path: "/chat/completions", body })
    }

    fn embed(request: &EmbedRequest, target: &Target) -> Result<Ask, Error> {
        Ok(Ask { path: "/embeddings", body: vectors::encode(request, &target.model)? })
    }

    fn embedded(body: &[u8], request: &EmbedRequest) -> Result<EmbedResponse, Fault> {
        vectors::read(body, request)
    }

    fn moderate(request: &ModerateRequest, target: &Target) -> Result<Ask, Error> {
        Ok(Ask { path: "/moderations", body: judgements::encode(request, &target.model)? })
    }

    fn moderated(body: &[u8], request: &ModerateRequest) -> Result<ModerateResponse, Fault> {
        judgements::read(body, request)
    }

    fn models(body: &[u8]) -> Option<Vec<String>> {
        list::names(body)
    }

    fn lacks(body: &[u8], model: &str) -> bool {
        list::lacks(body, model)
    }

    fn listed(body: &[u8], target: &Target) -> Learnt {
        list::learnt(body, &target.model)
    }
}

/// Reads chunks: each stands for itself.
#[derive(Debug, Default)]
pub(crate) struct Chunks;

impl Reader for Chunks {
    fn frame(&mut self, frame: &[u8]) -> Result<Frame, Fault> {
        if frame.trim_ascii_start().starts_with(b"[DONE]") {
            return Ok(Frame::Done);
        }
        chunk::read(frame).map(Frame::Piece)
    }

    fn plain(&mut self, body: &[u8]) -> Result<GenerateChunk, Fault> {
        chunk::read(body)
    }
}
