//! Anthropic's Messages, whole and streamed: the same answers as chat gives, in the words of that API.

use http::Method;
use penstock_tests::{
    Engine, Mesh, Script, Step, Topology, both,
    bounded::until,
    client::{Answer, Client, streamed, with},
    engine::End,
    mesh::model,
};
use serde_json::{Value, json};

const PATH: &str = "/v1/messages";

fn ask(content: &str) -> Value {
    json!({"model": "test-model", "max_tokens": 64, "messages": [{"role": "user", "content": content}]})
}

async fn post(client: &Client, body: &Value) -> Answer {
    client.post(PATH, body.to_string()).await
}

async fn events(client: &Client, body: &Value) -> Vec<Value> {
    let events = client.stream_of(PATH, body).await.rest().await;
    events.iter().map(|event| serde_json::from_str(event).unwrap()).collect()
}

fn types(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["type"].as_str().unwrap()).collect()
}

/// The message that a client makes of the events.
fn message(events: &[Value]) -> Value {
    let mut message = events[0]["message"].clone();
    let mut json = String::new();
    for event in events {
        let content = message["content"].as_array_mut().unwrap();
        match event["type"].as_str().unwrap() {
            "content_block_start" => {
                assert_eq!(event["index"], content.len());
                content.push(event["content_block"].clone());
            }
            "content_block_delta" => {
                let block = content.last_mut().unwrap();
                for member in ["text", "thinking", "signature"] {
                    if let Some(more) = event["delta"][member].as_str() {
                        block[member] = json!(format!("{}{more}", block[member].as_str().unwrap()));
                    }
                }
                json += event["delta"]["partial_json"].as_str().unwrap_or_default();
            }
            "content_block_stop" if !json.is_empty() => {
                content.last_mut().unwrap()["input"] = serde_json::from_str(&json).unwrap();
                json.clear();
            }
            "message_delta" => {
                message["stop_reason"] = event["delta"]["stop_reason"].clone();
                message["stop_sequence"] = event["delta"]["stop_sequence"].clone();
                message["usage"] = event["usage"].clone();
            }
            _ => {}
        }
    }
    message
}

/// The error in this API's shape, after a look at all that every error has.
fn refused(answer: &Answer, status: u16, kind: &str) -> Value {
    let body = answer.json();
    assert_eq!((answer.status, &body["error"]["type"]), (status, &json!(kind)), "{body}");
    assert_eq!((&body["type"], answer.header("content-type")), (&json!("error"), Some("application/json")));
    assert_eq!(body["request_id"], answer.header("request-id").unwrap());
    assert!(answer.header("x-should-retry").is_some());
    let text = body.to_string();
    for secret in [penstock_tests::ENGINE_CANARY, penstock_tests::ENGINE_KEY] {
        assert!(!text.contains(secret), "an error says {secret}: {text}");
    }
    body
}

both! {
    async fn an_answer_is_a_message_whole_or_streamed(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        // Where Anthropic's clients put the key, and the header that they send.
        let client = mesh.anonymous().with_header("x-api-key", mesh.key()).with_header("anthropic-version", "2023-06-01");
        let body = with(ask("Hi"), json!({"system": "Be brief.", "temperature": 0.5, "metadata": {"user_id": "u"}}));
        let answer = post(&client, &body).await;
        assert_eq!(answer.status, 200, "{:?}", answer.json());
        let plain = answer.json();
        assert!(plain["id"].as_str().unwrap().starts_with("msg_"));
        assert_eq!(plain["content"], json!([{"type": "text", "text": "Hello, world!"}]));
        assert_eq!((&plain["role"], &plain["model"]), (&json!("assistant"), &json!("test-model")));
        assert_eq!((&plain["stop_reason"], &plain["stop_sequence"]), (&json!("end_turn"), &Value::Null));
        assert_eq!((&plain["usage"]["input_tokens"], &plain["usage"]["output_tokens"]), (&json!(7), &json!(4)));
        assert_eq!(answer.header("request-id"), answer.header("x-request-id"));
        assert_eq!(answer.header("x-penstock-model"), Some("test-model"));

        let events = events(&client, &body).await;
        let types = types(&events);
        assert_eq!(types[..3], ["message_start", "ping", "content_block_start"]);
        assert_eq!(types[types.len() - 3..], ["content_block_stop", "message_delta", "message_stop"]);
        let same = message(&events);
        for member in ["content", "stop_reason", "stop_sequence", "usage", "role", "model", "type"] {
            assert_eq!(same[member], plain[member], "{member}");
        }
        let asked = engine.call(0).await.json();
        assert_eq!(asked["messages"], json!([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]));
        assert_eq!((&asked["max_completion_tokens"], &asked["temperature"], &asked["user"]), (&json!(64), &json!(0.5), &json!("u")));
        assert_eq!(engine.calls().len(), 2);
    }
}

