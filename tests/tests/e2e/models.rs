//! `GET /v1/models` and `GET /v1/models/{id}`: ids with `/` and `:`, aliases, what a key may not see.

use penstock_proto::auth::v1::CreateRequest;
use penstock_tests::{
    Engine, Mesh, Topology, both,
    grpc::create_key,
    mesh::{deployment, model},
};
use serde_json::json;

fn config(engine: &Engine) -> String {
    [
        deployment("main", &engine.v1()),
        model("meta-llama/Llama-3.2:3b", &["main"], "aliases = [\"gpt-4o-mini\"]"),
        model("plain", &["main"], ""),
    ]
    .concat()
}

both! {
    async fn are_listed_and_found(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::start(topology, &config(&engine)).await;
        let list = mesh.client().get("/v1/models").await;
        assert_eq!(list.status, 200, "{list:?}");
        let list = list.json();
        assert_eq!(list["object"], "list");
        let ids: Vec<_> = list["data"].as_array().unwrap().iter().map(|m| m["id"].as_str().unwrap()).collect();
        assert!(ids.contains(&"meta-llama/Llama-3.2:3b") && ids.contains(&"plain"), "{ids:?}");
        for entry in list["data"].as_array().unwrap() {
            assert_eq!(entry["object"], "model");
            assert!(entry["created"].is_i64() && entry["owned_by"].is_string(), "{entry}");
        }
        let paths = ["meta-llama/Llama-3.2:3b", "meta-llama%2FLlama-3.2%3A3b", "plain"];
        for (path, id) in paths.iter().zip(["meta-llama/Llama-3.2:3b", "meta-llama/Llama-3.2:3b", "plain"]) {
            let found = mesh.client().get(&format!("/v1/models/{path}")).await;
            assert_eq!((found.status, &found.json()["id"]), (200, &json!(id)), "{path}");
        }
        assert_eq!(mesh.client().get("/v1/models/gpt-4o-mini").await.status, 200);
        for unknown in ["nobody", "meta-llama", "plain/x", "..%2Fadmin", "%0d%0ax"] {
            let answer = mesh.client().get(&format!("/v1/models/{unknown}")).await;
            answer.problem(404, "model_not_found");
        }
        mesh.anonymous().get("/v1/models").await.problem(401, "invalid_api_key");
        assert_eq!(engine.calls().len(), 0);
    }
}

both! {
    async fn of_others_are_not_seen(topology: Topology) {
        let engine = Engine::start().await;
        let mut mesh = Mesh::start(topology, &config(&engine)).await;
        let request = CreateRequest {
            name: "narrow".into(), allowed_models: vec!["plain".into()], ..CreateRequest::default()
        };
        let key = create_key(mesh.address(penstock_tests::Service::Auth), mesh.key(), request).await;
        mesh.keep_secret(&key.secret);
        let client = mesh.anonymous().with_key(&key.secret);
        let list = client.get("/v1/models").await.json();
        assert_eq!(list["data"].as_array().unwrap().len(), 1);
        assert_eq!(list["data"][0]["id"], "plain");
        client.get("/v1/models/gpt-4o-mini").await.problem(404, "model_not_found");
    }
}

both! {
    /// A key for an alias sees the model under that name: any other would be refused.
    async fn are_listed_under_the_names_that_the_key_may_use(topology: Topology) {
        let engine = Engine::start().await;
        let mut mesh = Mesh::start(topology, &config(&engine)).await;
        let request = CreateRequest {
            name: "by-alias".into(), allowed_models: vec!["gpt-4o-mini".into()], ..CreateRequest::default()
        };
        let key = create_key(mesh.address(penstock_tests::Service::Auth), mesh.key(), request).await;
        mesh.keep_secret(&key.secret);
        let client = mesh.anonymous().with_key(&key.secret);
        let list = client.get("/v1/models").await.json();
        assert_eq!(list["data"].as_array().unwrap().len(), 1);
        assert_eq!((&list["data"][0]["id"], &list["data"][0]["aliases"]), (&json!("gpt-4o-mini"), &json!(null)));
        assert_eq!(client.get("/v1/models/gpt-4o-mini").await.json()["id"], "gpt-4o-mini");
        let chat = json!({"model": list["data"][0]["id"], "messages": [{"role": "user", "content": "Hi"}]});
        assert_eq!(client.chat(&chat).await.status, 200);
    }
}
