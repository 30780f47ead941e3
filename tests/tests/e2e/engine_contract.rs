//! What every engine promises, whatever its dialect: the same scenarios against each kind, one scripted engine
//! behind each, and a second Penstock before the one of kind `penstock`.

use penstock_tests::{
    ENGINE_CANARY, Engine, Mesh, PROMPT_CANARY, Script, Step, Topology, both,
    client::{chat, streamed, with},
    engine::End,
    mesh::{ADMIN_KEY, Plan, model, one_model},
};
use serde_json::{Value, json};

const KINDS: [&str; 6] = ["openai", "vllm", "llama-cpp", "ollama", "anthropic", "penstock"];

/// One mesh with a model of each kind, by the kind's name.
struct Rig {
    engines: Vec<(&'static str, Engine)>,
    mesh: Mesh,
    /// The other mesh.
    _edge: Mesh,
}

impl Rig {
    async fn start(topology: Topology, settings: &str) -> Rig {
        let mut engines = Vec::new();
        for kind in KINDS {
            engines.push((kind, Engine::start().await));
        }
        let behind = &engines.iter().find(|(kind, _)| *kind == "penstock").unwrap().1;
        let edge = Mesh::start(Topology::Standalone, &format!("{settings}\n{}", one_model(behind))).await;
        let mut config = settings.to_owned();
        for (kind, engine) in &engines {
            let (endpoint, name, key) = match *kind {
                "penstock" => (format!("http://{}", edge.grpc()), "test-model", "EDGE_KEY"),
                "ollama" => (engine.url(), "engine-model", "ENGINE_KEY"),
                _ => (engine.v1(), "engine-model", "ENGINE_KEY"),
            };
            config += &format!(
                "\n[[deployments]]\nid = \"{kind}-1\"\nengine = \"{kind}\"\nendpoint = \"{endpoint}\"\n\
                 model = \"{name}\"\napi_key_env = \"{key}\"\n{}",
                model(kind, &[&format!("{kind}-1")], "after_commit = \"error\""),
            );
        }
        let mesh = Plan::new(topology, &config).env("EDGE_KEY", ADMIN_KEY).start().await;
        Rig { engines, mesh, _edge: edge }
    }

    fn each(&self) -> impl Iterator<Item = (&'static str, &Engine)> {
        self.engines.iter().map(|(kind, engine)| (*kind, engine))
    }

