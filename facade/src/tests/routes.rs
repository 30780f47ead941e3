//! What works: chat plain and streamed, models, health.

use std::{sync::atomic::Ordering, time::Duration};

use axum::http::{Request, StatusCode};
use penstock_proto::{
    Error, Reason,
    inference::v1::{generate_request::Input, message::Content},
};
use serde_json::json;
use tower::ServiceExt as _;

use super::scripted::{Facade, Script, answer, chat, chunk, message, plain_answer};

const BODY: &str = r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"top_k":3}"#;
const STREAMED: &str = r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"stream":true}"#;

#[tokio::test]
async fn a_plain_answer_is_a_chat_completion() {
    let facade = Facade::new(plain_answer());
    let headers = [("x-request-id", "req-1"), ("content-type", "application/json")];
    let answer = facade.chat(BODY, &headers).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert_eq!(answer.json()["object"], "chat.completion");
    assert_eq!(answer.json()["choices"][0]["message"]["content"], "ab");
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.header("cache-control"), "private, no-store");
    assert_eq!(answer.header("x-request-id"), "req-1");
    assert_eq!(answer.header("x-penstock-model"), "m-real");
    assert_eq!(answer.header("x-ratelimit-remaining-requests"), "59");
    assert!(!answer.headers.contains_key("x-internal"));
}

#[tokio::test]
async fn the_router_gets_what_was_asked_and_nothing_else() {
    let facade = Facade::new(plain_answer());
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let headers = [
        ("authorization", "Bearer key with spaces"),
        ("api-key", "other"),
        ("cookie", "session"),
        ("cache-control", "no-cache"),
        ("x-request-id", "req-1"),
        ("x-request-timeout", "5s"),
        ("x-penstock-deployment", "gpu-a"),
        ("traceparent", parent),
    ];
    facade.chat(BODY, &headers).await;
    let seen = facade.seen.generate.lock().unwrap();
    let (request, metadata) = &seen[0];
    let Some(Input::Chat(input)) = &request.input else { panic!("{request:?}") };
    assert_eq!(input.messages[0].content, Some(Content::Text("hi".into())));
    assert_eq!((request.extensions[0].name.as_str(), request.extensions[0].json.as_str()), ("top_k", "3"));
    assert_eq!(metadata["authorization"], "Bearer key with spaces");
    assert_eq!(metadata["cache-control"], "no-cache");
    assert_eq!(metadata["x-request-id"], "req-1");
    assert_eq!(metadata["traceparent"], parent);
    for absent in ["api-key", "cookie", "x-penstock-deployment"] {
        assert!(!metadata.contains_key(absent), "{absent}");
    }
    let remaining = facade.seen.remaining.lock().unwrap().unwrap();
    assert!(remaining <= Duration::from_secs(5), "{remaining:?}");
}

