//! What the gateway knows of engines without asking them to generate: whether they still have the model (D8),
//! what it can do, and that a request through many meshes comes to an end.

use penstock_proto::{
    adapter::v1::{ListRequest, deployments_client::DeploymentsClient},
    inference::v1::Capabilities,
    status::v1::{GetRequest, State, status_client::StatusClient},
};
use penstock_tests::{
    Engine, Mesh, Script, Service, Step, Topology, both,
    bounded::{until, within},
    client::{chat, with},
    engine::End,
    grpc::{channel, keyed},
    mesh::{ADMIN_KEY, Plan, model, one_model},
};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};

const OFTEN: &str = "[inference_adapter]\ndiscovery_interval = \"100ms\"\n";

/// State and detail of a deployment, as soon as it is `wanted`.
async fn becomes(mesh: &Mesh, deployment: &str, wanted: State) -> String {
    let mut status = StatusClient::new(channel(mesh.address(Service::InferenceAdapter)).await);
    let name = format!("deployment/{deployment}");
    until(&format!("{name} to be {wanted:?}"), async || {
        let report = within("Status.Get", status.get(keyed(mesh.key(), GetRequest {})))
            .await
            .unwrap()
            .into_inner()
            .report?;
        let found = report.components.into_iter().find(|component| component.name == name)?;
        (found.state() == wanted).then_some(found.detail)
    })
    .await
}

both! {
    /// D8: a model that the engine does not list any more is down until it is there again; nothing is generated.
    async fn a_deployment_whose_model_is_gone_is_down_until_it_is_back(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, OFTEN).await;
        becomes(&mesh, "main", State::Up).await;
        engine.serve_models(["another"]);
        let detail = becomes(&mesh, "main", State::Down).await;
        assert_eq!(detail, "The engine does not have the model");
        engine.serve_models(["another", "engine-model"]);
        becomes(&mesh, "main", State::Up).await;
        assert!(engine.calls().is_empty(), "a check generated something");
    }
}

both! {
    /// A list that says nothing is no proof: neither an empty one, nor none at all, nor one that is no list.
    async fn an_engine_with_a_useless_list_stays_up(topology: Topology) {
        let engine = Engine::start().await;
        engine.serve_models(["another"]);
        let mesh = Mesh::over(topology, &engine, OFTEN).await;
        let pages = [(200, json!({"data": []})), (200, json!("what?")), (404, json!({"error": "no such page"}))];
        for (status, body) in pages {
            engine.serve_page("/v1/models", 200, json!({"data": [{"id": "another"}]}));
            becomes(&mesh, "main", State::Down).await;
            engine.serve_page("/v1/models", status, body);
            becomes(&mesh, "main", State::Up).await;
        }
    }
}

