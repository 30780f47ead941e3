//! The cache: whole answers by the exact request, in memory, for a bounded time; and beside it, in a file, the
//! objects that callers asked to keep. Invariants: no tenant ever finds what is another's; an answer that is not
//! whole is never cached; memory and file are bounded. It makes no keys and decides on no policy: the router says
//! what is looked up, stored and kept.

mod config;
mod error;
mod metrics;
mod objects;
mod service;
mod store;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use penstock_chassis::{Chassis, Check, MESSAGE_MAX_BYTES, Outcome};
use penstock_proto::cache::v1::{cache_server::CacheServer, objects_server::ObjectsServer};
use prometheus_client::metrics::counter::Counter;
use tonic::service::Routes;

pub use crate::{config::Config, error::Error};
use crate::{
    metrics::Counts,
    objects::{EmbeddedObjectStore, Measures, Medium, ObjectStore, ObjectsService, clock},
    service::Service,
    store::Store,
};

/// Pause between probes of the store in memory: it fails by a bug or not at all.
const PROBE_PAUSE: Duration = Duration::from_secs(10);
/// Pause between sweeps: calls sweep too, so this is for what is left when nobody calls any more.
const SWEEP_PAUSE: Duration = Duration::from_secs(10);

/// The cache's gRPC routes. Sweeps in the background until the process stops.
///
/// # Errors
/// The store of objects cannot be used; the error says why and what to do.
pub async fn start(config: Config, chassis: &Chassis) -> Result<Routes, Error> {
    let objects = start_objects(&config, chassis).await?;
    let counts = Counts::default();
    let evictions = counts.evictions.clone();
    let store = Arc::new(Store::new(config.bounds, move || {
        evictions.inc();
    }));
    counts.register(&chassis.metrics, &store);
    let probed = Arc::clone(&store);
    let check = Check::store("cache/store").every(PROBE_PAUSE);
    chassis.health.check_blocking(check, &chassis.tasks, move || match probed.probe(Instant::now()) {
        true => Outcome::Up,
        false => Outcome::Down("gives back nothing of what it is given".to_owned()),
    });
    chassis.tasks.spawn("cache sweep", {
        let (store, stopping) = (Arc::clone(&store), chassis.tasks.stopping());
        async move {
            while stopping.run_until_cancelled(tokio::time::sleep(SWEEP_PAUSE)).await.is_some() {
                store.sweep();
            }
        }
    });
    let service = Service { store, counts };
    // An answer beyond the configured bound is to be told `stored: false`, not a transport error.
    let routes = Routes::new(CacheServer::new(service).max_decoding_message_size(MESSAGE_MAX_BYTES));
    Ok(routes.add_service(ObjectsServer::new(objects).max_decoding_message_size(MESSAGE_MAX_BYTES)))
}

async fn start_objects(config: &Config, chassis: &Chassis) -> Result<ObjectsService, Error> {
    let (medium, bounds, evicted) = (config.objects.clone(), config.object_bounds, Counter::default());
    if medium == Medium::Memory {
        tracing::info!("objects are kept in memory: stored completions are gone when this process ends");
    }
    let counter = evicted.clone();
    let opening = tokio::task::spawn_blocking(move || EmbeddedObjectStore::open(&medium, bounds, counter));
    let store: Arc<dyn ObjectStore> = Arc::new(opening.await.unwrap_or(Err(Error::Cut))?);
    let measures = Arc::new(Measures::register(chassis, &store, evicted));
    chassis.tasks.spawn("objects sweep", {
        let (store, measures, stopping) =
            (Arc::clone(&store), Arc::clone(&measures), chassis.tasks.stopping());
        async move {
            while stopping.run_until_cancelled(tokio::time::sleep(SWEEP_PAUSE)).await.is_some() {
                if measures.note(store.sweep(clock()).await).is_ok() {
                    measures.works();
                }
            }
        }
    });
    Ok(ObjectsService { store, measures, clock })
}
