//! Chat completions, whole and streamed: the answer, its headers, and what the engine was asked.

use penstock_tests::{
    ENGINE_KEY, Engine, Mesh, Script, Step, Topology, both,
    client::{chat, with},
};
use serde_json::{Value, json};

both! {
    async fn a_plain_answer_is_whole(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        let answer = mesh.client().chat(&chat("test-model")).await;
        assert_eq!(answer.text(), "Hello, world!");
        let body = answer.json();
        assert_eq!(body["object"], "chat.completion");
        assert_eq!(body["model"], "test-model");
        assert!(!body["id"].as_str().unwrap().is_empty() && body["created"].as_i64().unwrap() > 0);
        let choice = &body["choices"][0];
        assert_eq!((&choice["index"], &choice["finish_reason"]), (&json!(0), &json!("stop")));
        assert_eq!(choice["message"]["role"], "assistant");
        // OpenAI has these two always; SDKs' types want them.
        assert_eq!((&choice["message"]["refusal"], &choice["logprobs"]), (&Value::Null, &Value::Null));
        assert_eq!(body["usage"]["prompt_tokens"], 7);
        assert_eq!(body["usage"]["completion_tokens"], 4);
        assert_eq!(body["usage"]["total_tokens"], 11);
        assert_eq!(body["usage"]["prompt_tokens_details"]["cached_tokens"], 0);
        assert_eq!(answer.header("content-type").unwrap().split(';').next(), Some("application/json"));
        assert!(answer.header("x-request-id").is_some());
        assert_eq!(answer.header("x-penstock-model"), Some("test-model"));
        // B14: what belongs to a tenant is in no shared cache.
        let cache_control = answer.header("cache-control").unwrap();
        assert!(cache_control.contains("private") && cache_control.contains("no-store"), "{cache_control}");
    }
}

both! {
    async fn the_engine_is_asked_what_the_client_asked(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        let body = with(chat("test-alias"), json!({"temperature": 0.25, "seed": 9007199254740993_i64, "stop": "END"}));
        let answer = mesh.client().chat(&body).await;
        assert_eq!(answer.text(), "Hello, world!");
        assert_eq!(answer.header("x-penstock-model"), Some("test-model"));
        let call = engine.call(0).await;
        assert_eq!((call.method.as_str(), call.path.as_str()), ("POST", "/v1/chat/completions"));
        let asked = call.json();
        assert_eq!(asked["model"], "engine-model");
        assert_eq!(asked["messages"], body["messages"]);
        for member in ["temperature", "seed", "stop"] {
            assert_eq!(asked[member], body[member], "{member}");
        }
        assert_ne!(asked["stream"], json!(true));
        for absent in ["top_p", "n", "max_tokens", "tools", "user"] {
            assert!(asked.get(absent).is_none(), "{absent} was not asked for: {asked}");
        }
        // The engine gets the gateway's credential, and nothing of the client's.
        assert_eq!(call.header("authorization"), Some(format!("Bearer {ENGINE_KEY}").as_str()));
        assert!(call.headers.values().all(|value| !value.as_bytes().windows(9).any(|w| w == b"admin key")));
        assert_eq!(engine.calls().len(), 1);
    }
}

both! {
    async fn a_stream_is_whole(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        let events = mesh.client().stream(&chat("test-model")).await;
        let content_type = events.headers["content-type"].to_str().unwrap();
        assert_eq!(content_type.replace(' ', ""), "text/event-stream;charset=utf-8");
        assert_eq!(events.headers["x-accel-buffering"], "no");
        let cache_control = events.headers["cache-control"].to_str().unwrap().to_owned();
        assert!(cache_control.contains("no-transform") && cache_control.contains("private"), "{cache_control}");
        assert!(events.headers.contains_key("x-request-id"));

        let mut events = events.rest().await;
        assert_eq!(events.pop().as_deref(), Some("[DONE]"));
        let events: Vec<Value> = events.iter().map(|event| serde_json::from_str(event).unwrap()).collect();
        let first = &events[0];
        assert_eq!(first["object"], "chat.completion.chunk");
        assert_eq!(first["model"], "test-model");
        assert_eq!(first["choices"][0]["delta"]["role"], "assistant");
        for event in &events {
            for same in ["id", "created", "model", "object"] {
                assert_eq!(event[same], first[same], "{same}");
            }
            // Asked of the engine always, told to the client only on request.
            assert!(event["usage"].is_null(), "{event}");
            assert_eq!(event["choices"].as_array().unwrap().len(), 1, "{event}");
        }
        let text: String =
            events.iter().filter_map(|event| event["choices"][0]["delta"]["content"].as_str()).collect();
        assert_eq!(text, "Hello, world!");
        assert_eq!(events.last().unwrap()["choices"][0]["finish_reason"], "stop");
        let asked = engine.call(0).await.json();
        assert_eq!((&asked["stream"], &asked["stream_options"]["include_usage"]), (&json!(true), &json!(true)));
    }
}