both! {
    /// Nothing is held back: the engine goes on only when the client has the piece before.
    async fn every_piece_is_passed_on_when_it_arrives(topology: Topology) {
        let engine = Engine::start().await;
        let texts: Vec<String> = (0..5).map(|n| format!("word {n} ")).collect();
        engine.always(Script::gated(texts.clone()));
        let mesh = Mesh::over(topology, &engine, "").await;
        engine.open(1);
        let mut events = mesh.client().stream_of(PATH, &ask("Hi")).await;
        for text in &texts {
            let said = loop {
                let event = events.next_json().await;
                if event["type"] == "content_block_delta" {
                    break event["delta"]["text"].clone();
                }
            };
            assert_eq!(said, json!(text));
            engine.open(1);
        }
        assert!(events.rest().await.last().unwrap().contains("message_stop"));
    }
}

both! {
    /// An agent's loop of two turns, with two calls at once whose fragments interleave.
    async fn tools_are_called_together_and_answered(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        let fragment = |index: u8, id: Option<&str>, arguments: &str| {
            let mut call = json!({"index": index, "function": {"arguments": arguments}});
            if let Some(id) = id {
                (call["id"], call["type"], call["function"]["name"]) = (json!(id), json!("function"), json!("weather"));
            }
            Step::Delta(json!({"tool_calls": [call]}))
        };
        let steps = [
            Step::Text("Let me see.".into()),
            fragment(0, Some("call_a"), "{\"city\":"),
            fragment(1, Some("call_b"), "{\"city\":\"B"),
            fragment(0, None, "\"Oslo\"}"),
            fragment(1, None, "ergen\"}"),
            Step::Finish("tool_calls"),
            Step::Usage,
            Step::Done,
        ];
        engine.always(Script::steps(steps));
        let tools = json!([{"name": "weather", "description": "d", "input_schema": {"type": "object"}}]);
        let body = with(ask("Weather?"), json!({"tools": tools, "tool_choice": {"type": "any"}}));
        let events = events(&mesh.client(), &body).await;
        let said = message(&events);
        let content = json!([
            {"type": "text", "text": "Let me see."},
            {"type": "tool_use", "id": "call_a", "name": "weather", "input": {"city": "Oslo"}},
            {"type": "tool_use", "id": "call_b", "name": "weather", "input": {"city": "Bergen"}},
        ]);
        assert_eq!((&said["content"], &said["stop_reason"]), (&content, &json!("tool_use")));
        let asked = engine.call(0).await.json();
        assert_eq!(asked["tools"][0]["function"]["parameters"], json!({"type": "object"}));
        assert_eq!(asked["tool_choice"], "required");

        engine.always(Script::default());
        let turns = json!([
            {"role": "user", "content": "Weather?"},
            {"role": "assistant", "content": said["content"]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "call_a", "content": "5 °C"},
                {"type": "tool_result", "tool_use_id": "call_b", "is_error": true, "content": [{"type": "text", "text": "no such city"}]},
                {"type": "text", "text": "Go on."},
            ]},
        ]);
        let answer = post(&mesh.client(), &with(body, json!({"messages": turns, "tool_choice": {"type": "auto"}}))).await;
        assert_eq!(answer.json()["content"][0]["text"], "Hello, world!");
        let asked = engine.call(1).await.json();
        let calls = &asked["messages"][1]["tool_calls"];
        assert_eq!(calls[0]["function"], json!({"name": "weather", "arguments": "{\"city\":\"Oslo\"}"}));
        assert_eq!(asked["messages"][2], json!({"role": "tool", "tool_call_id": "call_a", "content": "5 °C"}));
        assert_eq!(asked["messages"][3], json!({"role": "tool", "tool_call_id": "call_b", "content": "Error: no such city"}));
        assert_eq!(asked["messages"][4], json!({"role": "user", "content": "Go on."}));
        assert_eq!(engine.calls().len(), 2);
    }
}

