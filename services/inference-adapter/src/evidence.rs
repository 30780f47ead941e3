//! What is known of a deployment's health: real requests of the last while, together, count for more than checks,
//! because an engine can answer checks and fail at generating, or the other way round (D7). And from it when to look
//! again: a request that went well saves a check, one that failed brings it forward. Pure; time is an argument.

use std::time::{Duration, SystemTime};

use penstock_chassis::{CheckConfig, Judge, Outcome};
use penstock_proto::{Reason, status::v1::State};
use tokio::time::Instant;

use crate::breaker::Recent;

/// For so long a request's outcome outweighs checks that say otherwise.
const WEIGHT: Duration = Duration::from_secs(15);
/// However many requests go well, a check is made after so many intervals, and so long: what the engine says of
/// its models may have changed.
const UNLOOKED_INTERVALS: u32 = 12;
const UNLOOKED_MIN: Duration = Duration::from_secs(60);

/// If one of so many requests fails, that is worth a word.
const FAILURES_ONE_OF: u32 = 10;
/// Until so few do that it is none: every request counts anew, and the state is not to flap between two of them.
const FAILURES_AT_REST_ONE_OF: u32 = 20;

/// How often the pause after a failure doubles.
const RETRY_DOUBLINGS_MAX: u32 = 3;

/// Evidence of a deployment's health.
#[derive(Clone, Debug)]
pub(crate) struct Evidence {
    config: CheckConfig,
    judge: Judge,
    latency: Option<Duration>,
    checked_at: Option<SystemTime>,
    last_success_at: Option<SystemTime>,
    /// The last request that says something of the deployment. None since the engine could not be reached: what is
    /// there afterwards is judged anew.
    request: Option<Said>,
    /// Requests in a row that failed.
    failed: u32,
    /// Why the last one did that failed.
    last_failure: Reason,
    /// The engine could be reached, when that was last tried.
    reached: bool,
    /// The last check reached nobody, or had no answer.
    gone: bool,
    /// The last check.
    looked: Option<Instant>,
    /// Checks in a row that found something wrong.
    ailing: u32,
    /// When the next check is due. `None`: at once.
    due: Option<Instant>,
}

/// What a request said.
#[derive(Clone, Copy, Debug)]
struct Said {
    well: bool,
    /// With those of the last while before it.
    state: State,
    at: Instant,
    /// Until then it outweighs checks.
    until: Instant,
}

/// What is reported of a deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) state: State,
    /// What is wrong, in our words.
    pub(crate) detail: String,
    /// How long the last check took.
    pub(crate) latency: Option<Duration>,
    /// When the state was last confirmed.
    pub(crate) checked_at: Option<SystemTime>,
    pub(crate) last_success_at: Option<SystemTime>,
}

impl Evidence {
    /// Nothing is known yet.
    pub(crate) fn none(config: CheckConfig) -> Self {
        Self {
            config,
            judge: Judge::new(config),
            latency: None,
            checked_at: None,
            last_success_at: None,
            request: None,
            failed: 0,
            last_failure: Reason::EngineFailed,
            reached: true,
            gone: false,
            looked: None,
            ailing: 0,
            due: None,
        }
    }

    /// How the deployment is.
    pub(crate) fn seen(&self) -> Seen {
        let (state, detail) = self.judge.state();
        Seen {
            state,
            detail: detail.to_owned(),
            latency: self.latency,
            checked_at: self.checked_at,
            last_success_at: self.last_success_at,
        }
    }

    /// A request went well, or failed for a reason that speaks against the deployment; `recent`: it and those of the
    /// last while. True: the state changed.
    pub(crate) fn request(
        &mut self,
        outcome: Result<(), Reason>,
        recent: Recent,
        now: Instant,
        wall: SystemTime,
    ) -> bool {
        self.answer(outcome, recent, WEIGHT, now, wall)
    }

    /// Likewise for a generation that was made to see whether it can generate, every `interval`: that it cannot
    /// is known until the next one has had its time.
    pub(crate) fn generation(
        &mut self,
        outcome: Result<(), Reason>,
        (interval, timeout): (Duration, Duration),
        now: Instant,
        wall: SystemTime,
    ) -> bool {
        let weight = match outcome {
            Ok(()) => WEIGHT,
            Err(_) => after_failures(self.failed.saturating_add(1), interval) + timeout + WEIGHT,
        };
        let alone = Recent { failed: u32::from(outcome.is_err()), calls: 1 };
        self.answer(outcome, alone, weight, now, wall)
    }

    fn answer(
        &mut self,
        outcome: Result<(), Reason>,
        recent: Recent,
        weight: Duration,
        now: Instant,
        wall: SystemTime,
    ) -> bool {
        let before = self.judge.state().0;
        self.reached = !is_unreachable(outcome);
        let state = meaning_of(recent, before);
        let said = Said { well: outcome.is_ok(), state, at: now, until: now + weight };
        self.request = self.reached.then_some(said);
        match outcome {
            Ok(()) => {
                self.failed = 0;
                self.last_success_at = Some(wall);
            }
            Err(reason) => {
                (self.failed, self.ailing) = (self.failed.saturating_add(1), 0);
                self.due = self.due.map(|due| due.min(now + self.retry()));
                self.last_failure = reason;
            }
        }
        let detail = match state {
            State::Down => self.last_failure.title().to_owned(),
            State::Degraded => format!("some requests fail: {}", self.last_failure.title()),
            // One failure among many that went well changes nothing.
            _ if outcome.is_err() => return false,
            _ => String::new(),
        };
        self.checked_at = Some(wall);
        self.judge.decide(state, detail);
        self.judge.state().0 != before
    }