both! {
    async fn usage_comes_last_if_asked_for(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        let body = with(chat("test-model"), json!({"stream_options": {"include_usage": true}}));
        // In a chunk of its own, and inside the finish chunk as transformers serve has it (C5).
        let inside = Script::steps([Step::Text("Hi".into()), Step::FinishWithUsage("stop"), Step::Done]);
        for (script, total) in [(Script::default(), 11), (inside, 10)] {
            engine.always(script);
            let mut events = mesh.client().stream(&body).await.rest().await;
            assert_eq!(events.pop().as_deref(), Some("[DONE]"));
            let events: Vec<Value> = events.iter().map(|event| serde_json::from_str(event).unwrap()).collect();
            let (last, earlier) = events.split_last().unwrap();
            assert_eq!(last["choices"], json!([]));
            assert_eq!(last["usage"]["total_tokens"], total);
            for event in earlier {
                assert_eq!(event.get("usage"), Some(&Value::Null), "{event}");
            }
        }
    }
}

both! {
    /// The engine sends each event only when the client has the one before it: what is held back hangs here.
    async fn every_event_is_passed_on_when_it_arrives(topology: Topology) {
        let engine = Engine::start().await;
        let texts: Vec<String> = (0..20).map(|n| format!("word {n} ")).collect();
        engine.always(Script::gated(texts.clone()));
        let mesh = Mesh::over(topology, &engine, "").await;
        engine.open(1);
        let mut events = mesh.client().stream(&chat("test-model")).await;
        for (n, text) in texts.iter().enumerate() {
            assert_eq!(&events.next_text().await, text);
            // It counts what it has written, which may be read here before it is counted.
            assert!(engine.calls()[0].chunks() <= n + 2, "the engine ran ahead of the test");
            engine.open(1);
        }
        assert_eq!(events.rest().await.last().map(String::as_str), Some("[DONE]"));
    }
}

both! {
    /// C3: characters, line ends and JSON cut anywhere, and many events in one write.
    async fn events_survive_any_cutting_of_the_bytes(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        let text = "Grüße 🚀\u{2028}\\n \"q\"";
        let event = |delta: Value, finish: Value| {
            let choices = json!([{"index": 0, "delta": delta, "finish_reason": finish}]);
            json!({"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": choices})
        };
        let bytes = format!(
            ": ping\r\n\r\ndata:{}\r\n\r\ndata: {}\n\nevent: x\nid: 7\ndata: {}\n\ndata: [DONE]\n\n",
            event(json!({"role": "assistant", "content": ""}), Value::Null),
            event(json!({"content": text}), Value::Null),
            event(json!({}), json!("stop")),
        );
        for size in [1, 3, 7, bytes.len()] {
            let steps: Vec<Step> = bytes.as_bytes().chunks(size).map(|piece| Step::Raw(piece.to_vec())).collect();
            engine.always(Script::steps(steps));
            let mut events = mesh.client().stream(&chat("test-model")).await;
            assert_eq!(events.next_text().await, text, "pieces of {size}");
            assert_eq!(events.rest().await.last().map(String::as_str), Some("[DONE]"));
        }
    }
}

both! {
    async fn fifty_streams_at_once_do_not_mix(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        engine.always(Script::texts((0..40).map(|n| format!("{n};"))));
        let expected: String = (0..40).map(|n| format!("{n};")).collect();
        let client = mesh.client();
        let streams = (0..50).map(|_| async {
            let events = client.stream(&chat("test-model")).await.rest().await;
            assert_eq!(events.last().map(String::as_str), Some("[DONE]"));
            let events = events.iter().filter_map(|event| serde_json::from_str::<Value>(event).ok());
            let texts = events.filter_map(|e| e["choices"][0]["delta"]["content"].as_str().map(str::to_owned));
            assert_eq!(texts.collect::<String>(), expected);
        });
        futures_util::future::join_all(streams).await;
        assert_eq!(engine.calls().len(), 50);
    }
}
