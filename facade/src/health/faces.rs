//! The handlers of the HTTP faces: who may see it, then a body from the last report.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Request, State},
    http::{
        HeaderValue, StatusCode,
        header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE},
        request::Parts,
    },
    response::Response,
};
use bytes::Bytes;
use penstock_proto::status::v1::{Report, State as Health};
use serde::Serialize;

use super::{
    access::Sight,
    bodies::{Changes, Endpoints, ModelList, OneService, Overview, Ready, Services, Status},
    config::Face,
    query::{self, Asked},
    view::{View, model_name, state_of},
};
use crate::{App, completions::context, error::Error};

/// `OPTIONS` of any face.
pub(crate) async fn options() -> Response {
    let mut response = respond(StatusCode::OK, Bytes::new());
    response.headers_mut().remove(CONTENT_TYPE);
    response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD, OPTIONS"));
    response
}

/// `GET /health/live`: looks at nothing but the process.
pub(crate) async fn live() -> Response {
    respond(StatusCode::OK, Bytes::from_static(b"{\"status\":\"alive\"}"))
}

/// `GET /health/liveliness`, `GET /health/liveness`: the same as LiteLLM answers it.
pub(crate) async fn liveness() -> Response {
    respond(StatusCode::OK, Bytes::from_static(b"\"I'm alive!\""))
}

/// `GET /health/ready`, `GET /health/readiness`: whether to send requests here.
pub(crate) async fn ready(State(app): State<Arc<App>>) -> Response {
    let report = app.health.report();
    let sight = Sight::Public(app.access.public());
    let view = View::new(&report, &sight);
    json(by_state(report.readiness()), &Ready::new(&view))
}

/// `GET /health`: LiteLLM's lists of endpoints, and how each component is.
pub(crate) async fn overview(State(app): State<Arc<App>>, request: Request) -> Result<Response, Error> {
    let (head, _) = request.into_parts();
    let (report, sight) = look(&app, Face::Overview, &head).await?;
    let view = View::new(&report, &sight);
    let asked = query::read(&head.uri, &["model", "model_id"], false)?;
    let named = asked.model.is_some() || asked.model_id.is_some();
    let model = model(&sight, &view, &asked)?;
    let endpoints = Endpoints::new(&view, model, asked.model_id.as_deref());
    if named && endpoints.is_empty() {
        return Err(Error::NoSuchModel);
    }
    Ok(json(by_state(state_of(&report)), &Overview::new(&view, endpoints)))
}

/// `GET /health/status`: how each component is, in the words of the three states.
pub(crate) async fn status(State(app): State<Arc<App>>, request: Request) -> Result<Response, Error> {
    let (head, _) = request.into_parts();
    let (report, sight) = look(&app, Face::Status, &head).await?;
    let view = View::new(&report, &sight);
    Ok(json(by_state(state_of(&report)), &Status::new(&view)))
}

/// `GET /health/models`: how each model is, and what it stands on.
pub(crate) async fn models(State(app): State<Arc<App>>, request: Request) -> Result<Response, Error> {
    let (head, _) = request.into_parts();
    let (report, sight) = look(&app, Face::Models, &head).await?;
    let view = View::new(&report, &sight);
    let asked = query::read(&head.uri, &["model"], true)?;
    let list = ModelList::new(&view, model(&sight, &view, &asked)?);
    if asked.model.is_some() && list.is_empty() {
        return Err(Error::NoSuchModel);
    }
    Ok(json(StatusCode::OK, &list))
}

/// `GET /health/services`: what the process stands on, or one of it.
pub(crate) async fn services(State(app): State<Arc<App>>, request: Request) -> Result<Response, Error> {
    let (head, _) = request.into_parts();
    let (report, sight) = look(&app, Face::Services, &head).await?;
    let view = View::new(&report, &sight);
    match query::read(&head.uri, &["service"], true)?.service {
        None => Ok(json(StatusCode::OK, &Services::new(&view))),
        Some(name) => match OneService::new(&view, &name) {
            Ok(service) => Ok(json(StatusCode::OK, &service)),
            Err(known) if known.is_empty() => Err(Error::Query("service: there is none of that name".into())),
            Err(known) => Err(Error::Query(format!("service: must be one of {}", known.join(", ")))),
        },
    }
}

/// `GET /health/history`: changes of state, the newest first.
pub(crate) async fn history(State(app): State<Arc<App>>, request: Request) -> Result<Response, Error> {
    let (head, _) = request.into_parts();
    let (report, sight) = look(&app, Face::History, &head).await?;
    let view = View::new(&report, &sight);
    let asked = query::read(&head.uri, &["name", "limit", "offset"], true)?;
    let mut changes = view.changes(app.health.history(usize::MAX));
    if let Some(name) = &asked.name {
        changes.retain(|change| change.name == *name);
    }
    Ok(json(StatusCode::OK, &Changes::new(&changes, asked.limit(), asked.offset.unwrap_or_default())))
}

/// The report, and what the caller may see of it.
async fn look(app: &App, face: Face, head: &Parts) -> Result<(Arc<Report>, Sight), Error> {
    let report = app.health.report();
    let sight = app.access.admit(face, &head.headers, &context(&head.extensions), &report).await?;
    Ok((report, sight))
}

/// The model that is asked for, by its own name. Who may see none is not told whether there is one.
fn model<'a>(sight: &'a Sight, view: &View<'a>, asked: &'a Asked) -> Result<Option<&'a str>, Error> {
    if !view.sees_models() && (asked.model.is_some() || asked.model_id.is_some()) {
        return Err(Error::NoCredential);
    }
    Ok(asked.model.as_deref().map(|name| match sight {
        Sight::Key(models) => models.name(name),
        Sight::Public(_) => model_name(name),
    }))
}

fn by_state(state: Health) -> StatusCode {
    match state {
        Health::Up | Health::Degraded => StatusCode::OK,
        Health::Down | Health::Unspecified => StatusCode::SERVICE_UNAVAILABLE,
    }
}

fn json(status: StatusCode, body: &impl Serialize) -> Response {
    let mut out = Vec::with_capacity(1024);
    // Writing into memory cannot fail, nor can these bodies: their maps have names as keys.
    let _ = serde_json::to_writer(&mut out, body);
    respond(status, out.into())
}

fn respond(status: StatusCode, body: Bytes) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
