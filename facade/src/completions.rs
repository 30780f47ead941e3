//! `POST /v1/chat/completions`: read, ask the router, write. Whether and how it is answered is the router's.

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
use penstock_proto::inference::v1::{GenerateRequest, GenerateResponse};
use tokio::time::Instant;
use tonic::{Streaming, metadata::MetadataMap};

use crate::{App, body, chat, error::Error, head, head::Forwarded, stream};

/// Larger bodies are read off the threads that serve streams: parsing this much takes about a millisecond.
const INLINE_MAX_BYTES: usize = 512 << 10;

/// Handles the route.
pub(crate) async fn create(State(app): State<Arc<App>>, request: Request) -> Result<Response, Error> {
    let (head, body) = request.into_parts();
    let context = context(&head.extensions);
    head::expect_json(&head.headers)?;
    let forwarded = Forwarded::read(&head.headers)?;
    forwarded.expect_credential()?;
    let arrived_by = Instant::now() + app.config.body_timeout;
    let arrived_by = context.deadline().map_or(arrived_by, |deadline| deadline.min(arrived_by));
    let body = body::read(&head.headers, body, app.config.body_max_bytes, arrived_by).await?;
    let request = parse(body).await?;

    let streamed = request.stream;
    let include_usage =
        request.stream_options.as_ref().is_some_and(|options| options.include_usage == Some(true));
    let mut call = context.request(request);
    forwarded.put(call.metadata_mut());
    let mut router = app.router.clone();
    if !streamed {
        let (metadata, messages, _) = router.generate(call).await?.into_parts();
        return plain(messages, &metadata).await;
    }
    let asking = async move { router.generate(call).await };
    stream::respond(asking, include_usage, &app.config, context).await
}

async fn parse(body: Bytes) -> Result<GenerateRequest, Error> {
    if body.len() <= INLINE_MAX_BYTES {
        return chat::request::read(&body);
    }
    // Not a task: it is waited for, and if the caller leaves it ends by itself.
    tokio::task::spawn_blocking(move || chat::request::read(&body)).await.map_err(|_| Error::Panicked)?
}

/// The one chunk that holds the whole answer, as JSON.
async fn plain(mut messages: Streaming<GenerateResponse>, metadata: &MetadataMap) -> Result<Response, Error> {
    let message = messages.message().await?.ok_or(Error::NotWhole)?;
    // The status comes last: until then the answer may still turn out to be none.
    let more = messages.message().await?.is_some();
    match message.chunks.as_slice() {
        [chunk] if !more && chat::answer::is_whole(chunk) => {
            let mut out = BytesMut::with_capacity(1024);
            chat::answer::write(chunk, &mut out);
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
