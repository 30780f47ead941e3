//! Further attempts: at once, after a pause, elsewhere, beside; each exactly as often as the reason allows, and all
//! together within the retry budget.

use std::time::{Duration, Instant};

use penstock_tests::{
    Engine, Mesh, Script, Service, Step, Topology, both,
    bounded::until,
    client::{chat, streamed},
    engine::{End, Head, Refused},
    mesh::{deployment, model},
};
use serde_json::{Value, json};

/// Two deployments of `test-model`, the second only if the first does not do, and what else that model says.
fn two(first: &str, second: &Engine, more: &str) -> String {
    let model = format!(
        "[[models]]\nname = \"test-model\"\ndeployments = [\"first\", {{ id = \"second\", priority = 2 }}]\n{more}\n"
    );
    [deployment("first", first), deployment("second", &second.v1()), model].concat()
}

/// Models `small` on `first` and `large` on `second`.
fn small_and_large(first: &Engine, second: &Engine, more: &str) -> String {
    [
        deployment("first", &first.v1()),
        deployment("second", &second.v1()),
        model("small", &["first"], more),
        model("large", &["second"], ""),
    ]
    .concat()
}

fn calls(engines: [&Engine; 2]) -> [usize; 2] {
    engines.map(|engine| engine.calls().len())
}

/// The line of the access log about a request.
async fn access(mesh: &Mesh, id: &str) -> Value {
    let about = |line: &Value| line["message"] == "answered" && line["request_id"] == id;
    until(&format!("the line about {id}"), async || mesh.log(Service::Router).into_iter().find(about)).await
}

/// Waits until a metric of the router begins with this line.
async fn measured(mesh: &Mesh, line: &str) {
    until(line, async || mesh.metrics(Service::Router).await.contains(line).then_some(())).await;
}

fn refusal(code: &str) -> Script {
    let body =
        json!({"error": {"message": "x", "type": "invalid_request_error", "param": null, "code": code}});
    Script::status_with(400, &[], &body.to_string())
}

both! {
    /// D1: a connection that is closed without an answer is tried once more, at once; then it is another's turn.
    async fn a_closed_connection_is_tried_once_more(topology: Topology) {
        let (first, second) = (Engine::start().await, Engine::start().await);
        let mesh = Mesh::start(topology, &two(&first.v1(), &second, "")).await;
        for script in [Script::default().with_head(Head::Close), Script::default().after(Step::Reset)] {
            let before = calls([&first, &second]);
            first.next(script.clone());
            let answer = mesh.client().chat(&chat("test-model")).await;
            assert_eq!(answer.text(), "Hello, world!");
            assert_eq!(answer.header("x-penstock-fallbacks"), None, "the first one answered");
            assert_eq!(calls([&first, &second]), [before[0] + 2, before[1]]);
            first.next(script.clone());
            first.next(script);
            let answer = mesh.client().chat(&chat("test-model")).await;
            assert_eq!(answer.text(), "Hello, world!");
            assert_eq!(answer.header("x-penstock-fallbacks"), Some("1"));
            assert_eq!(calls([&first, &second]), [before[0] + 4, before[1] + 1]);
        }
    }
}

both! {
    /// D1: where nothing listens there is nothing to ask again.
    async fn a_port_that_refuses_is_left_for_another(topology: Topology) {
        let (refused, second) = (Refused::new(), Engine::start().await);
        let mesh = Mesh::start(topology, &two(&refused.v1(), &second, "")).await;
        for body in [chat("test-model"), streamed(chat("test-model"))] {
            assert_eq!(mesh.client().chat(&body).await.status, 200);
        }
        assert_eq!(second.calls().len(), 2);
    }
}

both! {
    /// D3: an engine is asked again when it said that it would have time, not before, and not if that is far off.
    async fn the_time_that_an_engine_asks_for_is_given(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        let busy = |after| Script::status_with(429, &[("retry-after", after)], "{}");
        engine.next(busy("1"));
        assert_eq!(mesh.client().chat(&chat("test-model")).await.text(), "Hello, world!");
        let calls = engine.calls();
        assert_eq!(calls.len(), 2);
        assert!(calls[1].at - calls[0].at >= Duration::from_secs(1), "too soon");
        engine.next(busy("7"));
        let answer = mesh.client().chat(&chat("test-model")).await;
        answer.problem(503, "engine_overloaded");
        assert_eq!(answer.header("retry-after"), Some("7"));
        assert_eq!(engine.calls().len(), 3, "seven seconds are for the caller to wait");
    }
}

both! {
    /// D3: whoever else has time is asked first, at once.
    async fn nobody_waits_for_one_engine_while_another_has_time(topology: Topology) {
        let (first, second) = (Engine::start().await, Engine::start().await);
        let mesh = Mesh::start(topology, &two(&first.v1(), &second, "")).await;
        first.always(Script::status_with(429, &[("retry-after", "1")], "{}"));
        let began = Instant::now();
        let answer = mesh.client().chat(&chat("test-model")).await;
        assert_eq!(answer.text(), "Hello, world!");
        assert_eq!(calls([&first, &second]), [1, 1]);
        assert!(second.calls()[0].at < began + Duration::from_secs(1), "it was not waited for");
    }
}