    async fn events(&self, body: &Value) -> Vec<Value> {
        let mut events = self.mesh.client().stream(body).await.rest().await;
        assert_eq!(events.pop().as_deref(), Some("[DONE]"), "{events:?}");
        events.iter().map(|event| serde_json::from_str(event).unwrap()).collect()
    }
}

fn joined(events: &[Value], member: &str) -> String {
    events.iter().filter_map(|event| event["choices"][0]["delta"][member].as_str()).collect()
}

fn finishes(events: &[Value]) -> Vec<&str> {
    events.iter().filter_map(|event| event["choices"][0]["finish_reason"].as_str()).collect()
}

both! {
    async fn plain_and_streamed_say_the_same_with_usage(topology: Topology) {
        let rig = Rig::start(topology, "").await;
        for (kind, engine) in rig.each() {
            let answer = rig.mesh.client().chat(&chat(kind)).await;
            assert_eq!(answer.text(), "Hello, world!", "{kind}");
            let answer = answer.json();
            assert_eq!((&answer["model"], &answer["usage"]["prompt_tokens"]), (&json!(kind), &json!(7)), "{kind}");
            assert_eq!(answer["usage"]["completion_tokens"], 4, "{kind}");
            let body = with(chat(kind), json!({"stream": true, "stream_options": {"include_usage": true}}));
            let events = rig.events(&body).await;
            assert_eq!((joined(&events, "content").as_str(), finishes(&events)), ("Hello, world!", vec!["stop"]), "{kind}");
            let ids: std::collections::BTreeSet<_> = events.iter().map(|event| event["id"].to_string()).collect();
            assert_eq!(ids.len(), 1, "{kind}: {ids:?}");
            assert_eq!(events.last().unwrap()["usage"]["total_tokens"], 11, "{kind}");
            assert_eq!(engine.calls().len(), 2, "{kind}");
            for call in engine.calls() {
                let key = match kind { "anthropic" => call.header("x-api-key"), _ => call.header("authorization") };
                assert!(key.is_some_and(|key| key.ends_with(penstock_tests::ENGINE_KEY)), "{kind}");
                assert!(!format!("{:?}", call.headers).contains(ADMIN_KEY), "{kind}: a caller's credential");
                assert_eq!(call.json()["model"], "engine-model", "{kind}");
            }
        }
    }
}

both! {
    async fn tools_are_called_and_answered(topology: Topology) {
        let rig = Rig::start(topology, "").await;
        let call = |arguments: Value| json!({"tool_calls": [
            {"index": 0, "id": "call_1", "type": "function", "function": {"name": "add", "arguments": arguments}}]});
        let messages = json!([
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": null, "tool_calls": [
                {"id": "call_0", "type": "function", "function": {"name": "add", "arguments": "{\"a\":1}"}}]},
            {"role": "tool", "tool_call_id": "call_0", "content": "3"},
        ]);
        let tools = json!([{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}]);
        for (kind, engine) in rig.each() {
            let arguments = if kind == "ollama" { json!({"a": 1}) } else { json!("{\"a\":1}") };
            engine.always(Script::steps([Step::Delta(call(arguments)), Step::Finish("tool_calls"), Step::Done]));
            let body = with(chat(kind), json!({"messages": messages, "tools": tools}));
            let choice = rig.mesh.client().chat(&body).await.json()["choices"][0].clone();
            assert_eq!(choice["finish_reason"], "tool_calls", "{kind}");
            let called = &choice["message"]["tool_calls"][0];
            assert_eq!(called["function"], json!({"name": "add", "arguments": "{\"a\":1}"}), "{kind}");
            assert!(called["id"].as_str().is_some_and(|id| !id.is_empty()), "{kind}");
            let events = rig.events(&streamed(body)).await;
            let fragments: Vec<&Value> = events.iter()
                .filter_map(|event| event["choices"][0]["delta"]["tool_calls"].as_array()).flatten().collect();
            assert!(fragments.iter().all(|fragment| fragment["index"] == 0), "{kind}: {fragments:?}");
            let arguments: String =
                fragments.iter().filter_map(|fragment| fragment["function"]["arguments"].as_str()).collect();
            assert_eq!((arguments.as_str(), finishes(&events)), ("{\"a\":1}", vec!["tool_calls"]), "{kind}");
            let asked = engine.call(0).await.json();
            let sent = &asked["messages"];
            match kind {
                "anthropic" => {
                    assert_eq!(sent[1]["content"][0]["input"], json!({"a": 1}));
                    assert_eq!(sent[2]["content"][0], json!({"type": "tool_result", "tool_use_id": "call_0", "content": "3"}));
                    assert_eq!(asked["tools"][0]["input_schema"], json!({"type": "object"}));
                }
                "ollama" => assert_eq!(sent[1]["tool_calls"][0]["function"]["arguments"], json!({"a": 1})),
                _ => {
                    assert_eq!(sent[1]["tool_calls"], messages[1]["tool_calls"], "{kind}");
                    assert_eq!(sent[2]["tool_call_id"], "call_0", "{kind}");
                }
            }
        }
    }
}

both! {
    async fn reasoning_has_one_name(topology: Topology) {
        let rig = Rig::start(topology, "").await;
        for (kind, engine) in rig.each() {
            let name = match kind { "vllm" => "reasoning", "ollama" => "thinking", _ => "reasoning_content" };
            let thought = |text: &str| Step::Delta(json!({name: text}));
            engine.always(Script::steps([thought("hm"), Step::Text("42".into()), Step::Finish("stop"), Step::Done]));
            let message = rig.mesh.client().chat(&chat(kind)).await.json()["choices"][0]["message"].clone();
            assert_eq!((&message["reasoning_content"], &message["content"]), (&json!("hm"), &json!("42")), "{kind}");
            let events = rig.events(&streamed(chat(kind))).await;
            assert_eq!((joined(&events, "reasoning_content"), joined(&events, "content")), ("hm".into(), "42".into()), "{kind}");
        }
    }
}

both! {
    /// What Anthropic's model thought is signed, and comes back to it to the byte.
    async fn signed_reasoning_makes_the_round_trip(topology: Topology) {
        let rig = Rig::start(topology, "").await;
        let engine = &rig.engines.iter().find(|(kind, _)| *kind == "anthropic").unwrap().1;
        let thought = Step::Delta(json!({"reasoning": "h\u{e9} \"m\""}));
        engine.always(Script::steps([thought, Step::Text("42".into()), Step::Finish("stop"), Step::Done]));
        let plain = rig.mesh.client().chat(&chat("anthropic")).await.json()["choices"][0]["message"].clone();
        let events = rig.events(&streamed(chat("anthropic"))).await;
        let streamed = events.iter().find_map(|event| event["choices"][0]["delta"].get("thinking_blocks")).unwrap();
        assert_eq!(&plain["thinking_blocks"], streamed);
        let body = with(chat("anthropic"), json!({"messages": [{"role": "user", "content": "q"}, plain, {"role": "user", "content": "so?"}]}));
        rig.mesh.client().chat(&body).await.text();
        let sent = engine.call(2).await.json()["messages"][1]["content"].clone();
        assert_eq!(sent[0], json!({"type": "thinking", "thinking": "h\u{e9} \"m\"", "signature": "c2lnbmVk"}));
        assert_eq!(sent[1], json!({"type": "text", "text": "42"}));
    }
}

