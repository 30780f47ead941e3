//! Metrics of a process in one registry, given out as OpenMetrics text; and the measures of every gRPC call.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, OnceLock, PoisonError, RwLock},
    time::Duration,
};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};
use tonic::Code;

/// Upper edges of the duration histogram, in seconds: from an in-process call to a long generation.
const DURATION_EDGES: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 120.0];

/// The metrics of a process. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
    rpc: Arc<RpcMetrics>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::default();
        let rpc = RpcMetrics::default();
        registry.register("penstock_rpc", "gRPC calls served, by method and code", rpc.calls.clone());
        registry.register(
            "penstock_rpc_seconds",
            "Time until the last message of a call",
            rpc.seconds.clone(),
        );
        registry.register("penstock_rpc_in_flight", "gRPC calls being served", rpc.in_flight.clone());
        Self { registry: Arc::new(Mutex::new(registry)), rpc: Arc::new(rpc) }
    }
}

impl Metrics {
    /// Registers metrics; their names start with `penstock_`.
    pub fn register(&self, register: impl FnOnce(&mut Registry)) {
        register(&mut self.registry.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// All metrics as OpenMetrics text.
    ///
    /// # Errors
    /// A metric cannot be written as text: a bug of ours.
    pub fn encode(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry.lock().unwrap_or_else(PoisonError::into_inner))?;
        Ok(text)
    }

    pub(crate) fn rpc(&self) -> &Arc<RpcMetrics> {
        &self.rpc
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    method: Arc<str>,
    code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MethodLabels {
    method: Arc<str>,
}

/// Measures of gRPC calls.
#[derive(Debug)]
pub(crate) struct RpcMetrics {
    calls: Family<CallLabels, Counter>,
    seconds: Family<MethodLabels, Histogram, fn() -> Histogram>,
    pub(crate) in_flight: Gauge,
    /// By path, so that the hot path makes no labels.
    methods: RwLock<HashMap<Arc<str>, Arc<Method>>>,
}

impl Default for RpcMetrics {
    fn default() -> Self {
        Self {
            calls: Family::default(),
            seconds: Family::new_with_constructor(|| Histogram::new(DURATION_EDGES)),
            in_flight: Gauge::default(),
            methods: RwLock::default(),
        }
    }
}

#[derive(Debug)]
struct Method {
    name: Arc<str>,
    codes: [OnceLock<Counter>; CODES.len()],
    seconds: Histogram,
}

const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

impl RpcMetrics {
    /// Counts a call that has ended. `path` is what the caller sent: one that nothing implements gets no
    /// series of its own, so that callers cannot make series.
    pub(crate) fn record(&self, path: &str, code: Code, duration: Duration) {
        let path = if code == Code::Unimplemented { "unknown" } else { path };
        let method = self.method(path);
        let index = code as usize;
        if let (Some(slot), Some(name)) = (method.codes.get(index), CODES.get(index)) {
            slot.get_or_init(|| {
                let labels = CallLabels { method: Arc::clone(&method.name), code: name };
                self.calls.get_or_create(&labels).clone()
            })
            .inc();
        }
        method.seconds.observe(duration.as_secs_f64());
    }

    fn method(&self, path: &str) -> Arc<Method> {
        if let Some(method) = self.methods.read().unwrap_or_else(PoisonError::into_inner).get(path) {
            return Arc::clone(method);
        }
        let name: Arc<str> = path.trim_start_matches('/').into();
        let labels = MethodLabels { method: Arc::clone(&name) };
        let method = Arc::new(Method {
            name,
            codes: [const { OnceLock::new() }; CODES.len()],
            seconds: self.seconds.get_or_create(&labels).clone(),
        });
        let mut methods = self.methods.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(methods.entry(path.into()).or_insert(method))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_by_method_and_code() {
        let metrics = Metrics::default();
        metrics.rpc().record("/a.B/C", Code::Ok, Duration::from_millis(1));
        metrics.rpc().record("/a.B/C", Code::Ok, Duration::from_millis(1));
        metrics.rpc().record("/a.B/C", Code::NotFound, Duration::from_millis(1));
        let text = metrics.encode().unwrap();
        assert!(text.contains("penstock_rpc_total{method=\"a.B/C\",code=\"OK\"} 2"), "{text}");
        assert!(text.contains("penstock_rpc_total{method=\"a.B/C\",code=\"NOT_FOUND\"} 1"), "{text}");
        assert!(text.contains("penstock_rpc_seconds_count{method=\"a.B/C\"} 3"), "{text}");
    }

    /// G6: paths that callers make up do not become series.
    #[test]
    fn callers_cannot_make_series() {
        let metrics = Metrics::default();
        for n in 0..1000 {
            metrics.rpc().record(&format!("/made.Up/{n}"), Code::Unimplemented, Duration::ZERO);
        }
        let text = metrics.encode().unwrap();
        assert!(
            text.contains("penstock_rpc_total{method=\"unknown\",code=\"UNIMPLEMENTED\"} 1000"),
            "{text}"
        );
        assert!(!text.contains("made.Up"));
    }
}
