//! The services without which nothing goes on for long: auth, and the router behind the facade.

use super::*;

/// How a service is lost.
#[derive(Clone, Copy, Debug)]
enum Loss {
    Killed,
    Frozen,
}

impl Loss {
    fn strike(self, mesh: &mut Mesh, service: Service) {
        match self {
            Loss::Killed => mesh.kill(service),
            Loss::Frozen => mesh.freeze(service),
        }
    }

    fn mend(self, mesh: &mut Mesh, service: Service) {
        match self {
            Loss::Killed => mesh.restart(service),
            Loss::Frozen => mesh.thaw(service),
        }
    }
}

/// B6: who is known goes on until the memo is over, others are refused; DEGRADED until then, DOWN after it.
async fn lose_auth(loss: Loss) {
    let engine = Engine::start().await;
    let mut mesh = well(&engine, MEMO).await;
    let known = known_caller(&mut mesh).await;
    loss.strike(&mut mesh, Service::Auth);
    assert_eq!(known.chat(&chat("test-model")).await.status, 200);
    let degraded = Expected::mesh(State::Degraded).and("auth", State::Degraded);
    let faces = degraded.and("model/test-model", State::Up).show(&mesh, "auth has just gone").await;
    assert_eq!(faces.http["/health/ready"].0, 200);
    assert_eq!(known.chat(&chat("test-model")).await.status, 200);
    let calls = engine.calls().len();
    unavailable(&mesh.anonymous().with_key("somebody that nobody knows").chat(&chat("test-model")).await);

    let down = Expected::mesh(State::Down).and("auth", State::Down);
    let faces = down.show(&mesh, "nobody is known any more").await;
    assert_eq!(faces.http["/health/ready"].0, 503);
    until("the memo to be over", async || {
        (known.chat(&chat("test-model")).await.status == 503).then_some(())
    })
    .await;
    unavailable(&known.chat(&chat("test-model")).await);
    assert!(engine.calls().len() >= calls);

    loss.mend(&mut mesh, Service::Auth);
    recovered(&mesh, "auth is back").await;
    assert_eq!(known.chat(&chat("test-model")).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e1_without_auth_known_callers_go_on_for_their_time() {
    lose_auth(Loss::Killed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e2_with_auth_frozen_known_callers_go_on_for_their_time() {
    lose_auth(Loss::Frozen).await;
}

/// What the facade says of a router that it cannot ask: DOWN, and nothing that it does not know any more.
async fn lose_router(loss: Loss) {
    let engine = Engine::start().await;
    let mut mesh = well(&engine, "").await;
    loss.strike(&mut mesh, Service::Router);
    let hurried = mesh.client().with_header("x-request-timeout", "3s");
    let answer = hurried.chat(&chat("test-model")).await;
    assert!([503, 504].contains(&answer.status), "{answer:?}");
    let down = Expected::without_router(State::Down).and("router", State::Down);
    let faces = down.and("auth", State::Unspecified).show(&mesh, "the router has gone").await;
    assert_eq!(faces.http["/health/ready"].0, 503);
    // E8: no restart storm. Liveness looks at nothing but the process.
    assert_eq!(faces.http["/health/live"].0, 200);
    loss.mend(&mut mesh, Service::Router);
    recovered(&mesh, "the router is back").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e1_without_the_router_the_facade_is_alive_and_not_ready() {
    lose_router(Loss::Killed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e2_with_the_router_frozen_the_facade_is_alive_and_not_ready() {
    lose_router(Loss::Frozen).await;
}
