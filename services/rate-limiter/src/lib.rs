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
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use penstock_chassis::{Chassis, Check, Outcome};
use penstock_proto::ratelimit::v1::rate_limiter_server::RateLimiterServer;
use tonic::service::Routes;

pub use crate::config::Config;
use crate::{limiter::Limiter, metrics::Decisions, service::Service};

/// Pause between sweeps: calls sweep too, so this is for what is left when nobody calls any more.
const SWEEP_PAUSE: Duration = Duration::from_secs(10);
/// How long health tells that limits were forgotten.
const FORGOTTEN_FOR: Duration = Duration::from_secs(30);
/// Buckets swept under one lock: a few hundred microseconds.
const SWEEP_STEP: usize = 256;

/// The rate-limiter's gRPC routes. Sweeps in the background until the process stops.
pub fn start(config: Config, chassis: &Chassis) -> Routes {
    let limiter = Arc::new(Limiter::new(config.limits, config.reservation_ttl, config.max_buckets));
    let check = Check::store("rate-limiter/store").required(true).every(SWEEP_PAUSE);
    chassis.health.check_blocking(check, &chassis.tasks, probe(&limiter));
    let decisions = Decisions::register(&chassis.metrics, &limiter);
    let stopping = chassis.tasks.stopping();
    chassis.tasks.spawn("rate-limiter sweep", {
        let limiter = Arc::clone(&limiter);
        async move {
            while stopping.run_until_cancelled(tokio::time::sleep(SWEEP_PAUSE)).await.is_some() {
                while limiter.sweep(SWEEP_STEP, Instant::now()) {
                    tokio::task::yield_now().await;
                }
            }
        }
    });
    Routes::new(RateLimiterServer::new(Service { limiter, decisions }))
}

/// A probe of the buckets. Where some had to make room lately, limits are not kept: that must be seen.
fn probe(limiter: &Arc<Limiter>) -> impl Fn() -> Outcome + Send + Sync + 'static {
    let limiter = Arc::clone(limiter);
    let seen: Mutex<(u64, Option<tokio::time::Instant>)> = Mutex::default();
    move || {
        if !limiter.probe(Instant::now()) {
            return Outcome::Down("what is taken from a bucket is not found taken".to_owned());
        }
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        let evictions = limiter.size().evictions;
        if evictions > seen.0 {
            *seen = (evictions, Some(tokio::time::Instant::now()));
        }
        match seen.1 {
            Some(last) if last.elapsed() < FORGOTTEN_FOR => Outcome::Degraded(
                "more buckets are in use than max_buckets: some limits are forgotten".to_owned(),
            ),
            _ => Outcome::Up,
        }
    }
}

#[cfg(test)]
mod tests;
