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
