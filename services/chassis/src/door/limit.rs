//! How the limit moves: down by a tenth as long as we are late, up by a hundredth of the most once we are not.
//! And when we are late: if not one of several samples was in time, so that a burst is no overload.

use std::time::Duration;

/// The limit never falls below this: a tenth of a processor carries so many streams, and what seems to be
/// overload may be a machine that was paused.
pub(super) const FLOOR: usize = 100;
/// Samples by which it is judged: a tenth of a second if nothing is late.
const SAMPLES: usize = 10;

/// The next limit, of `max` at most.
pub(super) fn adapted(limit: usize, in_progress: usize, max: usize, late: bool) -> usize {
    let floor = FLOOR.min(max);
    let next = if late {
        // From where we are: a limit far above it would take seconds to be felt.
        limit.min(in_progress) * 9 / 10
    } else {
        limit.saturating_add((max / 100).max(1))
    };
    next.clamp(floor, max)
}

/// Samples of our delay until there are enough to judge by.
#[derive(Debug, Default)]
pub(super) struct Window {
    least: Option<Duration>,
    samples: usize,
}

impl Window {
    /// Adds a sample. With the last one of a window: the least delay in it.
    pub(super) fn add(&mut self, delay: Duration) -> Option<Duration> {
        let least = self.least.map_or(delay, |least| least.min(delay));
        self.least = Some(least);
        self.samples += 1;
        if self.samples < SAMPLES {
            return None;
        }
        *self = Self::default();
        Some(least)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_sample_in_time_is_enough_not_to_be_late() {
        let (late, in_time) = (Duration::from_millis(500), Duration::from_millis(1));
        let mut window = Window::default();
        let mut judge = |samples: [Duration; SAMPLES]| {
            let mut verdicts = samples.map(|delay| window.add(delay)).into_iter().rev();
            let last = verdicts.next().unwrap();
            assert!(verdicts.all(|verdict| verdict.is_none()), "too few samples to judge by");
            last
        };
        assert_eq!(judge([late; SAMPLES]), Some(late));
        let mut burst = [late; SAMPLES];
        burst[3] = in_time;
        assert_eq!(judge(burst), Some(in_time));
        assert_eq!(judge([late; SAMPLES]), Some(late), "what was before is forgotten");
    }

    #[test]
    fn the_first_step_is_felt_even_far_below_the_limit() {
        assert_eq!(adapted(4000, 300, 4000, true), 270);
        assert_eq!(adapted(4000, 300, 4000, false), 4000);
    }

    proptest! {
        #[test]
        fn the_limit_stays_between_floor_and_max(
            max in 1usize..20_000,
            steps in proptest::collection::vec((any::<bool>(), 0usize..30_000), 0..200),
        ) {
            let mut limit = max;
            for (late, in_progress) in steps {
                let next = adapted(limit, in_progress, max, late);
                prop_assert!((FLOOR.min(max)..=max).contains(&next), "{next} of {max}");
                // It falls or stays while late, and rises or stays while not.
                prop_assert!(if late { next <= limit } else { next >= limit }, "{limit} to {next}");
                limit = next;
            }
        }

        #[test]
        fn it_falls_to_the_floor_under_lasting_load_and_comes_back(max in 1usize..20_000) {
            let mut limit = max;
            // Streams in progress are not cut: as many as were let in.
            for _ in 0..60 {
                limit = adapted(limit, limit, max, true);
            }
            prop_assert_eq!(limit, FLOOR.min(max));
            for _ in 0..200 {
                limit = adapted(limit, limit, max, false);
            }
            prop_assert_eq!(limit, max);
        }
    }
}
