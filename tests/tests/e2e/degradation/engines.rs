//! Engines: one deployment of a model, all of them, and what talks nonsense. And the collector of traces, which
//! nobody needs.

use penstock_tests::{
    Script,
    engine::Refused,
    mesh::{Impostor, Imposture},
};

use super::*;

const ANY: &str = "127.0.0.1:0";

/// One of two deployments of `test-model` is lost: a caller notices nothing.
fn one_is_lost(lost: &str) -> Expected {
    Expected::mesh(State::Degraded)
        .and(&format!("deployment/{lost}"), State::Down)
        .and("model/test-model", State::Degraded)
        .and("model/other-model", State::Up)
}

async fn others_answer(mesh: &Mesh) {
    for _ in 0..5 {
        assert_eq!(ask(mesh, "test-model").await.status, 200);
        assert_eq!(ask(mesh, "other-model").await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d1_one_deployment_refused_degrades_its_model_alone() {
    let (engine, refused) = (Engine::start().await, Refused::new());
    let mesh = Plan::new(Topology::Mesh, &two_models(&refused.v1(), &engine.v1())).start().await;
    others_answer(&mesh).await;
    let faces = one_is_lost("first").show(&mesh, "a port is refused").await;
    let health = faces.body("/health");
    assert_eq!((&health["healthy_count"], &health["unhealthy_count"]), (&2.into(), &1.into()), "{health}");
    assert_eq!(health["unhealthy_endpoints"][0]["model"], "test-model");
    others_answer(&mesh).await;
    let _back = refused.comes_up();
    recovered(&mesh, "the port is open").await;
}

/// Hangs, and answers noise or a page of HTML to its checks: all of it is DOWN in our words, none of it is shown.
async fn one_is(impostor: Impostor) {
    let engine = Engine::start().await;
    let impostor = Imposture::start(ANY.parse().unwrap(), impostor).await;
    let first = format!("http://{}/v1", impostor.address());
    let mesh = Plan::new(Topology::Mesh, &two_models(&first, &engine.v1())).start().await;
    one_is_lost("first").show(&mesh, "an engine is not one").await;
    others_answer(&mesh).await;
    let address = impostor.address();
    impostor.leave().await;
    let _back = Engine::start_at(address).await;
    recovered(&mesh, "it is an engine now").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d1_one_deployment_that_hangs_degrades_its_model_alone() {
    one_is(Impostor::Silent).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d9_one_deployment_that_answers_noise_degrades_its_model_alone() {
    one_is(Impostor::Noise).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d9_one_deployment_that_is_a_web_server_degrades_its_model_alone() {
    one_is(Impostor::Web).await;
}

/// D7: its checks are green, its answers are 500.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d7_one_deployment_that_fails_at_generating_degrades_its_model_alone() {
    let (failing, engine) = (Engine::start().await, Engine::start().await);
    let mesh = settled(Plan::new(Topology::Mesh, &two_models(&failing.v1(), &engine.v1()))).await;
    failing.always(Script::status(500));
    // One failure after some that went well says little: it is asked until it is found out.
    let lost = one_is_lost("first");
    tokio::select! {
        _ = lost.show(&mesh, "an engine fails") => {}
        () = keep_asking(&mesh) => {}
    }
    others_answer(&mesh).await;
    failing.always(Script::default());
    // Its breaker may be open by now: requests show that it is well.
    tokio::select! {
        _ = recovered(&mesh, "it does not fail any more") => {}
        () = keep_asking(&mesh) => {}
    }
}

async fn keep_asking(mesh: &Mesh) {
    loop {
        assert_eq!(ask(mesh, "test-model").await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d5_without_any_deployment_one_model_is_down_and_the_other_is_not() {
    let (engine, lost) = (Engine::start().await, [Refused::new(), Refused::new()]);
    let config = [
        OFTEN.to_owned(),
        deployment("first", &lost[0].v1()),
        deployment("second", &lost[1].v1()),
        deployment("third", &engine.v1()),
        model("test-model", &["first", "second"], ""),
        model("other-model", &["third"], ""),
    ];
    let mesh = Plan::new(Topology::Mesh, &config.concat()).start().await;
    let degraded = Expected::mesh(State::Degraded)
        .and("model/test-model", State::Down)
        .and("model/other-model", State::Up);
    let faces = degraded.show(&mesh, "a model has no deployment").await;
    assert_eq!(faces.http["/health/ready"].0, 200, "other models are served");
    for body in [chat("test-model"), penstock_tests::client::streamed(chat("test-model"))] {
        unavailable(&mesh.client().chat(&body).await);
    }
    assert_eq!(ask(&mesh, "other-model").await.status, 200);
    let [first, _second] = lost;
    let _back = first.comes_up();
    let better = Expected::mesh(State::Degraded).and("model/test-model", State::Degraded);
    better.show(&mesh, "one is back").await;
    assert_eq!(ask(&mesh, "test-model").await.status, 200);
}

/// The collector: dropped and counted, never blocks; the mesh is UP.
async fn traces_go_to(endpoint: &str) {
    let engine = Engine::start().await;
    let mesh = well(&engine, &format!("[telemetry]\notlp_endpoint = \"{endpoint}\"\n")).await;
    for _ in 0..5 {
        assert_eq!(ask(&mesh, "test-model").await.status, 200);
    }
    recovered(&mesh, "without a collector").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_collector_the_mesh_is_up() {
    traces_go_to(&format!("http://{}", Refused::new().address())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_collector_that_hangs_or_talks_nonsense_the_mesh_is_up() {
    for impostor in [Impostor::Silent, Impostor::Noise] {
        let impostor = Imposture::start(ANY.parse().unwrap(), impostor).await;
        traces_go_to(&format!("http://{}", impostor.address())).await;
    }
}
