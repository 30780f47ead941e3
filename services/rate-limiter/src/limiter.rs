//! The limiter: takes what a request needs out of every bucket that applies, or out of none, under one lock
//! (a few map look-ups long; several buckets of one request cannot be taken atomically under several). Pure
//! but for that lock: time and ids are arguments.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use uuid::Uuid;

use crate::{
    bucket::{Fit, Spec},
    buckets::Buckets,
    reservations::{Reservation, Reservations},
    rules::{Applied, Rule, Subject, Unit, applied},
};

/// Open reservations at most: each is a request that is being answered, and no mesh that shares one limiter
/// answers more at once. About 20 MB.
const MAX_RESERVATIONS: usize = 100_000;
/// Full buckets forgotten per call: more than one call makes with few limits, so the map shrinks by use alone.
const FORGET_PER_CALL: usize = 4;

/// All limits and their state.
#[derive(Debug)]
pub(crate) struct Limiter {
    rules: Vec<Rule>,
    reservation_ttl: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    buckets: Buckets,
    reservations: Reservations,
    next_ticket: u64,
}

/// The state of one limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Level {
    /// Name of the limit.
    pub(crate) name: &'static str,
    /// What it counts.
    pub(crate) unit: Unit,
    /// The limit itself.
    pub(crate) spec: Spec,
    /// How many could be taken now.
    pub(crate) remaining: u64,
    /// Time until the bucket is full again.
    pub(crate) reset_after: Duration,
}

/// A request that may go on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Admission {
    /// To settle with. None: no token limit applies, nothing to settle.
    pub(crate) reservation: Option<Uuid>,
    /// Every limit that applies, after the taking.
    pub(crate) levels: Vec<Level>,
}

/// A request that may not. Nothing was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The limit that refuses: the one that does so for the longest time.
    pub(crate) by: Level,
    /// What was needed of it.
    pub(crate) needed: u64,
    /// When all limits would let the request pass, if nothing else is taken meanwhile. None: never.
    pub(crate) retry_after: Option<Duration>,
    /// Every limit that applies.
    pub(crate) levels: Vec<Level>,
}

/// How much the limiter holds, and what it had to forget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    /// Open reservations.
    pub(crate) reservations: usize,
    /// Buckets that are not full.
    pub(crate) buckets: usize,
    /// Buckets that had to make room since the start.
    pub(crate) evictions: u64,
}

impl Limiter {
    /// A limiter of `rules`. `max_buckets` is kept but for buckets in debt.
    pub(crate) fn new(rules: Vec<Rule>, reservation_ttl: Duration, max_buckets: usize) -> Self {
        let state = State {
            buckets: Buckets::new(max_buckets),
            reservations: Reservations::new(MAX_RESERVATIONS),
            next_ticket: 0,
        };
        Self { rules, reservation_ttl, state: Mutex::new(state) }
    }

    /// Takes one request and `tokens` tokens. `id` is the reservation's name, if there is one.
    ///
    /// # Errors
    /// One of the limits has not enough, now or ever.
    pub(crate) fn reserve(
        &self,
        subject: &Subject,
        tokens: u64,
        id: impl FnOnce() -> Uuid,
        now: Instant,
    ) -> Result<Admission, Box<Refusal>> {
        let applied = applied(&self.rules, subject);
        if applied.is_empty() {
            return Ok(Admission::default());
        }
        let id = applied.iter().any(|limit| limit.unit == Unit::Tokens).then(id);
        let mut state = self.lock();
        state.buckets.forget_full(FORGET_PER_CALL, now);
        state.reservations.lapse(now);
        match state.refusal(&applied, tokens, now) {
            Some(refusal) => Err(Box::new(refusal)),
            None => {
                state.take(&applied, tokens, id, now, now + self.reservation_ttl);
                Ok(Admission { reservation: id, levels: state.levels(&applied, now) })
            }
        }
    }

