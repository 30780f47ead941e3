//! What each caller sees on each face: nothing of what is not its own.

use futures_util::StreamExt as _;
use penstock_proto::status::v1::{GetRequest, ListChangesRequest, WatchRequest, status_client::StatusClient};
use tonic::Code;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tower::ServiceExt as _;

use super::*;

#[tokio::test]
async fn without_a_key_there_are_states_and_counts_and_no_names_of_models() {
    for level in [Public::Summary, Public::Components] {
        let seen = seen(public(level));
        let health = seen.json("/health", None).await;
        assert_eq!((&health["status"], &health["state"]), (&json!("degraded"), &json!("DEGRADED")));
        assert_eq!(health["healthy_endpoints"], json!([{"state": "DEGRADED"}, {"state": "UP"}]));
        assert_eq!(health["unhealthy_endpoints"], json!([{"state": "DOWN"}]));
        assert_eq!((&health["healthy_count"], &health["unhealthy_count"]), (&json!(2), &json!(1)));
        let models = seen.json("/health/models", None).await;
        assert_eq!(models["counts"], json!({"up": 1, "degraded": 1, "down": 0, "unknown": 0}));
        let status = seen.json("/health/status", None).await;
        let names: Vec<_> = status["components"].as_object().unwrap().keys().cloned().collect();
        let expected: &[&str] = match level {
            Public::Summary => &[],
            _ => &["auth", "auth/store", "inference-adapter", "models", "router"],
        };
        assert_eq!(names, expected);
        assert_eq!(status["components"], health["components"]);
        for path in PROBES.iter().chain(&FACES) {
            let body = seen.get(path, None).await.body;
            for secret in
                SECRETS.iter().chain(&["latency_ms\":0", "refused", "cannot", "deployment/", "model/"])
            {
                assert!(!body.contains(secret), "{path} says {secret}: {body}");
            }
        }
        // Not even whether there is one.
        for path in
            ["/health?model=m", "/health?model=none", "/health/models?model=m", "/health?model_id=main"]
        {
            assert_eq!(seen.get(path, None).await.status, StatusCode::UNAUTHORIZED, "{path}");
        }
    }
}

#[tokio::test]
async fn a_key_sees_its_models_and_nothing_of_the_others() {
    let seen = seen(HealthConfig::default());
    let health = seen.json("/health", Some("of-one")).await;
    let at = "2026-01-01T00:00:00.123Z";
    assert_eq!(
        health["healthy_endpoints"],
        json!([{"model": "m", "model_id": "main", "state": "UP", "latency_ms": 0.4, "last_check": at}])
    );
    assert_eq!(
        health["unhealthy_endpoints"],
        json!([{"model": "m", "model_id": "lost", "state": "DOWN", "latency_ms": 0.4, "last_check": at,
            "error": "refused"}])
    );
    let models = seen.json("/health/models", Some("of-one")).await;
    assert_eq!(models["counts"], json!({"up": 0, "degraded": 1, "down": 0, "unknown": 0}));
    let model = &models["models"][0];
    assert_eq!((&model["name"], &model["status"]), (&json!("m"), &json!("DEGRADED")));
    assert_eq!((&model["error"], &model["fallbacks"]), (&json!("1 of 2 deployments"), &json!([])));
    assert_eq!(model["deployments"][0]["error"], "refused");
    // Its alias, too; and what it may not use is what there is not.
    assert_eq!(seen.json("/health/models?model=gpt", Some("of-one")).await, models);
    assert_eq!(seen.json("/health?model=gpt", Some("of-one")).await["healthy_count"], 1);
    assert_eq!(seen.json("/health?model_id=lost", Some("of-one")).await["healthy_count"], 0);
    for path in
        ["/health?model=a/b:c", "/health?model=none", "/health/models?model=none", "/health?model_id=x"]
    {
        let answer = seen.get(path, Some("of-one")).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
        assert_eq!(answer.json()["error"]["code"], "model_not_found", "{path}");
    }
    for path in FACES {
        let body = seen.get(path, Some("of-one")).await.body;
        for secret in SECRETS {
            assert!(!body.contains(secret), "{path} says {secret}: {body}");
        }
    }
}

#[tokio::test]
async fn a_key_for_every_model_and_anybody_where_all_is_public_see_everything() {
    for (config, key) in [(HealthConfig::default(), Some("k")), (public(Public::Full), None)] {
        let seen = seen(config);
        let health = seen.json("/health", key).await;
        assert_eq!((&health["healthy_count"], &health["unhealthy_count"]), (&json!(2), &json!(1)));
        assert_eq!(health["components"]["inference-adapter"]["detail"], "not well: deployment/gpu-a:8000");
        let status = seen.json("/health/status", key).await;
        assert_eq!(status["components"]["deployment/gpu-a:8000"]["detail"], "hidden-detail");
        let models = seen.json("/health/models?model=m", key).await;
        assert_eq!(models["models"][0]["fallbacks"], json!(["a/b:c"]));
        let services = seen.json("/health/services", key).await;
        let names: Vec<_> = services["services"].as_array().unwrap().iter().map(|one| &one["name"]).collect();
        assert_eq!(names, ["auth", "auth/store", "inference-adapter", "router"]);
        assert_eq!(services["services"][1]["kind"], "store");
    }
}

