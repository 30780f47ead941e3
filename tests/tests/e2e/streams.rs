//! Streams to the letter: what keeps a silent one open, and what every chunk of one must have in common whatever
//! the engine sends (C3, C5, C7, C8, C12).

use penstock_tests::{
    Engine, Mesh, Script, Step, Topology, both,
    client::{Events, chat, streamed, with},
    engine::End,
    mesh::deployment,
};
use serde_json::{Value, json};

/// Silences that a test need not wait for.
const SHORT: &str = "[facade]\nkeep_alive_delay = \"30ms\"\nkeep_alive_period = \"30ms\"\n";

async fn ask(mesh: &Mesh) -> Events {
    let body = streamed(chat("test-model")).to_string();
    mesh.client().send(http::Method::POST, "/v1/chat/completions", body).await.head().await
}

/// The events of a stream as JSON, and whether it ended with `[DONE]`.
fn parsed(mut events: Vec<String>) -> (Vec<Value>, bool) {
    let done = events.pop_if(|last| last == "[DONE]").is_some();
    (events.iter().map(|event| serde_json::from_str(event).unwrap()).collect(), done)
}

fn text(events: &[Value], index: u64) -> String {
    let choices = events.iter().flat_map(|event| event["choices"].as_array().unwrap());
    let of_index = choices.filter(|choice| choice["index"] == json!(index));
    of_index.filter_map(|choice| choice["delta"]["content"].as_str()).collect()
}

both! {
    /// C7: an engine that loads its model for minutes loses no client to a proxy.
    async fn before_the_first_token_comments_keep_it_open(topology: Topology) {
        let engine = Engine::playing(Script::default().after(Step::Gate)).await;
        let mesh = Mesh::over(topology, &engine, SHORT).await;
        let mut events = ask(&mesh).await;
        assert_eq!(events.status, 200);
        assert_eq!(events.headers["x-accel-buffering"], "no");
        assert!(events.headers.contains_key("x-request-id"));
        // Nobody knows yet who will answer.
        assert!(!events.headers.contains_key("x-penstock-model"), "{:?}", events.headers);
        for _ in 0..3 {
            events.next_comment().await;
        }
        engine.open(1);
        let (events, done) = parsed(events.rest().await);
        assert_eq!((text(&events, 0).as_str(), done), ("Hello, world!", true));
        assert_eq!(engine.calls().len(), 1);
    }
}

both! {
    /// C8: the status is gone, so an event tells the failure, and nothing looks like an end.
    async fn what_fails_after_the_head_is_told_in_the_stream(topology: Topology) {
        let engine = Engine::playing(Script::status(500).after(Step::Gate)).await;
        let mesh = Mesh::over(topology, &engine, SHORT).await;
        let mut events = ask(&mesh).await;
        assert_eq!(events.status, 200);
        events.next_comment().await;
        // As often as a single deployment is asked.
        engine.open(3);
        let (events, done) = parsed(events.rest().await);
        assert!(!done, "{events:?}");
        assert_eq!(events.len(), 1, "{events:?}");
        assert_eq!(events[0]["error"]["code"], "engine_failed");
        assert!(events[0]["error"]["request_id"].is_string());
    }
}

both! {
    /// The head is committed, the deployment is not: another one may still answer.
    async fn another_deployment_may_answer_after_the_head(topology: Topology) {
        let (first, second) = (Engine::playing(Script::status(503).after(Step::Gate)).await, Engine::start().await);
        let model = "[[models]]\nname = \"test-model\"\ndeployments = [\"first\", { id = \"second\", priority = 2 }]\n";
        let config = [SHORT, &deployment("first", &first.v1()), &deployment("second", &second.v1()), model].concat();
        let mesh = Mesh::start(topology, &config).await;
        let mut events = ask(&mesh).await;
        events.next_comment().await;
        first.open(1);
        let (events, done) = parsed(events.rest().await);
        assert_eq!((text(&events, 0).as_str(), done), ("Hello, world!", true));
        assert_eq!((first.calls().len(), second.calls().len()), (1, 1));
    }
}

