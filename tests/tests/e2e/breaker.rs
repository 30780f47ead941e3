//! Engines that fail are left alone and come back by themselves (D6), whatever callers get wrong (D2); and places on an
//! engine are shared fairly by a queue that has an end.

use penstock_proto::{
    adapter::v1::{Breaker, Deployment, ListRequest, WatchRequest, deployments_client::DeploymentsClient},
    auth::v1::CreateRequest,
    metadata::{QUEUE, TENANT},
    status::v1::{Component, GetRequest, State, status_client::StatusClient},
};
use penstock_tests::{
    Client, Engine, Mesh, Script, Service, Step, Topology, both,
    bounded::{until, within},
    client::{chat, streamed, with},
    engine::Refused,
    grpc::{self, channel, create_key, keyed, reason},
    mesh::{ADMIN_KEY, deployment, model},
};
use serde_json::json;
use tokio::task::JoinSet;
use tonic::Request;

/// Opens soon, and stays open.
const FOR_LONG: &str =
    "[inference_adapter.breaker]\nminimum_calls = 3\nopen = \"1h\"\nopen_max = \"1h\"\nprobes = 2\n";
/// Opens soon, and not for long.
const SHORT: &str =
    "[inference_adapter.breaker]\nminimum_calls = 3\nopen = \"300ms\"\nopen_max = \"600ms\"\nprobes = 2\n";

fn places(max_concurrent: u32, queue_max: u32) -> String {
    format!(
        "[inference_adapter]\nmax_streams_per_deployment = {max_concurrent}\nqueue_max = {queue_max}\n\
         queue_timeout = \"1h\"\n"
    )
}

async fn component(mesh: &Mesh) -> Option<Component> {
    let mut status = StatusClient::new(channel(mesh.address(Service::InferenceAdapter)).await);
    let report = within("Status.Get", status.get(keyed(ADMIN_KEY, GetRequest {}))).await.unwrap();
    let components = report.into_inner().report?.components;
    components.into_iter().find(|component| component.name == "deployment/main")
}

/// The deployment, as soon as it is `wanted`.
async fn becomes(mesh: &Mesh, wanted: State) -> Component {
    until(&format!("the deployment to be {wanted:?}"), async || {
        component(mesh).await.filter(|component| component.state() == wanted)
    })
    .await
}

/// A number of the deployment.
async fn metric(mesh: &Mesh, name: &str) -> u64 {
    let metrics = mesh.metrics(Service::InferenceAdapter).await;
    let start = format!("{name}{{deployment=\"main\"}} ");
    let line = metrics.lines().find_map(|line| line.strip_prefix(&start));
    line.unwrap_or_else(|| panic!("no {name}\n{metrics}")).parse().unwrap()
}

/// Asks until the breaker is open.
async fn opens(mesh: &Mesh) {
    until("the breaker to open", async || {
        let answer = mesh.client().chat(&chat("test-model")).await;
        (answer.json()["error"]["code"] == "circuit_open").then_some(())
    })
    .await;
}

async fn queued(mesh: &Mesh, count: u64) {
    until(&format!("{count} requests to wait"), async || {
        (metric(mesh, "penstock_deployment_queued").await == count).then_some(())
    })
    .await;
}

both! {
    async fn an_engine_that_fails_is_not_asked_any_more(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, FOR_LONG).await;
        becomes(&mesh, State::Up).await;
        assert_eq!(metric(&mesh, "penstock_breaker_state").await, 0);
        engine.always(Script::status(500));
        opens(&mesh).await;
        let calls = engine.calls().len();
        assert_eq!(calls, 3, "as many as it takes, and not one more");
        for body in [chat("test-model"), streamed(chat("test-model"))] {
            let answer = mesh.client().chat(&body).await;
            answer.problem(503, "circuit_open");
            let after: u64 = answer.header("retry-after").unwrap().parse().unwrap();
            assert!((3000..=3600 * 6 / 5).contains(&after), "{after}");
        }
        let seen = becomes(&mesh, State::Down).await;
        assert_eq!(seen.detail, "left alone after 3 of 3 requests failed");
        assert_eq!(metric(&mesh, "penstock_breaker_state").await, 2);
        assert_eq!(metric(&mesh, "penstock_breaker_opened_total").await, 1);
        assert_eq!(metric(&mesh, "penstock_deployment_in_flight").await, 0);
        // Checks that go well do not make it generate (D7).
        let checks = engine.free_calls().len();
        until("more checks", async || (engine.free_calls().len() > checks + 3).then_some(())).await;
        becomes(&mesh, State::Down).await;
        assert_eq!(engine.calls().len(), calls);
    }
}

