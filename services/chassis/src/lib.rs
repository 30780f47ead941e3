//! What every service stands on, written once: configuration, telemetry, metrics, health, the server with its
//! stack of layers, channels to other services, deadlines and request ids, tasks and shutdown. It knows
//! nothing of language models, keys or caches.

mod channel;
pub mod config;
mod context;
mod health;
mod metrics;
mod stack;
mod tasks;

pub use channel::Channel;
pub use context::CallContext;
pub use health::{Component, Health};
pub use metrics::Metrics;
pub use tasks::Tasks;

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