both! {
    async fn pauses_are_bridged(topology: Topology) {
        let engine = Engine::playing(Script::gated(["a", "b"])).await;
        let mesh = Mesh::over(topology, &engine, "[facade]\nkeep_alive_period = \"30ms\"\n").await;
        engine.open(1);
        let mut events = mesh.client().stream(&chat("test-model")).await;
        // Within the delay the head tells who answers.
        assert_eq!(events.headers["x-penstock-model"], "test-model");
        assert_eq!(events.next_text().await, "a");
        for text in ["b", ""] {
            events.next_comment().await;
            events.next_comment().await;
            engine.open(1);
            if !text.is_empty() {
                assert_eq!(events.next_text().await, text);
            }
        }
        assert_eq!(events.rest().await.last().map(String::as_str), Some("[DONE]"));
    }
}

both! {
    /// C1: a comment holds no client: one that leaves while it waits stops the engine.
    async fn a_client_that_leaves_while_it_waits_stops_the_engine(topology: Topology) {
        let engine = Engine::playing(Script::default().after(Step::Stall)).await;
        let mesh = Mesh::over(topology, &engine, SHORT).await;
        let mut events = ask(&mesh).await;
        events.next_comment().await;
        let call = engine.call(0).await;
        events.hang_up();
        assert_eq!(call.ended().await, End::ClientGone);
        assert_eq!(engine.calls().len(), 1);
    }
}

/// A chunk as some engine might send it.
fn chunk(id: &str, created: i64, choices: Value, usage: &Value) -> Step {
    let mut chunk = json!({"id": id, "object": "chat.completion.chunk", "created": created, "model": "engine-model",
        "choices": choices});
    if !usage.is_null() {
        chunk["usage"] = usage.clone();
    }
    Step::Event(chunk.to_string())
}

fn choice(index: u64, content: &str, finish_reason: Option<&str>) -> Value {
    let delta = if content.is_empty() { json!({}) } else { json!({"content": content}) };
    json!({"index": index, "delta": delta, "finish_reason": finish_reason})
}

