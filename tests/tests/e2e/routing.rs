//! Which model a name means, and which of its deployments is asked: names with stars, `auto`, room for the prompt,
//! and what a caller says about the way.

use std::collections::HashSet;

use penstock_proto::metadata::{MAX_COST, MAX_LATENCY, SESSION, TAGS};
use penstock_tests::{
    Engine, Mesh, Topology, both,
    bounded::{until, within},
    client::{chat, with},
    grpc::{self, inference, keyed, reason},
    mesh::{deployment, model},
};
use serde_json::json;
use tonic_types::StatusExt as _;

/// A deployment that stands for every model of an engine.
fn every(id: &str, engine: &Engine) -> String {
    deployment(id, &engine.v1()).replace("model = \"engine-model\"", "model = \"*\"")
}

async fn ids(mesh: &Mesh) -> Vec<String> {
    let list = mesh.client().get("/v1/models").await.json();
    list["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap().to_owned()).collect()
}

both! {
    async fn a_name_is_found_by_case_by_alias_and_by_star(topology: Topology) {
        let (named, wild) = (Engine::start().await, Engine::start().await);
        wild.serve_models(["8b", "70b"]);
        let config = [
            "[inference_adapter]\ndiscovery_interval = \"100ms\"\n".to_owned(),
            deployment("named", &named.v1()),
            every("gpu", &wild),
            model("Big", &["named"], "aliases = [\"gpt-4*\"]"),
            model("llama/*", &["gpu/*"], ""),
        ];
        let mesh = Mesh::start(topology, &config.concat()).await;
        until("the models", async || ids(&mesh).await.contains(&"llama/70b".to_owned()).then_some(())).await;
        assert_eq!(ids(&mesh).await, ["70b", "8b", "Big", "llama/70b", "llama/8b"], "no name with a star");
        for (asked, means) in [("Big", "Big"), ("bIG", "Big"), ("gpt-4o-mini", "Big"), ("llama/8b", "llama/8b")] {
            let answer = mesh.client().chat(&chat(asked)).await;
            assert_eq!(answer.text(), "Hello, world!");
            assert_eq!(answer.header("x-penstock-model"), Some(means), "{asked}");
        }
        assert_eq!((named.calls().len(), wild.calls().len()), (3, 1));
        assert_eq!(wild.call(0).await.json()["model"], "8b", "the engine hears its own name");
        for unknown in ["llama/9b", "llama/*", "gpt-3"] {
            mesh.client().chat(&chat(unknown)).await.problem(404, "model_not_found");
        }
        assert_eq!((named.calls().len(), wild.calls().len()), (3, 1));
    }
}

both! {
    async fn auto_is_what_the_request_looks_like(topology: Topology) {
        let (small, large) = (Engine::start().await, Engine::start().await);
        let config = [
            deployment("s", &small.v1()),
            deployment("l", &large.v1()),
            model("small", &["s"], ""),
            model("large", &["l"], ""),
            "[auto]\nsimple = \"small\"\nmedium = \"large\"\ncomplex = \"large\"\n".to_owned(),
        ];
        let mesh = Mesh::start(topology, &config.concat()).await;
        assert!(ids(&mesh).await.contains(&"auto".to_owned()));
        assert_eq!(mesh.client().get("/v1/models/auto").await.json()["id"], "auto");
        let answer = mesh.client().chat(&chat("auto")).await;
        assert_eq!((answer.header("x-penstock-model"), small.calls().len()), (Some("small"), 1));
        let tool = json!([{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]);
        let answer = mesh.client().chat(&with(chat("dynamic"), json!({"tools": tool}))).await;
        assert_eq!((answer.header("x-penstock-model"), large.calls().len()), (Some("large"), 1));
        let vectors = json!({"model": "auto", "input": "x"}).to_string();
        mesh.client().post("/v1/embeddings", vectors).await.problem(404, "model_not_found");
        assert_eq!((small.calls().len(), large.calls().len()), (1, 1));
    }
}

both! {
    async fn a_prompt_that_is_too_long_goes_where_there_is_room_or_nowhere(topology: Topology) {
        let (narrow, wide) = (Engine::start().await, Engine::start().await);
        let config = [
            format!("{}context_tokens = 1000\n", deployment("narrow", &narrow.v1())),
            format!("{}context_tokens = 3000\n", deployment("wide", &wide.v1())),
            model("small", &["narrow"], "context_fallbacks = [\"large\"]"),
            model("large", &["wide"], ""),
        ];
        let mesh = Mesh::start(topology, &config.concat()).await;
        let said = |bytes: usize| {
            let messages = json!([{"role": "user", "content": "x".repeat(bytes)}]);
            with(chat("small"), json!({"messages": messages}))
        };
        assert_eq!(mesh.client().chat(&said(4000)).await.header("x-penstock-model"), Some("small"));
        assert_eq!(mesh.client().chat(&said(10_000)).await.header("x-penstock-model"), Some("large"));
        let problem = mesh.client().chat(&said(40_000)).await.problem(400, "context_length_exceeded");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains("5000") && detail.contains("3000"), "{detail}");
        assert_eq!((narrow.calls().len(), wide.calls().len()), (1, 1));
    }
}

both! {
    async fn a_session_stays_with_one_deployment(topology: Topology) {
        let (first, second) = (Engine::start().await, Engine::start().await);
        let config = [
            deployment("first", &first.v1()),
            deployment("second", &second.v1()),
            model("test-model", &["first", "second"], "strategy = \"affinity\""),
        ];
        let mesh = Mesh::start(topology, &config.concat()).await;
        let mut router = inference(mesh.grpc()).await;
        let mut homes = HashSet::new();
        for session in 0..16 {
            let before = (first.calls().len(), second.calls().len());
            for _ in 0..3 {
                let mut request = keyed(mesh.key(), grpc::chat("test-model"));
                request.metadata_mut().insert(SESSION, format!("session-{session}").parse().unwrap());
                let mut answer = within("Generate", router.generate(request)).await.unwrap().into_inner();
                while within("a message", answer.message()).await.unwrap().is_some() {}
            }
            let asked = (first.calls().len() - before.0, second.calls().len() - before.1);
            assert!(asked == (3, 0) || asked == (0, 3), "{session}: {asked:?}");
            homes.insert(asked);
        }
        assert_eq!(homes.len(), 2, "sessions are shared out");
    }
}

both! {
    async fn what_a_caller_says_about_the_way_is_heeded_or_refused_by_its_key(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        let mut router = inference(mesh.grpc()).await;
        for (key, value, expected) in [
            (MAX_COST, "cheap", "INVALID_REQUEST"),
            (MAX_LATENCY, "0", "INVALID_REQUEST"),
            (TAGS, "eu,,", "INVALID_REQUEST"),
            (TAGS, "eu", "UNSUPPORTED"),
            (MAX_COST, "0.01", "UNSUPPORTED"),
        ] {
            let mut request = keyed(mesh.key(), grpc::chat("test-model"));
            request.metadata_mut().insert(key, value.parse().unwrap());
            let refused = within("Generate", router.generate(request)).await.unwrap_err();
            assert_eq!(reason(&refused), expected, "{key}: {value}");
            let details = refused.get_error_details();
            let fields = &details.bad_request().unwrap().field_violations;
            assert_eq!(fields.iter().map(|field| field.field.as_str()).collect::<Vec<_>>(), [key]);
        }
        assert_eq!(engine.calls().len(), 0);
        let mut request = keyed(mesh.key(), grpc::chat("test-model"));
        request.metadata_mut().insert(MAX_LATENCY, "60000".parse().unwrap());
        assert!(within("Generate", router.generate(request)).await.is_ok());
    }
}
