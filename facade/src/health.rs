//! Health over HTTP: views of the chassis' one report. No details: no addresses, no texts.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::State,
    http::{
        HeaderValue, StatusCode,
        header::{CACHE_CONTROL, CONTENT_TYPE},
    },
    response::Response,
};
use bytes::{BufMut as _, Bytes, BytesMut};
use penstock_proto::status::v1::{Report, State as Health};

use crate::{
    App,
    json::write::{comma, value},
};

/// `GET /health/live`: looks at nothing but the process.
pub(crate) async fn live() -> Response {
    response(StatusCode::OK, Bytes::from_static(b"{\"status\":\"alive\"}"))
}

/// `GET /health/ready`: whether to send requests here.
pub(crate) async fn ready(State(app): State<Arc<App>>) -> Response {
    let report = app.health.report();
    let mut out = BytesMut::new();
    write_status(&report, &mut out);
    out.put_u8(b'}');
    response(status(&report), out.freeze())
}

/// `GET /health`: readiness, and how each component is.
pub(crate) async fn overview(State(app): State<Arc<App>>) -> Response {
    let report = app.health.report();
    let mut out = BytesMut::new();
    write_status(&report, &mut out);
    out.put_slice(b",\"components\":[");
    // Parts of components have ports and models in their names: those are for callers of `status.v1`.
    for component in report.components.iter().filter(|component| !component.name.contains('/')) {
        comma(&mut out);
        out.put_slice(b"{\"name\":");
        value(&mut out, &component.name);
        out.put_slice(b",\"status\":");
        value(&mut out, word(component.state()));
        out.put_u8(b'}');
    }
    out.put_slice(b"]}");
    response(status(&report), out.freeze())
}

fn write_status(report: &Report, out: &mut BytesMut) {
    out.put_slice(b"{\"status\":");
    value(out, word(state(report)));
}

/// A report without a state, or of a process that is draining, is no invitation.
fn state(report: &Report) -> Health {
    match report.state() {
        Health::Unspecified => Health::Down,
        _ if report.draining => Health::Down,
        state => state,
    }
}

fn status(report: &Report) -> StatusCode {
    if state(report) == Health::Down { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK }
}

fn word(state: Health) -> &'static str {
    match state {
        Health::Unspecified => "UNKNOWN",
        Health::Up => "UP",
        Health::Degraded => "DEGRADED",
        Health::Down => "DOWN",
    }
}

fn response(status: StatusCode, body: Bytes) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
