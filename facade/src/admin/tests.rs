//! What is read, what is written, and what goes on to the router.

use axum::http::{Method, Request, StatusCode};
use penstock_proto::{
    adapter::v1::Breaker,
    inference::v1::{GenerateRequest, generate_request::Input},
    ratelimit::v1::{LimitState, Unit},
    router::v1::{Attempt, AttemptKind, Candidate, Classification, Match, Veto},
    status::v1::State,
};
use prost_types::Timestamp;
use serde_json::{Value, json};

use super::*;
use crate::tests::scripted::{Answer, Facade, plain_answer};

/// An answer with every member.
pub(crate) fn full() -> ExplainResponse {
    let span = Some(prost_types::Duration { seconds: 1, nanos: 500_000_000 });
    let candidate = Candidate {
        deployment: "a".into(),
        model: "m".into(),
        place: 1,
        score: Some(0.5),
        score_means: "a draw, by weight".into(),
        state: State::Up.into(),
        breaker: Breaker::HalfOpen.into(),
        weight: 2.0,
        priority: 1,
        in_flight: 3,
        first_token: span,
        loaded: Some(true),
        cost_usd: Some(0.0038),
        tags: vec!["eu".into()],
        vetoes: vec![],
    };
    let vetoes = vec![Veto { code: "TAG".into(), detail: "it has no tags".into() }];
    let vetoed = Candidate { deployment: "b".into(), vetoes, ..Candidate::default() };
    let attempt = Attempt {
        deployment: "a".into(),
        model: "m".into(),
        kind: AttemptKind::First.into(),
        started_after: span,
        took: span,
        outcome: "OK".into(),
    };
    let decision = Decision {
        id: "dec-1".into(),
        made_at: Some(Timestamp { seconds: 0, nanos: 1_999_999 }),
        request_id: "r".into(),
        asked: "auto".into(),
        model: "m".into(),
        r#match: Match::Auto.into(),
        classification: Some(Classification { class: "simple".into(), reasons: vec!["12 tokens".into()] }),
        strategy: "weighted".into(),
        needs: vec!["chat".into()],
        candidates: vec![candidate, vetoed],
        fallbacks: vec!["n".into()],
        context_fallbacks: vec!["long".into()],
        filter_fallbacks: vec!["kind".into()],
        prompt_tokens: 12,
        completion_tokens: 256,
        attempts: vec![attempt, Attempt::default()],
        outcome: "OK".into(),
    };
    let limit = LimitState {
        name: "key.requests".into(),
        unit: Unit::Requests.into(),
        limit: 60,
        per: span,
        remaining: 59,
        reset_after: span,
    };
    ExplainResponse { decision: Some(decision), limits: vec![limit] }
}

fn written_json(out: &[u8]) -> Value {
    serde_json::from_slice(out).unwrap()
}

