//! What a request needs and what the deployments of its model can do: who cannot is passed over, and what nobody
//! can do is refused by name, by REST as by gRPC, and never taken out of the request.

use penstock_proto::inference::v1::ListModelsRequest;
use penstock_tests::{
    Engine, Mesh, Topology, both,
    bounded::within,
    client::{chat, with},
    grpc::{self, inference, keyed, reason},
    mesh::deployment,
};
use serde_json::{Value, json};

/// Two deployments of one model, the second asked later, each with these capabilities.
fn config(first: (&Engine, &str), second: (&Engine, &str)) -> String {
    let one = |id: &str, (engine, capabilities): (&Engine, &str)| {
        format!("{}capabilities = {capabilities}\n", deployment(id, &engine.v1()))
    };
    let model =
        "[[models]]\nname = \"test-model\"\ndeployments = [\"first\", { id = \"second\", priority = 2 }]\n";
    [one("first", first), one("second", second), model.into()].concat()
}

fn tool() -> Value {
    json!([{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}])
}

fn image() -> Value {
    json!([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]}])
}

both! {
    async fn who_cannot_is_passed_over(topology: Topology) {
        let (first, second) = (Engine::start().await, Engine::start().await);
        let mesh = Mesh::start(topology, &config((&first, "{ tools = false }"), (&second, "{ tools = true }"))).await;
        let asked = with(chat("test-model"), json!({"tools": tool()}));
        assert_eq!(mesh.client().chat(&asked).await.text(), "Hello, world!");
        assert_eq!((first.calls().len(), second.calls().len()), (0, 1));
        assert_eq!(second.call(0).await.json()["tools"], tool());
        // Who asks for nothing special is answered by the first.
        mesh.client().chat(&chat("test-model")).await.text();
        assert_eq!((first.calls().len(), second.calls().len()), (1, 1));
    }
}

both! {
    async fn what_nobody_can_do_is_refused_by_name(topology: Topology) {
        let (first, second) = (Engine::start().await, Engine::start().await);
        let cannot = "{ tools = false, vision = false, multiple_choices = false, completions = false }";
        let mesh = Mesh::start(topology, &config((&first, cannot), (&second, cannot))).await;
        let asked = with(chat("test-model"), json!({"tools": tool(), "messages": image(), "n": 2}));
        let problem = mesh.client().chat(&asked).await.problem(422, "unsupported_parameter");
        let fields: Vec<_> = problem["errors"].as_array().unwrap().iter().map(|v| v["field"].as_str().unwrap()).collect();
        assert_eq!(fields, ["tools", "messages", "n"]);
        let mut router = inference(mesh.grpc()).await;
        let mut request = grpc::chat("test-model");
        request.n = Some(2);
        let refused = within("Generate", router.generate(keyed(mesh.key(), request))).await.unwrap_err();
        assert_eq!(reason(&refused), "UNSUPPORTED");
        assert_eq!((first.calls().len(), second.calls().len()), (0, 0));
        assert_eq!(mesh.client().chat(&chat("test-model")).await.status, 200);
    }
}

both! {
    async fn are_told_with_the_models(topology: Topology) {
        let (first, second) = (Engine::start().await, Engine::start().await);
        let mesh = Mesh::start(topology, &config(
            (&first, "{ tools = false, vision = true }\ncontext_tokens = 4096"),
            (&second, "{ tools = true, vision = false }\ncontext_tokens = 8192"),
        )).await;
        let model = mesh.client().get("/v1/models/test-model").await.json();
        assert_eq!((&model["context_length"], &model["max_model_len"]), (&json!(8192), &json!(8192)), "{model}");
        let words: Vec<_> = model["capabilities"].as_array().unwrap().iter().map(|w| w.as_str().unwrap()).collect();
        assert!(words.contains(&"tools") && words.contains(&"vision"), "{model}");
        let mut router = inference(mesh.grpc()).await;
        let listed = router.list_models(keyed(mesh.key(), ListModelsRequest { model: None })).await.unwrap();
        let capabilities = listed.into_inner().models[0].capabilities.unwrap();
        assert_eq!((capabilities.tools, capabilities.vision), (Some(true), Some(true)));
        assert_eq!(capabilities.context_tokens, Some(8192));
    }
}
