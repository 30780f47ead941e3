//! A streamed answer as the events of Anthropic's API: the message begins, its blocks follow one another, and its
//! end comes last of all, with the tokens, which no engine knows earlier.

use std::sync::Arc;

use bytes::{BufMut as _, BytesMut};
use penstock_proto::{
    Error,
    inference::v1::{GenerateChunk, Usage},
};

use super::{
    answer::{End, first, write_head, write_usage},
    blocks::{Blocks, event},
    places::Places,
    write_problem,
};
use crate::{
    api::Api,
    stream::{EVENT_STREAM, Events, PING},
};

/// Writes the events of one answer.
#[derive(Debug, Default)]
pub(super) struct MessageEvents {
    /// The sequences that may end it.
    ends: Vec<String>,
    /// Where the parts of the conversation stood, for errors.
    places: Arc<Places>,
    begun: bool,
    blocks: Blocks,
    end: End,
    usage: Option<Usage>,
    tier: Option<String>,
}

impl MessageEvents {
    /// For an answer that one of these sequences may end.
    pub(super) fn new(ends: Vec<String>, places: Arc<Places>) -> Self {
        Self { ends, places, ..Self::default() }
    }

    fn begin(&mut self, chunk: &GenerateChunk, out: &mut BytesMut) {
        self.begun = true;
        event("message_start", out);
        out.put_slice(b",\"message\":");
        write_head(chunk, out);
        out.put_slice(b"[]");
        End::default().write(out);
        out.put_slice(b",\"usage\":");
        write_usage(chunk.usage.as_ref(), None, out);
        out.put_slice(b"}}\n\n");
        self.ping(out);
    }
}

impl Events for MessageEvents {
    const API: Api = Api::Messages;
    const CONTENT_TYPE: &'static str = EVENT_STREAM;

    fn write(&mut self, chunk: &GenerateChunk, out: &mut BytesMut) {
        if !self.begun {
            self.begin(chunk, out);
        }
        for choice in first(chunk) {
            if let Some(delta) = &choice.delta {
                self.blocks.add(delta);
            }
            self.end.note(choice, &self.ends);
        }
        self.blocks.stream(self.end.is_there(), self.end.is_cut(), out);
        if let Some(usage) = &chunk.usage {
            self.usage = Some(usage.clone());
        }
        if chunk.service_tier.is_some() {
            self.tier.clone_from(&chunk.service_tier);
        }
    }

    fn end(&mut self, out: &mut BytesMut) -> bool {
        if !self.end.is_there() || self.blocks.is_broken() {
            return false;
        }
        event("message_delta", out);
        out.put_slice(b",\"delta\":{");
        self.end.write(out);
        out.put_slice(b"},\"usage\":");
        write_usage(self.usage.as_ref(), self.tier.as_deref(), out);
        out.put_slice(b"}\n\n");
        event("message_stop", out);
        out.put_slice(b"}\n\n");
        true
    }

    fn fail(&mut self, error: &Error, request_id: &str, out: &mut BytesMut) {
        out.put_slice(b"event: error\ndata: ");
        write_problem(&self.places.named(error.clone()), request_id, out);
        out.put_slice(b"\n\n");
    }

    fn ping(&mut self, out: &mut BytesMut) {
        if self.begun {
            event("ping", out);
            out.put_slice(b"}\n\n");
        } else {
            // An event before the first one of a message would confuse its reader; a comment does not.
            out.put_slice(PING);
        }
    }
}

#[cfg(test)]
mod tests;
