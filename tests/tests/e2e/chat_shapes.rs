//! What goes through a chat request beside text: tools, members that no contract names, other dialects, and
//! engines that are not quite right (C5, C6, C12).

use penstock_tests::{
    Engine, Mesh, PROMPT_CANARY, Script, Step, Topology, both,
    client::{chat, with},
    engine::Head,
    mesh::model,
};
use serde_json::{Value, json};

both! {
    async fn tools_make_the_round_trip(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        // Odd order and blanks: what the client wrote is what the engine's prompt is made of.
        let parameters = r#"{"type":"object",  "required":["b","a"],"properties":{"b":{"type":"number"},"a":{}}}"#;
        let body = format!(
            r#"{{"model":"test-model","messages":[{{"role":"user","content":"hi"}}],"tool_choice":"auto",
            "tools":[{{"type":"function","function":{{"name":"add","parameters":{parameters}}}}}]}}"#
        );
        let call = json!({"index": 0, "id": "call_1", "type": "function",
            "function": {"name": "add", "arguments": "{\"a\":1}"}});
        let script = Script::steps([Step::Delta(json!({"tool_calls": [call]})), Step::Finish("tool_calls"), Step::Done]);
        engine.always(script);
        let answer = mesh.client().post("/v1/chat/completions", body).await.json();
        let choice = &answer["choices"][0];
        assert_eq!(choice["finish_reason"], "tool_calls");
        assert_eq!(choice["message"]["tool_calls"][0]["id"], "call_1");
        assert_eq!(choice["message"]["tool_calls"][0]["function"]["arguments"], "{\"a\":1}");
        let asked = String::from_utf8(engine.call(0).await.body.to_vec()).unwrap();
        assert!(asked.contains(parameters), "{asked}");

        let messages = json!([
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": null, "tool_calls": [
                {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": "{\"a\":1}"}}]},
            {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": "3"}]},
        ]);
        engine.always(Script::default());
        mesh.client().chat(&json!({"model": "test-model", "messages": messages})).await.text();
        let asked = engine.call(1).await.json();
        assert_eq!(asked["messages"][1]["tool_calls"], messages[1]["tool_calls"]);
        assert_eq!(asked["messages"][2], messages[2]);
    }
}

both! {
    async fn tool_calls_stream_in_fragments(topology: Topology) {
        let fragment = |call: Value| Step::Delta(json!({"tool_calls": [call]}));
        let script = Script::steps([
            fragment(json!({"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": ""}})),
            fragment(json!({"index": 1, "id": "call_2", "type": "function", "function": {"name": "g", "arguments": ""}})),
            fragment(json!({"index": 0, "function": {"arguments": "{\"a\""}})),
            fragment(json!({"index": 1, "function": {"arguments": "{}"}})),
            fragment(json!({"index": 0, "function": {"arguments": ":1}"}})),
            Step::Finish("tool_calls"),
            Step::Done,
        ]);
        let engine = Engine::playing(script).await;
        let mesh = Mesh::over(topology, &engine, "").await;
        let mut arguments = [String::new(), String::new()];
        let mut finish = Value::Null;
        for event in mesh.client().stream(&chat("test-model")).await.rest().await {
            let Ok(event) = serde_json::from_str::<Value>(&event) else { continue };
            for call in event["choices"][0]["delta"]["tool_calls"].as_array().into_iter().flatten() {
                let index = call["index"].as_u64().expect("fragments carry their index") as usize;
                arguments[index] += call["function"]["arguments"].as_str().unwrap_or_default();
            }
            if !event["choices"][0]["finish_reason"].is_null() {
                finish = event["choices"][0]["finish_reason"].clone();
            }
        }
        assert_eq!(arguments, ["{\"a\":1}", "{}"]);
        assert_eq!(finish, "tool_calls");
    }
}

both! {
    async fn members_that_nobody_names_pass_both_ways(topology: Topology) {
        let timings = json!({"predicted_ms": 1.50, "deep": [1, {"x": null}]});
        let script = Script { extra: Some(("timings".into(), timings.clone())), ..Script::default() };
        let engine = Engine::playing(script).await;
        let mesh = Mesh::over(topology, &engine, "").await;
        let body = format!(
            r#"{{"model":"test-model","top_k":40,"min_p":0.0500,"chat_template_kwargs":{{"enable_thinking":false}},
            "messages":[{{"role":"user","content":"{PROMPT_CANARY}","cache_control":{{"type":"ephemeral"}}}}]}}"#
        );
        let answer = mesh.client().post("/v1/chat/completions", body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.json()["timings"], timings);
        let call = engine.call(0).await;
        // To the letter: 0.0500 is not 0.05 for whoever compares texts.
        assert!(String::from_utf8_lossy(&call.body).contains("0.0500"));
        assert_eq!(call.json()["top_k"], 40);
        assert_eq!(call.json()["chat_template_kwargs"], json!({"enable_thinking": false}));
        assert_eq!(call.json()["messages"][0]["cache_control"], json!({"type": "ephemeral"}));
        let events = mesh.client().stream(&chat("test-model")).await.rest().await;
        assert_eq!(serde_json::from_str::<Value>(&events[0]).unwrap()["timings"], timings);
    }
}

