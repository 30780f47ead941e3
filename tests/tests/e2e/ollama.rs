//! Ollama, spoken to in its own tongue: the context that it would cut in silence, tools, thinking, pictures,
//! continuations, and waits for a model that is being loaded (D12, conformance 10 and 11).

use penstock_proto::inference::v1::{
    GenerateRequest, Prompt, TextInput, generate_request::Input, prompt::Kind,
};
use penstock_tests::{
    Engine, Mesh, Script, Step, Topology, both,
    bounded::until,
    client::{chat, streamed, with},
    grpc,
    mesh::model,
};
use serde_json::{Value, json};

/// `test-model` on `engine`, as Ollama.
fn config(engine: &Engine, more: &str) -> String {
    let url = engine.url();
    let deployment = format!(
        "[[deployments]]\nid = \"main\"\nengine = \"ollama\"\nendpoint = \"{url}\"\nmodel = \"llama3.2:3b\"\n{more}\n"
    );
    deployment + &model("test-model", &["main"], "")
}

both! {
    async fn the_context_is_set_always_and_learned_once(topology: Topology) {
        let engine = Engine::start().await;
        engine.show(json!({"parameters": "num_ctx    4096\ntemperature   0.6", "capabilities": ["completion"]}));
        let mesh = Mesh::start(topology, &config(&engine, "")).await;
        for _ in 0..3 {
            assert_eq!(mesh.client().chat(&chat("test-model")).await.text(), "Hello, world!");
        }
        for call in engine.calls() {
            let asked = call.json();
            assert_eq!((&asked["options"]["num_ctx"], &asked["truncate"]), (&json!(4096), &json!(false)), "{asked}");
        }
        let shown = engine.free_calls().into_iter().filter(|call| call.path == "/api/show").count();
        assert_eq!(shown, 1, "once is enough");

        let mesh = Mesh::start(topology, &config(&engine, "context_tokens = 2000\nkeep_alive = \"forever\"")).await;
        mesh.client().chat(&with(chat("test-model"), json!({"options": {"num_ctx": 1000}}))).await.text();
        let asked = engine.calls().last().unwrap().json();
        assert_eq!((&asked["options"]["num_ctx"], &asked["keep_alive"]), (&json!(1000), &json!(-1)));
        let more = with(chat("test-model"), json!({"options": {"num_ctx": 2001}}));
        let problem = mesh.client().chat(&more).await.problem(422, "unsupported_parameter");
        assert_eq!(problem["errors"][0]["field"], "options.num_ctx");
    }
}

both! {
    /// D12: what Ollama would cut without a word, and what it says that it has cut; neither speaks against it.
    async fn what_does_not_fit_is_context_length_exceeded(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::start(topology, &config(&engine, "context_tokens = 64")).await;
        let long = json!({"model": "test-model", "messages": [{"role": "user", "content": "word ".repeat(65)}]});
        for body in [long.clone(), streamed(long)] {
            mesh.client().chat(&body).await.problem(400, "context_length_exceeded");
        }
        assert_eq!(engine.calls().len(), 0, "it is not sent");

        // An older Ollama cuts to exactly the context, and says so by the count alone.
        engine.always(Script { usage: (64, 3), ..Script::default() });
        mesh.client().chat(&chat("test-model")).await.problem(400, "context_length_exceeded");
        let events = mesh.client().stream(&chat("test-model")).await.rest().await;
        let last: Value = serde_json::from_str(events.last().unwrap()).unwrap();
        assert_eq!(last["error"]["code"], "context_length_exceeded", "{events:?}");

        // A newer one refuses.
        let refusal = json!({"error": "the input length exceeds the context length"}).to_string();
        engine.next(Script::status_with(400, &[], &refusal));
        mesh.client().chat(&chat("test-model")).await.problem(400, "context_length_exceeded");

        engine.always(Script { usage: (63, 3), ..Script::default() });
        assert_eq!(mesh.client().chat(&chat("test-model")).await.text(), "Hello, world!");
        // None of this is a fault of the engine. The facade's report is that of the last check.
        until("nothing to be DOWN", async || {
            let health = mesh.client().get("/health").await.json().to_string();
            (!health.contains("DOWN")).then_some(())
        }).await;
    }
}

both! {
    /// A prompt that was cached has no count: it is counted here, and said to be.
    async fn a_cached_prompt_is_no_false_alarm(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::start(topology, &config(&engine, "")).await;
        engine.always(Script::steps([Step::Event(
            json!({"message": {"role": "assistant", "content": "Hi"}, "done": true, "done_reason": "stop", "eval_count": 2})
                .to_string(),
        )]));
        let answer = mesh.client().chat(&chat("test-model")).await;
        assert_eq!(answer.header("x-penstock-usage"), Some("estimated"));
        let usage = &answer.json()["usage"];
        assert!(usage["prompt_tokens"].as_i64().unwrap() > 5, "{usage}");
        assert_eq!((&usage["completion_tokens"], &usage["estimated"]), (&json!(2), &json!(true)));
    }
}

