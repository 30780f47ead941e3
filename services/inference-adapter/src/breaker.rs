//! A circuit breaker: whether a deployment is asked at all. Closed while enough requests go well; open, and not asked,
//! after too many of a sliding window failed; then half-open: a few requests show whether it is well again. Pure:
//! time and chance are arguments. Requests that say nothing of the deployment never change anything (D2).

mod window;

use std::time::Duration;

use tokio::time::Instant;

pub(crate) use self::window::Recent;
use self::window::Window;

/// The open time is longer by up to this share, so that adapters do not all ask again at the same moment.
const JITTER: f64 = 0.2;
/// When to come back while the few requests that may be made are being made.
const PROBED: Duration = Duration::from_secs(1);

/// When it opens, and for how long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct BreakerConfig {
    /// Outcomes that count.
    pub(crate) window: Duration,
    /// Fewer outcomes say nothing.
    pub(crate) minimum_calls: u32,
    /// It opens if so many of them failed, as a share.
    pub(crate) failure_rate: f64,
    /// How long it is open the first time; twice as long each time that a request then fails.
    pub(crate) open: Duration,
    /// But no longer.
    pub(crate) open_max: Duration,
    /// Requests at once while half-open, and how many of them have to go well.
    pub(crate) probes: u32,
}

/// A circuit breaker.
#[derive(Debug)]
pub(crate) struct Breaker {
    config: BreakerConfig,
    state: State,
    window: Window,
    /// How often it has opened, or the engine was back: what was asked before says nothing about the time after.
    openings: u64,
    /// How often in a row it opened without having been closed in between.
    in_a_row: u32,
    /// What it opened for.
    cause: Recent,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Closed,
    Open {
        until: Instant,
    },
    /// `out`: requests under way. `well`: those that went well.
    HalfOpen {
        out: u32,
        well: u32,
    },
}

/// What a breaker shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Phase {
    #[default]
    Closed,
    HalfOpen,
    Open,
}

/// A request that was let through. It has to be given back by `settle`, whatever became of it.
#[derive(Debug)]
pub(crate) struct Permit {
    opening: u64,
    /// It takes one of the few places of a half-open breaker.
    is_probe: bool,
}

impl Permit {
    /// Whether its first content is worth telling.
    pub(crate) fn is_probe(&self) -> bool {
        self.is_probe
    }
}

impl Breaker {
    /// Closed.
    pub(crate) fn new(config: BreakerConfig) -> Self {
        Self {
            config,
            state: State::Closed,
            window: Window::new(config.window),
            openings: 0,
            in_a_row: 0,
            cause: Recent::default(),
        }
    }

    /// What it shows.
    pub(crate) fn phase(&self) -> Phase {
        match self.state {
            State::Closed => Phase::Closed,
            State::Open { .. } => Phase::Open,
            State::HalfOpen { .. } => Phase::HalfOpen,
        }
    }

    /// What it opened for, the last time.
    pub(crate) fn cause(&self) -> Recent {
        self.cause
    }

    /// When it will be half-open; `None`: it is not open.
    pub(crate) fn open_until(&self) -> Option<Instant> {
        match self.state {
            State::Open { until } => Some(until),
            State::Closed | State::HalfOpen { .. } => None,
        }
    }

    /// Becomes half-open once its time is over.
    pub(crate) fn turn(&mut self, now: Instant) {
        if self.open_until().is_some_and(|until| until <= now) {
            self.half_open();
        }
    }

    /// Becomes half-open before its time: the engine was gone and is back. What was asked before, and may hang for
    /// long, holds nothing up.
    pub(crate) fn hint(&mut self) {
        if self.phase() != Phase::Closed {
            self.openings += 1;
            self.half_open();
        }
    }

    /// Whether a request would be refused now; then when to come back.
    pub(crate) fn refusal(&mut self, now: Instant) -> Option<Duration> {
        self.turn(now);
        match self.state {
            State::Open { until } => Some(until.saturating_duration_since(now)),
            State::HalfOpen { out, .. } if out >= self.config.probes => Some(PROBED),
            State::Closed | State::HalfOpen { .. } => None,
        }
    }

    /// Lets a request through.
    ///
    /// # Errors
    /// It is refused; when to come back.
    pub(crate) fn admit(&mut self, now: Instant) -> Result<Permit, Duration> {
        if let Some(after) = self.refusal(now) {
            return Err(after);
        }
        if let State::HalfOpen { out, .. } = &mut self.state {
            *out += 1;
        }
        Ok(Permit { opening: self.openings, is_probe: self.phase() == Phase::HalfOpen })
    }

    /// The answer has begun: enough of a sign of life, an answer may take minutes.
    pub(crate) fn heard(&mut self, permit: &mut Permit) {
        if self.return_probe(permit)
            && let State::HalfOpen { well, .. } = &mut self.state
        {
            *well += 1;
            if *well >= self.config.probes {
                (self.state, self.in_a_row) = (State::Closed, 0);
                self.window.clear();
            }
        }
    }

    /// Takes the outcome of a request: it went well, it failed for a reason that speaks against the deployment, or
    /// (`None`) it says nothing. `chance` is from 0 to 1. Returns the outcomes that count now, if this one did.
    pub(crate) fn settle(
        &mut self,
        mut permit: Permit,
        went_well: Option<bool>,
        now: Instant,
        chance: f64,
    ) -> Option<Recent> {
        match went_well {
            Some(true) => self.heard(&mut permit),
            Some(false) | None => {
                self.return_probe(&mut permit);
            }
        }
        let went_well = went_well.filter(|_| permit.opening == self.openings)?;
        match self.state {
            State::Closed => {
                self.window.count(went_well, now);
                let recent = self.window.recent(now);
                if !went_well && self.is_too_much(recent) {
                    self.open(recent, now, chance);
                }
                Some(recent)
            }
            State::HalfOpen { .. } if !went_well => {
                let Recent { failed, calls } = self.cause;
                let cause = Recent { failed: failed.saturating_add(1), calls: calls.saturating_add(1) };
                self.open(cause, now, chance);
                Some(cause)
            }
            State::HalfOpen { .. } | State::Open { .. } => Some(Recent { failed: 0, calls: 1 }),
        }
    }

    fn is_too_much(&self, Recent { failed, calls }: Recent) -> bool {
        calls >= self.config.minimum_calls && f64::from(failed) >= self.config.failure_rate * f64::from(calls)
    }

    fn open(&mut self, cause: Recent, now: Instant, chance: f64) {
        let factor = 1_u32.checked_shl(self.in_a_row).unwrap_or(u32::MAX);
        let span = self.config.open.saturating_mul(factor).min(self.config.open_max);
        let span = span.mul_f64(1.0 + JITTER * chance.clamp(0.0, 1.0));
        self.openings += 1;
        self.in_a_row = self.in_a_row.saturating_add(1);
        self.cause = cause;
        self.state = State::Open { until: now + span };
    }

    fn half_open(&mut self) {
        self.state = State::HalfOpen { out: 0, well: 0 };
    }

    /// Gives back the place of a half-open breaker; true: it had one.
    fn return_probe(&mut self, permit: &mut Permit) -> bool {
        let had = std::mem::take(&mut permit.is_probe) && permit.opening == self.openings;
        if had && let State::HalfOpen { out, .. } = &mut self.state {
            *out = out.saturating_sub(1);
        }
        had
    }
}

#[cfg(test)]
mod tests;
