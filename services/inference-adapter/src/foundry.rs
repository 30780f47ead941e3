//! Makes deployments out of what is configured or found: engine, health component, measures.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicU32},
};

use penstock_chassis::Chassis;
use penstock_proto::{inference::v1::Capabilities, status::v1::Kind as ComponentKind};

use crate::{
    capabilities::implied,
    config::{DeploymentConfig, EngineConfig, Place, RemoteConfig},
    engine::{Engine, Kind, Penstock, Simulated, Target},
    evidence::Evidence,
    fleet::Deployment,
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
}

impl Foundry {
    /// A deployment as configured; `None` cannot be, the configuration is checked.
    pub(crate) fn configured(&self, config: DeploymentConfig) -> Option<Arc<Deployment>> {
        let id: Arc<str> = config.id.into();
        let DeploymentConfig { model, declared, deny, .. } = config;
        match config.engine {
            EngineConfig::Simulated(settings) => {
                let engine = Simulated::new(settings, Arc::clone(&id), self.http.limits(), unix_now);
                Some(self.deployment(Kind::Simulated, id, model, declared, Arc::new(engine), false))
            }
            EngineConfig::Mesh { endpoint, api_key } => {
                let limits = self.http.limits();
                let engine = Penstock::new(
                    Arc::clone(&id),
                    &endpoint,
                    model.clone(),
                    api_key.as_ref(),
                    deny,
                    limits,
                    &self.chassis,
                )?;
                Some(self.deployment(Kind::Penstock, id, model, declared, Arc::new(engine), false))
            }
            EngineConfig::Remote(engine) => {
                let target = Target { declared, deny: deny.into(), ..target(id, model, &engine) };
                self.remote(engine.kind, target, false)
            }
        }
    }

    /// A deployment on an engine that is spoken to over HTTP.
    fn remote(&self, kind: Kind, target: Target, discovered: bool) -> Option<Arc<Deployment>> {
        let (id, model) = (Arc::clone(&target.deployment), target.model.clone());
        let declared = target.declared;
        let engine = kind.connect(target, &self.http)?;
        Some(self.deployment(kind, id, model, declared, engine, discovered))
    }

    /// A model that was found at a place.
    pub(crate) fn found(&self, place: &Place, id: Arc<str>, model: String) -> Option<Arc<Deployment>> {
        let target = Target {
            declared: place.declared,
            deny: place.deny.as_slice().into(),
            ..target(id, model, &place.engine)
        };
        self.remote(place.engine.kind, target, true)
    }

    fn deployment(
        &self,
        kind: Kind,
        id: Arc<str>,
        model: String,
        declared: Capabilities,
        engine: Arc<dyn Engine>,
        discovered: bool,
    ) -> Arc<Deployment> {
        Arc::new(Deployment {
            dialect: kind.name(),
            model,
            discovered,
            engine,
            first_token: self.metrics.first_token(&id),
            component: self.chassis.health.component(
                format!("deployment/{id}"),
                ComponentKind::Deployment,
                false,
            ),
            evidence: Mutex::new(Evidence::none()),
            declared,
            implied: implied(kind),
            reported: Mutex::default(),
            looked: AtomicBool::new(false),
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
        headers: config.kind.headers(config.api_key.as_ref()),
        ..Target::of(id, config.endpoint.clone(), model)
    }
}
