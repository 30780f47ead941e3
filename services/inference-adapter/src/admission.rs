//! The way into a deployment, for requests of every router: first its circuit breaker, then a place in its bulkhead,
//! for which requests wait in a fair and bounded queue. A place is held until the call ends, however it ends.

use std::{
    collections::hash_map::RandomState,
    hash::{BuildHasher as _, Hasher as _},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use penstock_proto::Reason;
use tokio::{
    sync::oneshot,
    time::{Instant, timeout_at},
};

use crate::{
    breaker::{Breaker, BreakerConfig, Permit, Phase, Recent},
    bulkhead::{Bulkhead, Ticket},
    error::Fault,
    metrics::AdmissionMetrics,
};

/// How much a deployment takes at once, and when it is left alone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct AdmissionConfig {
    pub(crate) breaker: BreakerConfig,
    /// Requests at once.
    pub(crate) max_concurrent: u32,
    /// Requests that wait, at most.
    pub(crate) queue_max: usize,
    /// How long one waits, at most.
    pub(crate) queue_timeout: Duration,
}

/// Who wants to come in.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    pub(crate) tenant: String,
    /// Of prompt and answer, as estimated.
    pub(crate) tokens: u64,
    pub(crate) may_wait: bool,
    /// After that nobody wants the answer.
    pub(crate) deadline: Option<Instant>,
}

/// Why a request does not come in. The engine was not asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The breaker is open; when to come back.
    Open { after: Duration, cause: Recent },
    /// Every place is taken; when to come back.
    Busy { after: Duration },
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        let (reason, what, after) = match refusal {
            Refusal::Open { after, cause: Recent { failed, calls } } => {
                let what = format!("left alone after {failed} of {calls} requests failed");
                (Reason::CircuitOpen, what, after)
            }
            Refusal::Busy { after } => (Reason::EngineBusy, "all its places are taken".to_owned(), after),
        };
        Fault { retry_after: Some(after), ..Fault::new(reason, what) }
    }
}

/// What is to be seen of the way in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shown {
    pub(crate) phase: Phase,
    /// When it is asked again, while its breaker is open.
    pub(crate) open_until: Option<Instant>,
    /// What the breaker opened for, the last time.
    pub(crate) cause: Recent,
    pub(crate) in_flight: u32,
    pub(crate) queued: usize,
}

/// The way into a deployment.
#[derive(Debug)]
pub(crate) struct Admission {
    inside: Mutex<Inside>,
    config: AdmissionConfig,
    metrics: AdmissionMetrics,
}

#[derive(Debug)]
struct Inside {
    breaker: Breaker,
    bulkhead: Bulkhead<oneshot::Sender<Result<Place, Refusal>>>,
    /// What the breaker showed when that was last told, and until when it was open.
    told: (Phase, Option<Instant>),
}

/// A place on a deployment, until this is dropped. Without an outcome it says nothing of the deployment.
#[derive(Debug)]
pub(crate) struct Place {
    admission: Arc<Admission>,
    permit: Option<Permit>,
    began: Instant,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.admission.release(self.permit.take(), self.began);
    }
}

/// One that waits, until this is dropped.
struct Waiting<'a> {
    admission: &'a Admission,
    ticket: Ticket,
    began: Instant,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut inside = self.admission.lock();
        inside.bulkhead.leave(&self.ticket);
        self.admission.metrics.waited.observe(self.began.elapsed().as_secs_f64());
        self.admission.measure(&inside);
    }
}

impl Admission {
    pub(crate) fn new(config: AdmissionConfig, metrics: AdmissionMetrics) -> Arc<Self> {
        let inside = Inside {
            breaker: Breaker::new(config.breaker),
            bulkhead: Bulkhead::new(config.max_concurrent, config.queue_max),
            told: (Phase::Closed, None),
        };
        Arc::new(Self { inside: Mutex::new(inside), config, metrics })
    }

    /// Takes a place, or waits for one.
    ///
    /// # Errors
    /// The breaker is open, or there is no place and none will be in time.
    pub(crate) async fn enter(self: &Arc<Self>, claim: Claim) -> Result<Place, Refusal> {
        let began = Instant::now();
        let limit = began + self.config.queue_timeout;
        let limit = claim.deadline.map_or(limit, |deadline| limit.min(deadline));
        // A place that comes when nobody receives it any more is dropped, and so goes to the next.
        let (sender, receiver) = oneshot::channel();
        let waiting = {
            let mut inside = self.lock();
            if let Some(after) = inside.breaker.refusal(began) {
                return Err(inside.refused(after));
            }
            if inside.bulkhead.take() {
                return match inside.breaker.admit(began) {
                    Ok(permit) => {
                        self.measure(&inside);
                        Ok(self.place(permit))
                    }
                    Err(after) => {
                        // Nobody waits: there was a place.
                        inside.bulkhead.give_back();
                        Err(inside.refused(after))
                    }
                };
            }
            let busy = Refusal::Busy { after: inside.bulkhead.predicted_wait() };
            if !claim.may_wait {
                return Err(busy);
            }
            let told = inside.bulkhead.wait(&claim.tenant, claim.tokens, sender);
            self.measure(&inside);
            Waiting { admission: self, ticket: told.map_err(|_| busy)?, began }
        };
        let told = timeout_at(limit, receiver).await;
        drop(waiting);
        match told {
            Ok(Ok(verdict)) => verdict,
            Ok(Err(_)) | Err(_) => Err(Refusal::Busy { after: self.lock().bulkhead.predicted_wait() }),
        }
    }

