//! What bounds a call in time, wherever it is served or awaited: its deadline, and the drain limit of this
//! process. And how a body ends that was cut: by trailers with a status.

use std::{
    future::Future as _,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;
use penstock_proto::{Error, Reason};
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::Status;

/// Longest a call may take if its caller sets no deadline, or a later one: an hour, far beyond any answer.
pub(crate) const MAX_TIMEOUT: Duration = Duration::from_secs(3600);

pin_project! {
    pub(crate) struct Limits {
        #[pin]
        deadline: Sleep,
        #[pin]
        aborting: WaitForCancellationFutureOwned,
    }
}

impl Limits {
    pub(crate) fn new(deadline: Instant, aborting: &CancellationToken) -> Self {
        Self { deadline: sleep_until(deadline), aborting: aborting.clone().cancelled_owned() }
    }

    /// Ready with what the caller is told once a limit is reached.
    pub(crate) fn poll_exceeded(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Status> {
        let this = self.project();
        if this.deadline.poll(cx).is_ready() {
            return Poll::Ready(deadline_exceeded());
        }
        ready!(this.aborting.poll(cx));
        Poll::Ready(Error::new(Reason::Draining, "the service is shutting down").into())
    }
}

/// What a caller is told when the call's time is over.
pub(crate) fn deadline_exceeded() -> Status {
    Error::new(Reason::DeadlineExceeded, "the deadline passed").into()
}

/// The last frame of a body that is cut.
pub(crate) fn last_frame(status: &Status) -> Result<Frame<Bytes>, Status> {
    let mut trailers = HeaderMap::new();
    status.add_header(&mut trailers)?;
    Ok(Frame::trailers(trailers))
}