both! {
    async fn reasoning_has_one_name_whatever_the_engine_calls_it(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        for name in ["reasoning_content", "reasoning"] {
            let thought = Step::Delta(json!({name: "thinking…"}));
            engine.always(Script::steps([thought, Step::Text("42".into()), Step::Finish("stop"), Step::Done]));
            let events = mesh.client().stream(&chat("test-model")).await.rest().await.concat();
            assert!(events.contains("\"reasoning_content\":\"thinking…\""), "{events}");
            let message = mesh.client().chat(&chat("test-model")).await.json()["choices"][0]["message"].clone();
            assert_eq!((&message["reasoning_content"], &message["content"]), (&json!("thinking…"), &json!("42")));
        }
    }
}

both! {
    async fn engines_that_are_not_quite_right_are_put_right(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        let text = || Step::Text("Hello, world!".into());
        let scripts = [
            ("no [DONE]", Script::steps([text(), Step::Finish("stop"), Step::Usage])),
            ("twice [DONE]", Script::steps([text(), Step::Finish("stop"), Step::Done, Step::Done])),
            ("plain JSON to a stream", Script::default().with_head(Head::AlwaysPlain)),
            ("role-only chunks", Script::steps([
                Step::Delta(json!({"role": "assistant"})), Step::Delta(json!({"role": "assistant"})),
                text(), Step::Finish("stop"), Step::Done,
            ])),
        ];
        for (name, script) in scripts {
            engine.always(script);
            let events = mesh.client().stream(&chat("test-model")).await.rest().await;
            assert_eq!(events.iter().filter(|event| *event == "[DONE]").count(), 1, "{name}: {events:?}");
            assert_eq!(events.last().map(String::as_str), Some("[DONE]"), "{name}");
            let text: String = events.iter()
                .filter_map(|event| serde_json::from_str::<Value>(event).ok())
                .filter_map(|event| event["choices"][0]["delta"]["content"].as_str().map(str::to_owned))
                .collect();
            assert_eq!(text, "Hello, world!", "{name}");
        }
    }
}

both! {
    async fn ollama_is_spoken_natively(topology: Topology) {
        let engine = Engine::start().await;
        engine.serve_models(["llama3.2:3b"]);
        let config = format!(
            "[[deployments]]\nid = \"main\"\nengine = \"ollama\"\nendpoint = \"{}\"\nmodel = \"llama3.2:3b\"\n{}",
            engine.url(), model("test-model", &["main"], ""),
        );
        let mesh = Mesh::start(topology, &config).await;
        let body = with(chat("test-model"), json!({"temperature": 0.5, "max_tokens": 9, "stop": ["x"]}));
        let answer = mesh.client().chat(&body).await;
        assert_eq!(answer.text(), "Hello, world!");
        assert_eq!(answer.json()["usage"]["total_tokens"], 11);
        let call = engine.call(0).await;
        assert_eq!(call.path, "/api/chat");
        let asked = call.json();
        assert_eq!((&asked["model"], &asked["stream"]), (&json!("llama3.2:3b"), &json!(false)));
        assert_eq!(asked["options"]["num_predict"], 9);
        assert_eq!(asked["options"]["temperature"], 0.5);
        assert_eq!(asked["options"]["stop"], json!(["x"]));

        // A tool call without an id, arguments as an object, done_reason stop: all three are Ollama's ways.
        let call = json!({"tool_calls": [{"function": {"name": "add", "arguments": {"a": 1}}}]});
        engine.always(Script::steps([Step::Delta(call), Step::Finish("stop")]));
        let choice = mesh.client().chat(&chat("test-model")).await.json()["choices"][0].clone();
        assert_eq!(choice["finish_reason"], "tool_calls");
        let call = &choice["message"]["tool_calls"][0];
        assert_eq!(serde_json::from_str::<Value>(call["function"]["arguments"].as_str().unwrap()).unwrap(), json!({"a": 1}));
        assert!(!call["id"].as_str().unwrap().is_empty());

        engine.always(Script::gated(["a", "b"]));
        engine.open(1);
        let mut events = mesh.client().stream(&chat("test-model")).await;
        assert_eq!(events.next_text().await, "a");
        engine.open(1);
        assert_eq!(events.next_text().await, "b");
        engine.open(1);
        assert_eq!(events.rest().await.last().map(String::as_str), Some("[DONE]"));
    }
}

both! {
    async fn the_simulated_engine_says_what_it_is(topology: Topology) {
        let config = format!(
            "[[deployments]]\nid = \"sim\"\nengine = \"simulated\"\n{}", model("test-model", &["sim"], ""),
        );
        let mesh = Mesh::start(topology, &config).await;
        let answer = mesh.client().chat(&with(chat("test-model"), json!({"max_tokens": 5}))).await;
        assert!(answer.text().to_lowercase().contains("simulated"), "{answer:?}");
        assert_eq!(answer.json()["choices"][0]["finish_reason"], "length");
        let events = mesh.client().stream(&with(chat("test-model"), json!({"max_tokens": 5}))).await.rest().await;
        assert!(events.len() >= 5 && events.last().map(String::as_str) == Some("[DONE]"), "{events:?}");
    }
}
