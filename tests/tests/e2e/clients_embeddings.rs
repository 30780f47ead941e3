//! Embeddings as the clients ask for them that apps are built on. The simulated engine makes the vectors: the
//! same text has the same one, alone and among others.

use penstock_tests::{
    Mesh, Topology, both, clients,
    mesh::model,
};

async fn drive(topology: Topology, script: &str) {
    let config = format!(
        "[[deployments]]\nid = \"vectors\"\nengine = \"simulated\"\n{}",
        model("embedding-model", &["vectors"], "")
    );
    let mesh = Mesh::start(topology, &config).await;
    clients::run(script, &mesh, &[]).await;
}

both! {
    async fn the_openai_sdk_gets_vectors(topology: Topology) {
        drive(topology, "python/openai_embeddings.py").await;
    }
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