#[tokio::test]
async fn one_service_is_told_in_the_words_of_litellm() {
    let seen = seen(HealthConfig::default());
    let auth = seen.json("/health/services?service=auth", Some("of-one")).await;
    assert_eq!((&auth["status"], &auth["message"]), (&json!("healthy"), &json!("works")));
    assert_eq!((&auth["service"], &auth["latency_ms"]), (&json!("auth"), &json!(0.4)));
    let router = seen.json("/health/services?service=router", Some("k")).await;
    assert_eq!(
        (&router["status"], &router["message"]),
        (&json!("degraded"), &json!("not well: inference-adapter, models"))
    );
    let unknown = seen.get("/health/services?service=slack", Some("k")).await;
    assert_eq!(unknown.status, StatusCode::BAD_REQUEST);
    let message = unknown.json()["error"]["message"].as_str().unwrap().to_owned();
    assert_eq!(message, "service: must be one of auth, auth/store, inference-adapter, router");
}

#[tokio::test]
async fn history_is_paged_and_only_of_what_is_seen() {
    let seen = seen(HealthConfig::default());
    seen.lose_the_router();
    seen.components[0].parts(parts().into_iter().map(|part| Report { state: 3, ..part }).collect());
    let all = seen.json("/health/history", Some("k")).await;
    assert_eq!((&all["limit"], &all["offset"]), (&json!(100), &json!(0)));
    let total = all["total_records"].as_u64().unwrap();
    assert_eq!(all["changes"].as_array().unwrap().len() as u64, total);
    let page = seen.json("/health/history?limit=2&offset=1", Some("k")).await;
    assert_eq!(page["changes"][0], all["changes"][1]);
    assert_eq!(
        (&page["total_records"], page["changes"].as_array().unwrap().len()),
        (&all["total_records"], 2)
    );
    let of_one = seen.json("/health/history?name=deployment/gpu-a:8000", Some("k")).await;
    assert!(of_one["total_records"].as_u64().unwrap() > 0, "{all}");
    assert_eq!(of_one["changes"][0]["to"], "DOWN");
    let hidden = seen.json("/health/history?name=deployment/gpu-a:8000", Some("of-one")).await;
    assert_eq!(hidden["total_records"], 0);
    let answer = seen.get("/health/history", Some("of-one")).await;
    assert!(answer.body.contains("model/m") && !SECRETS.iter().any(|secret| answer.body.contains(secret)));
    for query in ["limit=0", "limit=1001", "offset=-1", "page=2", "limit=1&limit=2"] {
        let answer = seen.get(&format!("/health/history?{query}"), Some("k")).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{query}");
    }
}

/// Nobody can say for whom it was: a key that may use everything there is now may be a narrow one.
#[tokio::test]
async fn history_does_not_name_models_that_are_gone() {
    let seen = seen(HealthConfig::default());
    let with_gone = |state| {
        let deployment = part("deployment/gone-for-good", Kind::Deployment, state, "inference-adapter");
        parts().into_iter().chain([part("model/gone-for-good", Kind::Model, state, "models"), deployment])
    };
    for state in [State::Up, State::Down] {
        seen.components[0].parts(with_gone(state).collect());
        seen.components[0].down("not well: gone-for-good", None);
        seen.components[0].degraded("not well: models", None);
    }
    seen.components[0].parts(parts());
    let body = seen.get("/health/history", Some("k")).await.body;
    assert!(body.contains("not well: models") && body.contains("model/m"), "{body}");
    assert!(!body.contains("gone-for-good"), "{body}");
    let open = self::seen(public(Public::Full));
    open.components[0].parts(with_gone(State::Down).collect());
    open.components[0].parts(parts());
    let body = open.get("/health/history", None).await.body;
    assert!(body.contains("gone-for-good"), "{body}");
}

fn keyed<T>(message: T, key: Option<&str>) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    if let Some(key) = key {
        request.metadata_mut().insert("authorization", format!("Bearer {key}").parse().unwrap());
    }
    request
}

/// A gRPC client that speaks to the facade's routes.
macro_rules! client {
    ($client:ident, $seen:expr) => {{
        let routes = $seen
            .facade
            .routes
            .clone()
            .map_request(|request: Request<tonic::body::Body>| request.map(axum::body::Body::new));
        $client::new(routes)
    }};
}

