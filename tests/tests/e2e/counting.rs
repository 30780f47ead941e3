//! Counting the tokens of a prompt: by the engine where it can, else estimated, and nothing is generated for it.

use penstock_proto::{
    auth::v1::CreateRequest,
    inference::v1::{
        CountTokensRequest, CountTokensResponse, GenerateRequest, generate_request::Input, message::Content,
    },
};
use penstock_tests::{
    Engine, Mesh, Script, Service, Step, Topology, both,
    bounded::{until, within},
    client,
    engine::{End, Head, Refused},
    grpc::{chat, create_key, inference, keyed, reason},
    mesh::{ADMIN_KEY, Plan, deployment, model},
};
use serde_json::json;
use tonic::{Response, Status};
use tonic_types::StatusExt as _;

/// Opens soon, and stays open.
const SOON: &str = "[router]\nretries = 0\n[inference_adapter.breaker]\nminimum_calls = 2\nopen = \"1h\"\nopen_max = \"1h\"\n";

/// A deployment of this kind of engine.
fn on(kind: &str, id: &str, endpoint: &str) -> String {
    deployment(id, endpoint).replace("\"openai\"", &format!("\"{kind}\""))
}

async fn count_as(
    mesh: &Mesh,
    key: &str,
    request: Option<GenerateRequest>,
) -> Result<Response<CountTokensResponse>, Status> {
    let mut grpc = inference(mesh.grpc()).await;
    within("CountTokens", grpc.count_tokens(keyed(key, CountTokensRequest { request }))).await
}

async fn count(mesh: &Mesh, request: GenerateRequest) -> Result<Response<CountTokensResponse>, Status> {
    count_as(mesh, mesh.key(), Some(request)).await
}

/// The number, and whether it is an estimate.
fn told(answer: Result<Response<CountTokensResponse>, Status>) -> (i64, bool) {
    let answer = answer.unwrap();
    let said = answer.metadata().get("x-penstock-usage").map(|said| said.to_str().unwrap() == "estimated");
    let answer = answer.into_inner();
    assert_eq!(said.unwrap_or(false), answer.estimated);
    (answer.input_tokens, answer.estimated)
}

fn counting(tokens: u64) -> Script {
    Script { usage: (tokens, 0), ..Script::default() }
}

both! {
    async fn every_engine_counts_itself_and_who_cannot_is_not_asked(topology: Topology) {
        let kinds = ["vllm", "llama-cpp", "anthropic", "openai", "ollama"];
        let mut engines = Vec::new();
        let mut config = String::new();
        for (kind, tokens) in kinds.into_iter().zip(101..) {
            let engine = Engine::playing(counting(tokens)).await;
            let endpoint = if kind == "ollama" { engine.url() } else { engine.v1() };
            config += &(on(kind, &format!("{kind}-1"), &endpoint) + &model(kind, &[&format!("{kind}-1")], ""));
            engines.push((kind, engine, tokens as i64));
        }
        config += "[[deployments]]\nid = \"sim\"\nengine = \"simulated\"\ntokens_per_second = 100000\n";
        config += &model("simulated", &["sim"], "");
        let mesh = Mesh::start(topology, &config).await;
        let mut estimates = Vec::new();
        for (kind, engine, tokens) in &engines {
            let answer = count(&mesh, chat(kind)).await;
            assert_eq!(answer.as_ref().unwrap().metadata().get("x-penstock-model").unwrap(), kind);
            let (said, estimated) = told(answer);
            let paths: Vec<_> = engine.calls().iter().map(|call| call.path.clone()).collect();
            let path = match *kind {
                "vllm" => "/tokenize",
                "llama-cpp" => "/v1/chat/completions/input_tokens",
                "anthropic" => "/v1/messages/count_tokens",
                _ => {
                    assert!(estimated && paths.is_empty(), "{kind}: {paths:?}");
                    estimates.push(said);
                    continue;
                }
            };
            assert_eq!((said, estimated, paths), (*tokens, false, vec![path.to_owned()]), "{kind}");
            let call = engine.call(0).await;
            assert_eq!((&call.json()["model"], call.json()["messages"].as_array().unwrap().len()), (&json!("engine-model"), 1));
            let key = if *kind == "anthropic" { call.header("x-api-key") } else { call.header("authorization") };
            assert!(key.is_some_and(|key| key.ends_with(penstock_tests::ENGINE_KEY)), "{kind}");
        }
        // The same that is put in where an engine gives no usage.
        let silent = Script::steps([Step::Text("hi".into()), Step::Finish("stop"), Step::Done]);
        engines[3].1.next(Script { usage: (0, 0), ..silent });
        let usage = mesh.client().chat(&client::chat("openai")).await.json()["usage"]["prompt_tokens"].clone();
        assert_eq!(estimates, [usage.as_i64().unwrap(); 2]);
        let usage = mesh.client().chat(&client::chat("simulated")).await.json()["usage"]["prompt_tokens"].clone();
        assert_eq!(told(count(&mesh, chat("simulated")).await), (usage.as_i64().unwrap(), false));
    }
}

