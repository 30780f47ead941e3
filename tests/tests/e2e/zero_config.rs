//! A newcomer's first minutes: no file, no key, no engine; and what is found if there is one.

use std::process::Stdio;

use penstock_tests::{
    Client, Engine, Mesh, Service, Topology, both,
    bounded::{until, within},
    client::{chat, with},
    mesh::Plan,
};
use serde_json::json;

/// What the first start says, when it has said all of it.
async fn greeting(mesh: &mut Mesh) -> String {
    mesh.says(Service::Facade, "curl").await;
    let process = mesh.process(Service::Facade);
    until("the end of the curl line", async || {
        let said = process.said();
        let after = said.split_once("curl")?.1;
        after.contains('\n').then_some(())
    })
    .await;
    process.said()
}

/// The key that stands in a greeting.
fn key_in(said: &str) -> String {
    let start = said.find("sk-penstock-").expect("the greeting shows a key");
    said[start..].chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '-').collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_start_says_all_that_is_needed_and_the_curl_line_works() {
    let mut mesh = Plan::bare().env("PENSTOCK_INFERENCE_ADAPTER__DISCOVER", "").start().await;
    let said = greeting(&mut mesh).await;
    let address = mesh.address(Service::Facade);
    assert!(said.contains(&address.to_string()), "{said}");
    assert!(said.contains("penstock-simulated"), "{said}");
    let key = key_in(&said);
    let client = mesh.anonymous().with_key(&key);
    let answer = client.chat(&with(chat("penstock-simulated"), json!({"max_tokens": 8}))).await;
    assert!(answer.text().to_lowercase().contains("simulated"), "{answer:?}");

    // The line as it stands, with its continuation lines, pasted into a shell.
    let start = said.find("curl").unwrap();
    let mut line = String::new();
    for part in said[start..].lines() {
        let more = part.trim_end().ends_with('\\');
        line += &format!("{part}\n");
        if !more {
            break;
        }
    }
    let output = tokio::process::Command::new("sh").args(["-c", &line]).stdin(Stdio::null()).output();
    let output = within("curl", output).await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("choices"), "{line}\n{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_key_is_shown_once_and_works_after_a_restart() {
    let mut mesh = Plan::bare().env("PENSTOCK_INFERENCE_ADAPTER__DISCOVER", "").start().await;
    let key = key_in(&greeting(&mut mesh).await);
    for (service, status) in mesh.stop().await {
        assert!(status.success(), "{}: {status}", service.name());
    }
    let data = mesh.folder().join("data");
    for entry in std::fs::read_dir(data).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        let secret = key.rsplit('-').next().unwrap().as_bytes();
        assert!(!bytes.windows(secret.len()).any(|window| window == secret), "the key is on disk in clear");
    }
    mesh.restart(Service::Facade);
    mesh.ready().await;
    let shown = mesh.process(Service::Facade).said().matches(&key).count();
    let expected = greeting(&mut mesh).await.matches(&key).count();
    assert_eq!(shown, expected, "the key is shown again");
    let answer = mesh.anonymous().with_key(&key).get("/v1/models").await;
    assert_eq!(answer.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn engines_on_this_machine_are_found() {
    let (ollama, vllm) = (Engine::start().await, Engine::start().await);
    ollama.serve_models(["llama3.2:3b", "qwen3:4b"]);
    vllm.serve_models(["meta-llama/Llama-3.2-1B"]);
    let discover = format!("ollama+{},{}", ollama.url(), vllm.url());
    let mut mesh = Plan::bare().env("PENSTOCK_INFERENCE_ADAPTER__DISCOVER", &discover).start().await;
    let said = greeting(&mut mesh).await;
    let client = mesh.anonymous().with_key(&key_in(&said));
    for name in ["llama3.2:3b", "qwen3:4b", "meta-llama/Llama-3.2-1B", "penstock-simulated"] {
        assert!(said.contains(name), "{name} is not in the greeting: {said}");
        until(&format!("{name} to be there"), async || {
            (client.get(&format!("/v1/models/{name}")).await.status == 200).then_some(())
        })
        .await;
    }
    assert_eq!(client.chat(&chat("llama3.2:3b")).await.text(), "Hello, world!");
    assert_eq!(ollama.call(0).await.path, "/api/chat");
    assert_eq!(client.chat(&chat("meta-llama/Llama-3.2-1B")).await.text(), "Hello, world!");
    assert_eq!(vllm.call(0).await.path, "/v1/chat/completions");
    // Looking costs nothing: lists were asked for, answers only by us.
    assert_eq!((ollama.calls().len(), vllm.calls().len()), (1, 1));

    // Models come and go while it runs.
    vllm.serve_models(["another/model"]);
    until("the new model to be found", async || listed(&client, "another/model").await.then_some(())).await;
    until("the old one to be gone", async || {
        (!listed(&client, "meta-llama/Llama-3.2-1B").await).then_some(())
    })
    .await;
}

async fn listed(client: &Client, name: &str) -> bool {
    let list = client.get("/v1/models").await.json();
    list["data"].as_array().unwrap().iter().any(|model| model["id"] == json!(name))
}

/// Ports on which engines are looked for without a file, and that speak OpenAI's dialect.
const WELL_KNOWN: [u16; 4] = [9931, 1234, 8000, 8080];

/// The names of the models that a caller sees.
async fn names(client: &Client) -> Vec<String> {
    let list = client.get("/v1/models").await.json();
    list["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap().to_owned()).collect()
}

both! {
    /// With a file nothing is guessed, even if the file names no engine at all; without one the same engine is
    /// found. (The mesh has a file always: its services must be told where the others are.)
    async fn with_a_file_nothing_is_looked_for(topology: Topology) {
        let engine = Engine::start_on_one_of(&WELL_KNOWN).await;
        // Other tests may look at that port as well: what they find has another name.
        let guessed = format!("guessed-{}", std::process::id());
        engine.serve_models([guessed.clone()]);
        let often = "[inference_adapter]\ndiscovery_interval = \"100ms\"\n";
        let told = Mesh::start(topology, often).await;
        assert_eq!(names(&told.client()).await, Vec::<String>::new());

        let mut untold = Plan::bare().start().await;
        let said = greeting(&mut untold).await;
        let client = untold.anonymous().with_key(&key_in(&said));
        until("the engine to be found", async || listed(&client, &guessed).await.then_some(())).await;
        assert_eq!(client.chat(&chat(&guessed)).await.text(), "Hello, world!");
        assert_eq!(engine.calls().len(), 1);

        // All that time the first had the same engine before its eyes.
        assert_eq!(names(&told.client()).await, Vec::<String>::new());
        told.client().chat(&chat(&guessed)).await.problem(404, "model_not_found");
        assert_eq!(engine.calls().len(), 1);
    }
}
