//! A gRPC service behind a door: what is not let in is refused before anything is decoded, and what is let in is
//! in progress until the body of its answer is dropped.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{Request, Response};
use http_body::{Frame, SizeHint};
use penstock_proto::Error;
use pin_project_lite::pin_project;
use tonic::{Status, body::Body, server::NamedService};
use tower::Service;

use super::{Class, Door, Pass};

/// A gRPC service behind a door.
#[derive(Clone, Debug)]
pub struct Guarded<S> {
    inner: S,
    door: Door,
    class_of: fn(&str) -> Class,
}

impl Door {
    /// Puts `inner` behind this door; `class_of` says what a call of a path is to it.
    pub fn guard<S>(&self, inner: S, class_of: fn(&str) -> Class) -> Guarded<S> {
        Guarded { inner, door: self.clone(), class_of }
    }
}

impl<S: NamedService> NamedService for Guarded<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<Request<Body>> for Guarded<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Entering<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        match self.door.enter((self.class_of)(request.uri().path())) {
            Ok(pass) => Entering { inner: Some(self.inner.call(request)), pass: Some(pass), refused: None },
            Err(error) => Entering { inner: None, pass: None, refused: Some(error) },
        }
    }
}

pin_project! {
    /// A call until its answer begins.
    #[derive(Debug)]
    pub struct Entering<F> {
        #[pin]
        inner: Option<F>,
        pass: Option<Pass>,
        refused: Option<Error>,
    }
}

impl<F: Future<Output = Result<Response<Body>, Infallible>>> Future for Entering<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Some(error) = this.refused.take() {
            return Poll::Ready(Ok(Status::from(error).into_http()));
        }
        let Some(inner) = this.inner.as_pin_mut() else { return Poll::Pending };
        let Ok(response) = ready!(inner.poll(cx));
        Poll::Ready(Ok(match this.pass.take() {
            Some(pass) => response.map(|body| Body::new(pass.hold(body))),
            None => response,
        }))
    }
}

impl Pass {
    /// The body of the answer: the request is in progress until it is dropped.
    pub fn hold<B>(self, inner: B) -> Held<B> {
        Held { inner, _pass: self }
    }
}

pin_project! {
    /// The body of the answer to a request that was let in.
    #[derive(Debug)]
    pub struct Held<B> {
        #[pin]
        inner: B,
        _pass: Pass,
    }
}

impl<B: http_body::Body> http_body::Body for Held<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.project().inner.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
