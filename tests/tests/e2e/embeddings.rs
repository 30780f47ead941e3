//! Embeddings: every shape of text, both ways of writing numbers, batches that are split, and what goes wrong.

use penstock_proto::{
    auth::v1::CreateRequest,
    inference::v1::{EmbedRequest, Prompt, TextList, prompt::Kind},
};
use penstock_tests::{
    Answer, Client, Engine, Mesh, Script, Service, Step, Topology, both,
    client::with,
    engine::{End, Head, Vectors, base64, vector_of},
    grpc::{create_key, inference, keyed, reason},
    mesh::{deployment, model},
};
use serde_json::{Value, json};

const PATH: &str = "/v1/embeddings";

fn ask() -> Value {
    json!({"model": "test-model", "input": format!("{} text", penstock_tests::PROMPT_CANARY)})
}

async fn post(client: &Client, body: &Value) -> Answer {
    client.post(PATH, body.to_string()).await
}

/// The vectors of an answer, each at its index.
fn vectors(answer: &Answer) -> Vec<Vec<f32>> {
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    let json = answer.json();
    assert_eq!(json["object"], "list");
    let vector = |(index, entry): (usize, &Value)| {
        assert_eq!((&entry["object"], &entry["index"]), (&json!("embedding"), &json!(index)));
        serde_json::from_value(entry["embedding"].clone()).unwrap()
    };
    json["data"].as_array().unwrap().iter().enumerate().map(vector).collect()
}

fn expected(texts: &[Value]) -> Vec<Vec<f32>> {
    texts.iter().map(|text| vector_of(text, 4)).collect()
}

both! {
    async fn texts_in_every_shape_become_vectors(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        for (input, texts) in [
            (json!("a"), vec![json!("a")]),
            (json!(["a", "b", "a"]), vec![json!("a"), json!("b"), json!("a")]),
            (json!([1, 2]), vec![json!([1, 2])]),
            (json!([[1], [2, 3]]), vec![json!([1]), json!([2, 3])]),
        ] {
            let body = with(ask(), json!({"input": input, "user": "u", "truncate": true}));
            let answer = post(&mesh.client(), &body).await;
            assert_eq!(vectors(&answer), expected(&texts));
            assert_eq!(answer.json()["model"], "test-model");
            assert_eq!(answer.json()["usage"], json!({"prompt_tokens": texts.len(), "total_tokens": texts.len()}));
            assert_eq!(answer.header("x-penstock-model"), Some("test-model"));
            assert_eq!(answer.header("x-penstock-cache"), Some("bypass"));
            let call = engine.calls().pop().unwrap();
            assert_eq!((call.path.as_str(), call.header("authorization").is_some()), (PATH, true));
            assert_eq!(call.json(), json!({"model": "engine-model", "input": input, "encoding_format": "float",
                "user": "u", "truncate": true}));
        }
    }
}

both! {
    /// Conformance 7: base64 of little-endian floats, whatever the engine gives.
    async fn numbers_are_written_as_the_caller_wants_them(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        let body = with(ask(), json!({"input": ["a", "b"]}));
        for given in [Vectors::Floats, Vectors::Base64, Vectors::Reversed] {
            engine.always(Script::vectors(given));
            assert_eq!(vectors(&post(&mesh.client(), &body).await), expected(&[json!("a"), json!("b")]), "{given:?}");
            let answer = post(&mesh.client(), &with(body.clone(), json!({"encoding_format": "base64"}))).await.json();
            for (index, text) in [json!("a"), json!("b")].iter().enumerate() {
                let bytes: Vec<u8> = vector_of(text, 4).iter().flat_map(|value| value.to_le_bytes()).collect();
                assert_eq!(answer["data"][index]["embedding"], base64(&bytes), "{given:?}");
            }
        }
        let problem = post(&mesh.client(), &with(body, json!({"encoding_format": "int8"}))).await.problem(422, "invalid_value");
        assert_eq!(problem["errors"][0]["field"], "encoding_format");
    }
}

