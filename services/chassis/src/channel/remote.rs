//! The body of an answer from another process: bounded by the call's deadline and by our own drain limit, and
//! never ended by the transport without a status that says so.

use std::{
    future::Future as _,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;
use penstock_proto::{Error, Reason};
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::{Status, body::Body};

use super::{balancer::unavailable, replica::Load};

pin_project! {
    pub(super) struct RemoteBody {
        #[pin]
        inner: Body,
        #[pin]
        deadline: Sleep,
        #[pin]
        aborting: WaitForCancellationFutureOwned,
        load: Load,
        ended: bool,
    }
}

impl RemoteBody {
    pub(super) fn new(inner: Body, deadline: Instant, aborting: CancellationToken, load: Load) -> Self {
        let aborting = aborting.cancelled_owned();
        Self { inner, deadline: sleep_until(deadline), aborting, load, ended: false }
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
            Poll::Pending if this.deadline.poll(cx).is_ready() => {
                Error::new(Reason::DeadlineExceeded, "the deadline passed").into()
            }
            Poll::Pending => {
                ready!(this.aborting.poll(cx));
                Error::new(Reason::Draining, "the service is shutting down").into()
            }
            Poll::Ready(Some(Ok(frame))) => {
                *this.ended = frame.is_trailers();
                return Poll::Ready(Some(Ok(frame)));
            }
            // What the transport says (UNKNOWN, CANCELLED, INTERNAL) means: the replica was lost.
            Poll::Ready(Some(Err(_)) | None) => unavailable(),
        };
        *this.ended = true;
        let mut trailers = HeaderMap::new();
        Poll::Ready(Some(match status.add_header(&mut trailers) {
            Ok(()) => Ok(Frame::trailers(trailers)),
            Err(status) => Err(status),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }
}
