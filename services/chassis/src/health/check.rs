//! Checks that run in the background: each on its own time, bounded, its panics contained.

use std::{future::Future, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::FutureExt as _;
use penstock_proto::status::v1::Kind;
use tokio::time::{Instant, sleep, timeout};

use super::{CheckConfig, Component, Health, Judge};
use crate::Tasks;

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
    /// The probe keeps to the timeout by itself, and has something to say when it is over.
    minds_timeout: bool,
}

impl Check {
    /// A check of a store: `auth/store`.
    pub fn store(name: impl Into<String>) -> Self {
        let usual = CheckConfig::inside();
        Self { name: name.into(), kind: Kind::Store, required: false, usual, minds_timeout: false }
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

    /// The pause between two checks while all is well.
    #[must_use]
    pub fn every(mut self, interval: Duration) -> Self {
        self.usual.interval = interval;
        self
    }
}

impl Health {
    /// Registers a check and runs it in the background until the process stops. `probe` says how the thing is;
    /// what takes longer than the check's timeout, and what panics, is DOWN.
    ///
    /// ```ignore
    /// health.check(Check::store("cache/redis"), &tasks, move || ping(pool.clone()));
    /// ```
    pub fn check<F>(&self, check: Check, tasks: &Tasks, mut probe: impl FnMut() -> F + Send + 'static)
    where
        F: Future<Output = Outcome> + Send + 'static,
    {
        self.run(check, tasks, move |_, _| probe());
    }

    /// As `check`, for a probe that is told its timeout, and tells what the component is made of.
    pub(super) fn run<F>(
        &self,
        check: Check,
        tasks: &Tasks,
        mut probe: impl FnMut(Arc<Component>, Duration) -> F + Send + 'static,
    ) where
        F: Future<Output = Outcome> + Send + 'static,
    {
        let config = self.check_config(&check.name, check.usual);
        let component = Arc::new(self.component(check.name, check.kind, check.required));
        let mut judge = Judge::new(config);
        let limit = config.timeout.saturating_mul(if check.minds_timeout { 2 } else { 1 });
        let checks = async move {
            loop {
                let began = Instant::now();
                // The closure itself may panic, too: it runs within what is caught.
                let looking = async { probe(Arc::clone(&component), config.timeout).await };
                let looking = timeout(limit, AssertUnwindSafe(looking).catch_unwind());
                let (outcome, measured) = match looking.await {
                    Ok(Ok(outcome)) => (outcome, true),
                    Ok(Err(_)) => (Outcome::Down("the check panicked: this is a bug".to_owned()), false),
                    Err(_) => (Outcome::Down(silence(limit)), false),
                };
                let latency = began.elapsed();
                let (state, detail) = judge.take(outcome, latency);
                component.set(state, detail.to_owned(), measured.then_some(latency));
                sleep(config.pause(judge.is_unsure())).await;
            }
        };
        let stopping = tasks.stopping();
        tasks.spawn("health check", async move {
            stopping.run_until_cancelled(checks).await;
        });
    }
}

/// What is said of something that did not answer in time.
fn silence(limit: Duration) -> String {
    format!("no answer within {}", humantime::format_duration(limit))
}

impl CheckConfig {
    /// The pause before the next check.
    fn pause(&self, unsure: bool) -> Duration {
        if unsure { self.retry.min(self.interval) } else { self.interval }
    }
}

#[cfg(test)]
mod tests {
    use penstock_proto::status::v1::State;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    async fn state_after(health: &Health, wait: Duration) -> (State, String) {
        sleep(wait).await;
        let report = health.report();
        (report.components[0].state(), report.components[0].detail.clone())
    }

    #[tokio::test(start_paused = true)]
    async fn a_check_runs_at_once_then_at_intervals_and_soon_when_it_failed() {
        let (health, tasks, calls) = (Health::default(), Tasks::default(), Arc::new(AtomicU32::new(0)));
        let counted = Arc::clone(&calls);
        health.check(Check::store("s").every(Duration::from_secs(10)), &tasks, move || {
            let call = counted.fetch_add(1, Ordering::Relaxed);
            async move { if call == 0 { Outcome::Up } else { Outcome::Down("gone".into()) } }
        });
        assert_eq!(state_after(&health, Duration::from_secs(1)).await.0, State::Up);
        assert_eq!(calls.load(Ordering::Relaxed), 1);
        assert_eq!(state_after(&health, Duration::from_secs(10)).await, (State::Down, "gone".into()));
        tasks.stop(Duration::from_secs(1)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_check_that_hangs_or_panics_is_down_and_goes_on() {
        for panics in [false, true] {
            let (health, tasks, calls) = (Health::default(), Tasks::default(), Arc::new(AtomicU32::new(0)));
            let counted = Arc::clone(&calls);
            health.check(Check::store("s"), &tasks, move || {
                let call = counted.fetch_add(1, Ordering::Relaxed);
                assert!(!panics || call > 0, "a bug");
                async move { if call == 0 { std::future::pending().await } else { Outcome::Up } }
            });
            let (state, detail) = state_after(&health, Duration::from_millis(1100)).await;
            let expected = if panics { "panicked" } else { "no answer within 1s" };
            assert!(state == State::Up || detail.contains(expected), "{state:?} {detail}");
            assert_eq!(state_after(&health, Duration::from_secs(5)).await.0, State::Up);
            tasks.stop(Duration::from_secs(1)).await;
        }
    }
}
