//! What probes wait for their answer: with all well and with every dependency hanging, idle and under load. Beside
//! `GET /`, which looks at nothing. Prints and promises nothing: whoever else runs on the machine has a say in it.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use penstock_tests::{
    Client, Mesh, Service, Topology,
    client::chat,
    grpc::channel,
    mesh::{ADMIN_KEY, Plan},
};
use rustix::process::Signal;
use tokio::{net::TcpStream, task::JoinHandle};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::{config, engines::Engines};

/// Probes of each kind in each row, and how long they may take in all on a machine that is busy.
const PROBES: usize = 2_000;
const TIME_MAX: Duration = Duration::from_secs(2);
/// Callers of the load, each with one request after the other.
const CALLERS: usize = 8;
const PATHS: [&str; 4] = ["/", "/health/live", "/health/ready", "/health"];

/// Measures one topology.
pub(crate) async fn run(topology: Topology) {
    // Engines of its own: they are frozen.
    let engines = Engines::start();
    let mut mesh = Plan::new(topology, &config(&engines)).start().await;
    println!("\n{topology:?}: at most {PROBES} probes of each, median / 99 of 100, in milliseconds");
    rows(&mesh, "all well").await;
    for service in mesh.processes_of_topology().iter().filter(|service| **service != Service::Facade) {
        mesh.process(*service).signal(Signal::STOP);
    }
    engines.freeze();
    // Long enough that each check has run into its timeout.
    tokio::time::sleep(Duration::from_secs(5)).await;
    rows(&mesh, "all hangs").await;
}

async fn rows(mesh: &Mesh, state: &str) {
    row(mesh.address(Service::Facade), &format!("{state}, idle")).await;
    let load = Load::start(mesh.address(Service::Facade));
    tokio::time::sleep(Duration::from_secs(1)).await;
    row(mesh.address(Service::Facade), &format!("{state}, load")).await;
    load.stop().await;
}

async fn row(address: SocketAddr, name: &str) {
    let mut cells = Vec::new();
    for path in PATHS {
        cells.push(format!("{path} {}", shown(over_http(address, path).await)));
    }
    cells.push(format!("Check {}", shown(over_grpc(address).await)));
    println!("  {name:<16} {}", cells.join(", "));
}

fn shown(mut times: Vec<Duration>) -> String {
    times.sort();
    let at = |part: usize| times[(times.len() - 1) * part / 100].as_secs_f64() * 1e3;
    format!("{:.3} / {:.3}", at(50), at(99))
}

async fn over_http(address: SocketAddr, path: &str) -> Vec<Duration> {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut times = Vec::with_capacity(PROBES);
    let began = Instant::now();
    while times.len() < PROBES && began.elapsed() < TIME_MAX {
        let request = Request::get(path).header(header::HOST, "bench");
        let request = request.body(Full::new(Bytes::new())).unwrap();
        let start = Instant::now();
        sender.ready().await.unwrap();
        let response = sender.send_request(request).await.unwrap();
        response.into_body().collect().await.unwrap();
        times.push(start.elapsed());
    }
    drop(sender);
    connection.await.ok();
    times
}

async fn over_grpc(address: SocketAddr) -> Vec<Duration> {
    let mut client = HealthClient::new(channel(address).await);
    let mut times = Vec::with_capacity(PROBES);
    let began = Instant::now();
    while times.len() < PROBES && began.elapsed() < TIME_MAX {
        let start = Instant::now();
        client.check(HealthCheckRequest { service: "readiness".into() }).await.unwrap();
        times.push(start.elapsed());
    }
    times
}

/// Callers who ask for answers, whether they come or not.
struct Load {
    ends: Arc<AtomicBool>,
    callers: Vec<JoinHandle<()>>,
}

impl Load {
    fn start(address: SocketAddr) -> Load {
        let ends = Arc::new(AtomicBool::new(false));
        let client = Client::new(address).with_key(ADMIN_KEY).with_header("x-request-timeout", "500ms");
        let callers = (0..CALLERS).map(|_| {
            let (ends, client) = (Arc::clone(&ends), client.clone());
            tokio::spawn(async move {
                while !ends.load(Ordering::Relaxed) {
                    client.chat(&chat("short")).await;
                }
            })
        });
        Load { callers: callers.collect(), ends }
    }

    async fn stop(self) {
        self.ends.store(true, Ordering::Relaxed);
        futures_util::future::join_all(self.callers).await;
    }
}
