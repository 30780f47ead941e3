//! Legacy completions: texts that are continued, in every shape, plain and streamed, with the policy of all requests.

use penstock_proto::inference::v1::{
    GenerateRequest, Prompt, TextInput, generate_request::Input, prompt::Kind,
};
use penstock_tests::{
    Answer, Client, Engine, Mesh, Script, Step, Topology, both,
    bounded::until,
    client::with,
    engine::{End, Refused},
    grpc::{inference, keyed, reason},
    mesh::{deployment, model},
};
use serde_json::{Value, json};

const PATH: &str = "/v1/completions";

fn ask() -> Value {
    json!({"model": "test-model", "prompt": format!("{} once", penstock_tests::PROMPT_CANARY)})
}

async fn post(client: &Client, body: &Value) -> Answer {
    client.post(PATH, body.to_string()).await
}

fn texts(answer: &Answer) -> Vec<String> {
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    let json = answer.json();
    json["choices"].as_array().unwrap().iter().map(|c| c["text"].as_str().unwrap().to_owned()).collect()
}

/// The events of a stream as JSON; the last one must be `[DONE]`.
fn chunks(mut events: Vec<String>) -> Vec<Value> {
    assert_eq!(events.pop().as_deref(), Some("[DONE]"), "{events:?}");
    events.iter().map(|event| serde_json::from_str(event).unwrap()).collect()
}

both! {
    async fn a_text_is_continued(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        let body = with(ask(), json!({"max_tokens": 5, "logprobs": 1, "suffix": "end", "top_k": 3, "store": true}));
        let answer = post(&mesh.client(), &body).await;
        assert_eq!(texts(&answer), ["Hello, world!"]);
        let json = answer.json();
        assert_eq!((json["object"].as_str(), json["model"].as_str()), (Some("text_completion"), Some("test-model")));
        assert_eq!(json["id"], "cmpl-scripted-1");
        let choice = &json["choices"][0];
        assert_eq!((&choice["index"], &choice["finish_reason"]), (&json!(0), &json!("stop")));
        assert_eq!(choice["logprobs"]["token_logprobs"], json!([-0.5]));
        assert_eq!(json["usage"], json!({"prompt_tokens": 7, "completion_tokens": 4, "total_tokens": 11,
            "prompt_tokens_details": {"cached_tokens": 0}}));
        assert_eq!(answer.header("x-penstock-model"), Some("test-model"));
        let call = &engine.calls()[0];
        assert_eq!(call.path, PATH);
        let (reached, prompt) = (call.json(), ask()["prompt"].clone());
        assert_eq!(reached, json!({"model": "engine-model", "prompt": prompt, "suffix": "end", "logprobs": 1,
            "stream": false, "max_tokens": 5, "top_k": 3}));
    }
}

both! {
    async fn a_stream_has_texts_and_no_roles(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        let events = chunks(mesh.client().stream_of(PATH, &ask()).await.rest().await);
        let said: String = events.iter().map(|event| event["choices"][0]["text"].as_str().unwrap()).collect();
        assert_eq!(said, "Hello, world!");
        for event in &events {
            assert_eq!((&event["object"], &event["id"]), (&json!("text_completion"), &json!("cmpl-scripted-1")));
            let choice = event["choices"][0].as_object().unwrap();
            assert_eq!(choice.keys().collect::<Vec<_>>(), ["finish_reason", "index", "logprobs", "text"], "{event}");
            assert!(event.get("usage").is_none(), "{event}");
        }
        assert_eq!(events.len(), 5, "four texts and the end: {events:?}");
        assert_eq!(events[4]["choices"][0]["finish_reason"], "stop");
        // Usage was asked of the engine all the same.
        assert_eq!(engine.calls()[0].json()["stream_options"], json!({"include_usage": true}));

        let body = with(ask(), json!({"stream_options": {"include_usage": true}}));
        let events = chunks(mesh.client().stream_of(PATH, &body).await.rest().await);
        let (last, earlier) = events.split_last().unwrap();
        assert_eq!((&last["choices"], &last["usage"]["total_tokens"]), (&json!([]), &json!(11)));
        assert!(earlier.iter().all(|event| event.get("usage") == Some(&Value::Null)), "{earlier:?}");
    }
}

