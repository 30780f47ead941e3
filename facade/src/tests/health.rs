//! The faces of health: bodies, who sees what, and that nobody waits.

mod seen;

use std::{sync::atomic::Ordering, time::Duration};

use axum::http::{Method, Request, StatusCode};
use penstock_chassis::Component;
use penstock_proto::status::v1::{Component as Report, Kind, State};
use serde_json::{Value, json};

use super::scripted::{Answer, Facade, answer};
use crate::{Config, Face, HealthConfig, Public};

/// What must not be seen by whom it is not for.
const SECRETS: [&str; 3] = ["gpu-a:8000", "hidden-detail", "a/b:c"];

/// Every face that a key may be needed for.
const FACES: [&str; 5] =
    ["/health", "/health/status", "/health/models", "/health/services", "/health/history"];
const PROBES: [&str; 5] =
    ["/health/live", "/health/liveliness", "/health/liveness", "/health/ready", "/health/readiness"];

/// A facade before a mesh with two models: `m` on two deployments, of which one is lost, with `a/b:c` behind it,
/// which stands on one with an address in its name.
struct Seen {
    facade: Facade,
    components: Vec<Component>,
}

fn part(name: &str, kind: Kind, state: State, part_of: &str) -> Report {
    Report {
        name: name.into(),
        kind: kind.into(),
        state: state.into(),
        part_of: part_of.into(),
        latency: Some(prost_types::Duration { seconds: 0, nanos: 400_000 }),
        checked_at: Some(prost_types::Timestamp { seconds: 1_767_225_600, nanos: 123_456_789 }),
        last_success_at: (state != State::Down).then_some(prost_types::Timestamp { seconds: 1, nanos: 0 }),
        ..Report::default()
    }
}

fn parts() -> Vec<Report> {
    let detail = |detail: &str, component| Report { detail: detail.into(), ..component };
    let stands_on = |names: &[&str], component| Report {
        stands_on: names.iter().map(|name| (*name).to_owned()).collect(),
        ..component
    };
    let lost = part("deployment/lost", Kind::Deployment, State::Down, "inference-adapter");
    let hidden = part("deployment/gpu-a:8000", Kind::Deployment, State::Degraded, "inference-adapter");
    let m = part("model/m", Kind::Model, State::Degraded, "models");
    let other = part("model/a/b:c", Kind::Model, State::Up, "models");
    vec![
        Report { required: true, ..part("auth", Kind::Service, State::Up, "router") },
        part("auth/store", Kind::Store, State::Up, "auth"),
        detail("refused", lost),
        part("deployment/main", Kind::Deployment, State::Up, "inference-adapter"),
        detail("hidden-detail", hidden),
        detail(
            "not well: deployment/gpu-a:8000",
            part("inference-adapter", Kind::Service, State::Degraded, "router"),
        ),
        detail("1 of 2 deployments", stands_on(&["deployment/lost", "deployment/main", "model/a/b:c"], m)),
        stands_on(&["deployment/gpu-a:8000"], other),
        part("models", Kind::Part, State::Degraded, "router"),
    ]
}

fn seen(config: HealthConfig) -> Seen {
    let facade = Facade::with(answer(), Config { health: config, ..Config::default() });
    let router = facade.chassis.health.component("router", Kind::Service, true);
    router.parts(parts());
    router.degraded("not well: inference-adapter, models", Some(Duration::from_micros(250)));
    facade.chassis.health.started();
    Seen { facade, components: vec![router] }
}

fn public(public: Public) -> HealthConfig {
    HealthConfig { public, need_key: vec![] }
}

impl Seen {
    async fn get(&self, path: &str, key: Option<&str>) -> Answer {
        let mut request = Request::get(path);
        if let Some(key) = key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        self.facade.send(request.body(axum::body::Body::empty()).unwrap()).await
    }

    async fn json(&self, path: &str, key: Option<&str>) -> Value {
        let answer = self.get(path, key).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {answer:?}");
        answer.json()
    }

    fn lists(&self) -> usize {
        self.facade.seen.lists.load(Ordering::Relaxed)
    }

