//! The inference-adapter: puts requests of the contract to engines, each in its dialect, and engines' answers
//! into the contract. Knows deployments, not models: where an engine is, how it is spoken to, how it does.
//! Invariants: an answer ends with OK only if it is whole; dropping a call stops its engine; nothing of an
//! engine's text or a caller's credential goes where it does not belong. Deliberately not here: authentication,
//! limits, cache, retries, fallback, the choice among deployments. All that is the router's.

mod admission;
mod answer;
mod breaker;
mod budget;
mod bulkhead;
mod capabilities;
mod config;
mod deployment;
mod discovery;
mod engine;
mod error;
mod evidence;
mod fleet;
mod foundry;
mod frames;
#[cfg(fuzzing)]
pub mod fuzzing;
mod generation;
mod json;
mod metrics;
mod roster;
mod service;
mod tally;
mod tokens;
mod upstream;
mod vectors;
mod watch;

use std::sync::Arc;

use penstock_chassis::{Chassis, CheckConfig, Live, MESSAGE_MAX_BYTES, Reloader};
use penstock_proto::{
    adapter::v1::deployments_server::DeploymentsServer, inference::v1::inference_server::InferenceServer,
};
use tokio::sync::Notify;
use tonic::service::Routes;

pub use config::{Config, Configured};
pub use error::{Error, Fault};

use crate::{
    discovery::Discovery,
    fleet::Fleet,
    foundry::Foundry,
    generation::Generations,
    metrics::EngineMetrics,
    roster::Roster,
    service::Service,
    upstream::{Http, unix_now},
};

/// Starts the adapter: `inference.v1.Inference` without policy, and `adapter.v1.Deployments`. What is `live` is taken
/// over while it runs; `reloader` is who has the file read again.
///
/// Without configured deployments it first looks for engines, for at most a quarter of a second.
///
/// # Errors
/// The HTTP client cannot be built.
pub async fn start(
    config: Config,
    live: Live<Configured>,
    reloader: Reloader,
    chassis: &Chassis,
) -> Result<Routes, Error> {
    let first = config.configured();
    let metrics = EngineMetrics::register(&chassis.metrics);
    let opened = Arc::new(Notify::new());
    let foundry = Foundry {
        http: Http::new(config.limits, first.needs_tls(), metrics.clone())?,
        opened: Arc::clone(&opened),
        chassis: chassis.clone(),
        metrics: metrics.clone(),
        usual: CheckConfig {
            interval: config.discovery_interval,
            timeout: config.probe_timeout,
            ..CheckConfig::engine()
        },
        generation_probe: config.generation_probe.enabled,
        failed: Arc::default(),
    };
    let fleet = Fleet::default();
    let discovery = Discovery {
        places: Vec::new(),
        interval: config.discovery_interval,
        timeout: config.probe_timeout,
        foundry,
        fleet: fleet.clone(),
    };
    let generations = Generations::new(config.generation_probe, fleet.clone(), metrics.clone());
    Roster::start(first, live, discovery, generations, &chassis.tasks).await?;
    watch::breakers(&fleet, opened, &chassis.tasks);
    let service = Service { fleet, metrics, tasks: chassis.tasks.clone(), reloader, created: unix_now() };
    let inference = InferenceServer::new(service.clone()).max_decoding_message_size(MESSAGE_MAX_BYTES);
    Ok(Routes::new(inference).add_service(DeploymentsServer::new(service)))
}
