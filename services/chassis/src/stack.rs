//! The server stack: what stands between the wire, or an in-process caller, and every handler. One service and
//! one body instead of five layers: a call costs one allocation for all of them.
//!
//! The order, outside in: trace → metrics → catch panic → deadline → load shed → handler.

use std::{
    convert::Infallible,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Frame;
use penstock_proto::{Error, Reason, metadata::REQUEST_ID};
use pin_project_lite::pin_project;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status, body::Body};
use tower::Service;
use tracing::Span;

use crate::{
    CallContext, Chassis,
    limits::{Limits, MAX_TIMEOUT, deadline_exceeded, last_frame},
    metrics::RpcMetrics,
};

/// Most calls served at once by one process, whatever its door lets in; beyond it calls are refused at once.
/// Each costs a few KiB.
pub(crate) const MAX_IN_FLIGHT: usize = 16_384;
/// Most streams at once that only watch something: they stay for ever, so they get a room of their own.
const MAX_WATCHES: usize = 1024;

/// Wraps the handlers of a service. Used for every call, in process and from the wire.
#[derive(Clone, Debug)]
pub(crate) struct ServerStack<S> {
    inner: S,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    metrics: Arc<RpcMetrics>,
    aborting: CancellationToken,
    room: Arc<Semaphore>,
    watch_room: Arc<Semaphore>,
    in_process: bool,
}

impl<S> ServerStack<S> {
    /// `in_process`: the caller is in this process, and its span names the request already.
    pub(crate) fn new(inner: S, chassis: &Chassis, in_process: bool) -> Self {
        let shared = Shared {
            metrics: Arc::clone(chassis.metrics.rpc()),
            aborting: chassis.tasks.aborting(),
            room: Arc::new(Semaphore::new(MAX_IN_FLIGHT)),
            watch_room: Arc::new(Semaphore::new(MAX_WATCHES)),
            in_process,
        };
        Self { inner, shared: Arc::new(shared) }
    }
}

impl<S> Service<Request<Body>> for ServerStack<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Call<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let context = CallContext::from_rpc_headers(request.headers(), MAX_TIMEOUT);
        let path: Arc<str> = request.uri().path().into();
        // Trace first: everything below, refusals included, is logged with the request id.
        // In process the caller's span does that; ours is then for traces and for logs at DEBUG.
        let span = if self.shared.in_process {
            tracing::debug_span!("rpc", "otel.name" = &*path, request_id = context.request_id())
        } else {
            tracing::info_span!("rpc", "otel.name" = &*path, request_id = context.request_id())
        };
        context.adopt_trace(&span);
        // Metrics next: a call that is cut, shed or panics is counted as what it was.
        let guard = Guard::new(&self.shared, path, span.clone(), &context);
        // Both bound the headers and the body alike; tonic bounds neither in process.
        let limits = guard.limits();
        // Load shed last, so that what is refused costs nothing but is still seen above.
        let (admitted, permit) = self.shared.admit(guard.path());
        let handler = admitted.then(|| {
            request.extensions_mut().insert(context);
            let _entered = span.enter();
            self.inner.call(request)
        });
        Call { handler, limits, guard: Some(guard), permit }
    }
}

impl Shared {
    /// Whether there is room for a call, and its place if it needs one. A check of health always has room: a
    /// process that has much to do is not to be restarted for it. Watches of health have a room of their own
    /// (`health.watches_max`): they must not keep out those by which services hear from one another.
    fn admit(&self, path: &str) -> (bool, Option<OwnedSemaphorePermit>) {
        if path.starts_with("/grpc.health.") || path == "/penstock.status.v1.Status/Watch" {
            return (true, None);
        }
        let watches = path.ends_with("/Watch") || path.ends_with("/WatchRevocations");
        let room = if watches { &self.watch_room } else { &self.room };
        let permit = Arc::clone(room).try_acquire_owned().ok();
        (permit.is_some(), permit)
    }
}

