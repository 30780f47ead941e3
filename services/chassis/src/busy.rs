//! Whether a connection has a request in hand: from its head to the last frame of its answer.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::sleep;
use tower::Service;

use crate::taking::stream_waits;

/// How often an idle connection is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// Counts the requests that a connection has in hand.
#[derive(Clone, Debug, Default)]
pub(crate) struct Busy(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    in_hand: AtomicUsize,
    begun: AtomicBool,
}

impl Busy {
    /// The same service, its requests counted.
    pub(crate) fn watch<S>(&self, inner: S) -> Watched<S> {
        Watched { inner, busy: self.clone() }
    }

    /// Until there has been no request for `span`.
    pub(crate) async fn idle(&self, span: Duration) {
        let mut idle = Duration::ZERO;
        while idle < span {
            sleep(LOOK).await;
            idle = if self.0.in_hand.load(Ordering::Relaxed) == 0 { idle + LOOK } else { Duration::ZERO };
        }
    }

    /// Until `span` is over, if there was no request by then; else for ever.
    pub(crate) async fn mute(&self, span: Duration) {
        sleep(span).await;
        if self.0.begun.load(Ordering::Relaxed) {
            std::future::pending().await
        }
    }

    fn begin(&self) -> InHand {
        self.0.begun.store(true, Ordering::Relaxed);
        self.0.in_hand.fetch_add(1, Ordering::Relaxed);
        InHand(Arc::clone(&self.0))
    }
}

/// A request in hand, until it is dropped.
#[derive(Debug)]
pub(crate) struct InHand(Arc<Counts>);

impl Drop for InHand {
    fn drop(&mut self) {
        self.0.in_hand.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A service whose requests are counted.
#[derive(Clone, Debug)]
pub(crate) struct Watched<S> {
    inner: S,
    busy: Busy,
}

impl<S, R, B> Service<Request<R>> for Watched<S>
where
    S: Service<Request<R>, Response = Response<B>>,
{
    type Response = Response<WatchedBody<B>>;
    type Error = S::Error;
    type Future = WatchedFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<R>) -> Self::Future {
        WatchedFuture { inner: self.inner.call(request), in_hand: Some(self.busy.begin()) }
    }
}

pin_project! {
    /// A request until its answer begins.
    pub(crate) struct WatchedFuture<F> {
        #[pin]
        inner: F,
        in_hand: Option<InHand>,
    }
}

impl<F, B, E> Future for WatchedFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<WatchedBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        this.inner.poll(cx).map_ok(|response| {
            let in_hand = this.in_hand.take();
            response.map(|inner| WatchedBody { inner, in_hand })
        })
    }
}

pin_project! {
    /// The body of an answer; the request is in hand until this is dropped.
    pub(crate) struct WatchedBody<B> {
        #[pin]
        inner: B,
        in_hand: Option<InHand>,
    }
}

impl<B: Body> Body for WatchedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        // Asked for more: what it had is on its way.
        stream_waits(false);
        let polled = self.project().inner.poll_frame(cx);
        stream_waits(matches!(polled, Poll::Ready(Some(Ok(_)))));
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use bytes::Bytes;
    use http_body_util::Full;
    use tokio::time::timeout;
    use tower::{ServiceExt as _, service_fn};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_request_is_in_hand_until_its_answer_is_dropped() {
        let busy = Busy::default();
        let answer = |_: Request<()>| async { Ok::<_, Infallible>(Response::new(Full::<Bytes>::default())) };
        let service = busy.watch(service_fn(answer));
        let response = service.oneshot(Request::new(())).await.unwrap();
        let second = Duration::from_secs(1);
        assert!(timeout(10 * second, busy.mute(second)).await.is_err(), "it had a request");
        assert!(timeout(2 * second, Busy::default().mute(second)).await.is_ok());
        assert!(timeout(10 * second, busy.idle(second)).await.is_err());
        drop(response);
        assert!(timeout(2 * second, busy.idle(second)).await.is_ok());
    }
}
