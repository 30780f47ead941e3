//! A token bucket in integers: no float drifts, every answer is exact to the nanosecond. It remembers what was
//! used and not yet refilled, so an unused bucket is the same as none, and a changed limit keeps what was used.

use std::time::{Duration, Instant};

use crate::low_water::LowWater;

/// A limit: `depth` at once, refilled by `limit` per `per`.
///
/// Inside, one unit is as many *parts* as `per` has nanoseconds; then every nanosecond refills exactly `limit`
/// parts. With `per` of at most 2^64 ns and 64-bit counts nothing here comes near the end of 128 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spec {
    limit: u64,
    per: Duration,
    per_nanos: u64,
    depth: u64,
}

/// Whether, or when, an amount can be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fit {
    /// Now.
    Now,
    /// After exactly this time, if nothing else is taken meanwhile.
    After(Duration),
    /// Never: it is more than the depth.
    Never,
}

impl Spec {
    /// A limit. Zeroes count as one, no burst as `limit`.
    pub(crate) fn new(limit: u64, per: Duration, burst: Option<u64>) -> Self {
        let per_nanos = u64::try_from(per.as_nanos()).unwrap_or(u64::MAX).max(1);
        let limit = limit.max(1);
        Self { limit, per, per_nanos, depth: burst.unwrap_or(limit).max(1) }
    }

    /// How many per period.
    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    /// The period.
    pub(crate) fn per(&self) -> Duration {
        self.per
    }

    /// How many at once.
    pub(crate) fn depth(&self) -> u64 {
        self.depth
    }

    fn parts(&self, amount: u64) -> u128 {
        u128::from(amount) * u128::from(self.per_nanos)
    }

    fn refill_time(&self, parts: u128) -> Duration {
        let nanos = parts.div_ceil(u128::from(self.limit));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// Whether `amount` fits when `used` parts are used.
    pub(crate) fn fit(&self, used: u128, amount: u64) -> Fit {
        if amount > self.depth {
            return Fit::Never;
        }
        match (used + self.parts(amount)).saturating_sub(self.parts(self.depth)) {
            0 => Fit::Now,
            missing => Fit::After(self.refill_time(missing)),
        }
    }

    /// How many whole units are left when `used` parts are used.
    pub(crate) fn remaining(&self, used: u128) -> u64 {
        let left = self.parts(self.depth).saturating_sub(used) / u128::from(self.per_nanos);
        u64::try_from(left).unwrap_or(u64::MAX)
    }

    /// Time until the bucket is full again.
    pub(crate) fn reset_after(&self, used: u128) -> Duration {
        self.refill_time(used)
    }
}

/// The state of one limit for one subject.
#[derive(Clone, Debug)]
pub(crate) struct Bucket {
    spec: Spec,
    used: u128,
    at: Instant,
    lows: LowWater,
}

impl Bucket {
    /// A full bucket.
    pub(crate) fn full(spec: Spec, now: Instant) -> Self {
        Self { spec, used: 0, at: now, lows: LowWater::default() }
    }

    /// Parts used and not yet refilled at `now`.
    pub(crate) fn used_at(&self, now: Instant) -> u128 {
        let elapsed = now.saturating_duration_since(self.at).as_nanos();
        self.used.saturating_sub(elapsed.saturating_mul(u128::from(self.spec.limit)))
    }

    /// When it will be full if nothing more is taken; `now` if it is.
    pub(crate) fn full_at(&self, now: Instant) -> Instant {
        // What does not fit into an `Instant` is centuries away: a year stands for it, and is looked at again.
        let year = Duration::from_secs(365 * 86_400);
        now + self.spec.reset_after(self.used_at(now)).min(year)
    }

    /// Whether it was changed at this very moment.
    pub(crate) fn was_changed_at(&self, now: Instant) -> bool {
        self.at == now
    }

    /// Whether more was used than it is deep.
    pub(crate) fn is_in_debt(&self, now: Instant) -> bool {
        self.used_at(now) > self.spec.parts(self.spec.depth)
    }

    /// Takes `amount` under `spec`, which may have changed since the last time. The caller has seen that it
    /// fits. `ticket` names the taking and grows with time.
    pub(crate) fn take(&mut self, amount: u64, spec: Spec, ticket: u64, now: Instant) {
        self.refill(now);
        self.spec = spec;
        self.used += spec.parts(amount);
        self.lows.begin(ticket, self.used);
    }

