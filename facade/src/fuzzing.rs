//! Doors for the fuzz targets in `tests/fuzz`. Not there in any other build.

use bytes::BytesMut;
use penstock_proto::inference::v1::{
    ChatInput, GenerateChunk, GenerateRequest, ResponseTerms, generate_request::Input,
};

use crate::{
    chat::chunk::{Completions, Shape},
    responses::{events::Responses, items::conversation},
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

/// Reads the body of a request for a response, its items put into messages; `None` if it is refused.
pub fn read_response_request(body: &[u8]) -> Option<GenerateRequest> {
    let asked = crate::responses::request::read(body).ok()?;
    let messages = conversation(asked.items);
    Some(GenerateRequest { input: Some(Input::Chat(ChatInput { messages })), ..asked.request })
}

/// Writes chunks as the events of a response, and its end if they are whole.
pub fn write_response(chunks: &[GenerateChunk]) -> BytesMut {
    let mut out = BytesMut::new();
    let mut events = Responses::new(&ResponseTerms::default(), "m", || 0);
    chunks.iter().for_each(|chunk| events.write(chunk, &mut out));
    let _ = events.end(&mut out);
    out
}
