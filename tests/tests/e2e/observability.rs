//! What a person who runs Penstock sees: request ids in logs, metrics, traces; and what nobody may see there.

use serde_json::json;

use penstock_tests::{
    ENGINE_CANARY, ENGINE_KEY, Engine, Mesh, PROMPT_CANARY, Script, Service, Step, Topology, both,
    bounded::until,
    client::{chat, streamed, with},
    collector::Collector,
    mesh::ADMIN_KEY,
};

both! {
    /// The id of a request is found in the logs of every service that worked on it.
    async fn a_request_can_be_followed_through_the_logs(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        let client = mesh.client().with_header("x-request-id", "follow-me-1");
        // At temperature 0 the cache is asked as well.
        let request = with(chat("test-model"), json!({"temperature": 0}));
        assert_eq!(client.chat(&request).await.status, 200);
        client.stream(&request).await.rest().await;
        for service in Service::ALL {
            until(&format!("the request in the log of {}", service.name()), async || {
                mesh.log(service).iter().any(|line| line.to_string().contains("follow-me-1")).then_some(())
            }).await;
        }
        // Every line is JSON with a time, a level and a text.
        for service in mesh.processes_of_topology() {
            for line in mesh.log(*service) {
                assert!(line["timestamp"].is_string() && line["level"].is_string(), "{line}");
            }
        }
    }
}

/// The lines of the access log about a request.
fn access(mesh: &Mesh, id: &str) -> Vec<serde_json::Value> {
    let about = |line: &serde_json::Value| line["message"] == "answered" && line["request_id"] == id;
    mesh.log(Service::Router).into_iter().filter(about).collect()
}

/// Waits for the line about a request, and looks whether it says this outcome.
async fn logged(mesh: &Mesh, id: &str, outcome: &str) {
    let line = until(&format!("the line about {id}"), async || access(mesh, id).pop()).await;
    assert_eq!(line["outcome"], outcome, "{line}");
}

both! {
    /// Whatever becomes of a request, it leaves one line, and no second one.
    async fn every_request_leaves_one_line_in_the_access_log(topology: Topology) {
        let engine = Engine::start().await;
        let mut mesh = Mesh::over(topology, &engine, "[router]\nretries = 0\n").await;
        let as_id = |id: &str| mesh.client().with_header("x-request-id", id);
        as_id("plain").chat(&chat("test-model")).await.text();
        as_id("stream").stream(&chat("test-model")).await.rest().await;
        engine.next(Script::status(500));
        as_id("engine-error").chat(&chat("test-model")).await.problem(502, "engine_failed");
        engine.next(Script::broken(["a"], Step::Cut));
        as_id("cut").stream(&chat("test-model")).await.rest().await;
        engine.next(Script::broken(["a"], Step::Stall));
        let mut events = as_id("hang-up-in-midst").stream(&chat("test-model")).await;
        events.next_text().await;
        events.hang_up();
        engine.next(Script::default().after(Step::Stall));
        let body = streamed(chat("test-model")).to_string();
        let calls = engine.calls().len();
        let pending = as_id("hang-up-before").send(http::Method::POST, "/v1/chat/completions", body).await;
        engine.call(calls).await;
        pending.hang_up();
        let outcomes = [
            ("plain", "OK"), ("stream", "OK"), ("engine-error", "ENGINE_FAILED"), ("cut", "ENGINE_CUT"),
            ("hang-up-in-midst", "CANCELLED"), ("hang-up-before", "CANCELLED"),
        ];
        for (id, outcome) in outcomes {
            logged(&mesh, id, outcome).await;
        }
        mesh.stop().await;
        for (id, _) in outcomes {
            assert_eq!(access(&mesh, id).len(), 1, "{id}");
        }
    }
}

