//! E1, E9: services that vanish and come back, and what goes on meanwhile. Nothing else is restarted.

use penstock_tests::{
    Engine, Mesh, Service, Topology, both,
    bounded::until,
    client::{chat, streamed},
};

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
async fn lose(lost: Service, expect: impl AsyncFnOnce(&Mesh)) {
    let engine = Engine::start().await;
    let mut mesh = Mesh::over(Topology::Mesh, &engine, "").await;
    assert_eq!(mesh.client().chat(&chat("test-model")).await.status, 200);
    mesh.kill(lost);
    expect(&mesh).await;
    mesh.restart(lost);
    answers_again(&mesh).await;
    mesh.ready().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_cache_engines_are_asked() {
    lose(Service::Cache, async |mesh| {
        for _ in 0..5 {
            assert_eq!(mesh.client().chat(&chat("test-model")).await.status, 200);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_rate_limiter_requests_pass_by_default() {
    lose(Service::RateLimiter, async |mesh| {
        for _ in 0..5 {
            assert_eq!(mesh.client().chat(&chat("test-model")).await.status, 200);
        }
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
