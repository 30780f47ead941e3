//! The server: one accept loop for gRPC and HTTP, on hyper, with the limits that neither tonic's nor axum's own
//! loop sets: silent connections, slow heads, slow readers, resets, header lists, connections at once.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{body::Body, service::Routes};
use tower::{BoxError, Service, ServiceExt as _};

use crate::{
    Chassis,
    arrival::arriving,
    busy::Busy,
    config::Section,
    limits::MAX_TIMEOUT,
    stack::ServerStack,
    taking::{Sending, Streams, Taking},
};

/// Most connections at once; beyond it new ones wait to be accepted. Each costs about 20 KiB.
const CONNECTIONS_MAX: usize = 10_000;
/// A connection that has not sent a byte by then is closed.
const FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(10);
/// A head that is not whole by then closes the connection; also how long an idle one is kept.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// Largest HTTP/1 head and read buffer, in bytes: room for a large traced request, not for an attack.
const HEAD_MAX_BYTES: usize = 64 << 10;
/// Largest HTTP/2 header list, in bytes.
const HEADER_LIST_MAX_BYTES: u32 = 16 << 10;
/// Most streams at once on one HTTP/2 connection: a router has one connection to an adapter.
pub(crate) const STREAMS_MAX: u32 = 4096;
/// An HTTP/2 peer that does not answer pings is gone.
const PING: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(10));
/// The pause after an accept that failed (too many open files): no busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long connections may take to send the last error once everything is being cut.
const ABORT_GRACE: Duration = Duration::from_secs(1);

/// How long a connection without a request may stay once the draining has begun: long enough for the last
/// bytes of an answer to leave.
const IDLE_GRACE: Duration = Duration::from_secs(3);

/// Where a service listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// Address of the service itself.
    pub listen: SocketAddr,
    /// Address of its metrics.
    pub metrics_listen: SocketAddr,
}

impl ServerConfig {
    /// Reads `listen` and `metrics_listen` of a service's section. The default ports are those of the service
    /// in the mesh: all of them run on one machine without a file.
    pub fn read(section: &mut Section, port: u16, metrics_port: u16) -> Self {
        Self {
            listen: section.address("listen", ([127, 0, 0, 1], port).into()),
            metrics_listen: section.address("metrics_listen", ([127, 0, 0, 1], metrics_port).into()),
        }
    }
}

/// An address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} ({key}){remedy}")]
pub struct ListenError {
    address: SocketAddr,
    key: &'static str,
    remedy: &'static str,
    source: io::Error,
}

/// Listens on `address`; `key` is the configuration key that says so, for the error.
///
/// # Errors
/// The address is taken, or is not one of this machine.
pub async fn listen(address: SocketAddr, key: &'static str) -> Result<TcpListener, ListenError> {
    TcpListener::bind(address).await.map_err(|source| {
        let remedy = match source.kind() {
            io::ErrorKind::AddrInUse => "; another program has it: stop that one or set another address",
            io::ErrorKind::AddrNotAvailable => "; this machine has no such address: set another one",
            _ => "",
        };
        ListenError { address, key, remedy, source }
    })
}

/// Routes of gRPC services in the server stack, ready for [`Servers::serve`].
pub fn grpc(
    routes: Routes,
    chassis: &Chassis,
) -> impl Service<Request<Incoming>, Response = Response<Body>, Error = Infallible, Future: Send>
+ Clone
+ Send
+ 'static {
    ServerStack::new(routes.prepare(), chassis, false).map_request(|request: Request<Incoming>| {
        // A conversation may last; every other request is one message, and a slow one holds memory for nothing.
        let lasts = request.uri().path().starts_with("/grpc.reflection.");
        if lasts { request.map(Body::new) } else { request.map(arriving) }
    })
}

/// The servers of a process.
#[derive(Clone, Debug)]
pub(crate) struct Servers {
    connections: TaskTracker,
    draining: CancellationToken,
    aborting: CancellationToken,
    /// How long a peer may take nothing of what is sent to it.
    pub(crate) write_timeout: Duration,
}

impl Servers {
    pub(crate) fn new(chassis: &Chassis) -> Self {
        Self {
            connections: TaskTracker::new(),
            draining: CancellationToken::new(),
            aborting: chassis.tasks.aborting(),
            // Between services the facade's, which is shorter, goes first.
            write_timeout: MAX_TIMEOUT,
        }
    }

    /// Serves `service` on `listener` until the draining begins.
    pub(crate) fn serve<S, B>(&self, listener: TcpListener, service: S)
    where
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
        S::Future: Send,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let servers = self.clone();
        self.connections.spawn(async move {
            let draining = servers.draining.clone();
            draining.run_until_cancelled(servers.accept(listener, service)).await;
        });
    }

    async fn accept<S, B>(&self, listener: TcpListener, service: S)
    where
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
        S::Future: Send,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let connection = self.clone().connection(stream, service.clone());
            self.connections.spawn(async move {
                connection.await;
                drop(permit);
            });
        }
    }

    async fn connection<S, B>(self, stream: TcpStream, service: S)
    where
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
        S::Future: Send,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let _ = stream.set_nodelay(true);
        let spoke = self.draining.run_until_cancelled(timeout(FIRST_BYTE_TIMEOUT, stream.readable())).await;
        if !matches!(spoke, Some(Ok(Ok(())))) {
            return;
        }
        let builder = builder(self.write_timeout);
        let taking = Taking::default();
        let stream = Sending::new(stream, taking.clone());
        let busy = Busy::default();
        let service = busy.watch(service);
        let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
        let mut connection = std::pin::pin!(connection);
        let cut = async {
            tokio::select! {
                () = self.aborting.cancelled() => sleep(ABORT_GRACE).await,
                // A head that never gets whole would hold the drain to its limit.
                () = busy.idle(IDLE_GRACE) => {}
            }
        };
        let mut cut = std::pin::pin!(cut);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            // hyper waits for ever for the rest of an HTTP/2 preface.
            () = busy.mute(HEAD_TIMEOUT) => return,
            () = taking.stalled(self.write_timeout) => {
                tracing::debug!("a connection that nobody reads from is cut");
                return;
            }
            () = self.draining.cancelled() => {
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    ended = connection.as_mut() => ended,
                    () = cut.as_mut() => return,
                }
            }
        };
        if let Err(error) = ended {
            // What peers do to connections is their affair: nothing for a person to look at.
            tracing::debug!(%error, "connection ended badly");
        }
    }

    /// Stops accepting and asks every connection to end after what it is doing.
    pub(crate) fn drain(&self) {
        self.draining.cancel();
        self.connections.close();
    }

    /// Waits until every connection has ended.
    pub(crate) async fn drained(&self) {
        self.connections.wait().await;
    }
}

fn builder(write_timeout: Duration) -> Builder<Streams> {
    let mut builder = Builder::new(Streams(write_timeout));
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_MAX_BYTES)
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEADER_LIST_MAX_BYTES)
        .keep_alive_interval(PING.0)
        .keep_alive_timeout(PING.1);
    builder
}
