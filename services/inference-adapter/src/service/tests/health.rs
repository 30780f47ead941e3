//! How deployments are looked after, as time goes by.

use std::{sync::atomic::AtomicUsize, time::Duration};

use tokio::time::sleep;

use super::*;

const MINUTE: Duration = Duration::from_secs(60);

fn generations(adapter: &Adapter, outcome: &str) -> u32 {
    let metrics = adapter.chassis.metrics.encode().unwrap();
    let name = format!("penstock_generation_probes_total{{outcome=\"{outcome}\"}} ");
    metrics.lines().find_map(|line| line.strip_prefix(&name)?.parse().ok()).unwrap_or(0)
}

#[tokio::test(start_paused = true)]
async fn a_generation_comes_once_in_its_interval_and_never_where_callers_come() {
    let text = "[inference_adapter.generation_probe]\nenabled = true\ntokens_per_day = 1000000\n\
         [[deployments]]\nid = 'd'\nengine = 'simulated'\n[[deployments]]\nid = 'e'\nengine = 'simulated'\n\
         generation_probe = false";
    let adapter = adapter(Chassis::default(), Some(text), &[]).await;
    sleep(61 * MINUTE).await;
    let alone = generations(&adapter, "ok");
    assert!((12..=13).contains(&alone), "{alone} in an hour, one in five minutes");
    for _ in 0..60 {
        let (_, outcome) = adapter.ask(request(true)).await;
        outcome.unwrap();
        sleep(MINUTE).await;
    }
    assert_eq!(generations(&adapter, "ok"), alone, "callers show the same");
    sleep(10 * MINUTE).await;
    assert!(generations(&adapter, "ok") > alone);
}

#[tokio::test(start_paused = true)]
async fn a_deployment_says_when_it_last_worked_by_what_its_callers_had() {
    let text = "[[deployments]]\nid = 'd'\nengine = 'simulated'";
    let adapter = adapter(Chassis::default(), Some(text), &[]).await;
    sleep(MINUTE).await;
    let last = async || {
        let list = adapter.deployments.clone().list(ListRequest {}).await.unwrap().into_inner();
        list.deployments[0].last_success_at.unwrap()
    };
    let before = last().await;
    let (_, outcome) = adapter.ask(request(true)).await;
    outcome.unwrap();
    let after = last().await;
    assert!((after.seconds, after.nanos) > (before.seconds, before.nanos), "{before:?} {after:?}");
}

/// What a request had to wait for is remembered, and told with what the operator says.
#[tokio::test]
async fn loading_is_timed_and_terms_are_told() {
    let chassis = Chassis::default();
    let scripted = scripted::start(&chassis.tasks, |seen| {
        if scripted::is_free(seen) {
            let list = if seen.contains("/api/ps") { "" } else { r#"{"name":"em","model":"em"}"# };
            return vec![whole("200 OK", "application/json", &format!(r#"{{"models":[{list}]}}"#))];
        }
        let line = r#"{"message":{"role":"assistant","content":"Hi"},"done":true,"done_reason":"stop"}"#;
        vec![Step::Write(head("application/x-ndjson") + &piece(&format!("{line}\n")) + "0\r\n\r\n")]
    })
    .await;
    let text = format!(
        "[[deployments]]\nid = 'd'\nengine = 'ollama'\nmodel = 'em'\nendpoint = 'http://{}'\ntags = ['eu']\n\
         price = {{ input = 0.5, output = 1.5 }}\nmax_concurrent = 3",
        scripted.address
    );
    let mut adapter = adapter(chassis, Some(&text), &[]).await;
    let mut watch = adapter.deployments.watch(WatchRequest {}).await.unwrap().into_inner();
    let mut told = async |loaded| {
        loop {
            let one = watch.message().await.unwrap().unwrap().deployments.remove(0);
            if one.loaded == Some(loaded) {
                return one;
            }
        }
    };
    let before = told(false).await;
    assert_eq!((before.load_time, before.tags.as_slice()), (None, &["eu".to_owned()][..]));
    assert_eq!(before.price.map(|price| (price.input, price.output)), Some((0.5, 1.5)));
    assert_eq!((before.max_concurrent, before.breaker()), (3, Breaker::Closed));
    adapter.ask(request(true)).await.1.unwrap();
    assert!(told(true).await.load_time.is_some());
}

/// It is asked as before with the first content of a few answers, which may take minutes: what is told of it then is
/// not what it was left alone for.
#[tokio::test]
async fn a_deployment_that_is_asked_as_before_is_up_before_its_answers_end() {
    let asked = AtomicUsize::new(0);
    let breaker =
        "[inference_adapter.breaker]\nminimum_calls = 3\nopen = '50ms'\nopen_max = '50ms'\nprobes = 2";
    let (mut adapter, _engine) = with_engine("openai", breaker, move |_| {
        if asked.fetch_add(1, Ordering::Relaxed) < 3 {
            return vec![whole("500 Internal Server Error", "application/json", "{}")];
        }
        vec![Step::Write(head("text/event-stream") + &events(&[FIRST])), Step::Hold]
    })
    .await;
    let mut watch = adapter.deployments.watch(WatchRequest {}).await.unwrap().into_inner();
    let mut told = async |breaker| {
        loop {
            let one = watch.message().await.unwrap().unwrap().deployments.remove(0);
            if one.breaker() == breaker {
                return one.state();
            }
        }
    };
    for _ in 0..3 {
        assert_eq!(adapter.reason(true).await, Reason::EngineFailed);
    }
    assert_eq!(told(Breaker::Open).await, State::Down);
    assert_eq!(told(Breaker::HalfOpen).await, State::Degraded);
    let mut streams = Vec::new();
    for _ in 0..2 {
        let mut stream = adapter.open(request(true)).await.unwrap();
        assert_eq!(text(&stream.message().await.unwrap().unwrap().chunks), "Hel");
        streams.push(stream);
    }
    assert_eq!(told(Breaker::Closed).await, State::Up);
}
