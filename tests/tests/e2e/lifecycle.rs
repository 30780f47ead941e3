//! The end of a process: nobody new, everybody who is there to the end, and then it is really over (I1, I3).

use penstock_tests::{
    Engine, Mesh, Script, Service, Step, Topology, both,
    bounded::{until, within},
    client::chat,
    grpc::channel,
};
use tokio::net::TcpStream;
use tonic::Streaming;
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus,
    health_client::HealthClient,
};

async fn watch(mesh: &Mesh, service: Service) -> Streaming<HealthCheckResponse> {
    let mut health = HealthClient::new(channel(mesh.address(service)).await);
    let request = HealthCheckRequest::default();
    let mut watch = within("Health.Watch", health.watch(request)).await.unwrap().into_inner();
    let first = within("the first status", watch.message()).await.unwrap().unwrap();
    assert_eq!(first.status(), ServingStatus::Serving);
    watch
}

both! {
    async fn a_running_stream_ends_whole(topology: Topology) {
        let engine = Engine::playing(Script::gated(["a", "b", "c"])).await;
        let mut mesh = Mesh::over(topology, &engine, "").await;
        engine.open(1);
        let mut events = mesh.client().stream(&chat("test-model")).await;
        assert_eq!(events.next_text().await, "a");
        // Watches stay open: they must not hold the end.
        let mut watches = Vec::new();
        for service in mesh.processes_of_topology() {
            watches.push(watch(&mesh, *service).await);
        }
        for service in mesh.processes_of_topology() {
            mesh.process(*service).terminate();
        }
        for watch in &mut watches {
            let next = within("NOT_SERVING", watch.message()).await.unwrap().unwrap();
            assert_eq!(next.status(), ServingStatus::NotServing);
        }
        let facade = mesh.address(Service::Facade);
        until("new connections to be refused", async || TcpStream::connect(facade).await.is_err().then_some(())).await;
        engine.open(1);
        assert_eq!(events.next_text().await, "b");
        engine.open(2);
        let rest = events.rest().await;
        assert_eq!(rest.last().map(String::as_str), Some("[DONE]"), "{rest:?}");
        for (service, status) in mesh.ends().await {
            assert!(status.success(), "{}: {status}", service.name());
        }
    }
}

both! {
    /// Between SIGTERM and the end of the readiness delay balancers still send: they are served.
    async fn the_readiness_delay_is_served(topology: Topology) {
        let engine = Engine::start().await;
        let mut mesh = Mesh::over(topology, &engine, "[shutdown]\nreadiness_delay = \"10s\"\n").await;
        mesh.process(Service::Facade).terminate();
        until("the process to be not ready", async || {
            (mesh.anonymous().get("/health/ready").await.status == 503).then_some(())
        }).await;
        assert_eq!(mesh.anonymous().get("/health/live").await.status, 200);
        assert_eq!(mesh.client().chat(&chat("test-model")).await.text(), "Hello, world!");
        // A second signal means: now.
        mesh.process(Service::Facade).terminate();
        mesh.process(Service::Facade).exit().await;
    }
}

both! {
    /// A stream that never ends is ended at the drain limit, and says so.
    async fn the_drain_limit_ends_what_does_not_end(topology: Topology) {
        let engine = Engine::playing(Script::broken(["a"], Step::Stall)).await;
        let mut mesh = Mesh::over(topology, &engine, "[shutdown]\ndrain_limit = \"300ms\"\n").await;
        let mut events = mesh.client().stream(&chat("test-model")).await;
        assert_eq!(events.next_text().await, "a");
        mesh.process(Service::Facade).terminate();
        let (rest, _) = events.bytes().await;
        let rest = String::from_utf8_lossy(&rest).into_owned();
        assert!(rest.contains("\"error\"") && rest.contains("draining") && !rest.contains("[DONE]"), "{rest:?}");
        let status = mesh.process(Service::Facade).exit().await;
        assert!(status.success(), "{status}");
        engine.call(0).await.ended().await;
    }
}

both! {
    async fn silent_connections_do_not_hold_the_end(topology: Topology) {
        idle(topology, b"", false).await;
    }
}

both! {
    async fn connections_kept_alive_do_not_hold_the_end(topology: Topology) {
        idle(topology, b"GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n", true).await;
    }
}

both! {
    async fn half_a_head_does_not_hold_the_end(topology: Topology) {
        idle(topology, b"GET /health/live HTTP/1.1\r\nho", false).await;
    }
}

both! {
    /// Half of what HTTP/2 connections begin with: neither one protocol nor the other, yet.
    async fn half_a_preface_does_not_hold_the_end(topology: Topology) {
        idle(topology, b"PRI * HT", false).await;
    }
}

/// A connection that sent `bytes` and nothing more: the process ends before the drain limit all the same.
async fn idle(topology: Topology, bytes: &[u8], answered: bool) {
    let engine = Engine::start().await;
    let mut mesh = Mesh::over(topology, &engine, "[shutdown]\ndrain_limit = \"1h\"\n").await;
    let connection = TcpStream::connect(mesh.address(Service::Facade)).await.unwrap();
    connection.try_write(bytes).ok();
    if answered {
        within("an answer", connection.readable()).await.unwrap();
    } else {
        // A call on another connection: by then the bytes of the first have been read.
        mesh.client().chat(&chat("test-model")).await.text();
    }
    for (service, status) in mesh.stop().await {
        assert!(status.success(), "{}: {status}", service.name());
    }
    drop(connection);
}

both! {
    /// H4: what cannot start says why, and does not hang.
    async fn a_taken_port_is_a_clear_error(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        let taken = mesh.address(Service::Facade).to_string();
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().display().to_string();
        let environment = [("PENSTOCK_FACADE__METRICS_LISTEN", "127.0.0.1:0")];
        let (code, output, errors) =
            penstock_tests::mesh::run(&["up", "--listen", &taken, "--data-dir", &data], &environment).await;
        assert_ne!(code, 0);
        assert!(format!("{output}{errors}").contains(&taken), "{output}{errors}");
    }
}