both! {
    async fn tools_pictures_and_thinking_in_its_own_words(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::start(topology, &config(&engine, "")).await;
        let body = json!({
            "model": "test-model", "reasoning_effort": "low", "tool_choice": "auto",
            "tools": [{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}],
            "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}},
            "messages": [
                {"role": "user", "content": [
                    {"type": "text", "text": "What is this?"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]},
                {"role": "assistant", "content": null, "tool_calls": [
                    {"id": "c1", "type": "function", "function": {"name": "add", "arguments": "{\"a\": 1}"}}]},
                {"role": "tool", "tool_call_id": "c1", "content": "3"},
            ],
        });
        engine.always(Script::steps([
            Step::Delta(json!({"thinking": "hm"})),
            Step::Delta(json!({"tool_calls": [
                {"function": {"name": "add", "arguments": {"a": 1}}}, {"function": {"name": "add", "arguments": {"a": 2}}}]})),
            Step::Finish("stop"),
        ]));
        let events = mesh.client().stream(&body).await.rest().await;
        let events: Vec<Value> = events.iter().filter_map(|event| serde_json::from_str(event).ok()).collect();
        let deltas: Vec<_> = events.iter().map(|event| &event["choices"][0]["delta"]).collect();
        assert_eq!((&deltas[0]["role"], &deltas[0]["content"]), (&json!("assistant"), &json!("")));
        assert_eq!(deltas[1]["reasoning_content"], "hm");
        for (at, call) in deltas[2]["tool_calls"].as_array().unwrap().iter().enumerate() {
            assert_eq!(call["index"], at);
            assert!(call["id"].as_str().is_some_and(|id| id.starts_with("call_")), "{call}");
            let arguments: Value = serde_json::from_str(call["function"]["arguments"].as_str().unwrap()).unwrap();
            assert_eq!(arguments, json!({"a": at + 1}));
        }
        assert_eq!((deltas[3], &events[3]["choices"][0]["finish_reason"]), (&json!({}), &json!("tool_calls")));

        let asked = engine.call(0).await.json();
        assert_eq!((&asked["think"], &asked["format"]), (&json!(true), &json!({"type": "object"})));
        assert_eq!(asked["messages"][0]["images"], json!(["AAAA"]));
        assert_eq!(asked["messages"][1]["tool_calls"][0]["function"]["arguments"], json!({"a": 1}));
        assert_eq!(asked["messages"][2]["tool_name"], "add");

        for (change, field) in [
            (json!({"tool_choice": "required"}), "tool_choice"),
            (json!({"n": 2}), "n"),
            (json!({"messages": [{"role": "user", "content": [
                {"type": "image_url", "image_url": {"url": "http://127.0.0.1/x.png"}}]}]}), "messages[0].content[0].image_url.url"),
        ] {
            let problem = mesh.client().chat(&with(body.clone(), change)).await.problem(422, "unsupported_parameter");
            assert!(problem.to_string().contains(field), "{problem}");
        }
        assert_eq!(engine.calls().len(), 1, "what it cannot do is not sent");
    }
}

both! {
    async fn a_model_that_is_being_loaded_has_its_own_patience(topology: Topology) {
        let engine = Engine::start().await;
        // Every engine but this one would be given up: 600 ms is what loading takes here.
        let general = "[inference_adapter]\nfirst_token_timeout = \"50ms\"\nanswer_timeout = \"50ms\"\n";
        engine.always(Script::default().after(Step::Wait(std::time::Duration::from_millis(600))));
        let mesh = Mesh::start(topology, &(general.to_owned() + &config(&engine, ""))).await;
        assert_eq!(mesh.client().chat(&chat("test-model")).await.text(), "Hello, world!");
        assert_eq!(mesh.client().stream(&chat("test-model")).await.next_text().await, "Hello");

        engine.always(Script::default().after(Step::Stall));
        let mesh = Mesh::start(topology, &config(&engine, "first_token_timeout = \"100ms\"")).await;
        mesh.client().chat(&streamed(chat("test-model"))).await.problem(504, "engine_timeout");
    }
}

both! {
    async fn a_text_is_continued(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::start(topology, &config(&engine, "")).await;
        let prompt = Some(Prompt { kind: Some(Kind::Text("Once upon".into())) });
        for stream in [false, true] {
            let request = GenerateRequest {
                model: "test-model".into(),
                input: Some(Input::Text(TextInput { prompt: prompt.clone(), ..TextInput::default() })),
                stream,
                ..GenerateRequest::default()
            };
            let mut client = grpc::inference(mesh.grpc()).await;
            let mut answer = client.generate(grpc::keyed(mesh.key(), request)).await.unwrap().into_inner();
            let mut chunks = Vec::new();
            while let Some(message) = answer.message().await.unwrap() {
                chunks.extend(message.chunks);
            }
            let deltas: Vec<_> =
                chunks.iter().flat_map(|chunk| &chunk.choices).filter_map(|one| one.delta.as_ref()).collect();
            let text: String = deltas.iter().filter_map(|delta| delta.content.as_deref()).collect();
            assert_eq!(text, "Hello, world!");
            assert!(deltas.iter().all(|delta| delta.role.is_none()), "nobody speaks");
            let call = engine.calls().last().unwrap().clone();
            assert_eq!((call.path.as_str(), &call.json()["raw"]), ("/api/generate", &json!(true)));
        }
    }
}
