//! Measures of HTTP requests. Labels come from closed lists: callers cannot make series (G6).

use axum::{extract::Request, http::Method};
use penstock_chassis::{Chassis, Class};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
};

/// The routes that exist, as axum writes them.
pub(crate) const ROUTES: [&str; 39] = [
    "/v1/chat/completions",
    "/v1/chat/completions/{id}",
    "/v1/chat/completions/{id}/messages",
    "/v1/responses",
    "/v1/responses/input_tokens",
    "/v1/responses/{id}",
    "/v1/responses/{id}/cancel",
    "/v1/responses/{id}/input_items",
    "/v1/messages",
    "/v1/messages/count_tokens",
    "/api/chat",
    "/api/generate",
    "/api/embed",
    "/api/embeddings",
    "/api/tags",
    "/api/show",
    "/api/ps",
    "/api/version",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/moderations",
    "/v1/models",
    "/v1/models/{*id}",
    "/admin/v1/explain",
    "/admin/v1/decisions/{id}",
    "/admin/v1/reload",
    "/health",
    "/health/live",
    "/health/liveliness",
    "/health/liveness",
    "/health/ready",
    "/health/readiness",
    "/health/status",
    "/health/models",
    "/health/services",
    "/health/history",
    "/",
    "/openapi.json",
    "/docs",
];

/// Those of them where a POST asks for an answer.
const GENERATES: [&str; 6] = [
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/responses",
    "/v1/messages",
    "/api/chat",
    "/api/generate",
];

/// The same by gRPC.
const BEGINS: [&str; 2] =
    ["/penstock.inference.v1.Inference/Generate", "/penstock.inference.v1.Responses/Start"];

/// A route's name in labels and spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Route(&'static str);

impl Route {
    /// A gRPC call that is passed through; the router counts it by its method.
    pub(crate) const GRPC: Route = Route("grpc");

    /// The route that a path matched.
    pub(crate) fn of(matched: Option<&str>) -> Self {
        let known = ROUTES.iter().find(|route| Some(**route) == matched);
        Self(known.copied().unwrap_or("unknown"))
    }

    pub(crate) fn as_str(self) -> &'static str {
        self.0
    }

    /// What a request of this route is to the door. None: it does not go through it, for it tells how we are, or
    /// costs nothing.
    pub(crate) fn class(self, request: &Request) -> Option<Class> {
        let path = request.uri().path();
        match self.0 {
            "grpc" if BEGINS.contains(&path) => Some(Class::Answer),
            "grpc" => path.starts_with("/penstock.inference.v1.").then_some(Class::Batch),
            route if GENERATES.contains(&route) && request.method() == Method::POST => Some(Class::Answer),
            "/api/version" => None,
            route => (route.starts_with("/v1/") || route.starts_with("/api/")).then_some(Class::Batch),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    route: &'static str,
    status: u16,
}

/// Measures of the facade. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics {
    requests: Family<Labels, Counter>,
}

impl Metrics {
    pub(crate) fn register(chassis: &Chassis) -> Self {
        let metrics = Self::default();
        chassis.metrics.register(|registry| {
            let help = "HTTP requests, by route and status of the answer's head";
            registry.register("penstock_http_requests", help, metrics.requests.clone());
        });
        metrics
    }

    pub(crate) fn count(&self, route: Route, status: u16) {
        self.requests.get_or_create(&Labels { route: route.0, status }).inc();
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    #[test]
    fn health_never_goes_through_the_door_and_generations_are_refused_last() {
        let class = |method: &str, path: &str, route: Route| {
            let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
            route.class(&request)
        };
        for route in ROUTES {
            let (posted, got) = (class("POST", route, Route(route)), class("GET", route, Route(route)));
            let expected = if GENERATES.contains(&route) { Some(Class::Answer) } else { got };
            assert_eq!(posted, expected, "{route}");
            let asks = route.starts_with("/v1/") || (route.starts_with("/api/") && route != "/api/version");
            assert_eq!(got, asks.then_some(Class::Batch), "{route}");
        }
        for (path, expected) in [
            ("/penstock.inference.v1.Inference/Generate", Some(Class::Answer)),
            ("/penstock.inference.v1.Inference/Embed", Some(Class::Batch)),
            ("/penstock.inference.v1.Responses/Start", Some(Class::Answer)),
            ("/penstock.inference.v1.Responses/Get", Some(Class::Batch)),
            ("/penstock.inference.v1.StoredCompletions/List", Some(Class::Batch)),
            ("/grpc.health.v1.Health/Watch", None),
            ("/penstock.status.v1.Status/Get", None),
            ("/penstock.auth.v1.Keys/Revoke", None),
        ] {
            assert_eq!(class("POST", path, Route::GRPC), expected, "{path}");
        }
        assert_eq!(class("GET", "/v1/nothing", Route::of(None)), None);
    }
}
