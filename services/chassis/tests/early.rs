//! A port that is open before its process has anything to serve but health.
#![allow(clippy::unwrap_used)] // a test

use std::time::Duration;

use penstock_chassis::{CallContext, Channel, Chassis, Process, ShutdownConfig, server};
use penstock_proto::status::v1::{GetRequest, status_client::StatusClient};
use tokio::{net::TcpListener, task::JoinSet};
use tonic::{Code, service::Routes};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

const CONFIG: ShutdownConfig =
    ShutdownConfig { readiness_delay: Duration::ZERO, drain_limit: Duration::from_secs(1) };

/// Bounds a hang, measures nothing.
const LONG: Duration = Duration::from_secs(60);

#[tokio::test]
async fn health_is_answered_at_once_and_calls_wait_but_not_without_bound() {
    let chassis = Chassis::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let process = Process::new(chassis.clone(), CONFIG);
    let opening = process.open(listener, &["grpc.health.v1.Health"]);
    let channel = Channel::remote(&endpoint, &Chassis::default()).unwrap();

    let mut calls = JoinSet::new();
    for _ in 0..1100 {
        let mut status = StatusClient::new(channel.clone());
        calls.spawn(async move { status.get(CallContext::background(LONG).request(GetRequest {})).await });
    }
    // Those for whom there is no room are told to come back; nobody else has an answer.
    for _ in 0..1100 - 1024 {
        let refused = calls.join_next().await.unwrap().unwrap().unwrap_err();
        assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    }
    let mut health = HealthClient::new(channel);
    for (service, expected) in [("startup", ServingStatus::NotServing), ("liveness", ServingStatus::Serving)]
    {
        let request = HealthCheckRequest { service: service.into() };
        let answer = health.check(CallContext::background(LONG).request(request)).await.unwrap();
        assert_eq!(answer.into_inner().status(), expected, "{service}");
    }

    opening.serve(server::grpc(chassis.health.add_to(Routes::default()), &chassis));
    let mut answered = 0;
    while let Some(answer) = calls.join_next().await {
        assert!(answer.unwrap().unwrap().into_inner().report.is_some());
        answered += 1;
    }
    assert_eq!(answered, 1024);
}
