//! The harness itself: a scripted engine that did not do what it is told would make every other test lie.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    missing_docs
)]

use penstock_tests::{
    Client, Engine, Script, Step,
    client::{chat, streamed},
    engine::{End, Head, Refused},
    outcome::{Outcome, outcome},
};
use serde_json::{Value, json};

async fn engine(script: Script) -> (Engine, Client) {
    let engine = Engine::playing(script).await;
    let client = Client::new(engine.address());
    (engine, client)
}

/// The body of a broken stream.
async fn broken(script: Script) -> (String, bool) {
    let (_engine, client) = engine(script).await;
    let body = streamed(chat("m")).to_string();
    let pending = client.send(http::Method::POST, "/v1/chat/completions", body).await;
    let (bytes, whole) = pending.head().await.bytes().await;
    (String::from_utf8(bytes.to_vec()).unwrap(), whole)
}

#[tokio::test]
async fn plain_and_streamed_answers_say_the_same() {
    let (engine, client) = engine(Script::default()).await;
    assert_eq!(client.chat(&chat("m")).await.text(), "Hello, world!");
    let events = client.stream(&chat("m")).await.rest().await;
    let text: String = events
        .iter()
        .filter_map(|event| serde_json::from_str::<Value>(event).ok())
        .filter_map(|event| event["choices"][0]["delta"]["content"].as_str().map(str::to_owned))
        .collect();
    assert_eq!((text.as_str(), events.last().map(String::as_str)), ("Hello, world!", Some("[DONE]")));
    assert_eq!(engine.calls().len(), 2);
    assert_eq!(engine.calls()[0].json()["model"], "m");
}

#[tokio::test]
async fn usage_is_sent_only_if_asked_for() {
    let (_engine, client) = engine(Script::default()).await;
    let without = client.stream(&chat("m")).await.rest().await.concat();
    let mut body = chat("m");
    body["stream_options"] = json!({"include_usage": true});
    let with = client.stream(&body).await.rest().await.concat();
    assert_eq!((without.contains("\"usage\""), with.contains("\"usage\"")), (false, true));
}

#[tokio::test]
async fn cuts_and_resets_leave_the_body_without_an_end() {
    for ending in [Step::Cut, Step::Reset] {
        let (_, whole) = broken(Script::broken(["a"], ending)).await;
        assert!(!whole);
    }
    let (text, whole) = broken(Script::broken(["a"], Step::Event("{nonsense".into()))).await;
    assert!(whole && text.ends_with("data: {nonsense\n\n"), "{text}");
}

#[tokio::test]
async fn a_plain_answer_is_cut_before_its_last_byte() {
    let (_engine, client) = engine(Script::steps([Step::Text("a".into()), Step::Cut])).await;
    let pending = client.send(http::Method::POST, "/v1/chat/completions", chat("m").to_string()).await;
    assert!(!pending.head().await.bytes().await.1);
}

#[tokio::test]
async fn a_client_that_leaves_is_noticed_in_every_window() {
    let before_head = Script::default().after(Step::Stall);
    let (engine, client) = engine(before_head).await;
    let pending = client.send(http::Method::POST, "/v1/chat/completions", chat("m").to_string()).await;
    let call = engine.call(0).await;
    let left = pending.hang_up();
    assert_eq!(call.ended().await, End::ClientGone);
    assert!(call.gone_at().unwrap() >= left);

    engine.always(Script::broken(["a"], Step::Stall));
    let mut events = client.stream(&chat("m")).await;
    assert_eq!(events.next_text().await, "a");
    events.hang_up();
    assert_eq!(engine.call(1).await.ended().await, End::ClientGone);
}

