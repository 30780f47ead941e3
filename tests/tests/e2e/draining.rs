//! I1, I2: what shuts down takes nobody new and leaves nobody behind; where there are two of a service, nobody notices.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use penstock_tests::{
    Client, Engine, Mesh, Script, Service, Step, Topology,
    bounded::{until, within},
    client::chat,
    engine::End,
    grpc::{self, inference, keyed},
    mesh::{Plan, one_model},
};

/// An answer that takes a moment, so that some are always under way.
fn words() -> Script {
    let pace = [Step::Text("word ".into()), Step::Wait(Duration::from_millis(10))];
    let mut steps: Vec<Step> = pace.iter().cycle().take(40).cloned().collect();
    steps.extend([Step::Finish("stop"), Step::Usage, Step::Done]);
    Script::steps(steps)
}

/// An external client that asks and asks, and counts what was not whole.
#[derive(Default)]
struct Load {
    over: AtomicBool,
    answered: AtomicUsize,
    failures: std::sync::Mutex<Vec<String>>,
}

impl Load {
    async fn run(self: Arc<Self>, client: Client) {
        while !self.over.load(Ordering::Relaxed) {
            let plain = client.chat(&chat("test-model")).await;
            if plain.status != 200 {
                self.failures.lock().unwrap().push(String::from_utf8_lossy(&plain.body).into_owned());
            }
            let body = penstock_tests::client::streamed(chat("test-model")).to_string();
            let events = client.send(http::Method::POST, "/v1/chat/completions", body).await.head().await;
            let (bytes, whole) = events.bytes().await;
            if !whole || !bytes.ends_with(b"data: [DONE]\n\n") {
                self.failures.lock().unwrap().push(String::from_utf8_lossy(&bytes).into_owned());
            }
            self.answered.fetch_add(2, Ordering::Relaxed);
        }
    }

    /// Waits for answers to requests that begin from now on.
    async fn goes_on(&self) {
        let before = self.answered.load(Ordering::Relaxed);
        until("the load to go on", async || {
            (self.answered.load(Ordering::Relaxed) > before + 8).then_some(())
        })
        .await;
    }
}

/// Restarts both processes of a service, one after the other, as an upgrade does, and counts failed requests.
async fn rolling_restart(service: Service) {
    let engine = Engine::playing(words()).await;
    // The delay is the default one: as long as a caller may need to find out that a replica is back.
    let config = format!("[shutdown]\nreadiness_delay = \"3s\"\n{}", one_model(&engine));
    let mut mesh = Plan::new(Topology::Mesh, &config).twice(service).start().await;
    let load = Arc::new(Load::default());
    let clients: Vec<_> = (0..4).map(|_| tokio::spawn(Arc::clone(&load).run(mesh.client()))).collect();
    load.goes_on().await;
    mesh.second().terminate();
    assert!(mesh.second().exit().await.success());
    load.goes_on().await;
    mesh.restart_second();
    mesh.ready().await;
    mesh.process(service).terminate();
    assert!(mesh.process(service).exit().await.success());
    load.goes_on().await;
    mesh.restart(service);
    mesh.ready().await;
    load.goes_on().await;
    load.over.store(true, Ordering::Relaxed);
    for client in clients {
        within("the load to end", client).await.unwrap();
    }
    let failures = load.failures.lock().unwrap();
    let answered = load.answered.load(Ordering::Relaxed);
    assert!(failures.is_empty(), "{} of {answered} requests failed: {failures:?}", failures.len());
    // Nothing was asked twice, either.
    assert_eq!(engine.calls().len(), answered);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i2_nobody_notices_a_rolling_restart_of_two_routers() {
    rolling_restart(Service::Router).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i2_nobody_notices_a_rolling_restart_of_two_adapters() {
    rolling_restart(Service::InferenceAdapter).await;
}

/// A stream through `service` that does not end by itself ends at its drain limit, and says so.
async fn drain_limit_of(service: Service) {
    let engine = Engine::playing(Script::broken(["a"], Step::Stall)).await;
    let mut mesh = Mesh::over(Topology::Mesh, &engine, "[shutdown]\ndrain_limit = \"300ms\"\n").await;
    let mut events = mesh.client().stream(&chat("test-model")).await;
    assert_eq!(events.next_text().await, "a");
    mesh.process(service).terminate();
    let (rest, ended) = events.bytes().await;
    let rest = String::from_utf8_lossy(&rest).into_owned();
    assert!(ended && rest.contains("\"error\"") && !rest.contains("[DONE]"), "{rest:?}");
    assert!(mesh.process(service).exit().await.success());
    assert_eq!(engine.call(0).await.ended().await, End::ClientGone);
    assert_eq!(engine.calls().len(), 1, "what has begun is not asked again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i1_a_stream_through_a_router_that_goes_ends_with_an_error() {
    drain_limit_of(Service::Router).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i1_a_stream_through_an_adapter_that_goes_ends_with_an_error() {
    drain_limit_of(Service::InferenceAdapter).await;
}

/// On a connection that is there already, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i1_a_router_that_drains_takes_nobody_new_and_finishes_what_it_has() {
    let engine = Engine::playing(Script::gated(["a", "b"])).await;
    let mut mesh = Mesh::over(Topology::Mesh, &engine, "").await;
    let mut callers = inference(mesh.grpc()).await;
    let mut request = grpc::chat("test-model");
    request.stream = true;
    engine.open(1);
    let mut running = callers.generate(keyed(mesh.key(), request.clone())).await.unwrap().into_inner();
    within("the first message", running.message()).await.unwrap().unwrap();
    engine.always(Script::default());
    mesh.process(Service::Router).terminate();
    until("a new call to be refused", async || {
        callers.generate(keyed(mesh.key(), request.clone())).await.err()
    })
    .await;
    let calls = engine.calls().len();
    assert!(callers.generate(keyed(mesh.key(), request)).await.is_err());
    assert_eq!(engine.calls().len(), calls, "a refused call reached the engine");
    engine.open(2);
    let mut finished = false;
    while let Some(message) = within("a message", running.message()).await.unwrap() {
        let mut choices = message.chunks.iter().flat_map(|chunk| &chunk.choices);
        finished |= choices.any(|choice| choice.finish_reason.is_some());
    }
    assert!(finished, "the running stream was cut");
    assert!(mesh.process(Service::Router).exit().await.success());
}