#[tokio::test]
async fn a_streamed_answer_is_events_and_done() {
    let answer = Facade::new(answer()).chat(STREAMED, &[]).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.header("content-type"), "text/event-stream; charset=utf-8");
    assert_eq!(answer.header("cache-control"), "private, no-store, no-cache, no-transform");
    assert_eq!(answer.header("x-accel-buffering"), "no");
    assert_eq!(answer.header("x-penstock-model"), "m-real");
    assert_eq!(answer.header("x-request-id").len(), 32);
    let events: Vec<_> = answer.body.split_terminator("\n\n").collect();
    assert_eq!(events.len(), 3, "{events:?}");
    assert!(events[0].contains(r#""delta":{"content":"a"}"#) && !events[0].contains("usage"));
    assert!(events[1].contains(r#""finish_reason":"stop""#));
    assert_eq!(events[2], "data: [DONE]");
}

#[tokio::test]
async fn usage_is_null_until_it_comes_if_it_was_asked_for() {
    let body = r#"{"stream":true,"stream_options":{"include_usage":true}}"#;
    let answer = Facade::new(answer()).chat(body, &[]).await;
    assert_eq!(answer.body.matches(r#""usage":null"#).count(), 2, "{}", answer.body);
}

/// C8.
#[tokio::test]
async fn a_stream_that_breaks_ends_with_an_error_event_and_no_done() {
    let cut = Error::new(Reason::EngineCut, "the engine's answer was cut").into();
    let script = Script::Break(vec![message(vec![chunk("a", None)])], cut);
    let answer = Facade::new(script).chat(STREAMED, &[("x-request-id", "req-1")]).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(
        answer.body.ends_with("\"code\":\"engine_cut\",\"request_id\":\"req-1\"}}\n\n"),
        "{}",
        answer.body
    );
    assert!(!answer.body.contains("[DONE]"));
}

/// Nothing is passed off as a plain answer that is not whole.
#[tokio::test]
async fn a_plain_answer_that_is_not_whole_is_an_error() {
    let cut: tonic::Status = Error::new(Reason::EngineCut, "cut").into();
    for script in [
        Script::Answer(vec![]),
        Script::Answer(vec![message(vec![])]),
        Script::Answer(vec![message(vec![chunk("a", None)])]),
        answer(),
        Script::Break(vec![message(vec![chunk("a", Some("stop"))])], cut),
    ] {
        let answer = Facade::new(script.clone()).chat(BODY, &[]).await;
        assert_eq!(answer.status, StatusCode::BAD_GATEWAY, "{script:?}");
        assert_eq!(answer.json()["error"]["code"], "engine_cut");
    }
}

/// C1: a client that leaves before the answer begins ends the call.
#[tokio::test]
async fn a_client_that_leaves_ends_the_call() {
    for body in [BODY, STREAMED] {
        let facade = Facade::new(Script::Hang);
        let mut call = Box::pin(facade.routes.clone().oneshot(chat(body, &[])));
        while facade.seen.generate.lock().unwrap().is_empty() {
            assert!(futures_util::poll!(&mut call).is_pending());
        }
        assert_eq!(facade.seen.dropped.load(Ordering::Relaxed), 0);
        drop(call);
        assert_eq!(facade.seen.dropped.load(Ordering::Relaxed), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn the_deadline_ends_a_call() {
    let answer = Facade::new(Script::Hang).chat(BODY, &[("x-request-timeout", "500ms")]).await;
    assert_eq!(answer.status, StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(answer.json()["error"]["code"], "timeout");
}

#[tokio::test]
async fn a_large_body_is_read_like_a_small_one() {
    let config = crate::Config::default();
    let facade = Facade::with(plain_answer(), config);
    let text = "é".repeat(600_000);
    let body = format!(r#"{{"messages":[{{"role":"user","content":"{text}"}}]}}"#);
    assert_eq!(facade.chat(body, &[]).await.status, StatusCode::OK);
    let seen = facade.seen.generate.lock().unwrap();
    let Some(Input::Chat(input)) = &seen[0].0.input else { panic!("no messages") };
    assert_eq!(input.messages[0].content, Some(Content::Text(text)));
}

#[tokio::test]
async fn models_are_listed_and_found_by_any_id() {
    let facade = Facade::new(answer());
    let list = facade.get("/v1/models").await;
    assert_eq!(
        list.json(),
        json!({"object": "list", "data": [
            {"id": "a/b:c", "object": "model", "created": 7, "owned_by": "penstock"},
            {"id": "m", "object": "model", "created": 7, "owned_by": "penstock", "aliases": ["gpt"]},
        ]})
    );
    assert_eq!(list.header("cache-control"), "private, no-store");
    for path in ["/v1/models/a/b:c", "/v1/models/a%2Fb%3Ac"] {
        assert_eq!(facade.get(path).await.json()["id"], "a/b:c", "{path}");
    }
    // A12, A17.
    for path in ["/v1/models/none", "/v1/models/../x", "/v1/models/%0d%0a", "/v1/models/A/B:C"] {
        let answer = facade.get(path).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
        assert_eq!(answer.json()["error"]["code"], "model_not_found", "{path}");
    }
    assert_eq!(facade.get("/v1/models/%ff").await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn the_root_says_what_this_is_and_requests_are_counted() {
    let facade = Facade::new(answer());
    let root = facade.get("/?x=1").await;
    assert_eq!(root.json()["name"], "penstock");
    facade.get("/made/up").await;
    facade.send(Request::post("/v1/models").body(axum::body::Body::empty()).unwrap()).await;
    let metrics = facade.chassis.metrics.encode().unwrap();
    assert!(metrics.contains(r#"penstock_http_requests_total{route="/",status="200"} 1"#), "{metrics}");
    assert!(metrics.contains(r#"penstock_http_requests_total{route="unknown",status="404"} 1"#), "{metrics}");
}
