//! What does not work: every path to an error ends in the one body, with a request id.

use std::convert::Infallible;

use axum::{
    body::{Body, Bytes},
    http::{Method, Request, StatusCode},
};
use futures_util::{StreamExt as _, stream};
use penstock_proto::{Error, Reason, Violation};
use proptest::prelude::*;

use super::scripted::{Answer, Facade, Script, answer, chat, plain_answer};

/// Checks the one body, and that the router was not asked.
fn expect(facade: &Facade, answer: &Answer, status: u16, code: &str) {
    assert_eq!(answer.status.as_u16(), status, "{answer:?}");
    assert_eq!(answer.header("content-type"), "application/problem+json");
    assert!(!answer.header("x-should-retry").is_empty());
    let body = answer.json();
    assert_eq!(body["status"], status, "{body}");
    assert_eq!(body["error"]["code"], code, "{body}");
    assert_eq!(body["request_id"], answer.header("x-request-id"), "{body}");
    assert_eq!(body["detail"], body["error"]["message"], "{body}");
    assert!(body["type"].as_str().unwrap().starts_with("urn:penstock:error:"), "{body}");
    for member in ["title", "instance", "errors"] {
        assert!(body.get(member).is_some(), "{member}: {body}");
    }
    assert!(facade.seen.generate.lock().unwrap().is_empty(), "the router was asked");
}

