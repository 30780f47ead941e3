//! What this router sees of a deployment: how many of its requests it is working on, and how soon it begins to
//! answer. It outlives the registry, which is built anew with every report. Without locks: every decision reads it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::time::Instant;

/// After so long without a request a bad memory has faded to about a third, so that the deployment is tried
/// again: some answers of a language model, where Finagle has 10 s for remote calls.
const FADES_IN: Duration = Duration::from_secs(30);
/// A millisecond, in sixteen times that.
const SIXTEENTH: f64 = 1.0 / (16.0 * FADES_IN.as_millis() as f64);
/// Times that are kept for the percentile: the latest ones.
const SAMPLES: usize = 128;
/// Fewer times than this say nothing of the slowest of 20.
const SAMPLES_MIN: usize = 20;

/// What is seen of one deployment.
#[derive(Debug, Default)]
pub(crate) struct Load {
    in_flight: AtomicU32,
    streamed: Times,
    whole: Times,
}

/// How long requests took to their first content. An answer in one piece has it at its end: such times are kept
/// apart from those of streams.
#[derive(Debug)]
pub(crate) struct Times {
    /// Peak EWMA in microseconds, and when it was right in milliseconds after `since`: half of the bits each.
    /// 0: nothing was seen yet.
    peak: AtomicU64,
    since: Instant,
    /// The latest times in microseconds, the oldest overwritten first.
    samples: [AtomicU32; SAMPLES],
    /// How many there ever were.
    seen: AtomicU32,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            peak: AtomicU64::default(),
            since: Instant::now(),
            samples: std::array::from_fn(|_| AtomicU32::default()),
            seen: AtomicU32::default(),
        }
    }
}

/// A request that a deployment is working on, until this is dropped.
#[derive(Debug)]
pub(crate) struct Busy(Arc<Load>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Relaxed);
    }
}

impl Load {
    /// Counts a request until the guard is dropped.
    pub(crate) fn enter(self: &Arc<Self>) -> Busy {
        self.in_flight.fetch_add(1, Relaxed);
        Busy(Arc::clone(self))
    }

    /// Requests of this router that it is working on.
    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }

    /// How long its streams, or its answers in one piece, took to their first content.
    pub(crate) fn times(&self, streamed: bool) -> &Times {
        if streamed { &self.streamed } else { &self.whole }
    }

    /// The time to the first content to expect of a stream, else of an answer in one piece; `None`: nothing was
    /// seen yet.
    pub(crate) fn expected(&self) -> Option<Duration> {
        let now = Instant::now();
        let seconds = self.streamed.expected_at(now).or_else(|| self.whole.expected_at(now));
        seconds.map(Duration::from_secs_f64)
    }
}

impl Times {
    /// Takes note of the time from a request to its first content, or to the moment when it was given up.
    pub(crate) fn first_content(&self, after: Duration) {
        let at = self.at(Instant::now());
        // An hour and more is an hour.
        let after = u32::try_from(after.as_micros()).unwrap_or(u32::MAX).max(1);
        let _ =
            self.peak.fetch_update(Relaxed, Relaxed, |peak| Some(pack(next(unpack(peak), after, at), at)));
        let seen = self.seen.fetch_add(1, Relaxed) as usize;
        if let Some(oldest) = self.samples.get(seen % SAMPLES) {
            oldest.store(after, Relaxed);
        }
    }

    /// The seconds to expect at a moment (peak EWMA): bad news counts at once, good news and silence slowly. `None`:
    /// nothing was seen yet.
    pub(crate) fn expected_at(&self, now: Instant) -> Option<f64> {
        let peak = self.peak.load(Relaxed);
        let (micros, at) = unpack(peak);
        (peak != 0).then(|| f64::from(micros) * 1e-6 * faded(at, self.at(now)))
    }

    /// The time within which 95 of 100 requests had their first content; `None`: too few were seen.
    pub(crate) fn p95(&self) -> Option<Duration> {
        let seen = (self.seen.load(Relaxed) as usize).min(SAMPLES);
        let mut times: Vec<u32> =
            self.samples.iter().take(seen).map(|time| time.load(Relaxed)).filter(|time| *time > 0).collect();
        if times.len() < SAMPLES_MIN {
            return None;
        }
        let rank = (times.len() * 95).div_ceil(100) - 1;
        let (_, time, _) = times.select_nth_unstable(rank);
        Some(Duration::from_micros(u64::from(*time)))
    }