both! {
    /// The words of one API reach the engine of that API, which counts them, too, and no other engine.
    async fn what_only_some_engines_know_is_counted_where_it_is_answered(topology: Topology) {
        let (own, other) = (Engine::playing(counting(11)).await, Engine::playing(counting(22)).await);
        let config = [
            on("anthropic", "one", &own.v1()),
            on("vllm", "two", &other.v1()),
            model("own", &["one"], ""),
            model("other", &["two"], ""),
        ];
        let mesh = Mesh::start(topology, &config.concat()).await;
        let (thinking, mark) = (json!({"type": "enabled", "budget_tokens": 3000}), json!({"type": "ephemeral"}));
        for (name, engine, tokens) in [("own", &own, 11), ("other", &other, 22)] {
            let body = json!({"model": name, "max_tokens": 4096, "thinking": thinking, "messages": [
                {"role": "user", "content": [{"type": "text", "text": "hi", "cache_control": mark}]},
            ]});
            let counted = mesh.client().post("/v1/messages/count_tokens", body.to_string()).await;
            assert_eq!(counted.json(), json!({"input_tokens": tokens}), "{name}");
            let asked = engine.call(0).await.json();
            let content = &asked["messages"][0]["content"][0];
            let expected = (name == "own").then_some((&thinking, &mark));
            assert_eq!(asked.get("thinking").zip(content.get("cache_control")), expected, "{asked}");
        }
    }
}

both! {
    async fn another_mesh_is_asked_and_says_itself_whether_it_estimates(topology: Topology) {
        let (engine, other) = (Engine::playing(counting(55)).await, Engine::start().await);
        let edge = [
            on("vllm", "own", &engine.v1()),
            deployment("none", &other.v1()),
            model("counts", &["own"], ""),
            model("estimates", &["none"], ""),
        ];
        let edge = Mesh::start(Topology::Standalone, &edge.concat()).await;
        let config: String = ["counts", "estimates"]
            .map(|name| {
                let one = on("penstock", &format!("at-{name}"), &format!("http://{}", edge.grpc()));
                let one = one.replace("engine-model", name).replace("ENGINE_KEY", "EDGE_KEY");
                one + &model(name, &[&format!("at-{name}")], "")
            })
            .concat();
        let mesh = Plan::new(topology, &config).env("EDGE_KEY", ADMIN_KEY).start().await;
        assert_eq!(told(count(&mesh, chat("counts")).await), (55, false));
        assert_eq!(engine.call(0).await.json()["model"], "engine-model");
        let (tokens, estimated) = told(count(&mesh, chat("estimates")).await);
        assert!(tokens > 0 && estimated);
        assert_eq!((engine.calls().len(), other.calls().len()), (1, 0));
    }
}

both! {
    async fn what_is_wrong_is_named_and_what_bounds_an_answer_is_not_looked_at(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        let bounded = GenerateRequest {
            temperature: Some(9.0),
            max_tokens: Some(-1),
            n: Some(0),
            top_logprobs: Some(99),
            stream: true,
            ..chat("test-alias")
        };
        assert_eq!(told(count(&mesh, bounded).await), told(count(&mesh, chat("test-model")).await));
        for (request, field) in [
            (None, "request"),
            (Some(GenerateRequest { input: None, ..chat("test-model") }), "messages"),
            (Some(GenerateRequest { tool_choice_json: Some("{".into()), ..chat("test-model") }), "tool_choice"),
        ] {
            let refused = count_as(&mesh, mesh.key(), request).await.unwrap_err();
            assert_eq!(reason(&refused), "INVALID_REQUEST");
            let details = refused.get_error_details();
            assert_eq!(details.bad_request().unwrap().field_violations[0].field, field);
        }
        let refused = |answer: Result<_, Status>| reason(&answer.map(drop).unwrap_err());
        assert_eq!(refused(count(&mesh, chat("nobody")).await), "MODEL_NOT_FOUND");
        assert_eq!(refused(count_as(&mesh, "wrong", Some(chat("test-model"))).await), "INVALID_API_KEY");
        let narrow = CreateRequest {
            name: "narrow".into(),
            allowed_models: vec!["something-else".into()],
            ..CreateRequest::default()
        };
        let narrow = create_key(mesh.address(Service::Auth), mesh.key(), narrow).await.secret;
        assert_eq!(refused(count_as(&mesh, &narrow, Some(chat("test-model"))).await), "MODEL_NOT_ALLOWED");
        assert_eq!(engine.calls().len(), 0);
    }
}

