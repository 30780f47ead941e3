//! The services that may be missing: rate-limiter and cache. Requests go on, or are refused where that was asked.

use penstock_tests::client::with;
use serde_json::json;

use super::*;

/// A limit that a caller has reached with its first request.
const ONE_REQUEST: &str = "[[limits]]\napplies_to = \"key\"\nrequests = { per = \"1h\", limit = 1 }\n";

/// Strikes, looks at the faces and at a request, mends, and looks again.
async fn lose(service: Service, more: &str, killed: bool, request: impl AsyncFn(&Mesh, &Engine)) {
    let engine = Engine::start().await;
    let mut mesh = well(&engine, more).await;
    match killed {
        true => mesh.kill(service),
        false => mesh.freeze(service),
    }
    request(&mesh, &engine).await;
    let degraded = Expected::mesh(State::Degraded).and(service.name(), State::Down);
    let faces = degraded.and("model/test-model", State::Up).show(&mesh, "it has gone").await;
    assert_eq!(faces.http["/health/ready"].0, 200, "an optional one never makes it not ready");
    // And now that it is known to be gone.
    request(&mesh, &engine).await;
    match killed {
        true => mesh.restart(service),
        false => mesh.thaw(service),
    }
    let up = Expected::mesh(State::Up).and(service.name(), State::Up);
    up.show(&mesh, "it is back").await;
}

/// Nothing is limited, and it is counted how often that was so.
async fn is_not_limited(mesh: &Mesh, engine: &Engine) {
    let calls = engine.calls().len();
    for _ in 0..3 {
        assert_eq!(ask(mesh, "test-model").await.status, 200);
    }
    assert_eq!(engine.calls().len(), calls + 3);
    let metrics = mesh.metrics(Service::Router).await;
    let counted = metrics.lines().find_map(|line| line.strip_prefix("penstock_unlimited_total "));
    assert!(counted.is_some_and(|count| count.parse::<u64>().unwrap() >= 3), "{counted:?}");
}

/// Refused, and the engine hears nothing of it.
async fn is_refused(mesh: &Mesh, engine: &Engine) {
    let calls = engine.calls().len();
    unavailable(&ask(mesh, "test-model").await);
    assert_eq!(engine.calls().len(), calls);
}

/// A request for which the cache is asked gets its answer from the engine, in time.
async fn comes_from_the_engine(mesh: &Mesh, engine: &Engine) {
    let hurried = mesh.client().with_header("x-request-timeout", "5s");
    let calls = engine.calls().len();
    for seed in 0..3 {
        let answer = hurried.chat(&with(chat("test-model"), json!({"temperature": 0, "seed": seed}))).await;
        assert_eq!((answer.status, answer.header("x-penstock-cache")), (200, Some("miss")), "{answer:?}");
    }
    assert_eq!(engine.calls().len(), calls + 3);
}

/// The limiter's own recovery: it limits again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e1_without_the_rate_limiter_requests_pass_and_are_limited_again_after_it() {
    let engine = Engine::start().await;
    let config = format!("{}{ONE_REQUEST}", two_models(&engine.v1(), &engine.v1()));
    let mut mesh = Plan::new(Topology::Mesh, &config).start().await;
    Expected::mesh(State::Up).show(&mesh, "at the start").await;
    mesh.kill(Service::RateLimiter);
    is_not_limited(&mesh, &engine).await;
    let degraded = Expected::mesh(State::Degraded).and("rate-limiter", State::Down);
    degraded.show(&mesh, "the limiter has gone").await;
    is_not_limited(&mesh, &engine).await;
    mesh.restart(Service::RateLimiter);
    Expected::mesh(State::Up).and("rate-limiter", State::Up).show(&mesh, "it is back").await;
    until("a request over the limit to be refused", async || {
        (ask(&mesh, "test-model").await.status == 429).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e2_with_the_rate_limiter_frozen_requests_pass_where_it_fails_open() {
    let open =
        format!("[router]\nlimiter_failure = \"open\"\n{ONE_REQUEST}").replace("limit = 1 ", "limit = 1000 ");
    lose(Service::RateLimiter, &open, false, is_not_limited).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e1_without_the_rate_limiter_requests_are_refused_where_it_fails_closed() {
    lose(Service::RateLimiter, "[router]\nlimiter_failure = \"closed\"\n", true, is_refused).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e2_with_the_rate_limiter_frozen_requests_are_refused_where_it_fails_closed() {
    lose(Service::RateLimiter, "[router]\nlimiter_failure = \"closed\"\n", false, is_refused).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e1_without_the_cache_engines_answer() {
    lose(Service::Cache, "", true, comes_from_the_engine).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e2_with_the_cache_frozen_engines_answer() {
    lose(Service::Cache, "", false, comes_from_the_engine).await;
}