both! {
    /// C5: clients key their state by the id; engines exist that make a new one for each chunk.
    async fn every_chunk_has_the_same_id_and_time(topology: Topology) {
        let none = Value::Null;
        let script = Script::steps([
            chunk("one", 1, json!([choice(0, "a", None)]), &none),
            chunk("two", 2, json!([choice(0, "b", None)]), &none),
            chunk("three", 3, json!([choice(0, "", Some("stop"))]), &none),
            chunk("four", 4, json!([]), &json!({"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3})),
            Step::Done,
        ]);
        let engine = Engine::playing(script).await;
        let mesh = Mesh::over(topology, &engine, "").await;
        let body = with(chat("test-model"), json!({"stream_options": {"include_usage": true}}));
        let (events, done) = parsed(mesh.client().stream(&body).await.rest().await);
        assert!(done && events.len() >= 4, "{events:?}");
        for event in &events {
            for same in ["id", "created", "model", "object"] {
                assert_eq!(event[same], events[0][same], "{same}: {event}");
            }
        }
    }
}

both! {
    /// C5: usage on every chunk, as vLLM has it on request, leaves as one chunk if it was asked for, else as none.
    async fn usage_comes_exactly_once_and_only_if_asked_for(topology: Topology) {
        let usage = |total| json!({"prompt_tokens": 1, "completion_tokens": total - 1, "total_tokens": total});
        let script = Script::steps([
            chunk("c", 1, json!([choice(0, "a", None)]), &usage(2)),
            chunk("c", 1, json!([choice(0, "b", None)]), &usage(3)),
            chunk("c", 1, json!([choice(0, "", Some("stop"))]), &usage(3)),
            chunk("c", 1, json!([]), &usage(3)),
            Step::Done,
        ]);
        let engine = Engine::playing(script).await;
        let mesh = Mesh::over(topology, &engine, "").await;
        for options in [json!({"include_usage": true}), json!({"include_usage": false}), Value::Null] {
            let asked = options["include_usage"] == json!(true);
            let body = with(chat("test-model"), json!({"stream_options": options}));
            let (events, done) = parsed(mesh.client().stream(&body).await.rest().await);
            assert!(done, "{events:?}");
            assert_eq!(text(&events, 0), "ab");
            if !asked {
                assert!(events.iter().all(|event| event.get("usage").is_none()), "{events:?}");
                continue;
            }
            let (last, earlier) = events.split_last().unwrap();
            assert_eq!((&last["choices"], &last["usage"]["total_tokens"]), (&json!([]), &json!(3)));
            assert!(earlier.iter().all(|event| event.get("usage") == Some(&Value::Null)), "{events:?}");
        }
    }
}

both! {
    /// C12: choices come as they are made; each has its own order and its own end.
    async fn choices_interleave(topology: Topology) {
        let none = Value::Null;
        let pieces = [(1, "B", None), (0, "a", None), (1, "C", None), (0, "b", None), (1, "", Some("length"))];
        let mut steps: Vec<Step> =
            pieces.iter().map(|(index, text, end)| chunk("c", 1, json!([choice(*index, text, *end)]), &none)).collect();
        // Two choices in one chunk, too.
        steps.push(chunk("c", 1, json!([choice(2, "x", Some("stop")), choice(0, "c", Some("stop"))]), &none));
        steps.push(Step::Done);
        let engine = Engine::playing(Script::steps(steps.clone())).await;
        let mesh = Mesh::over(topology, &engine, "").await;
        let body = with(chat("test-model"), json!({"n": 3}));
        let (events, done) = parsed(mesh.client().stream(&body).await.rest().await);
        assert!(done, "{events:?}");
        assert_eq!([0, 1, 2].map(|index| text(&events, index)), ["abc", "BC", "x"]);
        for (index, reason) in [(0, "stop"), (1, "length"), (2, "stop")] {
            let choices = events.iter().flat_map(|event| event["choices"].as_array().unwrap());
            let ends: Vec<_> = choices
                .filter(|choice| choice["index"] == json!(index) && !choice["finish_reason"].is_null())
                .map(|choice| choice["finish_reason"].clone())
                .collect();
            assert_eq!(ends, [json!(reason)], "choice {index}");
        }
        // One that never ends makes the whole answer one that was cut.
        steps.remove(4);
        engine.always(Script::steps(steps));
        let (events, done) = parsed(mesh.client().stream(&body).await.rest().await);
        assert!(!done && events.last().unwrap()["error"]["code"] == json!("engine_cut"), "{events:?}");
    }
}

both! {
    /// C3: whatever the engine's network cuts, the client's text is whole.
    async fn characters_survive_any_cut(topology: Topology) {
        let odd = "é€\u{1F469}\u{200D}\u{1F680}\u{301}";
        let event = json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
            "choices": [choice(0, odd, Some("stop"))]});
        let wire = format!("data: {event}\r\n\r\ndata: [DONE]\n\n").into_bytes();
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        let in_two = (1..wire.len()).step_by(7).map(|at| vec![wire[..at].to_vec(), wire[at..].to_vec()]);
        let in_bytes = wire.iter().map(|byte| vec![*byte]).collect();
        for pieces in in_two.chain([in_bytes]) {
            engine.always(Script::steps(pieces.into_iter().map(Step::Raw).collect::<Vec<_>>()));
            let (events, done) = parsed(mesh.client().stream(&chat("test-model")).await.rest().await);
            assert_eq!((text(&events, 0).as_str(), done), (odd, true));
        }
    }
}
