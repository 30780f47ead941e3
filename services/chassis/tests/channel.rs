//! The remote channel against real servers on loopback: balancing, ejection, recovery, deadlines.
#![allow(clippy::unwrap_used)] // a test

use std::{net::SocketAddr, time::Duration};

use penstock_chassis::{CallContext, Channel, Chassis, Process, ShutdownConfig, server};
use penstock_proto::{Error, Reason};
use tokio::{net::TcpListener, time::Instant};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

const CONFIG: ShutdownConfig =
    ShutdownConfig { readiness_delay: Duration::ZERO, drain_limit: Duration::from_secs(1) };

/// A replica that serves health, and is gone when this is dropped.
struct Replica {
    chassis: Chassis,
    address: SocketAddr,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Replica {
    fn start(address: &str) -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let chassis = Chassis::default();
        chassis.health.started();
        let of_runtime = chassis.clone();
        let address = address.to_owned();
        let address = runtime.block_on(async move {
            let listener = TcpListener::bind(address).await.unwrap();
            let address = listener.local_addr().unwrap();
            let routes = of_runtime.health.add_to(tonic::service::Routes::default());
            Process::new(of_runtime.clone(), CONFIG).serve(listener, server::grpc(routes, &of_runtime));
            address
        });
        Self { chassis, address, runtime: Some(runtime) }
    }

    fn calls(&self) -> u64 {
        let text = self.chassis.metrics.encode().unwrap();
        let line = "penstock_rpc_total{method=\"grpc.health.v1.Health/Check\",code=\"OK\"} ";
        text.lines().find_map(|l| l.strip_prefix(line)).map_or(0, |count| count.parse().unwrap())
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn check(channel: &Channel) -> Result<(), Error> {
    let call = CallContext::background(Duration::from_secs(5));
    let request = call.request(HealthCheckRequest::default());
    HealthClient::new(channel.clone()).check(request).await.map(drop).map_err(|status| Error::from(&status))
}

fn channel_over(name: &str) -> Channel {
    Channel::remote(name, &Chassis::default()).unwrap()
}

async fn eventually<F: AsyncFnMut() -> bool>(mut condition: F) {
    let limit = Instant::now() + Duration::from_secs(10);
    while !condition().await {
        assert!(Instant::now() < limit, "not within ten seconds");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[test]
fn only_http_endpoints_with_a_port_are_endpoints() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _entered = runtime.enter();
    let chassis = Chassis::default();
    for wrong in [
        "",
        "a:1",
        "https://a:1",
        "http://a",
        "http://a:1/path",
        "http://user@a:1",
        "http://a:port",
        "http://a:1,",
    ] {
        assert!(Channel::remote(wrong, &chassis).is_err(), "{wrong}");
    }
    assert!(Channel::remote("http://a:1", &chassis).is_ok());
}

/// E1: nobody is there: an answer at once, not a hang.
#[test]
fn without_a_replica_calls_fail_fast() {
    let replica = Replica::start("127.0.0.1:0");
    let address = replica.address;
    drop(replica);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let channel = channel_over(&format!("http://{address}"));
        for _ in 0..100 {
            assert_eq!(check(&channel).await.unwrap_err().reason, Reason::ServiceUnavailable);
        }
    });
}

/// E1: a replica that comes back on its address is used again without a restart of the client.
#[test]
fn a_replica_that_restarts_is_used_again() {
    let replica = Replica::start("127.0.0.1:0");
    let address = replica.address;
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let channel = channel_over(&format!("http://{address}"));
        check(&channel).await.unwrap();
        tokio::task::spawn_blocking(move || drop(replica)).await.unwrap();
        eventually(async || check(&channel).await.is_err()).await;
        let replica =
            tokio::task::spawn_blocking(move || Replica::start(&address.to_string())).await.unwrap();
        eventually(async || check(&channel).await.is_ok()).await;
        tokio::task::spawn_blocking(move || drop(replica)).await.unwrap();
    });
}

/// Several addresses: all get work; one dies, and no call fails.
#[test]
fn calls_are_spread_over_all_addresses_and_a_dead_one_costs_no_call() {
    let (one, two) = (Replica::start("127.0.0.1:0"), Replica::start("127.0.0.1:0"));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        // A name and an address: what is resolved and what is not go the same way.
        let channel = channel_over(&format!("http://localhost:{},{}", one.address.port(), two.address));
        for _ in 0..200 {
            check(&channel).await.unwrap();
        }
        assert!(one.calls() > 50 && two.calls() > 50, "{} and {}", one.calls(), two.calls());
        tokio::task::spawn_blocking(move || drop(two)).await.unwrap();
        for _ in 0..200 {
            check(&channel).await.unwrap();
        }
        tokio::task::spawn_blocking(move || drop(one)).await.unwrap();
    });
}

/// E2: a peer that accepts and never answers costs a call its deadline and no more.
#[test]
fn a_frozen_peer_costs_the_deadline() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let channel = channel_over(&format!("http://{}", listener.local_addr().unwrap()));
        let call = CallContext::background(Duration::from_millis(100));
        let request = call.request(HealthCheckRequest::default());
        let status = HealthClient::new(channel).check(request).await.unwrap_err();
        assert_eq!(Error::from(&status).reason, Reason::DeadlineExceeded);
    });
}
