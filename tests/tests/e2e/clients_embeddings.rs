//! Embeddings as the clients ask for them that apps are built on. The scripted engine gives the same text the
//! same vector, alone and among others.

use penstock_tests::{
    Engine, Mesh, Topology, both, clients,
    mesh::{deployment, model},
};

async fn drive(topology: Topology, script: &str) {
    let engine = Engine::start().await;
    let config = [deployment("main", &engine.v1()), model("embedding-model", &["main"], "")];
    let mesh = Mesh::start(topology, &config.concat()).await;
    clients::run(script, &mesh, &[]).await;
    assert!(!engine.calls().is_empty());
}

both! {
    async fn the_openai_sdk_for_javascript_gets_vectors(topology: Topology) {
        drive(topology, "clients/openai-js/embeddings.mjs").await;
    }
}

both! {
    async fn langchain_gets_vectors(topology: Topology) {
        drive(topology, "clients/langchain/embeddings.py").await;
    }
}

both! {
    async fn pydantic_ai_gets_vectors(topology: Topology) {
        drive(topology, "clients/pydantic-ai/embeddings.py").await;
    }
}

both! {
    async fn the_ai_sdk_gets_vectors(topology: Topology) {
        drive(topology, "clients/ai-sdk/embeddings.mjs").await;
    }
}