#[tokio::test]
async fn gates_hold_until_they_are_opened() {
    let (engine, client) = engine(Script::gated(["a", "b"])).await;
    let mut events = client.stream(&chat("m")).await;
    for text in ["a", "b"] {
        engine.open(1);
        assert_eq!(events.next_text().await, text);
    }
    assert_eq!(engine.calls()[0].chunks(), 3);
    engine.open(1);
    assert_eq!(events.rest().await.last().map(String::as_str), Some("[DONE]"));
    assert_eq!(engine.calls()[0].ended().await, End::Played);
}

#[tokio::test]
async fn ollama_is_spoken_too() {
    let (engine, client) = engine(Script::default()).await;
    let body = json!({"model": "m", "messages": [], "stream": false}).to_string();
    let answer = client.post("/api/chat", body).await.json();
    assert_eq!((&answer["message"]["content"], &answer["done"]), (&json!("Hello, world!"), &json!(true)));
    let answer = client.post("/api/chat", json!({"model": "m", "messages": []}).to_string()).await;
    let lines = String::from_utf8(answer.body.to_vec()).unwrap();
    let last: Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    assert_eq!((last["done_reason"].as_str(), last["eval_count"].as_u64()), (Some("stop"), Some(4)));
    engine.serve_models(["llama3"]);
    assert_eq!(client.get("/api/tags").await.json()["models"][0]["name"], "llama3");
    assert_eq!(engine.free_calls().len(), 1);
}

#[tokio::test]
async fn statuses_heads_and_refusals() {
    let (engine, client) = engine(Script::status_with(429, &[("retry-after", "7")], "{}")).await;
    let answer = client.chat(&chat("m")).await;
    assert_eq!((answer.status, answer.header("retry-after")), (429, Some("7")));
    engine.next(Script::default().with_head(Head::AlwaysPlain));
    assert_eq!(client.chat(&streamed(chat("m"))).await.text(), "Hello, world!");
    engine.next(Script::default().with_head(Head::Close));
    let pending = client.send(http::Method::POST, "/v1/chat/completions", chat("m").to_string()).await;
    assert!(pending.try_head().await.is_err());
    let refused = Refused::new();
    assert!(tokio::net::TcpStream::connect(refused.address()).await.is_err());
}

#[tokio::test]
async fn raw_bytes_go_out_as_they_are() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 9\r\n\r\n";
    let (body, whole) = broken(Script::raw(head, [Step::Raw(b"data: ".into())])).await;
    assert_eq!((body.as_str(), whole), ("data: ", false));
}

/// What looks whole and is not must be told from what is whole: the tests of faults stand on it.
#[tokio::test]
async fn outcomes_are_judged() {
    let role = || Step::Delta(json!({"role": "assistant", "content": ""}));
    let text = || Step::Text("a".into());
    let error = || Step::Event(json!({"error": {"code": "engine_cut"}}).to_string());
    let finish = || Step::Finish("stop");
    let judged = async |steps: Vec<Step>| {
        let (_engine, client) = engine(Script::steps(steps)).await;
        tokio::spawn(async move { outcome(&client, &streamed(chat("m"))).await }).await.ok()
    };
    let whole = Outcome::Whole { text: "a".into(), finish: "stop".into() };
    assert_eq!(judged(vec![role(), text(), finish(), Step::Done]).await, Some(whole));
    let broken = Outcome::Broken { text: "a".into(), code: "engine_cut".into() };
    assert_eq!(judged(vec![role(), text(), error()]).await, Some(broken));
    for neither in [
        vec![role(), text()],
        vec![role(), text(), Step::Cut],
        vec![role(), text(), Step::Done],
        vec![role(), text(), finish()],
        vec![role(), text(), finish(), finish(), Step::Done],
        vec![role(), text(), finish(), text(), Step::Done],
        vec![role(), text(), finish(), Step::Done, Step::Done],
        vec![role(), text(), error(), Step::Done],
        vec![role(), error(), text()],
        vec![role(), text(), finish(), Step::Done, Step::Raw(b"data: x".into())],
    ] {
        let name = format!("{neither:?}");
        assert_eq!(judged(neither).await, None, "{name}");
    }
}