both! {
    /// D: an engine that cannot choose the length says nothing; that is not passed off as what was asked for.
    async fn a_length_that_was_asked_for_is_kept_or_refused(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        let body = with(ask(), json!({"input": "a", "dimensions": 8}));
        assert_eq!(vectors(&post(&mesh.client(), &body).await), [vector_of(&json!("a"), 8)]);
        engine.always(Script::vectors(Vectors::Stubborn));
        let problem = post(&mesh.client(), &body).await.problem(422, "unsupported_parameter");
        assert_eq!(problem["errors"][0]["field"], "dimensions");
    }
}

both! {
    async fn large_batches_are_split_and_put_together_in_order(topology: Topology) {
        let engine = Engine::playing(Script::vectors(Vectors::Reversed)).await;
        let mesh = Mesh::over(topology, &engine, "[router]\nretries = 0\n[inference_adapter]\nembedding_batch_max = 100\n").await;
        let texts: Vec<Value> = (0..250).map(|number| json!(format!("text {number}"))).collect();
        let answer = post(&mesh.client(), &with(ask(), json!({"input": texts, "dimensions": 4}))).await;
        assert_eq!(vectors(&answer), expected(&texts));
        assert_eq!(answer.json()["usage"]["total_tokens"], 250);
        let batches: Vec<usize> =
            engine.calls().iter().map(|call| call.json()["input"].as_array().unwrap().len()).collect();
        assert_eq!(batches, [100, 100, 50]);
        assert!(engine.calls().iter().all(|call| call.json()["dimensions"] == 4));
        // A part that fails fails all: half of an answer is none.
        engine.next(Script::default());
        engine.next(Script::status(500));
        post(&mesh.client(), &with(ask(), json!({"input": texts}))).await.problem(502, "engine_failed");
        assert_eq!(engine.calls().len(), 5);
    }
}

both! {
    /// As many texts as OpenAI takes, and vectors as long as those of its largest model: more than one part each.
    async fn a_batch_of_the_largest_size_comes_through(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        for (count, dimensions) in [(2048, 16), (300, 3072)] {
            let body = json!({"input": vec!["x"; count], "dimensions": dimensions, "encoding_format": "base64"});
            let answer = post(&mesh.client(), &with(ask(), body)).await.json();
            let data = answer["data"].as_array().unwrap();
            let vector = vector_of(&json!("x"), dimensions);
            let bytes: Vec<u8> = vector.iter().flat_map(|value| value.to_le_bytes()).collect();
            assert_eq!(data.len(), count);
            assert_eq!(data[count - 1]["embedding"], base64(&bytes));
        }
        let problem = post(&mesh.client(), &with(ask(), json!({"input": vec!["x"; 2049]}))).await.problem(422, "invalid_value");
        assert_eq!(problem["errors"][0]["field"], "input");
    }
}

both! {
    async fn what_is_wrong_is_named_and_never_reaches_an_engine(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        let client = mesh.client();
        for (members, field) in [
            (json!({"input": null}), "input"),
            (json!({"input": []}), "input"),
            (json!({"input": {"text": "a"}}), "input"),
            (json!({"input": ["a", [1]]}), "input"),
            (json!({"input": [[]]}), "input[0]"),
            (json!({"dimensions": 0}), "dimensions"),
            (json!({"dimensions": "8"}), "dimensions"),
            (json!({"api_base": "http://evil"}), "api_base"),
        ] {
            let problem = post(&client, &with(ask(), members)).await.problem(422, "invalid_value");
            let named = problem["errors"][0]["field"].as_str().unwrap();
            assert!(named == field || named.starts_with(&format!("{field}[")), "{named} instead of {field}");
        }
        client.post(PATH, "{").await.problem(400, "invalid_json");
        post(&mesh.anonymous(), &ask()).await.problem(401, "invalid_api_key");
        post(&client, &with(ask(), json!({"model": "nobody"}))).await.problem(404, "model_not_found");
        let cached = client.clone().with_header("cache-control", "only-if-cached");
        post(&cached, &ask()).await.problem(504, "not_cached");
        assert_eq!(engine.calls().len(), 0);
    }
}

