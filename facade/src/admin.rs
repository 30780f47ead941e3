//! `/admin/v1`: what the router would decide about a request and why, what it did decide, and the configuration read
//! again. Who may ask is decided behind gRPC: a key with the scope `admin`. The command line shows the same bodies.

mod bodies;

use std::sync::Arc;

use axum::{
    extract::{Path, Request, State, rejection::PathRejection},
    http::request::Parts,
    response::Response,
};
use bytes::{BufMut as _, BytesMut};
use penstock_proto::{
    Violation,
    inference::v1::Extension,
    router::v1::{
        Decision, ExplainRequest, ExplainResponse, GetDecisionRequest, ReloadRequest,
        explain_request::Request as Asked,
    },
};

use crate::{
    App, chat,
    completions::{Received, context, json, receive},
    embeddings,
    error::Error,
    head::Forwarded,
    json::{
        object::object,
        read,
        value::{Json, Text},
    },
    messages, moderations, ollama, responses, text,
};

/// Where requests go that can be explained; the first one is meant if none is named.
pub(crate) const ENDPOINTS: [&str; 9] = [
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/moderations",
    "/v1/responses",
    "/v1/messages",
    "/api/chat",
    "/api/generate",
    "/api/embed",
];

/// Explains where a request would go. Nobody is asked for an answer.
pub(crate) async fn explain(State(app): State<Arc<App>>, request: Request) -> Result<Response, Error> {
    let Received { message, forwarded, context } = receive(&app, request, read).await?;
    let mut call = context.request(message);
    forwarded.put(call.metadata_mut());
    let (about, answer, _) = app.routing.clone().explain(call).await?.into_parts();
    Ok(json(explanation(&answer), &about))
}

/// A decision that was made, by its id.
pub(crate) async fn get(
    State(app): State<Arc<App>>,
    id: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, Error> {
    let (head, _) = request.into_parts();
    let Path(id) = id.map_err(|_| Error::Header("the path is not UTF-8"))?;
    let call = call(&head, GetDecisionRequest { id })?;
    let (about, answer, _) = app.routing.clone().get_decision(call).await?.into_parts();
    Ok(json(decision(&answer.decision.unwrap_or_default()), &about))
}

/// Reads the configuration again. A body says nothing here.
pub(crate) async fn reload(State(app): State<Arc<App>>, request: Request) -> Result<Response, Error> {
    let (head, _) = request.into_parts();
    let call = call(&head, ReloadRequest {})?;
    let (about, answer, _) = app.routing.clone().reload(call).await?.into_parts();
    Ok(json(written(&bodies::Reloaded::from(&answer)), &about))
}

fn call<T>(head: &Parts, message: T) -> Result<tonic::Request<T>, Error> {
    let forwarded = Forwarded::read(&head.headers)?;
    forwarded.expect_credential()?;
    let mut call = context(&head.extensions).request(message);
    forwarded.put(call.metadata_mut());
    Ok(call)
}

/// The members of a body.
#[derive(Clone, Debug, Default)]
pub(crate) struct Explain {
    endpoint: Option<String>,
    request: Option<String>,
    extensions: Vec<Extension>,
}

object!(Explain {
    "endpoint" => endpoint: Text,
    "request" => request: Json::OBJECT,
});

/// Reads the body of a request to explain: `{"endpoint": "/v1/chat/completions", "request": {…}}`.
pub(crate) fn read(body: &[u8]) -> Result<ExplainRequest, Error> {
    let given: Explain = read::read(body, violations)?;
    let wrong = violations(&given);
    if !wrong.is_empty() {
        return Err(Error::Invalid(wrong));
    }
    let request = given.request.unwrap_or_default();
    let request = request.as_bytes();
    let asked = match given.endpoint.as_deref() {
        Some("/v1/completions") => text::request::read(request).map(Asked::Generate),
        Some("/v1/embeddings") => embeddings::read(request).map(|(request, _)| Asked::Embed(request)),
        Some("/v1/moderations") => moderations::read(request).map(Asked::Moderate),
        Some("/v1/responses") => {
            responses::request::read(request).and_then(responses::previous::alone).map(Asked::Generate)
        }
        Some("/v1/messages") => messages::read(request).map(|asked| Asked::Generate(asked.request)),
        Some("/api/chat") => ollama::chat::read(request).map(Asked::Generate),
        Some("/api/generate") => ollama::prompt::read(request).map(Asked::Generate),
        Some("/api/embed") => ollama::embed::read(request).map(Asked::Embed),
        _ => chat::request::read(request).map(Asked::Generate),
    };
    asked.map(|asked| ExplainRequest { request: Some(asked) }).map_err(within)
}

fn violations(given: &Explain) -> Vec<Violation> {
    let mut found = Vec::new();
    if given.endpoint.as_deref().is_some_and(|endpoint| !ENDPOINTS.contains(&endpoint)) {
        found.push(Violation::new("endpoint", format!("must be one of {}", ENDPOINTS.join(", "))));
    }
    if given.request.is_none() {
        found.push(Violation::new("request", "is required: the request to explain, an object"));
    }
    found.extend(given.extensions.iter().map(|unknown| {
        let name: String = unknown.name.chars().take(64).collect();
        Violation::new(name, "is not known here: only endpoint and request are")
    }));
    found
}

/// The same error. Fields keep the names that they have where the request is posted: the mesh judges them by these.
fn within(error: Error) -> Error {
    let Error::Invalid(mut violations) = error else { return error };
    for violation in violations.iter_mut().filter(|violation| violation.field.is_empty()) {
        "request".clone_into(&mut violation.field);
    }
    Error::Invalid(violations)
}

/// Reads a request to explain as `POST /admin/v1/explain` does.
///
/// # Errors
/// It is not JSON, or not such a request; every field that is wrong is named.
pub fn explain_request(body: &[u8]) -> Result<ExplainRequest, penstock_proto::Error> {
    read(body).map_err(|error| penstock_proto::Error::from(&error))
}

/// What would happen, as `POST /admin/v1/explain` says it: JSON.
pub fn explanation(answer: &ExplainResponse) -> BytesMut {
    written(&bodies::Explanation::from(answer))
}

/// A decision, as `GET /admin/v1/decisions/{id}` says it: JSON.
pub fn decision(decision: &Decision) -> BytesMut {
    written(&bodies::Decided::from(decision))
}

fn written(body: &impl serde::Serialize) -> BytesMut {
    let mut out = BytesMut::with_capacity(2048);
    // Writing into memory cannot fail, nor can what the bodies are made of.
    let _ = serde_json::to_writer((&mut out).writer(), body);
    out
}

#[cfg(test)]
pub(crate) mod tests;
