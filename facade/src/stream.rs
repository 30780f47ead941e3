//! A streamed answer as an HTTP body: pulled by the client, so a slow one slows the engine and one that leaves
//! ends it. Each message of the mesh becomes one frame; nothing is held back, nothing runs beside it. Where
//! nothing comes, a comment keeps the connection open; before the first token this is what sends the head.

mod keep_alive;

use std::{
    convert::Infallible,
    future::{Future, poll_fn},
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
use penstock_proto::inference::v1::{GenerateChunk, GenerateResponse};
use tonic::Status;
use tracing::Span;

use self::keep_alive::KeepAlive;
use crate::{api::Api, config::Config, error::Error, head, problem};

/// Content type of server-sent events.
pub(crate) const EVENT_STREAM: &str = "text/event-stream; charset=utf-8";
/// A comment, which every reader of events skips: it ends what a buffer on the way holds back.
pub(crate) const PING: &[u8] = b": ping\n\n";
/// nginx and its like hand on what they get at once (C10).
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
/// Not to be kept (B14), nor to be changed or held on the way (C10).
const NOT_CACHED: HeaderValue = HeaderValue::from_static("private, no-store, no-cache, no-transform");
/// Room for an event or a few; the buffer grows for the rare larger one.
const BUFFER_BYTES: usize = 4 << 10;

/// What becomes of an answer's chunks on the wire: one implementation for each API.
pub(crate) trait Events: Send + Unpin + 'static {
    /// Whose names errors have for their fields.
    const API: Api;
    /// The content type of the stream.
    const CONTENT_TYPE: &'static str;

    /// Writes what a chunk brings.
    fn write(&mut self, chunk: &GenerateChunk, out: &mut BytesMut);

    /// Writes the end of the answer if it is whole. False: it is not, and nothing was written.
    #[must_use]
    fn end(&mut self, out: &mut BytesMut) -> bool;

    /// Writes the end of an answer that broke off. The error has the API's names of fields.
    fn fail(&mut self, error: &penstock_proto::Error, request_id: &str, out: &mut BytesMut);

    /// Writes what keeps a silent connection open and says nothing.
    fn ping(&mut self, out: &mut BytesMut);
}

/// The answer to a call for a stream. Its head waits for the first token, so that it can tell which model
/// answers, and that none does; but not for longer than `config.keep_alive_delay`.
///
/// # Errors
/// The call failed while the head could still tell.
pub(crate) async fn respond<S, F, E>(
    asking: F,
    events: E,
    config: &Config,
    context: CallContext,
) -> Result<Response, Error>
where
    S: Stream<Item = Result<GenerateResponse, Status>> + Send + Unpin + 'static,
    F: Future<Output = Result<tonic::Response<S>, Status>> + Send + 'static,
    E: Events,
{
    let mut keep_alive = KeepAlive::start(config);
    let mut asking: Asking<S> = Box::pin(asking);
    let begun = poll_fn(|cx| match asking.as_mut().poll(cx) {
        Poll::Ready(answer) => Poll::Ready(Some(answer)),
        Poll::Pending => keep_alive.poll_silent(cx).map(|()| None),
    });
    match begun.await {
        Some(answer) => {
            let (metadata, messages, _) = answer?.into_parts();
            let mut response = response(Source::Answer(messages), events, keep_alive, context);
            head::copy_answer(&metadata, response.headers_mut());
            Ok(response)
        }
        None => Ok(response(Source::Asking(asking), events, keep_alive, context)),
    }
}

fn response<S, E>(source: Source<S>, events: E, keep_alive: KeepAlive, context: CallContext) -> Response
where
    S: Stream<Item = Result<GenerateResponse, Status>> + Send + Unpin + 'static,
    E: Events,
{
    let body = EventBody {
        source,
        keep_alive,
        events,
        buffer: BytesMut::new(),
        context,
        span: Span::current(),
        ended: false,
    };
    let mut response = Response::new(Body::new(body));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(E::CONTENT_TYPE));
    headers.insert(CACHE_CONTROL, NOT_CACHED);
    headers.insert(ACCEL_BUFFERING, HeaderValue::from_static("no"));
    response
}

/// A call whose answer has not begun.
type Asking<S> = Pin<Box<dyn Future<Output = Result<tonic::Response<S>, Status>> + Send>>;

/// Where the messages come from.
enum Source<S> {
    /// The head went out before anybody gave an answer.
    Asking(Asking<S>),
    Answer(S),
}

