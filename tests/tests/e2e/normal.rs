//! Answers of engines that are not quite right come out as a stream or an answer should be: one order, one identity,
//! one usage, and nothing of what cannot be read (C4 to C6, C12, D10, conformance 1, 2 and 12).

use penstock_tests::{
    ENGINE_CANARY, Engine, Mesh, Script, Service, Step, Topology, both,
    bounded::until,
    client::{chat, with},
    engine::Head,
};
use serde_json::{Value, json};

/// The events of a stream that is whole, without the `[DONE]` at its end.
async fn events(mesh: &Mesh, include_usage: bool) -> Vec<Value> {
    let body = with(chat("test-model"), json!({"stream_options": {"include_usage": include_usage}}));
    let mut events = mesh.client().stream(&body).await.rest().await;
    assert_eq!(events.pop().as_deref(), Some("[DONE]"), "{events:?}");
    assert!(!events.contains(&"[DONE]".to_owned()), "{events:?}");
    events.iter().map(|event| serde_json::from_str(event).unwrap()).collect()
}

/// The choices' pieces, without what is the same everywhere.
fn pieces(events: &[Value]) -> Vec<(Value, Value)> {
    let choices = events.iter().flat_map(|event| event["choices"].as_array().unwrap());
    choices.map(|choice| (choice["delta"].clone(), choice["finish_reason"].clone())).collect()
}

fn event(choices: Value) -> Step {
    Step::Event(
        json!({"id": "x", "created": 1, "object": "chat.completion.chunk", "choices": choices}).to_string(),
    )
}

both! {
    async fn a_stream_has_one_order_whatever_the_engine_puts_into_one_chunk(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        let role = json!({"role": "assistant", "content": ""});
        let expected = [(role, Value::Null), (json!({"content": "Hi"}), Value::Null), (json!({}), json!("stop"))];
        let all = json!([{"index": 0, "delta": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}]);
        let scripts = [
            ("all at once", Script::steps([event(all.clone()), Step::Usage, Step::Done])),
            ("the end twice, once with usage", Script::steps([
                Step::Text("Hi".into()), Step::Finish("stop"), Step::FinishWithUsage("stop"), Step::Done])),
            ("an empty end before it", Script::steps([
                event(json!([{"index": 0, "delta": {"content": "Hi"}, "finish_reason": ""}])), Step::Finish("stop"),
                Step::Usage, Step::Done])),
            ("plain JSON", Script::steps([Step::Text("Hi".into()), Step::Finish("stop")]).with_head(Head::AlwaysPlain)),
            ("log lines between", Script::steps([
                Step::Event(format!("INFO {ENGINE_CANARY}")), Step::Text("Hi".into()), Step::Event("{".into()),
                Step::Finish("stop"), Step::Usage, Step::Done])),
        ];
        for (name, script) in scripts {
            engine.always(script);
            let events = events(&mesh, true).await;
            assert_eq!(pieces(&events), expected, "{name}: {events:?}");
            let with_usage: Vec<_> = events.iter().filter(|event| !event["usage"].is_null()).collect();
            assert_eq!(with_usage.len(), 1, "{name}: {events:?}");
            assert_eq!(with_usage[0], events.last().unwrap(), "{name}");
            assert_eq!(with_usage[0]["usage"]["total_tokens"], 10, "{name}");
            let identity = |event: &Value| (event["id"].clone(), event["created"].clone(), event["model"].clone());
            assert!(events.iter().all(|event| identity(event) == identity(&events[0])), "{name}: {events:?}");
        }
        let metrics = mesh.metrics(Service::InferenceAdapter).await;
        assert!(metrics.contains("penstock_engine_malformed_frames_total{deployment=\"main\"} 2"), "{metrics}");
    }
}

