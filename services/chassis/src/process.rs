//! A process of the mesh from start to end: its servers, its metrics, and the order in which it shuts down:
//! NOT_SERVING → readiness delay → stop accepting → streams finish → cut what is left → stop the tasks.

use std::{convert::Infallible, net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{Request, Response, header::CONTENT_TYPE};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    time::timeout,
};
use tower::{BoxError, Service, service_fn};

use crate::{
    Chassis, Metrics, Opening,
    config::Document,
    early::Early,
    server,
    server::{ListenError, Servers},
};

/// OpenMetrics text, as Prometheus asks for it.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// How long background tasks may take to end.
const TASKS_LIMIT: Duration = Duration::from_secs(2);

/// How a process shuts down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShutdownConfig {
    /// After SIGTERM: how long calls are still served while health says NOT_SERVING.
    pub readiness_delay: Duration,
    /// How long streams may take to finish.
    pub drain_limit: Duration,
}

impl ShutdownConfig {
    /// Reads the section `[shutdown]`.
    pub fn read(document: &mut Document) -> Self {
        let mut section = document.section("shutdown");
        let minutes = |minutes: u64| Duration::ZERO..=Duration::from_secs(minutes * 60);
        Self {
            // Balancers look every second or two; Kubernetes needs a moment to take an endpoint out.
            readiness_delay: section.duration("readiness_delay", Duration::from_secs(3), minutes(5)),
            // With the delay and the last second of everything else below Kubernetes' 30 s.
            drain_limit: section.duration("drain_limit", Duration::from_secs(20), minutes(60)),
        }
    }
}

/// A process and what it serves.
#[derive(Debug)]
pub struct Process {
    chassis: Chassis,
    servers: Servers,
    config: ShutdownConfig,
}

impl Process {
    /// A process that serves nothing yet.
    pub fn new(chassis: Chassis, config: ShutdownConfig) -> Self {
        let servers = Servers::new(&chassis);
        Self { chassis, servers, config }
    }

    /// Cuts what a peer has taken nothing of for so long, instead of the hour that a call may take at most.
    #[must_use]
    pub fn with_write_timeout(mut self, timeout: Duration) -> Self {
        self.servers.write_timeout = timeout;
        self
    }

    /// Serves `service` on `listener` until the process shuts down.
    pub fn serve<S, B>(&self, listener: TcpListener, service: S)
    where
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
        S::Future: Send,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        self.servers.serve(listener, service);
    }

    /// Serves health on `listener` from now on, by these of its gRPC services, and what the opening is told to serve
    /// as soon as it is told: a start that takes its time is no failure, and can be seen.
    pub fn open(&self, listener: TcpListener, faces: &'static [&'static str]) -> Opening {
        let (early, opening) = Early::new(faces, &self.chassis);
        self.serve(listener, early);
        opening
    }

    /// Serves `/metrics` on an address of its own.
    ///
    /// # Errors
    /// The address cannot be listened on.
    pub async fn serve_metrics(&self, address: SocketAddr) -> Result<(), ListenError> {
        let listener = server::listen(address, "metrics_listen").await?;
        let metrics = self.chassis.metrics.clone();
        self.serve(
            listener,
            service_fn(move |request: Request<Incoming>| {
                let response = answer_metrics(&metrics, &request);
                async move { Ok(response) }
            }),
        );
        Ok(())
    }

    /// Says that the process is ready, waits for SIGTERM or SIGINT and shuts down. A second signal ends the
    /// process at once.
    ///
    /// # Errors
    /// Signals cannot be listened to.
    pub async fn run(self) -> std::io::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        self.chassis.health.started();
        let delay = tokio::select! {
            _ = terminate.recv() => self.config.readiness_delay,
            // Somebody sits at a terminal and waits: there is no balancer to tell.
            _ = interrupt.recv() => Duration::ZERO,
        };
        tracing::info!("shutting down");
        tokio::select! {
            () = self.shut_down(delay) => {}
            _ = terminate.recv() => self.cut().await,
            _ = interrupt.recv() => self.cut().await,
        }
        tracing::info!("shut down");
        Ok(())
    }

    /// Ends what still runs at once, with an error that says so.
    async fn cut(&self) {
        tracing::warn!("second signal: streams are cut");
        self.servers.drain();
        self.chassis.health.end_watches();
        self.chassis.tasks.draining().cancel();
        self.chassis.tasks.aborting().cancel();
        // Connections and answers that nobody waits for get a moment for their last words.
        let last_words = async {
            self.servers.drained().await;
            self.chassis.tasks.answered().await;
        };
        let _ = timeout(TASKS_LIMIT, last_words).await;
        self.chassis.tasks.stop(TASKS_LIMIT).await;
    }

    async fn shut_down(&self, delay: Duration) {
        self.chassis.health.drain();
        tokio::time::sleep(delay).await;
        self.servers.drain();
        // Watchers have been told; their open streams would keep the servers for ever.
        self.chassis.health.end_watches();
        self.chassis.tasks.draining().cancel();
        let finished = async {
            self.servers.drained().await;
            // After it: nobody begins one any more.
            self.chassis.tasks.answered().await;
        };
        if timeout(self.config.drain_limit, finished).await.is_err() {
            tracing::warn!("the drain limit is reached: what is left ends with an error");
            self.chassis.tasks.aborting().cancel();
            self.servers.drained().await;
            // What they come to is stored and accounted for by services that still run.
            let _ = timeout(TASKS_LIMIT, self.chassis.tasks.answered()).await;
        }
        self.chassis.tasks.stop(TASKS_LIMIT).await;
    }
}

fn answer_metrics<B>(metrics: &Metrics, request: &Request<B>) -> Response<Full<Bytes>> {
    let status = |code: u16| {
        let mut response = Response::new(Full::default());
        *response.status_mut() = http::StatusCode::from_u16(code).unwrap_or_default();
        response
    };
    if request.uri().path() != "/metrics" {
        return status(404);
    }
    if !matches!(*request.method(), http::Method::GET | http::Method::HEAD) {
        return status(405);
    }
    match metrics.encode() {
        Ok(text) => {
            let mut response = Response::new(Full::from(text));
            response.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static(OPENMETRICS));
            response
        }
        Err(_) => status(500),
    }
}
