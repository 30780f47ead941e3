//! G4: more than there is room for is refused at once, with the time to come back, and nothing else suffers from it.

use std::time::Duration;

use penstock_tests::{
    Answer, Client, Engine, Events, Mesh, Script, Service, Step, Topology, both,
    bounded::{until, within},
    client::{chat, streamed, with},
    grpc::{self, inference, keyed, reason},
};
use serde_json::json;
use tonic_types::StatusExt as _;

/// Says something at once, and ends when the gate is opened.
fn held() -> Script {
    let role = Step::Delta(json!({"role": "assistant", "content": ""}));
    let steps = [role, Step::Text("a".into()), Step::Gate, Step::Finish("stop"), Step::Usage, Step::Done];
    Script::steps(steps)
}

async fn streams(client: &Client, count: usize) -> Vec<Events> {
    let mut streams = Vec::new();
    for _ in 0..count {
        let mut events = client.stream(&chat("test-model")).await;
        assert_eq!(events.next_text().await, "a");
        streams.push(events);
    }
    streams
}

/// Refused by the door: says when to come back, and that it is worth it.
fn overloaded(answer: &Answer) {
    answer.problem(503, "overloaded");
    assert_eq!(answer.json()["error"]["type"], "overloaded_error");
    let after: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=4).contains(&after), "{after}");
    assert_eq!(answer.header("x-should-retry"), Some("true"));
}

/// The value of a metric of this name and labels.
fn metric(metrics: &str, series: &str) -> Option<f64> {
    let value = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    value.and_then(|value| value.parse().ok())
}

async fn nobody_in_progress(mesh: &Mesh, service: Service) {
    let series = format!("penstock_door_in_progress{{door=\"{}\"}}", service.name());
    until("no request to be in progress", async || {
        (metric(&mesh.metrics(service).await, &series) == Some(0.0)).then_some(())
    })
    .await;
}

both! {
    async fn what_is_too_much_is_refused_at_once_and_has_room_later(topology: Topology) {
        let engine = Engine::playing(held()).await;
        let mesh = Mesh::over(topology, &engine, "[facade]\nrequests_max = 3\n").await;
        let client = mesh.client();
        let running = streams(&client, 3).await;
        for body in [chat("test-model"), streamed(chat("test-model"))] {
            overloaded(&client.chat(&body).await);
        }
        overloaded(&client.post("/v1/embeddings", json!({"model": "test-model", "input": "x"}).to_string()).await);
        overloaded(&client.get("/v1/models").await);
        // Refused before the body: of this one there is none.
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\
             content-type: application/json\r\ncontent-length: 100000\r\n\r\n",
            mesh.key(),
        );
        let answer = client.raw(head.as_bytes(), |_| false).await;
        let answer = String::from_utf8_lossy(&answer).to_lowercase();
        assert!(answer.starts_with("http/1.1 503") && answer.contains("connection: close"), "{answer}");
        // By the facade's port for gRPC, too, in the words of gRPC.
        let mut callers = inference(mesh.address(Service::Facade)).await;
        let refused = callers.generate(keyed(mesh.key(), grpc::chat("test-model"))).await.unwrap_err();
        assert_eq!(reason(&refused), "OVERLOADED");
        // How it is can be asked all the same.
        for path in ["/health/live", "/health/ready", "/health", "/openapi.json"] {
            assert_eq!(mesh.anonymous().get(path).await.status, 200, "{path}");
        }
        assert!(grpc::is_serving(mesh.address(Service::Facade), "").await);
        let metrics = mesh.metrics(Service::Facade).await;
        for (series, value) in [
            ("penstock_door_limit{door=\"facade\"}", 3.0),
            ("penstock_door_in_progress{door=\"facade\"}", 3.0),
            ("penstock_shed_total{door=\"facade\",class=\"answer\"}", 4.0),
            ("penstock_shed_total{door=\"facade\",class=\"batch\"}", 2.0),
        ] {
            assert_eq!(metric(&metrics, series), Some(value), "{series}\n{metrics}");
        }
        assert!(metric(&metrics, "penstock_runtime_delay_seconds").is_some(), "{metrics}");
        assert_eq!(engine.calls().len(), 3, "no engine saw anything of it");
        // Those that run go on, and one that ends makes room for one.
        engine.always(Script::default());
        engine.open(1);
        let answer = until("room for one more", async || {
            Some(client.chat(&chat("test-model")).await).filter(|answer| answer.status != 503)
        }).await;
        assert_eq!(answer.text(), "Hello, world!");
        engine.open(2);
        for events in running {
            let rest = events.rest().await;
            assert_eq!(rest.last().map(String::as_str), Some("[DONE]"), "{rest:?}");
        }
        assert_eq!(engine.calls().len(), 4);
        nobody_in_progress(&mesh, Service::Facade).await;
    }
}

