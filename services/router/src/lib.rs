//! The router: the front door of the mesh. An `Inference` service with policy: who may ask, how much, whether
//! the answer is known, which deployment gives it and which one instead. It holds the answer back until its
//! first content, so that a failover before that is never seen. It speaks to no engine itself.

mod abilities;
mod accounting;
mod admitted;
mod answer;
mod attempts;
#[doc(hidden)]
pub mod bench;
mod budget;
mod cache_policy;
mod caps;
mod choose;
mod config;
mod counting;
mod decision;
mod decisions;
mod deployments;
mod explain;
mod hash;
mod load;
mod merge;
mod model_health;
mod needs;
mod principals;
mod prompt;
mod registry;
mod responses;
mod resume;
mod said;
mod service;
mod splice;
mod steering;
mod stored;
mod whole;

pub use caps::Caps;
pub use config::{
    AutoConfig, CacheMode, Config, Endpoints, LimiterFailure, ModelConfig, Retrying, Routing, Strategy,
    Target,
};

use std::{sync::Arc, time::Duration};

use penstock_chassis::{Channel, Chassis, Class, Door, Live, MESSAGE_MAX_BYTES, Reloader};
use penstock_proto::{
    inference::v1::{
        inference_server::InferenceServer, responses_server::ResponsesServer,
        stored_completions_server::StoredCompletionsServer,
    },
    router::v1::routing_server::RoutingServer,
};
use tonic::service::Routes;

/// The ways to the services that the router stands on.
#[derive(Clone, Debug)]
pub struct Channels {
    /// Required: without it nobody is known.
    pub auth: Channel,
    /// Optional: what happens without it is configuration.
    pub rate_limiter: Channel,
    /// Optional: without it every request goes to an engine, and nothing is stored.
    pub cache: Channel,
    /// Required: the engines are behind it.
    pub inference_adapter: Channel,
}

/// Starts the router and returns its routes. What is `live` is taken over while it runs; `reloader` is who has the
/// file read again.
pub fn start(
    config: Config,
    live: Live<Routing>,
    reloader: Reloader,
    channels: &Channels,
    chassis: &Chassis,
) -> Routes {
    let (health, tasks) = (&chassis.health, &chassis.tasks);
    // While auth is lost those who asked within this time are still known.
    health.watch_channel("auth", true, config.remembered, &channels.auth, tasks);
    for (name, required, channel) in [
        ("rate-limiter", false, &channels.rate_limiter),
        ("cache", false, &channels.cache),
        ("inference-adapter", true, &channels.inference_adapter),
    ] {
        health.watch_channel(name, required, Duration::ZERO, channel, tasks);
    }
    let door = Door::new("router", config.door, chassis);
    let router = Arc::new(service::Router::start(config, (live, reloader), door.clone(), channels, chassis));
    let stored = StoredCompletionsServer::from_arc(Arc::clone(&router));
    let responses =
        ResponsesServer::from_arc(Arc::clone(&router)).max_decoding_message_size(MESSAGE_MAX_BYTES);
    // Not through the door: how things are decided is asked for when there is too much to do.
    let routing = RoutingServer::from_arc(Arc::clone(&router)).max_decoding_message_size(MESSAGE_MAX_BYTES);
    let inference = InferenceServer::from_arc(router).max_decoding_message_size(MESSAGE_MAX_BYTES);
    Routes::new(door.guard(inference, class_of))
        .add_service(door.guard(stored, |_| Class::Batch))
        .add_service(door.guard(responses, class_of))
        .add_service(routing)
}

/// What a call of `Inference` or `Responses` is to the door.
fn class_of(path: &str) -> Class {
    if path.ends_with("/Generate") || path.ends_with("/Start") { Class::Answer } else { Class::Batch }
}

#[cfg(test)]
mod tests;
