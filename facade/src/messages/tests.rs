//! The routes of Anthropic's API, from HTTP to the call and back.

use axum::{
    body::Body,
    http::{Request, StatusCode},
};
use penstock_proto::{Reason, Violation, inference::v1::GenerateResponse};
use serde_json::{Value, json};
use tonic::Status;

use super::field;
use crate::tests::scripted::{Answer, Facade, Script, answer, chunk, message, plain_answer};

fn body(members: Value) -> Value {
    let mut body = json!({"model": "m", "max_tokens": 16, "messages": [{"role": "user", "content": "Hi"}]});
    body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    body
}

async fn post(facade: &Facade, path: &str, body: &Value, headers: &[(&str, &str)]) -> Answer {
    let mut request = Request::post(path);
    if headers.iter().all(|(name, _)| *name != "authorization") {
        request = request.header("x-api-key", "k");
    }
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    facade.send(request.body(Body::from(body.to_string())).unwrap()).await
}

async fn ask(script: Script, members: Value) -> Answer {
    post(&Facade::new(script), "/v1/messages", &body(members), &[]).await
}

fn refusing(reason: Reason) -> Script {
    Script::Refuse(penstock_proto::Error::new(reason, "because").into())
}

#[tokio::test]
async fn an_answer_is_a_message() {
    let facade = Facade::new(plain_answer());
    let answer =
        post(&facade, "/v1/messages", &body(json!({})), &[("anthropic-version", "2023-06-01")]).await;
    assert_eq!((answer.status, answer.header("content-type")), (StatusCode::OK, "application/json"));
    assert_eq!(answer.header("request-id"), answer.header("x-request-id"));
    assert_eq!(
        (answer.header("x-penstock-model"), answer.header("cache-control")),
        ("m-real", "private, no-store")
    );
    let said = answer.json();
    assert_eq!(said["content"], json!([{"type": "text", "text": "ab"}]));
    assert_eq!((&said["type"], &said["stop_reason"]), (&json!("message"), &json!("end_turn")));
    let (request, headers) = facade.seen.generate.lock().unwrap()[0].clone();
    assert_eq!((request.stream, headers["authorization"].as_bytes()), (false, &b"Bearer k"[..]));
}

#[tokio::test]
async fn a_stream_is_events() {
    let answer = ask(answer(), json!({"stream": true})).await;
    assert_eq!(answer.header("content-type"), "text/event-stream; charset=utf-8");
    assert!(answer.body.starts_with("event: message_start\n"), "{answer:?}");
    assert!(
        answer.body.ends_with("event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"),
        "{answer:?}"
    );
    assert!(!answer.header("request-id").is_empty());
}

/// C8, conformance 4: what breaks off has an error at its end, and what is no answer is one altogether.
#[tokio::test]
async fn what_is_not_whole_is_an_error() {
    let cut = Status::from(penstock_proto::Error::new(Reason::EngineCut, "the engine's answer was cut"));
    let begun = || vec![message(vec![chunk("a", None)])];
    for script in [Script::Break(begun(), cut.clone()), Script::Answer(begun())] {
        let answer = ask(script.clone(), json!({"stream": true})).await;
        assert_eq!(answer.status, StatusCode::OK);
        let last = answer.body.trim_end().rsplit("\n\n").next().unwrap();
        let data: Value = serde_json::from_str(last.strip_prefix("event: error\ndata: ").unwrap()).unwrap();
        assert_eq!((&data["type"], &data["error"]["type"]), (&json!("error"), &json!("api_error")));
        assert_eq!(data["request_id"], answer.header("request-id"));
        assert!(
            !answer.body.contains("message_stop") && !answer.body.contains("message_delta"),
            "{answer:?}"
        );
        assert_eq!(ask(script, json!({})).await.status, StatusCode::BAD_GATEWAY);
    }
    let more = vec![message(vec![chunk("a", Some("stop"))]), GenerateResponse::default()];
    assert_eq!(ask(Script::Answer(more), json!({})).await.status, StatusCode::BAD_GATEWAY);
}

#[tokio::test]
async fn errors_have_this_apis_shape_and_types() {
    for (reason, status, kind) in [
        (Reason::InvalidApiKey, 401, "authentication_error"),
        (Reason::PermissionDenied, 403, "permission_error"),
        (Reason::ModelNotFound, 404, "not_found_error"),
        (Reason::RequestTooLarge, 413, "request_too_large"),
        (Reason::RateLimitExceeded, 429, "rate_limit_error"),
        (Reason::ContextLengthExceeded, 400, "invalid_request_error"),
        (Reason::Internal, 500, "api_error"),
        (Reason::ModelUnavailable, 503, "overloaded_error"),
        (Reason::DeadlineExceeded, 504, "timeout_error"),
    ] {
        for stream in [true, false] {
            let answer = ask(refusing(reason), json!({"stream": stream})).await;
            assert_eq!((answer.status.as_u16(), answer.header("content-type")), (status, "application/json"));
            let said = answer.json();
            assert_eq!(
                (&said["type"], &said["error"]["type"]),
                (&json!("error"), &json!(kind)),
                "{reason:?}"
            );
            assert_eq!(said["error"]["message"], "because");
            assert_eq!(said["request_id"], answer.header("request-id"));
            assert!(!answer.header("x-should-retry").is_empty());
        }
    }
}

