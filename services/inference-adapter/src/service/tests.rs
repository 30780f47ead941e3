//! The service over the local channel, against engines on real sockets that do what a script says.

mod faults;
mod health;
mod reload;
mod scripted;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use penstock_chassis::{
    Channel, Chassis, Live, Reloader,
    config::{Document, Environment},
};
use penstock_proto::{
    Reason,
    adapter::v1::{Breaker, ListRequest, WatchRequest, deployments_client::DeploymentsClient},
    inference::v1::{
        ChatInput, EmbedRequest, GenerateChunk, GenerateRequest, ListModelsRequest, Message, Prompt,
        TextList, generate_request::Input, inference_client::InferenceClient, message::Content, prompt::Kind,
    },
    status::v1::State,
};
use tonic::{Status, Streaming};

use self::scripted::{Scripted, Step};
use crate::Config;

const FIRST: &str = r#"{"id":"c","choices":[{"index":0,"delta":{"role":"assistant","content":"Hel"}}]}"#;
const SECOND: &str = r#"{"id":"c","choices":[{"index":0,"delta":{"content":"lo"}}]}"#;
const LAST: &str = r#"{"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
const USAGE: &str =
    r#"{"id":"c","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}"#;
const PLAIN: &str = r#"{"id":"c","choices":[{"index":0,"message":{"role":"assistant","content":"Hello"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}"#;

fn head(kind: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n")
}

