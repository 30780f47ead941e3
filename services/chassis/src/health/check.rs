//! Checks that run in the background: each on its own time, bounded, its panics contained.

use std::{future::Future, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::FutureExt as _;
use penstock_proto::status::v1::{Kind, State};
use tokio::{
    sync::Semaphore,
    task::spawn_blocking,
    time::{Instant, timeout},
};

use super::{CheckConfig, Component, Evidence, Health};
use crate::Tasks;

/// What is said of a check that panicked.
const PANICKED: &str = "the check panicked: this is a bug";

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It works.
    Up,
    /// It works with a loss: why, for operators, never an upstream's text.
    Degraded(String),
    /// It does not work: why, likewise.
    Down(String),
}

/// A check: what it is called, and how it is made unless the configuration says otherwise.
#[derive(Clone, Debug)]
pub struct Check {
    name: String,
    kind: Kind,
    required: bool,
    usual: CheckConfig,
    /// The worst that its failure means.
    pub(super) worst: State,
    /// The probe keeps to the timeout by itself, and has something to say when it is over.
    minds_timeout: bool,
}

impl Check {
    /// A check of a store: `auth/store`.
    pub fn store(name: impl Into<String>) -> Self {
        let usual = CheckConfig::inside();
        let (kind, worst) = (Kind::Store, State::Down);
        Self { name: name.into(), kind, required: false, usual, worst, minds_timeout: false }
    }

    /// A check of a store in a file, whose probe writes: each one costs the disk an fsync, and a busy disk takes
    /// its time.
    pub fn file(name: impl Into<String>) -> Self {
        let check = Self::store(name);
        let (interval, retry, timeout) =
            (Duration::from_secs(30), Duration::from_secs(5), Duration::from_secs(5));
        Self { usual: CheckConfig { interval, retry, timeout, ..check.usual }, ..check }
    }

    /// A check of another service of the mesh: `auth`. The probe gets its timeout from the configuration.
    pub(super) fn service(name: impl Into<String>) -> Self {
        Self { kind: Kind::Service, minds_timeout: true, ..Self::store(name) }
    }

    /// Without it the process is DOWN.
    #[must_use]
    pub fn required(mut self, required: bool) -> Self {
        self.required = required;
        self
    }

    /// Its failure is a loss and no more, whatever the probe says, even if it hangs: DOWN means DEGRADED.
    #[must_use]
    pub fn only_degrades(mut self) -> Self {
        self.worst = State::Degraded;
        self
    }

    /// The pause between two checks while all is well.
    #[must_use]
    pub fn every(mut self, interval: Duration) -> Self {
        self.usual.interval = interval;
        self
    }
}

impl Health {
    /// Registers a check and runs it in the background until the process stops. `probe` says how the thing is;
    /// what takes longer than the check's timeout, and what panics, is DOWN. What comes back takes what real work
    /// finds out.
    ///
    /// ```ignore
    /// health.check(Check::store("cache/redis"), &tasks, move || ping(pool.clone()));
    /// ```
    pub fn check<F>(
        &self,
        check: Check,
        tasks: &Tasks,
        mut probe: impl FnMut() -> F + Send + 'static,
    ) -> Evidence
    where
        F: Future<Output = Outcome> + Send + 'static,
    {
        self.run(check, tasks, move |_, _| probe())
    }

    /// As `check`, for a probe that blocks: it runs on a thread for blocking work. While one hangs no other one
    /// is begun, so that it costs one thread and no more.
    pub fn check_blocking(
        &self,
        check: Check,
        tasks: &Tasks,
        probe: impl Fn() -> Outcome + Send + Sync + 'static,
    ) -> Evidence {
        let (probe, room) = (Arc::new(probe), Arc::new(Semaphore::new(1)));
        self.check(check, tasks, move || {
            let (probe, room) = (Arc::clone(&probe), Arc::clone(&room));
            async move {
                let Ok(place) = room.try_acquire_owned() else {
                    return Outcome::Down("an earlier check has not come back yet".to_owned());
                };
                let probing = spawn_blocking(move || {
                    let outcome = probe();
                    drop(place);
                    outcome
                });
                probing.await.unwrap_or_else(|_| Outcome::Down(PANICKED.to_owned()))
            }
        })
    }

    /// As `check`, for a probe that is told its timeout, and tells what the component is made of.
    pub(super) fn run<F>(
        &self,
        check: Check,
        tasks: &Tasks,
        mut probe: impl FnMut(Arc<Component>, Duration) -> F + Send + 'static,
    ) -> Evidence
    where
        F: Future<Output = Outcome> + Send + 'static,
    {
        let config = self.check_config(&check.name, check.usual);
        let component = Arc::new(self.component(check.name, check.kind, check.required));
        let evidence = Evidence::new(Arc::clone(&component), config, check.worst);
        let limit = config.timeout.saturating_mul(if check.minds_timeout { 2 } else { 1 });
        let known = evidence.clone();
        let checks = async move {
            loop {
                let began = Instant::now();
                // The closure itself may panic, too: it runs within what is caught.
                let looking = async { probe(Arc::clone(&component), config.timeout).await };
                let looking = timeout(limit, AssertUnwindSafe(looking).catch_unwind());
                let (outcome, measured) = match looking.await {
                    Ok(Ok(outcome)) => (outcome, true),
                    Ok(Err(_)) => (Outcome::Down(PANICKED.to_owned()), false),
                    Err(_) => (Outcome::Down(silence(limit)), false),
                };
                known.take(outcome, began.elapsed(), measured);
                known.pause().await;
            }
        };
        let stopping = tasks.stopping();
        tasks.spawn("health check", async move {
            stopping.run_until_cancelled(checks).await;
        });
        evidence
    }
}

/// What is said of something that did not answer in time.
fn silence(limit: Duration) -> String {
    format!("no answer within {}", humantime::format_duration(limit))
}

#[cfg(test)]
mod tests;
