//! The front door of a service: how many requests may be in progress, and who is refused first if it gets too
//! much. It lets in or refuses at once and never waits, so that it cannot deadlock; what is in progress is never
//! cut. The limit follows our own delay, not that of the answers: an engine takes the time that it takes.

mod guarded;
mod limit;
mod sampler;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use penstock_proto::{Error, Reason};
use prometheus_client::metrics::{counter::Counter, gauge::Gauge};

pub use self::guarded::{Guarded, Held};
pub(crate) use self::sampler::Doors;
use self::{
    limit::adapted,
    sampler::{DoorLabels, ShedLabels},
};
use crate::{Chassis, config::Section, stack::MAX_IN_FLIGHT};

/// Default of `requests_max`: just below the 4096 streams that one connection between two services carries, so
/// that nothing waits there unseen. Each costs some 30 KiB.
const REQUESTS_MAX: u64 = 4000;
/// A refused caller comes back after this and a random part of [`RETRY_JITTER`], so that not all come at once.
const RETRY_AFTER: Duration = Duration::from_secs(1);
const RETRY_JITTER: Duration = Duration::from_secs(3);
/// Least delay to go by: the timer itself is late by a millisecond or two.
const DELAY_MIN: Duration = Duration::from_millis(5);

/// What a request is to the door, the cheapest to refuse first. Each class may use a share of the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Nobody waits for it, such as a second try beside a first: four fifths.
    Extra,
    /// Costs little to ask again, such as a list or a vector: nine tenths.
    Batch,
    /// Somebody reads it as it comes: all of it.
    Answer,
}

impl Class {
    const ALL: [Self; 3] = [Self::Extra, Self::Batch, Self::Answer];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Extra => "extra",
            Self::Batch => "batch",
            Self::Answer => "answer",
        }
    }

    /// How many requests may be in progress for one of this class to be let in. Never 0: where one is allowed,
    /// any may be that one.
    const fn share(self, limit: usize) -> usize {
        match self {
            Self::Extra => (limit * 4).div_ceil(5),
            Self::Batch => (limit * 9).div_ceil(10),
            Self::Answer => limit,
        }
    }
}

/// Settings of a door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DoorConfig {
    /// Most requests in progress.
    pub requests_max: usize,
    /// Beyond this delay of our own fewer are let in. None: always as many.
    pub overload_delay: Option<Duration>,
}

impl Default for DoorConfig {
    fn default() -> Self {
        let requests_max = usize::try_from(REQUESTS_MAX).unwrap_or(usize::MAX);
        // A token that is late by so much is not seen; all of a second's tokens late by it are a busy machine.
        Self { requests_max, overload_delay: Some(Duration::from_millis(20)) }
    }
}

impl DoorConfig {
    /// Reads `requests_max` and `overload_delay` of a service's section.
    pub fn read(section: &mut Section) -> Self {
        let default = Self::default();
        let requests_max = section.integer("requests_max", REQUESTS_MAX, 1..=MAX_IN_FLIGHT as u64);
        let delay = default.overload_delay.unwrap_or_default();
        let delay = section.duration("overload_delay", delay, Duration::ZERO..=Duration::from_secs(10));
        if !delay.is_zero() && delay < DELAY_MIN {
            let least = DELAY_MIN.as_millis();
            section.mistake("overload_delay", format!("must be 0s, for never, or at least {least} ms"));
        }
        Self {
            requests_max: usize::try_from(requests_max).unwrap_or(default.requests_max),
            overload_delay: (!delay.is_zero()).then_some(delay),
        }
    }
}

/// The door of a service. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Door(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    config: DoorConfig,
    limit: AtomicUsize,
    in_progress: AtomicUsize,
    limit_shown: Gauge,
    in_progress_shown: Gauge,
    shed: [Counter; Class::ALL.len()],
}

impl Door {
    /// The door of `service`, open for `config.requests_max`.
    pub fn new(service: &'static str, config: DoorConfig, chassis: &Chassis) -> Self {
        let doors = &chassis.doors;
        let shown = DoorLabels { door: service };
        let limit_shown = doors.limit.get_or_create(&shown).clone();
        limit_shown.set(i64::try_from(config.requests_max).unwrap_or(i64::MAX));
        let shared = Arc::new(Shared {
            config,
            limit: AtomicUsize::new(config.requests_max),
            in_progress: AtomicUsize::new(0),
            limit_shown,
            in_progress_shown: doors.in_progress.get_or_create(&shown).clone(),
            shed: Class::ALL.map(|class| {
                doors.shed.get_or_create(&ShedLabels { door: service, class: class.as_str() }).clone()
            }),
        });
        doors.add(&shared, chassis);
        Self(shared)
    }

    /// Lets a request in, or does not. It is in progress until the pass is dropped.
    ///
    /// # Errors
    /// OVERLOADED, with the time after which to come back.
    pub fn enter(&self, class: Class) -> Result<Pass, Error> {
        let shared = &self.0;
        let room = class.share(shared.limit.load(Ordering::Relaxed));
        let one_more = |count: usize| (count < room).then_some(count + 1);
        if shared.in_progress.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok() {
            shared.in_progress_shown.inc();
            return Ok(Pass(Arc::clone(shared)));
        }
        if let Some(shed) = shared.shed.get(class as usize) {
            shed.inc();
        }
        Err(Error::new(Reason::Overloaded, "the gateway has too much to do at the moment")
            .with_retry_after(RETRY_AFTER + RETRY_JITTER.mul_f64(fastrand::f64())))
    }
}

impl Shared {
    /// Moves the limit after a time in which we were late by `delay` at least.
    fn adapt(&self, delay: Duration) {
        let Some(bearable) = self.config.overload_delay else { return };
        let (limit, in_progress) =
            (self.limit.load(Ordering::Relaxed), self.in_progress.load(Ordering::Relaxed));
        let next = adapted(limit, in_progress, self.config.requests_max, delay > bearable);
        self.limit.store(next, Ordering::Relaxed);
        self.limit_shown.set(i64::try_from(next).unwrap_or(i64::MAX));
    }
}

/// A request in progress, until it is dropped.
#[derive(Debug)]
#[must_use = "the request is in progress for as long as this lives"]
pub struct Pass(Arc<Shared>);

impl Drop for Pass {
    fn drop(&mut self) {
        self.0.in_progress.fetch_sub(1, Ordering::Relaxed);
        self.0.in_progress_shown.dec();
    }
}

#[cfg(test)]
mod tests;
