//! A request's body that has to arrive in time: one that trickles in holds memory for nothing.

use std::{
    future::Future as _,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::Frame;
use penstock_proto::{Error, Reason};
use pin_project_lite::pin_project;
use tokio::time::{Sleep, sleep};
use tonic::{Status, body::Body};
use tower::BoxError;

/// How long a gRPC request's body may take: as long as the facade gives one over REST by default.
const ARRIVAL_TIMEOUT: Duration = Duration::from_secs(60);

/// `body`, ended with an error if it is not whole in time.
pub fn arriving<B>(body: B) -> Body
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    Body::new(Arriving { inner: body, deadline: sleep(ARRIVAL_TIMEOUT) })
}

pin_project! {
    struct Arriving<B> {
        #[pin]
        inner: B,
        #[pin]
        deadline: Sleep,
    }
}

impl<B> http_body::Body for Arriving<B>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.project();
        if let Poll::Ready(frame) = this.inner.poll_frame(cx) {
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        ready!(this.deadline.poll(cx));
        let late = Error::new(Reason::DeadlineExceeded, "the request did not arrive in time");
        Poll::Ready(Some(Err(Status::from(late).into())))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt as _, StreamBody};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_body_that_never_gets_whole_is_ended() {
        let silent = StreamBody::new(tokio_stream::pending::<Result<Frame<Bytes>, Status>>());
        let error = arriving(silent).frame().await.unwrap().unwrap_err();
        assert_eq!(Error::from(&Status::from_error(error.into())).reason, Reason::DeadlineExceeded);
    }
}
