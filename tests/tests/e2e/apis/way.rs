//! Which deployment answers, and what is told of it, is the same by every API.

use penstock_tests::{
    Engine, Mesh, Script, Step, Topology, apis::Api, both, engine::Head, mesh::deployment,
};
use serde_json::json;

use super::{APIS, asking, hello};

both! {
    async fn an_alias_is_its_model(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        for api in APIS {
            for (name, stream) in [("test-alias", false), ("TEST-model", true)] {
                let got = api.ask(&mesh.client(), &asking(api, name, json!({}), stream)).await;
                assert_eq!(got.said().model, "test-model", "{api:?}");
                assert_eq!(got.header("x-penstock-model"), Some("test-model"), "{api:?}");
                assert!(got.header("x-penstock-decision").is_some(), "{api:?}");
                assert_eq!(got.header("cache-control").map(|told| told.contains("no-store")), Some(true), "{api:?}");
            }
        }
        for call in engine.calls() {
            assert_eq!(call.json()["model"], "engine-model", "the engine hears its own name");
        }
        let chat = Api::Chat.ask(&mesh.client(), &asking(Api::Chat, "nobody", json!({}), false)).await;
        assert_eq!(chat.status, 404);
        for api in APIS {
            for stream in [false, true] {
                let got = api.ask(&mesh.client(), &asking(api, "nobody", json!({}), stream)).await;
                api.agrees(&chat.outcome, &got.outcome);
            }
        }
    }
}

both! {
    async fn another_deployment_answers_before_the_first_content_and_nobody_sees(topology: Topology) {
        let (first, second) = (Engine::start().await, Engine::start().await);
        let scripts = [
            Script::status(500),
            Script::default().with_head(Head::Close),
            Script::steps([Step::Delta(json!({"role": "assistant", "content": ""})), Step::Cut]),
        ];
        let model = "[[models]]\nname = \"test-model\"\ndeployments = [\"first\", { id = \"second\", priority = 2 }]\n";
        let config = [deployment("first", &first.v1()), deployment("second", &second.v1()), model.into()].concat();
        for script in scripts {
            // Each time as if nothing were known of the first.
            for api in APIS {
                let mesh = Mesh::start(topology, &config).await;
                first.always(script.clone());
                let asked = second.calls().len();
                let got = api.ask(&mesh.client(), &hello(api, true)).await;
                assert_eq!(got.said().text, "Hello, world!", "{api:?} {script:?}");
                assert_eq!(got.header("x-penstock-fallbacks"), Some("1"), "{api:?} {script:?}");
                assert_eq!(second.calls().len(), asked + 1, "{api:?} {script:?}");
            }
        }
    }
}

both! {
    async fn what_a_caller_says_about_the_way_is_heeded_or_refused(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        for (header, value) in [
            ("x-penstock-max-cost", "cheap"),
            ("x-penstock-max-latency", "0"),
            ("x-penstock-tags", "eu"),
            ("x-request-timeout", "soon"),
        ] {
            let client = mesh.client().with_header(header, value);
            let chat = Api::Chat.ask(&client, &hello(Api::Chat, false)).await;
            for api in APIS {
                let got = api.ask(&client, &hello(api, true)).await;
                api.agrees(&chat.outcome, &got.outcome);
            }
        }
        assert_eq!(engine.calls().len(), 0);
        let client = mesh.client().with_header("x-penstock-max-latency", "60000");
        for api in APIS {
            api.ask(&client, &hello(api, true)).await.said();
        }
    }
}