both! {
    async fn llama_cpp_that_loads_is_degraded(topology: Topology) {
        let engine = Engine::start().await;
        let loading = json!({"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}});
        engine.serve_page("/health", 503, loading);
        let config = format!("{OFTEN}{}{}", of_kind("main", "llama-cpp", &engine.v1(), ""), model("test-model", &["main"], ""));
        let mesh = Mesh::start(topology, &config).await;
        assert_eq!(becomes(&mesh, "main", State::Degraded).await, "The engine is loading the model");
        engine.serve_page("/health", 200, json!({"status": "ok"}));
        becomes(&mesh, "main", State::Up).await;
    }
}

fn of_kind(id: &str, kind: &str, endpoint: &str, more: &str) -> String {
    format!(
        "[[deployments]]\nid = \"{id}\"\nengine = \"{kind}\"\nendpoint = \"{endpoint}\"\nmodel = \"engine-model\"\n{more}\n"
    )
}

/// Each engine says it in its own way; the file has the last word. In a mesh, where the adapter can be asked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_models_can_do_is_declared_found_or_implied() {
    let engine = Engine::start().await;
    engine.serve_page("/v1/models", 200, json!({"data": [{"id": "engine-model", "max_model_len": 4096}]}));
    engine.serve_page("/props", 200, json!({"default_generation_settings": {"n_ctx": 2048}, "modalities": {"vision": true, "audio": false}}));
    engine.serve_page(
        "/api/show",
        200,
        json!({"capabilities": ["completion", "tools"], "model_info": {"llama.context_length": 8192}}),
    );
    engine.serve_page("/v1/models/engine-model", 200, json!({"id": "engine-model", "max_input_tokens": 200_000, "capabilities": {"image_input": {"supported": true}}}));
    let declared = "context_tokens = 99\ncapabilities = { tools = false }";
    let config = [
        OFTEN.to_owned(),
        of_kind("a-vllm", "vllm", &engine.v1(), ""),
        of_kind("b-llama", "llama-cpp", &engine.v1(), ""),
        of_kind("c-ollama", "ollama", &engine.url(), ""),
        of_kind("d-anthropic", "anthropic", &engine.v1(), ""),
        of_kind("e-declared", "ollama", &engine.url(), declared),
    ]
    .concat();
    let mesh = Mesh::start(Topology::Mesh, &config).await;
    let mut adapter = DeploymentsClient::new(channel(mesh.address(Service::InferenceAdapter)).await);
    let said: Vec<Capabilities> = until("what the models can do", async || {
        let list = within("Deployments.List", adapter.list(ListRequest {})).await.unwrap().into_inner();
        let said: Option<Vec<_>> = list.deployments.into_iter().map(|one| one.capabilities).collect();
        said.filter(|said| said.iter().all(|one| one.context_tokens.is_some()))
    })
    .await;
    let contexts: Vec<_> = said.iter().filter_map(|one| one.context_tokens).collect();
    assert_eq!(contexts, [4096, 2048, 8192, 200_000, 99]);
    assert_eq!(
        (said[1].vision, said[1].audio, said[1].multiple_choices),
        (Some(true), Some(false), Some(false))
    );
    assert_eq!((said[2].tools, said[2].vision), (Some(true), Some(false)));
    assert_eq!(
        (said[3].vision, said[3].embeddings, said[3].logprobs),
        (Some(true), Some(false), Some(false))
    );
    assert_eq!(said[4].tools, Some(false), "the file has the last word");
    assert!(said.iter().all(|one| one.prefill == Some(true)), "each of these can go on from a prefill");
    assert!(engine.calls().is_empty(), "finding out generated something");
}

both! {
    /// Another mesh that lost the model, or that is gone, is seen without a request.
    async fn another_mesh_is_looked_at_like_any_engine(topology: Topology) {
        let engine = Engine::start().await;
        let mut edge = Mesh::over(Topology::Standalone, &engine, "").await;
        let penstock = |id: &str, name: &str| format!(
            "[[deployments]]\nid = \"{id}\"\nengine = \"penstock\"\nendpoint = \"http://{}\"\nmodel = \"{name}\"\napi_key_env = \"EDGE_KEY\"\n",
            edge.grpc(),
        );
        let config = [
            OFTEN.to_owned(),
            penstock("main", "test-model"),
            penstock("lost", "nothing-of-that-name"),
            model("test-model", &["main"], ""),
        ].concat();
        let mesh = Plan::new(topology, &config).env("EDGE_KEY", ADMIN_KEY).start().await;
        becomes(&mesh, "main", State::Up).await;
        assert_eq!(becomes(&mesh, "lost", State::Down).await, "The engine does not have the model");
        edge.kill(Service::Facade);
        becomes(&mesh, "main", State::Down).await;
        mesh.client().chat(&chat("test-model")).await.problem(503, "engine_unreachable");
    }
}

both! {
    /// The caller's time and name go along; what the other mesh keeps for its tenant is not for ours (B10).
    async fn a_call_of_another_mesh_is_the_callers(topology: Topology) {
        let engine = Engine::start().await;
        let edge = Mesh::over(Topology::Standalone, &engine, "").await;
        let config = format!(
            "[[deployments]]\nid = \"main\"\nengine = \"penstock\"\nendpoint = \"http://{}\"\nmodel = \"test-model\"\napi_key_env = \"EDGE_KEY\"\n{}",
            edge.grpc(), model("test-model", &["main"], ""),
        );
        let mesh = Plan::new(topology, &config).env("EDGE_KEY", ADMIN_KEY).start().await;
        let fixed = with(chat("test-model"), json!({"temperature": 0}));
        let caller = mesh.client().with_header("x-request-id", "who-asks-1").with_header("cache-control", "no-cache");
        for _ in 0..2 {
            caller.chat(&fixed).await.text();
        }
        assert_eq!(engine.calls().len(), 2, "the other mesh answered from its cache");
        assert_eq!(engine.call(0).await.header("x-request-id"), Some("who-asks-1"));
        engine.next(Script::default().after(Step::Stall));
        let hasty = mesh.client().with_header("x-request-timeout", "300ms");
        hasty.chat(&chat("test-model")).await.problem(504, "timeout");
        assert_eq!(engine.call(2).await.ended().await, End::ClientGone);
    }
}

both! {
    async fn a_mesh_that_is_its_own_engine_comes_to_an_end(topology: Topology) {
        // The mesh's address is known only when it runs: its engine is a port that leads back to it.
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let circle = format!(
            "[[deployments]]\nid = \"self\"\nengine = \"penstock\"\nendpoint = \"{endpoint}\"\nmodel = \"test-model\"\napi_key_env = \"OWN_KEY\"\n{}",
            model("test-model", &["self"], ""),
        );
        let mesh = Plan::new(topology, &circle).env("OWN_KEY", ADMIN_KEY).start().await;
        let router = mesh.grpc();
        let back = tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut far = TcpStream::connect(router).await?;
                    tokio::io::copy_bidirectional(&mut near, &mut far).await
                });
            }
        });
        mesh.client().chat(&chat("test-model")).await.problem(503, "model_unavailable");
        let metrics = mesh.metrics(Service::InferenceAdapter).await;
        let line = metrics.lines().find(|line| line.starts_with("penstock_engine_requests_total{") && line.contains("\"self\""));
        assert!(line.is_some_and(|line| line.ends_with(" 5")), "four meshes and the one that refuses: {line:?}");
        back.abort();
    }
}

both! {
    /// A7: `deny` of a deployment adds to what no engine gets, and nothing else.
    async fn an_operators_own_denials_hold(topology: Topology) {
        let engine = Engine::start().await;
        let config = one_model(&engine).replacen("engine = \"openai\"", "engine = \"openai\"\ndeny = [\"top_k\"]", 1);
        let mesh = Mesh::start(topology, &config).await;
        let body = with(chat("test-model"), json!({"top_k": 4}));
        let problem = mesh.client().chat(&body).await.problem(422, "invalid_value");
        assert_eq!(problem["errors"][0]["field"], "top_k");
        assert!(engine.calls().is_empty());
        mesh.client().chat(&with(chat("test-model"), json!({"min_p": 0.1}))).await.text();
    }
}
