//! Judges that nobody on this project wrote: the OpenAI SDK for Python, and a client that grpcio makes.

use penstock_tests::{
    Engine, Mesh, Script, Step, Topology, both,
    mesh::{Plan, deployment, model, one_model},
    python,
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
        python::run("openai_chat.py", &mesh, &[]).await;
        // 500 answers may be retried by the SDK; it asked for no retry here.
        assert!(!failing.calls().is_empty());
    }
}

both! {
    async fn a_client_generated_by_grpcio_gets_the_same_chunks(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        python::run("grpc_generate.py", &mesh, &[]).await;
    }
}
