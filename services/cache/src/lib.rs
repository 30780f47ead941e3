//! The cache: whole answers by the exact request, in memory, for a bounded time. Invariants: no tenant ever
//! finds another's answer; an answer that is not whole is never kept; memory is bounded. It makes no keys and
//! decides on no policy: the router says what is looked up and stored.

mod config;
mod error;
mod metrics;
mod service;
mod store;

use std::{sync::Arc, time::Duration};

use penstock_chassis::{Chassis, MESSAGE_MAX_BYTES};
use penstock_proto::cache::v1::cache_server::CacheServer;
use tonic::service::Routes;

pub use crate::config::Config;
use crate::{metrics::Counts, service::Service, store::Store};

/// Pause between sweeps: calls sweep too, so this is for what is left when nobody calls any more.
const SWEEP_PAUSE: Duration = Duration::from_secs(10);

/// The cache's gRPC routes. Sweeps in the background until the process stops.
pub fn start(config: Config, chassis: &Chassis) -> Routes {
    let counts = Counts::default();
    let evictions = counts.evictions.clone();
    let store = Arc::new(Store::new(config.bounds, move || {
        evictions.inc();
    }));
    counts.register(&chassis.metrics, &store);
    let component = chassis.health.component("cache/store", false);
    component.up(None);
    chassis.tasks.spawn("cache sweep", {
        let (store, stopping) = (Arc::clone(&store), chassis.tasks.stopping());
        async move {
            while stopping.run_until_cancelled(tokio::time::sleep(SWEEP_PAUSE)).await.is_some() {
                store.sweep();
            }
        }
    });
    let service = Service { store, counts, _component: component };
    // An answer beyond the configured bound is to be told `stored: false`, not a transport error.
    Routes::new(CacheServer::new(service).max_decoding_message_size(MESSAGE_MAX_BYTES))
}