both! {
    /// An engine of the same API gets back what it signed and is told in the caller's own words how to reason.
    async fn reasoning_goes_round(topology: Topology) {
        let engine = Engine::start().await;
        let config = format!(
            "[[deployments]]\nid = \"a\"\nengine = \"anthropic\"\nendpoint = \"{}\"\nmodel = \"engine-model\"\n\
             api_key_env = \"ENGINE_KEY\"\n{}", engine.v1(), model("test-model", &["a"], ""),
        );
        let mesh = Mesh::start(topology, &config).await;
        let thought = Step::Delta(json!({"reasoning_content": "hm"}));
        engine.always(Script::steps([thought, Step::Text("42".into()), Step::Finish("stop"), Step::Usage, Step::Done]));
        let thinking = json!({"type": "enabled", "budget_tokens": 3000, "display": "summarized"});
        let body = with(ask("Hi"), json!({"max_tokens": 4096, "thinking": thinking}));
        let plain = post(&mesh.client(), &body).await.json();
        let signed = json!({"type": "thinking", "thinking": "hm", "signature": "c2lnbmVk"});
        assert_eq!(plain["content"], json!([signed, {"type": "text", "text": "42"}]));
        assert_eq!(message(&events(&mesh.client(), &body).await)["content"], plain["content"]);
        let turns = json!([
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": plain["content"]},
            {"role": "user", "content": "So?"},
        ]);
        assert_eq!(post(&mesh.client(), &with(body, json!({"messages": turns}))).await.status, 200);
        let asked = engine.call(2).await.json();
        assert_eq!(asked["messages"][1]["content"][0], signed);
        assert_eq!(asked["thinking"], thinking);
        assert_eq!((asked.get("output_config"), asked.get("reasoning_effort")), (None, None));
    }
}

both! {
    /// What another engine reasoned has no signature, and other engines get a word for how hard to think.
    async fn other_engines_reason_too(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        let thought = Step::Delta(json!({"reasoning_content": "hm"}));
        engine.always(Script::steps([thought, Step::Text("42".into()), Step::Finish("stop"), Step::Done]));
        let body = with(ask("Hi"), json!({"max_tokens": 4096, "thinking": {"type": "enabled", "budget_tokens": 3000}}));
        let plain = post(&mesh.client(), &body).await.json();
        assert_eq!(plain["content"][0], json!({"type": "thinking", "thinking": "hm", "signature": ""}));
        assert_eq!(message(&events(&mesh.client(), &body).await)["content"], plain["content"]);
        let asked = engine.call(0).await.json();
        assert_eq!((asked["reasoning_effort"].as_str(), asked.get("thinking")), (Some("medium"), None));
    }
}

both! {
    async fn images_reach_the_engine(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        let content = json!([
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}},
            {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
            {"type": "text", "text": "What is it?", "cache_control": {"type": "ephemeral"}},
        ]);
        let body = with(ask(""), json!({"messages": [{"role": "user", "content": content}]}));
        assert_eq!(post(&mesh.client(), &body).await.status, 200);
        let sent = engine.call(0).await.json()["messages"][0]["content"].clone();
        assert_eq!(sent[0]["image_url"]["url"], "data:image/png;base64,iVBORw0KGgo=");
        assert_eq!(sent[1]["image_url"]["url"], "https://example.com/a.png");
        // A mark for a cache is of use to engines of this API alone, and others may refuse it.
        assert_eq!(sent[2], json!({"type": "text", "text": "What is it?"}));
    }
}

both! {
    /// vLLM says which sequence it met.
    async fn a_stop_sequence_is_named(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        let chunk = |choice: Value| {
            let chunk = json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "engine-model", "choices": [choice]});
            Step::Event(chunk.to_string())
        };
        engine.always(Script::steps([
            chunk(json!({"index": 0, "delta": {"role": "assistant", "content": "a"}, "finish_reason": null})),
            chunk(json!({"index": 0, "delta": {}, "finish_reason": "stop", "stop_reason": "END"})),
            Step::Done,
        ]));
        let body = with(ask("Hi"), json!({"stop_sequences": ["END", "\n"]}));
        let said = message(&events(&mesh.client(), &body).await);
        assert_eq!((&said["stop_reason"], &said["stop_sequence"]), (&json!("stop_sequence"), &json!("END")));
        assert_eq!(engine.call(0).await.json()["stop"], json!(["END", "\n"]));
    }
}

both! {
    async fn what_is_refused_is_told_in_this_apis_shape(topology: Topology) {
        let engine = Engine::start().await;
        let limit = "[[limits]]\napplies_to = \"key\"\nrequests = { per = \"1h\", limit = 1 }\n";
        let mesh = Mesh::over(topology, &engine, limit).await;
        let client = mesh.client();
        refused(&post(&mesh.anonymous(), &ask("Hi")).await, 401, "authentication_error");
        refused(&post(&mesh.anonymous().with_header("x-api-key", "psk-wrong"), &ask("Hi")).await, 401, "authentication_error");
        refused(&post(&client, &with(ask("Hi"), json!({"model": "nobody"}))).await, 404, "not_found_error");
        refused(&client.post(PATH, "{").await, 400, "invalid_request_error");
        refused(&post(&client.clone().with_header("anthropic-version", "2022-01-01"), &ask("Hi")).await, 400, "invalid_request_error");
        let tools = json!([{"type": "web_search_20250305", "name": "web_search"}]);
        let body = with(ask("Hi"), json!({"max_tokens": null, "tools": tools, "temperature": 1.5}));
        let problem = refused(&post(&client, &body).await, 400, "invalid_request_error");
        let fields: Vec<_> = problem["errors"].as_array().unwrap().iter().map(|one| one["field"].as_str().unwrap()).collect();
        assert_eq!(fields, ["max_tokens", "temperature", "tools[0].type"]);
        assert!(engine.calls().is_empty());
        // The contract's verdict, under this API's names, and from behind gRPC.
        let problem = refused(&post(&client, &with(ask("Hi"), json!({"max_tokens": 0}))).await, 400, "invalid_request_error");
        assert_eq!(problem["errors"][0]["field"], "max_tokens");
        assert_eq!(post(&client, &ask("Hi")).await.status, 200);
        let limited = post(&client, &ask("Hi")).await;
        refused(&limited, 429, "rate_limit_error");
        assert!(limited.header("retry-after").is_some());
        assert_eq!(limited.header("x-ratelimit-remaining-requests"), Some("0"));
        assert_eq!(engine.calls().len(), 1);
    }
}