both! {
    async fn a_request_over_the_limit_leaves_one_line_in_the_access_log(topology: Topology) {
        let engine = Engine::start().await;
        let limit = "[[limits]]\napplies_to = \"key\"\nrequests = { per = \"1h\", limit = 1 }\n";
        let mut mesh = Mesh::over(topology, &engine, limit).await;
        mesh.client().chat(&chat("test-model")).await.text();
        let refused = mesh.client().with_header("x-request-id", "refused");
        refused.chat(&chat("test-model")).await.problem(429, "rate_limit_exceeded");
        logged(&mesh, "refused", "RATE_LIMIT_EXCEEDED").await;
        mesh.stop().await;
        assert_eq!(access(&mesh, "refused").len(), 1);
    }
}

/// Logs as a person has them who configured nothing: for people, at the default level.
const HUMAN: &str = "[router]\nretries = 0\n[telemetry]\nlog = \"info\"\nlog_format = \"human\"\n";

/// The lines of everything said that hold `text`, as soon as there is one.
async fn lines_with(mesh: &Mesh, text: &str) -> Vec<String> {
    mesh.says(Service::Router, text).await;
    mesh.everything_said().lines().filter(|line| line.contains(text)).map(str::to_owned).collect()
}

both! {
    /// What is said of a request can be told from what is said of others, without any configuration.
    async fn logs_for_people_name_the_request(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, HUMAN).await;
        mesh.client().with_header("x-request-id", "follow-me-2").chat(&chat("test-model")).await.text();
        engine.next(Script::broken(["a"], Step::Cut));
        mesh.client().with_header("x-request-id", "follow-me-3").stream(&chat("test-model")).await.rest().await;
        engine.next(Script::status(500));
        mesh.client().with_header("x-request-id", "follow-me-4").chat(&chat("test-model")).await;
        for id in ["follow-me-2", "follow-me-3", "follow-me-4"] {
            let lines = until("the line of the access log", async || {
                let lines = lines_with(&mesh, id).await;
                lines.iter().any(|line| line.contains("answered")).then_some(lines)
            }).await;
            assert!(!lines.iter().any(|line| line.starts_with('{')), "not for people: {lines:?}");
        }
        for text in ["answered", "a deployment gave no answer"] {
            let lines = lines_with(&mesh, text).await;
            assert!(lines.iter().all(|line| line.contains("follow-me-")), "{lines:?}");
        }
    }
}

/// A warning about a request: only the mesh has a rate-limiter that can be lost alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn warnings_for_people_name_the_request() {
    let engine = Engine::start().await;
    let mut mesh = Mesh::over(Topology::Mesh, &engine, HUMAN).await;
    mesh.kill(Service::RateLimiter);
    mesh.client().with_header("x-request-id", "follow-me-5").chat(&chat("test-model")).await.text();
    let lines = lines_with(&mesh, "the rate-limiter cannot be asked").await;
    assert!(lines.iter().all(|line| line.contains("follow-me-5")), "{lines:?}");
}

both! {
    /// B12: with everything logged that can be, in success and in every kind of failure.
    async fn no_log_metric_or_trace_holds_a_secret(topology: Topology) {
        let collector = Collector::start().await;
        let engine = Engine::start().await;
        let telemetry = format!("[telemetry]\nlog = \"trace\"\notlp_endpoint = \"{}\"\n", collector.endpoint());
        let mut mesh = Mesh::over(topology, &engine, &telemetry).await;
        let client = mesh.client();
        engine.always(Script::texts([ENGINE_CANARY]));
        client.chat(&chat("test-model")).await.text();
        client.stream(&chat("test-model")).await.rest().await;
        engine.always(Script::broken([ENGINE_CANARY], Step::Cut));
        client.stream(&chat("test-model")).await.rest().await;
        for script in [Script::status(500), Script::status(400), Script::html()] {
            engine.always(script);
            client.chat(&chat("test-model")).await;
        }
        mesh.keep_secret("canary-wrong-key");
        mesh.anonymous().with_key("canary-wrong-key").chat(&chat("test-model")).await;
        client.post("/v1/chat/completions", format!("{{\"model\": \"{PROMPT_CANARY}")).await;
        client.chat(&streamed(serde_json::json!({"model": "x", "messages": [{"role": PROMPT_CANARY}]}))).await;
        let secrets = [PROMPT_CANARY, ENGINE_CANARY, ENGINE_KEY, ADMIN_KEY, "canary-wrong-key"];
        for service in mesh.processes_of_topology() {
            let metrics = mesh.metrics(*service).await;
            assert!(secrets.iter().all(|secret| !metrics.contains(secret)), "{metrics}");
            let line = std::fs::read(format!("/proc/{}/cmdline", mesh.process(*service).pid())).unwrap();
            assert!(secrets.iter().all(|s| !String::from_utf8_lossy(&line).contains(s)), "{line:?}");
        }
        mesh.stop().await;
        assert!(!collector.spans().is_empty());
        for span in collector.spans() {
            assert!(secrets.iter().all(|secret| !span.text.contains(secret)), "{span:?}");
        }
        // The logs are searched when the mesh is dropped.
    }
}