#[tokio::test]
async fn status_over_grpc_shows_the_same() {
    let seen = seen(HealthConfig::default());
    let mut status = client!(StatusClient, seen);
    let mut names = async |key| {
        let report = status.get(keyed(GetRequest {}, key)).await.unwrap().into_inner().report.unwrap();
        let text = format!("{report:?}");
        (report.components.into_iter().map(|one| one.name).collect::<Vec<_>>(), text)
    };
    let (public, text) = names(None).await;
    assert_eq!(public, ["auth", "auth/store", "inference-adapter", "models", "router"]);
    assert!(
        !SECRETS.iter().chain(&["deployment", "nanos: 400000"]).any(|secret| text.contains(secret)),
        "{text}"
    );
    let (of_one, text) = names(Some("of-one")).await;
    assert!(of_one.contains(&"deployment/lost".to_owned()) && of_one.contains(&"model/m".to_owned()));
    assert!(!SECRETS.iter().any(|secret| text.contains(secret)), "{text}");
    assert_eq!(names(Some("k")).await.0.len(), 10);
    let wrong = status.get(keyed(GetRequest {}, Some("wrong"))).await.unwrap_err();
    assert_eq!(wrong.code(), Code::Unauthenticated);
    let none = status.list_changes(keyed(ListChangesRequest { limit: 1 }, None)).await.unwrap_err();
    assert_eq!(none.code(), Code::Unauthenticated);
    let changes = status.list_changes(keyed(ListChangesRequest { limit: 1 }, Some("k"))).await.unwrap();
    assert_eq!(changes.into_inner().changes.len(), 1);
}

/// A change of what is hidden says nothing, not even that there was one.
#[tokio::test]
async fn a_watch_speaks_of_what_is_seen() {
    let seen = seen(HealthConfig::default());
    let mut status = client!(StatusClient, seen);
    let mut watch = status.watch(keyed(WatchRequest {}, Some("of-one"))).await.unwrap().into_inner();
    let first = watch.next().await.unwrap().unwrap().report.unwrap();
    assert_eq!(first.state(), State::Degraded);
    let changed = |name: &str| {
        let change = |part: Report| if part.name == name { Report { state: 3, ..part } } else { part };
        seen.components[0].parts(parts().into_iter().map(change).collect());
    };
    changed("deployment/gpu-a:8000");
    assert!(futures_util::poll!(watch.next()).is_pending());
    changed("deployment/main");
    let next = watch.next().await.unwrap().unwrap().report.unwrap();
    let main = next.components.iter().find(|one| one.name == "deployment/main").unwrap();
    assert_eq!(main.state(), State::Down);
    seen.facade.chassis.health.end_watches();
    assert!(watch.next().await.is_none());
}

#[tokio::test]
async fn names_of_models_are_for_those_who_may_see_them() {
    let named = |service: &str, key| keyed(HealthCheckRequest { service: service.to_owned() }, key);
    let seen_by_key = seen(HealthConfig::default());
    let mut health = client!(HealthClient, seen_by_key);
    for (service, key) in
        [("", None), ("liveness", None), ("readiness", Some("wrong")), ("model/m", Some("of-one"))]
    {
        let answer = health.check(named(service, key)).await.unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "{service}");
    }
    for (service, key) in [
        ("model/m", None),
        ("model/m", Some("wrong")),
        ("model/a/b:c", Some("of-one")),
        ("model/none", Some("k")),
    ] {
        let answer = health.check(named(service, key)).await.unwrap_err();
        assert_eq!(answer.code(), Code::NotFound, "{service} {key:?}");
        let mut watch = health.watch(named(service, key)).await.unwrap().into_inner();
        let first = watch.next().await.unwrap().unwrap();
        assert_eq!(first.status(), ServingStatus::ServiceUnknown, "{service} {key:?}");
    }
    let seen_by_all = seen(public(Public::Full));
    let mut health = client!(HealthClient, seen_by_all);
    let answer = health.check(named("model/a/b:c", None)).await.unwrap().into_inner();
    assert_eq!(answer.status(), ServingStatus::Serving);
}

/// The stream outlives what its key is worth.
#[tokio::test(start_paused = true)]
async fn a_watch_of_a_model_follows_the_key() {
    for (key, statuses) in [
        ("revoked-soon", [ServingStatus::Serving, ServingStatus::ServiceUnknown]),
        ("good-soon", [ServingStatus::ServiceUnknown, ServingStatus::Serving]),
    ] {
        let seen = seen(HealthConfig::default());
        let mut health = client!(HealthClient, seen);
        let asked = keyed(HealthCheckRequest { service: "model/m".into() }, Some(key));
        let mut watch = health.watch(asked).await.unwrap().into_inner();
        for status in statuses {
            assert_eq!(watch.next().await.unwrap().unwrap().status(), status, "{key}");
        }
        seen.facade.chassis.health.end_watches();
        assert!(watch.next().await.is_none(), "{key}");
    }
}