both! {
    /// C8: what breaks after the first content is said in the stream, and nobody is asked twice.
    async fn what_breaks_in_a_stream_is_said_in_the_stream(topology: Topology) {
        let rig = Rig::start(topology, "").await;
        for (kind, engine) in rig.each() {
            let error = json!({"type": "error", "error": {"type": "server_error", "message": ENGINE_CANARY}});
            for (ending, code) in [(Step::Cut, "engine_cut"), (Step::Event(error.to_string()), "engine_failed")] {
                let before = engine.calls().len();
                engine.next(Script::broken(["Hello", " world"], ending));
                let mut events = rig.mesh.client().stream(&chat(kind)).await;
                assert_eq!(events.next_text().await, "Hello", "{kind}");
                let rest = events.rest().await;
                assert!(!rest.contains(&"[DONE]".to_owned()), "{kind}: {rest:?}");
                let last: Value = serde_json::from_str(rest.last().unwrap()).unwrap();
                assert_eq!(last["error"]["code"], json!(code), "{kind}: {last}");
                assert!(!rest.concat().contains(ENGINE_CANARY), "{kind}");
                assert_eq!(engine.calls().len(), before + 1, "{kind}");
            }
        }
    }
}

both! {
    /// D2 to D4, D12: before the first content an error is a status, and means the same from every engine.
    async fn what_fails_before_the_first_content_has_one_meaning(topology: Topology) {
        let too_long = json!({"type": "error", "error": {"type": "invalid_request_error",
            "message": format!("prompt is too long: {ENGINE_CANARY}"), "code": "context_length_exceeded"}});
        let rig = Rig::start(topology, "[router]\nretries = 0\n").await;
        for (kind, engine) in rig.each() {
            let cases = [
                (Script::status_with(400, &[], &too_long.to_string()), 400, "context_length_exceeded"),
                (Script::status(400), 400, "engine_rejected"),
                (Script::status_with(429, &[("retry-after", "7")], "{}"), 503, "engine_overloaded"),
                (Script::status(529), 503, "engine_overloaded"),
                (Script::steps([Step::Event("nonsense".into())]), 502, "engine_bad_answer"),
                // Last: it speaks against the deployment.
                (Script::status(500), 502, "engine_failed"),
            ];
            for (script, status, code) in cases {
                let waits = format!("{:?}", script.head).contains("retry-after");
                for body in [chat(kind), streamed(chat(kind))] {
                    engine.next(script.clone());
                    let answer = rig.mesh.client().chat(&body).await;
                    assert_eq!(answer.status, status, "{kind} {code}: {}", String::from_utf8_lossy(&answer.body));
                    answer.problem(status, code);
                    if waits {
                        assert_eq!(answer.header("retry-after"), Some("7"), "{kind}");
                    }
                }
            }
        }
    }
}

both! {
    /// C1: in every window.
    async fn a_client_that_leaves_stops_the_engine(topology: Topology) {
        let rig = Rig::start(topology, "").await;
        for (kind, engine) in rig.each() {
            engine.next(Script::broken(["Hello"], Step::Stall));
            let mut events = rig.mesh.client().stream(&chat(kind)).await;
            assert_eq!(events.next_text().await, "Hello", "{kind}");
            events.hang_up();
            assert_eq!(engine.call(0).await.ended().await, End::ClientGone, "{kind}");

            engine.next(Script::default().after(Step::Stall));
            let pending = rig.mesh.client().send(http::Method::POST, "/v1/chat/completions", chat(kind).to_string()).await;
            let call = engine.call(1).await;
            pending.hang_up();
            assert_eq!(call.ended().await, End::ClientGone, "{kind}");
        }
    }
}

