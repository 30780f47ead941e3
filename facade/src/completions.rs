//! `POST /v1/chat/completions` and `POST /v1/completions`: read, ask the router, write. Whether and how it is
//! answered is the router's.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Request, State},
    http::{
        Extensions, HeaderValue,
        header::{CACHE_CONTROL, CONTENT_TYPE},
    },
    response::Response,
};
use bytes::{Bytes, BytesMut};
use penstock_chassis::CallContext;
use penstock_proto::inference::v1::{GenerateChunk, GenerateRequest, GenerateResponse};
use tokio::time::Instant;
use tonic::{Streaming, metadata::MetadataMap};

use crate::{
    App,
    api::Api,
    body,
    chat::{
        self,
        chunk::{Completions, Shape},
    },
    error::Error,
    head,
    head::Forwarded,
    stream::{self, Events},
    text,
};

/// Larger bodies are read off the threads that serve streams: parsing this much takes about a millisecond.
const INLINE_MAX_BYTES: usize = 512 << 10;

/// Answers a conversation.
pub(crate) async fn create(State(app): State<Arc<App>>, request: Request) -> Result<Response, Error> {
    let received = receive(&app, request, chat::request::read).await?;
    complete(&app, received, Shape::Chat).await
}

/// Continues a text.
pub(crate) async fn create_text(State(app): State<Arc<App>>, request: Request) -> Result<Response, Error> {
    let received = receive(&app, request, text::request::read).await?;
    complete(&app, received, Shape::Text).await
}

/// A request with its body, and in whose name it is to be asked.
pub(crate) struct Received<T> {
    pub(crate) message: T,
    pub(crate) forwarded: Forwarded,
    pub(crate) context: CallContext,
}

/// Reads a request whose body is JSON.
///
/// # Errors
/// Its head or its body is wrong, or it has no credential.
pub(crate) async fn receive<T: Send + 'static>(
    app: &App,
    request: Request,
    read: fn(&[u8]) -> Result<T, Error>,
) -> Result<Received<T>, Error> {
    receive_within(app.config.body_max_bytes, app, request, read).await
}

/// As [`receive`], with a body of at most so many bytes.
pub(crate) async fn receive_within<T: Send + 'static>(
    max_bytes: usize,
    app: &App,
    request: Request,
    read: fn(&[u8]) -> Result<T, Error>,
) -> Result<Received<T>, Error> {
    let (head, body) = request.into_parts();
    let context = context(&head.extensions);
    head::expect_json(Api::of(head.uri.path()), &head.headers)?;
    let forwarded = Forwarded::read(&head.headers)?;
    forwarded.expect_credential()?;
    let arrived_by = Instant::now() + app.config.body_timeout;
    let arrived_by = context.deadline().map_or(arrived_by, |deadline| deadline.min(arrived_by));
    let body = body::read(&head.headers, body, max_bytes, arrived_by).await?;
    let message = parse(body, read).await?;
    Ok(Received { message, forwarded, context })
}

async fn complete(app: &App, received: Received<GenerateRequest>, shape: Shape) -> Result<Response, Error> {
    let options = received.message.stream_options.as_ref();
    let include_usage = options.is_some_and(|options| options.include_usage == Some(true));
    let write = |chunk: &GenerateChunk, out: &mut BytesMut| {
        match shape {
            Shape::Chat => chat::answer::write(chunk, out),
            Shape::Text => text::answer::write(chunk, out),
        }
        Ok(())
    };
    generate(app, received, || Completions::new(shape, include_usage), write).await
}

/// Asks for an answer and gives it out in the words of an API: with `events` if the request is for a stream, else
/// by `write`, which writes the one chunk that holds the whole answer.
pub(crate) async fn generate<E: Events>(
    app: &App,
    received: Received<GenerateRequest>,
    events: impl FnOnce() -> E,
    write: impl FnOnce(&GenerateChunk, &mut BytesMut) -> Result<(), Error>,
) -> Result<Response, Error> {
    let Received { message: request, forwarded, context } = received;
    let streamed = request.stream;
    let mut call = context.request(request);
    forwarded.put(call.metadata_mut());
    let mut router = app.router.clone();
    if !streamed {
        let (metadata, messages, _) = router.generate(call).await?.into_parts();
        return plain(messages, &metadata, write).await;
    }
    let asking = async move { router.generate(call).await };
    stream::respond(asking, events(), &app.config, context).await
}

async fn parse<T: Send + 'static>(body: Bytes, read: fn(&[u8]) -> Result<T, Error>) -> Result<T, Error> {
    if body.len() <= INLINE_MAX_BYTES {
        return read(&body);
    }
    // Not a task: it is waited for, and if the caller leaves it ends by itself.
    tokio::task::spawn_blocking(move || read(&body)).await.map_err(|_| Error::Panicked)?
}

/// The one chunk that holds the whole answer, as JSON.
async fn plain(
    mut messages: Streaming<GenerateResponse>,
    metadata: &MetadataMap,
    write: impl FnOnce(&GenerateChunk, &mut BytesMut) -> Result<(), Error>,
) -> Result<Response, Error> {
    let message = messages.message().await?.ok_or(Error::NotWhole)?;
    // The status comes last: until then the answer may still turn out to be none.
    let more = messages.message().await?.is_some();
    match message.chunks.as_slice() {
        [chunk] if !more && chat::answer::is_whole(chunk) => {
            let mut out = BytesMut::with_capacity(1024);
            write(chunk, &mut out)?;
            Ok(json(out, metadata))
        }
        _ => Err(Error::NotWhole),
    }
}

/// A response with JSON of a tenant.
pub(crate) fn json(out: BytesMut, metadata: &MetadataMap) -> Response {
    let mut response = Response::new(Body::from(out.freeze()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, head::PRIVATE);
    head::copy_answer(metadata, headers);
    response
}

/// The context that the edge made.
pub(crate) fn context(extensions: &Extensions) -> CallContext {
    extensions.get().cloned().unwrap_or_else(|| CallContext::background(std::time::Duration::from_secs(60)))
}