both! {
    async fn a_count_takes_a_request_and_no_tokens(topology: Topology) {
        let engine = Engine::playing(counting(9000)).await;
        let limit = "[[limits]]\napplies_to = \"key\"\nrequests = { per = \"1h\", limit = 2 }\ntokens = { per = \"1h\", limit = 100 }\n";
        let mesh = Mesh::start(topology, &[limit, &on("vllm", "main", &engine.v1()), &model("test-model", &["main"], "")].concat()).await;
        let mut large = chat("test-model");
        if let Some(Input::Chat(chat)) = &mut large.input {
            chat.messages[0].content = Some(Content::Text("word ".repeat(10_000)));
        }
        for left in ["1", "0"] {
            let answer = count(&mesh, large.clone()).await;
            let limits = answer.as_ref().unwrap().metadata().clone();
            assert_eq!(told(answer), (9000, false));
            assert_eq!(limits.get("x-ratelimit-remaining-requests").unwrap(), left);
            assert_eq!(limits.get("x-ratelimit-remaining-tokens").unwrap(), "100");
        }
        assert_eq!(reason(&count(&mesh, large).await.unwrap_err()), "RATE_LIMIT_EXCEEDED");
        assert_eq!(engine.calls().len(), 2);
        let lines = until("the access log", async || {
            let lines = mesh.log(Service::Router);
            let lines: Vec<_> = lines.into_iter().filter(|line| line["message"] == "answered" && line["outcome"] == "OK").collect();
            (lines.len() == 2).then_some(lines)
        })
        .await;
        for line in lines {
            assert_eq!((&line["tokens"], &line["deployment"], &line["cache"]), (&json!(0), &json!("main"), &json!("bypass")), "{line}");
        }
    }
}

