//! Bad input to health: names of a megabyte, thousands of Watch streams, queries that make no sense, and many
//! who ask while requests run. All of it is contained, and nobody else notices.

use penstock_tests::{
    Engine, Mesh, Service, Topology, both,
    bounded::{until, within},
    client::chat,
    grpc::{channel, is_serving, reason},
};
use tokio::task::JoinSet;
use tonic::{Code, Status, Streaming, transport::Channel};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus,
    health_client::HealthClient,
};

/// `health.watches_max` as it is without configuration.
const WATCHES_MAX: usize = 1024;
const MEGABYTE: usize = 1 << 20;

fn named(service: impl Into<String>) -> HealthCheckRequest {
    HealthCheckRequest { service: service.into() }
}

/// Health and requests go on as if nothing had been.
async fn goes_on(mesh: &Mesh) {
    for service in [Service::Facade, Service::Router] {
        assert!(is_serving(mesh.address(service), "liveness").await, "{}", service.name());
        // A machine that had no time for its checks may take a moment to see that all is well.
        for name in ["", "readiness"] {
            until(&format!("{name:?} of {}", service.name()), async || {
                is_serving(mesh.address(service), name).await.then_some(())
            })
            .await;
        }
    }
    for path in ["/health", "/health/live", "/health/ready", "/health/status"] {
        until(path, async || (mesh.anonymous().get(path).await.status == 200).then_some(())).await;
    }
    assert_eq!(mesh.client().chat(&chat("test-model")).await.status, 200);
}

both! {
    async fn names_of_a_megabyte_are_unknown_and_nothing_of_them_is_kept(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        let before = mesh.resident_bytes();
        for service in Service::ALL {
            let mut health = HealthClient::new(channel(mesh.address(service)).await);
            let mut watches = Vec::new();
            for name in ["x".repeat(MEGABYTE), format!("model/{}", "é".repeat(MEGABYTE / 2)), "\u{0}\n".repeat(4000)] {
                let answer = within("Health.Check", health.check(named(&name))).await.unwrap_err();
                assert_eq!(answer.code(), Code::NotFound, "{}", service.name());
                assert!(answer.message().len() < 1000, "the name comes back");
                for _ in 0..20 {
                    let mut watch = within("Health.Watch", health.watch(named(&name))).await.unwrap().into_inner();
                    let first = within("the first status", watch.message()).await.unwrap().unwrap();
                    assert_eq!(first.status(), ServingStatus::ServiceUnknown, "{}", service.name());
                    watches.push(watch);
                }
            }
            // More than a message may be.
            let answer = within("Health.Check", health.check(named("x".repeat(8 * MEGABYTE)))).await.unwrap_err();
            assert_ne!(answer.code(), Code::Ok);
            assert!(is_serving(mesh.address(service), "").await, "{}", service.name());
        }
        // 360 names of a megabyte were sent to be watched.
        let grown = mesh.resident_bytes().saturating_sub(before);
        assert!(grown < 200 * MEGABYTE as u64, "{grown} bytes more");
        goes_on(&mesh).await;
    }
}

type Watch = Streaming<HealthCheckResponse>;

/// Opens a Watch and waits for what it says first.
async fn watch(channel: Channel, name: &str) -> Result<Watch, Status> {
    let mut health = HealthClient::new(channel);
    let mut watch = within("Health.Watch", health.watch(named(name))).await?.into_inner();
    within("the first status", watch.message()).await?.expect("it speaks at once");
    Ok(watch)
}

/// Opens `count` of them over many connections: those that are open, and how many were refused.
async fn watches(mesh: &Mesh, service: Service, count: usize) -> (Vec<Watch>, usize) {
    const PER_CONNECTION: usize = 50;
    let mut opening = JoinSet::new();
    for _ in 0..count / PER_CONNECTION {
        let channel = channel(mesh.address(service)).await;
        for number in 0..PER_CONNECTION {
            let (channel, name) = (channel.clone(), if number % 2 == 0 { "" } else { "readiness" });
            opening.spawn(async move { watch(channel, name).await });
        }
    }
    let (mut open, mut refused) = (Vec::new(), 0);
    while let Some(outcome) = opening.join_next().await {
        match outcome.unwrap() {
            Ok(watch) => open.push(watch),
            Err(status) => {
                assert_eq!(reason(&status), "OVERLOADED", "{status:?}");
                assert!(status.message().contains("watches_max"), "names the remedy: {status:?}");
                refused += 1;
            }
        }
    }
    (open, refused)
}