both! {
    /// D4: by class; redirects are no answers, and are not followed.
    async fn a_failing_engine_is_left_for_another_and_asked_again_if_there_is_none(topology: Topology) {
        let away = Script::status_with(302, &[("location", "http://127.0.0.1:1/")], "");
        for script in [Script::status(500), Script::status(502), Script::status(520), Script::status(204), away] {
            let name = format!("{:?}", script.head);
            let (first, second) = (Engine::start().await, Engine::start().await);
            let config = [two(&first.v1(), &second, ""), model("alone", &["first"], "")].concat();
            let mesh = Mesh::start(topology, &config).await;
            first.next(script.clone());
            assert_eq!(mesh.client().chat(&chat("test-model")).await.text(), "Hello, world!", "{name}");
            assert_eq!(calls([&first, &second]), [1, 1], "{name}");
            first.next(script);
            assert_eq!(mesh.client().chat(&chat("alone")).await.text(), "Hello, world!", "{name}");
            assert_eq!(calls([&first, &second]), [3, 1], "{name}");
        }
    }
}

both! {
    /// D5: all engines fail under load: what is asked beyond the requests themselves is a share of them.
    async fn failing_engines_are_not_hammered(topology: Topology) {
        let (first, second) = (Engine::playing(Script::status(500)).await, Engine::playing(Script::status(503)).await);
        let config = format!("[router]\nretry_budget_min = 1\n{}", two(&first.v1(), &second, ""));
        let mesh = Mesh::start(topology, &config).await;
        let client = mesh.client();
        let mut requests = tokio::task::JoinSet::new();
        for _ in 0..200 {
            let client = client.clone();
            requests.spawn(async move { client.chat(&chat("test-model")).await });
        }
        for answer in requests.join_all().await {
            assert!([502, 503].contains(&answer.status), "{answer:?}");
            assert!(answer.json()["error"]["code"].is_string());
            assert!(answer.status != 503 || answer.header("retry-after").is_some(), "{answer:?}");
        }
        let [first, second] = calls([&first, &second]);
        assert!(first > 0);
        // A fifth, and one a second: the window is ten seconds, and the test may take some more.
        assert!(first + second <= 200 + 40 + 20, "{first} and {second}");
        measured(&mesh, "penstock_retry_budget_exhausted_total").await;
        let metrics = mesh.metrics(Service::Router).await;
        assert!(!metrics.contains("penstock_retry_budget_exhausted_total 0"), "it was never used up");
    }
}

both! {
    /// The slow one loses, and its engine sees the connection go.
    async fn a_slow_deployment_gets_another_one_beside_it(topology: Topology) {
        let (first, second) = (Engine::playing(Script::default().after(Step::Stall)).await, Engine::start().await);
        let mesh = Mesh::start(topology, &two(&first.v1(), &second, "hedge = \"200ms\"")).await;
        for (index, body) in [chat("test-model"), streamed(chat("test-model"))].into_iter().enumerate() {
            let id = format!("hedged-{index}");
            let answer = mesh.client().with_header("x-request-id", &id).chat(&body).await;
            assert_eq!(answer.status, 200);
            assert!(String::from_utf8_lossy(&answer.body).contains("world"));
            assert_eq!(answer.header("x-penstock-fallbacks"), None, "nobody failed");
            assert_eq!(first.call(index).await.ended().await, End::ClientGone);
            let line = access(&mesh, &id).await;
            assert_eq!((&line["deployment"], &line["attempts"]), (&json!("second"), &json!(2)), "{line}");
        }
        assert_eq!(calls([&first, &second]), [2, 2]);
        measured(&mesh, "penstock_hedges_total{outcome=\"won\"} 2").await;
        let lost = "penstock_attempts_total{model=\"test-model\",deployment=\"first\",kind=\"first\",outcome=\"LOST\"} 2";
        measured(&mesh, lost).await;
    }
}

both! {
    async fn one_that_comes_first_after_all_wins_and_the_other_is_closed(topology: Topology) {
        let (first, second) = (Engine::playing(Script::gated(["late"])).await, Engine::start().await);
        second.always(Script::default().after(Step::Stall));
        let mesh = Mesh::start(topology, &two(&first.v1(), &second, "hedge = \"50ms\"")).await;
        let pending = mesh.client().send(http::Method::POST, "/v1/chat/completions", chat("test-model").to_string()).await;
        let beside = second.call(0).await;
        first.open(9);
        assert_eq!(pending.head().await.whole().await.text(), "late");
        assert_eq!(beside.ended().await, End::ClientGone);
        assert_eq!(first.call(0).await.ended().await, End::Played);
        measured(&mesh, "penstock_hedges_total{outcome=\"lost\"} 1").await;
    }
}