    /// Whether every place is taken.
    pub(crate) fn is_full(&self) -> bool {
        self.lock().bulkhead.is_full()
    }

    pub(crate) fn max_concurrent(&self) -> u32 {
        self.config.max_concurrent
    }

    /// What is to be seen.
    pub(crate) fn shown(&self) -> Shown {
        let inside = self.lock();
        Shown {
            phase: inside.breaker.phase(),
            open_until: inside.breaker.open_until(),
            cause: inside.breaker.cause(),
            in_flight: inside.bulkhead.taken(),
            queued: inside.bulkhead.waiting(),
        }
    }

    /// Whether the breaker shows something else than when this was last asked, or has opened again since.
    pub(crate) fn has_turned(&self, now: Instant) -> bool {
        let mut inside = self.lock();
        inside.breaker.turn(now);
        let (phase, open_until) = (inside.breaker.phase(), inside.breaker.open_until());
        self.metrics.state.set(match phase {
            Phase::Closed => 0,
            Phase::HalfOpen => 1,
            Phase::Open => 2,
        });
        let shows = (phase, open_until);
        std::mem::replace(&mut inside.told, shows) != shows
    }

    /// The engine is back: it may be asked at once.
    pub(crate) fn hint(&self) {
        self.lock().breaker.hint();
    }

    fn place(self: &Arc<Self>, permit: Permit) -> Place {
        Place { admission: Arc::clone(self), permit: Some(permit), began: Instant::now() }
    }

    /// Gives a place to who is next, or leaves it free.
    fn release(self: &Arc<Self>, permit: Option<Permit>, began: Instant) {
        let now = Instant::now();
        let mut inside = self.lock();
        inside.bulkhead.took(now.saturating_duration_since(began));
        if let Some(permit) = permit {
            inside.breaker.settle(permit, None, now, 0.0);
        }
        while let Some(next) = inside.bulkhead.give_back() {
            match inside.breaker.admit(now) {
                Ok(permit) => {
                    self.measure(&inside);
                    drop(inside);
                    // If nobody takes it, it is dropped here, and goes to the next.
                    drop(next.send(Ok(self.place(permit))));
                    return;
                }
                Err(after) => drop(next.send(Err(inside.refused(after)))),
            }
        }
        self.measure(&inside);
    }

    fn measure(&self, inside: &Inside) {
        self.metrics.in_flight.set(inside.bulkhead.taken().into());
        self.metrics.queued.set(i64::try_from(inside.bulkhead.waiting()).unwrap_or(i64::MAX));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inside {
    fn refused(&self, after: Duration) -> Refusal {
        Refusal::Open { after, cause: self.breaker.cause() }
    }
}

impl Place {
    /// The answer has begun; true: that may be news of the breaker.
    pub(crate) fn heard(&mut self) -> bool {
        let Some(permit) = self.permit.as_mut().filter(|permit| permit.is_probe()) else { return false };
        self.admission.lock().breaker.heard(permit);
        true
    }

    /// The outcome: it went well, it failed for a reason that speaks against the deployment, or (`None`) it says
    /// nothing. Returns the outcomes that count now, if this one did.
    pub(crate) fn settle(&mut self, went_well: Option<bool>) -> Option<Recent> {
        let permit = self.permit.take()?;
        let admission = &self.admission;
        let chance = if went_well == Some(false) { chance() } else { 0.0 };
        let (recent, dismissed, refusal) = {
            let mut inside = admission.lock();
            let (now, before) = (Instant::now(), inside.breaker.phase());
            let recent = inside.breaker.settle(permit, went_well, now, chance);
            if before == Phase::Open || inside.breaker.phase() != Phase::Open {
                return recent;
            }
            admission.metrics.opened.inc();
            let dismissed = inside.bulkhead.dismiss();
            admission.measure(&inside);
            let after = inside.breaker.refusal(now).unwrap_or_default();
            (recent, dismissed, inside.refused(after))
        };
        // Nobody waits for a deployment that is not asked.
        for waiter in dismissed {
            drop(waiter.send(Err(refusal)));
        }
        recent
    }
}

/// A number from 0 to 1, another one in each process.
fn chance() -> f64 {
    let number = RandomState::new().build_hasher().finish();
    f64::from((number >> 32) as u32) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests;