/// A1, A4, A13.
#[tokio::test]
async fn bad_requests_never_reach_the_router() {
    let facade = Facade::new(answer());
    let json = ("content-type", "application/json");
    for (body, headers, status, code) in [
        ("", vec![], 400, "invalid_json"),
        ("{", vec![json], 400, "invalid_json"),
        ("{}", vec![("content-type", "text/plain")], 415, "unsupported_media_type"),
        ("{}", vec![json, ("content-encoding", "gzip")], 415, "unsupported_media_type"),
        ("[]", vec![json], 422, "invalid_value"),
        (r#"{"messages":1}"#, vec![json], 422, "invalid_value"),
        ("{}", vec![("authorization", "Bearer a"), ("authorization", "Bearer b")], 400, "bad_request"),
        ("{}", vec![("x-request-timeout", "soon")], 400, "bad_request"),
    ] {
        let answer = facade.chat(body, &headers).await;
        expect(&facade, &answer, status, code);
    }
    let answer = facade.chat(r#"{"messages":[{"content":7}]}"#, &[]).await;
    assert_eq!(answer.json()["error"]["param"], "messages[0].content");
    assert_eq!(answer.json()["errors"][0]["field"], "messages[0].content");
}

/// A3.
#[tokio::test]
async fn a_body_over_the_limit_is_413() {
    let facade = Facade::new(answer());
    let announced = facade.chat(Body::empty(), &[("content-length", "4097")]).await;
    expect(&facade, &announced, 413, "request_too_large");
    expect(&facade, &facade.chat(" ".repeat(4097), &[]).await, 413, "request_too_large");
    let endless = Body::from_stream(stream::repeat(Bytes::from_static(b" ")).map(Ok::<_, Infallible>));
    expect(&facade, &facade.chat(endless, &[]).await, 413, "request_too_large");
    let exact = format!("{:4096}", r#"{"messages":1}"#);
    expect(&facade, &facade.chat(exact, &[]).await, 422, "invalid_value");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_breaks_off_or_stalls_is_400() {
    let facade = Facade::new(answer());
    let broken = Body::from_stream(stream::iter([Ok("{"), Err("reset")]));
    expect(&facade, &facade.chat(broken, &[]).await, 400, "bad_request");
    let stalled = Body::from_stream(stream::pending::<Result<Bytes, Infallible>>());
    expect(&facade, &facade.chat(stalled, &[]).await, 400, "bad_request");
}

/// G9: whoever has no key fills no memory: it is refused before the body has come.
#[tokio::test]
async fn without_a_credential_the_body_is_not_waited_for() {
    let facade = Facade::new(answer());
    let silent = Body::from_stream(stream::pending::<Result<Bytes, Infallible>>());
    let request = Request::post("/v1/chat/completions").body(silent).unwrap();
    let answer = facade.send(request).await;
    expect(&facade, &answer, 401, "invalid_api_key");
    // The rest of the body would be taken for the next request: the client is told not to send one.
    assert_eq!(answer.headers["connection"], "close");
    let whole = facade.chat(r#"{"messages":1}"#, &[]).await;
    assert!(!whole.headers.contains_key("connection"));
}

/// A14, A15, A17.
#[tokio::test]
async fn only_listed_routes_exist() {
    let facade = Facade::new(answer());
    for path in [
        "/slots",
        "/metrics",
        "/admin",
        "/v1",
        "/v1/",
        "/v1/completions/",
        "/v1/embeddings/",
        "/v1/chat/completions/",
        "//v1/chat/completions",
        "/V1/chat/completions",
        "/v1/../api/push",
        "/v1/chat%2Fcompletions",
        "/%2e%2e/v1/models",
        "/v1/models/",
        "/v1/models;x",
        "/health/",
        "/health/details",
    ] {
        for method in [Method::GET, Method::POST] {
            expect(&facade, &facade.ask(method, path).await, 404, "unknown_url");
        }
    }
    for path in
        ["/api", "/api/", "/api/create", "/api/pull", "/api/push", "/api/copy", "/api/blobs/x", "/api/delete"]
    {
        for method in [Method::GET, Method::POST, Method::DELETE, Method::HEAD] {
            let no_body = method == Method::HEAD;
            let answer = facade.ask(method, path).await;
            assert_eq!(
                (answer.status.as_u16(), answer.header("content-type")),
                (404, "application/json"),
                "{path}"
            );
            if !no_body {
                let said = answer.json()["error"].as_str().unwrap().to_owned();
                assert!(said.contains("at the engine itself"), "{said}");
                assert_eq!(answer.json()["code"], "unknown_url");
            }
        }
    }
    assert!(facade.seen.generate.lock().unwrap().is_empty(), "the router was asked");
}

/// A15.
#[tokio::test]
async fn a_wrong_method_is_405_and_says_which_are_right() {
    let facade = Facade::new(answer());
    for (path, right) in [
        ("/v1/chat/completions", "POST,GET,HEAD"),
        ("/v1/models", "GET,HEAD"),
        ("/v1/models/a/b", "GET,HEAD"),
        ("/", "GET,HEAD"),
    ] {
        for method in [Method::DELETE, Method::OPTIONS, Method::PUT] {
            let answer = facade.ask(method, path).await;
            expect(&facade, &answer, 405, "method_not_allowed");
            assert_eq!(answer.header("allow"), right, "{path}");
            assert!(!answer.headers.contains_key("access-control-allow-origin"));
        }
    }
}

#[tokio::test]
async fn what_the_mesh_refuses_is_told_with_its_details() {
    let refusal = |error: Error| Facade::new(Script::Refuse(error.into()));
    let body = r#"{"stream":true}"#;

    let unauthenticated = refusal(Error::new(Reason::InvalidApiKey, "no")).chat(body, &[]).await;
    assert_eq!(unauthenticated.status, StatusCode::UNAUTHORIZED);
    assert_eq!(unauthenticated.header("www-authenticate"), "Bearer");
    assert_eq!(unauthenticated.json()["error"]["code"], "invalid_api_key");

    let limited = Error::new(Reason::RateLimitExceeded, "later")
        .with_retry_after(std::time::Duration::from_millis(1500));
    let limited = refusal(limited).chat(body, &[]).await;
    assert_eq!(limited.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!((limited.header("retry-after"), limited.header("retry-after-ms")), ("2", "1500"));
    assert_eq!(limited.header("x-should-retry"), "true");

    let invalid =
        Error::invalid(vec![Violation::new("n", "must be from 1 to 128"), Violation::new("seed", "x")]);
    let invalid = refusal(invalid).chat(body, &[]).await.json();
    assert_eq!((&invalid["error"]["param"], invalid["errors"].as_array().unwrap().len()), (&"n".into(), 2));
}

/// G11: in this process the server stack catches it; the answer is the same.
#[tokio::test]
async fn a_panic_is_500_for_that_request_alone() {
    let answer = Facade::new(Script::Panic).chat("{}", &[]).await;
    assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(answer.json()["error"]["code"], "internal_error");
    assert!(!answer.body.contains("scripted"));
}

/// A12, A13: what is not sane in a header is not repeated, nor taken over.
#[tokio::test]
async fn an_insane_request_id_is_replaced() {
    let facade = Facade::new(plain_answer());
    for id in ["", "a b", "<script>", &"x".repeat(129)] {
        let answer = facade.chat("{}", &[("x-request-id", id)]).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.header("x-request-id").len(), 32, "{id}");
    }
}

/// B1: a key in the query, or in another header, is no key.
#[tokio::test]
async fn a_key_in_the_query_is_neither_taken_nor_repeated() {
    let facade = Facade::new(plain_answer());
    let request = Request::post("/v1/chat/completions?api_key=secret").header("api-key", "secret");
    let answer = facade.send(request.body(Body::from("{}")).unwrap()).await;
    expect(&facade, &answer, 401, "invalid_api_key");
    let answer = facade.get("/none?key=secret").await;
    assert!(!answer.body.contains("secret"), "{}", answer.body);
}

#[tokio::test]
async fn http_versions_make_no_difference() {
    let facade = Facade::new(plain_answer());
    for version in [axum::http::Version::HTTP_10, axum::http::Version::HTTP_11, axum::http::Version::HTTP_2] {
        let mut request = chat("{}", &[]);
        *request.version_mut() = version;
        assert_eq!(facade.send(request).await.status, StatusCode::OK);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// A18 in small: whatever comes is answered, and never by a failure of ours.
    #[test]
    fn whatever_comes_is_no_failure(
        path in "/[ -~]{0,24}",
        header in prop::collection::vec(32_u8..=255, 0..24),
        body in prop::collection::vec(any::<u8>(), 0..64),
        chat in any::<bool>(),
    ) {
        let path = if chat { "/v1/chat/completions".to_owned() } else { path };
        let mut request = Request::post("/");
        for name in ["content-type", "authorization", "x-request-id", "x-request-timeout", "cache-control", "traceparent"] {
            if let Ok(value) = axum::http::HeaderValue::from_bytes(&header) {
                request = request.header(name, value);
            }
        }
        let mut request = request.body(Body::from(body)).unwrap();
        if let Ok(uri) = path.parse() {
            *request.uri_mut() = uri;
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let answer = runtime.block_on(async { Facade::new(plain_answer()).send(request).await });
        prop_assert!(answer.status.as_u16() < 500, "{:?}", answer);
        prop_assert!(!answer.header("x-request-id").is_empty());
    }
}
