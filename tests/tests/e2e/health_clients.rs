//! Clients of health that people already have: a poller written for LiteLLM, `curl -f`, and the stubs of
//! `grpcio-health-checking`. What each does stands in its script.

use penstock_proto::status::v1::State;
use penstock_tests::{
    Engine, Mesh, Service, Topology, both,
    bounded::until,
    clients,
    engine::Refused,
    grpc::is_serving,
    mesh::{Plan, deployment, model},
};
use serde_json::{Map, Value, json};

/// Looks often, so that a change is soon seen; drains for long enough to be looked at meanwhile.
const OFTEN: &str = "[health]\n[[health.checks]]\nname = \"*\"\ninterval = \"200ms\"\n\
    slow_after = \"0s\"\nrecoveries = 1\n[inference_adapter]\ndiscovery_interval = \"200ms\"\n";

fn two_models(other: &str, engine: &Engine) -> String {
    [
        OFTEN.to_owned(),
        deployment("main", &engine.v1()),
        model("test-model", &["main"], ""),
        deployment("other", other),
        model("other-model", &["other"], ""),
    ]
    .concat()
}

/// Waits until `/health` says this.
async fn is(mesh: &Mesh, state: State) {
    let word = state.as_str_name().trim_start_matches("STATE_");
    until(&format!("{word} at /health"), async || {
        let health = mesh.client().get("/health").await;
        (health.json()["state"] == word).then_some(())
    })
    .await;
}

async fn poll(mesh: &Mesh, state: &str) {
    clients::run("python/health_pollers.py", mesh, &[("STATE", state)]).await;
}

both! {
    async fn a_poller_of_litellm_and_curl_work_unmodified(topology: Topology) {
        let (engine, refused) = (Engine::start().await, Refused::new());
        let mesh = Plan::new(topology, &two_models(&refused.v1(), &engine)).start().await;
        is(&mesh, State::Degraded).await;
        until("the other engine to be looked at", async || {
            let health = mesh.client().get("/health").await;
            (health.json()["healthy_count"] == 1).then_some(())
        })
        .await;
        poll(&mesh, "degraded").await;
        let _back = refused.comes_up();
        is(&mesh, State::Up).await;
        poll(&mesh, "well").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poller_of_litellm_and_curl_see_a_mesh_that_is_down() {
    let engine = Engine::start().await;
    let mut mesh = Plan::new(Topology::Mesh, &two_models(&engine.v1(), &engine)).start().await;
    is(&mesh, State::Up).await;
    mesh.kill(Service::Router);
    is(&mesh, State::Down).await;
    poll(&mesh, "down").await;
}

both! {
    /// E8: while it drains it answers, and says that nothing should be sent here.
    async fn a_poller_of_litellm_and_curl_see_the_drain(topology: Topology) {
        let engine = Engine::start().await;
        let config = format!("{}[shutdown]\nreadiness_delay = \"30s\"\n", two_models(&engine.v1(), &engine));
        let mut mesh = Plan::new(topology, &config).start().await;
        is(&mesh, State::Up).await;
        mesh.process(Service::Facade).terminate();
        is(&mesh, State::Down).await;
        poll(&mesh, "draining").await;
    }
}

/// What each name is at an address that is well.
fn names(service: Service, models: bool) -> Value {
    let mut names = Map::new();
    let known =
        ["", "liveness", "readiness", "startup"].into_iter().chain(service.grpc_names().iter().copied());
    names.extend(known.map(|name| (name.to_owned(), json!("SERVING"))));
    if models {
        names.extend(
            ["model/test-model", "model/other-model"].map(|name| (name.to_owned(), json!("SERVING"))),
        );
    }
    Value::Object(names)
}

both! {
    /// E8: each name, unknown ones, and a Watch that hears a model go and come, the drain, and nothing twice.
    async fn grpcio_health_checking_works_unmodified(topology: Topology) {
        let engine = Engine::start().await;
        let other = Engine::start().await;
        let config = format!("{}[shutdown]\nreadiness_delay = \"30s\"\n", two_models(&other.v1(), &engine));
        let mut mesh = Plan::new(topology, &config).start().await;
        is(&mesh, State::Up).await;
        let (facade, router) = (mesh.address(Service::Facade), mesh.address(Service::Router));
        let is_mesh = topology == Topology::Mesh;
        until("the router to serve its models", async || {
            (!is_mesh || is_serving(router, "model/other-model").await).then_some(())
        }).await;
        let drained = json!(["SERVING", "NOT_SERVING"]);
        let of_process = json!({"": drained, "readiness": drained});
        let mut watch = json!({"facade": of_process});
        let mut known = json!({"facade": names(Service::Facade, false)});
        let mut addresses = format!("facade={facade}");
        if is_mesh {
            known["router"] = names(Service::Router, true);
            watch["router"] = of_process;
            watch["router"]["model/other-model"] = json!(["SERVING", "NOT_SERVING", "SERVING"]);
            watch["router"]["model/later"] = json!(["SERVICE_UNKNOWN"]);
            addresses += &format!(",router={router}");
        }
        let watching = mesh.folder().join("watching");
        let (known, watch, signal) = (known.to_string(), watch.to_string(), watching.display().to_string());
        let environment =
            [("ADDRESSES", addresses.as_str()), ("NAMES", &known), ("WATCH", &watch), ("WATCHING", &signal)];
        let script = clients::start("python/health_grpc.py", &mesh, &environment);
        let script = clients::began(script, &watching).await;
        let mut back = None;
        if is_mesh {
            // Gone, and back at the same port.
            let address = other.address();
            drop(other);
            until("the model to be gone", async || (!is_serving(router, "model/other-model").await).then_some(())).await;
            back = Some(Engine::start_at(address).await);
            until("the model to be back", async || is_serving(router, "model/other-model").await.then_some(())).await;
            mesh.process(Service::Router).terminate();
        }
        mesh.process(Service::Facade).terminate();
        clients::ends(script).await;
        drop(back);
    }
}
