//! `GET /openapi.json` and `GET /docs`: the HTTP surface as an OpenAPI 3.1 document, made once from the readers'
//! own tables of members and the comments of the contract, and a page that shows it and needs no other host.

mod answers;
mod contract;
mod paths;
mod requests;

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::LazyLock,
};

use axum::{
    body::Body,
    http::{
        HeaderMap, HeaderName, HeaderValue, StatusCode,
        header::{
            CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, REFERRER_POLICY,
            X_CONTENT_TYPE_OPTIONS,
        },
    },
    response::Response,
};
use bytes::Bytes;
use serde_json::{Value, json};

use contract::Contract;

/// What the page may do: run its own script, and ask the host that it came from.
const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

static DOCUMENT: LazyLock<Served> = LazyLock::new(|| {
    let json = serde_json::to_vec(&document()).unwrap_or_default();
    Served::new("application/json", json.into())
});

static PAGE: LazyLock<Served> = LazyLock::new(|| {
    Served::new("text/html; charset=utf-8", Bytes::from_static(include_bytes!("openapi/docs.html")))
});

/// Bytes that are the same for everyone until the next release.
struct Served {
    kind: &'static str,
    bytes: Bytes,
    etag: String,
}

impl Served {
    fn new(kind: &'static str, bytes: Bytes) -> Self {
        let mut hasher = DefaultHasher::new();
        bytes.hash(&mut hasher);
        Self { kind, etag: format!("\"{:016x}\"", hasher.finish()), bytes }
    }

    fn answer(&self, asked: &HeaderMap, more: &[(HeaderName, &'static str)]) -> Response {
        let known = asked.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
        let known = known.flat_map(|list| list.split(',')).any(|tag| {
            let tag = tag.trim();
            tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == self.etag
        });
        let mut response = Response::new(Body::from(if known { Bytes::new() } else { self.bytes.clone() }));
        if known {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        }
        let headers = response.headers_mut();
        if !known {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.kind));
        }
        if let Ok(etag) = HeaderValue::from_str(&self.etag) {
            headers.insert(ETAG, etag);
        }
        // Asked for again each time, sent again only if another release answers.
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        for (name, value) in more {
            headers.insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

/// `GET /openapi.json`.
pub(crate) async fn openapi(headers: HeaderMap) -> Response {
    DOCUMENT.answer(&headers, &[])
}

/// `GET /docs`.
pub(crate) async fn docs(headers: HeaderMap) -> Response {
    PAGE.answer(&headers, &[(CONTENT_SECURITY_POLICY, POLICY), (REFERRER_POLICY, "no-referrer")])
}

/// A reference to a schema of the document.
fn reference(schema: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{schema}")})
}

fn document() -> Value {
    let contract = Contract::read();
    let mut schemas = requests::schemas(&contract);
    schemas.extend(answers::schemas(&contract));
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Penstock",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "OpenAI's, Anthropic's and Ollama's APIs before engines that people run themselves. Members that are not named here \
                            go on to the engine unchanged, and come back unchanged.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/", "description": "Where this document came from."}],
        "tags": paths::tags(),
        "paths": paths::paths(),
        "components": {
            "schemas": schemas,
            "parameters": paths::parameters(),
            "headers": paths::headers(),
            "securitySchemes": {
                "key": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A key of Penstock, or a token of the identity provider.",
                },
                "apiKey": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "x-api-key",
                    "description": "The same where Anthropic's clients put it.",
                },
            },
        },
    })
}

#[cfg(test)]
mod tests;
