//! A streamed answer as an HTTP body: pulled by the client, so a slow one slows the engine and one that leaves
//! ends it. Each message of the mesh becomes one frame; nothing is held back, nothing runs beside it.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll, ready},
};

use axum::{
    body::Body,
    http::{
        HeaderName, HeaderValue,
        header::{CACHE_CONTROL, CONTENT_TYPE},
    },
    response::Response,
};
use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use http_body::Frame;
use penstock_chassis::CallContext;
use penstock_proto::inference::v1::GenerateResponse;
use tonic::Status;
use tracing::Span;

use crate::{
    chat::chunk::{DONE, Events, write_error},
    error::Error,
};

/// nginx and its like hand on what they get at once (C10).
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
/// Not to be kept (B14), nor to be changed or held on the way (C10).
const NOT_CACHED: HeaderValue = HeaderValue::from_static("private, no-store, no-cache, no-transform");
/// Room for an event or a few; the buffer grows for the rare larger one.
const BUFFER_BYTES: usize = 4 << 10;

/// The response for a stream of answers.
pub(crate) fn response<S>(messages: S, events: Events, context: CallContext) -> Response
where
    S: Stream<Item = Result<GenerateResponse, Status>> + Send + Unpin + 'static,
{
    let body =
        EventBody { messages, events, buffer: BytesMut::new(), context, span: Span::current(), ended: false };
    let mut response = Response::new(Body::new(body));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    headers.insert(CACHE_CONTROL, NOT_CACHED);
    headers.insert(ACCEL_BUFFERING, HeaderValue::from_static("no"));
    response
}

struct EventBody<S> {
    messages: S,
    events: Events,
    buffer: BytesMut,
    context: CallContext,
    /// Open until the answer has ended, so that the trace covers all of it; not entered for every chunk.
    span: Span,
    ended: bool,
}

impl<S> EventBody<S> {
    /// What was written, as a frame. Its memory comes back to the buffer once the frame was sent.
    fn frame(&mut self) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(Some(Ok(Frame::data(self.buffer.split().freeze()))))
    }

    fn fail(&mut self, error: &Error) {
        let error = penstock_proto::Error::from(error);
        let _entered = self.span.enter();
        tracing::info!(
            request_id = self.context.request_id(),
            reason = error.reason.as_str(),
            "answer broke off"
        );
        write_error(&error, self.context.request_id(), &mut self.buffer);
    }
}

impl<S> http_body::Body for EventBody<S>
where
    S: Stream<Item = Result<GenerateResponse, Status>> + Unpin,
{
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = &mut *self;
        if this.ended {
            return Poll::Ready(None);
        }
        this.buffer.reserve(BUFFER_BYTES);
        loop {
            match ready!(Pin::new(&mut this.messages).poll_next(cx)) {
                Some(Ok(message)) => {
                    for chunk in &message.chunks {
                        this.events.write(chunk, &mut this.buffer);
                    }
                    // A message without chunks is against the contract, and harmless.
                    if !this.buffer.is_empty() {
                        return this.frame();
                    }
                }
                Some(Err(status)) => {
                    this.ended = true;
                    this.fail(&Error::from(status));
                    return this.frame();
                }
                None => {
                    this.ended = true;
                    if this.events.is_whole() {
                        this.buffer.extend_from_slice(DONE);
                    } else {
                        this.fail(&Error::NotWhole);
                    }
                    return this.frame();
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::{StreamExt as _, stream};
    use http_body_util::BodyExt as _;
    use penstock_proto::{
        Reason,
        inference::v1::{Choice, Delta, GenerateChunk},
    };

    use super::*;
    use crate::chat::chunk::Shape;

    fn chunk(content: &str, finish_reason: Option<&str>) -> GenerateChunk {
        let delta = Delta { content: Some(content.into()), ..Delta::default() };
        let choice =
            Choice { delta: Some(delta), finish_reason: finish_reason.map(Into::into), ..Choice::default() };
        GenerateChunk { id: "c".into(), choices: vec![choice], ..GenerateChunk::default() }
    }

    fn message(chunks: Vec<GenerateChunk>) -> Result<GenerateResponse, Status> {
        Ok(GenerateResponse { chunks })
    }

    fn events() -> Events {
        Events::new(Shape::Chat, false)
    }

    async fn frames(messages: Vec<Result<GenerateResponse, Status>>) -> Vec<String> {
        let context = CallContext::background(Duration::from_secs(1));
        let mut body = response(stream::iter(messages), events(), context).into_body();
        let mut frames = Vec::new();
        while let Some(frame) = body.frame().await {
            let data = frame.unwrap().into_data().unwrap();
            frames.push(String::from_utf8(data.to_vec()).unwrap());
        }
        frames
    }

    #[tokio::test]
    async fn each_message_is_one_frame_and_done_comes_last() {
        let messages = vec![
            message(vec![chunk("a", None), chunk("b", None)]),
            message(vec![]),
            message(vec![chunk("c", Some("stop"))]),
        ];
        let frames = frames(messages).await;
        assert_eq!(frames.len(), 3, "{frames:?}");
        assert_eq!(frames[0].matches("\n\n").count(), 2);
        assert_eq!(frames[2], "data: [DONE]\n\n");
    }

    /// C8: an error after the head is an event, and there is no `[DONE]`.
    #[tokio::test]
    async fn a_broken_answer_ends_with_an_error_and_without_done() {
        let cut = penstock_proto::Error::new(Reason::EngineCut, "the engine's answer was cut");
        let frames =
            frames(vec![message(vec![chunk("a", None)]), Err(cut.into()), message(vec![chunk("b", None)])])
                .await;
        assert_eq!(frames.len(), 2, "{frames:?}");
        assert!(frames[1].starts_with("data: {\"error\":{\"message\":\"the engine's answer was cut\""));
        assert!(frames[1].contains("\"code\":\"engine_cut\""));
        assert!(!frames.concat().contains("[DONE]"));
    }

    /// Conformance 4: an end without a finish reason is no success, whatever the status says.
    #[tokio::test]
    async fn an_end_without_finish_reason_is_an_error() {
        for messages in [vec![], vec![message(vec![chunk("a", None)])]] {
            let all = frames(messages).await.concat();
            assert!(all.contains("\"code\":\"engine_cut\"") && !all.contains("[DONE]"), "{all}");
        }
    }

    /// C1, C2: nothing is pulled ahead of the client, and what is dropped is dropped at once.
    #[tokio::test]
    async fn the_client_pulls_and_its_leaving_drops_the_source() {
        let (sender, dropped) = tokio::sync::oneshot::channel::<()>();
        let mut pulled = 0;
        let pulls = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let counter = std::sync::Arc::clone(&pulls);
        let source = stream::repeat_with(move || {
            let _held = &sender;
            counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            message(vec![chunk("a", None)])
        });
        let context = CallContext::background(Duration::from_secs(1));
        let mut body = response(source.boxed(), events(), context).into_body();
        while pulled < 3 {
            body.frame().await.unwrap().unwrap();
            pulled += 1;
        }
        assert_eq!(pulls.load(std::sync::atomic::Ordering::Relaxed), 3);
        drop(body);
        assert!(dropped.await.is_err());
    }
}
