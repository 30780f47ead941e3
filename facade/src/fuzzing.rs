//! Doors for the fuzz targets in `tests/fuzz`. Not there in any other build.

use bytes::BytesMut;
use penstock_proto::inference::v1::{GenerateChunk, GenerateRequest};

use crate::{
    chat::chunk::{Completions, Shape},
    stream::Events as _,
};

/// Reads the body of a chat completion; `None` if it is refused.
pub fn read_request(body: &[u8]) -> Option<GenerateRequest> {
    crate::chat::request::read(body).ok()
}

/// Writes a chunk as a streamed event and as a plain answer.
pub fn write_answer(chunk: &GenerateChunk) -> (BytesMut, BytesMut) {
    let (mut event, mut answer) = (BytesMut::new(), BytesMut::new());
    Completions::new(Shape::Chat, true).write(chunk, &mut event);
    crate::chat::answer::write(chunk, &mut answer);
    (event, answer)
}