both! {
    /// E8, E11: bounded, refused clearly, nobody else notices, and room comes back.
    async fn five_thousand_watches_are_bounded(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        let before = mesh.resident_bytes();
        for service in [Service::Facade, Service::Router] {
            let (open, refused) = watches(&mesh, service, 5000).await;
            assert_eq!(open.len() + refused, 5000);
            // The mesh may watch itself, too.
            assert!((WATCHES_MAX - 16..=WATCHES_MAX).contains(&open.len()), "{} are open", open.len());
            goes_on(&mesh).await;
            let grown = mesh.resident_bytes().saturating_sub(before);
            assert!(grown < 200 * MEGABYTE as u64, "{grown} bytes more");
            drop(open);
            let address = mesh.address(service);
            until("room for a Watch", async || watch(channel(address).await, "").await.ok()).await;
            until("room for all of them", async || {
                let (open, refused) = watches(&mesh, service, 1000).await;
                (open.len() == 1000 && refused == 0).then_some(())
            }).await;
        }
        goes_on(&mesh).await;
    }
}

both! {
    async fn who_asks_for_health_is_answered_while_requests_run(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        let mut running = JoinSet::new();
        for _ in 0..20 {
            let client = mesh.client();
            running.spawn(async move {
                for _ in 0..20 {
                    assert_eq!(client.chat(&chat("test-model")).await.status, 200);
                }
            });
        }
        for _ in 0..20 {
            let (health, router) = (mesh.anonymous(), mesh.address(Service::Router));
            running.spawn(async move {
                for path in ["/health", "/health/live", "/health/ready", "/health/status"].repeat(10) {
                    assert_eq!(health.get(path).await.status, 200, "{path}");
                }
                assert!(is_serving(router, "readiness").await);
            });
        }
        while let Some(outcome) = running.join_next().await {
            outcome.unwrap();
        }
        assert_eq!(engine.calls().len(), 400);
    }
}

const PATHS: [&str; 9] = [
    "/health",
    "/health/live",
    "/health/liveliness",
    "/health/ready",
    "/health/readiness",
    "/health/status",
    "/health/models",
    "/health/services",
    "/health/history",
];

const QUERIES: [&str; 18] = [
    "",
    "&&&===",
    "model",
    "model=",
    "model=%00%ff%fe",
    "model=..%2f..%2fetc%2fpasswd",
    "model=test-model&model=test-model",
    "service=",
    "service=%0d%0aset-cookie:a=b",
    "service=router&service=auth",
    "service=http://169.254.169.254/",
    "limit=0",
    "limit=-1",
    "limit=99999999999999999999999",
    "limit=1e3&offset=NaN",
    "offset=18446744073709551615",
    "name=%F0%9F%92%A9&limit=1",
    "%zz=%",
];

both! {
    /// A12, A13: understood or refused in our words, never a 500, and nothing of it comes back as a header.
    async fn queries_that_make_no_sense_are_refused_or_ignored(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        for path in PATHS {
            let (all, one) = ("x".repeat(10_000), "a=b&".repeat(2000));
            let long = [format!("service={all}"), format!("model={all}"), format!("name={all}"), one];
            for query in QUERIES.iter().copied().chain(long.iter().map(String::as_str)) {
                for client in [mesh.client(), mesh.anonymous()] {
                    let answer = client.get(&format!("{path}?{query}")).await;
                    let what = format!("{path}?{query:.60}: {answer:?}");
                    assert!([200, 400, 401, 404, 414, 422, 431].contains(&answer.status), "{what}");
                    assert!(answer.header("set-cookie").is_none() && answer.body.len() < 20_000, "{what}");
                    let probe = path.starts_with("/health/live") || path.starts_with("/health/read");
                    assert!(!probe || [200, 414, 431].contains(&answer.status), "a probe minds no query: {what}");
                    if [400, 404, 422].contains(&answer.status) {
                        let code = answer.json()["error"]["code"].as_str().unwrap_or_default().to_owned();
                        answer.problem(answer.status, &code);
                    }
                }
            }
        }
        goes_on(&mesh).await;
    }
}

both! {
    /// A15: a method that is not there says which are.
    async fn other_methods_are_405_with_those_that_there_are(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        for path in PATHS {
            for method in [http::Method::POST, http::Method::PUT, http::Method::DELETE, http::Method::PATCH] {
                let answer = mesh.client().request(method.clone(), path, "{}").await;
                assert_eq!(answer.status, 405, "{method} {path}");
                let allowed = answer.header("allow").unwrap_or_default();
                assert!(["GET", "HEAD"].iter().all(|word| allowed.contains(word)), "{path}: {allowed}");
            }
            assert_eq!(mesh.anonymous().request(http::Method::OPTIONS, path, "").await.status, 200, "{path}");
        }
    }
}
