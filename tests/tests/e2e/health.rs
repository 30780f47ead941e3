//! Health in its faces: `grpc.health.v1` with Watch, reflection, `status.v1`, and HTTP.

use penstock_proto::status::v1::{GetRequest, State, status_client::StatusClient};
use penstock_tests::{
    Engine, Mesh, Service, Topology, both,
    bounded::{until, within},
    client::chat,
    engine::Refused,
    grpc::{channel, is_serving, keyed},
    mesh::{deployment, model},
};
use tonic::Code;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_reflection::pb::{v1, v1alpha};

both! {
    async fn every_service_says_that_it_is_serving(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        for service in Service::ALL {
            let address = mesh.address(service);
            for name in std::iter::once(&"").chain(service.grpc_names()) {
                assert!(is_serving(address, name).await, "{} of {}", name, service.name());
            }
            let mut health = HealthClient::new(channel(address).await);
            let unknown = HealthCheckRequest { service: "penstock.nobody.v1.Nobody".into() };
            let answer = within("Health.Check", health.check(unknown.clone())).await;
            assert_eq!(answer.unwrap_err().code(), Code::NotFound, "{}", service.name());
            let mut watch = within("Health.Watch", health.watch(unknown)).await.unwrap().into_inner();
            let first = within("the first status", watch.message()).await.unwrap().unwrap();
            assert_eq!(first.status(), ServingStatus::ServiceUnknown, "{}", service.name());
        }
    }
}

both! {
    async fn watch_says_the_state_at_once_and_goes_on(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        for service in Service::ALL {
            let mut health = HealthClient::new(channel(mesh.address(service)).await);
            let request = HealthCheckRequest::default();
            let mut watch = within("Health.Watch", health.watch(request)).await.unwrap().into_inner();
            let first = within("the first status", watch.message()).await.unwrap().unwrap();
            assert_eq!(first.status(), ServingStatus::Serving, "{}", service.name());
        }
    }
}

both! {
    /// Who watches takes nothing from who asks: neither on the same connection nor on another one.
    async fn many_watches_do_not_keep_others_out(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        let facade = mesh.address(Service::Facade);
        let shared = channel(facade).await;
        let mut watches = Vec::new();
        for _ in 0..300 {
            let mut health = HealthClient::new(shared.clone());
            let watch = within("Health.Watch", health.watch(HealthCheckRequest::default())).await;
            let mut watch = watch.unwrap().into_inner();
            let first = within("the first status", watch.message()).await.unwrap().unwrap();
            assert_eq!(first.status(), ServingStatus::Serving);
            watches.push(watch);
        }
        let check = HealthClient::new(shared).check(HealthCheckRequest::default()).await;
        assert_eq!(check.unwrap().into_inner().status(), ServingStatus::Serving);
        assert!(is_serving(facade, "").await);
        assert_eq!(mesh.anonymous().get("/health/ready").await.status, 200);
        assert_eq!(mesh.client().chat(&chat("test-model")).await.status, 200);
        drop(watches);
    }
}

both! {
    /// v1 for today's tools, v1alpha for the grpcurl that people have.
    async fn reflection_lists_the_services(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        for service in Service::ALL {
            let address = mesh.address(service);
            let mut expected = vec!["grpc.health.v1.Health", "penstock.status.v1.Status"];
            expected.extend(listed_names(service, topology));
            for listed in [listed_v1(address).await, listed_v1alpha(address).await] {
                for name in &expected {
                    assert!(listed.contains(&(*name).to_owned()), "{name} of {}: {listed:?}", service.name());
                }
                let inner = |name: &String| name.contains("cache") || name.contains("ratelimit");
                assert!(topology == Topology::Mesh || !listed.iter().any(inner), "{listed:?}");
            }
        }
    }
}

/// What a service lists beside health and status. In one process the port is open to callers: it lists, and
/// takes, what is for callers, and nothing of what the services say to each other (B8).
fn listed_names(service: Service, topology: Topology) -> &'static [&'static str] {
    match topology {
        Topology::Mesh => service.grpc_names(),
        Topology::Standalone => &["penstock.inference.v1.Inference", "penstock.auth.v1.Keys"],
    }
}

async fn listed_v1(address: std::net::SocketAddr) -> Vec<String> {
    use v1::{server_reflection_request::MessageRequest, server_reflection_response::MessageResponse};
    let request = v1::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut client = v1::server_reflection_client::ServerReflectionClient::new(channel(address).await);
    let answers = within("reflection", client.server_reflection_info(tokio_stream::once(request))).await;
    let answer = within("the list", answers.unwrap().into_inner().message()).await.unwrap().unwrap();
    match answer.message_response {
        Some(MessageResponse::ListServicesResponse(list)) => {
            list.service.into_iter().map(|s| s.name).collect()
        }
        other => panic!("not a list: {other:?}"),
    }
}