pin_project! {
    /// A call until its response begins.
    pub(crate) struct Call<F> {
        #[pin]
        handler: Option<F>,
        #[pin]
        limits: Limits,
        guard: Option<Guard>,
        permit: Option<OwnedSemaphorePermit>,
    }
}

impl<F: Future<Output = Result<Response<Body>, Infallible>>> Future for Call<F> {
    type Output = Result<Response<Body>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let span = this.guard.as_ref().map_or_else(Span::none, |guard| guard.span.clone());
        let _entered = span.enter();
        let outcome = match this.handler.as_mut().as_pin_mut() {
            None => Err(Error::new(Reason::Overloaded, "too many calls at once").into()),
            Some(handler) => match catch_unwind(AssertUnwindSafe(|| handler.poll(cx))) {
                Ok(Poll::Ready(Ok(response))) => Ok(response),
                Ok(Poll::Pending) => Err(ready!(this.limits.poll_exceeded(cx))),
                Err(_) => Err(panicked()),
            },
        };
        let Some(mut guard) = this.guard.take() else { return Poll::Pending };
        Poll::Ready(Ok(match outcome {
            Ok(response) => {
                let (mut head, inner) = explained(response).into_parts();
                head.headers.insert(REQUEST_ID, guard.request_id.clone());
                // A response that ends in its headers has its status there.
                if let Some(code) = code_of(&head.headers) {
                    guard.finish(code);
                    return Poll::Ready(Ok(Response::from_parts(head, inner)));
                }
                let limits = guard.limits();
                let permit = this.permit.take();
                Response::from_parts(head, Body::new(CallBody { inner, limits, guard, permit, ended: false }))
            }
            Err(status) => {
                guard.finish(status.code());
                let mut response = status.into_http();
                response.headers_mut().insert(REQUEST_ID, guard.request_id.clone());
                response
            }
        }))
    }
}

fn panicked() -> Status {
    // The panic hook has logged the place and the message.
    Error::new(Reason::Internal, "the service failed").into()
}

/// A refusal by tonic itself (a message that is no protobuf, a method that is not there) in the words of the
/// reason table: what is not ours has no details.
fn explained(response: Response<Body>) -> Response<Body> {
    let headers = response.headers();
    let ours = headers.contains_key("grpc-status-details-bin");
    let Some(status) = Status::from_header_map(headers).filter(|status| status.code() != Code::Ok && !ours)
    else {
        return response;
    };
    let error = match status.code() {
        Code::Internal if status.message().starts_with("failed to decode") => {
            Error::new(Reason::InvalidRequest, "the message is not valid protobuf for this call")
        }
        Code::Internal if status.message().starts_with("Missing request message") => {
            Error::new(Reason::InvalidRequest, "the request has no message")
        }
        _ => Error::from(&status),
    };
    Status::from(error).into_http()
}

fn code_of(headers: &HeaderMap) -> Option<Code> {
    headers.get("grpc-status").map(|value| Code::from_bytes(value.as_bytes()))
}

pin_project! {
    /// The body of a response.
    struct CallBody {
        #[pin]
        inner: Body,
        #[pin]
        limits: Limits,
        guard: Guard,
        permit: Option<OwnedSemaphorePermit>,
        ended: bool,
    }
}

impl http_body::Body for CallBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.project();
        if *this.ended {
            return Poll::Ready(None);
        }
        let span = this.guard.span.clone();
        let _entered = span.enter();
        let cut = match catch_unwind(AssertUnwindSafe(|| this.inner.poll_frame(cx))) {
            // The timer is only set once there is something to wait for: most answers are there at once.
            Ok(Poll::Pending) => ready!(this.limits.poll_exceeded(cx)),
            // A body that never pauses is bounded all the same.
            Ok(Poll::Ready(Some(Ok(frame)))) if !frame.is_data() || Instant::now() < this.guard.deadline => {
                if let Some(code) = frame.trailers_ref().and_then(code_of) {
                    this.guard.finish(code);
                }
                return Poll::Ready(Some(Ok(frame)));
            }
            Ok(Poll::Ready(Some(Ok(_)))) => deadline_exceeded(),
            Ok(Poll::Ready(None)) => {
                *this.ended = true;
                return Poll::Ready(None);
            }
            Ok(Poll::Ready(Some(Err(status)))) => status,
            Err(_) => panicked(),
        };
        *this.ended = true;
        this.guard.finish(cut.code());
        Poll::Ready(Some(last_frame(&cut)))
    }
}

