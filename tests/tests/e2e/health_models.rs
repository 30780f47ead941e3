//! Models in health, by breaking engines: `model/<name>` in the report and in `grpc.health.v1`, at the router and at
//! the facade's port, and what a request for the model finds at the same time.

use std::{fs, net::SocketAddr, process::Stdio};

use penstock_proto::status::v1::{
    Component, GetRequest, ListChangesRequest, State, status_client::StatusClient,
};
use penstock_tests::{
    ENGINE_KEY, Engine, Mesh, Service, Topology, both,
    bounded::{until, within},
    client::chat,
    engine::Refused,
    grpc::{channel, is_serving, keyed},
    mesh::{ADMIN_KEY, command, deployment, model},
};
use tonic::Code;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

/// Looked at often, so that a change is soon seen.
const OFTEN: &str = "[inference_adapter]\ndiscovery_interval = \"200ms\"\n";

/// A component of the report at `address`, as soon as it is so.
async fn component(address: SocketAddr, name: &str, wanted: State) -> Component {
    let mut status = StatusClient::new(channel(address).await);
    until(&format!("{name} to be {wanted:?}"), async || {
        let report = status.get(keyed(ADMIN_KEY, GetRequest {})).await.unwrap().into_inner().report.unwrap();
        report.components.into_iter().find(|one| one.name == name && one.state() == wanted)
    })
    .await
}

/// What `grpc.health.v1` says of a model at `address`.
async fn check(address: SocketAddr, model: &str) -> Result<ServingStatus, Code> {
    let mut health = HealthClient::new(channel(address).await);
    let request = HealthCheckRequest { service: format!("model/{model}") };
    let answer = within("Health.Check", health.check(keyed(ADMIN_KEY, request))).await;
    answer.map(|answer| answer.into_inner().status()).map_err(|status| status.code())
}

both! {
    /// One of two deployments is lost, then the other, then one comes back.
    async fn a_model_is_up_degraded_down_and_up_again(topology: Topology) {
        let (first, second, other) = (Refused::new(), Refused::new(), Engine::start().await);
        let config = [
            OFTEN.into(),
            deployment("a", &first.v1()), deployment("b", &second.v1()), deployment("c", &other.v1()),
            model("wanted", &["a", "b"], "aliases = [\"wish\"]"), model("other", &["c"], ""),
        ];
        let mesh = Mesh::start(topology, &config.concat()).await;
        let (router, facade) = (mesh.address(Service::Router), mesh.address(Service::Facade));

        let down = component(router, "model/wanted", State::Down).await;
        assert_eq!(down.stands_on, ["deployment/a", "deployment/b"]);
        assert!(down.detail.contains("none of 2 left") && !down.detail.contains("127.0.0.1"), "{down:?}");
        component(facade, "model/wanted", State::Down).await;
        for address in [router, facade] {
            assert_eq!(check(address, "wanted").await, Ok(ServingStatus::NotServing));
            assert_eq!(check(address, "other").await, Ok(ServingStatus::Serving));
            assert_eq!(check(address, "nobody").await, Err(Code::NotFound));
            assert_eq!(check(address, "wish").await, Err(Code::NotFound), "an alias is no model");
        }
        // For that model alone, under either name.
        for name in ["wanted", "wish"] {
            let answer = mesh.client().chat(&chat(name)).await;
            assert_eq!(answer.status, 503, "{answer:?}");
            assert!(answer.header("retry-after").is_some(), "{answer:?}");
        }
        assert_eq!(mesh.client().chat(&chat("other")).await.status, 200);
        let models = component(router, "models", State::Degraded).await;
        assert_eq!(models.detail, "not well: wanted");
        assert_eq!(mesh.anonymous().get("/health/ready").await.status, 200);

        let mut health = HealthClient::new(channel(facade).await);
        let request = HealthCheckRequest { service: "model/wanted".into() };
        let mut watch = within("Health.Watch", health.watch(keyed(ADMIN_KEY, request))).await.unwrap().into_inner();
        let mut next =
            async || within("the next status", watch.message()).await.unwrap().unwrap().status();
        assert_eq!(next().await, ServingStatus::NotServing);
        let first = first.comes_up();
        assert_eq!(next().await, ServingStatus::Serving);
        let half = component(router, "model/wanted", State::Degraded).await;
        assert!(half.detail.contains("deployment b") && half.detail.contains("1 of 2 left"), "{half:?}");
        assert_eq!(mesh.client().chat(&chat("wanted")).await.status, 200);

        let second = second.comes_up();
        component(router, "model/wanted", State::Up).await;
        component(router, "models", State::Up).await;
        component(facade, "model/wanted", State::Up).await;
        drop((first, second));
        component(router, "model/wanted", State::Down).await;
        assert_eq!(next().await, ServingStatus::NotServing);
    }
}