async fn listed_v1alpha(address: std::net::SocketAddr) -> Vec<String> {
    use v1alpha::{server_reflection_request::MessageRequest, server_reflection_response::MessageResponse};
    let request = v1alpha::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut client = v1alpha::server_reflection_client::ServerReflectionClient::new(channel(address).await);
    let answers = within("reflection", client.server_reflection_info(tokio_stream::once(request))).await;
    let answer = within("the list", answers.unwrap().into_inner().message()).await.unwrap().unwrap();
    match answer.message_response {
        Some(MessageResponse::ListServicesResponse(list)) => {
            list.service.into_iter().map(|s| s.name).collect()
        }
        other => panic!("not a list: {other:?}"),
    }
}

both! {
    async fn status_reports_three_states_with_components(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        for service in Service::ALL {
            let mut status = StatusClient::new(channel(mesh.address(service)).await);
            // All started at once: who looked early looks again.
            let report = until(&format!("{} to be UP", service.name()), async || {
                let report = status.get(keyed(mesh.key(), GetRequest {})).await.unwrap().into_inner().report.unwrap();
                (report.state() == State::Up).then_some(report)
            }).await;
            assert!(!report.draining && !report.version.is_empty());
            let names: Vec<_> = report.components.iter().map(|component| component.name.as_str()).collect();
            assert!(names.is_sorted(), "{names:?}");
            if service == Service::InferenceAdapter {
                assert!(names.contains(&"deployment/main"), "{names:?}");
            }
        }
    }
}

both! {
    /// One deployment of several things is down: visible, and no reason to take the process out of service.
    async fn a_lost_engine_degrades_and_comes_back(topology: Topology) {
        let (engine, refused) = (Engine::start().await, Refused::new());
        // Looked at often, so that a change is soon seen.
        let config = [
            "[inference_adapter]\ndiscovery_interval = \"200ms\"\n".into(),
            deployment("main", &engine.v1()), model("test-model", &["main"], ""),
            deployment("lost", &refused.v1()), model("lost-model", &["lost"], ""),
        ];
        let mesh = Mesh::start(topology, &config.concat()).await;
        let mut status = StatusClient::new(channel(mesh.address(Service::InferenceAdapter)).await);
        let component = until("the loss to be seen", async || {
            let report = status.get(keyed(mesh.key(), GetRequest {})).await.unwrap().into_inner().report.unwrap();
            let lost = report.components.into_iter().find(|component| component.name == "deployment/lost")?;
            // A part is heard of at once, the whole takes a second look.
            let seen = lost.state() == State::Down && report.state == i32::from(State::Degraded);
            seen.then_some((lost, report.state))
        }).await;
        assert_eq!(component.1, i32::from(State::Degraded));
        assert!(!component.0.required && !component.0.detail.is_empty(), "{component:?}");
        assert!(is_serving(mesh.address(Service::InferenceAdapter), "").await);
        assert_eq!(mesh.anonymous().get("/health/ready").await.status, 200);
        assert_eq!(mesh.client().chat(&chat("test-model")).await.status, 200);

        let lost = refused.comes_up();
        until("the return to be seen", async || {
            let report = status.get(keyed(mesh.key(), GetRequest {})).await.unwrap().into_inner().report.unwrap();
            let back = report.components.iter().find(|component| component.name == "deployment/lost")?;
            (back.state() == State::Up && report.state() == State::Up).then_some(())
        }).await;
        until("the router to know it, too", async || {
            (mesh.client().chat(&chat("lost-model")).await.status == 200).then_some(())
        }).await;
        assert_eq!(lost.calls().len(), 1);
    }
}

both! {
    async fn http_has_the_same_truth_without_the_details(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        let live = mesh.anonymous().get("/health/live").await;
        assert_eq!((live.status, live.json()["status"].as_str()), (200, Some("alive")));
        let ready = until("the facade to be UP", async || {
            let ready = mesh.anonymous().get("/health/ready").await;
            (ready.json()["state"] == "UP").then_some(ready)
        }).await;
        assert_eq!((ready.status, ready.json()["status"].as_str()), (200, Some("healthy")));
        let health = mesh.anonymous().get("/health").await;
        assert_eq!((health.status, health.json()["status"].as_str()), (200, Some("healthy")));
        assert!(health.json()["components"]["router"].is_object(), "{health:?}");
        // Anyone may ask: no address of an engine, no text.
        let port = engine.address().port().to_string();
        assert!(!String::from_utf8_lossy(&health.body).contains(&port), "{health:?}");
        for path in ["/health/live", "/health/ready", "/health"] {
            let head = mesh.anonymous().request(http::Method::HEAD, path, "").await;
            assert_eq!((head.status, head.body.len()), (200, 0), "{path}");
        }
        let root = mesh.anonymous().get("/").await;
        assert_eq!((root.status, root.json()["name"].as_str()), (200, Some("penstock")));
        // Nobody asked an engine for an answer to find out how it is.
        assert_eq!(engine.calls().len(), 0);
    }
}
