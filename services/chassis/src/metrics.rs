//! Metrics of a process in one registry, given out as OpenMetrics text; and the measures of every gRPC call.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, OnceLock, PoisonError, RwLock},
    time::Duration,
};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};
use prost::Message as _;
use prost_types::FileDescriptorSet;
use tonic::Code;

use crate::health::HealthMetrics;

/// Upper edges of the duration histogram, in seconds: from an in-process call to a long generation.
const DURATION_EDGES: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 120.0];

/// The metrics of a process. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
    rpc: Arc<RpcMetrics>,
    health: HealthMetrics,
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
        let health = HealthMetrics::default();
        registry.register_collector(Box::new(health.clone()));
        Self { registry: Arc::new(Mutex::new(registry)), rpc: Arc::new(rpc), health }
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

    /// The services whose health is told among the metrics.
    pub(crate) fn health(&self) -> &HealthMetrics {
        &self.health
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
    /// Paths that get a series of their own: callers can make up others.
    known: HashSet<String>,
}

impl Default for RpcMetrics {
    fn default() -> Self {
        Self {
            calls: Family::default(),
            seconds: Family::new_with_constructor(|| Histogram::new(DURATION_EDGES)),
            in_flight: Gauge::default(),
            methods: RwLock::default(),
            known: known_paths(),
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
    /// Counts a call that has ended. `path` is what the caller sent: only one of the contract gets a series of
    /// its own.
    pub(crate) fn record(&self, path: &str, code: Code, duration: Duration) {
        let path = if self.known.contains(path) { path } else { "unknown" };
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

/// The path of every method of the contract, of health and of reflection.
fn known_paths() -> HashSet<String> {
    let files = [
        penstock_proto::FILE_DESCRIPTOR_SET,
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
    ];
    let sets = files.into_iter().filter_map(|bytes| FileDescriptorSet::decode(bytes).ok());
    let mut paths = HashSet::new();
    for file in sets.flat_map(|set| set.file) {
        for service in &file.service {
            for method in &service.method {
                paths.insert(format!("/{}.{}/{}", file.package(), service.name(), method.name()));
            }
        }
    }
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHECK: &str = "/grpc.health.v1.Health/Check";

    #[test]
    fn calls_are_counted_by_method_and_code() {
        let metrics = Metrics::default();
        metrics.rpc().record(CHECK, Code::Ok, Duration::from_millis(1));
        metrics.rpc().record(CHECK, Code::Ok, Duration::from_millis(1));
        metrics.rpc().record(CHECK, Code::NotFound, Duration::from_millis(1));
        let text = metrics.encode().unwrap();
        assert!(
            text.contains("penstock_rpc_total{method=\"grpc.health.v1.Health/Check\",code=\"OK\"} 2"),
            "{text}"
        );
        assert!(
            text.contains("penstock_rpc_total{method=\"grpc.health.v1.Health/Check\",code=\"NOT_FOUND\"} 1"),
            "{text}"
        );
        assert!(
            text.contains("penstock_rpc_seconds_count{method=\"grpc.health.v1.Health/Check\"} 3"),
            "{text}"
        );
    }

    /// G6: paths that callers make up do not become series.
    #[test]
    fn callers_cannot_make_series() {
        let metrics = Metrics::default();
        for n in 0..1000 {
            // Whatever they are answered: refused under load, too.
            metrics.rpc().record(&format!("/grpc.health.v1.Health/{n}"), Code::Unavailable, Duration::ZERO);
        }
        let text = metrics.encode().unwrap();
        assert!(text.contains("penstock_rpc_total{method=\"unknown\",code=\"UNAVAILABLE\"} 1000"), "{text}");
        assert!(!text.contains("Health/"), "{text}");
    }
}