    #[allow(clippy::cast_possible_truncation)] // it wraps after 49 days, and so do differences
    fn at(&self, now: Instant) -> u32 {
        let age = now.saturating_duration_since(self.since);
        (age.as_secs() as u32).wrapping_mul(1000).wrapping_add(age.subsec_millis())
    }
}

/// The peak EWMA after one more time was seen: a worse one counts at once, a better one by its age.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // between two numbers that fit
fn next((peak, at): (u32, u32), seen: u32, now: u32) -> u32 {
    let share = faded(at, now);
    let mean = f64::from(peak) * share + f64::from(seen) * (1.0 - share);
    seen.max(mean.round() as u32)
}

/// How much of what was right at `at` is left now.
fn faded(at: u32, now: u32) -> f64 {
    let age = now.wrapping_sub(at);
    // Another thread may have been a moment ahead.
    if age > u32::MAX / 2 {
        return 1.0;
    }
    // e to the power of -age, near enough and ten times as quick: (1 - age/16)^16.
    let left = (1.0 - f64::from(age) * SIXTEENTH).max(0.0);
    let left = left * left * (left * left);
    left * left * (left * left)
}

fn pack(micros: u32, at: u32) -> u64 {
    u64::from(micros) << 32 | u64::from(at)
}

#[allow(clippy::cast_possible_truncation)] // halves
fn unpack(packed: u64) -> (u32, u32) {
    ((packed >> 32) as u32, packed as u32)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::time::advance;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn near(load: &Load, seconds: f64) -> bool {
        (load.expected().unwrap().as_secs_f64() - seconds).abs() < 0.01
    }

    #[tokio::test(start_paused = true)]
    async fn bad_news_counts_at_once_good_news_and_silence_slowly() {
        let load = Load::default();
        assert_eq!(load.expected(), None);
        load.times(true).first_content(SECOND);
        load.times(true).first_content(4 * SECOND);
        assert!(near(&load, 4.0), "{load:?}");
        load.times(true).first_content(SECOND);
        assert!(near(&load, 4.0), "no time has passed");
        advance(FADES_IN).await;
        let third = (15.0_f64 / 16.0).powi(16);
        assert!(near(&load, 4.0 * third), "{load:?}");
        load.times(true).first_content(SECOND);
        assert!(near(&load, 4.0 * third + (1.0 - third)), "{load:?}");
        advance(100 * FADES_IN).await;
        assert!(near(&load, 0.0), "what was long ago is no reason not to try it");
    }

    #[tokio::test(start_paused = true)]
    async fn the_slowest_of_twenty_is_known_from_twenty_and_forgets() {
        let load = Load::default();
        for n in 1..20 {
            load.times(true).first_content(n * SECOND);
            assert_eq!(load.times(true).p95(), None);
        }
        load.times(true).first_content(20 * SECOND);
        assert_eq!(load.times(true).p95(), Some(19 * SECOND));
        for _ in 0..SAMPLES {
            load.times(true).first_content(SECOND);
        }
        assert_eq!(load.times(true).p95(), Some(SECOND));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_in_one_piece_says_nothing_of_streams() {
        let load = Load::default();
        load.times(false).first_content(20 * SECOND);
        assert_eq!(load.times(true).expected_at(Instant::now()), None);
        assert!(near(&load, 20.0), "it is shown where nothing else is known");
        load.times(true).first_content(SECOND);
        assert!(near(&load, 1.0));
    }

    #[test]
    fn requests_count_until_they_end() {
        let load = Arc::new(Load::default());
        let (one, two) = (load.enter(), load.enter());
        assert_eq!(load.in_flight(), 2);
        drop(one);
        assert_eq!(load.in_flight(), 1);
        drop(two);
        assert_eq!(load.in_flight(), 0);
    }

    proptest! {
        /// It is never below what was seen last, and never above the worst that was ever seen.
        #[test]
        fn the_peak_is_between_the_last_and_the_worst(seen in prop::collection::vec((1_u32.., 0_u32..100_000), 1..50)) {
            let (mut peak, mut at, mut now, mut worst) = (0, 0, 0_u32, 0);
            for (time, pause) in seen {
                now += pause;
                worst = worst.max(time);
                peak = next((peak, at), time, now);
                at = now;
                prop_assert!((time..=worst).contains(&peak));
            }
        }
    }
}
