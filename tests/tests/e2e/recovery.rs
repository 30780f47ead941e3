//! E1, E9: services that vanish and come back, and what goes on meanwhile. Nothing else is restarted.

use penstock_tests::{
    Engine, Mesh, Service, Topology, both,
    bounded::until,
    client::{chat, streamed, with},
};
use rustix::process::Signal;
use serde_json::json;

async fn answers_again(mesh: &Mesh) {
    until("an answer after the restart", async || {
        (mesh.client().chat(&chat("test-model")).await.status == 200).then_some(())
    })
    .await;
}

both! {
    async fn a_killed_process_comes_back_with_its_keys(topology: Topology) {
        let engine = Engine::start().await;
        let mut mesh = Mesh::over(topology, &engine, "").await;
        assert_eq!(mesh.client().chat(&chat("test-model")).await.status, 200);
        mesh.kill(Service::Facade);
        mesh.restart(Service::Facade);
        mesh.ready().await;
        assert_eq!(mesh.client().chat(&chat("test-model")).await.status, 200);
    }
}

/// Kills `lost`, looks what a caller gets, starts it again, and waits until all is as before.
/// In one process there is none that could be lost alone: this is about the mesh only.
async fn lose(lost: Service, expect: impl AsyncFnOnce(&Mesh)) {
    let engine = Engine::start().await;
    lose_with(lost, &engine, "", expect).await;
}

/// As `lose`, over this engine and with more configuration.
async fn lose_with(lost: Service, engine: &Engine, more: &str, expect: impl AsyncFnOnce(&Mesh)) {
    let mut mesh = Mesh::over(Topology::Mesh, engine, more).await;
    assert_eq!(mesh.client().chat(&chat("test-model")).await.status, 200);
    mesh.kill(lost);
    expect(&mesh).await;
    mesh.restart(lost);
    answers_again(&mesh).await;
    mesh.ready().await;
}

/// Requests for which the cache is asked, from callers with little time: what waits for the cache is a 504.
async fn engines_answer_in_time(mesh: &Mesh, engine: &Engine) {
    let hurried = mesh.client().with_header("x-request-timeout", "3s");
    for seed in 0..5 {
        let calls = engine.calls().len();
        let answer = hurried.chat(&with(chat("test-model"), json!({"temperature": 0, "seed": seed}))).await;
        assert_eq!(answer.text(), "Hello, world!");
        // Looked up, and not found: not a request that the cache has nothing to do with.
        assert_eq!(answer.header("x-penstock-cache"), Some("miss"));
        assert_eq!(engine.calls().len(), calls + 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_cache_engines_are_asked() {
    let engine = Engine::start().await;
    lose_with(Service::Cache, &engine, "", async |mesh| engines_answer_in_time(mesh, &engine).await).await;
}

/// Worse than one that is gone: connections are there, and nobody answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_cache_that_hangs_engines_are_asked() {
    let engine = Engine::start().await;
    let mut mesh = Mesh::over(Topology::Mesh, &engine, "").await;
    mesh.process(Service::Cache).signal(Signal::STOP);
    engines_answer_in_time(&mesh, &engine).await;
    mesh.process(Service::Cache).signal(Signal::CONT);
    answers_again(&mesh).await;
}

/// A limit that the tests below reach with their first request.
const ONE_REQUEST: &str = "[[limits]]\napplies_to = \"key\"\nrequests = { per = \"1h\", limit = 1 }\n";

/// Without the rate-limiter nothing is limited, and it is counted how often that was so.
async fn requests_pass(more: &str) {
    let engine = Engine::start().await;
    lose_with(Service::RateLimiter, &engine, &format!("{ONE_REQUEST}{more}"), async |mesh| {
        for _ in 0..5 {
            assert_eq!(mesh.client().chat(&chat("test-model")).await.status, 200);
        }
        assert_eq!(engine.calls().len(), 6);
        let metrics = mesh.metrics(Service::Router).await;
        assert!(metrics.lines().any(|line| line == "penstock_unlimited_total 5"), "{metrics}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_rate_limiter_requests_pass_by_default() {
    requests_pass("").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_rate_limiter_requests_pass_where_it_fails_open() {
    requests_pass("[router]\nlimiter_failure = \"open\"\n").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_rate_limiter_requests_are_503_where_it_fails_closed() {
    let engine = Engine::start().await;
    let closed = "[router]\nlimiter_failure = \"closed\"\n";
    lose_with(Service::RateLimiter, &engine, closed, async |mesh| {
        for body in [chat("test-model"), streamed(chat("test-model"))] {
            let answer = mesh.client().chat(&body).await;
            answer.problem(503, "service_unavailable");
            assert!(answer.header("retry-after").is_some(), "{answer:?}");
        }
        assert_eq!(engine.calls().len(), 1);
    })
    .await;
}

/// B6: who is known goes on for the time of the memo; who is not is never let in.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_auth_known_keys_go_on_and_others_are_503() {
    lose(Service::Auth, async |mesh| {
        assert_eq!(mesh.client().chat(&chat("test-model")).await.status, 200);
        let stranger = mesh.anonymous().with_key("somebody that nobody knows");
        let answer = stranger.chat(&chat("test-model")).await;
        answer.problem(503, "service_unavailable");
        assert!(answer.header("retry-after").is_some());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_adapter_it_is_503() {
    lose(Service::InferenceAdapter, async |mesh| {
        for body in [chat("test-model"), streamed(chat("test-model"))] {
            mesh.client().chat(&body).await.problem(503, "service_unavailable");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_router_it_is_503_and_the_facade_not_ready() {
    lose(Service::Router, async |mesh| {
        mesh.client().chat(&chat("test-model")).await.problem(503, "service_unavailable");
        until("the facade to be not ready", async || {
            (mesh.anonymous().get("/health/ready").await.status == 503).then_some(())
        })
        .await;
        // Liveness looks at nothing but the process: no restart storm.
        assert_eq!(mesh.anonymous().get("/health/live").await.status, 200);
    })
    .await;
}

/// A service that dies in the midst of a stream: an error in the stream, never a short answer dressed as whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_through_a_dying_service_says_that_it_was_cut() {
    for lost in [Service::Router, Service::InferenceAdapter] {
        let engine = Engine::playing(penstock_tests::Script::gated(["a", "b"])).await;
        let mut mesh = Mesh::over(Topology::Mesh, &engine, "").await;
        engine.open(1);
        let mut events = mesh.client().stream(&chat("test-model")).await;
        assert_eq!(events.next_text().await, "a");
        mesh.kill(lost);
        let rest = events.rest().await;
        let last = rest.last().expect("the stream says how it ended");
        assert!(last.contains("\"error\"") && !rest.contains(&"[DONE]".to_owned()), "{rest:?}");
        assert_eq!(engine.calls().len(), 1);
    }
}