both! {
    async fn a_fallback_that_is_left_degrades_a_model_that_is_lost(topology: Topology) {
        let (refused, engine) = (Refused::new(), Engine::start().await);
        let config = [
            OFTEN.into(),
            deployment("lost", &refused.v1()), deployment("left", &engine.v1()),
            model("wanted", &["lost"], "fallbacks = [\"spare\"]"), model("spare", &["left"], ""),
        ];
        let mesh = Mesh::start(topology, &config.concat()).await;
        let router = mesh.address(Service::Router);
        let degraded = component(router, "model/wanted", State::Degraded).await;
        assert_eq!(degraded.stands_on, ["deployment/lost", "model/spare"]);
        assert!(degraded.detail.contains("falls back to spare"), "{degraded:?}");
        assert_eq!(check(router, "wanted").await, Ok(ServingStatus::Serving));
        let answer = mesh.client().chat(&chat("wanted")).await;
        assert_eq!((answer.status, answer.header("x-penstock-model")), (200, Some("spare")));
        component(router, "model/spare", State::Up).await;
        let _back = refused.comes_up();
        component(router, "model/wanted", State::Up).await;
        let answer = mesh.client().chat(&chat("wanted")).await;
        assert_eq!((answer.status, answer.header("x-penstock-model")), (200, Some("wanted")));
    }
}

/// One adapter of two is killed, whichever the router listens to: nothing is lost, and nobody says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_adapter_of_two_is_lost_and_models_stay_up() {
    let engine = Engine::start().await;
    let config = [OFTEN.into(), deployment("main", &engine.v1()), model("test-model", &["main"], "")];
    let mut mesh = Mesh::start(Topology::Mesh, &config.concat()).await;
    let (router, first) = (mesh.address(Service::Router), mesh.address(Service::InferenceAdapter));
    // Ports of this mesh that none of its own processes uses.
    let spare = |offset| {
        let facade = mesh.address(Service::Facade);
        SocketAddr::new(facade.ip(), facade.port() + offset)
    };
    let (second, metrics) = (spare(12), spare(13));
    let file = mesh.folder().join("penstock.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace(&format!("http://{first}"), &format!("http://{first},{second}"))).unwrap();
    let (file, listen) = (file.display().to_string(), second.to_string());
    let mut other = tokio::process::Command::from(command([
        "serve",
        "inference-adapter",
        "--config",
        file.as_str(),
        "--listen",
        listen.as_str(),
    ]));
    other.env("ENGINE_KEY", ENGINE_KEY);
    other.env("PENSTOCK_INFERENCE_ADAPTER__METRICS_LISTEN", metrics.to_string());
    other.stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let _other = other.spawn().unwrap();
    let serves = async |address: SocketAddr| {
        until("the adapter to serve", async || is_serving(address, "").await.then_some(())).await;
    };
    serves(second).await;
    mesh.kill(Service::Router);
    mesh.restart(Service::Router);
    serves(router).await;
    until("the facade to find the router again", async || {
        (mesh.client().chat(&chat("test-model")).await.status == 200).then_some(())
    })
    .await;
    let goes_on = async |mesh: &Mesh| {
        for _ in 0..20 {
            assert_eq!(mesh.client().chat(&chat("test-model")).await.status, 200);
        }
        component(router, "inference-adapter", State::Up).await;
        component(router, "model/test-model", State::Up).await;
    };
    goes_on(&mesh).await;
    mesh.kill(Service::InferenceAdapter);
    goes_on(&mesh).await;
    let request = ListChangesRequest { limit: 0 };
    let mut status = StatusClient::new(channel(router).await);
    let changes = status.list_changes(request).await.unwrap().into_inner().changes;
    let lost: Vec<_> = changes.iter().filter(|change| change.name.starts_with("model")).collect();
    assert!(lost.iter().all(|change| change.to() == State::Up), "{lost:?}");
    // The router listens to the one that is left.
    drop(engine);
    component(router, "model/test-model", State::Down).await;
}