both! {
    /// C6: an answer that makes no sense is none.
    async fn engines_are_not_trusted(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "[inference_adapter]\nanswer_max_bytes = \"64 KiB\"\n[inference_adapter.breaker]\nminimum_calls = 1_000_000\n").await;
        let event = |json: Value| Script::steps([Step::Event(json.to_string())]);
        let one = |vector: Value| event(json!({"data": [{"index": 0, "embedding": vector}]}));
        for (script, status, code) in [
            (Script::vectors(Vectors::OneShort), 502, "engine_bad_answer"),
            (one(json!([])), 502, "engine_bad_answer"),
            (one(json!([1, "canary"])), 502, "engine_bad_answer"),
            (one(json!([1, null])), 502, "engine_bad_answer"),
            (one(json!("not base64!")), 502, "engine_bad_answer"),
            (one(json!(vec![0.5; 100_000])), 502, "engine_bad_answer"),
            (event(json!({"data": [{"index": 1, "embedding": [1]}]})), 502, "engine_bad_answer"),
            (event(json!({"error": {"message": penstock_tests::ENGINE_CANARY}})), 502, "engine_failed"),
            (Script::html(), 502, "engine_bad_answer"),
            (Script::default().with_head(Head::Close), 502, "engine_reset"),
            (Script::steps([Step::Cut]), 502, "engine_cut"),
            (Script::status(500), 502, "engine_failed"),
            (Script::status(401), 502, "engine_credentials"),
            (Script::status(400), 400, "engine_rejected"),
        ] {
            engine.always(script);
            post(&mesh.client(), &ask()).await.problem(status, code);
        }
    }
}

