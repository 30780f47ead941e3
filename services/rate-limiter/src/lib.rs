//! The rate-limiter: token buckets for requests and tokens, in memory. A request reserves before the work and
//! settles after it. Invariants: all buckets of a request or none; no subject gets more than depth and refill
//! over any window (unless `max_buckets` forgets it: health says so); a reservation is settled once or lapses;
//! what is not in use takes no memory. It counts what callers estimate and report, knows neither prompts nor
//! answers, and shares nothing with other replicas.

mod bucket;
mod buckets;
mod config;
mod error;
mod limiter;
mod low_water;
mod metrics;
mod reservations;
mod rules;
mod service;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use penstock_chassis::{Chassis, Component};
use penstock_proto::{ratelimit::v1::rate_limiter_server::RateLimiterServer, status::v1::Kind};
use tonic::service::Routes;

pub use crate::config::Config;
use crate::{limiter::Limiter, metrics::Decisions, service::Service};

/// Pause between sweeps: calls sweep too, so this is for what is left when nobody calls any more.
const SWEEP_PAUSE: Duration = Duration::from_secs(10);
/// Buckets swept under one lock: a few hundred microseconds.
const SWEEP_STEP: usize = 256;

/// The rate-limiter's gRPC routes. Sweeps in the background until the process stops.
pub fn start(config: Config, chassis: &Chassis) -> Routes {
    let limiter = Arc::new(Limiter::new(config.limits, config.reservation_ttl, config.max_buckets));
    let store = chassis.health.component("rate-limiter/store", Kind::Store, true);
    store.up(None);
    let decisions = Decisions::register(&chassis.metrics, &limiter);
    let stopping = chassis.tasks.stopping();
    chassis.tasks.spawn("rate-limiter sweep", {
        let limiter = Arc::clone(&limiter);
        async move {
            let mut evictions = 0;
            while stopping.run_until_cancelled(tokio::time::sleep(SWEEP_PAUSE)).await.is_some() {
                while limiter.sweep(SWEEP_STEP, Instant::now()) {
                    tokio::task::yield_now().await;
                }
                evictions = report(&store, evictions, limiter.size().evictions);
            }
        }
    });
    Routes::new(RateLimiterServer::new(Service { limiter, decisions }))
}

/// Where buckets had to make room since the last time, limits are not kept: that must be seen.
fn report(store: &Component, before: u64, now: u64) -> u64 {
    if now > before {
        store.degraded("more buckets are in use than max_buckets: some limits are forgotten", None);
    } else {
        store.up(None);
    }
    now
}