both! {
    /// A7: what nobody names passes both ways; what reaches into an engine or steers the gateway does not.
    async fn unknown_members_pass_and_denied_ones_do_not(topology: Topology) {
        let rig = Rig::start(topology, "").await;
        for (kind, engine) in rig.each() {
            engine.always(Script { extra: Some(("timings".into(), json!({"ms": 1.5}))), ..Script::default() });
            let answer = rig.mesh.client().chat(&with(chat(kind), json!({"top_k": 40}))).await;
            assert_eq!(answer.text(), "Hello, world!", "{kind}");
            assert_eq!(answer.json()["timings"], json!({"ms": 1.5}), "{kind}");
            let place = if kind == "ollama" { "/options/top_k" } else { "/top_k" };
            assert_eq!(engine.call(0).await.json().pointer(place), Some(&json!(40)), "{kind}");
            let own: &[&str] = match kind {
                "openai" | "penstock" => &["n_discard", "kv_transfer_params", "ID_SLOT"],
                "vllm" => &["kv_transfer_params", "prompt_embeds", "Priority"],
                "llama-cpp" => &["n_discard", "id_slot", "n_predict"],
                "anthropic" => &["max_tokens_to_sample"],
                _ => &[],
            };
            for name in own.iter().chain(&["api_base", "API_KEY", "extra_headers"]) {
                let answer = rig.mesh.client().chat(&with(chat(kind), json!({*name: "x"}))).await;
                assert_eq!(answer.problem(422, "invalid_value")["errors"][0]["field"], *name, "{kind}");
            }
            assert_eq!(engine.calls().len(), 1, "{kind}: a denied member reached the engine");
        }
    }
}

both! {
    async fn what_an_engine_cannot_do_is_refused_by_name(topology: Topology) {
        let rig = Rig::start(topology, "").await;
        for (kind, engine) in rig.each() {
            let (field, needs) = match kind {
                "openai" | "penstock" => continue, // whatever their engine can
                "vllm" => ("web_search_options", json!({"web_search_options": {}})),
                "llama-cpp" => ("n", json!({"n": 2})),
                "ollama" => ("logit_bias", json!({"logit_bias": {"1": 5}})),
                _ => ("logprobs", json!({"logprobs": true})),
            };
            let answer = rig.mesh.client().chat(&with(chat(kind), needs)).await;
            assert_eq!(answer.problem(422, "unsupported_parameter")["errors"][0]["field"], field, "{kind}");
            assert!(engine.calls().is_empty(), "{kind}");
        }
    }
}

/// The members that a dialect has, of those that a full request makes us write.
fn allowed(kind: &str) -> &'static str {
    match kind {
        "anthropic" => {
            "model max_tokens system messages stream temperature top_p stop_sequences tools tool_choice metadata \
             thinking output_config"
        }
        "ollama" => "model messages stream tools options think format keep_alive truncate shift",
        "vllm" | "llama-cpp" => {
            "model messages stream stream_options temperature top_p max_completion_tokens stop tools tool_choice \
             parallel_tool_calls response_format reasoning_effort user"
        }
        _ => {
            "model messages stream stream_options temperature top_p max_completion_tokens stop tools tool_choice \
             parallel_tool_calls response_format reasoning_effort user prompt_cache_key safety_identifier"
        }
    }
}

both! {
    async fn nothing_is_sent_that_the_dialect_does_not_have(topology: Topology) {
        let rig = Rig::start(topology, "").await;
        let tools = json!([{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}]);
        for (kind, engine) in rig.each() {
            let body = with(chat(kind), json!({
                "messages": [
                    {"role": "developer", "content": "be kind"},
                    {"role": "user", "content": [{"type": "text", "text": PROMPT_CANARY}]},
                ],
                "temperature": 0.5, "top_p": 0.9, "max_completion_tokens": 99, "stop": ["x"], "tools": tools,
                "tool_choice": "auto", "parallel_tool_calls": true, "reasoning_effort": "low", "user": "eve",
                "prompt_cache_key": "k", "safety_identifier": "s", "store": false, "metadata": {"a": "b"},
                "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object"}}},
            }));
            for body in [body.clone(), streamed(body)] {
                let answer = rig.mesh.client().chat(&body).await;
                assert_eq!(answer.status, 200, "{kind}: {}", String::from_utf8_lossy(&answer.body));
            }
            for call in engine.calls() {
                let sent = call.json();
                let names: Vec<&String> = sent.as_object().unwrap().keys().collect();
                assert!(names.iter().all(|name| allowed(kind).split_whitespace().any(|one| one == *name)), "{kind}: {names:?}");
                assert!(!sent.to_string().contains("\"store\""), "{kind}");
                let roles: Vec<_> = sent["messages"].as_array().unwrap().iter().map(|m| m["role"].as_str().unwrap()).collect();
                let first = match kind { "anthropic" => "user", "llama-cpp" | "ollama" => "system", _ => "developer" };
                assert_eq!(roles[0], first, "{kind}");
            }
        }
    }
}