both! {
    /// C6, D7: an engine without the path is none that fails, nor is one whose tokenizer talks nonsense.
    async fn who_cannot_count_after_all_is_asked_once_and_then_it_is_estimated(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::start(topology, &[SOON, &on("llama-cpp", "main", &engine.v1()), &model("test-model", &["main"], "")].concat()).await;
        let said = |json: &str| Script::steps([Step::Event(json.to_owned())]);
        let scripts = [
            Script::status_with(404, &[], r#"{"error":{"code":404,"message":"File Not Found","type":"not_found_error"}}"#),
            Script::status_with(405, &[], r#"{"detail":"Method Not Allowed"}"#),
            Script::status(501),
            Script::html(),
            said("{}"),
            said(r#"{"input_tokens":-3}"#),
            said(r#"{"error":{"message":"no"}}"#),
        ];
        let calls = scripts.len();
        for script in scripts {
            let name = format!("{script:?}");
            engine.next(script);
            let (tokens, estimated) = told(count(&mesh, chat("test-model")).await);
            assert!(tokens > 5 && estimated, "{tokens} {name}");
        }
        assert_eq!(engine.calls().len(), calls);
        assert_eq!(mesh.client().chat(&client::chat("test-model")).await.text(), "Hello, world!");
    }
}

both! {
    async fn failures_are_told_by_the_table_and_another_deployment_is_asked(topology: Topology) {
        let (first, second, third) = (Engine::start().await, Engine::playing(counting(77)).await, Engine::start().await);
        let config = [
            SOON.replace("[router]\nretries = 0\n", ""),
            on("vllm", "first", &first.v1()),
            on("vllm", "second", &second.v1()),
            deployment("third", &third.v1()),
            model("alone", &["first"], ""),
            "[[models]]\nname = \"both\"\ndeployments = [\"first\", { id = \"second\", priority = 2 }]\n".into(),
            "[[models]]\nname = \"mixed\"\ndeployments = [{ id = \"first\", priority = 2 }, \"third\"]\n".into(),
        ];
        let mesh = Mesh::start(topology, &config.concat()).await;
        let missing = r#"{"error":{"message":"The model `m` does not exist.","code":404}}"#;
        for (script, expected) in [
            (Script::status(500), "ENGINE_FAILED"),
            (Script::status(503), "ENGINE_OVERLOADED"),
            (Script::status(401), "ENGINE_CREDENTIALS"),
            (Script::status_with(404, &[], missing), "ENGINE_MODEL_MISSING"),
            (Script::default().with_head(Head::Close), "ENGINE_RESET"),
            (Script::steps([Step::Cut]), "ENGINE_CUT"),
        ] {
            first.always(script);
            let failed = count(&mesh, chat("alone")).await.unwrap_err();
            assert_eq!(reason(&failed), expected);
            assert!(!format!("{failed:?}").contains(penstock_tests::ENGINE_CANARY));
            let answer = count(&mesh, chat("both")).await;
            assert_eq!(answer.as_ref().unwrap().metadata().get("x-penstock-fallbacks").unwrap(), "1", "{expected}");
            assert_eq!(told(answer), (77, false), "{expected}");
            // The one that counts is asked first, though the other one is preferred for answers.
            let before = first.calls().len();
            let (tokens, estimated) = told(count(&mesh, chat("mixed")).await);
            assert!(tokens > 0 && estimated && first.calls().len() > before, "{expected}");
        }
        assert_eq!(third.calls().len(), 0);
        first.always(Script::status(400));
        assert_eq!(reason(&count(&mesh, chat("alone")).await.unwrap_err()), "ENGINE_REJECTED");
        // D7: that its tokenizer fails does not keep it from answering.
        first.always(Script::default());
        assert_eq!(mesh.client().chat(&client::chat("alone")).await.text(), "Hello, world!");
    }
}

both! {
    /// D7: a tokenizer that works is no proof that the model does.
    async fn counts_that_go_well_do_not_hide_that_answers_fail(topology: Topology) {
        let engine = Engine::start().await;
        engine.answering(|body| if body.get("stream").is_some() { Script::status(500) } else { counting(7) });
        let config = [SOON, &on("vllm", "main", &engine.v1()), &model("test-model", &["main"], "")].concat();
        let mesh = Mesh::start(topology, &config).await;
        for _ in 0..4 {
            assert_eq!(told(count(&mesh, chat("test-model")).await), (7, false));
        }
        for _ in 0..2 {
            mesh.client().chat(&client::chat("test-model")).await.problem(502, "engine_failed");
        }
        mesh.client().chat(&client::chat("test-model")).await.problem(503, "circuit_open");
        let calls = engine.calls().len();
        let refused = count(&mesh, chat("test-model")).await.unwrap_err();
        assert_eq!(reason(&refused), "CIRCUIT_OPEN");
        assert_eq!(engine.calls().len(), calls, "who is left alone is left alone");
    }
}

both! {
    async fn an_estimate_needs_no_engine_and_a_count_says_that_there_is_none(topology: Topology) {
        let nobody = Refused::new();
        let config = [
            SOON,
            &deployment("none", &nobody.v1()),
            &on("vllm", "own", &nobody.v1()),
            &model("estimates", &["none"], ""),
            &model("counts", &["own"], ""),
        ];
        let mesh = Mesh::start(topology, &config.concat()).await;
        until("the breaker to open", async || {
            let answer = mesh.client().chat(&client::chat("estimates")).await;
            (answer.json()["error"]["code"] == "circuit_open").then_some(())
        })
        .await;
        let (tokens, estimated) = told(count(&mesh, chat("estimates")).await);
        assert!(tokens > 0 && estimated);
        // Its breaker opens for that, too: nobody is there.
        until("the count to find the breaker open", async || {
            let failed = reason(&count(&mesh, chat("counts")).await.unwrap_err());
            assert!(["ENGINE_UNREACHABLE", "CIRCUIT_OPEN"].contains(&failed.as_str()), "{failed}");
            (failed == "CIRCUIT_OPEN").then_some(())
        })
        .await;
    }
}

both! {
    async fn auto_counts_for_the_model_that_would_answer(topology: Topology) {
        let (simple, complex) = (Engine::playing(counting(11)).await, Engine::playing(counting(22)).await);
        let config = [
            "[auto]\nsimple = \"small\"\nmedium = \"small\"\ncomplex = \"large\"\n",
            &on("vllm", "one", &simple.v1()),
            &on("vllm", "two", &complex.v1()),
            &model("small", &["one"], ""),
            &model("large", &["two"], ""),
        ];
        let mesh = Mesh::start(topology, &config.concat()).await;
        let answer = count(&mesh, chat("auto")).await;
        assert_eq!(answer.as_ref().unwrap().metadata().get("x-penstock-model").unwrap(), "small");
        assert_eq!(told(answer), (11, false));
        let mut long = chat("auto");
        if let Some(Input::Chat(chat)) = &mut long.input {
            chat.messages[0].content = Some(Content::Text("word ".repeat(100_000)));
        }
        assert_eq!(told(count(&mesh, long).await), (22, false));
        assert_eq!((simple.calls().len(), complex.calls().len()), (1, 1));
    }
}

both! {
    /// C1.
    async fn a_caller_that_leaves_ends_the_count(topology: Topology) {
        let engine = Engine::playing(Script::default().after(Step::Stall)).await;
        let config = [on("vllm", "main", &engine.v1()), model("test-model", &["main"], "")].concat();
        let mesh = Mesh::start(topology, &config).await;
        let asked = tokio::spawn({
            let request = keyed(mesh.key(), CountTokensRequest { request: Some(chat("test-model")) });
            let mut grpc = inference(mesh.grpc()).await;
            async move { grpc.count_tokens(request).await }
        });
        let call = engine.call(0).await;
        asked.abort();
        assert_eq!(call.ended().await, End::ClientGone);
        assert_eq!(engine.calls().len(), 1);
    }
}
