//! Deployments that come, change and go while the adapter runs (H2).

use std::time::Duration;

use penstock_chassis::reload::{Source, live};
use penstock_proto::metadata::DEPLOYMENT;
use tokio::time::{Instant, sleep};

use super::*;
use crate::Configured;

fn read(text: &str) -> Config {
    let environment = Environment::of([("KEY", "one"), ("OTHER", "two")]);
    let mut document = Document::parse(Some(text), environment).unwrap();
    let mut section = document.section("inference_adapter");
    let config = Config::read(&mut section, &mut document);
    drop(section);
    document.finish().unwrap();
    config
}

async fn adapter(text: &str) -> (Adapter, Source<Configured>) {
    let (chassis, config) = (Chassis::default(), read(text));
    let (source, live) = live(config.configured());
    let routes = crate::start(config, live, Reloader::default(), &chassis).await.unwrap();
    let channel = Channel::local(routes, &chassis);
    let (inference, deployments) = (InferenceClient::new(channel.clone()), DeploymentsClient::new(channel));
    (Adapter { chassis, inference, deployments }, source)
}

/// An engine that says half a word, waits, and says the other half.
async fn engine(tasks: &penstock_chassis::Tasks) -> Arc<Scripted> {
    scripted::start(tasks, |seen| match scripted::is_free(seen) {
        true => vec![whole("200 OK", "application/json", r#"{"data":[{"id":"em"},{"id":"more"}]}"#)],
        false => vec![
            Step::Write(head("text/event-stream") + &events(&[FIRST])),
            Step::Wait,
            Step::Write(events(&[SECOND, LAST, USAGE, "[DONE]"]) + "0\r\n\r\n"),
        ],
    })
    .await
}

fn deployment(id: &str, engine: &Scripted, more: &str) -> String {
    let address = engine.address;
    format!("[[deployments]]\nid = '{id}'\nengine = 'openai'\nendpoint = 'http://{address}'\n{more}\n")
}

impl Adapter {
    /// Ids, and how many requests each is working on.
    async fn listed(&mut self) -> Vec<(String, u32)> {
        let list = self.deployments.list(ListRequest {}).await.unwrap().into_inner().deployments;
        list.into_iter().map(|one| (one.id, one.in_flight)).collect()
    }

    /// A stream of this deployment, after its first message.
    async fn begin(&mut self, id: &str) -> Streaming<penstock_proto::inference::v1::GenerateResponse> {
        let mut request = tonic::Request::new(request(true));
        request.metadata_mut().insert(DEPLOYMENT, id.parse().unwrap());
        let mut stream = self.inference.generate(request).await.unwrap().into_inner();
        assert_eq!(text(&stream.message().await.unwrap().unwrap().chunks), "Hel");
        stream
    }

    fn has_component(&self, id: &str) -> bool {
        let name = format!("deployment/{id}");
        self.chassis.health.report().components.iter().any(|one| one.name == name)
    }
}

/// The rest of a stream: it must be whole.
async fn ends(mut stream: Streaming<penstock_proto::inference::v1::GenerateResponse>) {
    let mut chunks = Vec::new();
    while let Some(message) = stream.message().await.unwrap() {
        chunks.extend(message.chunks);
    }
    assert_eq!(text(&chunks), "lo");
}

#[tokio::test]
async fn what_has_not_changed_stays_and_running_streams_keep_theirs() {
    let tasks = penstock_chassis::Tasks::default();
    let (old, new) = (engine(&tasks).await, engine(&tasks).await);
    let em = "model = 'em'\napi_key_env = 'KEY'";
    let (mut adapter, mut source) =
        adapter(&["a", "b", "c"].map(|id| deployment(id, &old, em)).concat()).await;
    let streams = [adapter.begin("a").await, adapter.begin("b").await, adapter.begin("c").await];

    // `a` stays, `b` moves, `c` goes, `d` comes.
    let next = [
        deployment("a", &old, "api_key_env = 'KEY'\nmodel = 'em'"),
        deployment("b", &new, em),
        deployment("d", &new, em),
    ];
    assert_eq!(source.put(read(&next.concat()).configured()).await, Ok(true));
    let listed = |known: &[(&str, u32)]| {
        known.iter().map(|(id, in_flight)| ((*id).to_owned(), *in_flight)).collect::<Vec<_>>()
    };
    assert_eq!(adapter.listed().await, listed(&[("a", 1), ("b", 0), ("d", 0)]));
    let there = ["a", "b", "c", "d"].map(|id| adapter.has_component(id));
    assert_eq!(there, [true, true, false, true]);
    assert_eq!((old.generations(), new.generations()), (3, 0));

    // A router that does not know yet may still choose `c`; nobody finds it by its model.
    let late = adapter.begin("c").await;
    let moved = adapter.begin("b").await;
    assert_eq!((old.generations(), new.generations()), (4, 1));
    for stream in streams.into_iter().chain([late]) {
        old.go.notify_one();
        ends(stream).await;
    }
    new.go.notify_one();
    ends(moved).await;
    assert!(!adapter.has_component("c"), "its last words bring it back into no report");
    assert_eq!(adapter.listed().await, listed(&[("a", 0), ("b", 0), ("d", 0)]));

    // Another key is another deployment.
    let rotated = next.concat().replace("'KEY'", "'OTHER'");
    assert_eq!(source.put(read(&rotated).configured()).await, Ok(true));
    assert_eq!(source.put(read(&rotated).configured()).await, Ok(false));
    let stream = adapter.begin("a").await;
    assert!(old.last().contains("authorization: Bearer two"), "{}", old.last());
    old.go.notify_one();
    ends(stream).await;
}

#[tokio::test]
async fn a_place_may_come_move_and_go() {
    let tasks = penstock_chassis::Tasks::default();
    let (old, new) = (engine(&tasks).await, engine(&tasks).await);
    let (mut adapter, mut source) = adapter("").await;
    assert_eq!(adapter.listed().await, []);
    let mut put = async |text: String| source.put(read(&text).configured()).await;
    let both = [("gpu/em".to_owned(), 0), ("gpu/more".to_owned(), 0)];
    put(deployment("gpu", &old, "")).await.unwrap();
    assert_eq!(adapter.listed().await, both);
    let stream = adapter.begin("gpu/em").await;
    put(deployment("gpu", &new, "")).await.unwrap();
    assert_eq!(adapter.listed().await, both, "another engine under the old name");
    let moved = adapter.begin("gpu/em").await;
    assert_eq!((old.generations(), new.generations()), (1, 1));
    old.go.notify_one();
    ends(stream).await;
    new.go.notify_one();
    ends(moved).await;
    put(String::new()).await.unwrap();
    assert_eq!(adapter.listed().await, []);
    assert!(!adapter.has_component("gpu/em"));
}

#[tokio::test(start_paused = true)]
async fn what_is_gone_is_let_go_in_the_end() {
    let slow = "tokens_per_second = 0.1\nlength = '40'";
    let text = format!("[[deployments]]\nid = 'd'\nengine = 'simulated'\n{slow}\n");
    let (adapter, mut source) = adapter(&text).await;
    let mut late = adapter.open(request(true)).await.unwrap();
    assert_eq!(source.put(Configured::default()).await, Ok(true));
    let asked = async || {
        let mut request = tonic::Request::new(request(true));
        request.metadata_mut().insert(DEPLOYMENT, "d".parse().unwrap());
        adapter.inference.clone().generate(request).await
    };
    drop(asked().await.unwrap());
    let counted = || adapter.chassis.metrics.encode().unwrap().contains("deployment=\"d\"");
    assert!(counted());
    sleep(Duration::from_secs(150)).await;
    let error = penstock_proto::Error::from(&asked().await.unwrap_err());
    assert_eq!(error.reason, Reason::EngineModelMissing);
    assert!(!counted(), "{}", adapter.chassis.metrics.encode().unwrap());
    let began = Instant::now();
    while late.message().await.unwrap().is_some() {}
    assert!(began.elapsed() > Duration::from_secs(60), "it outlasts its deployment");
    drop(late);
    assert!(!counted(), "nor does what ends much later come back");
}
