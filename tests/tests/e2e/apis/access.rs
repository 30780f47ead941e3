//! Who may ask, by any API: keys wherever a client of it puts them, and models that a key may not use.

use penstock_proto::auth::v1::CreateRequest;
use penstock_tests::{
    Engine, Mesh, Service, Topology, apis::Api, both, grpc::create_key, mesh::{model, one_model},
};
use serde_json::json;

use super::{APIS, ask, asking};

both! {
    async fn without_a_good_key_nobody_is_answered(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        let wrong = mesh.anonymous().with_key("sk-penstock-nobody-0");
        let header = mesh.anonymous().with_header("x-api-key", "sk-penstock-nobody-0");
        let two = mesh.client().with_header("x-api-key", "another");
        for client in [mesh.anonymous(), wrong, header, two] {
            let chat = ask(Api::Chat, &client, false).await.outcome;
            for api in APIS {
                for stream in [false, true] {
                    let got = ask(api, &client, stream).await;
                    api.agrees(&chat, &got.outcome);
                    if got.status == 401 {
                        assert_eq!(got.header("www-authenticate"), Some("Bearer"), "{api:?}");
                    }
                }
            }
        }
        assert_eq!(engine.calls().len(), 0);
    }
}

both! {
    async fn a_key_is_taken_where_clients_put_it(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        let header = mesh.anonymous().with_header("x-api-key", mesh.key());
        let both = mesh.client().with_header("x-api-key", mesh.key());
        for client in [mesh.client(), header, both] {
            for api in APIS {
                assert_eq!(ask(api, &client, false).await.said().text, "Hello, world!", "{api:?}");
            }
        }
    }
}

both! {
    /// B7.
    async fn models_that_the_key_may_not_use_are_refused(topology: Topology) {
        let engine = Engine::start().await;
        let more = model("secret-model", &["main"], "aliases = [\"cheap-alias\"]");
        let mut mesh = Mesh::start(topology, &[one_model(&engine), more].concat()).await;
        let request = CreateRequest {
            name: "narrow".into(), allowed_models: vec!["test-*".into()], ..CreateRequest::default()
        };
        let key = create_key(mesh.address(Service::Auth), mesh.key(), request).await;
        mesh.keep_secret(&key.secret);
        let client = mesh.anonymous().with_key(&key.secret);
        for name in ["secret-model", "cheap-alias"] {
            let chat = Api::Chat.ask(&client, &asking(Api::Chat, name, json!({}), false)).await;
            assert_eq!(chat.status, 403);
            for api in APIS {
                let got = api.ask(&client, &asking(api, name, json!({}), true)).await;
                api.agrees(&chat.outcome, &got.outcome);
            }
        }
        assert_eq!(engine.calls().len(), 0);
        for api in APIS {
            assert_eq!(ask(api, &client, true).await.said().text, "Hello, world!", "{api:?}");
        }
    }
}
