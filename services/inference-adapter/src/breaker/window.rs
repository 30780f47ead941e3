//! Outcomes of the last while, in a ring of buckets: what is older than the window is forgotten bucket by bucket.

use std::time::Duration;

use tokio::time::Instant;

/// Buckets of a window.
pub(super) const BUCKETS: u64 = 10;

/// Outcomes of the last while.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Recent {
    /// That failed.
    pub(crate) failed: u32,
    /// All of them.
    pub(crate) calls: u32,
}

/// A ring of buckets.
#[derive(Debug)]
pub(super) struct Window {
    /// What one bucket is for.
    span: Duration,
    /// The beginning of the first bucket.
    began: Option<Instant>,
    /// With the number of the span that each is for.
    buckets: [(u64, Recent); BUCKETS as usize],
}

impl Window {
    pub(super) fn new(window: Duration) -> Self {
        let span = (window / BUCKETS as u32).max(Duration::from_nanos(1));
        Self { span, began: None, buckets: Default::default() }
    }

    pub(super) fn clear(&mut self) {
        self.buckets = Default::default();
    }

    pub(super) fn count(&mut self, went_well: bool, now: Instant) {
        let number = self.number(now);
        // Below BUCKETS: there is one.
        let slot = usize::try_from(number % BUCKETS).unwrap_or_default();
        let Some((of, recent)) = self.buckets.get_mut(slot) else { return };
        if *of != number {
            (*of, *recent) = (number, Recent::default());
        }
        recent.calls = recent.calls.saturating_add(1);
        recent.failed = recent.failed.saturating_add(u32::from(!went_well));
    }

    pub(super) fn recent(&mut self, now: Instant) -> Recent {
        let number = self.number(now);
        let counted = self.buckets.iter().filter(|(of, _)| of + BUCKETS > number);
        counted.fold(Recent::default(), |sum, (_, one)| Recent {
            failed: sum.failed.saturating_add(one.failed),
            calls: sum.calls.saturating_add(one.calls),
        })
    }

    fn number(&mut self, now: Instant) -> u64 {
        let began = *self.began.get_or_insert(now);
        let number = now.saturating_duration_since(began).as_nanos() / self.span.as_nanos();
        u64::try_from(number).unwrap_or(u64::MAX)
    }
}