/// Results become messages of their own on the way: what the mesh says of them is told of the block.
#[tokio::test]
async fn what_the_mesh_finds_has_the_place_that_it_had_in_the_body() {
    let found = penstock_proto::Error::unsupported(vec![
        Violation::new("messages[1].content", "is too long for this engine"),
        Violation::new("tools[0].function.parameters", "is too deep for this engine"),
    ]);
    let turn = json!([
        {"role": "user", "content": [{"type": "text", "text": "x"}, {"type": "tool_result", "tool_use_id": "t", "content": "y"}]},
    ]);
    let answer = ask(Script::Refuse(found.into()), json!({"messages": turn, "system": "s"})).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    let said = answer.json();
    assert_eq!(said["errors"][0]["field"], "messages[0].content[1].content");
    assert_eq!(said["errors"][1]["field"], "tools[0].input_schema");
    assert!(said["error"]["message"].as_str().unwrap().contains("messages[0].content[1].content"), "{said}");
}

#[tokio::test]
async fn only_one_version_is_spoken() {
    let facade = Facade::new(plain_answer());
    let betas = [("anthropic-version", "2023-06-01"), ("anthropic-beta", "interleaved-thinking-2025-05-14")];
    assert_eq!(post(&facade, "/v1/messages", &body(json!({})), &betas).await.status, StatusCode::OK);
    let other = [("anthropic-version", "2023-01-01")];
    for path in ["/v1/messages", "/v1/messages/count_tokens"] {
        let answer = post(&facade, path, &body(json!({})), &other).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        assert!(
            answer.json()["error"]["message"].as_str().unwrap().starts_with("anthropic-version"),
            "{answer:?}"
        );
    }
    assert_eq!(facade.seen.generate.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn tokens_are_counted() {
    let facade = Facade::new(plain_answer());
    let mut body = body(json!({}));
    body.as_object_mut().unwrap().remove("max_tokens");
    let answer = post(&facade, "/v1/messages/count_tokens", &body, &[]).await;
    assert_eq!(
        (answer.status, answer.json()),
        (StatusCode::OK, json!({"input_tokens": 7, "estimated": true}))
    );
    assert!(facade.seen.generate.lock().unwrap().is_empty());
    body["messages"] = json!([]);
    let answer = post(&facade, "/v1/messages/count_tokens", &body, &[]).await;
    assert_eq!(
        (answer.status, &answer.json()["errors"][0]["field"]),
        (StatusCode::BAD_REQUEST, &json!("messages"))
    );
}

#[tokio::test]
async fn models_are_listed_for_these_clients_in_their_shape() {
    let facade = Facade::new(plain_answer());
    let get = async |path: &str| {
        let request = Request::get(path).header("x-api-key", "k").header("anthropic-version", "2023-06-01");
        facade.send(request.body(Body::empty()).unwrap()).await
    };
    let list = get("/v1/models?limit=1").await.json();
    assert_eq!((&list["data"][0]["type"], &list["data"][0]["id"]), (&json!("model"), &json!("a/b:c")));
    assert_eq!((&list["has_more"], &list["last_id"]), (&json!(true), &json!("a/b:c")));
    let one = get("/v1/models/a/b:c").await.json();
    assert!(one["created_at"].as_str().unwrap().ends_with('Z'), "{one}");
    assert_eq!(get("/v1/models?limit=0").await.status, StatusCode::BAD_REQUEST);
    // Everybody else's is as it was.
    assert_eq!(facade.get("/v1/models").await.json()["object"], "list");
}

#[test]
fn fields_have_this_apis_names_and_keep_them() {
    for (of_contract, here) in [
        ("max_completion_tokens", "max_tokens"),
        ("stop", "stop_sequences"),
        ("user", "metadata.user_id"),
        ("tools[3].function.name", "tools[3].name"),
        ("tools[3].function.parameters", "tools[3].input_schema"),
        ("tools[3].type", "tools[3].type"),
        ("tool_choice.function.name", "tool_choice.name"),
        ("response_format.json_schema.schema", "output_config.format.schema"),
        ("reasoning_effort", "output_config.effort"),
        ("messages[0].content", "messages[0].content"),
        ("model", "model"),
    ] {
        assert_eq!(field(of_contract.to_owned()), here);
        assert_eq!(field(here.to_owned()), here);
    }
}
