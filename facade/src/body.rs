//! Reading a request's body, bounded in bytes and in time.

use axum::{
    body::Body,
    http::{HeaderMap, header::CONTENT_LENGTH},
};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use tokio::time::{Instant, timeout_at};

use crate::error::Error;

/// Room that is made on the strength of `content-length` alone: what more comes is paid for as it comes.
const TRUSTED_BYTES: usize = 64 << 10;

/// Reads a body of at most `max_bytes` until `deadline`.
///
/// # Errors
/// It is larger, as soon as that is known, without reading on; it breaks off, or takes too long.
pub(crate) async fn read(
    headers: &HeaderMap,
    body: Body,
    max_bytes: usize,
    deadline: Instant,
) -> Result<Bytes, Error> {
    let announced =
        headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > max_bytes) {
        return Err(Error::TooLarge(max_bytes));
    }
    timeout_at(deadline, collect(body, max_bytes, announced.unwrap_or_default().min(TRUSTED_BYTES)))
        .await
        .unwrap_or(Err(Error::Incomplete))
}

async fn collect(mut body: Body, max_bytes: usize, room: usize) -> Result<Bytes, Error> {
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| Error::Incomplete)?.into_data() else { continue };
        if data.len() > max_bytes.saturating_sub(first.len().max(all.len())) {
            return Err(Error::TooLarge(max_bytes));
        }
        // Most bodies come in one piece, which needs no copy.
        if first.is_empty() && all.is_empty() {
            first = data;
            continue;
        }
        if all.is_empty() {
            all.reserve(room.max(first.len() + data.len()));
            all.extend_from_slice(&first);
        }
        all.extend_from_slice(&data);
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, time::Duration};

    use axum::http::HeaderValue;
    use futures_util::{StreamExt as _, stream};

    use super::*;

    fn pieces(pieces: Vec<&'static str>) -> Body {
        Body::from_stream(stream::iter(pieces.into_iter().map(Ok::<_, Infallible>)))
    }

    async fn read_to(body: Body, max_bytes: usize) -> Result<Bytes, Error> {
        read(&HeaderMap::new(), body, max_bytes, Instant::now() + Duration::from_secs(5)).await
    }

    /// A3.
    #[tokio::test]
    async fn the_limit_counts_the_bytes_as_they_come() {
        assert_eq!(read_to(Body::empty(), 4).await.unwrap(), "");
        assert_eq!(read_to(Body::from("abcd"), 4).await.unwrap(), "abcd");
        assert_eq!(read_to(pieces(vec!["ab", "", "c", "d"]), 4).await.unwrap(), "abcd");
        assert!(matches!(read_to(Body::from("abcde"), 4).await, Err(Error::TooLarge(4))));
        assert!(matches!(read_to(pieces(vec!["abcd", "e"]), 4).await, Err(Error::TooLarge(4))));
    }

    /// A3: a body that never ends is read no further than the limit.
    #[tokio::test]
    async fn an_endless_body_ends_at_the_limit() {
        let endless = Body::from_stream(stream::repeat("x").map(Ok::<_, Infallible>));
        assert!(matches!(read_to(endless, 1000).await, Err(Error::TooLarge(1000))));
    }

    #[tokio::test]
    async fn an_announced_size_is_refused_before_anything_is_read() {
        let headers = HeaderMap::from_iter([(CONTENT_LENGTH, HeaderValue::from_static("5"))]);
        let never = Body::from_stream(stream::pending::<Result<Bytes, Infallible>>());
        let result = read(&headers, never, 4, Instant::now() + Duration::from_secs(5)).await;
        assert!(matches!(result, Err(Error::TooLarge(4))));
    }

    /// G1.
    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_is_given_up() {
        let never = Body::from_stream(stream::pending::<Result<Bytes, Infallible>>());
        assert!(matches!(read_to(never, 4).await, Err(Error::Incomplete)));
        let broken = Body::from_stream(stream::iter([Ok("a"), Err("reset")]));
        assert!(matches!(read_to(broken, 4).await, Err(Error::Incomplete)));
    }
}
