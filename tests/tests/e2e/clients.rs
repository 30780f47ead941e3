//! Judges that nobody on this project wrote: the clients that apps are built on, each as it is installed, and
//! one that grpcio makes of the contract. What each does stands in its script.

use penstock_tests::{
    Engine, Mesh, Script, Step, Topology, both, clients,
    engine::vector_of,
    mesh::{Plan, deployment, model, one_model},
};
use serde_json::json;

both! {
    async fn the_openai_sdk_works_unmodified(topology: Topology) {
        let engine = Engine::start().await;
        // Engines of their own for what the default does not do: the script of each never changes.
        let call = json!({"index": 0, "id": "call_1", "type": "function",
            "function": {"name": "add", "arguments": "{\"a\": 1, \"b\": 2}"}});
        let tools = Engine::playing(Script::steps([
            Step::Delta(json!({"role": "assistant", "content": null})),
            Step::Delta(json!({"tool_calls": [call]})), Step::Finish("tool_calls"), Step::Usage, Step::Done,
        ])).await;
        let cut = Engine::playing(Script::broken(["Hello"], Step::Cut)).await;
        let failing = Engine::playing(Script::status(500)).await;
        let config = [
            one_model(&engine),
            deployment("tools", &tools.v1()), model("tools/model:1", &["tools"], ""),
            deployment("cut", &cut.v1()), model("cut-model", &["cut"], ""),
            deployment("failing", &failing.v1()), model("failing-model", &["failing"], ""),
            "[facade]\nbody_max_bytes = \"256 KiB\"\n".into(),
        ];
        let mesh = Plan::new(topology, &config.concat()).start().await;
        clients::run("python/openai_chat.py", &mesh, &[]).await;
        // 500 answers may be retried by the SDK; it asked for no retry here.
        assert!(!failing.calls().is_empty());
    }
}

both! {
    async fn the_openai_sdk_finds_what_it_stored(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        clients::run("python/openai_stored.py", &mesh, &[]).await;
    }
}

both! {
    async fn the_openai_sdk_continues_embeds_and_moderates(topology: Topology) {
        let engine = Engine::start().await;
        let cut = Engine::playing(Script::broken(["Hello"], Step::Cut)).await;
        let config = [one_model(&engine), deployment("cut", &cut.v1()), model("cut-model", &["cut"], "")];
        let mesh = Plan::new(topology, &config.concat()).start().await;
        let vectors = json!([vector_of(&json!("a"), 4), vector_of(&json!("b"), 4)]).to_string();
        clients::run("python/openai_texts.py", &mesh, &[("EXPECTED_VECTORS", &vectors)]).await;
    }
}

both! {
    async fn a_client_generated_by_grpcio_gets_the_same_chunks(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        clients::run("python/grpc_generate.py", &mesh, &[]).await;
    }
}

/// A model that does what clients ask for, one that is cut, one that fails.
async fn drive(topology: Topology, script: &str) {
    let engine = Engine::start().await;
    engine.answering(clients::model);
    let cut = Engine::playing(Script::broken(["Hello"], Step::Cut)).await;
    let failing = Engine::playing(Script::status(500)).await;
    let config = [
        one_model(&engine),
        deployment("cut", &cut.v1()),
        model("cut-model", &["cut"], ""),
        deployment("failing", &failing.v1()),
        model("failing-model", &["failing"], ""),
    ];
    let mesh = Plan::new(topology, &config.concat()).start().await;
    clients::run(script, &mesh, &[]).await;
    assert!(!engine.calls().is_empty());
}

both! {
    async fn the_openai_sdk_calls_tools_and_gets_types(topology: Topology) {
        drive(topology, "python/openai_structured.py").await;
    }
}

both! {
    async fn the_openai_sdk_for_javascript_works_unmodified(topology: Topology) {
        drive(topology, "clients/openai-js/check.mjs").await;
    }
}

both! {
    async fn langchain_works_unmodified(topology: Topology) {
        drive(topology, "clients/langchain/check.py").await;
    }
}

both! {
    async fn pydantic_ai_works_unmodified(topology: Topology) {
        drive(topology, "clients/pydantic-ai/check.py").await;
    }
}

both! {
    async fn instructor_works_unmodified(topology: Topology) {
        drive(topology, "clients/instructor/check.py").await;
    }
}

both! {
    async fn the_ai_sdk_works_unmodified(topology: Topology) {
        drive(topology, "clients/ai-sdk/check.mjs").await;
    }
}
