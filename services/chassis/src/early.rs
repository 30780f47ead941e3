//! A port that tells how its process is before the process can do anything else: while the parts are put in place,
//! health is answered, and every other call waits for them as if nobody had accepted it yet.

use std::{
    convert::Infallible,
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use penstock_proto::status::v1::status_server::SERVICE_NAME as STATUS;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tonic::{body::Body, service::Routes};
use tower::{BoxError, Service, ServiceExt as _, util::BoxCloneSyncService};

use crate::{Chassis, server};

/// Most calls that wait for the start at once, a few kilobytes each: callers that found the port closed would
/// have come back later, and those beyond this are told to.
const WAITING_MAX: usize = 1024;
type Served = BoxCloneSyncService<Request<Incoming>, Response<Body>, Infallible>;

/// A port that is open for health and waits to be told what else to serve.
#[must_use = "nothing but health is served until it is told what to serve"]
pub struct Opening {
    whole: Arc<OnceLock<Served>>,
    there: CancellationToken,
}

/// What serves the port: health, and everything else as soon as it is there.
#[derive(Clone)]
pub(crate) struct Early {
    health: Served,
    /// The gRPC services of health that are answered at once.
    faces: &'static [&'static str],
    whole: Arc<OnceLock<Served>>,
    there: CancellationToken,
    waiting: Arc<Semaphore>,
}

impl Opening {
    /// Serves this from now on; what has waited for it goes on.
    pub fn serve<S, B>(self, service: S)
    where
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
        S: Clone + Send + Sync + 'static,
        S::Future: Send,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let service = service.map_response(|response: Response<B>| response.map(Body::new));
        // There is one opening for each port: nobody has set it before.
        let _ = self.whole.set(BoxCloneSyncService::new(service));
        self.there.cancel();
    }
}

impl fmt::Debug for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opening").finish_non_exhaustive()
    }
}

impl Early {
    /// Health alone, and the way to say what else.
    pub(crate) fn new(faces: &'static [&'static str], chassis: &Chassis) -> (Self, Opening) {
        // What does not tell everybody its report tells no models: a watch that begins now goes on after the start.
        let routes = match faces.contains(&STATUS) {
            true => chassis.health.add_to(Routes::default()),
            false => chassis.health.add_without_models_to(Routes::default()),
        };
        let health = server::grpc(routes, chassis);
        let (whole, there) = (Arc::new(OnceLock::new()), CancellationToken::new());
        let early = Self {
            health: BoxCloneSyncService::new(health),
            faces,
            whole: Arc::clone(&whole),
            there: there.clone(),
            waiting: Arc::new(Semaphore::new(WAITING_MAX)),
        };
        (early, Opening { whole, there })
    }

    async fn answer(self, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
        let called = request.uri().path().split('/').nth(1).unwrap_or_default();
        if self.faces.contains(&called) {
            return self.health.oneshot(request).await;
        }
        if let Ok(_place) = self.waiting.try_acquire() {
            self.there.cancelled().await;
            if let Some(whole) = self.whole.get() {
                return whole.clone().oneshot(request).await;
            }
        }
        // gRPC callers read it as UNAVAILABLE.
        let mut busy = Response::new(Body::empty());
        *busy.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        Ok(busy)
    }
}

impl Service<Request<Incoming>> for Early {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        match self.whole.get() {
            // Always ready, as every service of a port is; boxed already.
            Some(whole) => whole.clone().call(request),
            None => Box::pin(self.clone().answer(request)),
        }
    }
}
