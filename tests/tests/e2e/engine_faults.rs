//! Engines that fail: what the client is told, what it is not told, and that nobody asks twice once something
//! was passed on (C6 to C9, D1 to D4).

use penstock_tests::{
    ENGINE_CANARY, Engine, Mesh, Script, Step, Topology, both,
    client::{chat, streamed},
    engine::{Head, Refused},
    mesh::{deployment, model},
};
use serde_json::{Value, json};

both! {
    async fn an_engine_that_is_down_is_503(topology: Topology) {
        let refused = Refused::new();
        let config = [deployment("main", &refused.v1()), model("test-model", &["main"], "")].concat();
        let mesh = Mesh::start(topology, &config).await;
        for body in [chat("test-model"), streamed(chat("test-model"))] {
            let answer = mesh.client().chat(&body).await;
            let problem = answer.problem(503, "engine_unreachable");
            assert!(answer.header("retry-after").is_some(), "{answer:?}");
            assert!(!problem.to_string().contains(&refused.address().port().to_string()), "{problem}");
        }
    }
}

both! {
    /// D2 to D4: each status has a meaning of its own; texts of the engine are not passed on.
    async fn statuses_of_the_engine_are_mapped(topology: Topology) {
        let engine = Engine::start().await;
        let loading = json!({"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}});
        let context = json!({"error": {"message": ENGINE_CANARY, "type": "invalid_request_error",
            "param": "messages", "code": "context_length_exceeded"}});
        let cases = [
            (Script::status(500), 502, "engine_failed"),
            (Script::status(504), 502, "engine_failed"),
            (Script::status(401), 502, "engine_credentials"),
            (Script::status(403), 502, "engine_credentials"),
            (Script::status(404), 503, "model_unavailable"),
            (Script::status(400), 400, "engine_rejected"),
            (Script::status(422), 400, "engine_rejected"),
            (Script::status(503), 503, "engine_overloaded"),
            (Script::status(204), 502, "engine_failed"),
            (Script::status_with(429, &[("retry-after", "7")], "{}"), 503, "engine_overloaded"),
            (Script::status_with(503, &[], &loading.to_string()), 503, "model_loading"),
            (Script::status_with(400, &[], &context.to_string()), 400, "context_length_exceeded"),
            (Script::status_with(302, &[("location", "http://127.0.0.1:1/")], ""), 502, "engine_failed"),
            (Script::html(), 502, "engine_bad_answer"),
            (Script::status_with(200, &[], "{\"choices\": 7}"), 502, "engine_bad_answer"),
            (Script::status_with(200, &[], "nonsense"), 502, "engine_bad_answer"),
            (Script::status_with(200, &[], "{}"), 502, "engine_bad_answer"),
        ];
        for (script, status, code) in cases {
            // Fresh for each: a breaker that opened in one case would answer in the next.
            let mesh = Mesh::over(topology, &engine, "").await;
            let name = format!("{:?}", script.head);
            engine.always(script);
            for body in [chat("test-model"), streamed(chat("test-model"))] {
                let answer = mesh.client().chat(&body).await;
                assert_eq!(answer.status, status, "{name}: {}", String::from_utf8_lossy(&answer.body));
                answer.problem(status, code);
                if name.contains("retry-after") {
                    assert_eq!(answer.header("retry-after"), Some("7"));
                }
            }
        }
    }
}

both! {
    async fn a_connection_that_breaks_before_the_head_is_an_error(topology: Topology) {
        let engine = Engine::start().await;
        for script in [Script::default().with_head(Head::Close), Script::default().after(Step::Reset)] {
            let mesh = Mesh::over(topology, &engine, "").await;
            engine.always(script);
            let answer = mesh.client().chat(&chat("test-model")).await;
            assert!([502, 503].contains(&answer.status), "{answer:?}");
            let code = answer.json()["error"]["code"].as_str().unwrap().to_owned();
            assert!(["engine_reset", "engine_unreachable"].contains(&code.as_str()), "{code}");
            answer.problem(answer.status, &code);
        }
    }
}

both! {
    /// C8: after the first content there is an error event, no `[DONE]`, and no second call of the engine.
    async fn what_breaks_in_a_stream_is_said_in_the_stream(topology: Topology) {
        let engine = Engine::start().await;
        let error = json!({"error": {"message": format!("{ENGINE_CANARY} out of memory"), "code": 500}}).to_string();
        let cases = [
            (Step::Cut, "engine_cut"),
            (Step::Reset, "engine_cut"),
            (Step::Raw(Vec::new()), "engine_cut"),
            (Step::Stall, "engine_timeout"),
            (Step::Event(format!("{{{ENGINE_CANARY}")), "engine_bad_answer"),
            (Step::Event(error), "engine_failed"),
            (Step::Raw(vec![b'x'; 2 << 20]), "engine_bad_answer"),
            (Step::Done, "engine_cut"),
        ];
        for (ending, code) in cases {
            let mesh = Mesh::over(topology, &engine, "[inference_adapter]\nstall_timeout = \"300ms\"\n").await;
            let before = engine.calls().len();
            let name = format!("{ending:.40?}");
            engine.always(Script::broken(["Hello", " world"], ending));
            let mut events = mesh.client().stream(&chat("test-model")).await;
            assert_eq!(events.next_text().await, "Hello");
            assert_eq!(events.next_text().await, " world");
            let rest = events.rest().await;
            assert!(!rest.contains(&"[DONE]".to_owned()), "{name}: {rest:?}");
            let last: Value = serde_json::from_str(rest.last().unwrap()).unwrap();
            assert_eq!(last["error"]["code"], json!(code), "{name}: {last}");
            assert_eq!(last["error"]["type"], "server_error", "{name}: {last}");
            assert!(last["error"]["message"].is_string() && last["error"].get("param").is_some(), "{last}");
            assert!(!rest.concat().contains(ENGINE_CANARY), "{name}: {rest:?}");
            assert_eq!(engine.calls().len(), before + 1, "{name}: asked again after the commit point");
        }
    }
}

both! {
    /// Until real content has arrived the status has not been sent: it is a real error, not an event.
    async fn what_breaks_before_the_first_content_is_a_real_status(topology: Topology) {
        let engine = Engine::start().await;
        let role = || Step::Delta(json!({"role": "assistant", "content": ""}));
        let error = json!({"error": {"message": ENGINE_CANARY, "type": "server_error"}}).to_string();
        let cases = [
            (Script::steps([role(), Step::Cut]), 502, "engine_cut"),
            (Script::steps([role(), Step::Event(error)]), 502, "engine_failed"),
            (Script::steps([Step::Event("{".into())]), 502, "engine_bad_answer"),
            (Script::steps([]), 502, "engine_cut"),
            (Script::steps([role(), Step::Stall]), 504, "engine_timeout"),
        ];
        for (script, status, code) in cases {
            let timeout = "[inference_adapter]\nfirst_token_timeout = \"300ms\"\nstall_timeout = \"300ms\"\n";
            let mesh = Mesh::over(topology, &engine, timeout).await;
            engine.always(script);
            mesh.client().chat(&streamed(chat("test-model"))).await.problem(status, code);
        }
    }
}

both! {
    async fn a_plain_answer_that_is_cut_is_an_error(topology: Topology) {
        let engine = Engine::start().await;
        for ending in [Step::Cut, Step::Reset] {
            let mesh = Mesh::over(topology, &engine, "").await;
            engine.always(Script::steps([Step::Text("Hello".into()), ending]));
            mesh.client().chat(&chat("test-model")).await.problem(502, "engine_cut");
        }
    }
}

both! {
    /// D9: an answer without an end is bounded.
    async fn a_plain_answer_that_is_too_large_is_an_error(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "[inference_adapter]\nanswer_max_bytes = \"64 KiB\"\n").await;
        engine.always(Script::texts(["x".repeat(100 << 10)]));
        mesh.client().chat(&chat("test-model")).await.problem(502, "engine_bad_answer");
        engine.always(Script::texts(["x".repeat(50 << 10)]));
        assert_eq!(mesh.client().chat(&chat("test-model")).await.text().len(), 50 << 10);
    }
}
