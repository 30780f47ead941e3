//! Where a request would go and why, what was decided for one that was put, and who may know: over REST, gRPC and the
//! command line. Nothing of it asks an engine or takes anything from a limit.

use http::Method;
use penstock_proto::{
    auth::v1::CreateRequest,
    router::v1::{
        ExplainRequest, GetDecisionRequest, ReloadRequest, explain_request::Request as Asked,
        routing_client::RoutingClient,
    },
};
use penstock_tests::{
    Client, Engine, Mesh, PROMPT_CANARY, Script, Service, Topology, both,
    bounded::until,
    client::{Answer, chat, streamed, with},
    engine::Refused,
    grpc::{self, channel, create_key, keyed, reason},
    mesh::{self, deployment, model},
};
use serde_json::{Value, json};
use tonic::Code;

/// Two deployments of `test-model` (alias `test-alias`), the second one only if the first fails.
fn two(first: &str, second: &str, more: &str) -> String {
    let models = "[[models]]\nname = \"test-model\"\naliases = [\"test-alias\"]\n\
                  deployments = [\"first\", { id = \"second\", priority = 2 }]\n";
    [&deployment("first", first), more, &deployment("second", second), more, models].concat()
}

async fn explain(client: &Client, request: &Value) -> Value {
    let answer = client.post("/admin/v1/explain", json!({"request": request}).to_string()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("cache-control"), Some("private, no-store"));
    assert!(!String::from_utf8_lossy(&answer.body).contains(PROMPT_CANARY), "{answer:?}");
    answer.json()
}

fn id(answer: &Answer) -> String {
    let id = answer.header("x-penstock-decision").unwrap_or_else(|| panic!("no decision: {answer:?}"));
    assert!(id.starts_with("dec-") && id.len() == 20, "{id}");
    id.to_owned()
}

/// The decision of an answer, once its end is noted.
async fn decision(client: &Client, answer: &Answer) -> Value {
    let id = id(answer);
    until("the end of the decision", async || {
        let found = client.get(&format!("/admin/v1/decisions/{id}")).await;
        assert_eq!(found.status, 200, "{found:?}");
        let found = found.json();
        assert_eq!(found["id"], id.as_str());
        found["outcome"].is_string().then_some(found)
    })
    .await
}

fn of_each(list: &Value, member: &str) -> Value {
    list.as_array().unwrap().iter().map(|one| one[member].clone()).collect()
}

