//! Something else on the port of a service: what it says is worth nothing, is never shown, and breaks nothing.

use penstock_tests::mesh::{Impostor, Imposture};

use super::*;

/// B6, E6: an auth that talks nonsense is an auth that is lost: nobody is let in on its word.
async fn instead_of_auth(impostor: Impostor) {
    let engine = Engine::start().await;
    let mut mesh = well(&engine, "[auth]\nmemo_ttl = \"1s\"\n").await;
    mesh.kill(Service::Auth);
    let imposture = Imposture::start(mesh.address(Service::Auth), impostor).await;
    let down = Expected::mesh(State::Down).and("auth", State::Down);
    down.show(&mesh, "auth is an impostor").await;
    let calls = engine.calls().len();
    let stranger = mesh.anonymous().with_key("somebody that nobody knows");
    let answer = stranger.with_header("x-request-timeout", "5s").chat(&chat("test-model")).await;
    assert!([503, 504].contains(&answer.status), "{answer:?}");
    assert_eq!(engine.calls().len(), calls);
    imposture.leave().await;
    mesh.restart(Service::Auth);
    recovered(&mesh, "auth is itself again").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn noise_instead_of_auth_lets_nobody_in() {
    instead_of_auth(Impostor::Noise).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_web_server_instead_of_auth_lets_nobody_in() {
    instead_of_auth(Impostor::Web).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silence_instead_of_auth_lets_nobody_in() {
    instead_of_auth(Impostor::Silent).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_web_server_instead_of_the_cache_costs_nothing_but_hits() {
    let engine = Engine::start().await;
    let mut mesh = well(&engine, "").await;
    mesh.kill(Service::Cache);
    let imposture = Imposture::start(mesh.address(Service::Cache), Impostor::Web).await;
    Expected::mesh(State::Degraded).and("cache", State::Down).show(&mesh, "the cache is an impostor").await;
    assert_eq!(ask(&mesh, "test-model").await.status, 200);
    imposture.leave().await;
    mesh.restart(Service::Cache);
    recovered(&mesh, "the cache is itself again").await;
}
