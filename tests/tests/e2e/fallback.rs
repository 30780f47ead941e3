//! Another deployment, another model: invisible before the commit point, never after it.

use penstock_tests::{
    Engine, Mesh, Script, Step, Topology, both,
    client::chat,
    engine::{Head, Refused},
    mesh::{deployment, model},
};
use serde_json::json;

/// Two deployments of one model, the second only if the first fails.
fn two(first: &str, second: &Engine) -> String {
    let model =
        "[[models]]\nname = \"test-model\"\ndeployments = [\"first\", { id = \"second\", priority = 2 }]\n";
    [deployment("first", first), deployment("second", &second.v1()), model.into()].concat()
}

both! {
    async fn another_deployment_answers_when_the_first_is_down(topology: Topology) {
        let (refused, second) = (Refused::new(), Engine::start().await);
        let mesh = Mesh::start(topology, &two(&refused.v1(), &second)).await;
        let answer = mesh.client().chat(&chat("test-model")).await;
        assert_eq!(answer.text(), "Hello, world!");
        // Whether the first was asked at all is not said here: a probe may have found it down before.
        assert_eq!(answer.header("x-penstock-model"), Some("test-model"));
        assert_eq!(answer.json()["model"], "test-model");
    }
}

both! {
    async fn what_fails_before_the_first_content_is_asked_of_another(topology: Topology) {
        let (first, second) = (Engine::start().await, Engine::start().await);
        let role = || Step::Delta(json!({"role": "assistant", "content": ""}));
        let scripts = [
            Script::status(500),
            Script::status(503),
            Script::status(429),
            Script::status(401),
            Script::status(404),
            Script::html(),
            Script::default().with_head(Head::Close),
            Script::steps([role(), Step::Cut]),
            Script::steps([Step::Event("{".into())]),
            Script::steps([Step::Event(json!({"error": {"message": "boom"}}).to_string())]),
        ];
        for script in scripts {
            let mesh = Mesh::start(topology, &two(&first.v1(), &second)).await;
            let before = (first.calls().len(), second.calls().len());
            let name = format!("{script:?}");
            first.always(script);
            let events = mesh.client().stream(&chat("test-model")).await;
            assert_eq!(events.headers.get("x-penstock-fallbacks").unwrap(), "1", "{name}");
            let events = events.rest().await;
            assert_eq!(events.last().map(String::as_str), Some("[DONE]"), "{name}");
            assert!(!events.concat().contains("\"error\""), "{name}");
            assert_eq!((first.calls().len(), second.calls().len()), (before.0 + 1, before.1 + 1), "{name}");
        }
    }
}

both! {
    /// D2: the request is wrong wherever it is sent.
    async fn what_is_the_clients_fault_is_asked_of_nobody_else(topology: Topology) {
        let (first, second) = (Engine::start().await, Engine::start().await);
        let mesh = Mesh::start(topology, &two(&first.v1(), &second)).await;
        first.always(Script::status(400));
        mesh.client().chat(&chat("test-model")).await.problem(400, "engine_rejected");
        assert_eq!((first.calls().len(), second.calls().len()), (1, 0));
    }
}

both! {
    /// If the model is configured so; what happens else is in `resume`.
    async fn nobody_else_is_asked_after_the_first_content(topology: Topology) {
        let (first, second) = (Engine::start().await, Engine::start().await);
        let config = two(&first.v1(), &second) + "after_commit = \"error\"\n";
        let mesh = Mesh::start(topology, &config).await;
        first.always(Script::broken(["Hello"], Step::Cut));
        let mut events = mesh.client().stream(&chat("test-model")).await;
        assert_eq!(events.next_text().await, "Hello");
        let rest = events.rest().await;
        assert!(rest.last().unwrap().contains("engine_cut"), "{rest:?}");
        assert_eq!((first.calls().len(), second.calls().len()), (1, 0));
    }
}

both! {
    async fn another_model_answers_when_no_deployment_is_left(topology: Topology) {
        let (refused, second) = (Refused::new(), Engine::start().await);
        let config = [
            deployment("first", &refused.v1()),
            deployment("second", &second.v1()),
            model("big", &["first"], "fallbacks = [\"small\"]"),
            model("small", &["second"], ""),
        ];
        let mesh = Mesh::start(topology, &config.concat()).await;
        let answer = mesh.client().chat(&chat("big")).await;
        assert_eq!(answer.text(), "Hello, world!");
        assert_eq!(answer.header("x-penstock-model"), Some("small"));
        assert_eq!(answer.header("x-penstock-fallbacks"), Some("1"));
    }
}

both! {
    async fn weights_share_the_load(topology: Topology) {
        let (first, second) = (Engine::start().await, Engine::start().await);
        let model = "[[models]]\nname = \"test-model\"\n\
            deployments = [{ id = \"first\", weight = 3 }, { id = \"second\", weight = 1 }]\n";
        let config = [deployment("first", &first.v1()), deployment("second", &second.v1()), model.into()].concat();
        let mesh = Mesh::start(topology, &config).await;
        for _ in 0..200 {
            assert_eq!(mesh.client().chat(&chat("test-model")).await.status, 200);
        }
        let shares = (first.calls().len(), second.calls().len());
        assert_eq!(shares.0 + shares.1, 200);
        // 150 expected; 6 standard deviations (6.1 each) to either side if the choice is by chance.
        assert!((113..=187).contains(&shares.0), "{shares:?}");
    }
}

both! {
    /// D5: a failing engine costs one call for each request, never more: nothing is asked again in silence.
    async fn a_failing_engine_is_asked_once_for_each_request(topology: Topology) {
        let engine = Engine::playing(Script::status(500)).await;
        let mesh = Mesh::over(topology, &engine, "").await;
        for requests in 1..=50 {
            mesh.client().chat(&chat("test-model")).await.problem(502, "engine_failed");
            assert_eq!(engine.calls().len(), requests);
        }
    }
}