both! {
    /// D6: a few requests show that it is well, not all that wait for that.
    async fn an_engine_that_is_well_again_is_found_by_a_few_requests(topology: Topology) {
        let engine = Engine::playing(Script::status(500)).await;
        let mesh = Mesh::over(topology, &engine, SHORT).await;
        opens(&mesh).await;
        engine.always(Script::default().after(Step::Gate));
        // By itself, though nobody asks.
        let seen = becomes(&mesh, State::Degraded).await;
        assert!(seen.detail.starts_with("asked again, a few requests at once"), "{seen:?}");
        assert_eq!(metric(&mesh, "penstock_breaker_state").await, 1);
        let before = engine.calls().len();
        let mut asked = JoinSet::new();
        for _ in 0..10 {
            let client = mesh.client();
            asked.spawn(async move { client.chat(&chat("test-model")).await });
        }
        for _ in 0..8 {
            let refused = within("a refusal", asked.join_next()).await.unwrap().unwrap();
            refused.problem(503, "circuit_open");
        }
        engine.call(before + 1).await;
        assert_eq!(engine.calls().len(), before + 2, "the others were spared");
        engine.open(2);
        while let Some(answer) = within("an answer", asked.join_next()).await {
            assert_eq!(answer.unwrap().status, 200);
        }
        becomes(&mesh, State::Up).await;
        assert_eq!(metric(&mesh, "penstock_breaker_state").await, 0);
        engine.always(Script::default());
        for _ in 0..5 {
            assert_eq!(mesh.client().chat(&chat("test-model")).await.status, 200);
        }
    }
}

both! {
    /// Nobody waits for the breaker's time when a check shows that the engine is back.
    async fn an_engine_that_was_gone_and_is_back_is_asked_at_once(topology: Topology) {
        let refused = Refused::new();
        let deployment = deployment("main", &refused.v1());
        let often = "[inference_adapter]\ndiscovery_interval = \"200ms\"\n";
        let config = format!("{often}{FOR_LONG}{deployment}{}", model("test-model", &["main"], ""));
        let mesh = Mesh::start(topology, &config).await;
        opens(&mesh).await;
        let _engine = refused.comes_up();
        until("an answer", async || {
            (mesh.client().chat(&chat("test-model")).await.status == 200).then_some(())
        }).await;
        until("the breaker to close", async || {
            let answer = mesh.client().chat(&chat("test-model")).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            (metric(&mesh, "penstock_breaker_state").await == 0).then_some(())
        }).await;
        becomes(&mesh, State::Up).await;
    }
}

both! {
    /// D6: one request that fails, and it is left alone again.
    async fn an_engine_that_is_not_well_yet_is_left_alone_again(topology: Topology) {
        let engine = Engine::playing(Script::status(500)).await;
        let mesh = Mesh::over(topology, &engine, SHORT).await;
        opens(&mesh).await;
        becomes(&mesh, State::Degraded).await;
        let calls = engine.calls().len();
        assert!(mesh.client().chat(&chat("test-model")).await.status >= 500);
        assert_eq!(engine.calls().len(), calls + 1);
        assert_eq!(metric(&mesh, "penstock_breaker_opened_total").await, 2);
    }
}

