//! The degradation table, row by row, in the six-process topology: the thing is broken for real, then every face
//! of health is looked at, then a real request, then the recovery. Rows that are about Redis have no part yet.

mod adapters;
mod disks;
mod engines;
mod impostors;
mod services;
mod side_services;

use penstock_proto::{auth::v1::CreateRequest, status::v1::State};
use penstock_tests::{
    Answer, Client, Engine, Mesh, Service, Topology,
    bounded::until,
    client::chat,
    faces::{Expected, Faces},
    grpc::create_key,
    mesh::{ADMIN_KEY, Plan, deployment, model},
};

/// Looks often, so that a loss and a return are soon seen; on a busy machine nothing is slow.
const OFTEN: &str = "[health]\n[[health.checks]]\nname = \"*\"\ninterval = \"200ms\"\n\
    timeout = \"1s\"\nslow_after = \"0s\"\nfailures = 2\nrecoveries = 1\n\
    [inference_adapter]\ndiscovery_interval = \"200ms\"\nfirst_token_timeout = \"2s\"\nconnect_timeout = \"1s\"\n";

/// Long enough to look at everything while it lasts, on a busy machine too.
const MEMO: &str = "[auth]\nmemo_ttl = \"12s\"\n";

/// `test-model` on two engines, `other-model` on the second one.
fn two_models(first: &str, second: &str) -> String {
    [
        OFTEN.to_owned(),
        deployment("first", first),
        deployment("second", second),
        model("test-model", &["first", "second"], ""),
        model("other-model", &["second"], ""),
    ]
    .concat()
}

/// Six processes, `test-model` and `other-model` on engines that are well, and all faces UP.
async fn well(engine: &Engine, more: &str) -> Mesh {
    let config = format!("{}{more}", two_models(&engine.v1(), &engine.v1()));
    settled(Plan::new(Topology::Mesh, &config)).await
}

/// Starts it and waits until all faces are UP.
async fn settled(plan: Plan) -> Mesh {
    let mesh = plan.start().await;
    recovered(&mesh, "at the start").await;
    mesh
}

/// All faces are UP, and a request is answered.
async fn recovered(mesh: &Mesh, when: &str) -> Faces {
    let up = Expected::mesh(State::Up).and("model/test-model", State::Up).and("model/other-model", State::Up);
    let faces = up.show(mesh, when).await;
    until("an answer when all is well", async || (ask(mesh, "test-model").await.status == 200).then_some(()))
        .await;
    faces
}

async fn ask(mesh: &Mesh, model: &str) -> Answer {
    mesh.client().chat(&chat(model)).await
}

/// 503, to be tried again later, in our words.
fn unavailable(answer: &Answer) {
    let code = answer.json()["error"]["code"].as_str().unwrap_or_default().to_owned();
    let ours = ["service_unavailable", "circuit_open", "engine_unreachable"];
    assert!(ours.contains(&code.as_str()), "{answer:?}");
    answer.problem(503, &code);
    assert!(answer.header("retry-after").is_some(), "{answer:?}");
}

/// A caller with a key of its own, which the router has just heard of.
async fn known_caller(mesh: &mut Mesh) -> Client {
    let key = CreateRequest { name: "known".into(), ..CreateRequest::default() };
    let created = create_key(mesh.address(Service::Auth), ADMIN_KEY, key).await;
    mesh.keep_secret(&created.secret);
    let caller = mesh.anonymous().with_key(&created.secret);
    assert_eq!(caller.chat(&chat("test-model")).await.status, 200);
    caller
}
