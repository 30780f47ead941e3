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
}

impl Judge {
    /// Nothing is known yet.
    pub fn new(config: CheckConfig) -> Self {
        Self { config, state: State::Unspecified, detail: String::new(), worse: 0, better: 0 }
    }

    /// The state now, and what is wrong.
    pub fn state(&self) -> (State, &str) {
        (self.state, &self.detail)
    }

    /// Takes an outcome. The first one counts at once.
    pub fn take(&mut self, outcome: Outcome, latency: Duration) -> (State, &str) {
        let (found, detail, needed) = self.read(outcome, latency);
        if self.state == State::Unspecified || found == self.state {
            self.set(found, detail);
        } else if found > self.state {
            (self.worse, self.better) = (self.worse.saturating_add(1), 0);
            if self.worse >= needed {
                self.set(found, detail);
            }
        } else {
            (self.worse, self.better) = (0, self.better.saturating_add(1));
            if self.better >= self.config.recoveries {
                self.set(found, detail);
            }
        }
        self.state()
    }

    /// Takes a state from elsewhere as given, such as the outcome of a real request.
    pub fn decide(&mut self, state: State, detail: impl Into<String>) {
        self.set(state, detail.into());
    }

    /// Whether the next check should come soon: it is not well, or the last outcome said something else.
    pub fn is_unsure(&self) -> bool {
        self.state != State::Up || self.worse > 0
    }

    fn set(&mut self, state: State, detail: String) {
        (self.state, self.detail, self.worse, self.better) = (state, detail, 0, 0);
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
mod tests {
    use super::*;

    const FAST: Duration = Duration::from_millis(1);
    const SLOW: Duration = Duration::from_millis(200);

    fn judge() -> Judge {
        Judge::new(CheckConfig { failures: 2, slows: 3, recoveries: 2, ..CheckConfig::inside() })
    }

    fn down() -> Outcome {
        Outcome::Down("gone".into())
    }

    #[test]
    fn the_first_outcome_counts_at_once_later_ones_only_in_a_row() {
        let mut judge = judge();
        assert_eq!(judge.take(Outcome::Up, FAST), (State::Up, ""));
        assert_eq!(judge.take(down(), FAST).0, State::Up);
        assert!(judge.is_unsure());
        assert_eq!(judge.take(Outcome::Up, FAST).0, State::Up, "one failure is forgotten");
        assert!(!judge.is_unsure());
        judge.take(down(), FAST);
        assert_eq!(judge.take(down(), FAST), (State::Down, "gone"));
        assert_eq!(judge.take(Outcome::Up, FAST).0, State::Down);
        assert_eq!(judge.take(Outcome::Up, FAST), (State::Up, ""));
    }

    #[test]
    fn an_outcome_that_alternates_does_not_flap() {
        let mut judge = judge();
        judge.take(Outcome::Up, FAST);
        for _ in 0..100 {
            assert_eq!(judge.take(down(), FAST).0, State::Up);
            assert_eq!(judge.take(Outcome::Up, FAST).0, State::Up);
        }
    }

    #[test]
    fn slow_means_what_the_configuration_says_and_needs_its_own_number() {
        let mut degraded = judge();
        degraded.take(Outcome::Up, FAST);
        degraded.take(Outcome::Up, SLOW);
        assert_eq!(degraded.take(Outcome::Up, SLOW).0, State::Up);
        assert_eq!(degraded.take(Outcome::Up, SLOW), (State::Degraded, "slow: took longer than 100ms"));
        let config = CheckConfig { slow_means: State::Down, slows: 1, ..CheckConfig::inside() };
        let mut down = Judge::new(config);
        assert_eq!(down.take(Outcome::Up, SLOW).0, State::Down);
        let mut never = Judge::new(CheckConfig { slow_after: None, ..CheckConfig::inside() });
        assert_eq!(never.take(Outcome::Up, SLOW).0, State::Up);
    }
}
