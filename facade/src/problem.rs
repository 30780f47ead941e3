//! The one error body of the facade: RFC 9457 with OpenAI's `error` in it, so that it serves both kinds of
//! client. Whatever goes wrong, and wherever, ends up here.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    http::{
        HeaderMap, HeaderName, HeaderValue, StatusCode,
        header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
    },
    response::{IntoResponse, Response},
};
use bytes::{BufMut as _, BytesMut};
use penstock_proto::{Reason, metadata::DECISION};

use crate::{
    api::Api,
    chat::chunk::write_error_object,
    error::{Error, whole_seconds},
    head::{PRIVATE, copy_answer},
    json::write::{comma, optional, value},
    messages, ollama,
};

const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// What a 503 says to wait if nobody knows better: breakers and probes look again about then.
const UNAVAILABLE_FOR: Duration = Duration::from_secs(1);

/// Longest path that is repeated in a body, in bytes.
const INSTANCE_MAX_BYTES: usize = 512;

/// Marks a response that is still to be written: only the edge knows the request that it answers.
#[derive(Clone, Debug)]
pub(crate) struct Unwritten(pub(crate) Arc<Error>);

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let mut response = Response::default();
        response.extensions_mut().insert(Unwritten(Arc::new(self)));
        response
    }
}

/// The response for `error`.
pub(crate) fn response(error: &Error, path: &str, request_id: &str) -> Response {
    let api = Api::of(path);
    let known = told(api, error);
    let decision = match error {
        Error::Mesh(status) => status.metadata().get(DECISION).and_then(|id| id.to_str().ok()),
        _ => None,
    };
    let mut out = BytesMut::with_capacity(512);
    let kind = match api {
        Api::Completions | Api::Responses => {
            write(&known, path, request_id, decision, &mut out);
            "application/problem+json"
        }
        Api::Messages => {
            messages::write_problem(&known, request_id, &mut out);
            "application/json"
        }
        Api::Ollama => {
            ollama::write_problem(&known, request_id, &mut out);
            "application/json"
        }
    };
    let mut response = Response::new(Body::from(out.freeze()));
    *response.status_mut() = status(api, known.reason);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, PRIVATE);
    tell_whether_to_retry(&known, headers);
    if known.reason.http_status() == 401 {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if let Error::Mesh(status) = error {
        copy_answer(status.metadata(), headers);
    }
    response
}

/// The error in the words of an API: with its names of fields.
pub(crate) fn told(api: Api, error: &Error) -> penstock_proto::Error {
    let mut known = penstock_proto::Error::from(error);
    if let (Api::Ollama, Error::UnknownRoute) = (api, error) {
        known.message = ollama::NO_SUCH_URL.into();
    }
    if api == Api::Completions || known.violations.is_empty() {
        return known;
    }
    renamed(known, |field| api.field(field))
}

/// The error with other names of its fields.
pub(crate) fn renamed(
    mut known: penstock_proto::Error,
    name: impl Fn(String) -> String,
) -> penstock_proto::Error {
    for violation in &mut known.violations {
        violation.field = name(std::mem::take(&mut violation.field));
    }
    // Their messages are made of the names.
    match known.reason {
        Reason::InvalidRequest => penstock_proto::Error::invalid(known.violations),
        Reason::Unsupported => penstock_proto::Error::unsupported(known.violations),
        _ => known,
    }
}

