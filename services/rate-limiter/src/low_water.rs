//! What makes a refund exact. A refund may undo a taking only as far as the bucket has not been full since:
//! otherwise it would hand out again what the refill has handed out already. So a bucket keeps, for every
//! taking that may still be settled, the least that was in use since. Takings with the same least share a mark.

/// The least use since each taking, as marks that grow in both members.
#[derive(Clone, Debug, Default)]
pub(crate) struct LowWater {
    marks: Vec<Mark>,
}

#[derive(Clone, Copy, Debug)]
struct Mark {
    /// The first taking that this mark stands for.
    since: u64,
    /// The least use since.
    low: u128,
}

impl LowWater {
    /// Marks kept at most: half a kilobyte per bucket. Beyond it a taking shares the mark of an older one,
    /// which is lower: its refund may be smaller than it could be, never larger.
    pub(crate) const KEPT: usize = 16;

    /// A taking that is named `ticket` has raised the use to `used`.
    pub(crate) fn begin(&mut self, ticket: u64, used: u128) {
        if self.marks.len() >= Self::KEPT {
            self.marks.pop();
        }
        self.marks.push(Mark { since: ticket, low: used });
    }

    /// The use has fallen to `used`.
    pub(crate) fn note(&mut self, used: u128) {
        let mut since = None;
        while let Some(mark) = self.marks.pop_if(|mark| mark.low >= used) {
            since = Some(mark.since);
        }
        if let Some(since) = since {
            self.marks.push(Mark { since, low: used });
        }
    }

    /// Undoes up to `parts` of the taking `ticket`; returns how much of it may be undone.
    pub(crate) fn lower(&mut self, ticket: u64, parts: u128) -> u128 {
        // Older than every mark: the bucket was full, and forgotten, since.
        let Some(index) = self.marks.iter().rposition(|mark| mark.since <= ticket) else { return 0 };
        let Some(parts) = self.marks.get(index).map(|mark| mark.low.min(parts)) else { return 0 };
        for mark in self.marks.iter_mut().skip(index) {
            mark.low -= parts;
        }
        let low = self.marks.get(index).map_or(0, |mark| mark.low);
        let older = self.marks.iter().take(index).position(|mark| mark.low >= low);
        if let Some(first) = older {
            // The same least now reaches further back.
            if let Some(mark) = self.marks.get_mut(first) {
                mark.low = low;
            }
            self.marks.drain(first + 1..=index);
        }
        parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taking_from_before_the_bucket_was_full_is_not_undone() {
        let mut lows = LowWater::default();
        lows.begin(1, 100);
        lows.note(0);
        lows.begin(2, 100);
        assert_eq!(lows.lower(1, 50), 0);
        assert_eq!(lows.lower(0, 50), 0);
        assert_eq!(lows.lower(2, 50), 50);
    }

    #[test]
    fn marks_are_bounded_and_err_on_the_safe_side() {
        let mut lows = LowWater::default();
        for ticket in 0..1000 {
            lows.begin(ticket, u128::from(ticket) + 1);
        }
        assert_eq!(lows.marks.len(), LowWater::KEPT);
        assert_eq!(lows.lower(999, 1), 1);
        assert!(lows.lower(998, 900) <= 900);
    }
}
