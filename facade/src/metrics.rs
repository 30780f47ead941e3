//! Measures of HTTP requests. Labels come from closed lists: callers cannot make series (G6).

use penstock_chassis::Chassis;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
};

/// The routes that exist, as axum writes them.
pub(crate) const ROUTES: [&str; 24] = [
    "/v1/chat/completions",
    "/v1/chat/completions/{id}",
    "/v1/chat/completions/{id}/messages",
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