    /// The router does not answer any more.
    fn lose_the_router(&self) {
        let lost = parts().into_iter().map(|part| Report { state: 0, ..part });
        self.components[0].parts(lost.collect());
        self.components[0].down("cannot be asked: Unavailable", None);
    }
}

#[tokio::test]
async fn liveness_looks_at_nothing() {
    let seen = seen(HealthConfig::default());
    seen.facade.chassis.health.drain();
    for key in [None, Some("wrong")] {
        assert_eq!(seen.get("/health/live", key).await.body, r#"{"status":"alive"}"#);
        for path in ["/health/liveliness", "/health/liveness"] {
            let answer = seen.get(path, key).await;
            assert_eq!((answer.status, answer.json()), (StatusCode::OK, json!("I'm alive!")));
        }
    }
    assert_eq!(seen.lists(), 0);
}

#[tokio::test]
async fn readiness_tells_start_loss_and_end_apart() {
    let facade = Facade::new(answer());
    let ready = facade.get("/health/ready").await;
    assert_eq!((ready.status.as_u16(), &ready.json()["status"]), (503, &json!("starting")));
    assert_eq!(ready.json()["db"], "Not connected");
    assert_eq!(
        (&ready.json()["db_initialized"], &ready.json()["router_initialized"]),
        (&json!(false), &json!(false))
    );

    let seen = seen(HealthConfig::default());
    let expected = json!({
        "status": "healthy", "state": "DEGRADED", "db": "connected", "db_initialized": true,
        "router_initialized": true, "version": env!("CARGO_PKG_VERSION"),
        "checks": {
            "auth": {"status": "UP", "required": true},
            "auth/store": {"status": "UP", "required": false},
            "inference-adapter": {"status": "DEGRADED", "required": false},
            "models": {"status": "DEGRADED", "required": false},
            "router": {"status": "DEGRADED", "required": true},
        },
    });
    for path in ["/health/ready", "/health/readiness"] {
        // It neither needs a key nor looks at one.
        assert_eq!(seen.json(path, None).await, expected);
        assert_eq!(seen.json(path, Some("wrong")).await, expected);
    }
    seen.lose_the_router();
    let lost = seen.get("/health/ready", None).await;
    assert_eq!((lost.status.as_u16(), &lost.json()["status"]), (503, &json!("unhealthy")));
    assert_eq!(
        (&lost.json()["state"], &lost.json()["checks"]["auth"]["status"]),
        (&json!("DOWN"), &json!("UNKNOWN"))
    );
    assert_eq!((&lost.json()["db"], &lost.json()["db_initialized"]), (&json!("Not connected"), &json!(true)));
    seen.facade.chassis.health.drain();
    let ending = seen.get("/health/ready", None).await;
    assert_eq!((ending.status.as_u16(), &ending.json()["status"]), (503, &json!("draining")));
    assert_eq!(seen.lists(), 0);
}

#[tokio::test]
async fn readiness_tells_latencies_where_everything_is_public() {
    let seen = seen(public(Public::Full));
    let check = &seen.json("/health/ready", None).await["checks"]["auth"];
    assert_eq!(
        check,
        &json!({"status": "UP", "required": true, "latency_ms": 0.4, "last_check": "2026-01-01T00:00:00.123Z",
            "since": check["since"]})
    );
}

/// A15. The body that `GET` has, its length too.
#[tokio::test]
async fn every_face_takes_head_and_options_and_is_not_stored() {
    let seen = seen(public(Public::Components));
    for path in PROBES.iter().chain(&FACES) {
        let get = seen.get(path, None).await;
        assert_eq!((get.status, get.header("cache-control")), (StatusCode::OK, "no-store"), "{path}");
        assert_eq!(get.header("content-type"), "application/json", "{path}");
        let head = seen.facade.ask(Method::HEAD, path).await;
        assert_eq!((head.status, head.body.as_str()), (StatusCode::OK, ""), "{path}");
        assert_eq!(head.header("content-length"), get.body.len().to_string(), "{path}");
        let options = seen.facade.ask(Method::OPTIONS, path).await;
        assert_eq!((options.status, options.body.as_str()), (StatusCode::OK, ""), "{path}");
        assert_eq!(options.header("allow"), "GET, HEAD, OPTIONS", "{path}");
        let post = seen.facade.ask(Method::POST, path).await;
        assert_eq!(post.status, StatusCode::METHOD_NOT_ALLOWED, "{path}");
    }
    for (path, status) in [("/", 200), ("/none", 404)] {
        let answer = seen.facade.ask(Method::HEAD, path).await;
        assert_eq!((answer.status.as_u16(), answer.body.as_str()), (status, ""), "{path}");
    }
}

#[tokio::test]
async fn a_wrong_key_is_refused_by_every_face_but_the_probes() {
    for config in [HealthConfig::default(), public(Public::Full)] {
        let seen = seen(config);
        for path in FACES {
            let answer = seen.get(path, Some("wrong")).await;
            assert_eq!(
                (answer.status.as_u16(), answer.header("www-authenticate")),
                (401, "Bearer"),
                "{path}"
            );
            assert_eq!(answer.json()["error"]["code"], "invalid_api_key", "{path}");
        }
        for path in PROBES {
            assert_eq!(seen.get(path, Some("wrong")).await.status, StatusCode::OK, "{path}");
        }
    }
}

#[tokio::test]
async fn faces_that_need_a_key_refuse_who_has_none() {
    let seen_by_default = seen(HealthConfig::default());
    for (path, status) in FACES.iter().zip([200, 200, 401, 401, 401]) {
        assert_eq!(seen_by_default.get(path, None).await.status.as_u16(), status, "{path}");
    }
    let need_key = vec![Face::Overview, Face::Status];
    let other = seen(HealthConfig { public: Public::Full, need_key });
    for (path, status) in FACES.iter().zip([401, 401, 200, 200, 200]) {
        assert_eq!(other.get(path, None).await.status.as_u16(), status, "{path}");
    }
}

/// Nobody is asked but for a key, and nobody twice.
#[tokio::test(start_paused = true)]
async fn a_key_is_remembered_for_a_while() {
    let seen = seen(HealthConfig::default());
    for path in FACES {
        seen.get(path, None).await;
    }
    assert_eq!(seen.lists(), 0);
    for path in FACES.iter().chain(&FACES) {
        seen.json(path, Some("of-one")).await;
    }
    assert_eq!(seen.lists(), 1);
    tokio::time::advance(Duration::from_secs(16)).await;
    seen.json("/health", Some("of-one")).await;
    assert_eq!(seen.lists(), 2);
    // Only what is good is remembered.
    for _ in 0..3 {
        seen.get("/health", Some("wrong")).await;
    }
    assert_eq!(seen.lists(), 5);
}

/// Whatever the reason is: the clock that is paused would go on to the longest timeout.
#[tokio::test(start_paused = true)]
async fn who_cannot_be_checked_sees_what_anybody_sees() {
    let seen = seen(HealthConfig::default());
    for key in ["unchecked", "hanging"] {
        let start = tokio::time::Instant::now();
        for path in ["/health", "/health/status"] {
            assert_eq!(seen.json(path, Some(key)).await, seen.json(path, None).await, "{path}");
        }
        for path in ["/health/models", "/health/services", "/health/history"] {
            let answer = seen.get(path, Some(key)).await;
            assert_eq!((answer.status.as_u16(), answer.header("retry-after")), (503, "1"), "{path}");
            assert_eq!(answer.json()["error"]["code"], "service_unavailable", "{path}");
        }
        assert!(start.elapsed() <= Duration::from_secs(5), "a second for each");
    }
    let asked = seen.lists();
    seen.lose_the_router();
    let start = tokio::time::Instant::now();
    assert_eq!(seen.get("/health", Some("hanging")).await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(
        (start.elapsed(), seen.lists()),
        (Duration::ZERO, asked),
        "who is known to be lost is not asked"
    );
}