both! {
    /// One trace for a request, spans of every service in it.
    async fn a_request_is_one_trace_over_all_services(topology: Topology) {
        let collector = Collector::start().await;
        let engine = Engine::start().await;
        let telemetry = format!("[telemetry]\notlp_endpoint = \"{}\"\n", collector.endpoint());
        let mut mesh = Mesh::over(topology, &engine, &telemetry).await;
        let trace = "0af7651916cd43dd8448eb211c80319c";
        let parent = format!("00-{trace}-b7ad6b7169203331-01");
        let client = mesh.client().with_header("traceparent", &parent);
        assert_eq!(client.chat(&chat("test-model")).await.status, 200);
        mesh.stop().await;
        let spans: Vec<_> = collector.spans().into_iter().filter(|span| span.trace == trace).collect();
        let methods = ["Inference/Generate", "Auth/Authenticate", "RateLimiter/Reserve"];
        for method in methods {
            assert!(spans.iter().any(|span| span.text.contains(method)), "no span of {method}: {spans:#?}");
        }
        // Router and adapter, both.
        assert!(spans.iter().filter(|span| span.text.contains("Inference/Generate")).count() >= 2, "{spans:#?}");
        if topology == Topology::Mesh {
            assert!(collector.services_in(trace).len() >= 4, "{:?}", collector.services_in(trace));
        }
    }
}

both! {
    /// A lost collector costs spans, never requests.
    async fn without_a_collector_everything_goes_on(topology: Topology) {
        let engine = Engine::start().await;
        let refused = penstock_tests::engine::Refused::new();
        let telemetry = format!("[telemetry]\notlp_endpoint = \"http://{}\"\n", refused.address());
        let mut mesh = Mesh::over(topology, &engine, &telemetry).await;
        assert_eq!(mesh.client().chat(&chat("test-model")).await.status, 200);
        for (service, status) in mesh.stop().await {
            assert!(status.success(), "{}: {status}", service.name());
        }
    }
}

/// The value of the samples of `metric` whose labels hold all of `labels`, added up.
fn sum(metrics: &str, metric: &str, labels: &[&str]) -> f64 {
    metrics
        .lines()
        .filter(|line| line.starts_with(metric) && labels.iter().all(|label| line.contains(label)))
        .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
        .sum()
}

both! {
    async fn metrics_parse_and_count(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        let count = async || {
            sum(&mesh.metrics(Service::Router).await, "penstock_rpc_total", &["Inference/Generate", "\"OK\""])
        };
        let before = count().await;
        for _ in 0..3 {
            assert_eq!(mesh.client().chat(&chat("test-model")).await.status, 200);
        }
        // In one process router and adapter count into the same registry.
        let each = if topology == Topology::Mesh { 1.0 } else { 2.0 };
        until("the calls to be counted", async || (count().await - before >= 3.0 * each).then_some(())).await;
        for service in mesh.processes_of_topology() {
            let text = mesh.metrics(*service).await;
            assert!(text.ends_with("# EOF\n"), "not OpenMetrics: {text}");
            for line in text.lines().filter(|line| !line.starts_with('#')) {
                let (name, value) = line.rsplit_once(' ').unwrap();
                assert!(name.starts_with("penstock_") && value.parse::<f64>().is_ok(), "{line}");
            }
        }
        // On a port of their own: callers do not get them.
        mesh.client().get("/metrics").await.problem(404, "unknown_url");
    }
}