fn status(api: Api, reason: Reason) -> StatusCode {
    let status = match (api, reason.http_status()) {
        // These two know one status for all that is wrong with a request.
        (Api::Messages | Api::Ollama, 422) => 400,
        (_, status) => status,
    };
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// What OpenAI's SDKs go by, instead of by their own table of statuses.
fn tell_whether_to_retry(error: &penstock_proto::Error, headers: &mut HeaderMap) {
    let retry = if error.reason.remedy().retry { "true" } else { "false" };
    headers.insert(SHOULD_RETRY, HeaderValue::from_static(retry));
    let unavailable = error.reason.remedy().retry && error.reason.http_status() == 503;
    if let Some(after) = error.retry_after.or(unavailable.then_some(UNAVAILABLE_FOR)) {
        headers.insert(RETRY_AFTER, HeaderValue::from(whole_seconds(after)));
        let millis = u64::try_from(after.as_micros().div_ceil(1000)).unwrap_or(u64::MAX);
        headers.insert(RETRY_AFTER_MS, HeaderValue::from(millis));
    }
}

pub(crate) fn write(
    error: &penstock_proto::Error,
    path: &str,
    request_id: &str,
    decision: Option<&str>,
    out: &mut BytesMut,
) {
    out.put_slice(b"{\"type\":\"urn:penstock:error:");
    for byte in error.reason.as_str().bytes() {
        out.put_u8(if byte == b'_' { b'-' } else { byte.to_ascii_lowercase() });
    }
    out.put_slice(b"\",\"title\":");
    value(out, error.reason.title());
    out.put_slice(b",\"status\":");
    value(out, &error.reason.http_status());
    out.put_slice(b",\"detail\":");
    value(out, &*error.message);
    out.put_slice(b",\"instance\":");
    value(out, bounded(path));
    out.put_slice(b",\"request_id\":");
    value(out, request_id);
    optional(out, "\"decision_id\":", decision);
    out.put_slice(b",\"error\":");
    write_error_object(error, None, out);
    write_violations(error, out);
    out.put_u8(b'}');
}

/// Writes the member `errors`: every field that is wrong.
pub(crate) fn write_violations(error: &penstock_proto::Error, out: &mut BytesMut) {
    out.put_slice(b",\"errors\":[");
    for violation in &error.violations {
        comma(out);
        out.put_slice(b"{\"field\":");
        value(out, &violation.field);
        out.put_slice(b",\"message\":");
        value(out, &violation.message);
        out.put_u8(b'}');
    }
    out.put_u8(b']');
}

fn bounded(path: &str) -> &str {
    let end = (0..=INSTANCE_MAX_BYTES.min(path.len())).rev().find(|end| path.is_char_boundary(*end));
    path.get(..end.unwrap_or_default()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use penstock_proto::{Violation, metadata};
    use serde_json::{Value, json};
    use tonic::Status;

    use super::*;

    async fn read(response: Response) -> (HeaderMap, Value) {
        let (head, body) = response.into_parts();
        (head.headers, serde_json::from_slice(&body.collect().await.unwrap().to_bytes()).unwrap())
    }

    #[tokio::test]
    async fn one_body_serves_both_kinds_of_client() {
        let error = Error::Invalid(vec![Violation::new("messages[0].role", "must be a string")]);
        let (headers, body) = read(response(&error, "/v1/chat/completions", "r1")).await;
        assert_eq!(headers[CONTENT_TYPE], "application/problem+json");
        assert_eq!(headers[CACHE_CONTROL], "private, no-store");
        assert_eq!(headers["x-should-retry"], "false");
        let message = "messages[0].role: must be a string";
        assert_eq!(
            body,
            json!({
                "type": "urn:penstock:error:invalid-request", "title": "The request is not valid", "status": 422,
                "detail": message, "instance": "/v1/chat/completions", "request_id": "r1",
                "error": {"message": message, "type": "invalid_request_error", "param": "messages[0].role", "code": "invalid_value"},
                "errors": [{"field": "messages[0].role", "message": "must be a string"}],
            })
        );
    }

    #[tokio::test]
    async fn limits_and_retries_are_told_in_headers() {
        let error = penstock_proto::Error::new(Reason::RateLimitExceeded, "later")
            .with_retry_after(Duration::from_micros(1_200_100));
        let mut status = Status::from(error);
        let metadata = status.metadata_mut();
        metadata.insert(metadata::RESET_REQUESTS, "1.2s".parse().unwrap());
        metadata.insert("x-internal", "secret".parse().unwrap());
        metadata.insert(metadata::DECISION, "dec-1".parse().unwrap());
        let (headers, body) = read(response(&Error::from(status), "/", "r")).await;
        assert_eq!(
            (&headers[RETRY_AFTER], &headers["retry-after-ms"]),
            (&"2".parse().unwrap(), &"1201".parse().unwrap())
        );
        assert_eq!(
            (&headers["x-should-retry"], &headers["x-ratelimit-reset-requests"]),
            (&"true".parse().unwrap(), &"1.2s".parse().unwrap())
        );
        assert!(!headers.contains_key("x-internal"));
        assert_eq!(body["error"]["type"], "rate_limit_error");
        assert_eq!(
            (&headers["x-penstock-decision"], &body["decision_id"]),
            (&"dec-1".parse().unwrap(), &"dec-1".into())
        );
    }

    #[tokio::test]
    async fn what_is_unavailable_says_when_to_come_back() {
        let error = |reason| Error::from(Status::from(penstock_proto::Error::new(reason, "x")));
        let (headers, _) = read(response(&error(Reason::ModelUnavailable), "/", "r")).await;
        assert_eq!(
            (&headers[RETRY_AFTER], &headers["retry-after-ms"]),
            (&"1".parse().unwrap(), &"1000".parse().unwrap())
        );
        let (headers, _) = read(response(&error(Reason::EngineFailed), "/", "r")).await;
        assert!(!headers.contains_key(RETRY_AFTER));
    }

    #[tokio::test]
    async fn a_foreign_text_is_not_passed_on_and_401_says_how() {
        let (_, body) = read(response(&Error::from(Status::internal("hunter2")), "/", "r")).await;
        assert!(!body.to_string().contains("hunter2"));
        let (headers, _) = read(response(&Error::from(Status::unauthenticated("x")), "/", "r")).await;
        assert_eq!(headers[WWW_AUTHENTICATE], "Bearer");
    }

    #[test]
    fn every_reason_has_a_status_and_a_body_and_long_paths_are_cut() {
        for reason in Reason::ALL {
            assert_eq!(status(Api::Completions, *reason).as_u16(), reason.http_status());
            let error = penstock_proto::Error::new(*reason, "x");
            let mut out = BytesMut::new();
            write(&error, &"/é".repeat(9999), "r", None, &mut out);
            let json: Value = serde_json::from_slice(&out).unwrap();
            assert!(json["instance"].as_str().unwrap().len() <= INSTANCE_MAX_BYTES);
        }
    }
}
