//! Asks every face once. What does not answer where it must fails the test; a router may be gone.

use std::{collections::BTreeMap, net::SocketAddr};

use penstock_proto::status::v1::{GetRequest, Report, status_client::StatusClient};
use serde_json::Value;
use tokio::net::TcpStream;
use tonic::transport::Channel;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use super::{Faces, Process, has_router};
use crate::{
    Mesh, Service,
    bounded::within,
    grpc::{channel, keyed},
};

const PATHS: [&str; 7] = [
    "/health",
    "/health/live",
    "/health/ready",
    "/health/readiness",
    "/health/status",
    "/health/models",
    "/health/services",
];

impl Faces {
    /// Looks at every face of `mesh`; at the router's only if it is there.
    pub async fn look(mesh: &Mesh, silent_router: bool) -> Faces {
        let router = match has_router(mesh) && !silent_router {
            // It may not listen yet.
            true if TcpStream::connect(mesh.address(Service::Router)).await.is_err() => None,
            true => process(mesh, Service::Router).await,
            false => None,
        };
        let facade = process(mesh, Service::Facade).await.expect("the facade's report");
        let (mut http, mut anonymous) = (BTreeMap::new(), BTreeMap::new());
        for path in PATHS {
            for (client, faces) in [(mesh.client(), &mut http), (mesh.anonymous(), &mut anonymous)] {
                let answer = client.get(path).await;
                let body = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
                faces.insert(path, (answer.status, body));
            }
        }
        Faces { facade, router, http, anonymous }
    }
}

/// `None`: it listens, and has nothing but `grpc.health.v1` to say while its parts are put in place.
async fn process(mesh: &Mesh, service: Service) -> Option<Process> {
    let channel = channel(mesh.address(service)).await;
    let get = keyed(mesh.key(), GetRequest {});
    let answer = within("Status.Get", StatusClient::new(channel.clone()).get(get)).await;
    let report = answer.ok()?.into_inner().report.unwrap_or_default();
    let mut serving = BTreeMap::new();
    let models = report.components.iter().map(|one| one.name.as_str()).filter(|n| n.starts_with("model/"));
    // The facade says nothing of models to callers that it does not know.
    let models = models.filter(|_| service == Service::Router);
    for name in ["", "liveness", "readiness", "startup"].into_iter().chain(models) {
        serving.insert(name.to_owned(), check(&channel, name).await);
    }
    let metrics = gauges(mesh.metrics_address(service)).await;
    Some(gauged(report, serving, &metrics))
}

async fn check(channel: &Channel, name: &str) -> ServingStatus {
    let request = HealthCheckRequest { service: name.into() };
    let answer = within("Health.Check", HealthClient::new(channel.clone()).check(request)).await;
    answer.unwrap_or_else(|status| panic!("{name:?}: {status}")).into_inner().status()
}

async fn gauges(address: SocketAddr) -> String {
    let answer = crate::Client::new(address).get("/metrics").await;
    assert_eq!(answer.status, 200);
    String::from_utf8(answer.body.to_vec()).unwrap()
}

fn gauged(report: Report, serving: BTreeMap<String, ServingStatus>, metrics: &str) -> Process {
    let service = format!("service=\"{}\"", report.service);
    let samples = |metric: &str, label: &str, service: &str| -> BTreeMap<String, i64> {
        let lines = metrics.lines().filter(|line| line.starts_with(&format!("{metric}{{")));
        lines
            .filter(|line| line.contains(service))
            .filter_map(|line| {
                let (_, rest) = line.split_once(&format!("{label}=\""))?;
                let (name, _) = rest.split_once('"')?;
                Some((name.to_owned(), line.rsplit(' ').next()?.parse().ok()?))
            })
            .collect()
    };
    let gauge = samples("penstock_service_state", "service", &service).values().next().copied();
    let components = samples("penstock_component_state", "component", &service);
    let models = samples("penstock_model_state", "model", "");
    Process { report, serving, gauge, components, models }
}
