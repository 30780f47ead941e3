//! Rate limits: requests and tokens, reserve and settle, and what the headers say.

use penstock_proto::{
    auth::v1::CreateRequest,
    ratelimit::v1::{Limit, Unit},
};
use penstock_tests::{
    Client, Engine, Mesh, Script, Service, Step, Topology, both,
    bounded::until,
    client::{chat, streamed, with},
    grpc::create_key,
};
use serde_json::json;

const TWO_REQUESTS: &str = "[[limits]]\napplies_to = \"key\"\nrequests = { per = \"1h\", limit = 2 }\n";
const TOKENS: &str = "[[limits]]\napplies_to = \"key\"\ntokens = { per = \"1h\", limit = 1000 }\n";

async fn ask(client: &Client, max_tokens: u64) -> penstock_tests::Answer {
    client.chat(&with(chat("test-model"), json!({"max_tokens": max_tokens}))).await
}

both! {
    async fn requests_over_the_limit_are_429(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, TWO_REQUESTS).await;
        for left in ["1", "0"] {
            let answer = mesh.client().chat(&chat("test-model")).await;
            assert_eq!(answer.text(), "Hello, world!");
            assert_eq!(answer.header("x-ratelimit-limit-requests"), Some("2"));
            assert_eq!(answer.header("x-ratelimit-remaining-requests"), Some(left));
            // A duration as Go writes it, not a moment: "30m0s".
            let reset = answer.header("x-ratelimit-reset-requests").unwrap();
            assert!(reset.ends_with('s') && reset.contains('m'), "{reset}");
        }
        let answer = mesh.client().chat(&chat("test-model")).await;
        let problem = answer.problem(429, "rate_limit_exceeded");
        assert_eq!(problem["error"]["type"], "rate_limit_error");
        let seconds: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=1800).contains(&seconds), "{seconds}");
        let milliseconds: u64 = answer.header("retry-after-ms").unwrap().parse().unwrap();
        assert_eq!(milliseconds.div_ceil(1000), seconds);
        assert_eq!(answer.header("x-should-retry"), Some("true"));
        assert_eq!(answer.header("x-ratelimit-remaining-requests"), Some("0"));
        assert_eq!(engine.calls().len(), 2);
        // Another key has buckets of its own.
        let made = create_key(mesh.address(Service::Auth), mesh.key(), CreateRequest {
            name: "other".into(), ..CreateRequest::default()
        }).await;
        assert_eq!(mesh.anonymous().with_key(&made.secret).chat(&chat("test-model")).await.status, 200);
    }
}

both! {
    /// F7.
    async fn fifty_at_once_at_a_limit_of_ten_are_exactly_ten(topology: Topology) {
        let engine = Engine::start().await;
        let limit = "[[limits]]\napplies_to = \"tenant\"\nrequests = { per = \"1h\", limit = 10 }\n";
        let mesh = Mesh::over(topology, &engine, limit).await;
        let client = mesh.client();
        let answers = (0..50).map(|_| async { client.chat(&chat("test-model")).await.status });
        let answers = futures_util::future::join_all(answers).await;
        assert_eq!(answers.iter().filter(|status| **status == 200).count(), 10, "{answers:?}");
        assert_eq!(answers.iter().filter(|status| **status == 429).count(), 40, "{answers:?}");
        assert_eq!(engine.calls().len(), 10);
    }
}

both! {
    /// What was reserved and not used is given back: only what is really used counts.
    async fn tokens_are_settled_by_what_was_used(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, TOKENS).await;
        let client = mesh.client();
        // Each reserves most of the bucket and uses 11 tokens: without a settling the second would be refused.
        for used in [11, 22, 33] {
            until("the reservation to be settled", async || {
                (ask(&client, 900).await.status == 200).then_some(())
            }).await;
            assert!(engine.calls().len() * 11 == used);
        }
        // A stream is settled as well, usage asked for or not.
        engine.always(Script { usage: (400, 500), ..Script::default() });
        until("the last reservation to be settled", async || {
            (client.chat(&streamed(chat("test-model"))).await.status == 200).then_some(())
        }).await;
        until("the stream to be settled", async || (ask(&client, 100).await.status == 429).then_some(())).await;
        let answer = ask(&client, 100).await;
        answer.problem(429, "rate_limit_exceeded");
        assert_eq!(answer.header("x-ratelimit-limit-tokens"), Some("1000"));
        assert!(answer.header("x-ratelimit-remaining-tokens").unwrap().parse::<u64>().unwrap() < 100);
        assert!(answer.header("x-ratelimit-reset-tokens").is_some());
    }
}

