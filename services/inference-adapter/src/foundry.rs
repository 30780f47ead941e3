//! Makes deployments out of what is configured or found: engine, health component, measures.

use std::sync::{Arc, Mutex, atomic::AtomicU32};

use http::HeaderValue;
use penstock_chassis::Health;
use secrecy::{ExposeSecret as _, SecretString};

use crate::{
    config::{DeploymentConfig, EngineConfig, RemoteConfig},
    engine::{Engine, Kind, Simulated, Target},
    evidence::Evidence,
    fleet::Deployment,
    metrics::EngineMetrics,
    upstream::{Http, unix_now},
};

/// What every deployment is made with.
#[derive(Clone, Debug)]
pub(crate) struct Foundry {
    pub(crate) http: Http,
    pub(crate) health: Health,
    pub(crate) metrics: EngineMetrics,
    pub(crate) max_in_flight: u32,
}

impl Foundry {
    /// A deployment as configured; `None` cannot be, the configuration is checked.
    pub(crate) fn configured(&self, config: DeploymentConfig) -> Option<Arc<Deployment>> {
        let id: Arc<str> = config.id.into();
        match config.engine {
            EngineConfig::Simulated(settings) => {
                let engine = Simulated::new(settings, Arc::clone(&id), self.http.limits(), unix_now);
                let engine = Arc::new(engine);
                Some(self.deployment(Kind::Simulated, id, config.model, engine, false))
            }
            EngineConfig::Remote(engine) => self.remote(id, config.model, &engine, false),
        }
    }

    /// A deployment on an engine that is spoken to over HTTP.
    pub(crate) fn remote(
        &self,
        id: Arc<str>,
        model: String,
        config: &RemoteConfig,
        discovered: bool,
    ) -> Option<Arc<Deployment>> {
        let target = Target {
            deployment: Arc::clone(&id),
            endpoint: config.endpoint.clone(),
            model: model.clone(),
            context_tokens: config.context_tokens,
            authorization: config.api_key.as_ref().and_then(bearer),
            first_token_timeout: config.first_token_timeout,
            keep_alive_seconds: config.keep_alive_seconds,
            shown: Arc::default(),
        };
        let engine = config.kind.connect(target, &self.http)?;
        Some(self.deployment(config.kind, id, model, engine, discovered))
    }

    fn deployment(
        &self,
        kind: Kind,
        id: Arc<str>,
        model: String,
        engine: Arc<dyn Engine>,
        discovered: bool,
    ) -> Arc<Deployment> {
        Arc::new(Deployment {
            dialect: kind.name(),
            model,
            discovered,
            engine,
            first_token: self.metrics.first_token(&id),
            component: self.health.component(format!("deployment/{id}"), false),
            evidence: Mutex::new(Evidence::none()),
            in_flight: AtomicU32::new(0),
            max_in_flight: self.max_in_flight,
            id,
        })
    }
}

/// The header that carries an engine's credential, which no log shows.
pub(crate) fn bearer(key: &SecretString) -> Option<HeaderValue> {
    let mut value = HeaderValue::try_from(format!("Bearer {}", key.expose_secret())).ok()?;
    value.set_sensitive(true);
    Some(value)
}