    /// Replaces a reservation's estimate by what was really used. What is settled or lapsed already, or never
    /// was, changes nothing.
    pub(crate) fn settle(&self, id: Uuid, tokens: u64, now: Instant) {
        let mut state = self.lock();
        let Some(reservation) = state.reservations.remove(id, now) else { return };
        for (key, spec) in &reservation.buckets {
            if tokens > reservation.tokens {
                let more = tokens - reservation.tokens;
                state.buckets.change(key, *spec, now, |bucket| bucket.charge(more, now));
            } else if let Some(bucket) = state.buckets.get_mut(key) {
                bucket.give_back(reservation.tokens - tokens, reservation.ticket, now);
            }
        }
    }

    /// The state of every limit that applies.
    pub(crate) fn peek(&self, subject: &Subject, now: Instant) -> Vec<Level> {
        let applied = applied(&self.rules, subject);
        if applied.is_empty() { Vec::new() } else { self.lock().levels(&applied, now) }
    }

    /// Forgets some of what is over: lapsed reservations and full buckets. Returns whether there may be more.
    pub(crate) fn sweep(&self, most: usize, now: Instant) -> bool {
        let mut state = self.lock();
        state.reservations.lapse(now);
        state.buckets.forget_full(most, now)
    }

    /// Whether what is taken out of a bucket is found taken: by one that no subject has, and that is gone again
    /// afterwards.
    pub(crate) fn probe(&self, now: Instant) -> bool {
        self.lock().buckets.probe(now)
    }

    /// How much it holds.
    pub(crate) fn size(&self) -> Size {
        let state = self.lock();
        Size {
            reservations: state.reservations.len(),
            buckets: state.buckets.len(),
            evictions: state.buckets.evictions(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing under the lock panics; if something did, counts that are a little off beat no service.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn refusal(&self, applied: &[Applied], tokens: u64, now: Instant) -> Option<Refusal> {
        let worst = applied
            .iter()
            // Who takes no token need not wait until there are some again.
            .filter(|limit| needed(limit, tokens) > 0)
            .map(|limit| (limit.spec.fit(self.buckets.used(&limit.key, now), needed(limit, tokens)), limit))
            .filter(|(fit, _)| *fit != Fit::Now)
            .max_by_key(|(fit, _)| match fit {
                Fit::Now => (false, Duration::ZERO),
                Fit::After(wait) => (false, *wait),
                Fit::Never => (true, Duration::ZERO),
            });
        let (fit, limit) = worst?;
        let retry_after = match fit {
            Fit::After(wait) => Some(wait),
            Fit::Now | Fit::Never => None,
        };
        Some(Refusal {
            by: self.level(limit, now),
            needed: needed(limit, tokens),
            retry_after,
            levels: self.levels(applied, now),
        })
    }

    fn take(&mut self, applied: &[Applied], tokens: u64, id: Option<Uuid>, now: Instant, lapses_at: Instant) {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        for limit in applied {
            self.buckets.change(&limit.key, limit.spec, now, |bucket| {
                bucket.take(needed(limit, tokens), limit.spec, ticket, now);
            });
        }
        if let Some(id) = id {
            let token_limits = applied.iter().filter(|limit| limit.unit == Unit::Tokens);
            let buckets = token_limits.map(|limit| (limit.key.clone(), limit.spec)).collect();
            self.reservations.insert(id, Reservation { ticket, tokens, buckets }, lapses_at);
        }
    }

    fn levels(&self, applied: &[Applied], now: Instant) -> Vec<Level> {
        applied.iter().map(|limit| self.level(limit, now)).collect()
    }

    fn level(&self, limit: &Applied, now: Instant) -> Level {
        let used = self.buckets.used(&limit.key, now);
        Level {
            name: limit.name,
            unit: limit.unit,
            spec: limit.spec,
            remaining: limit.spec.remaining(used),
            reset_after: limit.spec.reset_after(used),
        }
    }
}

fn needed(limit: &Applied, tokens: u64) -> u64 {
    match limit.unit {
        Unit::Requests => 1,
        Unit::Tokens => tokens,
    }
}

#[cfg(test)]
mod tests;