both! {
    /// What can never pass is said to be so: a client that waits would wait for ever.
    async fn a_request_larger_than_the_limit_is_not_to_be_retried(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, TOKENS).await;
        let answer = ask(&mesh.client(), 5000).await;
        let problem = answer.problem(429, "request_exceeds_limit");
        assert!(problem["detail"].as_str().unwrap().contains("1000"), "{problem}");
        assert_eq!(answer.header("x-should-retry"), Some("false"));
        assert_eq!(answer.header("retry-after"), None);
        assert_eq!(engine.calls().len(), 0);
    }
}

both! {
    /// F8: what failed cost nothing.
    async fn a_request_that_failed_costs_no_tokens(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, TOKENS).await;
        engine.next(Script::status(400));
        ask(&mesh.client(), 900).await.problem(400, "engine_rejected");
        until("the tokens to be given back", async || {
            (ask(&mesh.client(), 900).await.status == 200).then_some(())
        }).await;
    }
}

both! {
    /// C1, F8: a caller that hangs up pays for what it got, not for what it might have got.
    async fn what_a_caller_that_left_did_not_use_is_given_back(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, TOKENS).await;
        let client = mesh.client();
        let large = with(chat("test-model"), json!({"max_tokens": 900}));
        let role = Step::Delta(json!({"role": "assistant", "content": ""}));
        // Where it leaves: script, streamed or plain, texts that it got.
        let windows = [
            (Script::default().after(Step::Stall), true, 0),
            (Script::default().after(Step::Stall), false, 0),
            (Script::steps([role, Step::Stall]), true, 0),
            (Script::broken(["some text"], Step::Stall), true, 1),
        ];
        let mut left = Vec::new();
        for (script, stream, texts) in windows {
            engine.always(script);
            let calls = engine.calls().len();
            let body = if stream { streamed(large.clone()) } else { large.clone() };
            let pending = client.send(http::Method::POST, "/v1/chat/completions", body.to_string()).await;
            let call = engine.call(calls).await;
            if texts == 0 {
                pending.hang_up();
            } else {
                let mut events = pending.head().await;
                assert_eq!(events.next_text().await, "some text");
                events.hang_up();
            }
            call.ended().await;
            // Asking how much is left costs nothing: the engine refuses. Tokens that it did not count would be.
            engine.always(Script::status(400));
            left.push(until("the tokens to be given back", async || {
                let answer = ask(&client, 1).await;
                let left: u64 = answer.header("x-ratelimit-remaining-tokens")?.parse().unwrap();
                // The 900 are not among them as long as they are reserved.
                (left > 900).then_some(left)
            }).await);
        }
        // Who got nothing pays nothing; who got something, that.
        let [first, .., last] = left[..] else { unreachable!() };
        assert!(left[..3].iter().all(|left| *left == first), "{left:?}");
        assert!(last < first, "{left:?}");
    }
}

both! {
    async fn a_key_has_limits_of_its_own(topology: Topology) {
        let engine = Engine::start().await;
        let mut mesh = Mesh::over(topology, &engine, "").await;
        let per = Some(prost_types::Duration { seconds: 3600, nanos: 0 });
        let limit = Limit { unit: Unit::Requests.into(), limit: 1, per, burst: None };
        let request = CreateRequest { name: "one".into(), limits: vec![limit], ..CreateRequest::default() };
        let made = create_key(mesh.address(Service::Auth), mesh.key(), request).await;
        mesh.keep_secret(&made.secret);
        let client = mesh.anonymous().with_key(&made.secret);
        assert_eq!(client.chat(&chat("test-model")).await.header("x-ratelimit-limit-requests"), Some("1"));
        client.chat(&chat("test-model")).await.problem(429, "rate_limit_exceeded");
        let unlimited = mesh.client().chat(&chat("test-model")).await;
        assert_eq!((unlimited.status, unlimited.header("x-ratelimit-limit-requests")), (200, None));
    }
}
