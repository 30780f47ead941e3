//! Answers as Ollama has them: lines of JSON as they are made, of which the last says how it went; or that line alone,
//! with everything in it. Calls of tools come whole, their arguments as objects: an answer in which they are none is
//! broken, whatever the engine says of its end.

mod calls;
mod object;
#[cfg(test)]
mod tests;

use std::time::Duration;

use bytes::{BufMut as _, BytesMut};
use penstock_proto::{
    Reason,
    inference::v1::{Choice, Extension, GenerateChunk, Usage},
};

pub(super) use self::object::nanos;
use self::{
    calls::Calls,
    object::{ENGINE, End, Object, Piece},
};
use super::{clock::Clock, write_problem};
use crate::{api::Api, error::Error, stream::Events};

/// What was asked, which decides where the text of the answer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// A conversation: in a message.
    Chat,
    /// A prompt: in `response`.
    Prompt,
}

/// An answer that is being written.
#[derive(Debug)]
pub(crate) struct Answer {
    shape: Shape,
    clock: Clock,
    model: String,
    calls: Calls,
    /// What the engine said beside the contract, for the next line.
    others: Vec<Extension>,
    /// What it measured, in nanoseconds, in the order of [`ENGINE`].
    measured: [Option<u64>; ENGINE.len()],
    usage: Option<Usage>,
    /// When the model began to speak.
    first: Option<Duration>,
    finish_reason: Option<String>,
    broken: bool,
}

impl Answer {
    /// For an answer that was asked for at `clock`, of the model that is called so.
    pub(crate) fn new(shape: Shape, model: String, clock: Clock) -> Self {
        Self {
            shape,
            clock,
            model,
            calls: Calls::default(),
            others: Vec::new(),
            measured: [None; ENGINE.len()],
            usage: None,
            first: None,
            finish_reason: None,
            broken: false,
        }
    }

    /// Writes the one chunk that holds the whole answer.
    ///
    /// # Errors
    /// It is not whole: a call has arguments that are none.
    pub(crate) fn whole(mut self, chunk: &GenerateChunk, out: &mut BytesMut) -> Result<(), Error> {
        let mut piece = Piece::default();
        self.note(chunk);
        for choice in &chunk.choices {
            self.take(choice, &mut piece);
        }
        let Some(finish_reason) = self.finish_reason.take().filter(|_| !self.broken) else {
            let error = penstock_proto::Error::new(
                Reason::EngineBadAnswer,
                "the engine sent an answer that cannot be told in this API: more than one choice, or a tool call \
                 whose arguments are no JSON object",
            );
            return Err(tonic::Status::from(error).into());
        };
        piece.calls = self.calls.take();
        self.line(&piece, Some(&finish_reason), out);
        Ok(())
    }

    /// Keeps what a chunk says of the answer beside its pieces.
    fn note(&mut self, chunk: &GenerateChunk) {
        if self.model != chunk.model && !chunk.model.is_empty() {
            self.model.clone_from(&chunk.model);
        }
        if chunk.usage.is_some() {
            self.usage.clone_from(&chunk.usage);
        }
        for other in &chunk.extensions {
            let known = ENGINE.iter().position(|name| *name == other.name);
            match known.and_then(|at| self.measured.get_mut(at)) {
                Some(slot) => *slot = other.json.parse().ok(),
                None => {
                    self.others.retain(|known| known.name != other.name);
                    self.others.push(other.clone());
                }
            }
        }
    }

    /// Takes a piece of the one choice.
    fn take(&mut self, choice: &Choice, piece: &mut Piece) {
        self.broken |= choice.index != 0;
        if let Some(delta) = &choice.delta {
            // Ollama has no word of its own for a refusal.
            for text in [&delta.content, &delta.refusal].into_iter().flatten() {
                piece.content.push_str(text);
            }
            piece.thinking.push_str(delta.reasoning.as_deref().unwrap_or_default());
            let calls = self.shape == Shape::Chat && delta.function_call.is_none();
            self.broken |= !delta.tool_calls.is_empty() && !calls;
            for call in &delta.tool_calls {
                self.broken |= self.calls.add(call).is_err();
            }
            self.broken |= delta.function_call.is_some();
        }
        if let Some(json) = &choice.logprobs_json {
            piece.logprobs.clone_from(&object::entries(json));
        }
        if let Some(reason) = &choice.finish_reason {
            self.finish_reason = Some(reason.clone());
            self.broken |= !self.calls.are_whole();
        }
        if self.first.is_none() && (!piece.is_empty() || !self.calls.is_empty()) {
            self.first = Some(self.clock.elapsed());
        }
    }

    fn line(&mut self, piece: &Piece, finish_reason: Option<&str>, out: &mut BytesMut) {
        let at = self.clock.elapsed();
        let end = finish_reason.map(|reason| End {
            reason,
            usage: self.usage.as_ref(),
            measured: self.measured,
            total: at,
            first: self.first.unwrap_or_default(),
        });
        let object = Object {
            shape: self.shape,
            model: &self.model,
            created_at: &self.clock.date(at),
            others: &self.others,
        };
        object.write(piece, end, out);
        self.others.clear();
    }
}

impl Events for Answer {
    const API: Api = Api::Ollama;
    const CONTENT_TYPE: &'static str = "application/x-ndjson";

    fn write(&mut self, chunk: &GenerateChunk, out: &mut BytesMut) {
        if self.broken {
            return;
        }
        self.note(chunk);
        for choice in &chunk.choices {
            let mut piece = Piece::default();
            self.take(choice, &mut piece);
            if self.broken {
                return;
            }
            if choice.finish_reason.is_some() {
                piece.calls = self.calls.take();
            }
            if !piece.is_empty() {
                self.line(&piece, None, out);
                out.put_u8(b'\n');
            }
        }
    }

    fn end(&mut self, out: &mut BytesMut) -> bool {
        // More of a call after the end that the engine told: it is in no line.
        let whole = !self.broken && self.calls.is_empty();
        let Some(finish_reason) = self.finish_reason.take().filter(|_| whole) else { return false };
        self.line(&Piece::default(), Some(&finish_reason), out);
        out.put_u8(b'\n');
        true
    }

    fn fail(&mut self, error: &penstock_proto::Error, request_id: &str, out: &mut BytesMut) {
        write_problem(error, request_id, out);
        out.put_u8(b'\n');
    }

    /// A line that says nothing: an empty one breaks Ollama's own clients.
    fn ping(&mut self, out: &mut BytesMut) {
        self.line(&Piece::default(), None, out);
        out.put_u8(b'\n');
    }
}
