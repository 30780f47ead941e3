//! A response as a stream of events.

use bytes::BytesMut;
use penstock_proto::{
    Error,
    inference::v1::{GenerateChunk, ResponseTerms},
};

use crate::stream::{EVENT_STREAM, Events, PING};

/// Writes the events of one response.
#[derive(Debug)]
pub(crate) struct Responses {}

impl Responses {
    /// For an answer of which nothing was written yet; `now` gives Unix seconds.
    pub(crate) fn new(_terms: &ResponseTerms, _now: fn() -> i64) -> Self {
        Self {}
    }
}

impl Events for Responses {
    const CONTENT_TYPE: &'static str = EVENT_STREAM;

    fn write(&mut self, _chunk: &GenerateChunk, _out: &mut BytesMut) {}

    fn end(&mut self, _out: &mut BytesMut) -> bool {
        false
    }

    fn fail(&mut self, _error: &Error, _request_id: &str, _out: &mut BytesMut) {}

    fn ping(&mut self, out: &mut BytesMut) {
        out.extend_from_slice(PING);
    }
}