both! {
    async fn calls_without_index_or_id_are_told_apart(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        let call = |more: Value| with(json!({"function": {"name": "f", "arguments": {"a": 1}}}), more);
        for calls in [
            json!([call(json!({})), call(json!({}))]),
            json!([call(json!({"index": 0})), call(json!({"index": 0}))]),
            json!([call(json!({"index": 0, "id": ""})), call(json!({"index": 0, "id": ""}))]),
        ] {
            engine.always(Script::steps([Step::Delta(json!({"tool_calls": calls})), Step::Finish("stop"), Step::Done]));
            let pieces = pieces(&events(&mesh, false).await);
            let seen = pieces[1].0["tool_calls"].as_array().unwrap().clone();
            assert_eq!((&seen[0]["index"], &seen[1]["index"]), (&json!(0), &json!(1)), "{seen:?}");
            assert_ne!(seen[0]["id"], seen[1]["id"]);
            for call in &seen {
                assert_eq!((&call["type"], &call["function"]["arguments"]), (&json!("function"), &json!("{\"a\":1}")));
            }
            assert_eq!(pieces[2], (json!({}), json!("tool_calls")));
        }
    }
}

both! {
    /// C6: an error stays an error, by whatever name, and its text stays here.
    async fn an_error_event_is_an_error_also_after_content(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        let error = json!({"message": ENGINE_CANARY, "code": 429});
        for (name, raw, code) in [
            ("a member", format!("data: {}\n\n", json!({"error": error})), "engine_overloaded"),
            ("a name", format!("event: error\ndata: {error}\n\n"), "engine_overloaded"),
            ("a name and a text", format!("event: error\ndata: {ENGINE_CANARY}\n\n"), "engine_failed"),
        ] {
            engine.always(Script::broken(["Hello"], Step::Raw((raw + "data: [DONE]\n\n").into_bytes())));
            let events = mesh.client().stream(&chat("test-model")).await.rest().await;
            let last: Value = serde_json::from_str(events.last().unwrap()).unwrap();
            assert_eq!(last["error"]["code"], code, "{name}: {events:?}");
            assert!(!events.concat().contains(ENGINE_CANARY), "{name}: {events:?}");
        }
    }
}

both! {
    /// Counted here where the engine does not count: in the answer, in its head, in the limits' account, in a metric.
    async fn usage_that_an_engine_leaves_out_is_counted_and_marked(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        let choice = json!([{"index": 0, "finish_reason": "stop",
            "message": {"role": "assistant", "content": "The quick brown fox jumps over the lazy dog."}}]);
        engine.always(Script::status_with(200, &[], &json!({"id": "x", "choices": choice}).to_string()));
        let answer = mesh.client().chat(&chat("test-model")).await;
        let usage = answer.json()["usage"].clone();
        assert_eq!((&usage["completion_tokens"], &usage["estimated"]), (&json!(10), &json!(true)), "{usage}");
        assert!(usage["prompt_tokens"].as_i64().unwrap() > 7, "{usage}");
        assert_eq!(answer.header("x-penstock-usage"), Some("estimated"));

        // A stream says so at its end, if usage was asked for, and says nothing if it was not.
        engine.always(Script::steps([
            Step::Text("The quick brown fox".into()), Step::Text(" jumps over the lazy dog.".into()), Step::Finish("stop")]));
        let streamed = events(&mesh, true).await;
        assert_eq!(streamed.last().unwrap()["usage"], usage, "the same, streamed or not");
        assert!(events(&mesh, false).await.iter().all(|event| event["usage"].is_null()));

        engine.always(Script::default());
        let answer = mesh.client().chat(&chat("test-model")).await;
        assert_eq!(answer.header("x-penstock-usage"), None);
        assert!(answer.json()["usage"].get("estimated").is_none());
        let metrics = mesh.metrics(Service::InferenceAdapter).await;
        assert!(metrics.contains("penstock_engine_estimated_usage_total{deployment=\"main\"} 3"), "{metrics}");
        let charged = format!("penstock_tokens_total{{model=\"test-model\"}} {}", 3 * usage["total_tokens"].as_u64().unwrap() + 11);
        // Accounts are settled after the answer.
        until("the account", async || {
            mesh.metrics(Service::Router).await.contains(&charged).then_some(())
        }).await;
    }
}
