//! Moderations: passed to an engine that has them, else a clear refusal.

use penstock_proto::inference::v1::ModerateRequest;
use penstock_tests::{
    Answer, Client, Engine, Mesh, Script, Step, Topology, both,
    client::with,
    engine::Head,
    grpc::{inference, keyed, reason},
    mesh::{deployment, model},
};
use serde_json::{Value, json};

const PATH: &str = "/v1/moderations";

fn ask() -> Value {
    json!({"model": "test-model", "input": format!("{} harm", penstock_tests::PROMPT_CANARY)})
}

async fn post(client: &Client, body: &Value) -> Answer {
    client.post(PATH, body.to_string()).await
}

both! {
    async fn judgements_come_back_as_the_engine_gave_them(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        let parts = json!([{"type": "text", "text": "harm"}, {"type": "image_url", "image_url": {"url": "data:,"}}]);
        for (input, flags) in [
            (ask()["input"].clone(), vec![true]),
            (json!(["fine", "harm"]), vec![false, true]),
            (parts, vec![true, false]),
        ] {
            let answer = post(&mesh.client(), &with(ask(), json!({"input": input, "x_y": 1}))).await;
            let json = answer.json();
            assert_eq!(json["model"], "test-model");
            assert!(json["id"].as_str().unwrap().starts_with("modr-scripted-"), "{json}");
            let results = json["results"].as_array().unwrap();
            assert_eq!(results.iter().map(|result| result["flagged"] == true).collect::<Vec<_>>(), flags);
            assert_eq!(results[0]["category_scores"], json!({"violence": 0.25}));
            assert_eq!(answer.header("x-penstock-model"), Some("test-model"));
            let call = engine.calls().pop().unwrap();
            assert_eq!(call.path, PATH);
            assert_eq!(call.json(), json!({"model": "engine-model", "input": input, "x_y": 1}));
        }
    }
}

both! {
    async fn who_cannot_judge_says_so_and_what_to_configure(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        // Without a model nobody is asked on the off-chance: no deployment declares that it judges.
        let problem = post(&mesh.client(), &json!({"input": "x"})).await.problem(404, "operation_not_offered");
        assert!(problem["detail"].as_str().unwrap().contains("moderations = true"), "{problem}");
        assert_eq!(engine.calls().len(), 0);
        engine.always(Script::status_with(404, &[], r#"{"detail":"Not Found"}"#));
        post(&mesh.client(), &ask()).await.problem(404, "operation_not_offered");
        engine.always(Script::status_with(404, &[], r#"{"error":{"message":"The model `m` does not exist."}}"#));
        post(&mesh.client(), &ask()).await.problem(503, "model_unavailable");
    }
}

both! {
    async fn what_is_wrong_is_named_and_never_reaches_an_engine(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        for input in [json!(null), json!(7), json!({"text": "a"})] {
            let problem = post(&mesh.client(), &with(ask(), json!({"input": input}))).await.problem(422, "invalid_value");
            assert_eq!(problem["errors"][0]["field"], "input");
        }
        post(&mesh.anonymous(), &ask()).await.problem(401, "invalid_api_key");
        post(&mesh.client(), &with(ask(), json!({"model": "nobody"}))).await.problem(404, "model_not_found");
        assert_eq!(engine.calls().len(), 0);
    }
}

both! {
    /// C6.
    async fn engines_are_not_trusted_and_another_one_answers(topology: Topology) {
        let (first, second) = (Engine::start().await, Engine::start().await);
        let config = [
            "[inference_adapter.breaker]\nminimum_calls = 1_000_000\n".into(),
            deployment("first", &first.v1()),
            deployment("second", &second.v1()),
            model("alone", &["first"], ""),
            model("test-model", &["first"], "fallbacks = [\"other\"]"),
            model("other", &["second"], ""),
        ];
        let mesh = Mesh::start(topology, &config.concat()).await;
        for (script, code) in [
            (Script::steps([Step::Event("{}".into())]), "engine_bad_answer"),
            (Script::steps([Step::Event(r#"{"results":7}"#.into())]), "engine_bad_answer"),
            (Script::html(), "engine_bad_answer"),
            (Script::default().with_head(Head::Close), "engine_reset"),
            (Script::steps([Step::Cut]), "engine_cut"),
            (Script::status(500), "engine_failed"),
        ] {
            first.always(script);
            post(&mesh.client(), &with(ask(), json!({"model": "alone"}))).await.problem(502, code);
            let answer = post(&mesh.client(), &ask()).await;
            assert_eq!(answer.header("x-penstock-model"), Some("other"));
            assert_eq!(answer.header("x-penstock-fallbacks"), Some("1"));
        }
    }
}

both! {
    async fn grpc_callers_get_the_same(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        let mut grpc = inference(mesh.grpc()).await;
        let request = ModerateRequest {
            model: Some("test-model".into()),
            input_json: r#"["harm"]"#.into(),
            ..ModerateRequest::default()
        };
        let refused = grpc.moderate(request.clone()).await.unwrap_err();
        assert_eq!(reason(&refused), "INVALID_API_KEY");
        let answer = grpc.moderate(keyed(mesh.key(), request)).await.unwrap().into_inner();
        let results: Value = serde_json::from_str(&answer.results_json).unwrap();
        assert_eq!((results[0]["flagged"].as_bool(), answer.model.as_str()), (Some(true), "test-model"));
        let nobody = grpc.moderate(keyed(mesh.key(), ModerateRequest { input_json: "\"x\"".into(), ..ModerateRequest::default() }));
        assert_eq!(reason(&nobody.await.unwrap_err()), "NOT_OFFERED");
    }
}
