//! One model on one engine, and what happens there: requests in flight, health, what it can do.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, SystemTime},
};

use penstock_chassis::Component;
use penstock_proto::{Reason, inference::v1::Capabilities, status::v1::State};
use prometheus_client::metrics::histogram::Histogram;
use tokio::{sync::Notify, time::Instant};

use crate::{
    capabilities::over,
    engine::Engine,
    error::{Error, Fault},
    evidence::{Evidence, Seen},
};

/// One model on one engine.
pub(crate) struct Deployment {
    pub(crate) id: Arc<str>,
    /// Dialect of the engine.
    pub(crate) dialect: &'static str,
    /// Name that the engine knows the model by.
    pub(crate) model: String,
    pub(crate) discovered: bool,
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) first_token: Histogram,
    pub(crate) component: Component,
    pub(crate) evidence: Mutex<Evidence>,
    /// What takes longer is no answer to a check.
    pub(crate) check_timeout: Duration,
    pub(crate) in_flight: AtomicU32,
    pub(crate) max_in_flight: u32,
    /// What the file says that the model can do, and what the dialect implies.
    pub(crate) declared: Capabilities,
    pub(crate) implied: Capabilities,
    /// What was last reported of it.
    pub(crate) reported: Mutex<Reported>,
    /// The model is in the engine's memory, as the engine says.
    pub(crate) loaded: Mutex<Option<bool>>,
    /// Whether it is tried from time to time if it generates.
    pub(crate) generation_probe: bool,
    /// Wakes who looks after it: a request has failed.
    pub(crate) wake: Arc<Notify>,
    /// The engine has been asked what the model can do.
    pub(crate) looked: AtomicBool,
}

/// What a Watch tells of a deployment at once when it changes.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Reported {
    state: State,
    detail: String,
    loaded: Option<bool>,
    capabilities: Capabilities,
}

impl fmt::Debug for Deployment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deployment")
            .field("id", &self.id)
            .field("engine", &self.engine)
            .finish_non_exhaustive()
    }
}

/// A request that a deployment is working on, until this is dropped.
#[derive(Debug)]
pub(crate) struct InFlight(Arc<Deployment>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Deployment {
    /// Takes a place on the deployment.
    ///
    /// # Errors
    /// All are taken.
    pub(crate) fn enter(self: &Arc<Self>) -> Result<InFlight, Error> {
        let before = self.in_flight.fetch_add(1, Ordering::Relaxed);
        let place = InFlight(Arc::clone(self));
        if before < self.max_in_flight {
            return Ok(place);
        }
        let full = Fault::new(Reason::EngineOverloaded, "all places on the engine are taken");
        Err(Fault { retry_after: Some(Duration::from_secs(1)), ..full }.of(&self.id))
    }

    /// Requests that it is working on now.
    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// How it is.
    pub(crate) fn seen(&self) -> Seen {
        self.lock().seen()
    }

    /// Whether the model is in the engine's memory now; `None`: nobody says.
    pub(crate) fn loaded(&self) -> Option<bool> {
        // It may have answered since the engine said so.
        self.said_loaded().map(|loaded| loaded || self.lock().has_answered_since())
    }

    /// The same, as the engine last said.
    fn said_loaded(&self) -> Option<bool> {
        *self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of what the engine says of its memory.
    pub(crate) fn is_loaded(&self, loaded: Option<bool>) {
        *self.loaded.lock().unwrap_or_else(PoisonError::into_inner) = loaded;
    }

    /// When the next check is due; `None`: at once.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.lock().due()
    }

    /// Puts off the check that is due, if a request has just shown what it would show.
    pub(crate) fn spare(&self) -> bool {
        let mut evidence = self.lock();
        let spared = self.looked.load(Ordering::Relaxed) && evidence.spare(Instant::now());
        if spared {
            self.tell(&evidence);
        }
        spared
    }

    /// When it is to be seen next whether it generates; `None`: not now.
    pub(crate) fn generation_due(&self, interval: Duration, now: Instant) -> Option<Instant> {
        self.lock().generation_due(interval, now)
    }

    /// Takes the outcome of a request as evidence. True: there may be something to tell.
    pub(crate) fn judge(&self, outcome: Result<(), Reason>) -> bool {
        if outcome.is_err_and(|reason| !reason.remedy().breaker) {
            return false;
        }
        let mut evidence = self.lock();
        // The times alone are told with the next check that they spare: a report costs more than a request may.
        let changed = evidence.request(outcome, Instant::now(), SystemTime::now());
        if changed {
            self.tell(&evidence);
        }
        drop(evidence);
        if outcome.is_err() {
            self.wake.notify_one();
        }
        changed || self.said_loaded() == Some(false)
    }

    /// Likewise for a generation that was made to see whether it can. `timing`: how often that is done, and how
    /// long it may take.
    pub(crate) fn generated(&self, outcome: Result<(), Reason>, timing: (Duration, Duration)) {
        if outcome.is_err_and(|reason| !Self::blames(reason)) {
            return;
        }
        let mut evidence = self.lock();
        evidence.generation(outcome, timing, Instant::now(), SystemTime::now());
        self.tell(&evidence);
        drop(evidence);
        if outcome.is_err() {
            self.wake.notify_one();
        }
    }

    /// Whether a generation of our own that fails so speaks against the deployment. The model was asked for by its
    /// own name: that it is missing is no caller's mistake.
    pub(crate) fn blames(reason: Reason) -> bool {
        reason.remedy().breaker || reason == Reason::EngineModelMissing
    }

    /// Takes the outcome of a check as evidence.
    pub(crate) fn checked(&self, outcome: &Result<(), Fault>, latency: Duration) {
        let outcome = outcome.as_ref().map_err(|fault| fault.reason).copied();
        let mut evidence = self.lock();
        evidence.check(outcome, latency, Instant::now(), SystemTime::now());
        self.tell(&evidence);
    }

    /// Puts what is known into the report of the process; under the lock, so that nothing is overtaken.
    fn tell(&self, evidence: &Evidence) {
        let Seen { state, detail, latency, checked_at, .. } = evidence.seen();
        self.component.set_at(state, detail, latency, checked_at.unwrap_or(SystemTime::UNIX_EPOCH));
    }

    /// What the model can do there: as declared, else as the engine says, else as its dialect implies.
    pub(crate) fn capabilities(&self) -> Capabilities {
        over(&self.declared, &over(&self.engine.capabilities(), &self.implied))
    }

    /// True: state, detail, memory or capabilities are not what was last reported.
    pub(crate) fn has_news(&self) -> bool {
        let Seen { state, detail, .. } = self.seen();
        let now = Reported { state, detail, loaded: self.loaded(), capabilities: self.capabilities() };
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = *reported != now;
        *reported = now;
        changed
    }

    /// Whether the engine is still to be asked what the model can do.
    pub(crate) fn is_unknown(&self) -> bool {
        !self.looked.load(Ordering::Relaxed)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Evidence> {
        self.evidence.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