both! {
    /// D2: sglang's router took its fleet down by the bad requests of one client.
    async fn bad_requests_never_open_it(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, FOR_LONG).await;
        becomes(&mesh, State::Up).await;
        for status in [400, 413, 422] {
            engine.always(Script::status(status));
            for _ in 0..10 {
                let answer = mesh.client().chat(&chat("test-model")).await;
                assert!((400..500).contains(&answer.status), "{answer:?}");
            }
        }
        assert_eq!(metric(&mesh, "penstock_breaker_opened_total").await, 0);
        assert_eq!(becomes(&mesh, State::Up).await.detail, "");
        // Nor do callers who leave.
        engine.always(Script::default().after(Step::Stall));
        for _ in 0..6 {
            let calls = engine.calls().len();
            let pending = mesh.client().send(
                http::Method::POST, "/v1/chat/completions", chat("test-model").to_string(),
            ).await;
            engine.call(calls).await;
            pending.hang_up();
        }
        until("all of them to be gone", async || {
            (metric(&mesh, "penstock_deployment_in_flight").await == 0).then_some(())
        }).await;
        assert_eq!(metric(&mesh, "penstock_breaker_opened_total").await, 0);
        engine.always(Script::default());
        assert_eq!(mesh.client().chat(&chat("test-model")).await.status, 200);
    }
}

both! {
    async fn a_request_that_finds_no_place_waits_and_one_too_many_is_told_so_at_once(topology: Topology) {
        let engine = Engine::playing(Script::default().after(Step::Gate)).await;
        let mesh = Mesh::over(topology, &engine, &places(1, 1)).await;
        let mut answers = JoinSet::new();
        for waiting in [0, 1] {
            let client = mesh.client();
            answers.spawn(async move { client.chat(&chat("test-model")).await });
            engine.call(0).await;
            queued(&mesh, waiting).await;
        }
        let answer = mesh.client().chat(&chat("test-model")).await;
        answer.problem(503, "engine_busy");
        let after: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=60).contains(&after), "{after}");
        assert_eq!(engine.calls().len(), 1, "one at a time");
        engine.open(2);
        while let Some(answer) = within("an answer", answers.join_next()).await {
            assert_eq!(answer.unwrap().status, 200);
        }
        assert_eq!(engine.calls().len(), 2);
        assert_eq!(metric(&mesh, "penstock_deployment_queued").await, 0);
        assert_eq!(metric(&mesh, "penstock_queue_wait_seconds_count").await, 1);
    }
}

/// What routers are told of a breaker, at once and without a request.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn routers_are_told_of_breakers() {
    let engine = Engine::playing(Script::status(500)).await;
    let mesh = Mesh::over(Topology::Mesh, &engine, SHORT).await;
    let mut adapter = DeploymentsClient::new(channel(mesh.address(Service::InferenceAdapter)).await);
    let mut watch = within("Deployments.Watch", adapter.watch(WatchRequest {})).await.unwrap().into_inner();
    let mut turns = async |wanted: Breaker| {
        loop {
            let message = within("a change", watch.message()).await.unwrap().unwrap();
            let main: Deployment = message.deployments.into_iter().next().unwrap();
            if main.breaker() == wanted {
                return main;
            }
        }
    };
    let closed = turns(Breaker::Closed).await;
    assert_eq!((closed.retry_after, closed.max_concurrent, closed.queued), (None, 1024, 0));
    opens(&mesh).await;
    let open = turns(Breaker::Open).await;
    assert!(open.retry_after.is_some() && open.state() == State::Down, "{open:?}");
    let half_open = turns(Breaker::HalfOpen).await;
    assert!(half_open.retry_after.is_none() && half_open.state() == State::Degraded, "{half_open:?}");
    engine.always(Script::default());
    for _ in 0..2 {
        assert_eq!(mesh.client().chat(&chat("test-model")).await.status, 200);
    }
    assert_eq!(turns(Breaker::Closed).await.state(), State::Up);
}