#[test]
fn names_are_those_of_the_contract_and_enums_are_words() {
    let body = written_json(&explanation(&full()));
    let made = &body["decision"];
    assert_eq!((&made["made_at"], &made["match"]), (&json!("1970-01-01T00:00:00.001Z"), &json!("auto")));
    let first = &made["candidates"][0];
    assert_eq!(
        (&first["place"], &first["breaker"], &first["state"]),
        (&json!(1), &json!("half_open"), &json!("UP"))
    );
    assert_eq!((&first["first_token_ms"], &first["cost_usd"]), (&json!(1500.0), &json!(0.0038)));
    let second = &made["candidates"][1];
    assert_eq!(
        (&second["place"], &second["score"], &second["breaker"]),
        (&Value::Null, &Value::Null, &Value::Null)
    );
    assert_eq!(second["vetoes"], json!([{"code": "TAG", "detail": "it has no tags"}]));
    assert_eq!(
        (&made["attempts"][0]["kind"], &made["attempts"][0]["took_ms"]),
        (&json!("first"), &json!(1500.0))
    );
    assert_eq!(
        (&made["attempts"][1]["outcome"], &made["attempts"][1]["took_ms"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(body["limits"][0]["reset_after_ms"], json!(1500.0));
    let empty = written_json(&decision(&Decision::default()));
    assert_eq!(
        (&empty["id"], &empty["outcome"], &empty["match"]),
        (&Value::Null, &Value::Null, &json!("unknown"))
    );
}

#[test]
fn each_endpoint_has_its_request() {
    let asked = |body: &str| explain_request(body.as_bytes()).unwrap().request.unwrap();
    let chat = r#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#;
    for body in [
        format!(r#"{{"request":{chat}}}"#),
        format!(r#"{{"endpoint":"/v1/chat/completions","request":{chat}}}"#),
    ] {
        let Asked::Generate(request) = asked(&body) else { panic!("{body}") };
        assert!(matches!(request.input, Some(Input::Chat(_))));
    }
    let Asked::Generate(text) =
        asked(r#"{"endpoint":"/v1/completions","request":{"model":"m","prompt":"x"}}"#)
    else {
        panic!("no text")
    };
    assert!(matches!(text.input, Some(Input::Text(_))));
    let embed = asked(r#"{"endpoint":"/v1/embeddings","request":{"model":"m","input":"x"}}"#);
    assert!(matches!(embed, Asked::Embed(_)));
    let moderate = asked(r#"{"endpoint":"/v1/moderations","request":{"input":"x"}}"#);
    assert!(matches!(moderate, Asked::Moderate(_)));
    let said = r#""model":"m","messages":[{"role":"user","content":"hi"}]"#;
    for (endpoint, request) in [
        ("/v1/responses", r#"{"model":"m","input":"hi"}"#.to_owned()),
        ("/v1/messages", format!(r#"{{"max_tokens":5,{said}}}"#)),
        ("/api/chat", format!("{{{said}}}")),
        ("/api/generate", r#"{"model":"m","prompt":"hi"}"#.to_owned()),
    ] {
        let body = format!(r#"{{"endpoint":"{endpoint}","request":{request}}}"#);
        let Asked::Generate(GenerateRequest { input: Some(Input::Chat(chat)), store: None, .. }) =
            asked(&body)
        else {
            panic!("{body}")
        };
        assert_eq!(chat.messages.len(), 1, "{body}");
    }
    let embed = asked(r#"{"endpoint":"/api/embed","request":{"model":"m","input":"x"}}"#);
    assert!(matches!(embed, Asked::Embed(_)));
}

#[test]
fn every_field_that_is_wrong_is_named_where_it_stands() {
    let wrong = |body: &str| -> Vec<String> {
        let error = explain_request(body.as_bytes()).unwrap_err();
        error.violations.into_iter().map(|violation| violation.field).collect()
    };
    assert_eq!(wrong("{}"), ["request"]);
    assert_eq!(wrong(r#"{"endpoint":"/v1/x","surprise":1}"#), ["endpoint", "request", "surprise"]);
    assert_eq!(wrong(r#"{"request":7}"#), ["request"]);
    assert_eq!(
        wrong(r#"{"request":{"messages":[{"role":7,"content":"hi"}],"temperature":9}}"#),
        ["messages[0].role", "model", "temperature"]
    );
    let kept = r#"{"model":"m","previous_response_id":"resp_1","input":[{"type":"item_reference","id":"msg_0123456789abcdef0123456789abcdef_0"}]}"#;
    assert_eq!(
        wrong(&format!(r#"{{"endpoint":"/v1/responses","request":{kept}}}"#)),
        ["previous_response_id", "input[0].id"],
        "nothing that is kept is read"
    );
    let twice = r#"{"request":{"model":"a","model":"b"}}"#;
    assert_eq!(wrong(twice), ["request"], "the same to whoever parses it next");
}

const CHAT: &str = r#"{"request":{"model":"m","messages":[{"role":"user","content":"hi"}]}}"#;

async fn ask(facade: &Facade, method: Method, path: &str, body: &'static str) -> Answer {
    let request = Request::builder().method(method).uri(path).header("authorization", "Bearer k");
    let request = request.header("x-penstock-tags", "eu").header("x-penstock-tenant", "other");
    facade.send(request.body(body.into()).unwrap()).await
}

#[tokio::test]
async fn the_router_is_asked_with_what_steers_and_answers_as_json() {
    let facade = Facade::new(plain_answer());
    let answer = ask(&facade, Method::POST, "/admin/v1/explain", CHAT).await;
    assert_eq!((answer.status, answer.header("cache-control")), (StatusCode::OK, "private, no-store"));
    assert_eq!(answer.json()["decision"]["candidates"][0]["deployment"], "a");
    let seen = facade.seen.routing.lock().unwrap().clone();
    let [metadata] = seen.as_slice() else { panic!("{seen:?}") };
    assert_eq!(
        (&metadata["authorization"], &metadata["x-penstock-tags"]),
        (&"Bearer k".parse().unwrap(), &"eu".parse().unwrap())
    );
    assert!(!metadata.contains_key("x-penstock-tenant"));
    assert!(facade.seen.generate.lock().unwrap().is_empty());
    let found = ask(&facade, Method::GET, "/admin/v1/decisions/dec-1", "").await;
    assert_eq!((found.status, &found.json()["id"]), (StatusCode::OK, &json!("dec-1")));
    let unknown = ask(&facade, Method::GET, "/admin/v1/decisions/dec-2", "").await;
    assert_eq!(
        (unknown.status, &unknown.json()["error"]["code"]),
        (StatusCode::NOT_FOUND, &json!("not_found"))
    );
    let reloaded = ask(&facade, Method::POST, "/admin/v1/reload", "").await;
    assert_eq!(reloaded.json(), json!({"changed": true, "needs_restart": ["facade"]}));
}

#[tokio::test]
async fn without_a_key_nobody_is_asked_and_other_methods_are_refused() {
    let facade = Facade::new(plain_answer());
    for (method, path) in [
        (Method::POST, "/admin/v1/explain"),
        (Method::GET, "/admin/v1/decisions/dec-1"),
        (Method::POST, "/admin/v1/reload"),
    ] {
        assert_eq!(facade.ask(method.clone(), path).await.status, StatusCode::UNAUTHORIZED, "{path}");
        for other in [Method::PUT, Method::DELETE, Method::OPTIONS] {
            let answer = facade.ask(other, path).await;
            assert_eq!(answer.json()["error"]["code"], "method_not_allowed", "{path}");
        }
    }
    assert!(facade.seen.routing.lock().unwrap().is_empty());
    assert_eq!(
        ask(&facade, Method::GET, "/admin/v1/decisions/%ff", "").await.status,
        StatusCode::BAD_REQUEST
    );
    let wrong = ask(&facade, Method::POST, "/admin/v1/explain", "{").await;
    assert_eq!(wrong.json()["error"]["code"], "invalid_json");
}