    /// A check ended, after `latency`. True: the state changed.
    pub(crate) fn check(
        &mut self,
        outcome: Result<(), Reason>,
        latency: Duration,
        now: Instant,
        wall: SystemTime,
    ) -> bool {
        let before = self.judge.state().0;
        let found = self.meaning(outcome, latency);
        let measured = !matches!(outcome, Err(Reason::EngineUnreachable | Reason::EngineTimeout));
        self.latency = measured.then_some(latency);
        self.looked = Some(now);
        self.reached = !is_unreachable(outcome);
        self.gone = !self.reached || outcome == Err(Reason::EngineTimeout);
        self.ailing = if found == State::Up { 0 } else { self.ailing.saturating_add(1) };
        if !self.reached {
            // What cannot be connected to cannot generate either; and what answers later has been started anew.
            self.request = None;
        }
        let contradicted =
            self.request.filter(|said| now < said.until).is_some_and(|said| match said.state {
                State::Up => found != State::Up,
                _ => outcome.is_ok(),
            });
        if !contradicted {
            let (state, _) = self.judge.take(spoken(outcome), latency);
            // A first answer that was slow is taken for the state, though it speaks for another one.
            if state == found || self.checked_at.is_none() {
                self.checked_at = Some(wall);
            }
            if found != State::Down {
                self.last_success_at = Some(wall);
            }
        }
        self.due = Some(now + self.pause());
        self.judge.state().0 != before
    }

    /// Whether the engine could be reached, when that was last tried.
    pub(crate) fn is_reached(&self) -> bool {
        self.reached
    }

    /// Whether nobody was there, or nobody answered, when that was last checked. Not by requests: of a host
    /// that refuses every other connection a check that gets one would end the breaker's time again and again.
    pub(crate) fn is_gone(&self) -> bool {
        self.gone
    }

    /// When the next check is due; `None`: at once.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Puts the check that is due off, if a request has just shown what it would show.
    pub(crate) fn spare(&mut self, now: Instant) -> bool {
        let unlooked = UNLOOKED_MIN.max(self.config.interval.saturating_mul(UNLOOKED_INTERVALS));
        let looked = self.looked.is_some_and(|at| now.saturating_duration_since(at) < unlooked);
        let proven = self.request.filter(|said| said.well).map(|said| said.at + self.config.interval);
        match proven.filter(|until| looked && *until > now) {
            Some(until) => {
                self.due = Some(until);
                true
            }
            None => false,
        }
    }

    /// When it is to be seen next whether it generates, if that is done every `interval`; `None`: not before it
    /// can be reached.
    pub(crate) fn generation_due(&self, interval: Duration, now: Instant) -> Option<Instant> {
        if !self.reached || self.looked.is_none() {
            return None;
        }
        Some(self.request.map_or(now, |said| match said.well {
            true => said.at + interval,
            false => said.at + after_failures(self.failed, interval),
        }))
    }

    /// Whether a request has gone well since the last check.
    pub(crate) fn has_answered_since(&self) -> bool {
        self.request.is_some_and(|said| said.well && self.looked.is_none_or(|looked| said.at > looked))
    }

    /// The state that a check speaks for.
    fn meaning(&self, outcome: Result<(), Reason>, latency: Duration) -> State {
        match spoken(outcome) {
            Outcome::Up if self.config.slow_after.is_none_or(|limit| latency <= limit) => State::Up,
            Outcome::Up => self.config.slow_means,
            Outcome::Degraded(_) => State::Degraded,
            Outcome::Down(_) => State::Down,
        }
    }

    fn retry(&self) -> Duration {
        self.config.retry.min(self.config.interval)
    }

    /// The pause after a check: soon while it is not sure, and ever less often while nothing gets better.
    fn pause(&self) -> Duration {
        if self.judge.is_unsure() || self.ailing > 0 {
            // However rare checks are: a minute's failures must not hide a return for long.
            let factor = 1_u32 << self.ailing.saturating_sub(1).min(RETRY_DOUBLINGS_MAX);
            self.retry().saturating_mul(factor).min(self.config.interval)
        } else {
            self.config.interval
        }
    }
}

/// How long to wait after so many failures in a row before it is tried whether it generates again.
fn after_failures(failures: u32, interval: Duration) -> Duration {
    let factor = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
    WEIGHT.saturating_mul(factor).min(interval)
}

/// The state that requests of the last while speak for, after it was `before`.
fn meaning_of(Recent { failed, calls }: Recent, before: State) -> State {
    let share = |one_of: u32| failed.saturating_mul(one_of);
    if failed > 0 && failed >= calls {
        State::Down
    } else if failed > 0 && share(FAILURES_ONE_OF) >= calls
        || before == State::Degraded && share(FAILURES_AT_REST_ONE_OF) > calls
    {
        State::Degraded
    } else {
        State::Up
    }
}

fn is_unreachable(outcome: Result<(), Reason>) -> bool {
    outcome == Err(Reason::EngineUnreachable)
}

/// What a check says, to the judge.
fn spoken(outcome: Result<(), Reason>) -> Outcome {
    match outcome {
        Ok(()) => Outcome::Up,
        Err(reason @ (Reason::EngineOverloaded | Reason::ModelLoading)) => {
            Outcome::Degraded(reason.title().to_owned())
        }
        Err(reason) => Outcome::Down(reason.title().to_owned()),
    }
}

#[cfg(test)]
mod tests;
