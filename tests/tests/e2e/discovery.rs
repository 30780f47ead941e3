//! Models that appear and vanish on an engine appear and vanish here, within seconds and without a restart (D8).

use penstock_proto::status::v1::{GetRequest, State, status_client::StatusClient};
use penstock_tests::{
    Client, ENGINE_KEY, Engine, Mesh, Script, Service, Topology, both,
    bounded::until,
    client::chat,
    engine::Refused,
    grpc::{channel, keyed},
    mesh::{deployment, model},
};

/// Looks often, so that a test need not wait.
const OFTEN: &str = "[inference_adapter]\ndiscovery_interval = \"100ms\"\n";

/// A deployment `gpu` that stands for every model at `endpoint`.
fn every(endpoint: &str) -> String {
    deployment("gpu", endpoint).replace("model = \"engine-model\"", "model = \"*\"")
}

async fn names(client: &Client) -> Vec<String> {
    let list = client.get("/v1/models").await.json();
    list["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap().to_owned()).collect()
}

/// Waits until exactly these models are there.
async fn until_there(client: &Client, expected: &[&str]) {
    until(&format!("the models {expected:?}"), async || (names(client).await == expected).then_some(()))
        .await;
}

/// Waits until the deployment of the one model is in this state.
async fn until_it_is(mesh: &Mesh, state: State) {
    let mut status = StatusClient::new(channel(mesh.address(Service::InferenceAdapter)).await);
    until(&format!("the deployment to be {state:?}"), async || {
        let report = status.get(keyed(mesh.key(), GetRequest {})).await.unwrap().into_inner().report.unwrap();
        let found = report.components.iter().find(|one| one.name == "deployment/gpu/engine-model")?;
        (found.state() == state).then_some(())
    })
    .await;
}

both! {
    async fn every_model_of_an_engine_is_offered_beside_the_configured_ones(topology: Topology) {
        let (engine, other) = (Engine::start().await, Engine::start().await);
        engine.serve_models(["a/one", "two:latest", "test-model"]);
        let config = [OFTEN.to_owned(), every(&engine.v1()), deployment("main", &other.v1()), model("test-model", &["main"], "")];
        let mesh = Mesh::start(topology, &config.concat()).await;
        let client = mesh.client();
        until_there(&client, &["a/one", "test-model", "two:latest"]).await;
        assert_eq!(client.chat(&chat("a/one")).await.text(), "Hello, world!");
        let call = engine.call(0).await;
        assert_eq!(call.json()["model"], "a/one");
        // The place has a key: for its list, and for its models.
        let key = format!("Bearer {ENGINE_KEY}");
        assert_eq!(call.header("authorization"), Some(key.as_str()));
        let lists: Vec<_> = engine.free_calls().into_iter().filter(|call| call.path == "/v1/models").collect();
        assert!(!lists.is_empty() && lists.iter().all(|call| call.header("authorization") == Some(key.as_str())));

        // What is configured is not taken over by what is found.
        client.chat(&chat("test-model")).await.text();
        assert_eq!((engine.calls().len(), other.calls().len()), (1, 1));

        engine.serve_models(["three"]);
        until_there(&client, &["test-model", "three"]).await;
        assert_eq!(client.chat(&chat("three")).await.text(), "Hello, world!");
        client.chat(&chat("a/one")).await.problem(404, "model_not_found");
        // An engine that has nothing has nothing: that is an answer, too.
        engine.serve_models(Vec::<String>::new());
        until_there(&client, &["test-model"]).await;
    }
}

both! {
    /// A restart of an engine is not the end of its models.
    async fn an_engine_that_is_away_keeps_its_models_for_a_while(topology: Topology) {
        let engine = Engine::start().await;
        let address = engine.address();
        // Twelve looks are some seconds: time enough to see what is to be seen between them.
        let often = OFTEN.replace("100ms", "500ms");
        let mesh = Mesh::start(topology, &(often + &every(&engine.v1()))).await;
        let client = mesh.client();
        until_there(&client, &["engine-model"]).await;
        until_it_is(&mesh, State::Up).await;
        drop(engine);
        until_it_is(&mesh, State::Down).await;
        assert_eq!(names(&client).await, ["engine-model"], "it is still there");
        client.chat(&chat("engine-model")).await.problem(503, "engine_unreachable");

        let engine = Engine::start_at(address).await;
        until("an answer", async || (client.chat(&chat("engine-model")).await.status == 200).then_some(())).await;
        drop(engine);
        until_there(&client, &[]).await;
    }
}

both! {
    async fn an_engine_that_wants_a_key_is_spoken_of_once(topology: Topology) {
        let refused = Refused::new();
        let engine = Engine::start().await;
        engine.refuse_free(Script::status(401));
        let config = format!(
            "{OFTEN}discover = [\"{}\", \"{}\"]\n", engine.url(), refused.v1()
        );
        let mesh = Mesh::start(topology, &config).await;
        mesh.says(Service::InferenceAdapter, "wants a key").await;
        let looks = engine.free_calls().len();
        until("more looks", async || (engine.free_calls().len() > looks + 5).then_some(())).await;
        assert_eq!(mesh.everything_said().matches("wants a key").count(), 1);
        assert_eq!(names(&mesh.client()).await, Vec::<String>::new());
    }
}