/// One place: a tenant that came first with many requests does not have it to itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_tenants_take_turns() {
    let engine = Engine::playing(Script::default().after(Step::Gate)).await;
    let mesh = Mesh::over(Topology::Mesh, &engine, &places(1, 100)).await;
    let adapter = mesh.address(Service::InferenceAdapter);
    let client = grpc::inference(adapter).await;
    let mut asked = JoinSet::new();
    let mut ask = |tenant: &'static str, waits: bool| {
        let mut client = client.clone();
        let mut message = grpc::chat("main");
        message.user = Some(tenant.to_owned());
        let mut request = Request::new(message);
        request.metadata_mut().insert(TENANT, tenant.parse().unwrap());
        if !waits {
            request.metadata_mut().insert(QUEUE, "no".parse().unwrap());
        }
        asked.spawn(async move { client.generate(request).await.map(drop) });
    };
    ask("first", true);
    engine.call(0).await;
    for count in 1..=10 {
        ask("many", true);
        queued(&mesh, count).await;
    }
    for count in 11..=13 {
        ask("few", true);
        queued(&mesh, count).await;
    }
    ask("hurried", false);
    let refused = within("a refusal", asked.join_next()).await.unwrap().unwrap().unwrap_err();
    assert_eq!(reason(&refused), "ENGINE_BUSY");
    let mut deployments = DeploymentsClient::new(channel(adapter).await);
    let listed = within("Deployments.List", deployments.list(ListRequest {})).await.unwrap().into_inner();
    let main = &listed.deployments[0];
    assert_eq!((main.in_flight, main.queued, main.max_concurrent), (1, 13, 1));
    for turn in 1..=13 {
        engine.open(1);
        engine.call(turn).await;
    }
    engine.open(1);
    while let Some(answer) = within("an answer", asked.join_next()).await {
        answer.unwrap().unwrap();
    }
    let turns: Vec<_> =
        engine.calls().iter().map(|call| call.json()["user"].as_str().unwrap().to_owned()).collect();
    let (mine, rest) = turns.split_at(7);
    assert_eq!(mine, ["first", "many", "few", "many", "few", "many", "few"]);
    assert_eq!((rest.len(), rest.iter().all(|tenant| tenant == "many")), (7, true), "{rest:?}");
}

both! {
    /// Whose a request is, and how much it is about, is said by the router: a tenant of small requests gets more of
    /// them through one place than one of large requests, though all of those came first.
    async fn tenants_share_a_place_by_tokens(topology: Topology) {
        let engine = Engine::playing(Script::default().after(Step::Gate)).await;
        let mesh = Mesh::over(topology, &engine, &places(1, 100)).await;
        let caller = async |tenant: &str| {
            let request =
                CreateRequest { name: tenant.into(), tenant: Some(tenant.into()), ..CreateRequest::default() };
            let key = create_key(mesh.address(Service::Auth), mesh.key(), request).await;
            mesh.anonymous().with_key(&key.secret)
        };
        let (large, small) = (caller("large").await, caller("small").await);
        let mut asked = JoinSet::new();
        let mut ask = |client: &Client, who: &str, tokens: u32| {
            let (client, about) = (client.clone(), json!({"user": who, "max_completion_tokens": tokens}));
            asked.spawn(async move { client.chat(&with(chat("test-model"), about)).await.status });
        };
        ask(&large, "large", 4000);
        engine.call(0).await;
        for count in 1..=3 {
            ask(&large, "large", 4000);
            queued(&mesh, count).await;
        }
        for count in 4..=13 {
            ask(&small, "small", 1000);
            queued(&mesh, count).await;
        }
        for turn in 1..=13 {
            engine.open(1);
            engine.call(turn).await;
        }
        engine.open(1);
        while let Some(status) = within("an answer", asked.join_next()).await {
            assert_eq!(status.unwrap(), 200);
        }
        let calls = engine.calls();
        let turns: Vec<_> = calls.iter().map(|call| call.json()["user"].as_str().unwrap().to_owned()).collect();
        let (l, s) = ("large", "small");
        assert_eq!(turns, [l, l, s, s, s, s, l, s, s, s, s, l, s, s]);
    }
}
