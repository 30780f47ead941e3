//! The OpenAI SDK for Python continues texts, makes vectors and asks for judgements.

use penstock_tests::{
    Engine, Script, Step, Topology, both,
    engine::vector_of,
    mesh::{Plan, deployment, model, one_model},
    python,
};
use serde_json::json;

both! {
    async fn the_openai_sdk_continues_embeds_and_moderates(topology: Topology) {
        let engine = Engine::start().await;
        let cut = Engine::playing(Script::broken(["Hello"], Step::Cut)).await;
        let config = [one_model(&engine), deployment("cut", &cut.v1()), model("cut-model", &["cut"], "")];
        let mesh = Plan::new(topology, &config.concat()).start().await;
        let vectors = json!([vector_of(&json!("a"), 4), vector_of(&json!("b"), 4)]).to_string();
        python::run("openai_texts.py", &mesh, &[("EXPECTED_VECTORS", &vectors)]).await;
    }
}