/// Counts a call when it ends, however it ends.
struct Guard {
    shared: Arc<Shared>,
    path: Arc<str>,
    span: Span,
    request_id: HeaderValue,
    started: Instant,
    deadline: Instant,
    code: Option<Code>,
}

impl Guard {
    fn new(shared: &Arc<Shared>, path: Arc<str>, span: Span, context: &CallContext) -> Self {
        shared.metrics.in_flight.inc();
        let started = Instant::now();
        let deadline = context.deadline().unwrap_or(started + MAX_TIMEOUT);
        let request_id = context.request_id_header();
        Self { shared: Arc::clone(shared), path, span, request_id, started, deadline, code: None }
    }

    fn limits(&self) -> Limits {
        Limits::new(self.deadline, &self.shared.aborting)
    }

    fn path(&self) -> &str {
        &self.path
    }

    fn finish(&mut self, code: Code) {
        self.code.get_or_insert(code);
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.shared.metrics.in_flight.dec();
        // Dropped before its end: the caller went away.
        let code = self.code.unwrap_or(Code::Cancelled);
        let _entered = self.span.enter();
        tracing::debug!(method = &*self.path, ?code, "served");
        self.shared.metrics.record(&self.path, code, self.started.elapsed());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http_body_util::{BodyExt as _, StreamBody};
    use tokio_stream::StreamExt as _;
    use tower::{ServiceExt as _, service_fn};

    use super::*;

    fn request(timeout: &str) -> Request<Body> {
        Request::post("/grpc.health.v1.Health/Check")
            .header("grpc-timeout", timeout)
            .body(Body::empty())
            .unwrap()
    }

    async fn call<F>(chassis: &Chassis, handler: impl Fn() -> F, request: Request<Body>) -> Response<Body>
    where
        F: Future<Output = Result<Response<Body>, Infallible>>,
    {
        ServerStack::new(service_fn(move |_| handler()), chassis, false).oneshot(request).await.unwrap()
    }

    fn reason(headers: &HeaderMap) -> Reason {
        Error::from(&Status::from_header_map(headers).unwrap()).reason
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_handler_is_cut_at_the_deadline() {
        let chassis = Chassis::default();
        let response = call(&chassis, std::future::pending, request("100m")).await;
        assert_eq!(reason(response.headers()), Reason::DeadlineExceeded);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_is_cut_at_the_deadline_even_if_it_never_pauses() {
        let chassis = Chassis::default();
        let endless = || async {
            let frames = tokio_stream::iter(std::iter::repeat(Bytes::from_static(b"x"))).then(|data| async {
                tokio::time::sleep(Duration::from_millis(10)).await;
                Ok::<_, Status>(Frame::data(data))
            });
            Ok(Response::new(Body::new(StreamBody::new(frames))))
        };
        let response = call(&chassis, endless, request("105m")).await;
        let mut body = response.into_body();
        let mut frames = 0;
        let trailers = loop {
            match body.frame().await.unwrap().unwrap().into_trailers() {
                Ok(trailers) => break trailers,
                Err(_) => frames += 1,
            }
        };
        assert_eq!(frames, 10);
        assert_eq!(reason(&trailers), Reason::DeadlineExceeded);
        assert!(body.frame().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_is_always_ready_is_cut_at_the_deadline() {
        let chassis = Chassis::default();
        let endless = || async {
            let frames =
                tokio_stream::iter(std::iter::repeat_with(|| Ok::<_, Status>(Frame::data(Bytes::new()))));
            Ok(Response::new(Body::new(StreamBody::new(frames))))
        };
        let mut body = call(&chassis, endless, request("100m")).await.into_body();
        assert!(body.frame().await.unwrap().unwrap().is_data());
        tokio::time::advance(Duration::from_millis(101)).await;
        let trailers = body.frame().await.unwrap().unwrap().into_trailers().unwrap();
        assert_eq!(reason(&trailers), Reason::DeadlineExceeded);
    }

    #[tokio::test]
    async fn a_panic_ends_only_its_own_call() {
        let chassis = Chassis::default();
        let panics = || async { panic!("a bug") };
        let response = call(&chassis, panics, request("1S")).await;
        assert_eq!(reason(response.headers()), Reason::Internal);
        drop(response);
        let text = chassis.metrics.encode().unwrap();
        assert!(
            text.contains("penstock_rpc_total{method=\"grpc.health.v1.Health/Check\",code=\"INTERNAL\"} 1"),
            "{text}"
        );
    }

    #[tokio::test]
    async fn watches_are_bounded_and_leave_room_for_calls_and_checks() {
        let chassis = Chassis::default();
        let stack = ServerStack::new((), &chassis, false);
        let watch = "/penstock.adapter.v1.Deployments/Watch";
        let places: Vec<_> = (0..MAX_WATCHES).map(|_| stack.shared.admit(watch)).collect();
        assert!(places.iter().all(|(admitted, _)| *admitted));
        assert!(!stack.shared.admit(watch).0);
        let calls: Vec<_> = (0..MAX_IN_FLIGHT).map(|_| stack.shared.admit("/a.B/C")).collect();
        assert!(calls.iter().all(|(admitted, _)| *admitted));
        assert!(!stack.shared.admit("/a.B/C").0);
        for health in
            ["grpc.health.v1.Health/Check", "grpc.health.v1.Health/Watch", "penstock.status.v1.Status/Watch"]
        {
            assert!(stack.shared.admit(&format!("/{health}")).0, "{health}");
        }
        drop((places, calls));
        assert!(stack.shared.admit(watch).0 && stack.shared.admit("/a.B/C").0);
    }

    /// A16: garbage is the caller's mistake, and every refusal has a reason of the table.
    #[tokio::test]
    async fn what_tonic_refuses_has_a_reason_too() {
        let chassis = Chassis::default();
        let refusals = [
            (Status::internal("failed to decode Protobuf message: invalid varint"), Reason::InvalidRequest),
            (Status::out_of_range("Error, decoded message length too large"), Reason::RequestTooLarge),
            (Status::unimplemented(""), Reason::Unimplemented),
        ];
        for (status, wanted) in refusals {
            let refuses = || async { Ok(status.clone().into_http()) };
            let response = call(&chassis, refuses, request("1S")).await;
            assert_eq!(reason(response.headers()), wanted);
            assert!(response.headers().contains_key("grpc-status-details-bin"));
        }
    }

    #[tokio::test]
    async fn a_caller_that_leaves_is_counted_as_cancelled() {
        let chassis = Chassis::default();
        let endless = || async {
            Ok(Response::new(Body::new(StreamBody::new(
                tokio_stream::pending::<Result<Frame<Bytes>, Status>>(),
            ))))
        };
        drop(call(&chassis, endless, request("1S")).await);
        let text = chassis.metrics.encode().unwrap();
        assert!(
            text.contains("penstock_rpc_total{method=\"grpc.health.v1.Health/Check\",code=\"CANCELLED\"} 1"),
            "{text}"
        );
        assert!(text.contains("penstock_rpc_in_flight 0"), "{text}");
    }

    #[tokio::test]
    async fn at_the_drain_limit_a_stream_ends_with_an_error() {
        let chassis = Chassis::default();
        let endless = || async {
            Ok(Response::new(Body::new(StreamBody::new(
                tokio_stream::pending::<Result<Frame<Bytes>, Status>>(),
            ))))
        };
        let response = call(&chassis, endless, request("60S")).await;
        chassis.tasks.aborting().cancel();
        let trailers = response.into_body().frame().await.unwrap().unwrap().into_trailers().unwrap();
        assert_eq!(reason(&trailers), Reason::Draining);
    }
}