both! {
    /// Whoever comes by gRPC meets the same: at the router, before anybody asks who it is.
    async fn the_router_has_a_door_of_its_own(topology: Topology) {
        let engine = Engine::playing(held()).await;
        let mesh = Mesh::over(topology, &engine, "[router]\nrequests_max = 2\n").await;
        let mut callers = inference(mesh.grpc()).await;
        let mut request = grpc::chat("test-model");
        request.stream = true;
        let mut running = Vec::new();
        for _ in 0..2 {
            let mut answer = callers.generate(keyed(mesh.key(), request.clone())).await.unwrap().into_inner();
            within("the first message", answer.message()).await.unwrap().unwrap();
            running.push(answer);
        }
        for key in [mesh.key(), "a stranger"] {
            let refused = callers.generate(keyed(key, request.clone())).await.unwrap_err();
            assert_eq!(reason(&refused), "OVERLOADED");
            let after = refused.get_error_details().retry_info().and_then(|info| info.retry_delay).unwrap();
            assert!((Duration::from_secs(1)..=Duration::from_secs(4)).contains(&after), "{after:?}");
        }
        overloaded(&mesh.client().chat(&chat("test-model")).await);
        assert_eq!(engine.calls().len(), 2);
        assert!(grpc::is_serving(mesh.grpc(), "").await);
        // One caller leaves: its place is free.
        drop(running.pop());
        engine.always(Script::default());
        let answer = until("room for one more", async || {
            Some(mesh.client().chat(&chat("test-model")).await).filter(|answer| answer.status != 503)
        }).await;
        assert_eq!(answer.text(), "Hello, world!");
        engine.open(1);
        for mut answer in running {
            while within("a message", answer.message()).await.unwrap().is_some() {}
        }
        nobody_in_progress(&mesh, Service::Router).await;
    }
}

/// One of a hundred requests, each of another kind than the one before. Says its status.
async fn one_of_many(client: Client, number: usize) -> u16 {
    let vary = |body| with(body, json!({"seed": number}));
    let body = vary(chat("test-model"));
    match number % 6 {
        0 => client.chat(&body).await.status,
        // Read to the end, or left in the middle, or before anything came.
        1 | 2 => {
            let body = streamed(body).to_string();
            let mut events = client.send(http::Method::POST, "/v1/chat/completions", body).await.head().await;
            let status = events.status;
            if status == 200 && number % 6 == 1 {
                let rest = events.rest().await;
                assert_eq!(rest.last().map(String::as_str), Some("[DONE]"), "{rest:?}");
            } else if status == 200 {
                events.next_text().await;
                events.hang_up();
            }
            status
        }
        3 => {
            client.send(http::Method::POST, "/v1/chat/completions", body.to_string()).await.hang_up();
            0
        }
        4 => client.get("/v1/models").await.status,
        _ => client.chat(&json!({"model": "test-model", "messages": "none"})).await.status,
    }
}

both! {
    /// However requests come, end, fail or are left: each ends, the engine gets no more than the doors let in, and
    /// not one place is lost.
    async fn a_crowd_at_narrow_doors_never_locks_up(topology: Topology) {
        let pace = [Step::Text("word ".into()), Step::Wait(Duration::from_millis(2))];
        let mut steps: Vec<Step> = pace.iter().cycle().take(40).cloned().collect();
        steps.extend([Step::Finish("stop"), Step::Usage, Step::Done]);
        let engine = Engine::playing(Script::steps(steps)).await;
        let doors = "[facade]\nrequests_max = 20\n[router]\nrequests_max = 10\n";
        let mesh = Mesh::over(topology, &engine, doors).await;
        let crowd: Vec<_> =
            (0..100).map(|number| tokio::spawn(one_of_many(mesh.client(), number))).collect();
        let mut statuses = Vec::new();
        for one in crowd {
            statuses.push(within("every request to end", one).await.unwrap());
        }
        assert!(statuses.iter().all(|status| [0, 200, 422, 503].contains(status)), "{statuses:?}");
        assert!(statuses.contains(&200), "{statuses:?}");
        for service in [Service::Facade, Service::Router] {
            nobody_in_progress(&mesh, service).await;
        }
        // As many as there is room for are let in again.
        engine.always(held());
        let running = streams(&mesh.client(), 10).await;
        overloaded(&mesh.client().chat(&chat("test-model")).await);
        drop(running);
    }
}
