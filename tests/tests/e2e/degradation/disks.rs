//! F12: full disks. What is there goes on, what is new is refused in our words, health shows it, and room that
//! was made is seen without a restart.

use penstock_proto::auth::v1::keys_client::KeysClient;
use penstock_tests::{
    client::with,
    grpc::{channel, keyed, reason},
};
use serde_json::json;

use super::*;

async fn with_small_disk(engine: &Engine, service: Service) -> Mesh {
    let often = ["auth/store", "cache/objects"]
        .map(|name| format!("[[health.checks]]\nname = \"{name}\"\ninterval = \"1s\"\n"));
    let config = format!("{}{}", two_models(&engine.v1(), &engine.v1()), often.concat());
    settled(Plan::new(Topology::Mesh, &config).small_disk(service)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f12_with_its_disk_full_auth_knows_who_it_knew_and_takes_no_new_ones() {
    let engine = Engine::start().await;
    let mut mesh = with_small_disk(&engine, Service::Auth).await;
    let known = known_caller(&mut mesh).await;
    let disk = mesh.disk(Service::Auth);
    disk.fill();
    let mut keys = KeysClient::new(channel(mesh.address(Service::Auth)).await);
    // Pages that the file has already may take some more.
    let refused = until("a new key to be refused", async || {
        let key = CreateRequest { name: "n".repeat(64), ..CreateRequest::default() };
        keys.create(keyed(ADMIN_KEY, key)).await.err()
    })
    .await;
    assert_eq!(refused.code(), tonic::Code::Unavailable, "{refused:?}");
    assert_eq!(reason(&refused), "SERVICE_UNAVAILABLE", "{refused:?}");
    let degraded = Expected::mesh(State::Degraded)
        .and("auth", State::Degraded)
        .and("auth/store", State::Degraded)
        .and("model/test-model", State::Up);
    degraded.show(&mesh, "the disk of auth is full").await;
    assert_eq!(known.chat(&chat("test-model")).await.status, 200);

    disk.free();
    recovered(&mesh, "the disk of auth has room").await;
    let key = CreateRequest { name: "new".into(), ..CreateRequest::default() };
    let created = create_key(mesh.address(Service::Auth), ADMIN_KEY, key).await;
    mesh.keep_secret(&created.secret);
    let new = mesh.anonymous().with_key(&created.secret);
    assert_eq!(new.chat(&chat("test-model")).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f12_with_its_disk_full_the_cache_stores_nothing_and_chat_goes_on() {
    let engine = Engine::start().await;
    let mut mesh = with_small_disk(&engine, Service::Cache).await;
    let disk = mesh.disk(Service::Cache);
    disk.fill();
    let large = with(chat("test-model"), json!({"store": true, "metadata": {"large": "x".repeat(500)}}));
    // The answer is given, and said not to be stored; or its storing is refused: never a silent loss.
    until("an answer that cannot be stored", async || {
        let answer = mesh.client().chat(&large).await;
        assert!([200, 503].contains(&answer.status), "{answer:?}");
        let id = (answer.status == 200).then(|| answer.json()["id"].as_str().unwrap().to_owned());
        let Some(id) = id else { return Some(()) };
        let found = mesh.client().get(&format!("/v1/chat/completions/{id}")).await.status;
        (found != 200).then_some(())
    })
    .await;
    let degraded =
        Expected::mesh(State::Degraded).and("cache", State::Degraded).and("model/test-model", State::Up);
    degraded.show(&mesh, "the disk of the cache is full").await;
    assert_eq!(ask(&mesh, "test-model").await.status, 200);

    disk.free();
    recovered(&mesh, "the disk of the cache has room").await;
    let stored = mesh.client().chat(&large).await;
    let id = stored.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(mesh.client().get(&format!("/v1/chat/completions/{id}")).await.status, 200);
}
