//! C2: a caller that does not read holds back its own engine and nobody else, takes little memory, and not for ever.

use std::{sync::Arc, time::Duration};

use penstock_proto::inference::v1::GenerateResponse;
use penstock_tests::{
    Engine, Mesh, Script, Service, Step, Topology, both,
    bounded::{until, within},
    client::{chat, streamed, with},
    engine::{Call, End},
    grpc::{self, inference, keyed},
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
};
use tonic::Streaming;

/// 64 MB in pieces of 16 KiB: far more than all buffers on the way hold.
const PIECES: usize = 4000;
/// What marks a request for so much, as an engine sees it.
const MUCH: i64 = 7;

/// An engine that says a lot to those who ask for it, and hello to all others.
async fn engine() -> Engine {
    let engine = Engine::start().await;
    let piece = json!({
        "id": "chatcmpl-much", "object": "chat.completion.chunk", "created": 1, "model": "engine-model",
        "choices": [{"index": 0, "delta": {"content": "x".repeat(16 << 10)}, "finish_reason": null}],
    });
    // Written once: it is not the engine that is looked at.
    let piece = Step::Raw(format!("data: {piece}\n\n").into_bytes());
    let much = Arc::new(Script::steps(vec![piece; PIECES]));
    engine.answering(move |body| match body["seed"] == json!(MUCH) {
        true => Arc::clone(&much),
        false => Arc::default(),
    });
    engine
}

/// A caller that asks for much and does not read a byte of it, with little room of its own.
async fn idle_reader(mesh: &Mesh) -> TcpStream {
    let body = streamed(with(chat("test-model"), json!({"seed": MUCH}))).to_string();
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        mesh.key(),
        body.len(),
    );
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4 << 10).unwrap();
    let connected = within("a connection", socket.connect(mesh.address(Service::Facade))).await;
    let mut stream = connected.unwrap();
    within("the request to be taken", stream.write_all(request.as_bytes())).await.unwrap();
    stream
}

/// So many of them, and what their engines see, whose first call is the one with this index.
async fn idle_readers(mesh: &Mesh, engine: &Engine, first: usize, count: usize) -> Vec<(TcpStream, Call)> {
    let mut readers = Vec::new();
    for index in first..first + count {
        readers.push((idle_reader(mesh).await, engine.call(index).await));
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
        let readers = idle_readers(&mesh, &engine, 0, 12).await;
        held_back(readers.iter().map(|(_, call)| call)).await;
        let hurried = mesh.client().with_header("x-request-timeout", "10s");
        for _ in 0..5 {
            assert_eq!(hurried.chat(&chat("test-model")).await.text(), "Hello, world!");
            let events = hurried.stream(&chat("test-model")).await.rest().await;
            assert_eq!(events.last().map(String::as_str), Some("[DONE]"), "{events:?}");
        }
        // They have stopped nothing but their own engines, and let go of those when they leave.
        for (stream, call) in readers {
            drop(stream);
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
        let count = 30;
        let readers = idle_readers(&mesh, &engine, 1, count).await;
        held_back(readers.iter().map(|(_, call)| call)).await;
        let grown = mesh.resident_bytes().saturating_sub(before);
        // Of 64 MB each: what is read and decoded at once, on every leg of the way.
        assert!(grown < (count as u64) << 21, "{grown} bytes for {count} callers that do not read");
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
        let mut idle = idle_reader(&mesh).await;
        let call = engine.call(1).await;
        assert_eq!(call.ended().await, End::ClientGone);
        assert!(call.chunks() < PIECES, "taken for nobody");
        engine.open(2);
        let rest = patient.rest().await;
        assert_eq!(rest.last().map(String::as_str), Some("[DONE]"), "{rest:?}");
        // What was under way may still come, and no end.
        let mut rest = Vec::new();
        let _ = within("the end of the connection", idle.read_to_end(&mut rest)).await;
        assert!(!rest.ends_with(b"0\r\n\r\n"), "a cut answer that looks whole");
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
