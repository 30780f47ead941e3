//! The retry budget: of the traffic of the last ten seconds only a share may be asked of engines once more, so
//! that retries never make an outage of what was a hiccup. Pure: time is an argument.

use std::time::Duration;

use tokio::time::Instant;

/// Slots of a second that requests are counted in: the window is ten of them.
const WINDOW: usize = 10;
/// What is taken counts for a slot longer, so that no ten seconds, wherever they begin, see more than is allowed.
const SLOTS: usize = WINDOW + 1;

/// Counts requests and what was asked beyond them.
#[derive(Debug)]
pub(crate) struct Budget {
    share: f64,
    /// What is there without any traffic.
    least: f64,
    began: Instant,
    /// Number of the newest slot, counted in seconds since the beginning.
    newest: u64,
    /// By number, modulo their count.
    slots: [Slot; SLOTS],
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    requests: u32,
    extra: u32,
}

/// What one attempt took.
#[derive(Debug)]
pub(crate) struct Withdrawal {
    slot: u64,
}

impl Budget {
    /// Allows `share` further attempts for every request, and `least_per_second` in any case.
    pub(crate) fn new(share: f64, least_per_second: u64, now: Instant) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "the configuration bounds it to what is exact")]
        let least = (least_per_second * WINDOW as u64) as f64;
        Self { share, least, began: now, newest: 0, slots: [Slot::default(); SLOTS] }
    }

    /// A request came.
    pub(crate) fn deposit(&mut self, now: Instant) {
        self.advance(now);
        let newest = self.newest;
        if let Some(slot) = self.slot(newest) {
            slot.requests = slot.requests.saturating_add(1);
        }
    }

    /// Takes one further attempt. `None`: nothing is left.
    pub(crate) fn withdraw(&mut self, now: Instant) -> Option<Withdrawal> {
        if !self.can_withdraw(now) {
            return None;
        }
        let newest = self.newest;
        self.slot(newest)?.extra += 1;
        Some(Withdrawal { slot: newest })
    }

    /// Whether there is one to take.
    pub(crate) fn can_withdraw(&mut self, now: Instant) -> bool {
        self.advance(now);
        let all = self.slots.iter().map(|slot| f64::from(slot.extra)).sum::<f64>();
        // The slot after the newest is the oldest: what was asked then no longer earns anything.
        let oldest = self.slot(self.newest + 1).map_or(0, |slot| slot.requests);
        let requests =
            self.slots.iter().map(|slot| f64::from(slot.requests)).sum::<f64>() - f64::from(oldest);
        all + 1.0 <= self.share * requests + self.least
    }

    /// The attempt reached no engine after all.
    pub(crate) fn give_back(&mut self, Withdrawal { slot }: Withdrawal) {
        if self.newest - slot < SLOTS as u64
            && let Some(slot) = self.slot(slot)
        {
            slot.extra = slot.extra.saturating_sub(1);
        }
    }

    /// Clears the slots of the seconds that have passed.
    fn advance(&mut self, now: Instant) {
        let number = now.saturating_duration_since(self.began).as_secs();
        let passed = number.saturating_sub(self.newest).min(SLOTS as u64);
        for number in number.saturating_sub(passed) + 1..=number {
            if let Some(slot) = self.slot(number) {
                *slot = Slot::default();
            }
        }
        self.newest = self.newest.max(number);
    }

    fn slot(&mut self, number: u64) -> Option<&mut Slot> {
        self.slots.get_mut(usize::try_from(number % SLOTS as u64).ok()?)
    }
}

/// Waits before the same deployment is asked again: doubled with each, and any part of it by chance, so that those
/// who failed together do not come back together. `chance` is from 0 to 1.
pub(crate) fn back_off(before: u32, chance: f64) -> Duration {
    const BASE: Duration = Duration::from_millis(100);
    const MOST: Duration = Duration::from_secs(2);
    BASE.saturating_mul(1 << before.min(10)).min(MOST).mul_f64(chance.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_back_off_doubles_up_to_its_cap_and_is_all_chance() {
        let most: Vec<_> = (0..7).map(|before| back_off(before, 1.0).as_millis()).collect();
        assert_eq!(most, [100, 200, 400, 800, 1600, 2000, 2000]);
        assert_eq!(back_off(u32::MAX, 0.5), Duration::from_secs(1));
        assert_eq!(back_off(3, 0.0), Duration::ZERO);
    }

    #[test]
    fn light_traffic_has_its_minimum_and_a_burst_saves_nothing_up() {
        let start = Instant::now();
        let mut budget = Budget::new(0.2, 1, start);
        let taken = |budget: &mut Budget, now| std::iter::from_fn(|| budget.withdraw(now)).count();
        assert_eq!(taken(&mut budget, start), 10);
        for _ in 0..100 {
            budget.deposit(start);
        }
        assert_eq!(taken(&mut budget, start), 20, "a fifth of the traffic");
        // An hour of waiting is worth no more than a window of it.
        assert_eq!(taken(&mut budget, start + Duration::from_secs(3600)), 10);
    }

    #[test]
    fn without_a_share_and_a_minimum_nothing_is_asked_again() {
        let now = Instant::now();
        let mut budget = Budget::new(0.0, 0, now);
        budget.deposit(now);
        assert!(budget.withdraw(now).is_none());
    }

    #[derive(Clone, Copy, Debug)]
    enum Event {
        Wait(u64),
        Request,
        Withdraw,
        GiveBack(usize),
    }

    fn events() -> impl Strategy<Value = Vec<Event>> {
        let event = prop_oneof![
            1 => (0..3000u64).prop_map(Event::Wait),
            6 => Just(Event::Request),
            6 => Just(Event::Withdraw),
            1 => any::<usize>().prop_map(Event::GiveBack),
        ];
        proptest::collection::vec(event, 0..400)
    }

    proptest! {
        /// D5: whatever comes in whatever order, no ten seconds see more than the share and the minimum; and where
        /// far less was taken than that, nothing is refused.
        #[test]
        fn no_window_sees_more_than_is_allowed(events in events(), share in 0.0..1.0f64, least in 0..3u64) {
            let (start, window) = (Instant::now(), Duration::from_secs(10));
            let mut now = start;
            let mut budget = Budget::new(share, least, start);
            let (mut requests, mut taken) = (Vec::new(), Vec::new());
            for event in events {
                match event {
                    Event::Wait(milliseconds) => now += Duration::from_millis(milliseconds),
                    Event::Request => {
                        budget.deposit(now);
                        requests.push(now);
                    }
                    Event::Withdraw => {
                        let withdrawal = budget.withdraw(now);
                        let within = |at: &Instant, span| now.duration_since(*at) < span;
                        let earned = |span| {
                            let count = requests.iter().filter(|at| within(at, span)).count();
                            share * count as f64 + least as f64 * 10.0
                        };
                        let spent = |span| taken.iter().filter(|(at, _)| within(at, span)).count() as f64;
                        match withdrawal {
                            Some(withdrawal) => {
                                prop_assert!(spent(window) + 1.0 <= earned(window) + 1e-9);
                                taken.push((now, withdrawal));
                            }
                            None => {
                                let (longer, shorter) = (Duration::from_secs(11), Duration::from_secs(9));
                                prop_assert!(spent(longer) + 1.0 > earned(shorter) - 1e-9);
                            }
                        }
                    }
                    Event::GiveBack(which) if !taken.is_empty() => {
                        let (_, withdrawal) = taken.swap_remove(which % taken.len());
                        budget.give_back(withdrawal);
                    }
                    Event::GiveBack(_) => {}
                }
            }
        }
    }
}