both! {
    async fn prompts_come_in_every_shape(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        for (prompt, expected) in [
            (json!("a"), vec!["aHello, world!"; 2]),
            (json!(["a", "b"]), vec!["aHello, world!", "aHello, world!", "bHello, world!", "bHello, world!"]),
            (json!([1, 2]), vec!["[1,2]Hello, world!"; 2]),
            (json!([[1], [2, 3]]), vec!["[1]Hello, world!", "[1]Hello, world!", "[2,3]Hello, world!", "[2,3]Hello, world!"]),
        ] {
            let body = json!({"model": "test-model", "prompt": prompt, "n": 2, "best_of": 2, "echo": true});
            let plain = post(&mesh.client(), &body).await;
            assert_eq!(texts(&plain), expected);
            let indices: Vec<Value> = plain.json()["choices"].as_array().unwrap().iter().map(|c| c["index"].clone()).collect();
            assert_eq!(indices, (0..expected.len()).map(|index| json!(index)).collect::<Vec<_>>());
            assert_eq!(engine.calls().last().unwrap().json()["prompt"], prompt);

            let mut streamed = vec![String::new(); expected.len()];
            for event in chunks(mesh.client().stream_of(PATH, &body).await.rest().await) {
                for choice in event["choices"].as_array().unwrap() {
                    let index = choice["index"].as_u64().unwrap() as usize;
                    streamed[index] += choice["text"].as_str().unwrap();
                }
            }
            assert_eq!(streamed, expected);
        }
    }
}

both! {
    async fn what_is_wrong_is_named_and_never_reaches_an_engine(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        let client = mesh.client();
        for (members, field) in [
            (json!({"prompt": null}), "prompt"),
            (json!({"prompt": []}), "prompt"),
            (json!({"prompt": 7}), "prompt"),
            (json!({"prompt": ["a", 1]}), "prompt"),
            (json!({"prompt": [[1], []]}), "prompt[1]"),
            (json!({"prompt": [1.5]}), "prompt[0]"),
            (json!({"logprobs": 6}), "logprobs"),
            (json!({"logprobs": true}), "logprobs"),
            (json!({"n": 3, "best_of": 2}), "best_of"),
            (json!({"prompt": vec!["a"; 65], "n": 2}), "n"),
            (json!({"max_tokens": -1}), "max_tokens"),
            (json!({"stream_options": {}}), "stream_options"),
        ] {
            let problem = post(&client, &with(ask(), members)).await.problem(422, "invalid_value");
            let named = problem["errors"][0]["field"].as_str().unwrap();
            assert!(named == field || named.starts_with(&format!("{field}[")), "{named} instead of {field}");
        }
        client.post(PATH, "{").await.problem(400, "invalid_json");
        post(&mesh.anonymous(), &ask()).await.problem(401, "invalid_api_key");
        post(&client, &with(ask(), json!({"model": "nobody"}))).await.problem(404, "model_not_found");
        assert_eq!(engine.calls().len(), 0);
    }
}

