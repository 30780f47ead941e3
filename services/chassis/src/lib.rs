//! What every service stands on, written once: configuration, telemetry, metrics, health, the server with its
//! stack of layers, channels to other services, deadlines and request ids, tasks and shutdown. It knows
//! nothing of language models, keys or caches.

mod arrival;
mod busy;
mod channel;
pub mod config;
mod context;
mod early;
mod health;
mod limits;
mod metrics;
mod process;
mod reflection;
pub mod reload;
pub mod server;
mod stack;
mod tasks;
mod telemetry;

pub use arrival::arriving;
pub use channel::{Channel, InvalidEndpoint};
pub use context::CallContext;
pub use early::Opening;
pub use health::{
    Check, CheckConfig, Component, DEPLOYMENT_PREFIX, Evidence, Health, HealthConfig, Judge, MODEL_PREFIX,
    NAME_MAX_BYTES as HEALTH_NAME_MAX_BYTES, Outcome, Watch,
};
pub use metrics::Metrics;
pub use process::{Process, ShutdownConfig};
pub use reflection::with_reflection;
pub use reload::{Live, Reloader};
pub use server::ServerConfig;
pub use tasks::Tasks;
pub use telemetry::{Telemetry, TelemetryConfig, TelemetryError};

/// What a process gives every service in it. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Chassis {
    /// Where components report their state.
    pub health: Health,
    /// Where measures are kept.
    pub metrics: Metrics,
    /// Where background work runs.
    pub tasks: Tasks,
}

impl Chassis {
    /// The chassis of `service`, whose checks are made as `health` says.
    pub fn named(service: &'static str, health: HealthConfig) -> Self {
        let health = Health::new(service, health);
        let chassis = Self { health, ..Self::default() };
        chassis.metrics.health().add(&chassis.health);
        chassis
    }

    /// A chassis for another service of the same process: metrics and tasks are shared, health is its own, so
    /// that each service tells of itself in one process as in six.
    #[must_use]
    pub fn beside(&self, service: &'static str) -> Self {
        let health = self.health.beside(service);
        self.metrics.health().add(&health);
        Self { health, ..self.clone() }
    }
}

/// Largest gRPC message that any service takes or gives, in bytes: twice the largest body that may be configured,
/// since frames and lengths come on top of what a body holds.
pub const MESSAGE_MAX_BYTES: usize = 128 << 20;
