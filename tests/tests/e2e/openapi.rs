//! The OpenAPI document, judged by tools that nobody on this project wrote: a validator, a fuzzer that holds every
//! answer to it, and a generator whose client must work. The scripts stand in `tests/clients/openapi`.

use penstock_tests::{
    Topology, both, clients,
    mesh::{Plan, model},
};

/// Runs a script against the simulated engine; it must exit with 0.
async fn judge(topology: Topology, script: &str, environment: &[(&str, &str)]) {
    let model = model("penstock-simulated", &["sim"], "");
    let config =
        format!("[[deployments]]\nid = \"sim\"\nengine = \"simulated\"\ntokens_per_second = 100000\n{model}");
    let mesh = Plan::new(topology, &config).start().await;
    clients::run(&format!("clients/openapi/{script}"), &mesh, environment).await;
}

both! {
    async fn the_document_is_valid_and_answers_are_as_it_says(topology: Topology) {
        judge(topology, "document.py", &[]).await;
    }
}

both! {
    async fn a_client_that_is_generated_from_the_document_completes_a_chat(topology: Topology) {
        judge(topology, "client.py", &[]).await;
    }
}

both! {
    async fn schemathesis_finds_no_failure_and_no_answer_that_breaks_the_document(topology: Topology) {
        judge(topology, "fuzz.py", &[("OPENAPI_PATHS", "exclude")]).await;
    }
}

both! {
    async fn schemathesis_finds_no_failure_in_the_apis_of_others(topology: Topology) {
        judge(topology, "fuzz.py", &[("OPENAPI_PATHS", "include")]).await;
    }
}