fn with_tools(request: Value) -> Value {
    let tool = json!({"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}});
    with(request, json!({"tools": [tool]}))
}

both! {
    async fn what_is_explained_is_what_then_happens(topology: Topology) {
        let (first, second) = (Engine::start().await, Engine::start().await);
        let mesh = Mesh::start(topology, &two(&first.v1(), &second.v1(), "")).await;
        let client = mesh.client();
        let told = explain(&client, &chat("test-alias")).await;
        let made = &told["decision"];
        assert_eq!((&made["asked"], &made["model"]), (&json!("test-alias"), &json!("test-model")));
        assert_eq!((&made["match"], &made["strategy"]), (&json!("alias"), &json!("weighted")));
        assert_eq!((&made["id"], &made["outcome"], &made["attempts"]), (&Value::Null, &Value::Null, &json!([])));
        assert_eq!(of_each(&made["candidates"], "deployment"), json!(["first", "second"]));
        assert_eq!(of_each(&made["candidates"], "place"), json!([1, 2]));
        assert!(made["prompt_tokens"].as_u64().unwrap() > 0 && made["completion_tokens"] == 256, "{made}");
        assert_eq!(first.calls().len() + second.calls().len(), 0, "no engine is asked for an explanation");

        let answer = client.chat(&chat("test-alias")).await;
        assert_eq!(answer.text(), "Hello, world!");
        assert_eq!((first.calls().len(), second.calls().len()), (1, 0));
        let made = decision(&client, &answer).await;
        assert_eq!((&made["outcome"], &made["model"]), (&json!("OK"), &json!("test-model")));
        assert_eq!(made["request_id"], answer.header("x-request-id").unwrap());
        assert_eq!(of_each(&made["attempts"], "deployment"), json!(["first"]));
        assert_eq!(of_each(&made["candidates"], "deployment"), json!(["first", "second"]));
        assert!(made["attempts"][0]["took_ms"].is_number(), "{made}");
    }
}

both! {
    async fn a_failover_is_two_attempts_with_their_reasons(topology: Topology) {
        let (first, second) = (Engine::playing(Script::status(401)).await, Engine::start().await);
        let mesh = Mesh::start(topology, &two(&first.v1(), &second.v1(), "")).await;
        let client = mesh.client();
        let answer = client.chat(&chat("test-model")).await;
        assert_eq!(answer.text(), "Hello, world!");
        let made = decision(&client, &answer).await;
        assert_eq!(of_each(&made["attempts"], "deployment"), json!(["first", "second"]));
        assert_eq!(of_each(&made["attempts"], "outcome"), json!(["ENGINE_CREDENTIALS", "OK"]));
        assert_eq!(made["outcome"], "OK");
    }
}

both! {
    async fn what_cannot_be_asked_has_no_place_and_a_reason(topology: Topology) {
        let (first, second) = (Engine::start().await, Engine::start().await);
        let no_tools = "capabilities = { tools = false }\n";
        let config = [
            two(&first.v1(), &second.v1(), no_tools), deployment("able", &second.v1()),
            "[[models]]\nname = \"mixed\"\ndeployments = [\"first\", { id = \"able\", priority = 2 }]\n".to_owned(),
        ].concat();
        let mesh = Mesh::start(topology, &config).await;
        let client = mesh.client();
        let made = explain(&client, &with_tools(chat("mixed"))).await["decision"].clone();
        assert_eq!(of_each(&made["candidates"], "deployment"), json!(["able", "first"]));
        assert_eq!(of_each(&made["candidates"], "place"), json!([1, null]));
        assert_eq!(made["candidates"][1]["vetoes"][0]["code"], "LACKS");
        assert_eq!((&made["needs"], &made["outcome"]), (&json!(["chat", "tools"]), &Value::Null));

        let made = explain(&client, &with_tools(chat("test-model"))).await["decision"].clone();
        assert_eq!((&made["outcome"], of_each(&made["candidates"], "place")), (&json!("UNSUPPORTED"), json!([null, null])));
        let answer = client.chat(&with_tools(chat("test-model"))).await;
        let problem = answer.problem(422, "unsupported_parameter");
        assert_eq!(problem["decision_id"], id(&answer));
        let made = decision(&client, &answer).await;
        assert_eq!((&made["outcome"], &made["attempts"]), (&json!("UNSUPPORTED"), &json!([])));
        assert_eq!(first.calls().len() + second.calls().len(), 0);
    }
}

both! {
    /// What a caller says about the way of a request reaches the router, here as with a real one.
    async fn ceilings_tags_and_contexts_are_vetoes(topology: Topology) {
        let (first, second) = (Engine::start().await, Engine::start().await);
        let config = two(&first.v1(), &second.v1(), "").replacen("[[deployments]]", "[[deployments]]\ncontext_tokens = 100", 1);
        let auto = "[auto]\nsimple = \"test-model\"\nmedium = \"test-model\"\ncomplex = \"test-model\"\n";
        let mesh = Mesh::start(topology, &format!("{auto}{config}")).await;
        for (header, value, code) in [("x-penstock-tags", "eu", "TAG"), ("x-penstock-max-cost", "0.01", "COST")] {
            let client = mesh.client().with_header(header, value);
            let made = explain(&client, &chat("test-model")).await["decision"].clone();
            assert_eq!((&made["outcome"], of_each(&made["candidates"], "place")), (&json!("UNSUPPORTED"), json!([null, null])));
            for candidate in made["candidates"].as_array().unwrap() {
                assert_eq!(candidate["vetoes"][0]["code"], code, "{candidate}");
            }
            client.chat(&chat("test-model")).await.problem(422, "unsupported_parameter");
        }
        let client = mesh.client().with_header("x-penstock-max-latency", "soon");
        let body = json!({"request": chat("test-model")}).to_string();
        let wrong = client.post("/admin/v1/explain", body).await.problem(422, "invalid_value");
        assert_eq!(wrong["errors"][0]["field"], "x-penstock-max-latency");
        client.chat(&chat("test-model")).await.problem(422, "invalid_value");

        let long = json!({"model": "auto", "messages": [{"role": "user", "content": "long ".repeat(1000)}]});
        let made = explain(&mesh.client(), &long).await["decision"].clone();
        assert_eq!((&made["match"], &made["model"]), (&json!("auto"), &json!("test-model")));
        assert!(made["classification"]["class"].is_string(), "{made}");
        assert_eq!(of_each(&made["candidates"], "deployment"), json!(["second", "first"]));
        assert_eq!(made["candidates"][1]["vetoes"][0]["code"], "CONTEXT");
        assert_eq!(first.calls().len() + second.calls().len(), 0);
        mesh.client().chat(&long).await.text();
        assert_eq!((first.calls().len(), second.calls().len()), (0, 1));
    }
}

both! {
    /// What only looks takes nothing.
    async fn limits_are_shown_and_not_taken_from(topology: Topology) {
        let engine = Engine::start().await;
        let limit = "[[limits]]\napplies_to = \"key\"\nrequests = { per = \"1h\", limit = 2 }\n";
        let mesh = Mesh::over(topology, &engine, limit).await;
        let client = mesh.client();
        for _ in 0..5 {
            let told = explain(&client, &chat("test-model")).await;
            let [limit] = told["limits"].as_array().unwrap().as_slice() else { panic!("{told}") };
            assert_eq!((&limit["name"], &limit["limit"], &limit["remaining"]), (&json!("key.requests"), &json!(2), &json!(2)));
            assert_eq!((&limit["unit"], &limit["per_ms"]), (&json!("requests"), &json!(3_600_000.0)));
        }
        assert_eq!(client.chat(&chat("test-model")).await.header("x-ratelimit-remaining-requests"), Some("1"));
        client.chat(&chat("test-model")).await.text();
        let refused = client.chat(&chat("test-model")).await;
        assert_eq!(refused.problem(429, "rate_limit_exceeded")["decision_id"], id(&refused));
        let made = decision(&client, &refused).await;
        assert_eq!((&made["outcome"], &made["attempts"]), (&json!("RATE_LIMIT_EXCEEDED"), &json!([])));
        assert_eq!(engine.calls().len(), 2);
    }
}

both! {
    async fn every_answer_names_its_decision(topology: Topology) {
        let (engine, refused) = (Engine::start().await, Refused::new());
        let config = [
            deployment("main", &engine.v1()), model("test-model", &["main"], ""),
            deployment("lost", &refused.v1()), model("lost-model", &["lost"], ""),
        ];
        let mesh = Mesh::start(topology, &config.concat()).await;
        let client = mesh.client();
        let mut ids = Vec::new();
        let once = with(chat("test-model"), json!({"temperature": 0}));
        for (answer, outcome, attempts) in [
            (client.chat(&chat("test-model")).await, "OK", 1),
            (client.chat(&streamed(chat("test-model"))).await, "OK", 1),
            (client.post("/v1/completions", r#"{"model":"test-model","prompt":"x"}"#).await, "OK", 1),
            (client.post("/v1/embeddings", r#"{"model":"test-model","input":"x"}"#).await, "OK", 1),
            (client.post("/v1/moderations", r#"{"model":"test-model","input":"x"}"#).await, "OK", 1),
            (client.chat(&once).await, "OK", 1),
        ] {
            assert_eq!(answer.status, 200, "{answer:?}");
            let made = decision(&client, &answer).await;
            assert_eq!((&made["outcome"], made["attempts"].as_array().unwrap().len()), (&json!(outcome), attempts), "{made}");
            ids.push(id(&answer));
        }
        // From the cache, without an attempt.
        let known = until("the answer to be known", async || {
            let answer = client.chat(&once).await;
            (answer.header("x-penstock-cache") == Some("hit")).then_some(answer)
        }).await;
        let made = decision(&client, &known).await;
        assert_eq!((&made["outcome"], &made["attempts"]), (&json!("OK"), &json!([])));
        ids.push(id(&known));
        let lost = client.chat(&chat("lost-model")).await;
        assert_eq!(lost.status, 503, "{lost:?}");
        assert_eq!(lost.json()["decision_id"], id(&lost));
        let made = decision(&client, &lost).await;
        // Which of the two depends on what the checks have found by now.
        assert!(["ENGINE_UNREACHABLE", "CIRCUIT_OPEN"].contains(&made["outcome"].as_str().unwrap()), "{made}");
        ids.push(id(&lost));
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 8, "each has one of its own");
        // By gRPC in the metadata, of an error, too.
        let mut grpc = grpc::inference(mesh.grpc()).await;
        let answer = grpc.generate(keyed(mesh.key(), grpc::chat("test-model"))).await.unwrap();
        assert!(answer.metadata().contains_key("x-penstock-decision"));
        let status = grpc.generate(keyed(mesh.key(), grpc::chat("lost-model"))).await.unwrap_err();
        assert!(status.metadata().contains_key("x-penstock-decision"), "{status:?}");
    }
}

both! {
    /// B9: whoever may ask models may not look into what others asked.
    async fn only_an_administrator_may_ask(topology: Topology) {
        let engine = Engine::start().await;
        let mut mesh = Mesh::over(topology, &engine, "").await;
        let made = create_key(mesh.address(Service::Auth), mesh.key(), CreateRequest {
            name: "user".into(), ..CreateRequest::default()
        }).await;
        mesh.keep_secret(&made.secret);
        let user = mesh.anonymous().with_key(&made.secret);
        let answer = user.chat(&chat("test-model")).await;
        let (own, asked) = (format!("/admin/v1/decisions/{}", id(&answer)), json!({"request": chat("test-model")}).to_string());
        let calls = [
            (Method::POST, "/admin/v1/explain", asked.as_str()),
            (Method::GET, own.as_str(), ""),
            (Method::GET, "/admin/v1/decisions/dec-0", ""),
            (Method::POST, "/admin/v1/reload", ""),
        ];
        for (method, path, body) in calls {
            let send = async |client: Client| client.request(method.clone(), path, body.to_owned()).await;
            send(user.clone()).await.problem(403, "permission_denied");
            send(mesh.anonymous()).await.problem(401, "invalid_api_key");
            send(mesh.anonymous().with_key("wrong")).await.problem(401, "invalid_api_key");
        }
        let mut routing = RoutingClient::new(channel(mesh.grpc()).await);
        let explain = ExplainRequest { request: Some(Asked::Generate(grpc::chat("test-model"))) };
        let refused = [
            routing.explain(keyed(&made.secret, explain.clone())).await.map(drop),
            routing.get_decision(keyed(&made.secret, GetDecisionRequest { id: id(&answer) })).await.map(drop),
            routing.reload(keyed(&made.secret, ReloadRequest {})).await.map(drop),
        ];
        for status in refused.map(Result::unwrap_err) {
            assert_eq!((status.code(), reason(&status).as_str()), (Code::PermissionDenied, "PERMISSION_DENIED"));
        }
        assert_eq!(routing.explain(explain.clone()).await.unwrap_err().code(), Code::Unauthenticated);
        assert_eq!(engine.calls().len(), 1, "but for the user's own request");

        let found = routing.get_decision(keyed(mesh.key(), GetDecisionRequest { id: id(&answer) })).await.unwrap();
        assert_eq!(found.into_inner().decision.unwrap().model, "test-model");
        routing.explain(keyed(mesh.key(), explain)).await.unwrap();
        let empty = routing.explain(keyed(mesh.key(), ExplainRequest { request: None })).await.unwrap_err();
        assert_eq!(reason(&empty), "INVALID_REQUEST");
        mesh.client().get("/admin/v1/decisions/dec-0").await.problem(404, "not_found");
    }
}

both! {
    async fn what_a_real_request_would_be_refused_for_at_once_is_refused_here(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        let client = mesh.client();
        let post = async |body: Value| client.post("/admin/v1/explain", body.to_string()).await;
        post(json!({"request": chat("nobody")})).await.problem(404, "model_not_found");
        let wrong = post(json!({"request": with(chat("test-model"), json!({"temperature": 9}))})).await;
        assert_eq!(wrong.problem(422, "invalid_value")["errors"][0]["field"], "temperature");
        post(json!({"request": chat("test-model"), "more": 1})).await.problem(422, "invalid_value");
        post(json!({"endpoint": "/v1/embeddings", "request": {"model": "test-model", "input": "x"}})).await.json();
        client.post("/admin/v1/explain", "{").await.problem(400, "invalid_json");
        client.get("/admin/v1/explain").await.problem(405, "method_not_allowed");
        assert_eq!(engine.calls().len(), 0);
    }
}

/// Runs a command at the facade with the key of the tests.
async fn command(mesh: &Mesh, arguments: &[&str]) -> (i32, String, String) {
    let address = format!("http://{}", mesh.address(Service::Facade));
    let arguments = [arguments, &["--addr", &address]].concat();
    let (code, output, errors) = mesh::run(&arguments, &[("PENSTOCK_ADMIN_KEY", mesh.key())]).await;
    assert!(!format!("{output}{errors}").contains(mesh.key()), "{output}{errors}");
    (code, output, errors)
}

both! {
    async fn the_command_line_explains(topology: Topology) {
        let (first, second) = (Engine::start().await, Engine::start().await);
        let no_tools = "capabilities = { tools = false }\n";
        let mesh = Mesh::start(topology, &two(&first.v1(), &second.v1(), no_tools)).await;
        let (code, text, errors) = command(&mesh, &["explain", "--model", "test-alias", "--prompt", "hello"]).await;
        assert_eq!((code, errors.as_str()), (0, ""), "{text}");
        assert!(text.starts_with("test-alias → test-model "), "{text}");
        let place = |text: &str, of: &str| {
            let line = text.lines().find(|line| line.split_whitespace().nth(1) == Some(of));
            line.and_then(|line| line.split_whitespace().next()).map(str::to_owned)
        };
        assert_eq!((place(&text, "first").as_deref(), place(&text, "second").as_deref()), (Some("1"), Some("2")), "{text}");
        assert!(!text.contains('\u{1b}'), "not a terminal: {text}");
        let (code, text, _) = command(&mesh, &["explain", "--model", "test-model", "--json"]).await;
        let json: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((code, &json["decision"]["candidates"][0]["deployment"]), (0, &json!("first")));

        let file = mesh.folder().join("request.json");
        std::fs::write(&file, with_tools(chat("test-model")).to_string()).unwrap();
        let (code, text, errors) = command(&mesh, &["explain", file.to_str().unwrap()]).await;
        assert_eq!((code, errors.as_str()), (1, ""), "{text}");
        assert!(text.contains("it would be refused: UNSUPPORTED") && text.contains("LACKS: it is known to lack tools"), "{text}");
        assert_eq!((place(&text, "first").as_deref(), place(&text, "second").as_deref()), (Some("-"), Some("-")), "{text}");
        assert!(!text.contains(PROMPT_CANARY), "{text}");
        assert_eq!(first.calls().len() + second.calls().len(), 0);

        let answer = mesh.client().chat(&chat("test-model")).await;
        decision(&mesh.client(), &answer).await;
        let (code, text, errors) = command(&mesh, &["explain", "--decision", &id(&answer)]).await;
        assert_eq!((code, errors.as_str()), (0, ""), "{text}");
        assert!(text.contains("it was answered") && text.contains("the first"), "{text}");

        for (code, arguments, says) in [
            (1, &["explain", "--decision", "dec-0"][..], "no decision of this id"),
            (1, &["explain", "--model", "nobody"], "does not exist"),
            (2, &["explain"], "--model"),
            (2, &["explain", "/nowhere.json"], "cannot read"),
            (2, &["explain", "--nonsense"], "--nonsense"),
        ] {
            let (exit, output, errors) = command(&mesh, arguments).await;
            assert_eq!((exit, output.as_str()), (code, ""), "{arguments:?}: {errors}");
            assert!(errors.contains(says), "{arguments:?}: {errors}");
        }
        let at = |port: std::net::SocketAddr| format!("http://{port}");
        let (facade, metrics) = (at(mesh.address(Service::Facade)), at(mesh.metrics_address(Service::Facade)));
        let nobody = at(Refused::new().address());
        for (address, key, says) in [
            (&facade, "wrong key of the tests 41aa", "does not know the key"),
            (&nobody, mesh.key(), "is it running there?"),
            (&metrics, mesh.key(), "--addr"),
        ] {
            let arguments = ["explain", "--model", "test-model", "--addr", address];
            let (code, output, errors) = mesh::run(&arguments, &[("PENSTOCK_ADMIN_KEY", key)]).await;
            assert_eq!((code, output.as_str()), (3, ""), "{errors}");
            assert!(errors.contains(says) && !errors.contains(key), "{errors}");
        }
        let (code, _, errors) = mesh::run(&["explain", "--model", "test-model"], &[]).await;
        assert!(code == 2 && errors.contains("PENSTOCK_ADMIN_KEY"), "{code}: {errors}");
    }
}

both! {
    async fn the_command_line_reads_the_configuration_again(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        let (code, text, errors) = command(&mesh, &["reload"]).await;
        assert_eq!((code, text.as_str()), (0, "nothing has changed\n"), "{errors}");
        let file = mesh.folder().join("penstock.toml");
        let good = std::fs::read_to_string(&file).unwrap() + &model("more", &["main"], "");
        std::fs::write(&file, &good).unwrap();
        // Whether this or the look at the file was first.
        let (code, text, errors) = command(&mesh, &["reload", "--json"]).await;
        assert_eq!((code, errors.as_str()), (0, ""), "{text}");
        assert!(serde_json::from_str::<Value>(&text).unwrap()["changed"].is_boolean(), "{text}");
        until("the new model to be known", async || {
            (mesh.client().chat(&chat("more")).await.status == 200).then_some(())
        }).await;

        std::fs::write(&file, good + &model("wrong", &["nobody"], "surprise = 1")).unwrap();
        let (code, text, errors) = command(&mesh, &["reload"]).await;
        assert_eq!((code, text.as_str()), (2, ""), "{errors}");
        assert!(errors.contains("nobody") && errors.contains("surprise") && errors.contains("line "), "{errors}");
        let refused = mesh.client().post("/admin/v1/reload", "").await.problem(422, "invalid_value");
        assert!(refused["errors"].as_array().unwrap().len() >= 2, "{refused}");
        assert_eq!(mesh.client().chat(&chat("more")).await.status, 200, "what was in force stays");
    }
}
