//! How engines are looked after: requests spare checks and bring them forward, slow is DEGRADED, and generations that
//! nobody asked for are made only where they are wanted, within their budget.

use std::time::Duration;

use penstock_proto::{
    adapter::v1::{Deployment, ListRequest, WatchRequest, deployments_client::DeploymentsClient},
    status::v1::{Component, GetRequest, State, status_client::StatusClient},
};
use penstock_tests::{
    ENGINE_KEY, Engine, Mesh, Script, Service, Step, Topology, both,
    bounded::{until, within},
    client::{chat, streamed},
    grpc::{channel, keyed},
    mesh::{ADMIN_KEY, deployment, model},
};
use serde_json::json;

/// Checks an hour apart: those that come sooner have a reason.
const HOURLY: &str = "[inference_adapter]\ndiscovery_interval = \"1h\"\n";
const OFTEN: &str = "[inference_adapter]\ndiscovery_interval = \"100ms\"\n";

fn generations(more: &str) -> String {
    format!("{OFTEN}[inference_adapter.generation_probe]\n{more}\n")
}

async fn component(mesh: &Mesh, name: &str) -> Option<Component> {
    let mut status = StatusClient::new(channel(mesh.address(Service::InferenceAdapter)).await);
    let report = within("Status.Get", status.get(keyed(ADMIN_KEY, GetRequest {})))
        .await
        .unwrap()
        .into_inner()
        .report?;
    report.components.into_iter().find(|component| component.name == name)
}

/// The deployment `main`, as soon as it is `wanted`.
async fn becomes(mesh: &Mesh, wanted: State) -> Component {
    until(&format!("the deployment to be {wanted:?}"), async || {
        component(mesh, "deployment/main").await.filter(|component| component.state() == wanted)
    })
    .await
}

/// The number that a metric of the adapter has; 0: it is not there.
async fn metric(mesh: &Mesh, name: &str) -> u64 {
    let metrics = mesh.metrics(Service::InferenceAdapter).await;
    let line = metrics.lines().find(|line| line.starts_with(&format!("{name} ")));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0)
}

async fn answers(mesh: &Mesh) {
    assert_eq!(mesh.client().chat(&chat("test-model")).await.status, 200);
}

both! {
    /// What has just answered a caller is not asked whether it is there.
    async fn requests_spare_checks(topology: Topology) {
        let interval = Duration::from_millis(300);
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "[inference_adapter]\ndiscovery_interval = \"300ms\"\n").await;
        becomes(&mesh, State::Up).await;
        let requests = || engine.calls().iter().map(|call| call.at).collect::<Vec<_>>();
        answers(&mesh).await;
        while requests()[0].elapsed() < 10 * interval {
            answers(&mesh).await;
        }
        let requests = requests();
        for check in engine.free_calls() {
            let before: Vec<_> = requests.iter().filter(|request| **request < check.at).collect();
            // The last ones may have been under way when the check was decided on.
            if let [.., request, _, _] = before.as_slice() {
                assert!(**request + interval <= check.at, "a check after a request that went well");
            }
        }
        // The report says when it last worked, though nobody checks.
        let seen = becomes(&mesh, State::Up).await;
        assert!(seen.last_success_at.is_some() && seen.last_success_at == seen.checked_at, "{seen:?}");
    }
}

both! {
    async fn a_failed_request_brings_the_check_forward(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, HOURLY).await;
        becomes(&mesh, State::Up).await;
        let before = engine.free_calls().len();
        engine.always(Script::status(500));
        mesh.client().chat(&chat("test-model")).await.problem(502, "engine_failed");
        assert_eq!(becomes(&mesh, State::Down).await.detail, "The engine failed");
        until("an early check", async || (engine.free_calls().len() > before).then_some(())).await;
        // It only answers checks (D7).
        assert_eq!(becomes(&mesh, State::Down).await.detail, "The engine failed");
    }
}

both! {
    /// Nobody waits for the next check, nor for the weight of the request that failed.
    async fn an_engine_that_is_back_is_seen_soon(topology: Topology) {
        let engine = Engine::start().await;
        let address = engine.address();
        let mesh = Mesh::over(topology, &engine, HOURLY).await;
        becomes(&mesh, State::Up).await;
        answers(&mesh).await;
        drop(engine);
        until("a request to fail", async || {
            (mesh.client().chat(&chat("test-model")).await.status == 503).then_some(())
        }).await;
        becomes(&mesh, State::Down).await;
        let _engine = Engine::start_at(address).await;
        assert_eq!(becomes(&mesh, State::Up).await.detail, "");
        until("an answer", async || {
            (mesh.client().chat(&chat("test-model")).await.status == 200).then_some(())
        }).await;
    }
}

