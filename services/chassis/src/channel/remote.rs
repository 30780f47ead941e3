//! The body of an answer from another process: bounded by the call's deadline and by our own drain limit, and
//! never ended by the transport without a status that says so.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::Frame;
use pin_project_lite::pin_project;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::{Status, body::Body};

use super::{balancer::unavailable, replica::Load};
use crate::limits::{Limits, last_frame};

pin_project! {
    pub(super) struct RemoteBody {
        #[pin]
        inner: Body,
        #[pin]
        limits: Limits,
        load: Load,
        ended: bool,
    }
}

impl RemoteBody {
    pub(super) fn new(inner: Body, deadline: Instant, aborting: &CancellationToken, load: Load) -> Self {
        Self { inner, limits: Limits::new(deadline, aborting), load, ended: false }
    }
}

impl http_body::Body for RemoteBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.project();
        if *this.ended {
            return Poll::Ready(None);
        }
        let status = match this.inner.poll_frame(cx) {
            Poll::Pending => ready!(this.limits.poll_exceeded(cx)),
            Poll::Ready(Some(Ok(frame))) => {
                *this.ended = frame.is_trailers();
                return Poll::Ready(Some(Ok(frame)));
            }
            // What the transport says (UNKNOWN, CANCELLED, INTERNAL) means: the replica was lost.
            Poll::Ready(Some(Err(_)) | None) => unavailable(),
        };
        *this.ended = true;
        Poll::Ready(Some(last_frame(&status)))
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }
}
