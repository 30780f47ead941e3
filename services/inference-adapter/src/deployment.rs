//! One model on one engine, and what happens there: who comes in, health, what it can do.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use penstock_chassis::Component;
use penstock_proto::{Reason, inference::v1::Capabilities, status::v1::State};
use prometheus_client::metrics::histogram::Histogram;
use tokio::{sync::Notify, time::Instant};

use crate::{
    admission::{Admission, Claim, Place, Shown},
    breaker::{Phase, Recent},
    capabilities::over,
    config::Terms,
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
    pub(crate) admission: Arc<Admission>,
    /// What its operator says of it.
    pub(crate) terms: Terms,
    /// How long it took to load the model, the last time that a request had to wait for that.
    pub(crate) load_seen: Mutex<Option<Duration>>,
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
    /// Wakes who looks after breakers: one has opened.
    pub(crate) opened: Arc<Notify>,
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
    phase: Phase,
    /// A breaker that opens again may do so between two looks at it.
    open_until: Option<Instant>,
}

impl fmt::Debug for Deployment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deployment")
            .field("id", &self.id)
            .field("engine", &self.engine)
            .finish_non_exhaustive()
    }
}

impl Deployment {
    /// Takes a place on the deployment, or waits for one.
    ///
    /// # Errors
    /// It is left alone, or too many wait.
    pub(crate) async fn enter(&self, claim: Claim) -> Result<Place, Error> {
        self.admission.enter(claim).await.map_err(|refusal| Fault::from(refusal).of(&self.id))
    }

    /// How it is.
    pub(crate) fn seen(&self) -> Seen {
        self.seen_with(&self.lock(), self.admission.shown())
    }

    /// How it is by what is known of it, and by its breaker.
    fn seen_with(&self, evidence: &Evidence, shown: Shown) -> Seen {
        let seen = evidence.seen();
        let Recent { failed, calls } = shown.cause;
        match shown.phase {
            Phase::Open => {
                let detail = format!("left alone after {failed} of {calls} requests failed");
                Seen { state: State::Down, detail, ..seen }
            }
            Phase::HalfOpen if evidence.is_reached() || seen.state != State::Down => {
                let detail = format!("asked again, a few requests at once, after {failed} of {calls} failed");
                Seen { state: State::Degraded, detail, ..seen }
            }
            Phase::HalfOpen | Phase::Closed => seen,
        }
    }

    /// Says what the breaker does: an operator wants to know when and why no request comes through.
    fn log(&self) {
        let Shown { phase, cause: Recent { failed, calls }, .. } = self.admission.shown();
        let deployment = &*self.id;
        match phase {
            Phase::Open => {
                tracing::warn!(deployment, failed, calls, "a deployment is left alone for a while")
            }
            Phase::HalfOpen => {
                tracing::info!(deployment, "a deployment is asked again, a few requests at once")
            }
            Phase::Closed => tracing::info!(deployment, "a deployment is asked as before"),
        }
    }

    /// Takes note of a breaker that turned by itself, its time being over; true: there may be something to tell.
    pub(crate) fn turned(&self, now: Instant) -> bool {
        let turned = self.admission.has_turned(now);
        if turned {
            self.log();
            self.tell(&self.lock());
        }
        turned
    }

    /// How long it takes to load the model: as configured, else as last seen.
    pub(crate) fn load_time(&self) -> Option<Duration> {
        self.terms.load_time.or(*self.load_seen.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The first content of a request came so long after the model was found not to be loaded.
    pub(crate) fn was_loaded_in(&self, span: Duration) {
        *self.load_seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(span);
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

    /// The answer to a request has begun. True: there may be something to tell.
    pub(crate) fn heard(&self, place: &mut Place) -> bool {
        if !place.heard() {
            return false;
        }
        // What it was left alone for is over: the end of a long answer is not to be waited for to say so.
        let (now, alone) = (Instant::now(), Recent { failed: 0, calls: 1 });
        self.lock().request(Ok(()), alone, now, SystemTime::now());
        self.turned(now)
    }

    /// Takes the outcome of a request as evidence. True: there may be something to tell.
    pub(crate) fn judge(&self, place: &mut Place, outcome: Result<(), Reason>) -> bool {
        let went_well = match outcome {
            Ok(()) => Some(true),
            Err(reason) => reason.remedy().breaker.then_some(false),
        };
        let Some(recent) = place.settle(went_well) else { return false };
        let now = Instant::now();
        let turned = self.admission.has_turned(now);
        if turned {
            self.opened.notify_one();
            self.log();
        }
        let mut evidence = self.lock();
        // The times alone are told with the next check that they spare: a report costs more than a request may.
        let changed = evidence.request(outcome, recent, now, SystemTime::now()) || turned;
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
        // Those who are let through already are not to be counted anew.
        if outcome.is_ok() && self.admission.shown().phase == Phase::Open {
            self.admission.hint();
            self.admission.has_turned(Instant::now());
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
        let was_gone = evidence.is_gone();
        evidence.check(outcome, latency, Instant::now(), SystemTime::now());
        if outcome.is_ok() && was_gone {
            // It is back: traffic is not to wait until the breaker's time is over.
            self.admission.hint();
            self.admission.has_turned(Instant::now());
        }
        self.tell(&evidence);
    }

    /// Puts what is known into the report of the process; under the lock, so that nothing is overtaken.
    fn tell(&self, evidence: &Evidence) {
        let Seen { state, detail, latency, checked_at, last_success_at } =
            self.seen_with(evidence, self.admission.shown());
        let works = checked_at.is_some() && checked_at == last_success_at;
        self.component.set_at(state, detail, latency, checked_at.unwrap_or(SystemTime::UNIX_EPOCH), works);
    }

    /// What the model can do there: as declared, else as the engine says, else as its dialect implies.
    pub(crate) fn capabilities(&self) -> Capabilities {
        over(&self.declared, &over(&self.engine.capabilities(), &self.implied))
    }

    /// True: state, detail, memory, capabilities or breaker are not what was last reported.
    pub(crate) fn has_news(&self) -> bool {
        let Seen { state, detail, .. } = self.seen();
        let Shown { phase, open_until, .. } = self.admission.shown();
        let now = Reported {
            state,
            detail,
            loaded: self.loaded(),
            capabilities: self.capabilities(),
            phase,
            open_until,
        };
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
