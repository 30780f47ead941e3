//! Adapters: of several one may go and nobody notices; without any nothing can be answered.

use super::*;

/// The balanced channel avoids the one that has gone, and the mesh stays UP.
async fn lose_one_of_two(first: bool) {
    let engine = Engine::start().await;
    let config = two_models(&engine.v1(), &engine.v1());
    let mut mesh = settled(Plan::new(Topology::Mesh, &config).twice(Service::InferenceAdapter)).await;
    match first {
        true => mesh.kill(Service::InferenceAdapter),
        false => mesh.second().kill(),
    }
    let up = Expected::mesh(State::Up).and("inference-adapter", State::Up).and("model/test-model", State::Up);
    up.show(&mesh, "one of two adapters has gone").await;
    for _ in 0..10 {
        assert_eq!(ask(&mesh, "test-model").await.status, 200);
        assert_eq!(ask(&mesh, "other-model").await.status, 200);
    }
    up.show(&mesh, "requests went on").await;
    match first {
        true => mesh.restart(Service::InferenceAdapter),
        false => mesh.restart_second(),
    }
    mesh.ready().await;
    recovered(&mesh, "both are there again").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e1_of_two_adapters_the_first_may_go() {
    lose_one_of_two(true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e1_of_two_adapters_the_second_may_go() {
    lose_one_of_two(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e1_without_any_adapter_the_mesh_is_down_and_comes_back() {
    let engine = Engine::start().await;
    let config = two_models(&engine.v1(), &engine.v1());
    let mut mesh = settled(Plan::new(Topology::Mesh, &config).twice(Service::InferenceAdapter)).await;
    mesh.kill(Service::InferenceAdapter);
    mesh.second().kill();
    let down = Expected::mesh(State::Down)
        .and("inference-adapter", State::Down)
        .and("model/test-model", State::Down)
        .and("model/other-model", State::Down);
    let faces = down.show(&mesh, "no adapter is left").await;
    assert_eq!((faces.http["/health/ready"].0, faces.http["/health/live"].0), (503, 200));
    unavailable(&ask(&mesh, "test-model").await);
    // One of them is enough.
    mesh.restart_second();
    recovered(&mesh, "one adapter is back").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e2_with_the_adapter_frozen_the_mesh_is_down_and_comes_back() {
    let engine = Engine::start().await;
    let mut mesh = well(&engine, "").await;
    mesh.freeze(Service::InferenceAdapter);
    let down = Expected::mesh(State::Down).and("inference-adapter", State::Down);
    down.and("model/test-model", State::Down).show(&mesh, "the adapter hangs").await;
    let hurried = mesh.client().with_header("x-request-timeout", "3s");
    let answer = hurried.chat(&chat("test-model")).await;
    assert!([503, 504].contains(&answer.status), "{answer:?}");
    mesh.thaw(Service::InferenceAdapter);
    recovered(&mesh, "it goes on").await;
}