both! {
    /// C8: a cut stream says so and has no `[DONE]`; a cut plain answer is an error.
    async fn what_breaks_is_never_passed_off_as_whole(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        for ending in [Step::Cut, Step::Reset] {
            engine.always(Script::broken(["Hello"], ending));
            let events = mesh.client().stream_of(PATH, &ask()).await.rest().await;
            assert!(events.last().unwrap().contains("engine_cut"), "{events:?}");
            assert!(events[0].contains(r#""text":"Hello""#), "{events:?}");
            post(&mesh.client(), &ask()).await.problem(502, "engine_cut");
        }
        engine.always(Script::status(500));
        post(&mesh.client(), &ask()).await.problem(502, "engine_failed");
    }
}

both! {
    async fn another_deployment_continues_when_one_fails_or_does_not_offer_it(topology: Topology) {
        let (first, second, refused) = (Engine::start().await, Engine::start().await, Refused::new());
        let config = [
            deployment("first", &first.v1()),
            deployment("second", &second.v1()),
            deployment("refused", &refused.v1()),
            "[[models]]\nname = \"test-model\"\ndeployments = [\"first\", { id = \"second\", priority = 2 }]\n".into(),
            model("alone", &["first"], ""),
            model("down", &["refused"], ""),
        ];
        let mesh = Mesh::start(topology, &config.concat()).await;
        let gone = r#"{"detail":"Not Found"}"#;
        for script in [Script::status_with(404, &[], gone), Script::status(503), Script::steps([Step::Cut])] {
            first.next(script);
            let answer = post(&mesh.client(), &ask()).await;
            assert_eq!(texts(&answer), ["Hello, world!"]);
            assert_eq!(answer.header("x-penstock-fallbacks"), Some("1"));
        }
        first.next(Script::status_with(404, &[], gone));
        let alone = with(ask(), json!({"model": "alone"}));
        post(&mesh.client(), &alone).await.problem(404, "operation_not_offered");
        // That it lacks one path is no evidence against the engine.
        assert_eq!(texts(&post(&mesh.client(), &alone).await), ["Hello, world!"]);
        post(&mesh.client(), &with(ask(), json!({"model": "down"}))).await.problem(503, "engine_unreachable");
    }
}

both! {
    async fn the_same_text_again_comes_from_the_cache_in_either_form(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        let body = with(ask(), json!({"temperature": 0, "n": 1}));
        let first = chunks(mesh.client().stream_of(PATH, &body).await.rest().await);
        assert!(first.len() > 2);
        let plain = until("the answer to be stored", async || {
            let answer = post(&mesh.client(), &body).await;
            (answer.header("x-penstock-cache") == Some("hit")).then_some(answer)
        }).await;
        assert_eq!(texts(&plain), ["Hello, world!"]);
        let calls = engine.calls().len();
        let replayed = chunks(mesh.client().stream_of(PATH, &body).await.rest().await);
        assert_eq!(replayed.len(), 2, "the text and the end, no role: {replayed:?}");
        assert_eq!(replayed[0]["choices"][0]["text"], "Hello, world!");
        assert_eq!(engine.calls().len(), calls);
        // Another shape is another request, and so is any member.
        for members in [json!({"prompt": ["other"]}), json!({"echo": true}), json!({"suffix": "x"}), json!({"logprobs": 0})] {
            let answer = post(&mesh.client(), &with(body.clone(), members)).await;
            assert_eq!(answer.header("x-penstock-cache"), Some("miss"));
        }
    }
}

both! {
    /// Every continuation of every prompt is reserved, so that a batch does not slip through.
    async fn limits_count_all_prompts(topology: Topology) {
        let engine = Engine::start().await;
        let limit = "[[limits]]\napplies_to = \"key\"\ntokens = { per = \"1h\", limit = 1000 }\n";
        let mesh = Mesh::over(topology, &engine, limit).await;
        let body = json!({"model": "test-model", "prompt": ["a", "b"], "n": 2, "max_tokens": 251});
        post(&mesh.client(), &body).await.problem(429, "request_exceeds_limit");
        assert_eq!(engine.calls().len(), 0);
        let answer = post(&mesh.client(), &with(body, json!({"max_tokens": 200}))).await;
        assert_eq!(texts(&answer).len(), 4);
        assert_eq!(answer.header("x-ratelimit-limit-tokens"), Some("1000"));
    }
}

both! {
    /// C1.
    async fn a_client_that_hangs_up_stops_the_engine(topology: Topology) {
        let engine = Engine::playing(Script::broken(["Hello"], Step::Stall)).await;
        let mesh = Mesh::over(topology, &engine, "").await;
        let mut events = mesh.client().stream_of(PATH, &ask()).await;
        assert_eq!(events.next_json().await["choices"][0]["text"], "Hello");
        events.hang_up();
        assert_eq!(engine.call(0).await.ended().await, End::ClientGone);
    }
}

both! {
    async fn grpc_callers_get_the_same(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        let prompt = Prompt { kind: Some(Kind::Text("once".into())) };
        let request = GenerateRequest {
            model: "test-model".into(),
            input: Some(Input::Text(TextInput { prompt: Some(prompt), ..TextInput::default() })),
            stream: true,
            ..GenerateRequest::default()
        };
        let mut grpc = inference(mesh.grpc()).await;
        let mut answer = grpc.generate(keyed(mesh.key(), request.clone())).await.unwrap().into_inner();
        let mut said = String::new();
        while let Some(message) = answer.message().await.unwrap() {
            for choice in message.chunks.into_iter().flat_map(|chunk| chunk.choices) {
                let delta = choice.delta.unwrap_or_default();
                assert_eq!(delta.role, None);
                said += delta.content.as_deref().unwrap_or_default();
            }
        }
        assert_eq!(said, "Hello, world!");
        let without = GenerateRequest { input: Some(Input::Text(TextInput::default())), ..request };
        let refused = grpc.generate(keyed(mesh.key(), without)).await.unwrap_err();
        assert_eq!(reason(&refused), "INVALID_REQUEST");
    }
}