both! {
    async fn a_slow_engine_is_degraded_until_it_is_fast_again(topology: Topology) {
        let engine = Engine::start().await;
        let rule = "[[health.checks]]\nname = \"deployment/*\"\nslow_after = \"150ms\"\n";
        let mesh = Mesh::over(topology, &engine, &format!("{OFTEN}{rule}")).await;
        becomes(&mesh, State::Up).await;
        engine.delay_free(Duration::from_millis(300));
        let slow = becomes(&mesh, State::Degraded).await;
        assert_eq!(slow.detail, "slow: took longer than 150ms");
        let latency = Duration::try_from(slow.latency.unwrap()).unwrap();
        assert!(latency >= Duration::from_millis(300), "{latency:?}");
        answers(&mesh).await;
        engine.delay_free(Duration::ZERO);
        becomes(&mesh, State::Up).await;
    }
}

both! {
    /// The operator says what slow means.
    async fn slow_is_down_where_the_file_says_so(topology: Topology) {
        let engine = Engine::start().await;
        engine.delay_free(Duration::from_millis(300));
        let rule = "[[health.checks]]\nname = \"deployment/main\"\nslow_after = \"150ms\"\nslow_means = \"down\"\n";
        let mesh = Mesh::over(topology, &engine, &format!("{OFTEN}{rule}")).await;
        becomes(&mesh, State::Down).await;
    }
}

both! {
    /// A server without the page can generate all the same (D7).
    async fn a_health_page_that_is_missing_takes_nothing_down(topology: Topology) {
        let engine = Engine::start().await;
        engine.serve_page("/health", 500, json!({}));
        let deployment = deployment("main", &engine.v1()).replace("\"openai\"", "\"vllm\"");
        let config = format!("{OFTEN}{deployment}{}", model("test-model", &["main"], ""));
        let mesh = Mesh::start(topology, &config).await;
        for status in [404, 405, 501] {
            engine.serve_page("/health", 500, json!({}));
            becomes(&mesh, State::Down).await;
            engine.serve_page("/health", status, json!({"detail": "Not Found"}));
            becomes(&mesh, State::Up).await;
        }
    }
}

/// What the adapter says of its deployments, at once and when it changes; not a word when only times do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deployments_are_told_with_detail_memory_and_times() {
    let engine = Engine::start().await;
    engine.serve_page("/api/ps", 200, json!({"models": [{"name": "engine-model:latest"}]}));
    let ollama = deployment("main", &engine.url()).replace("\"openai\"", "\"ollama\"");
    let config = format!("{OFTEN}{ollama}{}", model("test-model", &["main"], ""));
    let mesh = Mesh::start(Topology::Mesh, &config).await;
    becomes(&mesh, State::Up).await;
    let mut adapter = DeploymentsClient::new(channel(mesh.address(Service::InferenceAdapter)).await);
    let listed = within("Deployments.List", adapter.list(ListRequest {})).await.unwrap().into_inner();
    let [main] = listed.deployments.as_slice() else { panic!("{listed:?}") };
    assert_eq!((main.state(), main.loaded, main.detail.as_str()), (State::Up, Some(true), ""));
    assert!(
        main.latency.is_some() && main.checked_at.is_some() && main.last_success_at.is_some(),
        "{main:?}"
    );

    let mut watch = within("Deployments.Watch", adapter.watch(WatchRequest {})).await.unwrap().into_inner();
    let mut next = async || {
        let message = within("a change", watch.message()).await.unwrap().unwrap();
        let Deployment { state, loaded, detail, .. } = message.deployments.into_iter().next().unwrap();
        (State::try_from(state).unwrap(), loaded, detail)
    };
    assert_eq!(next().await, (State::Up, Some(true), String::new()));
    // Many checks go by; what is told next is what changed.
    let checks = engine.free_calls().len();
    until("more checks", async || (engine.free_calls().len() > checks + 20).then_some(())).await;
    engine.serve_page("/api/ps", 200, json!({"models": []}));
    assert_eq!(next().await, (State::Up, Some(false), String::new()));
    engine.serve_page("/api/version", 503, json!({"error": "secret"}));
    let overloaded = "The engine is overloaded".to_owned();
    assert_eq!(next().await, (State::Degraded, Some(false), overloaded));
}

