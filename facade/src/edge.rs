//! What stands around every route: identity, trace and deadline of the request on the way in; on the way out the
//! request id, the one error body, the count. A panic below becomes an answer. And the door: a request for which
//! there is no room is refused before its body is read.

use std::{
    convert::Infallible,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use axum::{
    body::Body,
    extract::{MatchedPath, Request},
    http::{HeaderName, HeaderValue, Uri, Version, header::CONNECTION},
    response::{IntoResponse as _, Response},
};
use http_body::Body as _;
use penstock_chassis::{CallContext, Pass};
use penstock_proto::metadata;
use pin_project_lite::pin_project;
use tower::{Layer, Service};
use tracing::Span;

use crate::{
    App,
    api::Api,
    error::Error,
    head,
    metrics::{Metrics, Route},
    problem::{self, Unwritten},
};

const REQUEST_ID: HeaderName = HeaderName::from_static(metadata::REQUEST_ID);
/// Where Anthropic's clients look for it.
const ANTHROPIC_REQUEST_ID: HeaderName = HeaderName::from_static("request-id");

/// Puts the edge around routes.
#[derive(Clone)]
pub(crate) struct EdgeLayer(pub(crate) Arc<App>);

impl<S> Layer<S> for EdgeLayer {
    type Service = Edge<S>;

    fn layer(&self, inner: S) -> Edge<S> {
        Edge { inner, app: Arc::clone(&self.0) }
    }
}

/// Routes with the edge around them.
#[derive(Clone)]
pub(crate) struct Edge<S> {
    inner: S,
    app: Arc<App>,
}

impl<S> Service<Request> for Edge<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Exchange<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let grpc = head::is_grpc(request.headers());
        let max = self.app.config.request_timeout;
        // A gRPC call has its deadline in `grpc-timeout`, which goes on untouched.
        let timeout = if grpc { Ok(max) } else { head::timeout(request.headers(), max) };
        let context = CallContext::from_headers(request.headers(), timeout.as_ref().copied().unwrap_or(max));
        let matched = request.extensions().get::<MatchedPath>();
        let route = if grpc { Route::GRPC } else { Route::of(matched.map(MatchedPath::as_str)) };
        let span =
            tracing::info_span!("http", "otel.name" = route.as_str(), request_id = context.request_id());
        context.adopt_trace(&span);
        let uri = request.uri().clone();
        let http1 = matches!(request.version(), Version::HTTP_10 | Version::HTTP_11);
        let body_may_be_left = http1 && !request.body().is_end_stream();
        request.extensions_mut().insert(context.clone());
        let enter = |class| self.app.door.enter(class).map_err(Error::Overloaded);
        let pass = timeout.and_then(|_| route.class(&request).map(enter).transpose());
        let (handler, pass, refused) = match pass {
            Ok(pass) => {
                let _entered = span.enter();
                (Some(self.inner.call(request)), pass, None)
            }
            Err(error) => (None, None, Some(error)),
        };
        let metrics = self.app.metrics.clone();
        let about = About { context, uri, route, grpc, body_may_be_left, metrics };
        Exchange { handler, pass, refused, span, about }
    }
}

/// What is kept of a request until its answer.
struct About {
    context: CallContext,
    uri: Uri,
    route: Route,
    grpc: bool,
    /// An HTTP/1 request with a body: if it is refused before that is read, the connection cannot go on.
    body_may_be_left: bool,
    metrics: Metrics,
}

pin_project! {
    /// A request until its answer begins.
    pub(crate) struct Exchange<F> {
        #[pin]
        handler: Option<F>,
        pass: Option<Pass>,
        refused: Option<Error>,
        span: Span,
        about: About,
    }
}

impl<F: Future<Output = Result<Response, Infallible>>> Future for Exchange<F> {
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let _entered = this.span.enter();
        if let Some(error) = this.refused.take() {
            return Poll::Ready(Ok(this.about.finish(this.about.refuse(error))));
        }
        let Some(handler) = this.handler.as_pin_mut() else { return Poll::Pending };
        let response = match catch_unwind(AssertUnwindSafe(|| handler.poll(cx))) {
            Ok(poll) => match ready!(poll) {
                Ok(response) => response,
            },
            // The panic hook has logged the place and the message.
            Err(_) => this.about.panicked(),
        };
        let response = this.about.finish(response);
        Poll::Ready(Ok(match this.pass.take() {
            Some(pass) => response.map(|body| Body::new(pass.hold(body))),
            None => response,
        }))
    }
}

impl About {
    fn panicked(&self) -> Response {
        self.refuse(Error::Panicked)
    }

    fn refuse(&self, error: Error) -> Response {
        if self.grpc {
            return tonic::Status::from(penstock_proto::Error::from(&error)).into_http::<Body>();
        }
        error.into_response()
    }

    fn finish(&self, mut response: Response) -> Response {
        if let Some(Unwritten(error)) = response.extensions_mut().remove::<Unwritten>() {
            response = problem::response(&error, self.uri.path(), self.context.request_id());
            if self.body_may_be_left && error.leaves_the_body() {
                // hyper closes it; a client that is not told sends its next request into the void.
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
        }
        if let Ok(id) = HeaderValue::from_str(self.context.request_id()) {
            if Api::of(self.uri.path()) == Api::Messages {
                response.headers_mut().insert(ANTHROPIC_REQUEST_ID, id.clone());
            }
            response.headers_mut().insert(REQUEST_ID, id);
        }
        self.metrics.count(self.route, response.status().as_u16());
        response
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use penstock_chassis::{Channel, Chassis};
    use tonic::service::Routes;
    use tower::{ServiceExt as _, service_fn};

    use super::*;
    use crate::{Config, app};

    async fn panicking(content_type: &'static str) -> Response {
        let chassis = Chassis::default();
        let app = app(Config::default(), Channel::local(Routes::default(), &chassis), vec![], &chassis);
        let handler = service_fn(|_: Request| async { panic!("secret") });
        let request = Request::post("/x").header("content-type", content_type).body(Body::empty());
        EdgeLayer(app).layer(handler).oneshot(request.unwrap()).await.unwrap()
    }

    /// G11.
    #[tokio::test]
    async fn a_handler_that_panics_answers_with_an_error() {
        let response = panicking("application/json").await;
        assert_eq!(response.status(), 500);
        assert!(response.headers().contains_key(REQUEST_ID));
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let body = std::str::from_utf8(&body).unwrap();
        assert!(body.contains("\"code\":\"internal_error\"") && !body.contains("secret"), "{body}");
        let response = panicking("application/grpc").await;
        assert_eq!(
            (response.status().as_u16(), &response.headers()["grpc-status"]),
            (200, &"13".parse().unwrap())
        );
    }
}
