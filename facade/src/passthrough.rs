//! gRPC calls on the HTTP port, handed to the service that they name, body and trailers untouched. Only listed
//! services exist; what is meant for one hop, or between services, does not pass.

use axum::{
    body::Body,
    extract::Request,
    http::{
        HeaderMap, HeaderName, HeaderValue, Uri, Version,
        header::{CONNECTION, CONTENT_TYPE, HOST, TE, TRAILER, TRANSFER_ENCODING, UPGRADE},
    },
    response::Response,
};
use penstock_chassis::{CallContext, Channel, arriving};
use penstock_proto::{Error, Reason, metadata};
use tonic::Status;
use tower::ServiceExt as _;

const DEPLOYMENT: HeaderName = HeaderName::from_static(metadata::DEPLOYMENT);
const REQUEST_ID: HeaderName = HeaderName::from_static(metadata::REQUEST_ID);

/// Headers that are meant for one hop.
const HOP_BY_HOP: [HeaderName; 8] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HOST,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// The services that are reachable, by name.
#[derive(Clone, Debug)]
pub(crate) struct Passthrough(Vec<(&'static str, Channel)>);

impl Passthrough {
    pub(crate) fn new(services: Vec<(&'static str, Channel)>) -> Self {
        Self(services)
    }

    /// Hands a call on.
    pub(crate) async fn call(&self, request: Request, context: &CallContext) -> Response {
        if !is_native(request.headers()) {
            return refuse(Error::new(
                Reason::Unimplemented,
                "of gRPC's dialects only the native one is spoken",
            ));
        }
        let Some(channel) = self.channel(request.uri().path()) else {
            return refuse(Error::new(
                Reason::Unimplemented,
                "there is no such service here; in a mesh keys are managed at the auth service",
            ));
        };
        // A conversation may last; every other request is one message that has to arrive.
        let lasts = request.uri().path().starts_with("/grpc.reflection.");
        let request = prepare(request, context);
        let request = if lasts { request.map(tonic::body::Body::new) } else { request.map(arriving) };
        match channel.clone().oneshot(request).await {
            Ok(response) => {
                let mut response = response.map(Body::new);
                // The transport below may have been another version of HTTP.
                *response.version_mut() = Version::default();
                for name in HOP_BY_HOP.iter().filter(|name| **name != TRAILER) {
                    response.headers_mut().remove(name);
                }
                response
            }
            Err(_) => refuse(Error::new(Reason::ServiceUnavailable, "the service cannot be reached")),
        }
    }

    /// The service of `/<service>/<method>`.
    fn channel(&self, path: &str) -> Option<&Channel> {
        let (service, method) = path.strip_prefix('/')?.split_once('/')?;
        if method.is_empty() || method.contains('/') {
            return None;
        }
        self.0.iter().find(|(name, _)| *name == service).map(|(_, channel)| channel)
    }
}

/// Whether a gRPC call is gRPC itself: gRPC-Web frames its trailers otherwise, and would not be understood.
fn is_native(headers: &HeaderMap) -> bool {
    let rest = headers.get(CONTENT_TYPE).and_then(|kind| kind.as_bytes().strip_prefix(b"application/grpc"));
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

fn refuse(error: Error) -> Response {
    Status::from(error).into_http::<Body>()
}

fn prepare(mut request: Request, context: &CallContext) -> Request {
    let path = request.uri().path_and_query().cloned();
    if let Some(uri) = path.map(Uri::from) {
        *request.uri_mut() = uri;
    }
    *request.version_mut() = Version::HTTP_2;
    let headers = request.headers_mut();
    strip(headers);
    if let Ok(id) = HeaderValue::from_str(context.request_id()) {
        headers.insert(REQUEST_ID, id);
    }
    request
}

fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|names| names.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
    // Of all values the one that gRPC wants, and that HTTP/2 allows.
    headers.insert(TE, HeaderValue::from_static("trailers"));
    headers.remove(DEPLOYMENT);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A13, B8.
    #[test]
    fn what_is_for_one_hop_or_between_services_does_not_pass() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "keep-alive, x-mine"),
            ("x-mine", "1"),
            ("te", "gzip, trailers"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("x-penstock-deployment", "gpu-a"),
            ("authorization", "Bearer k"),
            ("grpc-timeout", "1S"),
        ] {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        strip(&mut headers);
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["authorization", "grpc-timeout", "te"]);
        assert_eq!(headers[TE], "trailers");
    }
}
