//! Requests for responses against a scripted router.

use axum::http::StatusCode;
use penstock_proto::{
    Error, Reason,
    inference::v1::{Usage, generate_request::Input},
};
use serde_json::{Value, json};
use tonic::Status;

use super::*;
use crate::tests::scripted::{Answer, Facade, Script, chunk, message};

fn answer() -> Script {
    let usage = Some(Usage { prompt_tokens: 1, completion_tokens: 2, total_tokens: 3, ..Usage::default() });
    Script::Answer(vec![message(vec![GenerateChunk { usage, ..chunk("hello", Some("stop")) }])])
}

async fn post(facade: &Facade, body: String) -> Answer {
    let request = axum::http::Request::post("/v1/responses").header("authorization", "Bearer k");
    facade.send(request.body(body.into()).unwrap()).await
}

fn body(members: Value) -> String {
    let mut request = json!({"model": "m", "input": "hi"});
    request.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    request.to_string()
}

#[tokio::test]
async fn an_answer_is_a_whole_response() {
    let facade = Facade::new(answer());
    let got =
        post(&facade, body(json!({"store": false, "instructions": "be kind", "temperature": 0.5}))).await;
    assert_eq!(got.status, StatusCode::OK, "{got:?}");
    let mut response: Value = serde_json::from_str(&got.body).unwrap();
    let id = response["id"].take();
    let hex = id.as_str().unwrap().strip_prefix("resp_").unwrap().to_owned();
    assert_eq!(hex.len(), 32);
    assert!(response["completed_at"].take().as_i64().unwrap() > 7);
    // Every member that OpenAI has: clients read them without asking.
    let expected = r#"{
        "id": null, "object": "response", "created_at": 7, "status": "completed", "background": false,
        "completed_at": null, "error": null, "incomplete_details": null, "model": "m", "service_tier": null,
        "instructions": "be kind", "max_output_tokens": null, "max_tool_calls": null, "metadata": {},
        "parallel_tool_calls": true, "prompt_cache_key": null, "prompt_cache_retention": null,
        "reasoning": {"effort": null, "summary": null}, "safety_identifier": null, "store": false,
        "temperature": 0.5, "text": {"format": {"type": "text"}}, "tool_choice": "auto", "tools": [],
        "top_logprobs": null, "top_p": null, "truncation": "disabled", "user": null,
        "previous_response_id": null,
        "output": [{"id": "msg_HEX_0", "type": "message", "status": "completed", "role": "assistant",
            "content": [{"type": "output_text", "text": "hello", "annotations": [], "logprobs": []}]}],
        "usage": {"input_tokens": 1, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": 2,
            "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 3}}"#;
    let expected: Value = serde_json::from_str(&expected.replace("HEX", &hex)).unwrap();
    assert_eq!(response, expected);
    let seen = facade.seen.generate.lock().unwrap();
    let (request, _) = &seen[0];
    let Some(Input::Chat(chat)) = &request.input else { panic!("{request:?}") };
    let roles: Vec<_> = chat.messages.iter().map(|message| message.role.as_str()).collect();
    assert_eq!(roles, ["system", "user"]);
    // Nobody keeps it, so nobody needs to know what it would be kept with.
    assert_eq!((request.store, &request.response), (Some(false), &None));
}

#[tokio::test]
async fn what_is_to_be_kept_takes_its_terms_along() {
    let facade = Facade::new(answer());
    post(&facade, body(json!({"instructions": "x", "metadata": {"k": "v"}}))).await;
    let seen = facade.seen.generate.lock().unwrap();
    let terms = seen[0].0.response.clone().unwrap();
    assert_eq!((seen[0].0.store, terms.has_instructions), (Some(true), true));
    assert_eq!(terms.request_json.as_deref(), Some(r#"{"instructions":"x","metadata":{"k":"v"}}"#));
}

#[tokio::test]
async fn tokens_are_counted_and_nothing_is_made() {
    let facade = Facade::new(answer());
    let ask = |body: String| {
        let request =
            axum::http::Request::post("/v1/responses/input_tokens").header("authorization", "Bearer k");
        facade.send(request.body(body.into()).unwrap())
    };
    let got = ask(body(json!({"instructions": "x", "stream": true}))).await;
    assert_eq!(got.json(), json!({"object": "response.input_tokens", "input_tokens": 7, "estimated": true}));
    assert_eq!(ask(json!({"model": "m"}).to_string()).await.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(facade.seen.generate.lock().unwrap().is_empty());
}

/// Conformance 4: an end without a finish reason is an error, whole or streamed.
#[tokio::test]
async fn an_answer_that_is_not_whole_is_an_error() {
    let cut = || Script::Answer(vec![message(vec![chunk("hel", None)])]);
    let got = post(&Facade::new(cut()), body(json!({}))).await;
    assert_eq!(got.status, StatusCode::BAD_GATEWAY, "{got:?}");
    let got = post(&Facade::new(cut()), body(json!({"stream": true}))).await;
    assert_eq!(got.header("content-type"), "text/event-stream; charset=utf-8");
    assert!(got.body.contains("event: error\n") && got.body.contains("event: response.failed\n"), "{got:?}");
    for end in ["response.completed", "response.incomplete", "output_item.done", "[DONE]"] {
        assert!(!got.body.contains(end), "{end}: {got:?}");
    }
}

/// Until an engine has begun, a failure is a status, for streams as well.
#[tokio::test]
async fn an_early_failure_is_a_status() {
    for stream in [false, true] {
        let refused = Error::new(Reason::ModelUnavailable, "no engine is up");
        let facade = Facade::new(Script::Refuse(Status::from(refused)));
        let got = post(&facade, body(json!({"stream": stream}))).await;
        assert_eq!(got.status, StatusCode::SERVICE_UNAVAILABLE, "{got:?}");
        assert!(!got.body.contains("event:"), "{got:?}");
        let body: Value = serde_json::from_str(&got.body).unwrap();
        assert_eq!(body["error"]["message"], "no engine is up");
    }
}

/// What the mesh says of a field is said in the names of this API.
#[tokio::test]
async fn fields_have_the_names_of_this_api() {
    let violations = vec![
        penstock_proto::Violation::new("messages[2].content[0].type", "cannot be heard"),
        penstock_proto::Violation::new("response_format.json_schema.schema", "is too large"),
        penstock_proto::Violation::new("messages", "must have at least one message"),
        penstock_proto::Violation::new("logprobs", "the engine has none"),
    ];
    let refused = Script::Refuse(Status::from(Error::invalid(violations)));
    let got = post(&Facade::new(refused), body(json!({}))).await;
    assert_eq!(got.status, StatusCode::UNPROCESSABLE_ENTITY);
    let body: Value = serde_json::from_str(&got.body).unwrap();
    assert_eq!(body["error"]["param"], "input");
    assert_eq!(body["errors"][1]["field"], "text.format.schema");
    assert_eq!(body["errors"][2]["field"], "input");
    assert_eq!(body["errors"][3]["field"], "include");
}
