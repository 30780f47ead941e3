//! Makes deployments out of what is configured or found: engine, health component, measures.

use std::sync::{Arc, Mutex, atomic::AtomicBool};

use penstock_chassis::{Chassis, CheckConfig};
use penstock_proto::{inference::v1::Capabilities, status::v1::Kind as ComponentKind};
use tokio::sync::Notify;

use crate::{
    admission::Admission,
    capabilities::implied,
    config::{DeploymentConfig, EngineConfig, Place, RemoteConfig, Terms},
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
    /// How deployments are checked, unless the configuration says otherwise by name.
    pub(crate) usual: CheckConfig,
    /// Whether it is tried from time to time if they generate, unless a deployment says otherwise.
    pub(crate) generation_probe: bool,
    /// Wakes who looks at places: a request to a model that was found has failed.
    pub(crate) failed: Arc<Notify>,
    /// Wakes who looks after breakers: one has opened.
    pub(crate) opened: Arc<Notify>,
}

/// What the configuration says of a deployment, whatever its engine.
struct Plan {
    id: Arc<str>,
    model: String,
    declared: Capabilities,
    discovered: bool,
    generation_probe: Option<bool>,
    terms: Terms,
}

impl Foundry {
    /// A deployment as configured; `None` cannot be, the configuration is checked.
    pub(crate) fn configured(&self, config: DeploymentConfig) -> Option<Arc<Deployment>> {
        let DeploymentConfig { id, model, declared, deny, generation_probe, terms, engine } = config;
        let id: Arc<str> = id.into();
        // What one of that id counted is not this one's, nor is what it still does.
        self.metrics.forget(&id);
        let limits = terms.limits;
        let plan = Plan {
            id: Arc::clone(&id),
            model: model.clone(),
            declared,
            discovered: false,
            generation_probe,
            terms,
        };
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
                let engine_of = engine.kind.connect(target, &self.http.with(limits))?;
                Some(self.deployment(engine.kind, plan, engine_of))
            }
        }
    }

    /// A model that was found at a place.
    pub(crate) fn found(&self, place: &Place, id: Arc<str>, model: String) -> Option<Arc<Deployment>> {
        let (declared, kind) = (place.declared, place.engine.kind);
        self.metrics.forget(&id);
        let plan = Plan {
            id: Arc::clone(&id),
            model: model.clone(),
            declared,
            discovered: true,
            generation_probe: place.generation_probe,
            terms: place.terms.clone(),
        };
        let target =
            Target { declared, deny: place.deny.as_slice().into(), ..target(id, model, &place.engine) };
        let http = self.http.with(place.terms.limits);
        Some(self.deployment(kind, plan, kind.connect(target, &http)?))
    }

    /// Takes deployments that are gone out of health and the measures. Requests that they work on go on.
    pub(crate) fn dismiss(&self, gone: &[Arc<Deployment>]) {
        for deployment in gone {
            deployment.component.leave();
            self.metrics.forget(&deployment.id);
        }
    }

    fn deployment(&self, kind: Kind, plan: Plan, engine: Arc<dyn Engine>) -> Arc<Deployment> {
        let Plan { id, model, declared, discovered, generation_probe, terms } = plan;
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
            opened: Arc::clone(&self.opened),
            admission: Admission::new(terms.admission, self.metrics.admission(&id)),
            terms,
            load_seen: Mutex::default(),
            id,
        })
    }
}

fn target(id: Arc<str>, model: String, config: &RemoteConfig) -> Target {
    Target {
        context_tokens: config.context_tokens,
        answer_tokens: config.answer_tokens,
        keep_alive_seconds: config.keep_alive_seconds,
        headers: config.kind.headers(config.api_key.as_deref()),
        ..Target::of(id, config.endpoint.clone(), model)
    }
}
