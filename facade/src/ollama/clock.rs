//! When an answer was asked for: what its lines are dated by, and what is measured where an engine measures nothing.

use std::time::{Duration, SystemTime};

use prost_types::Timestamp;
use tokio::time::Instant;

/// The moment at which an answer was asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    asked: Instant,
    wall: SystemTime,
}

impl Clock {
    /// Now.
    pub(crate) fn start() -> Self {
        Self { asked: Instant::now(), wall: SystemTime::now() }
    }

    /// The time since then.
    pub(super) fn elapsed(&self) -> Duration {
        self.asked.elapsed()
    }

    /// The moment so long after, as RFC 3339 with nanoseconds.
    pub(super) fn date(&self, after: Duration) -> String {
        Timestamp::from(self.wall + after).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_date_goes_on_with_the_time_that_passed() {
        let clock = Clock { asked: Instant::now(), wall: SystemTime::UNIX_EPOCH };
        tokio::time::advance(Duration::new(61, 7)).await;
        assert_eq!(clock.date(clock.elapsed()), "1970-01-01T00:01:01.000000007Z");
    }
}
