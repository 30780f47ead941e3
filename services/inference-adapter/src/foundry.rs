//! Makes deployments out of what is configured or found: engine, health component, measures.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicU32},
};

use penstock_chassis::{Chassis, CheckConfig};
use penstock_proto::{inference::v1::Capabilities, status::v1::Kind as ComponentKind};
use tokio::sync::Notify;

use crate::{
    capabilities::implied,
    config::{DeploymentConfig, EngineConfig, Place, RemoteConfig},
    deployment::Deployment,
    engine::{Engine, Kind, Penstock, Simulated, Target},
    evidence::Evidence,
    metrics::EngineMetrics,
    upstream::{Http, unix_now},
};

/// What every deployment is made with.
#[derive(Clone, Debug)]
pub(crate) struct Foundry {
    pub(crate) http: Http,
    pub(crate) chassis: Chassis,
    pub(crate) metrics: EngineMetrics,
    pub(crate) max_in_flight: u32,
    /// How deployments are checked, unless the configuration says otherwise by name.
    pub(crate) usual: CheckConfig,
    /// Whether it is tried from time to time if they generate, unless a deployment says otherwise.
    pub(crate) generation_probe: bool,
    /// Wakes who looks at places: a request to a model that was found has failed.
    pub(crate) failed: Arc<Notify>,
}

/// What the configuration says of a deployment, whatever its engine.
struct Plan {
    id: Arc<str>,
    model: String,
    declared: Capabilities,
    discovered: bool,
    generation_probe: Option<bool>,
}

impl Foundry {
    /// A deployment as configured; `None` cannot be, the configuration is checked.
    pub(crate) fn configured(&self, config: DeploymentConfig) -> Option<Arc<Deployment>> {
        let DeploymentConfig { id, model, declared, deny, generation_probe, engine } = config;
        let id: Arc<str> = id.into();
        let limits = self.http.limits();
        let plan =
            Plan { id: Arc::clone(&id), model: model.clone(), declared, discovered: false, generation_probe };
        match engine {
            EngineConfig::Simulated(settings) => {
                let engine = Simulated::new(settings, id, limits, unix_now);
                Some(self.deployment(Kind::Simulated, plan, Arc::new(engine)))
            }
            EngineConfig::Mesh { endpoint, api_key } => {
                let key = api_key.as_deref();
                let engine = Penstock::new(id, &endpoint, model, key, deny, limits, &self.chassis)?;
                Some(self.deployment(Kind::Penstock, plan, Arc::new(engine)))
            }
            EngineConfig::Remote(engine) => {
                let target = Target { declared, deny: deny.into(), ..target(id, model, &engine) };
                Some(self.deployment(engine.kind, plan, engine.kind.connect(target, &self.http)?))
            }
        }
    }

    /// A model that was found at a place.
    pub(crate) fn found(&self, place: &Place, id: Arc<str>, model: String) -> Option<Arc<Deployment>> {
        let (declared, kind) = (place.declared, place.engine.kind);
        let generation_probe = place.generation_probe;
        let plan =
            Plan { id: Arc::clone(&id), model: model.clone(), declared, discovered: true, generation_probe };
        let target =
            Target { declared, deny: place.deny.as_slice().into(), ..target(id, model, &place.engine) };
        Some(self.deployment(kind, plan, kind.connect(target, &self.http)?))
    }

    /// Takes deployments that are gone out of health and the measures. Requests that they work on go on.
    pub(crate) fn dismiss(&self, gone: &[Arc<Deployment>]) {
        for deployment in gone {
            deployment.component.leave();
            self.metrics.forget(&deployment.id);
        }
    }

    fn deployment(&self, kind: Kind, plan: Plan, engine: Arc<dyn Engine>) -> Arc<Deployment> {
        let Plan { id, model, declared, discovered, generation_probe } = plan;
        let (name, health) = (format!("deployment/{id}"), &self.chassis.health);
        let check = health.check_config(&name, self.usual);
        Arc::new(Deployment {
            dialect: kind.name(),
            model,
            discovered,
            engine,
            first_token: self.metrics.first_token(&id),
            component: health.component(name, ComponentKind::Deployment, false),
            evidence: Mutex::new(Evidence::none(check)),
            check_timeout: check.timeout,
            declared,
            implied: implied(kind),
            reported: Mutex::default(),
            looked: AtomicBool::new(false),
            loaded: Mutex::default(),
            generation_probe: generation_probe.unwrap_or(self.generation_probe),
            wake: if discovered { Arc::clone(&self.failed) } else { Arc::default() },
            in_flight: AtomicU32::new(0),
            max_in_flight: self.max_in_flight,
            id,
        })
    }
}

fn target(id: Arc<str>, model: String, config: &RemoteConfig) -> Target {
    Target {
        context_tokens: config.context_tokens,
        answer_tokens: config.answer_tokens,
        first_token_timeout: config.first_token_timeout,
        keep_alive_seconds: config.keep_alive_seconds,
        headers: config.kind.headers(config.api_key.as_deref()),
        ..Target::of(id, config.endpoint.clone(), model)
    }
}