both! {
    /// D12: a model with a larger context answers, and says so; no other one is asked.
    async fn a_prompt_that_is_too_long_goes_to_the_larger_model(topology: Topology) {
        let (first, second) = (Engine::playing(refusal("context_length_exceeded")).await, Engine::start().await);
        let config = small_and_large(&first, &second, "context_fallbacks = [\"large\"]");
        let mesh = Mesh::start(topology, &config).await;
        for body in [chat("small"), streamed(chat("small"))] {
            let answer = mesh.client().chat(&body).await;
            assert_eq!(answer.status, 200);
            assert_eq!(answer.header("x-penstock-model"), Some("large"));
            assert_eq!(answer.header("x-penstock-fallbacks"), Some("1"));
        }
        assert_eq!(calls([&first, &second]), [2, 2]);
        second.always(refusal("context_length_exceeded"));
        mesh.client().chat(&chat("small")).await.problem(400, "context_length_exceeded");
        assert_eq!(calls([&first, &second]), [3, 3]);
    }
}

both! {
    /// By default a filter's refusal is the answer, however many models could be asked instead.
    async fn a_filters_refusal_is_the_answer(topology: Topology) {
        let (first, second) = (Engine::start().await, Engine::start().await);
        let mesh = Mesh::start(topology, &small_and_large(&first, &second, "fallbacks = [\"large\"]")).await;
        first.next(refusal("content_filter"));
        mesh.client().chat(&chat("small")).await.problem(400, "content_filter");
        first.next(Script::steps([Step::Finish("content_filter"), Step::Usage, Step::Done]));
        let answer = mesh.client().chat(&chat("small")).await;
        assert_eq!(answer.json()["choices"][0]["finish_reason"], "content_filter");
        assert_eq!(calls([&first, &second]), [2, 0]);
    }
}

both! {
    async fn a_filters_refusal_goes_to_the_model_that_is_named_for_it(topology: Topology) {
        let (first, second) = (Engine::start().await, Engine::start().await);
        let config = small_and_large(&first, &second, "filter_fallbacks = [\"large\"]");
        let mesh = Mesh::start(topology, &config).await;
        let finish = || Script::steps([Step::Finish("content_filter"), Step::Usage, Step::Done]);
        for (script, body) in [
            (refusal("content_filter"), chat("small")),
            (finish(), chat("small")),
            (finish(), streamed(chat("small"))),
        ] {
            first.next(script);
            let answer = mesh.client().chat(&body).await;
            assert_eq!(answer.header("x-penstock-model"), Some("large"));
            assert!(String::from_utf8_lossy(&answer.body).contains("world"));
        }
        assert_eq!(calls([&first, &second]), [3, 3]);
    }
}

both! {
    /// What is held back was not seen yet: a failure within it is another's to mend.
    async fn a_failure_within_what_is_held_back_is_never_seen(topology: Topology) {
        let (first, second) = (Engine::playing(Script::broken(["Bye", " all"], Step::Cut)).await, Engine::start().await);
        let more = "hold_back = { chars = 40, time = \"10s\" }";
        let mesh = Mesh::start(topology, &two(&first.v1(), &second, more)).await;
        let events = mesh.client().stream(&chat("test-model")).await;
        assert_eq!(events.headers.get("x-penstock-fallbacks").unwrap(), "1");
        let events = events.rest().await;
        assert_eq!(events.last().map(String::as_str), Some("[DONE]"));
        assert!(events.concat().contains("world") && !events.concat().contains("Bye"), "{events:?}");
        assert_eq!(calls([&first, &second]), [1, 1]);
    }
}

both! {
    /// Failed attempts are counted and told, and only the answer is billed.
    async fn only_the_answer_is_billed(topology: Topology) {
        let (first, second) = (Engine::start().await, Engine::start().await);
        first.always(Script::broken([""], Step::Cut));
        second.always(Script { usage: (11, 4), ..Script::default() });
        let mesh = Mesh::start(topology, &two(&first.v1(), &second, "")).await;
        let client = mesh.client().with_header("x-request-id", "billed");
        assert_eq!(client.chat(&chat("test-model")).await.text(), "Hello, world!");
        let line = access(&mesh, "billed").await;
        assert_eq!(line["tokens"], 15, "{line}");
        assert_eq!((&line["attempts"], &line["fallbacks"]), (&json!(2), &json!(1)), "{line}");
        for (deployment, kind, outcome) in [("first", "first", "ENGINE_CUT"), ("second", "failover", "OK")] {
            let labels = format!("deployment=\"{deployment}\",kind=\"{kind}\",outcome=\"{outcome}\"");
            measured(&mesh, &format!("penstock_attempts_total{{model=\"test-model\",{labels}}} 1")).await;
        }
    }
}