both! {
    /// C8: before the first token a failure is an HTTP error, streamed or not; after it an event, and no end.
    async fn a_failure_is_never_a_whole_answer(topology: Topology) {
        let engine = Engine::start().await;
        // Each failure is to be the engine's own, not a breaker's.
        let breaker = "[inference_adapter.breaker]\nminimum_calls = 1_000_000\n";
        let mesh = Mesh::over(topology, &engine, breaker).await;
        engine.always(Script::status(500));
        for body in [ask("Hi"), streamed(ask("Hi"))] {
            refused(&post(&mesh.client(), &body).await, 502, "api_error");
        }
        let cut = Script::broken(["Hel"], Step::Cut);
        for script in [cut.clone(), Script::steps([Step::Text("Hel".into()), Step::Done])] {
            engine.always(script);
            let events = events(&mesh.client(), &ask("Hi")).await;
            let last = events.last().unwrap();
            assert_eq!((&last["type"], &last["error"]["type"]), (&json!("error"), &json!("api_error")), "{last}");
            assert!(types(&events).iter().all(|kind| !matches!(*kind, "message_delta" | "message_stop")));
        }
        engine.always(cut);
        refused(&post(&mesh.client(), &ask("Hi")).await, 502, "api_error");
        // What a call asks for must be an object.
        let call = json!({"tool_calls": [{"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": "[1]"}}]});
        engine.always(Script::steps([Step::Delta(call), Step::Finish("tool_calls"), Step::Done]));
        refused(&post(&mesh.client(), &ask("Hi")).await, 502, "api_error");
        let events = events(&mesh.client(), &ask("Hi")).await;
        assert_eq!(types(&events).last(), Some(&"error"));
    }
}

both! {
    /// C1.
    async fn a_client_that_hangs_up_stops_the_engine(topology: Topology) {
        let engine = Engine::playing(Script::steps([Step::Text("a".into()), Step::Stall])).await;
        let mesh = Mesh::over(topology, &engine, "").await;
        for (attempt, body) in [ask("Hi"), streamed(ask("Hi"))].into_iter().enumerate() {
            let pending = mesh.client().send(Method::POST, PATH, body.to_string()).await;
            let call = engine.call(attempt).await;
            if attempt == 0 {
                pending.hang_up();
            } else {
                let mut events = pending.head().await;
                while events.next_json().await["type"] != "content_block_delta" {}
                events.hang_up();
            }
            assert_eq!(call.ended().await, End::ClientGone);
        }
        assert_eq!(engine.calls().len(), 2);
    }
}

both! {
    /// What was kept plain comes back as a stream, with the same in it; and chat gets it as well.
    async fn the_cache_is_the_one_of_chat(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "[router]\ncache_mode = \"deterministic\"\n").await;
        let client = mesh.client();
        let body = with(ask("Hi"), json!({"temperature": 0}));
        let first = post(&client, &body).await;
        assert_eq!(first.header("x-penstock-cache"), Some("miss"));
        let only = client.clone().with_header("cache-control", "only-if-cached");
        let hit = until("the answer to be in the cache", async || {
            let answer = post(&only, &body).await;
            (answer.status == 200).then_some(answer)
        })
        .await;
        assert_eq!((hit.header("x-penstock-cache"), hit.json()), (Some("hit"), first.json()));
        let replayed = message(&events(&client, &body).await);
        for member in ["content", "usage", "stop_reason"] {
            assert_eq!(replayed[member], first.json()[member], "{member}");
        }
        let chat = json!({"model": "test-model", "max_completion_tokens": 64, "temperature": 0, "messages": body["messages"]});
        assert_eq!(client.chat(&chat).await.header("x-penstock-cache"), Some("hit"));
        assert_eq!(engine.calls().len(), 1);
    }
}