both! {
    async fn another_deployment_answers_when_one_fails(topology: Topology) {
        let (first, second) = (Engine::start().await, Engine::start().await);
        let config = [
            deployment("first", &first.v1()),
            deployment("second", &second.v1()),
            "[[models]]\nname = \"test-model\"\ndeployments = [\"first\", { id = \"second\", priority = 2 }]\n".into(),
            model("alone", &["first"], ""),
            model("big", &["first"], "fallbacks = [\"alone\", \"other\"]"),
            model("other", &["second"], ""),
        ];
        let gone = Script::status_with(404, &[], r#"{"detail":"Not Found"}"#);
        let unable = r#"{"error":{"code":501,"message":"This server does not support embeddings."}}"#;
        let unable = Script::status_with(501, &[], unable);
        let bad = Script::vectors(Vectors::OneShort);
        for script in [Script::status(503), Script::steps([Step::Cut]), bad, unable, gone.clone()] {
            // A new one for each: a failure counts as evidence, and then the second would be asked first.
            let mesh = Mesh::start(topology, &config.concat()).await;
            let (name, before) = (format!("{script:?}"), (first.calls().len(), second.calls().len()));
            first.next(script);
            let answer = post(&mesh.client(), &ask()).await;
            assert_eq!(vectors(&answer), expected(&[ask()["input"].clone()]), "{name}");
            assert_eq!(answer.header("x-penstock-fallbacks"), Some("1"), "{name}");
            assert_eq!((first.calls().len(), second.calls().len()), (before.0 + 1, before.1 + 1), "{name}");
        }
        let mesh = Mesh::start(topology, &config.concat()).await;
        first.always(gone);
        post(&mesh.client(), &with(ask(), json!({"model": "alone"}))).await.problem(404, "operation_not_offered");
        let answer = post(&mesh.client(), &with(ask(), json!({"model": "big"}))).await;
        assert_eq!(answer.header("x-penstock-model"), Some("other"));
        assert_eq!(answer.json()["model"], "other");
    }
}

both! {
    async fn limits_models_and_tenants_hold(topology: Topology) {
        let engine = Engine::start().await;
        let limit = "[[limits]]\napplies_to = \"tenant\"\nrequests = { per = \"1h\", limit = 2 }\ntokens = { per = \"1h\", limit = 1000 }\n";
        let mesh = Mesh::over(topology, &engine, limit).await;
        let key = async |tenant: &str, models: &[&str]| {
            let allowed_models = models.iter().map(ToString::to_string).collect();
            let request = CreateRequest { name: tenant.into(), tenant: Some(tenant.into()), allowed_models, ..CreateRequest::default() };
            mesh.anonymous().with_key(&create_key(mesh.address(Service::Auth), mesh.key(), request).await.secret)
        };
        let (one, other) = (key("one", &[]).await, key("other", &[]).await);
        let large = with(ask(), json!({"input": "x".repeat(5000)}));
        post(&one, &large).await.problem(429, "request_exceeds_limit");
        let tokens = with(ask(), json!({"input": vec![1; 1001]}));
        post(&one, &tokens).await.problem(429, "request_exceeds_limit");
        for left in ["1", "0"] {
            let answer = post(&one, &ask()).await;
            assert_eq!(answer.header("x-ratelimit-remaining-requests"), Some(left));
            assert!(answer.header("x-ratelimit-remaining-tokens").is_some());
        }
        let refused = post(&one, &ask()).await;
        refused.problem(429, "rate_limit_exceeded");
        assert_eq!(refused.header("x-ratelimit-remaining-requests"), Some("0"));
        assert_eq!(post(&other, &ask()).await.status, 200, "another tenant has limits of its own");
        let narrow = key("narrow", &["something-else"]).await;
        post(&narrow, &ask()).await.problem(403, "model_not_allowed");
        assert_eq!(engine.calls().len(), 3);
    }
}

both! {
    async fn every_request_is_accounted_for(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        let client = mesh.client().with_header("x-request-id", "embed-1");
        assert_eq!(post(&client, &with(ask(), json!({"input": ["a", "b"]}))).await.status, 200);
        let line = penstock_tests::bounded::until("the access log", async || {
            let lines = mesh.log(Service::Router);
            lines.into_iter().find(|line| line["message"] == "answered" && line["request_id"] == "embed-1")
        })
        .await;
        let told = ["model", "deployment", "outcome", "cache"].map(|name| line[name].as_str().unwrap_or_default());
        assert_eq!(told, ["test-model", "main", "OK", "bypass"], "{line}");
        assert_eq!(line["tokens"], 2, "{line}");
        let metrics = mesh.metrics(Service::Facade).await;
        assert!(metrics.contains(r#"route="/v1/embeddings""#), "{metrics}");
    }
}

both! {
    /// C1: before the answer as well.
    async fn a_client_that_hangs_up_stops_the_engine(topology: Topology) {
        let engine = Engine::playing(Script::default().after(Step::Stall)).await;
        let mesh = Mesh::over(topology, &engine, "").await;
        let pending = mesh.client().send(http::Method::POST, PATH, ask().to_string()).await;
        let call = engine.call(0).await;
        pending.hang_up();
        assert_eq!(call.ended().await, End::ClientGone);
        let hurried = mesh.client().with_header("x-request-timeout", "300ms");
        post(&hurried, &ask()).await.problem(504, "timeout");
    }
}

both! {
    async fn grpc_callers_get_the_same(topology: Topology) {
        let engine = Engine::start().await;
        let limit = "[[limits]]\napplies_to = \"key\"\nrequests = { per = \"1h\", limit = 1 }\n";
        let mesh = Mesh::over(topology, &engine, limit).await;
        let mut grpc = inference(mesh.grpc()).await;
        let texts = TextList { values: vec!["a".into(), "b".into()] };
        let request = EmbedRequest {
            model: "test-alias".into(),
            input: Some(Prompt { kind: Some(Kind::Texts(texts)) }),
            ..EmbedRequest::default()
        };
        let refused = grpc.embed(request.clone()).await.unwrap_err();
        assert_eq!(reason(&refused), "INVALID_API_KEY");
        let wrong = EmbedRequest { input: None, dimensions: Some(0), ..request.clone() };
        let refused = grpc.embed(keyed(mesh.key(), wrong)).await.unwrap_err();
        assert_eq!(reason(&refused), "INVALID_REQUEST");
        let answer = grpc.embed(keyed(mesh.key(), request.clone())).await.unwrap();
        assert_eq!(answer.metadata().get("x-penstock-model").unwrap(), "test-model");
        assert_eq!(answer.metadata().get("x-ratelimit-remaining-requests").unwrap(), "0");
        let answer = answer.into_inner();
        let values: Vec<_> = answer.embeddings.into_iter().map(|one| one.values).collect();
        assert_eq!(values, expected(&[json!("a"), json!("b")]));
        assert_eq!((answer.model.as_str(), answer.usage.unwrap().total_tokens), ("test-model", 2));
        let refused = grpc.embed(keyed(mesh.key(), request)).await.unwrap_err();
        assert_eq!(reason(&refused), "RATE_LIMIT_EXCEEDED");
    }
}
