//! Makes deployments out of what is configured or found: engine, health component, measures.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicU32},
};

use penstock_chassis::Chassis;
use penstock_proto::inference::v1::Capabilities;

use crate::{
    capabilities::implied,
    config::{DeploymentConfig, EngineConfig},
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
            EngineConfig::Simulated(pace) => {
                let engine = Arc::new(Simulated::new(pace, Arc::clone(&id), unix_now));
                Some(self.deployment(Kind::Simulated, id, model, declared, engine, false))
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
            EngineConfig::Remote { kind, endpoint, api_key, context_tokens, answer_tokens } => {
                let target = Target {
                    context_tokens,
                    answer_tokens,
                    declared,
                    deny: deny.into(),
                    headers: kind.headers(api_key.as_ref()),
                    ..Target::found(id, endpoint, model)
                };
                self.remote(kind, target, false)
            }
        }
    }

    /// A deployment on an engine that is spoken to over HTTP.
    pub(crate) fn remote(&self, kind: Kind, target: Target, discovered: bool) -> Option<Arc<Deployment>> {
        let (id, model) = (Arc::clone(&target.deployment), target.model.clone());
        let declared = target.declared;
        let engine = kind.connect(target, &self.http)?;
        Some(self.deployment(kind, id, model, declared, engine, discovered))
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
            component: self.chassis.health.component(format!("deployment/{id}"), false),
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
