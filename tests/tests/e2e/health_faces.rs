//! The HTTP faces of health for three kinds of callers: without a key, with a good one, with a wrong one. Nobody
//! sees what is not its own, and nobody waits for what is lost.

use http::Method;
use penstock_proto::{
    auth::v1::CreateRequest,
    status::v1::{GetRequest, ListChangesRequest, State, status_client::StatusClient},
};
use penstock_tests::{
    Answer, Client, Engine, Mesh, Service, Topology, both,
    bounded::{until, within},
    engine::Refused,
    grpc::{channel, create_key, keyed},
    mesh::{deployment, model},
};
use rustix::process::Signal;
use serde_json::{Value, json};
use tonic::Code;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

const PROBES: [&str; 5] =
    ["/health/live", "/health/liveliness", "/health/liveness", "/health/ready", "/health/readiness"];
const FACES: [&str; 5] =
    ["/health", "/health/status", "/health/models", "/health/services", "/health/history"];
/// Those that need a key unless the configuration says otherwise.
const KEYED: [&str; 3] = ["/health/models", "/health/services", "/health/history"];

const WRONG: &str = "canary-wrong-key-of-health";

/// A mesh with two models on engines of their own, the second one lost; a key for the first one only.
struct Two {
    mesh: Mesh,
    engine: Engine,
    lost: Refused,
    narrow: String,
}

async fn two(topology: Topology, more: &str) -> Two {
    let (engine, lost) = (Engine::start().await, Refused::new());
    let config = [
        format!("{more}\n[inference_adapter]\ndiscovery_interval = \"200ms\"\n"),
        deployment("main-engine", &engine.v1()),
        deployment("other-engine", &lost.v1()),
        model("shown-model", &["main-engine"], "aliases = [\"shown-alias\"]"),
        model("other-model", &["other-engine"], ""),
    ];
    let mut mesh = Mesh::start(topology, &config.concat()).await;
    mesh.keep_secret(WRONG);
    let request = CreateRequest {
        name: "narrow".into(),
        allowed_models: vec!["shown-model".into()],
        ..CreateRequest::default()
    };
    let narrow = create_key(mesh.address(Service::Auth), mesh.key(), request).await.secret;
    mesh.keep_secret(&narrow);
    let two = Two { mesh, engine, lost, narrow };
    until("both models to be judged", async || {
        let health = two.mesh.client().get("/health").await.json();
        let told = health["healthy_count"] == 1 && health["unhealthy_endpoints"][0]["state"] == "DOWN";
        (told && health["state"] == "DEGRADED").then_some(())
    })
    .await;
    two
}

impl Two {
    fn narrow(&self) -> Client {
        self.mesh.anonymous().with_key(&self.narrow)
    }

    /// What nobody sees; and with the names, what who has no key does not see.
    fn expect_hidden(&self, path: &str, answer: &Answer, names: &[&str]) {
        let body = String::from_utf8_lossy(&answer.body);
        let ports = [self.engine.address().port().to_string(), self.lost.address().port().to_string()];
        let hidden =
            ports.iter().map(String::as_str).chain([WRONG, &self.narrow, self.mesh.key(), "127.0.0.1"]);
        for hidden in hidden.chain(names.iter().copied()) {
            assert!(!body.contains(hidden), "{path} says {hidden}: {body}");
        }
    }
}

const NAMES: [&str; 6] =
    ["shown-model", "shown-alias", "other-model", "main-engine", "other-engine", "engine-model"];

both! {
    async fn without_a_key_are_states_and_no_names_of_models(topology: Topology) {
        let two = two(topology, "").await;
        let anonymous = two.mesh.anonymous();
        let health = anonymous.get("/health").await;
        let body = health.json();
        assert_eq!((health.status, &body["status"], &body["state"]), (200, &json!("degraded"), &json!("DEGRADED")));
        assert_eq!(body["healthy_endpoints"], json!([{"state": "UP"}]));
        assert_eq!(body["unhealthy_endpoints"], json!([{"state": "DOWN"}]));
        assert_eq!((&body["db"], &body["redis"]), (&json!("connected"), &Value::Null));
        assert_eq!(body["components"]["auth"], json!({"status": "UP", "required": true}));
        let ready = anonymous.get("/health/ready").await.json();
        assert_eq!((&ready["status"], &ready["db"]), (&json!("healthy"), &json!("connected")));
        assert_eq!((&ready["db_initialized"], &ready["router_initialized"]), (&json!(true), &json!(true)));
        assert!(ready["checks"]["router"].is_object(), "{ready}");
        for path in PROBES.iter().chain(&["/health", "/health/status"]) {
            let answer = anonymous.get(path).await;
            assert_eq!(answer.status, 200, "{path}: {answer:?}");
            two.expect_hidden(path, &answer, &NAMES);
        }
        for path in KEYED {
            let answer = anonymous.get(path).await;
            answer.problem(401, "invalid_api_key");
            two.expect_hidden(path, &answer, &NAMES);
        }
        anonymous.get("/health?model=shown-model").await.problem(401, "invalid_api_key");
        assert_eq!(two.engine.calls().len(), 0);
    }
}

