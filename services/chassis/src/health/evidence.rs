//! What is known of a checked thing: by its check, and by real work, whose failure counts at once.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use penstock_proto::status::v1::State;
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

use super::{CheckConfig, Component, Judge, Outcome};

/// Takes what real work finds out about a checked thing. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Evidence(Arc<Known>);

#[derive(Debug)]
struct Known {
    component: Arc<Component>,
    config: CheckConfig,
    worst: State,
    began: Instant,
    judge: Mutex<Judge>,
    /// Work has failed, and nothing has shown since then that it would not fail again.
    failing: AtomicBool,
    /// Work has failed: the next check should come soon.
    news: Notify,
}

impl Evidence {
    pub(super) fn new(component: Arc<Component>, config: CheckConfig, worst: State) -> Self {
        let judge = Mutex::new(Judge::new(config));
        let (failing, news) = (AtomicBool::new(false), Notify::new());
        let began = Instant::now();
        Self(Arc::new(Known { component, config, worst, began, judge, failing, news }))
    }

    /// Work has failed: this counts at once, and the next check comes soon. A state that is as bad already stays.
    pub fn failed(&self, outcome: Outcome) {
        let (state, detail) = self.bounded(outcome).into_state();
        self.0.failing.store(true, Ordering::Relaxed);
        {
            let mut judge = self.judge();
            if judge.state().0 >= state {
                return;
            }
            judge.decide(state, detail.as_str());
            self.0.component.set(state, detail, None);
        }
        self.0.news.notify_one();
    }

    /// Work has succeeded. It takes back what failed work said, and nothing else; costs nothing if there is nothing
    /// to take back.
    pub fn works(&self) {
        if self.0.failing.load(Ordering::Relaxed) && self.0.failing.swap(false, Ordering::Relaxed) {
            let mut judge = self.judge();
            judge.decide(State::Up, "");
            self.0.component.up(None);
        }
    }

    /// Takes the outcome of a check. `measured`: it came from the thing itself, so its latency says something.
    pub(super) fn take(&self, outcome: Outcome, latency: Duration, measured: bool) {
        let outcome = self.bounded(outcome);
        let works = !matches!(outcome, Outcome::Down(_));
        let mut judge = self.judge();
        let (state, detail) = judge.take(outcome, latency);
        if state == State::Up {
            self.0.failing.store(false, Ordering::Relaxed);
        }
        // Under the lock of the judge: the report never falls behind what was decided last.
        self.0.component.checked(state, detail.to_owned(), measured.then_some(latency), works);
    }

    /// Waits for the time of the next check. While a mesh starts, its parts come up within moments of each other:
    /// until it was UP for the first time, the pause is as long as all waiting before it, at most `retry`.
    pub(super) async fn pause(&self) {
        let began = Instant::now();
        let config = &self.0.config;
        let (unsure, been_up) = {
            let judge = self.judge();
            (judge.is_unsure(), judge.been_up())
        };
        let retry = config.retry.min(config.interval);
        let due = match (unsure, been_up) {
            (false, _) => began + config.interval,
            (true, true) => began + retry,
            (true, false) => began + (began - self.0.began).clamp(retry / 10, retry),
        };
        tokio::select! {
            () = sleep_until(due) => {}
            () = self.0.news.notified() => sleep_until(due.min(Instant::now() + config.retry)).await,
        }
    }

    fn bounded(&self, outcome: Outcome) -> Outcome {
        match outcome {
            Outcome::Down(detail) if self.0.worst == State::Degraded => Outcome::Degraded(detail),
            outcome => outcome,
        }
    }

    fn judge(&self) -> std::sync::MutexGuard<'_, Judge> {
        self.0.judge.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outcome {
    pub(super) fn into_state(self) -> (State, String) {
        match self {
            Outcome::Up => (State::Up, String::new()),
            Outcome::Degraded(detail) => (State::Degraded, detail),
            Outcome::Down(detail) => (State::Down, detail),
        }
    }
}
