//! The other APIs by the clients that were made for them, each as it is installed: OpenAI's responses, Anthropic's
//! messages, Ollama's own. What each does stands in its script.

use penstock_tests::{
    Engine, Script, Step, Topology, both, clients,
    mesh::{Plan, deployment, model, one_model},
};
use serde_json::json;

/// A model that does what clients ask for, one that is cut, one that fails, one that says nothing, one that makes
/// vectors, and one that an Ollama holds in its memory.
async fn drive(topology: Topology, script: &str) {
    let engine = Engine::start().await;
    engine.answering(clients::model);
    let cut = Engine::playing(Script::broken(["Hello"], Step::Cut)).await;
    let failing = Engine::playing(Script::status(500)).await;
    let silent = Engine::playing(Script::steps([Step::Stall])).await;
    let vectors = Engine::start().await;
    let ollama = Engine::start().await;
    ollama.serve_models(["llama3.2:3b"]);
    let running = json!({"models": [{"name": "llama3.2:3b", "model": "llama3.2:3b", "size": 1}]});
    ollama.serve_page("/api/ps", 200, running);
    let config = [
        one_model(&engine),
        deployment("cut", &cut.v1()),
        model("cut-model", &["cut"], "after_commit = \"error\""),
        deployment("failing", &failing.v1()),
        model("failing-model", &["failing"], ""),
        deployment("silent", &silent.v1()),
        model("silent-model", &["silent"], ""),
        deployment("vectors", &vectors.v1()),
        model("embedding-model", &["vectors"], ""),
        format!(
            "[[deployments]]\nid = \"ollama\"\nengine = \"ollama\"\nendpoint = \"{}\"\nmodel = \"llama3.2:3b\"\n",
            ollama.url()
        ),
        model("ollama-model", &["ollama"], ""),
        // Each error is to be the engine's own, however many there were.
        "[inference_adapter.breaker]\nminimum_calls = 1_000_000\n".into(),
    ];
    let mesh = Plan::new(topology, &config.concat()).start().await;
    clients::run(script, &mesh, &[]).await;
    assert!(!engine.calls().is_empty());
}

both! {
    async fn the_openai_sdk_makes_responses(topology: Topology) {
        drive(topology, "python/openai_responses.py").await;
    }
}

both! {
    async fn the_openai_sdk_for_javascript_makes_responses(topology: Topology) {
        drive(topology, "clients/openai-js/responses.mjs").await;
    }
}

both! {
    async fn the_ai_sdk_makes_responses(topology: Topology) {
        drive(topology, "clients/ai-sdk/responses.mjs").await;
    }
}

both! {
    async fn the_anthropic_sdk_works_unmodified(topology: Topology) {
        drive(topology, "clients/anthropic/check.py").await;
    }
}

both! {
    async fn the_anthropic_sdk_for_javascript_works_unmodified(topology: Topology) {
        drive(topology, "clients/anthropic-js/check.mjs").await;
    }
}

both! {
    async fn the_ollama_package_works_unmodified(topology: Topology) {
        drive(topology, "clients/ollama/check.py").await;
    }
}

both! {
    async fn the_ollama_package_for_javascript_works_unmodified(topology: Topology) {
        drive(topology, "clients/ollama-js/check.mjs").await;
    }
}
