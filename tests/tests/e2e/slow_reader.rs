//! C2: a caller that does not read holds back its own engine and nobody else, takes little memory, and not for ever.

use std::time::Duration;

use penstock_proto::inference::v1::GenerateResponse;
use penstock_tests::{
    Engine, Events, Mesh, Script, Service, Topology, both,
    bounded::{until, within},
    client::{chat, streamed, with},
    engine::{Call, End},
    grpc::{self, inference, keyed},
};
use serde_json::json;
use tonic::Streaming;

/// 64 MB in pieces of 16 KiB: far more than all buffers on the way hold.
const PIECES: usize = 4000;
/// What marks a request for so much, as an engine sees it.
const MUCH: i64 = 7;

/// An engine that says a lot to those who ask for it, and hello to all others.
async fn engine() -> Engine {
    let engine = Engine::start().await;
    let much = Script::texts(vec!["x".repeat(16 << 10); PIECES]);
    engine.answering(move |body| if body["seed"] == json!(MUCH) { much.clone() } else { Script::default() });
    engine
}

/// Callers that read the heads of their answers, and no more.
async fn idle_readers(mesh: &Mesh, engine: &Engine, count: usize) -> Vec<(Events, Call)> {
    let mut readers = Vec::new();
    for number in 0..count {
        let events = mesh.client().stream(&with(chat("test-model"), json!({"seed": MUCH}))).await;
        readers.push((events, engine.call(number).await));
    }
    readers
}

/// Waits until no engine can write any more.
async fn held_back<'a>(calls: impl Iterator<Item = &'a Call> + Clone) {
    let mut last = usize::MAX;
    until("the engines to be held back", async || {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let now: usize = calls.clone().map(Call::chunks).sum();
        (std::mem::replace(&mut last, now) == now).then_some(())
    })
    .await;
    for call in calls {
        assert!(call.chunks() < PIECES, "taken for nobody");
    }
}

both! {
    /// Between two services all answers share one connection: those that nobody reads must not fill it.
    async fn callers_that_do_not_read_stop_nobody_else(topology: Topology) {
        let engine = engine().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        let readers = idle_readers(&mesh, &engine, 12).await;
        held_back(readers.iter().map(|(_, call)| call)).await;
        let hurried = mesh.client().with_header("x-request-timeout", "10s");
        for _ in 0..5 {
            assert_eq!(hurried.chat(&chat("test-model")).await.text(), "Hello, world!");
            let events = hurried.stream(&chat("test-model")).await.rest().await;
            assert_eq!(events.last().map(String::as_str), Some("[DONE]"), "{events:?}");
        }
        // One of them goes on reading: all of it is there.
        let mut readers = readers.into_iter();
        let (mut events, call) = readers.next().unwrap();
        let mut pieces = 0;
        while let Some(event) = events.next().await {
            pieces += usize::from(event.contains("xxx"));
        }
        assert_eq!((pieces, call.ended().await), (PIECES, End::Played));
        for (events, call) in readers {
            events.hang_up();
            assert_eq!(call.ended().await, End::ClientGone);
        }
    }
}

both! {
    async fn callers_that_do_not_read_take_little_memory(topology: Topology) {
        let engine = engine().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        mesh.client().chat(&chat("test-model")).await.text();
        let before = mesh.resident_bytes();
        let count = 50;
        let mut readers = Vec::new();
        for number in 1..=count {
            let events = mesh.client().stream(&with(chat("test-model"), json!({"seed": MUCH}))).await;
            readers.push((events, engine.call(number).await));
        }
        held_back(readers.iter().map(|(_, call)| call)).await;
        let grown = mesh.resident_bytes().saturating_sub(before);
        assert!(grown < (count as u64) << 20, "{grown} bytes for {count} callers that do not read");
    }
}

/// Shortest that may be configured.
const IMPATIENT: &str = "[facade]\nwrite_timeout = \"1s\"\n";

both! {
    async fn one_that_takes_nothing_is_cut_and_one_that_waits_is_not(topology: Topology) {
        let engine = engine().await;
        engine.next(Script::gated(["a", "b"]));
        let mesh = Mesh::over(topology, &engine, IMPATIENT).await;
        engine.open(1);
        // Its engine is silent all the while: it would take what there were.
        let mut patient = mesh.client().stream(&chat("test-model")).await;
        assert_eq!(patient.next_text().await, "a");
        let body = streamed(with(chat("test-model"), json!({"seed": MUCH})));
        let idle = mesh.client().send(http::Method::POST, "/v1/chat/completions", body.to_string()).await;
        let idle = idle.head().await;
        let call = engine.call(1).await;
        assert_eq!(call.ended().await, End::ClientGone);
        assert!(call.chunks() < PIECES, "taken for nobody");
        engine.open(2);
        let rest = patient.rest().await;
        assert_eq!(rest.last().map(String::as_str), Some("[DONE]"), "{rest:?}");
        let (rest, whole) = idle.bytes().await;
        assert!(!whole && !rest.ends_with(b"data: [DONE]\n\n"), "a cut answer that looks whole");
    }
}

both! {
    /// Over HTTP/2 the connection goes on while a stream of it stands still: only that stream is cut.
    async fn of_a_shared_connection_only_the_stream_is_cut_that_nobody_reads(topology: Topology) {
        let engine = engine().await;
        engine.next(Script::gated(["a", "b"]));
        let mesh = Mesh::over(topology, &engine, IMPATIENT).await;
        engine.open(1);
        let mut callers = inference(mesh.address(Service::Facade)).await;
        let mut request = grpc::chat("test-model");
        request.stream = true;
        let mut patient = callers.generate(keyed(mesh.key(), request.clone())).await.unwrap().into_inner();
        next(&mut patient).await.unwrap();
        let much = penstock_proto::inference::v1::GenerateRequest { seed: Some(MUCH), ..request.clone() };
        let mut idle = callers.generate(keyed(mesh.key(), much)).await.unwrap().into_inner();
        let call = engine.call(1).await;
        assert_eq!(call.ended().await, End::ClientGone);
        assert!(call.chunks() < PIECES, "taken for nobody");
        engine.open(2);
        while next(&mut patient).await.is_some() {}
        // What was under way may still come, and then an error, not an end.
        let error = loop {
            match within("the end of a cut stream", idle.message()).await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("a cut answer that looks whole"),
                Err(error) => break error,
            }
        };
        assert_ne!(error.code(), tonic::Code::Ok);
    }
}

async fn next(answer: &mut Streaming<GenerateResponse>) -> Option<GenerateResponse> {
    within("a message", answer.message()).await.unwrap()
}