both! {
    async fn a_key_sees_the_models_that_it_may_use(topology: Topology) {
        let two = two(topology, "").await;
        let all = two.mesh.client().get("/health/models").await.json();
        let names: Vec<_> = all["models"].as_array().unwrap().iter().map(|model| &model["name"]).collect();
        assert_eq!(names, ["other-model", "shown-model"]);
        assert_eq!(all["counts"], json!({"up": 1, "degraded": 0, "down": 1, "unknown": 0}));
        assert_eq!(all["models"][0]["deployments"][0]["id"], "other-engine");
        assert!(all["models"][0]["error"].is_string() && all["models"][0]["last_check"].is_string(), "{all}");

        let narrow = two.narrow();
        let health = narrow.get("/health").await.json();
        assert_eq!((&health["healthy_count"], &health["unhealthy_count"]), (&json!(1), &json!(0)));
        let endpoint = &health["healthy_endpoints"][0];
        assert_eq!((&endpoint["model"], &endpoint["model_id"]), (&json!("shown-model"), &json!("main-engine")));
        assert_eq!(narrow.get("/health/models?model=shown-alias").await.json()["models"][0]["name"], "shown-model");
        for path in ["/health?model=other-model", "/health/models?model=other-model", "/health/models?model=nobody"] {
            narrow.get(path).await.problem(404, "model_not_found");
        }
        for path in PROBES.iter().chain(&FACES) {
            let answer = narrow.get(path).await;
            assert_eq!(answer.status, 200, "{path}: {answer:?}");
            two.expect_hidden(path, &answer, &["other-model", "other-engine", "engine-model"]);
        }
        let services = narrow.get("/health/services").await.json();
        let names: Vec<_> = services["services"].as_array().unwrap().iter().map(|one| one["name"].clone()).collect();
        assert!(names.contains(&json!("auth")) && names.contains(&json!("auth/store")), "{services}");
        let one = narrow.get("/health/services?service=router").await.json();
        assert_eq!(one["service"], "router");
        narrow.get("/health/services?service=slack").await.problem(400, "bad_request");
    }
}

both! {
    async fn a_wrong_key_is_refused_and_the_probes_do_not_look_at_it(topology: Topology) {
        let two = two(topology, "").await;
        let wrong = two.mesh.anonymous().with_key(WRONG);
        for path in FACES {
            let answer = wrong.get(path).await;
            answer.problem(401, "invalid_api_key");
            two.expect_hidden(path, &answer, &NAMES);
        }
        for path in PROBES {
            assert_eq!(wrong.get(path).await.status, 200, "{path}");
        }
    }
}

both! {
    async fn every_face_takes_head_and_options(topology: Topology) {
        let two = two(topology, "").await;
        let client = two.mesh.client();
        for path in PROBES.iter().chain(&FACES) {
            let head = client.request(Method::HEAD, path, "").await;
            assert_eq!((head.status, head.body.len()), (200, 0), "{path}");
            assert_eq!(head.header("cache-control"), Some("no-store"), "{path}");
            let options = two.mesh.anonymous().request(Method::OPTIONS, path, "").await;
            assert_eq!((options.status, options.body.len()), (200, 0), "{path}");
            assert_eq!(options.header("allow"), Some("GET, HEAD, OPTIONS"), "{path}");
            client.post(path, "{}").await.problem(405, "method_not_allowed");
        }
    }
}

both! {
    async fn the_configuration_says_who_sees_what(topology: Topology) {
        let open = two(topology, "[facade.health]\npublic = \"full\"\nneed_key = []\n").await;
        for path in FACES {
            let answer = open.mesh.anonymous().get(path).await;
            assert_eq!(answer.status, 200, "{path}");
            open.expect_hidden(path, &answer, &[]);
        }
        let models = open.mesh.anonymous().get("/health/models?model=other-model").await.json();
        assert_eq!(models["models"][0]["deployments"][0]["id"], "other-engine");
        let closed = two(topology, "[facade.health]\npublic = \"summary\"\nneed_key = [\"overview\", \"status\", \"grpc\"]\n");
        let closed = closed.await;
        for path in ["/health", "/health/status"] {
            closed.mesh.anonymous().get(path).await.problem(401, "invalid_api_key");
        }
        let ready = closed.mesh.anonymous().get("/health/ready").await;
        assert_eq!((ready.status, &ready.json()["checks"]), (200, &json!({})));
        let mut status = StatusClient::new(channel(closed.mesh.address(Service::Facade)).await);
        assert_eq!(status.get(GetRequest {}).await.unwrap_err().code(), Code::Unauthenticated);
        assert!(status.get(keyed(closed.mesh.key(), GetRequest {})).await.is_ok());
    }
}

