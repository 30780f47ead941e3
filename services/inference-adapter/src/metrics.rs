//! Measures of engines. Labels are deployments' ids: configured or found, never a caller's text (G6).

use std::sync::Arc;

use penstock_chassis::Metrics;
use penstock_proto::Reason;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
};

/// Upper edges in seconds, from a loaded small model to one that is loaded from disk.
const FIRST_TOKEN_EDGES: [f64; 12] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0, 120.0];

/// Upper edges in seconds, up to the longest wait that is of use.
const WAIT_EDGES: [f64; 10] = [0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 30.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    deployment: Arc<str>,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DeploymentLabels {
    deployment: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ProbeLabels {
    outcome: &'static str,
}

/// Measures of engines.
#[derive(Clone, Debug)]
pub(crate) struct EngineMetrics {
    requests: Family<OutcomeLabels, Counter>,
    first_token: Family<DeploymentLabels, Histogram, fn() -> Histogram>,
    malformed: Family<DeploymentLabels, Counter>,
    estimated: Family<DeploymentLabels, Counter>,
    generation_probes: Family<ProbeLabels, Counter>,
    generation_probe_tokens: Counter,
    breaker_state: Family<DeploymentLabels, Gauge>,
    breaker_opened: Family<DeploymentLabels, Counter>,
    in_flight: Family<DeploymentLabels, Gauge>,
    queued: Family<DeploymentLabels, Gauge>,
    queue_wait: Family<DeploymentLabels, Histogram, fn() -> Histogram>,
}

/// Measures of the way into one deployment.
#[derive(Clone, Debug)]
pub(crate) struct AdmissionMetrics {
    /// 0: closed, 1: half-open, 2: open.
    pub(crate) state: Gauge,
    pub(crate) opened: Counter,
    pub(crate) in_flight: Gauge,
    pub(crate) queued: Gauge,
    pub(crate) waited: Histogram,
}

impl EngineMetrics {
    pub(crate) fn register(metrics: &Metrics) -> Self {
        let this = Self {
            requests: Family::default(),
            first_token: Family::new_with_constructor(|| Histogram::new(FIRST_TOKEN_EDGES)),
            malformed: Family::default(),
            estimated: Family::default(),
            generation_probes: Family::default(),
            generation_probe_tokens: Counter::default(),
            breaker_state: Family::default(),
            breaker_opened: Family::default(),
            in_flight: Family::default(),
            queued: Family::default(),
            queue_wait: Family::new_with_constructor(|| Histogram::new(WAIT_EDGES)),
        };
        this.register_admission(metrics);
        metrics.register(|registry| {
            registry.register(
                "penstock_engine_requests",
                "Requests put to engines, by deployment and outcome",
                this.requests.clone(),
            );
            registry.register(
                "penstock_engine_first_token_seconds",
                "Time from the request to the first token",
                this.first_token.clone(),
            );
            registry.register(
                "penstock_engine_malformed_frames",
                "Frames of streamed answers that could not be read and were skipped",
                this.malformed.clone(),
            );
            registry.register(
                "penstock_engine_estimated_usage",
                "Answers whose tokens were counted here because the engine did not count them",
                this.estimated.clone(),
            );
            registry.register(
                "penstock_generation_probes",
                "Generations made to see whether deployments can, by outcome",
                this.generation_probes.clone(),
            );
            registry.register(
                "penstock_generation_probe_tokens",
                "Tokens of these generations",
                this.generation_probe_tokens.clone(),
            );
        });
        this
    }

    fn register_admission(&self, metrics: &Metrics) {
        metrics.register(|registry| {
            registry.register(
                "penstock_breaker_state",
                "Circuit breakers of deployments: 0 closed, 1 half-open, 2 open",
                self.breaker_state.clone(),
            );
            registry.register(
                "penstock_breaker_opened",
                "How often circuit breakers opened",
                self.breaker_opened.clone(),
            );
            registry.register(
                "penstock_deployment_in_flight",
                "Requests that deployments are working on",
                self.in_flight.clone(),
            );
            registry.register(
                "penstock_deployment_queued",
                "Requests that wait for a place on a deployment",
                self.queued.clone(),
            );
            registry.register(
                "penstock_queue_wait_seconds",
                "How long requests waited that had to, whatever became of them",
                self.queue_wait.clone(),
            );
        });
    }

    /// Measures of the way into a deployment.
    pub(crate) fn admission(&self, deployment: &Arc<str>) -> AdmissionMetrics {
        let labels = DeploymentLabels { deployment: Arc::clone(deployment) };
        AdmissionMetrics {
            state: self.breaker_state.get_or_create(&labels).clone(),
            opened: self.breaker_opened.get_or_create(&labels).clone(),
            in_flight: self.in_flight.get_or_create(&labels).clone(),
            queued: self.queued.get_or_create(&labels).clone(),
            waited: self.queue_wait.get_or_create(&labels).clone(),
        }
    }

    /// Counts a request that has ended.
    pub(crate) fn ended(&self, deployment: &Arc<str>, outcome: &'static str) {
        let labels = OutcomeLabels { deployment: Arc::clone(deployment), outcome };
        self.requests.get_or_create(&labels).inc();
    }

    /// The histogram of a deployment.
    pub(crate) fn first_token(&self, deployment: &Arc<str>) -> Histogram {
        let labels = DeploymentLabels { deployment: Arc::clone(deployment) };
        self.first_token.get_or_create(&labels).clone()
    }

    /// The counter of a deployment's frames that cannot be read.
    pub(crate) fn malformed(&self, deployment: &Arc<str>) -> Counter {
        self.malformed.get_or_create(&DeploymentLabels { deployment: Arc::clone(deployment) }).clone()
    }

    /// Counts an answer whose usage is an estimate.
    pub(crate) fn estimated(&self, deployment: &Arc<str>) {
        self.estimated.get_or_create(&DeploymentLabels { deployment: Arc::clone(deployment) }).inc();
    }

    /// Counts a generation that was to show health, or that was left out.
    pub(crate) fn generation_probe(&self, outcome: &'static str) {
        self.generation_probes.get_or_create(&ProbeLabels { outcome }).inc();
    }

    /// Counts what it took.
    pub(crate) fn generation_probe_tokens(&self, tokens: u64) {
        self.generation_probe_tokens.inc_by(tokens);
    }

    /// Drops the series of a deployment that is gone.
    pub(crate) fn forget(&self, deployment: &Arc<str>) {
        for outcome in Reason::ALL.iter().map(|reason| reason.as_str()).chain(["ok", "cancelled"]) {
            self.requests.remove(&OutcomeLabels { deployment: Arc::clone(deployment), outcome });
        }
        let labels = DeploymentLabels { deployment: Arc::clone(deployment) };
        self.first_token.remove(&labels);
        self.malformed.remove(&labels);
        self.estimated.remove(&labels);
        self.breaker_state.remove(&labels);
        self.breaker_opened.remove(&labels);
        self.in_flight.remove(&labels);
        self.queued.remove(&labels);
        self.queue_wait.remove(&labels);
    }
}
