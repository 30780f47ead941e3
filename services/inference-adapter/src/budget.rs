//! Tokens that generations which nobody asked for may cost: so many in a day, the day being that of UTC. They are
//! taken before, and what was not used is given back. Pure; time is an argument.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// The tokens of a day.
#[derive(Debug)]
pub(crate) struct Budget {
    per_day: u64,
    /// Days since 1970.
    day: u64,
    /// Tokens that are used or taken.
    taken: u64,
    /// It was said that this day's are used up.
    told: bool,
}

/// Tokens that were taken.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reservation {
    day: u64,
    tokens: u64,
}

impl Budget {
    /// So many tokens for each day.
    pub(crate) fn new(per_day: u64) -> Self {
        Self { per_day, day: 0, taken: 0, told: false }
    }

    /// Takes tokens. `None`: so many are not left today.
    pub(crate) fn reserve(&mut self, tokens: u64, now: SystemTime) -> Option<Reservation> {
        self.turn(now);
        let taken = self.taken.checked_add(tokens).filter(|taken| *taken <= self.per_day)?;
        self.taken = taken;
        Some(Reservation { day: self.day, tokens })
    }

    /// Says how many were used after all. What was taken on another day counts for that day.
    pub(crate) fn settle(&mut self, reservation: &Reservation, used: u64) {
        if reservation.day == self.day {
            self.taken = self.taken.saturating_sub(reservation.tokens).saturating_add(used);
        }
    }

    /// Whether it is to be said that nothing is left: once a day.
    pub(crate) fn is_news(&mut self) -> bool {
        !std::mem::replace(&mut self.told, true)
    }

    /// How long this day lasts.
    pub(crate) fn left_of_day(now: SystemTime) -> Duration {
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let into = Duration::from_secs(since.as_secs() % DAY.as_secs());
        DAY - into
    }

    /// A later day has begun; a clock that was put back begins none.
    fn turn(&mut self, now: SystemTime) {
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let day = since.as_secs() / DAY.as_secs();
        if day > self.day {
            (self.day, self.taken, self.told) = (day, 0, false);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn day(number: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(number * DAY.as_secs() + 5)
    }

    #[test]
    fn what_was_not_used_is_given_back_and_the_rest_counts_until_midnight() {
        let mut budget = Budget::new(100);
        let first = budget.reserve(64, day(1)).unwrap();
        assert_eq!(budget.reserve(64, day(1)), None);
        budget.settle(&first, 11);
        for _ in 0..8 {
            let next = budget.reserve(11, day(1)).unwrap();
            budget.settle(&next, 11);
        }
        assert_eq!(budget.reserve(11, day(1)), None, "99 are used");
        assert!(budget.is_news() && !budget.is_news());
        let late = budget.reserve(1, day(1)).unwrap();
        let next = budget.reserve(100, day(2)).unwrap();
        budget.settle(&late, 50);
        assert_eq!(budget.reserve(1, day(1)), None, "a clock that was put back gives nothing");
        budget.settle(&next, 0);
        assert!(budget.reserve(100, day(2)).is_some() && budget.is_news());
    }

    #[test]
    fn the_day_ends_at_midnight_utc() {
        assert_eq!(Budget::left_of_day(day(3)), DAY - Duration::from_secs(5));
        assert_eq!(Budget::left_of_day(UNIX_EPOCH), DAY);
    }

    proptest! {
        /// Who uses no more than was taken never uses more than there is, however many do so at once.
        #[test]
        fn the_cap_holds(
            per_day in 1_u64..1000,
            steps in prop::collection::vec((1_u64..200, 0_u64..200, any::<bool>()), 0..200),
        ) {
            let (mut budget, mut open, mut used) = (Budget::new(per_day), Vec::new(), 0);
            for (tokens, least, settles) in steps {
                open.extend(budget.reserve(tokens, day(1)));
                if settles && let Some(reservation) = open.pop() {
                    let cost = least.min(reservation.tokens);
                    used += cost;
                    budget.settle(&reservation, cost);
                }
                let held: u64 = open.iter().map(|reservation| reservation.tokens).sum();
                prop_assert_eq!(budget.taken, used + held);
                prop_assert!(budget.taken <= per_day);
            }
        }
    }
}