both! {
    /// The same by gRPC on the facade's port.
    async fn grpc_shows_the_same_to_the_same(topology: Topology) {
        let two = two(topology, "").await;
        let facade = channel(two.mesh.address(Service::Facade)).await;
        let mut status = StatusClient::new(facade.clone());
        let none = status.get(GetRequest {}).await.unwrap().into_inner().report.unwrap();
        assert!(none.components.iter().any(|one| one.name == "auth" && one.state() == State::Up), "{none:?}");
        let text = format!("{none:?}");
        assert!(!NAMES.iter().any(|name| text.contains(name)), "{text}");
        let narrow = status.get(keyed(&two.narrow, GetRequest {})).await.unwrap().into_inner().report.unwrap();
        let text = format!("{narrow:?}");
        assert!(text.contains("model/shown-model") && !text.contains("other-"), "{text}");
        let changes = status.list_changes(ListChangesRequest { limit: 0 }).await.unwrap_err();
        assert_eq!(changes.code(), Code::Unauthenticated);
        let changes = status.list_changes(keyed(&two.narrow, ListChangesRequest { limit: 0 })).await.unwrap();
        assert!(!format!("{changes:?}").contains("other-"), "{changes:?}");

        let mut health = HealthClient::new(facade);
        let named = |name: &str| HealthCheckRequest { service: name.into() };
        let shown = health.check(keyed(&two.narrow, named("model/shown-model"))).await.unwrap().into_inner();
        assert_eq!(shown.status(), ServingStatus::Serving);
        let other = health.check(keyed(two.mesh.key(), named("model/other-model"))).await.unwrap().into_inner();
        assert_eq!(other.status(), ServingStatus::NotServing);
        for request in [
            tonic::Request::new(named("model/shown-model")),
            keyed(WRONG, named("model/shown-model")),
            keyed(&two.narrow, named("model/other-model")),
        ] {
            assert_eq!(health.check(request).await.unwrap_err().code(), Code::NotFound);
        }
        let request = health.watch(named("model/shown-model"));
        let mut watch = within("Health.Watch", request).await.unwrap().into_inner();
        let first = within("the first status", watch.message()).await.unwrap().unwrap();
        assert_eq!(first.status(), ServingStatus::ServiceUnknown);
    }
}

both! {
    async fn history_is_that_of_the_callers_models(topology: Topology) {
        let two = two(topology, "").await;
        let lost = until("the loss to be noted", async || {
            let found = two.mesh.client().get("/health/history?name=model/other-model").await.json();
            (found["total_records"] != 0).then_some(found)
        }).await;
        assert_eq!((&lost["changes"][0]["to"], &lost["changes"][0]["kind"]), (&json!("DOWN"), &json!("model")));
        assert!(lost["changes"][0]["at"].as_str().unwrap().ends_with('Z'), "{lost}");
        let hidden = two.narrow().get("/health/history?name=model/other-model").await.json();
        assert_eq!((&hidden["total_records"], &hidden["limit"]), (&json!(0), &json!(100)));
        let page = two.mesh.client().get("/health/history?limit=1&offset=0").await.json();
        assert_eq!(page["changes"].as_array().unwrap().len(), 1);
        for query in ["limit=0", "limit=1001", "offset=-1", "limit=x", "page=1"] {
            two.mesh.client().get(&format!("/health/history?{query}")).await.problem(422, "invalid_value");
        }
    }
}

/// The router dies, or is frozen: who has no key is told so at once from the last report, and so is who has one;
/// what needs a key says that nobody can judge it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_router_every_face_still_answers() {
    for freeze in [false, true] {
        let mut two = two(Topology::Mesh, "").await;
        if freeze {
            two.mesh.process(Service::Router).signal(Signal::STOP);
        } else {
            two.mesh.kill(Service::Router);
        }
        let anonymous = two.mesh.anonymous();
        until("the loss to be seen", async || (anonymous.get("/health").await.status == 503).then_some(()))
            .await;
        for path in ["/health", "/health/status", "/health/ready", "/health/readiness"] {
            let answer = anonymous.get(path).await;
            assert_eq!(answer.status, 503, "{path}");
            two.expect_hidden(path, &answer, &NAMES);
        }
        let health = anonymous.get("/health").await.json();
        assert_eq!((&health["state"], &health["unhealthy_count"]), (&json!("DOWN"), &json!(2)));
        assert_eq!(health["components"]["auth"]["status"], "UNKNOWN");
        for path in ["/health/live", "/health/liveliness"] {
            assert_eq!(anonymous.get(path).await.status, 200, "{path}");
        }
        // A key that nobody has seen lately, for what is remembered is still good for a while.
        let unseen = anonymous.with_key(WRONG);
        let told = unseen.get("/health").await;
        assert_eq!((told.status, told.json()["healthy_endpoints"].clone()), (503, json!([])));
        two.expect_hidden("/health", &told, &NAMES);
        for path in KEYED {
            unseen.get(path).await.problem(503, "service_unavailable");
        }
        if freeze {
            two.mesh.process(Service::Router).signal(Signal::CONT);
        } else {
            two.mesh.restart(Service::Router);
        }
        until("the return to be seen", async || {
            let health = two.mesh.anonymous().get("/health").await;
            (health.status == 200 && health.json()["healthy_count"] == 1).then_some(())
        })
        .await;
    }
}
