//! The simulated engine as users meet it: pace, length, faults that follow from a seed, tools and JSON.

use penstock_tests::{
    Mesh, Service, Topology, both,
    client::{chat, streamed, with},
};
use serde_json::{Value, json};

/// `test-model` on a simulated engine with these settings.
fn config(settings: &str) -> String {
    format!(
        "[[deployments]]\nid = \"sim\"\nengine = \"simulated\"\ntokens_per_second = 100000\n{settings}\n\
         [[models]]\nname = \"test-model\"\ndeployments = [\"sim\"]\n"
    )
}

both! {
    async fn an_answer_is_as_long_as_it_is_told_and_says_who_gives_it(topology: Topology) {
        let mesh = Mesh::start(topology, &config("length = \"120\"")).await;
        let answer = mesh.client().chat(&chat("test-model")).await;
        let body = answer.json();
        assert!(answer.text().contains("not a language model"), "{body}");
        assert_eq!(body["system_fingerprint"], "penstock-simulated");
        assert_eq!(body["usage"]["completion_tokens"], 120);
        assert!(body["usage"].get("estimated").is_none(), "its words are its tokens: {body}");
        assert_eq!(answer.header("x-penstock-usage"), None);
        let events = mesh.client().stream(&chat("test-model")).await.rest().await;
        let events: Vec<Value> = events.iter().filter_map(|event| serde_json::from_str(event).ok()).collect();
        let text: String =
            events.iter().filter_map(|event| event["choices"][0]["delta"]["content"].as_str()).collect();
        assert_eq!(text, answer.text());
        assert!(events.iter().all(|event| event["system_fingerprint"] == "penstock-simulated"), "{events:?}");
    }
}

both! {
    /// Twice the same requests in the same order have the same outcomes, whatever they are.
    async fn faults_follow_from_the_seed(topology: Topology) {
        let outcomes = async |seed: u64| {
            let faults = format!("error_rate = 0.3\ncut_rate = 0.3\nseed = {seed}");
            let mesh = Mesh::start(topology, &config(&faults)).await;
            let mut outcomes = Vec::new();
            for n in 0..24 {
                let body = with(chat("test-model"), json!({"user": format!("{n}")}));
                let body = if n % 2 == 0 { streamed(body) } else { body };
                let answer = mesh.client().chat(&body).await;
                let text = String::from_utf8_lossy(&answer.body).into_owned();
                let cut = text.contains("engine_cut");
                assert_eq!(answer.status == 200 && !cut, text.contains("stop"), "{text}");
                outcomes.push((answer.status, cut));
            }
            let metrics = mesh.metrics(Service::InferenceAdapter).await;
            assert!(metrics.contains("penstock_engine_requests_total{deployment=\"sim\",outcome=\"ENGINE_FAILED\"}"));
            outcomes
        };
        let (first, again, other) = (outcomes(1).await, outcomes(1).await, outcomes(2).await);
        assert_eq!(first, again);
        assert_ne!(first, other);
        assert!(first.iter().any(|(status, _)| *status == 502) && first.iter().any(|(_, cut)| *cut), "{first:?}");
        assert!(first.iter().any(|(status, cut)| *status == 200 && !cut), "{first:?}");
    }
}

both! {
    /// Silence is noticed as that of any engine.
    async fn a_stall_is_an_engine_timeout(topology: Topology) {
        let stall = config("stall_rate = 1") + "[inference_adapter]\nstall_timeout = \"50ms\"\nfirst_token_timeout = \"50ms\"\n";
        let mesh = Mesh::start(topology, &stall).await;
        let answer = mesh.client().chat(&streamed(chat("test-model"))).await;
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(text.contains("engine_timeout") && !text.contains("[DONE]"), "{text}");
    }
}

both! {
    async fn tools_and_json_are_the_least_that_their_schemas_allow(topology: Topology) {
        let mesh = Mesh::start(topology, &config("")).await;
        let schema = json!({"type": "object", "required": ["n"], "properties": {"n": {"type": "integer", "minimum": 5}}});
        let tools = json!({
            "tools": [{"type": "function", "function": {"name": "count", "parameters": schema}}],
            "tool_choice": {"type": "function", "function": {"name": "count"}},
        });
        let choice = mesh.client().chat(&with(chat("test-model"), tools)).await.json()["choices"][0].clone();
        let call = &choice["message"]["tool_calls"][0];
        assert_eq!((&call["function"]["name"], &call["function"]["arguments"]), (&json!("count"), &json!("{\"n\":5}")));
        assert_eq!(choice["finish_reason"], "tool_calls");
        let format = json!({"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}});
        assert_eq!(mesh.client().chat(&with(chat("test-model"), format)).await.text(), "{\"n\":5}");
        let two = mesh.client().chat(&with(chat("test-model"), json!({"n": 2}))).await.json();
        assert_eq!(two["choices"].as_array().unwrap().len(), 2);
    }
}