    /// Gives back `amount` of what was taken under `ticket`: the bucket is then as if that had never been
    /// taken. What the refill has made up for and lost since, because the bucket was full, does not come back.
    pub(crate) fn give_back(&mut self, amount: u64, ticket: u64, now: Instant) {
        self.refill(now);
        self.used -= self.lows.lower(ticket, self.spec.parts(amount)).min(self.used);
    }

    /// Takes `amount` that has been used already, whether it is there or not. The debt is bounded by what one
    /// period refills: a wrong estimate makes the subject wait, and never locks it out for longer than that.
    pub(crate) fn charge(&mut self, amount: u64, now: Instant) {
        self.refill(now);
        let most = self.spec.parts(self.spec.depth) + self.spec.parts(self.spec.limit);
        self.used = (self.used + self.spec.parts(amount)).min(most.max(self.used));
    }

    fn refill(&mut self, now: Instant) {
        self.used = self.used_at(now);
        self.at = self.at.max(now);
        self.lows.note(self.used);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const NANO: Duration = Duration::from_nanos(1);

    fn try_take(bucket: &mut Bucket, amount: u64, ticket: u64, now: Instant) -> Fit {
        let fit = bucket.spec.fit(bucket.used_at(now), amount);
        if fit == Fit::Now {
            bucket.take(amount, bucket.spec, ticket, now);
        }
        fit
    }

    #[test]
    fn burst_then_rate() {
        let start = Instant::now();
        let mut bucket = Bucket::full(Spec::new(60, 60 * SECOND, Some(10)), start);
        for ticket in 0..10 {
            assert_eq!(try_take(&mut bucket, 1, ticket, start), Fit::Now);
        }
        assert_eq!(try_take(&mut bucket, 1, 10, start), Fit::After(SECOND));
        assert_eq!(try_take(&mut bucket, 1, 10, start + SECOND - NANO), Fit::After(NANO));
        assert_eq!(try_take(&mut bucket, 1, 10, start + SECOND), Fit::Now);
        assert_eq!(try_take(&mut bucket, 11, 11, start + 100 * SECOND), Fit::Never);
    }

    #[test]
    fn extremes_do_not_overflow() {
        let start = Instant::now();
        let spec = Spec::new(u64::MAX, 31 * 86_400 * SECOND, None);
        let mut bucket = Bucket::full(spec, start);
        assert_eq!(try_take(&mut bucket, u64::MAX, 0, start), Fit::Now);
        bucket.charge(u64::MAX, start);
        bucket.charge(u64::MAX, start);
        assert!(bucket.is_in_debt(start));
        assert_eq!(spec.remaining(bucket.used_at(start)), 0);
        assert_eq!(spec.reset_after(bucket.used_at(start)), 62 * 86_400 * SECOND);
        assert_eq!(bucket.used_at(start + Duration::from_secs(1 << 40)), 0);
        let slow = Spec::new(1, Duration::MAX, Some(u64::MAX));
        assert!(slow.reset_after(slow.parts(u64::MAX)) > Duration::ZERO);
    }

    #[test]
    fn debt_is_bounded_by_one_period() {
        let start = Instant::now();
        let spec = Spec::new(100, 60 * SECOND, Some(10));
        let mut bucket = Bucket::full(spec, start);
        bucket.charge(1_000_000, start);
        assert_eq!(spec.fit(bucket.used_at(start), 0), Fit::After(60 * SECOND));
        assert_eq!(spec.remaining(bucket.used_at(start)), 0);
        assert!(!bucket.is_in_debt(start + 60 * SECOND));
    }

    #[test]
    fn a_changed_limit_keeps_what_was_used() {
        let start = Instant::now();
        let mut bucket = Bucket::full(Spec::new(10, SECOND, None), start);
        bucket.take(8, bucket.spec, 0, start);
        let tighter = Spec::new(5, SECOND, None);
        assert_eq!(tighter.fit(bucket.used_at(start), 1), Fit::After(4 * SECOND / 5));
        let wider = Spec::new(20, SECOND, None);
        assert_eq!(wider.remaining(bucket.used_at(start)), 12);
    }

    #[test]
    fn a_clock_that_steps_back_refills_nothing() {
        let start = Instant::now() + SECOND;
        let mut bucket = Bucket::full(Spec::new(10, SECOND, None), start);
        bucket.take(10, bucket.spec, 0, start);
        let used = bucket.used_at(start);
        assert_eq!(bucket.used_at(start - SECOND), used);
        bucket.give_back(0, 0, start - SECOND);
        assert_eq!(bucket.used_at(start), used);
    }

    proptest! {
        // Over any window [i, j] of takings: no more than the depth and what the window refills.
        #[test]
        fn never_more_than_depth_and_refill(
            (limit, per, burst) in (1u64..50, 1u64..5_000, 1u64..50),
            calls in prop::collection::vec((0u64..2_000, 0u64..20), 1..60),
        ) {
            let spec = Spec::new(limit, Duration::from_nanos(per), Some(burst));
            let mut now = Instant::now();
            let mut bucket = Bucket::full(spec, now);
            let mut taken: Vec<(Instant, u64)> = Vec::new();
            for (ticket, (wait, amount)) in calls.into_iter().enumerate() {
                now += Duration::from_nanos(wait);
                if try_take(&mut bucket, amount, ticket as u64, now) == Fit::Now {
                    taken.push((now, amount));
                }
            }
            for (i, (from, _)) in taken.iter().enumerate() {
                let mut sum = 0;
                for (to, amount) in &taken[i..] {
                    sum += u128::from(*amount);
                    let refill = (*to - *from).as_nanos() * u128::from(limit);
                    prop_assert!(sum * u128::from(per) <= u128::from(burst) * u128::from(per) + refill);
                }
            }
        }

        #[test]
        fn the_hint_is_exact(
            (limit, per, burst) in (1u64..1_000, 1u64..10_000_000, 1u64..1_000),
            (before, debt, amount) in (0u64..1_000, 0u64..3_000, 0u64..1_000),
        ) {
            let spec = Spec::new(limit, Duration::from_nanos(per), Some(burst));
            let now = Instant::now();
            let mut bucket = Bucket::full(spec, now);
            try_take(&mut bucket, before, 0, now);
            bucket.charge(debt, now);
            match spec.fit(bucket.used_at(now), amount) {
                Fit::Now => {}
                Fit::Never => prop_assert!(amount > burst),
                Fit::After(wait) => {
                    prop_assert_eq!(spec.fit(bucket.used_at(now + wait - NANO), amount), Fit::After(NANO));
                    prop_assert_eq!(spec.fit(bucket.used_at(now + wait), amount), Fit::Now);
                }
            }
            let reset = spec.reset_after(bucket.used_at(now));
            prop_assert_eq!(bucket.used_at(now + reset), 0);
            prop_assert!(reset.is_zero() || bucket.used_at(now + reset - NANO) > 0);
        }

        // Settling below the estimate leaves what taking the real amount in the first place would have left.
        #[test]
        fn a_refund_is_exact(
            (limit, per) in (1u64..20, 1u64..1_000),
            events in prop::collection::vec((0u64..400, 0u64..50, 0u64..50, prop::option::of(0usize..8)), 1..LowWater::KEPT),
        ) {
            let spec = Spec::new(limit, Duration::from_nanos(per), Some(u64::MAX));
            let start = Instant::now();
            let mut now = start;
            let mut bucket = Bucket::full(spec, start);
            let mut open: Vec<(u64, u64, u64)> = Vec::new();
            let mut real: Vec<(Instant, u64)> = Vec::new();
            for (ticket, (wait, a, b, settle)) in events.into_iter().enumerate() {
                now += Duration::from_nanos(wait);
                let (spent, estimate) = (a.min(b), a.max(b));
                bucket.take(estimate, spec, ticket as u64, now);
                real.push((now, estimate));
                open.push((ticket as u64, estimate, spent));
                if let Some(index) = settle.filter(|index| *index < open.len()) {
                    let (ticket, estimate, spent) = open.remove(index);
                    now += Duration::from_nanos(wait / 3);
                    bucket.give_back(estimate - spent, ticket, now);
                    real[usize::try_from(ticket).unwrap()].1 = spent;
                }
                let mut oracle = Bucket::full(spec, start);
                for (at, amount) in &real {
                    oracle.take(*amount, spec, 0, *at);
                }
                prop_assert_eq!(bucket.used_at(now), oracle.used_at(now));
            }
        }
    }
}