fn piece(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

fn events(events: &[&str]) -> String {
    events.iter().map(|event| piece(&format!("data: {event}\n\n"))).collect()
}

fn whole(status: &str, kind: &str, body: &str) -> Step {
    let length = body.len();
    Step::Write(format!(
        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n{body}"
    ))
}

struct Adapter {
    chassis: Chassis,
    inference: InferenceClient<Channel>,
    deployments: DeploymentsClient<Channel>,
}

/// The adapter as this configuration has it.
async fn adapter(chassis: Chassis, text: Option<&str>, environment: &[(&str, &str)]) -> Adapter {
    let mut document = Document::parse(text, Environment::of(environment.iter().copied())).unwrap();
    let mut section = document.section("inference_adapter");
    let config = Config::read(&mut section, &mut document);
    drop(section);
    document.finish().unwrap();
    let routes = crate::start(config, Live::default(), Reloader::default(), &chassis).await.unwrap();
    let channel = Channel::local(routes, &chassis);
    let (inference, deployments) = (InferenceClient::new(channel.clone()), DeploymentsClient::new(channel));
    Adapter { chassis, inference, deployments }
}

/// An adapter with the deployment `d` on a scripted engine.
async fn with_engine(
    engine: &str,
    settings: &str,
    steps: impl Fn(&str) -> Vec<Step> + Send + Sync + 'static,
) -> (Adapter, Arc<Scripted>) {
    let chassis = Chassis::default();
    let scripted = scripted::start(&chassis.tasks, move |seen| match scripted::is_free(seen) {
        // A check: not what the test is about.
        true => vec![whole("200 OK", "application/json", r#"{"data":[]}"#)],
        false => steps(seen),
    })
    .await;
    let text = format!(
        "[inference_adapter]\n{settings}\n[[deployments]]\nid = 'd'\nengine = '{engine}'\nmodel = 'em'\nendpoint = 'http://{}'\napi_key_env = 'KEY'",
        scripted.address
    );
    (adapter(chassis, Some(&text), &[("KEY", "engine-key")]).await, scripted)
}

fn request(stream: bool) -> GenerateRequest {
    let message =
        Message { role: "user".into(), content: Some(Content::Text("canary".into())), ..Message::default() };
    GenerateRequest {
        model: "d".into(),
        input: Some(Input::Chat(ChatInput { messages: vec![message] })),
        stream,
        ..GenerateRequest::default()
    }
}

impl Adapter {
    async fn open(
        &self,
        request: GenerateRequest,
    ) -> Result<Streaming<penstock_proto::inference::v1::GenerateResponse>, Status> {
        self.inference.clone().generate(request).await.map(tonic::Response::into_inner)
    }

    /// All chunks, and how the answer ended.
    async fn ask(&self, request: GenerateRequest) -> (Vec<GenerateChunk>, Result<(), Status>) {
        let mut chunks = Vec::new();
        let mut stream = match self.open(request).await {
            Ok(stream) => stream,
            Err(status) => return (chunks, Err(status)),
        };
        loop {
            match stream.message().await {
                Ok(Some(message)) => chunks.extend(message.chunks),
                Ok(None) => return (chunks, Ok(())),
                Err(status) => return (chunks, Err(status)),
            }
        }
    }

    /// The reason why a request fails; nothing of the engine or the prompt may be in the status.
    async fn reason(&self, stream: bool) -> Reason {
        let status = self.ask(request(stream)).await.1.unwrap_err();
        assert!(!format!("{status:?}").contains("canary"), "{status:?}");
        penstock_proto::Error::from(&status).reason
    }
}

fn text(chunks: &[GenerateChunk]) -> String {
    let choices = chunks.iter().flat_map(|chunk| &chunk.choices);
    choices.filter_map(|choice| choice.delta.as_ref()?.content.as_deref()).collect()
}

#[tokio::test]
async fn a_stream_comes_whole_and_the_connection_is_used_again() {
    let script = |_: &str| {
        let all = events(&[FIRST, SECOND, LAST, USAGE, "[DONE]", "junk after the end"]);
        vec![Step::Write(head("text/event-stream") + &all + "0\r\n\r\n")]
    };
    let (adapter, engine) = with_engine("openai", "", script).await;
    for _ in 0..3 {
        let (chunks, result) = adapter.ask(request(true)).await;
        result.unwrap();
        assert_eq!(text(&chunks), "Hello");
        assert_eq!(chunks.last().unwrap().usage.as_ref().unwrap().total_tokens, 5);
        assert!(chunks.iter().all(|chunk| chunk.model == "d" && chunk.id == "c"));
    }
    assert_eq!(engine.generations(), 3);
    assert_eq!(engine.generation_connections(), 1, "one connection for all");
    let seen = engine.last();
    assert!(seen.contains("authorization: Bearer engine-key") && seen.contains("\"model\":\"em\""), "{seen}");
    assert!(seen.starts_with("POST /v1/chat/completions HTTP/1.1"), "{seen}");
    assert!(seen.contains("x-request-id: "), "{seen}");
}

#[tokio::test]
async fn every_event_is_passed_on_when_it_arrives() {
    let (adapter, engine) = with_engine("openai", "", |_| {
        vec![
            Step::Write(head("text/event-stream") + &events(&[FIRST])),
            Step::Wait,
            Step::Write(events(&[SECOND])),
            Step::Wait,
            Step::Write(events(&[LAST, "[DONE]"]) + "0\r\n\r\n"),
        ]
    })
    .await;
    let mut stream = adapter.open(request(true)).await.unwrap();
    for expected in ["Hel", "lo", ""] {
        let message = stream.message().await.unwrap().unwrap();
        assert_eq!(text(&message.chunks), expected);
        engine.go.notify_one();
    }
}

#[tokio::test]
async fn what_arrives_together_travels_together() {
    let (adapter, _engine) = with_engine("openai", "", |_| {
        let all: String =
            [FIRST, SECOND, LAST, USAGE, "[DONE]"].map(|json| format!("data: {json}\n\n")).concat();
        vec![Step::Write(head("text/event-stream") + &piece(&all) + "0\r\n\r\n")]
    })
    .await;
    let mut stream = adapter.open(request(true)).await.unwrap();
    let message = stream.message().await.unwrap().unwrap();
    assert_eq!(message.chunks.len(), 5, "role, two texts, end, usage");
    assert!(stream.message().await.unwrap().is_none());
}

#[tokio::test]
async fn plain_answers_are_one_chunk_and_c6_plain_json_serves_a_stream() {
    let (adapter, _engine) =
        with_engine("openai", "", |_| vec![whole("200 OK", "application/json", PLAIN)]).await;
    let (chunks, result) = adapter.ask(request(false)).await;
    result.unwrap();
    assert_eq!((chunks.len(), text(&chunks).as_str()), (1, "Hello"));
    assert_eq!(chunks[0].usage.as_ref().unwrap().total_tokens, 5);
    let (chunks, result) = adapter.ask(request(true)).await;
    result.unwrap();
    assert_eq!((chunks.len(), text(&chunks).as_str()), (4, "Hello"), "role, text, end, usage");
    assert!(chunks[3].choices.is_empty() && chunks[3].usage.is_some());
}

#[tokio::test]
async fn ollama_is_spoken_to_in_its_own_words() {
    let (adapter, engine) = with_engine("ollama", "", |_| {
        let lines = concat!(
            r#"{"message":{"role":"assistant","content":"Hel"},"done":false}"#, "\n",
            r#"{"message":{"role":"assistant","content":"lo"},"done":false}"#, "\n",
            r#"{"message":{"role":"assistant","content":""},"done":true,"done_reason":"stop","prompt_eval_count":3,"eval_count":2}"#, "\n",
        );
        vec![Step::Write(head("application/x-ndjson") + &piece(lines) + "0\r\n\r\n")]
    })
    .await;
    let (chunks, result) = adapter.ask(request(true)).await;
    result.unwrap();
    assert_eq!(text(&chunks), "Hello");
    assert_eq!(chunks.last().unwrap().usage.as_ref().unwrap().total_tokens, 5);
    assert!(engine.last().starts_with("POST /api/chat HTTP/1.1"));
}

#[tokio::test]
async fn texts_become_vectors_whose_tokens_are_counted_if_the_engine_does_not() {
    for (count, tokens, estimated) in [(r#","prompt_eval_count":7"#, 7, false), ("", 8, true)] {
        let body = format!(r#"{{"embeddings":[[1,2],[3,4]]{count}}}"#);
        let (mut adapter, engine) =
            with_engine("ollama", "", move |_| vec![whole("200 OK", "application/json", &body)]).await;
        let texts = TextList { values: vec!["Hello, world!".into(); 2] };
        let input = Some(Prompt { kind: Some(Kind::Texts(texts)) });
        let request = EmbedRequest { model: "d".into(), input, ..EmbedRequest::default() };
        let answer = adapter.inference.embed(request).await.unwrap().into_inner();
        assert_eq!((answer.model.as_str(), &*answer.embeddings[1].values), ("d", &[3.0, 4.0][..]));
        let usage = answer.usage.unwrap();
        assert_eq!((usage.prompt_tokens, usage.total_tokens, usage.estimated), (tokens, tokens, estimated));
        assert!(engine.last().starts_with("POST /api/embed HTTP/1.1"));
    }
}

#[tokio::test]
async fn models_are_found_come_and_go() {
    let chassis = Chassis::default();
    let removed = Arc::new(AtomicBool::new(false));
    let gone = Arc::clone(&removed);
    let scripted = scripted::start(&chassis.tasks, move |seen| {
        let body = match (seen.contains("/api/tags"), gone.load(Ordering::Relaxed)) {
            (true, false) => r#"{"models":[{"name":"llama3.2:3b","model":"llama3.2:3b"}]}"#,
            (true, true) => r#"{"models":[]}"#,
            _ => r#"{"version":"1"}"#,
        };
        vec![whole("200 OK", "application/json", body)]
    })
    .await;
    let (address, port) = (scripted.address, scripted.address.port());
    // Twice the same engine, in two spellings: its models are there once.
    let places = format!("ollama+http://{address},ollama+http://{address}/,http://127.0.0.1:1");
    let environment = [
        ("PENSTOCK_INFERENCE_ADAPTER__DISCOVER", places.as_str()),
        ("PENSTOCK_INFERENCE_ADAPTER__DISCOVERY_INTERVAL", "100ms"),
    ];
    let mut adapter = adapter(chassis, None, &environment).await;
    let found = adapter.deployments.list(ListRequest {}).await.unwrap().into_inner().deployments;
    let ids: Vec<_> = found.iter().map(|one| (one.id.clone(), one.discovered, one.state())).collect();
    let id = format!("ollama:{port}/llama3.2:3b");
    assert_eq!(ids[0], (id, true, State::Up));
    assert_eq!(ids[1].0, "penstock-simulated");
    let models =
        adapter.inference.list_models(ListModelsRequest { model: None }).await.unwrap().into_inner().models;
    assert_eq!(
        models.iter().map(|model| model.id.as_str()).collect::<Vec<_>>(),
        ["llama3.2:3b", "penstock-simulated"]
    );
    let unknown =
        adapter.inference.list_models(ListModelsRequest { model: Some("x".into()) }).await.unwrap_err();
    assert_eq!(penstock_proto::Error::from(&unknown).reason, Reason::ModelNotFound);

    removed.store(true, Ordering::Relaxed);
    let mut watch = adapter.deployments.watch(WatchRequest {}).await.unwrap().into_inner();
    while watch.message().await.unwrap().unwrap().deployments.len() != 1 {}
}

#[tokio::test]
async fn watches_end_when_the_drain_begins() {
    let mut adapter = adapter(Chassis::default(), Some(""), &[]).await;
    let mut watch = adapter.deployments.watch(WatchRequest {}).await.unwrap().into_inner();
    assert!(watch.message().await.unwrap().unwrap().deployments.is_empty());
    adapter.chassis.tasks.draining().cancel();
    assert!(watch.message().await.unwrap().is_none());
}
