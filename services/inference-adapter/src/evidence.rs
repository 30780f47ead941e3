//! What is known of a deployment's health: real requests count for more than checks, because an engine can
//! answer checks and fail at generating, or the other way round (D7). Pure; time is an argument.

use std::time::{Duration, SystemTime};

use penstock_proto::status::v1::State;
use tokio::time::Instant;

/// For so long a request's outcome outweighs checks that say otherwise.
const WEIGHT: Duration = Duration::from_secs(15);

/// Evidence of a deployment's health.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Evidence {
    state: State,
    checked_at: Option<SystemTime>,
    request: Option<(Instant, bool)>,
}

impl Evidence {
    /// Nothing is known yet.
    pub(crate) fn none() -> Self {
        Self { state: State::Unspecified, checked_at: None, request: None }
    }

    /// The state now, and when it was last confirmed.
    pub(crate) fn state(&self) -> (State, Option<SystemTime>) {
        (self.state, self.checked_at)
    }

    /// A request went well, or failed for a reason that speaks against the deployment. True: the state changed.
    pub(crate) fn request(&mut self, well: bool, now: Instant, wall: SystemTime) -> bool {
        self.request = Some((now, well));
        self.set(if well { State::Up } else { State::Down }, wall)
    }

    /// A check ended. True: the state changed.
    pub(crate) fn check(&mut self, found: State, now: Instant, wall: SystemTime) -> bool {
        let weighty = self.request.filter(|(at, _)| now.saturating_duration_since(*at) < WEIGHT);
        let contradicted = weighty.is_some_and(|(_, well)| well != (found == State::Up));
        if contradicted { false } else { self.set(found, wall) }
    }

    fn set(&mut self, state: State, wall: SystemTime) -> bool {
        self.checked_at = Some(wall);
        std::mem::replace(&mut self.state, state) != state
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d7_requests_outweigh_checks_for_a_while() {
        let (start, wall) = (Instant::now(), SystemTime::UNIX_EPOCH);
        let mut evidence = Evidence::none();
        assert!(evidence.check(State::Up, start, wall));
        assert!(!evidence.check(State::Up, start, wall));
        assert!(evidence.request(false, start, wall));
        assert!(!evidence.check(State::Up, start + Duration::from_secs(14), wall), "it only answers checks");
        assert_eq!(evidence.state().0, State::Down);
        assert!(
            evidence.check(State::Up, start + Duration::from_secs(16), wall),
            "recovers without a request"
        );
        assert!(!evidence.request(true, start + Duration::from_secs(17), wall));
        assert!(!evidence.check(State::Down, start + Duration::from_secs(18), wall), "only the check fails");
        assert!(evidence.check(State::Down, start + Duration::from_secs(40), wall));
    }
}