both! {
    /// D7: the list is green, and a wrong key or a broken engine would be found by the first caller only.
    async fn a_generation_finds_what_no_list_shows(topology: Topology) {
        let engine = Engine::start().await;
        engine.always(Script::status(401));
        let config = generations("enabled = true\ninterval = \"300ms\"\ntokens_per_day = 100000");
        let mesh = Mesh::over(topology, &engine, &config).await;
        let seen = becomes(&mesh, State::Down).await;
        assert_eq!(seen.detail, "The engine refused the gateway's credential");
        let body = engine.calls()[0].json();
        assert_eq!((&body["model"], &body["max_completion_tokens"]), (&json!("engine-model"), &json!(1)));
        let bearer = format!("Bearer {ENGINE_KEY}");
        assert_eq!(engine.calls()[0].header("authorization"), Some(bearer.as_str()));
        // However many checks go well: as long as no generation does.
        let (checks, calls) = (engine.free_calls().len(), engine.calls().len());
        until("more of both", async || {
            (engine.free_calls().len() > checks + 10 && engine.calls().len() > calls + 3).then_some(())
        }).await;
        becomes(&mesh, State::Down).await;
        engine.always(Script::default());
        becomes(&mesh, State::Up).await;
        engine.always(Script::status(500));
        assert_eq!(becomes(&mesh, State::Down).await.detail, "The engine failed");
        assert!(metric(&mesh, "penstock_generation_probes_total{outcome=\"ENGINE_FAILED\"}").await > 0);
        // Nobody's requests: not counted as such, and not timed.
        let metrics = mesh.metrics(Service::InferenceAdapter).await;
        assert!(!metrics.contains("penstock_engine_requests_total{"), "{metrics}");
        assert!(metrics.contains("penstock_engine_first_token_seconds_count{deployment=\"main\"} 0"), "{metrics}");
    }
}

both! {
    /// Nine of eleven tokens each, and not one more.
    async fn the_days_tokens_are_never_exceeded(topology: Topology) {
        let engine = Engine::playing(Script { usage: (10, 1), ..Script::texts(["pong"]) }).await;
        let config = generations("enabled = true\ninterval = \"100ms\"\ntokens_per_day = 100");
        let mesh = Mesh::over(topology, &engine, &config).await;
        until("the budget to be used up", async || {
            (metric(&mesh, "penstock_generation_probes_total{outcome=\"over_cap\"}").await > 3).then_some(())
        }).await;
        assert_eq!(engine.calls().len(), 9);
        assert_eq!(metric(&mesh, "penstock_generation_probe_tokens_total").await, 99);
        assert_eq!(metric(&mesh, "penstock_generation_probes_total{outcome=\"ok\"}").await, 9);
        let said = mesh.everything_said();
        assert_eq!(said.matches("tokens_per_day").count(), 1, "said once");
        becomes(&mesh, State::Up).await;
        answers(&mesh).await;
    }
}

both! {
    /// Only where it is wanted, and only of models that make texts.
    async fn nothing_is_generated_where_nobody_wants_it(topology: Topology) {
        let (engine, quiet) = (Engine::start().await, Engine::start().await);
        let vectors = "capabilities = { chat = false, embeddings = true }\n";
        let config = [
            generations("interval = \"100ms\"\ntokens_per_day = 100000"),
            deployment("main", &engine.v1()) + "generation_probe = true\n",
            deployment("quiet", &quiet.v1()),
            deployment("vectors", &quiet.v1()) + "generation_probe = true\n" + vectors,
            model("test-model", &["main"], ""), model("other-model", &["quiet"], ""),
        ];
        let mesh = Mesh::start(topology, &config.concat()).await;
        becomes(&mesh, State::Up).await;
        engine.call(5).await;
        let checks = quiet.free_calls().len();
        until("many checks", async || (quiet.free_calls().len() > checks + 10).then_some(())).await;
        assert_eq!(quiet.calls().len(), 0);
    }
}

both! {
    /// Callers have the engine's places for themselves.
    async fn a_generation_makes_way_for_callers(topology: Topology) {
        let engine = Engine::start().await;
        engine.answering(|body| match body["stream"] == json!(true) {
            true => Script::default(),
            false => Script::default().after(Step::Gate),
        });
        let config = "[inference_adapter]\ndiscovery_interval = \"100ms\"\nmax_streams_per_deployment = 1\n\
             [inference_adapter.generation_probe]\nenabled = true\ninterval = \"200ms\"\ntokens_per_day = 100000";
        let mesh = Mesh::over(topology, &engine, config).await;
        // While a generation waits for its answer, the only place is free.
        engine.call(0).await;
        assert_eq!(mesh.client().chat(&streamed(chat("test-model"))).await.status, 200);
        engine.open(1);
        let left_out = async |count: u64| {
            until("a generation to be left out", async || {
                let left_out = metric(&mesh, "penstock_generation_probes_total{outcome=\"no_place\"}").await;
                (left_out >= count).then_some(())
            }).await;
        };
        // While a caller has it, there is no other generation.
        engine.answering(|body| match body["stream"] == json!(true) {
            true => Script::gated(["a", "b"]),
            false => Script::default(),
        });
        engine.open(1);
        let mut events = mesh.client().stream(&chat("test-model")).await;
        assert_eq!(events.next_text().await, "a");
        left_out(1).await;
        let calls = engine.calls().len();
        left_out(4).await;
        assert_eq!(engine.calls().len(), calls);
        engine.open(2);
        assert_eq!(events.next_text().await, "b");
    }
}
