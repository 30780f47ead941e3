//! One verdict for every caller: all that is wrong at once, by REST as by gRPC, and the caps of the operator (A6).

use penstock_proto::inference::v1::{
    GenerateRequest, Message, StopSequences, TextList, Tool, generate_request::Input, stop_sequences::Kind,
};
use penstock_tests::{
    Engine, Mesh, Topology, both,
    bounded::within,
    client::{self, with},
    grpc::{self, inference, keyed, reason},
};
use serde_json::{Value, json};
use tonic::Status;
use tonic_types::StatusExt as _;

/// Fields and messages of a refusal by REST.
fn by_rest(problem: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    problem["errors"].as_array().unwrap().iter().map(|v| (text(&v["field"]), text(&v["message"]))).collect()
}

/// Those of a refusal by gRPC.
fn by_grpc(status: &Status) -> Vec<(String, String)> {
    assert_eq!(reason(status), "INVALID_REQUEST");
    let details = status.get_error_details();
    let violations = &details.bad_request().unwrap().field_violations;
    violations.iter().map(|v| (v.field.clone(), v.description.clone())).collect()
}

both! {
    /// Wrong types hide no wrong ranges, and nothing that only follows from them is told.
    async fn everything_that_is_wrong_is_told_at_once(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        let body = json!({"model": "test-model", "temperature": "hot", "top_p": 7, "n": 1.5, "stop": [1, "x"],
            "messages": [{"role": "user", "content": 7}, {"role": "robot", "content": "x"}, 5],
            "stream": "yes", "stream_options": {}, "tools": {}, "tool_choice": "required",
            "response_format": {"type": "json_schema", "json_schema": {"name": "a b", "strict": 1}}});
        let problem = mesh.client().chat(&body).await.problem(422, "invalid_value");
        let mut fields: Vec<_> = by_rest(&problem).into_iter().map(|(field, _)| field).collect();
        fields.sort();
        let expected = ["messages[0].content", "messages[1].role", "messages[2]", "n",
            "response_format.json_schema.name", "response_format.json_schema.strict", "stop[0]", "stream",
            "temperature", "tools", "top_p"];
        assert_eq!(fields, expected);
        assert_eq!(engine.calls().len(), 0);
    }
}

/// The same mistake by JSON and by message.
type Mistake = (Value, fn(&mut GenerateRequest));

fn mistakes() -> Vec<Mistake> {
    let hello = &client::chat("test-model")["messages"][0];
    vec![
        (json!({"temperature": 2.5, "n": 129}), |r| (r.temperature, r.n) = (Some(2.5), Some(129))),
        (json!({"max_tokens": 0, "presence_penalty": 3}), |r| {
            (r.max_tokens, r.presence_penalty) = (Some(0), Some(3.0));
        }),
        (json!({"top_logprobs": 21}), |r| r.top_logprobs = Some(21)),
        (json!({"stop": []}), |r| {
            r.stop = Some(StopSequences { kind: Some(Kind::List(TextList::default())) });
        }),
        (json!({"logit_bias": {"1": 101, "2": "x"}}), |r| {
            r.logit_bias_json = Some(r#"{"1":101,"2":"x"}"#.into());
        }),
        (json!({"response_format": {"type": "json_schema", "json_schema": {}}}), |r| {
            r.response_format_json = Some(r#"{"json_schema":{},"type":"json_schema"}"#.into());
        }),
        (
            json!({"tool_choice": {"type": "function", "function": {"name": "f"}}, "tools": [{"type": "function"}]}),
            |r| {
                r.tools = vec![Tool { r#type: "function".into(), ..Tool::default() }];
                r.tool_choice_json = Some(r#"{"type":"function","function":{"name":"f"}}"#.into());
            },
        ),
        (json!({"messages": [hello, {"role": "tool", "content": null}]}), |r| {
            let Some(Input::Chat(chat)) = &mut r.input else { panic!("no chat") };
            chat.messages.push(Message { role: "tool".into(), ..Message::default() });
        }),
        (json!({"prediction": {}, "audio": {"voice": 1}, "web_search_options": []}), |r| {
            r.prediction_json = Some("{}".into());
            r.audio_json = Some(r#"{"voice":1}"#.into());
            r.web_search_options_json = Some("[]".into());
        }),
        (json!({"prompt_cache_key": "k".repeat(65), "verbosity": "loud"}), |r| {
            (r.prompt_cache_key, r.verbosity) = (Some("k".repeat(65)), Some("loud".into()));
        }),
    ]
}

both! {
    async fn rest_and_grpc_get_the_same_verdict(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        let mut router = inference(mesh.grpc()).await;
        for (members, change) in mistakes() {
            let body = with(client::chat("test-model"), members.clone());
            let mut rest = by_rest(&mesh.client().chat(&body).await.problem(422, "invalid_value"));
            let mut request = grpc::chat("test-model");
            change(&mut request);
            let refused = within("Generate", router.generate(keyed(mesh.key(), request))).await.unwrap_err();
            let mut grpc = by_grpc(&refused);
            // Wrong types come first by REST: whoever parses JSON sees them first.
            rest.sort();
            grpc.sort();
            assert_eq!(rest, grpc, "{members}");
            assert!(!rest.is_empty());
        }
        assert_eq!(engine.calls().len(), 0);
    }
}

both! {
    /// A6: an operator may allow less than OpenAI does; the refusal names field and cap.
    async fn caps_of_the_operator_are_kept(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "[router]\nn_max = 2\ncompletion_tokens_max = 100\n").await;
        let asked = json!({"n": 3, "max_tokens": 101, "max_completion_tokens": 200});
        let problem = mesh.client().chat(&with(client::chat("test-model"), asked)).await.problem(422, "invalid_value");
        let found = by_rest(&problem);
        let fields: Vec<_> = found.iter().map(|(field, _)| field.as_str()).collect();
        assert_eq!(fields, ["n", "max_tokens", "max_completion_tokens"]);
        assert!(found[0].1.contains('2') && found[1].1.contains("100"), "{found:?}");
        let mut router = inference(mesh.grpc()).await;
        let request = GenerateRequest {
            n: Some(3), max_tokens: Some(101), max_completion_tokens: Some(200), ..grpc::chat("test-model")
        };
        let refused = within("Generate", router.generate(keyed(mesh.key(), request))).await.unwrap_err();
        assert_eq!(by_grpc(&refused), found);
        assert_eq!(engine.calls().len(), 0);
        let within_caps = json!({"n": 2, "max_tokens": 100});
        assert_eq!(mesh.client().chat(&with(client::chat("test-model"), within_caps)).await.status, 200);
    }
}