impl<S: Stream<Item = Result<GenerateResponse, Status>> + Unpin> Source<S> {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        loop {
            match self {
                Source::Answer(messages) => return Pin::new(messages).poll_next(cx),
                Source::Asking(asking) => match ready!(asking.as_mut().poll(cx)) {
                    Ok(answer) => *self = Source::Answer(answer.into_inner()),
                    Err(status) => return Poll::Ready(Some(Err(status))),
                },
            }
        }
    }
}

struct EventBody<S, E> {
    source: Source<S>,
    keep_alive: KeepAlive,
    events: E,
    buffer: BytesMut,
    context: CallContext,
    /// Open until the answer has ended, so that the trace covers all of it; not entered for every chunk.
    span: Span,
    ended: bool,
}

impl<S, E: Events> EventBody<S, E> {
    /// What was written, as a frame. Its memory comes back to the buffer once the frame was sent.
    fn frame(&mut self) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.keep_alive.heard();
        Poll::Ready(Some(Ok(Frame::data(self.buffer.split().freeze()))))
    }

    fn fail(&mut self, error: &Error) {
        let error = problem::told(E::API, error);
        let _entered = self.span.enter();
        tracing::info!(
            request_id = self.context.request_id(),
            reason = error.reason.as_str(),
            "answer broke off"
        );
        self.events.fail(&error, self.context.request_id(), &mut self.buffer);
    }
}

impl<S, E> http_body::Body for EventBody<S, E>
where
    S: Stream<Item = Result<GenerateResponse, Status>> + Unpin,
    E: Events,
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
            let Poll::Ready(next) = this.source.poll_next(cx) else {
                ready!(this.keep_alive.poll_silent(cx));
                this.events.ping(&mut this.buffer);
                return this.frame();
            };
            match next {
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
                    if !this.events.end(&mut this.buffer) {
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
        inference::v1::{Choice, Delta, ResponseTerms},
    };

    use super::*;
    use crate::{
        chat::chunk::{Completions, Shape},
        responses::events::Responses,
    };

    fn chunk(content: &str, finish_reason: Option<&str>) -> GenerateChunk {
        let delta = Delta { content: Some(content.into()), ..Delta::default() };
        let choice =
            Choice { delta: Some(delta), finish_reason: finish_reason.map(Into::into), ..Choice::default() };
        GenerateChunk { id: "c".into(), choices: vec![choice], ..GenerateChunk::default() }
    }

    fn message(chunks: Vec<GenerateChunk>) -> Result<GenerateResponse, Status> {
        Ok(GenerateResponse { chunks })
    }

    fn whole<S>(messages: S, context: CallContext) -> Response
    where
        S: Stream<Item = Result<GenerateResponse, Status>> + Send + Unpin + 'static,
    {
        response(
            Source::Answer(messages),
            Completions::new(Shape::Chat, false),
            KeepAlive::start(&Config::default()),
            context,
        )
    }

    async fn frames(messages: Vec<Result<GenerateResponse, Status>>) -> Vec<String> {
        let context = CallContext::background(Duration::from_secs(1));
        let mut body = whole(stream::iter(messages), context).into_body();
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

    /// What is refused after the head has the caller's own names of fields, as before it.
    #[tokio::test]
    async fn an_error_in_a_stream_names_the_fields_of_its_api() {
        let wrong = penstock_proto::Violation::new("max_completion_tokens", "is too much");
        let wrong = penstock_proto::Error::invalid(vec![wrong]);
        let body = response(
            Source::Answer(stream::iter([Err(wrong.into())])),
            Responses::new(&ResponseTerms::default(), "m", || 0),
            KeepAlive::start(&Config::default()),
            CallContext::background(Duration::from_secs(1)),
        );
        let told = body.into_body().collect().await.unwrap().to_bytes();
        let told = std::str::from_utf8(&told).unwrap();
        assert!(told.contains("\"message\":\"max_output_tokens: is too much\""), "{told}");
        assert!(!told.contains("max_completion_tokens"), "{told}");
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
        let mut body = whole(source.boxed(), context).into_body();
        while pulled < 3 {
            body.frame().await.unwrap().unwrap();
            pulled += 1;
        }
        assert_eq!(pulls.load(std::sync::atomic::Ordering::Relaxed), 3);
        drop(body);
        assert!(dropped.await.is_err());
    }
}
