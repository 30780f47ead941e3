//! Turns the outcomes of checks into a state that does not flap: it takes several outcomes in a row to get worse,
//! and several to get better. Pure.

use std::time::Duration;

use penstock_proto::status::v1::State;

use super::{CheckConfig, Outcome};

/// What is known by the checks so far.
#[derive(Clone, Debug)]
pub struct Judge {
    config: CheckConfig,
    state: State,
    detail: String,
    /// Outcomes in a row that were worse than the state, or better.
    worse: u32,
    better: u32,
    /// Those of the worse ones that spoke for DOWN, in a row: that something was slow before is no failure of it.
    lost: u32,
    /// It was UP at some time. Until then there is nothing to flap from, and one better outcome is enough.
    been_up: bool,
}

impl Judge {
    /// Nothing is known yet.
    pub fn new(config: CheckConfig) -> Self {
        let (state, detail) = (State::Unspecified, String::new());
        Self { config, state, detail, worse: 0, better: 0, lost: 0, been_up: false }
    }

    /// The state now, and what is wrong.
    pub fn state(&self) -> (State, &str) {
        (self.state, &self.detail)
    }

    /// Takes an outcome. The first one counts at once, but not that it was slow: a start is busy.
    pub fn take(&mut self, outcome: Outcome, latency: Duration) -> (State, &str) {
        let (itself, why) = outcome.clone().into_state();
        let (found, detail, needed) = self.read(outcome, latency);
        if self.state == State::Unspecified && found != itself && needed > 1 {
            self.set(itself, why);
            (self.worse, self.lost) = (1, u32::from(found == State::Down));
            return self.state();
        }
        if self.state == State::Unspecified || found == self.state {
            self.set(found, detail);
        } else if found > self.state {
            (self.worse, self.better) = (self.worse.saturating_add(1), 0);
            self.lost = if found == State::Down { self.lost.saturating_add(1) } else { 0 };
            let agree = if found == State::Down { self.lost } else { self.worse };
            if agree >= needed {
                self.set(found, detail);
            }
        } else {
            (self.worse, self.lost, self.better) = (0, 0, self.better.saturating_add(1));
            if self.better >= self.config.recoveries || !self.been_up {
                self.set(found, detail);
            }
        }
        self.state()
    }

    /// Takes a state from elsewhere as given, such as the outcome of a real request.
    pub fn decide(&mut self, state: State, detail: impl Into<String>) {
        self.set(state, detail.into());
    }

    /// Whether it was UP at some time.
    pub fn been_up(&self) -> bool {
        self.been_up
    }

    /// Whether the next check should come soon: it is not well, or the last outcome said something else.
    pub fn is_unsure(&self) -> bool {
        self.state != State::Up || self.worse > 0
    }

    fn set(&mut self, state: State, detail: String) {
        (self.state, self.detail) = (state, detail);
        self.been_up |= state == State::Up;
        (self.worse, self.better, self.lost) = (0, 0, 0);
    }

    /// The state that an outcome speaks for, and how many of them it takes.
    fn read(&self, outcome: Outcome, latency: Duration) -> (State, String, u32) {
        let slow = self.config.slow_after.filter(|limit| latency > *limit);
        match (outcome, slow) {
            (Outcome::Down(detail), _) => (State::Down, detail, self.config.failures),
            (Outcome::Up, Some(limit)) => {
                let detail = format!("slow: took longer than {}", humantime::format_duration(limit));
                (self.config.slow_means, detail, self.config.slows)
            }
            (Outcome::Degraded(detail), Some(_)) if self.config.slow_means == State::Down => {
                (State::Down, detail, self.config.slows)
            }
            (Outcome::Degraded(detail), _) => (State::Degraded, detail, self.config.failures),
            (Outcome::Up, None) => (State::Up, String::new(), 1),
        }
    }
}

#[cfg(test)]
mod tests;
