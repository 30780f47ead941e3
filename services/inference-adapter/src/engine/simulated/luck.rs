//! What becomes of a request, and numbers that look random and are not: the same seed, the same request and the
//! same place in the row of requests give the same.

/// Numbers from a seed (SplitMix64; Steele, Lea and Flood, 2014).
#[derive(Clone, Copy, Debug)]
pub(super) struct Numbers(u64);

impl Numbers {
    /// Numbers that follow from all of these.
    pub(super) fn of(seeds: &[u64]) -> Self {
        let mut numbers = Self(0x5045_4e53_544f_434b);
        for seed in seeds {
            numbers.0 ^= *seed;
            numbers.0 = numbers.next();
        }
        numbers
    }

    /// Numbers that follow from a text (FNV-1a).
    pub(super) fn of_text(seed: u64, text: &str) -> Self {
        let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Self::of(&[seed, hash])
    }

    /// The next one.
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// The next one, from 0 to below 1.
    #[allow(clippy::cast_precision_loss)] // 53 bits fit
    pub(super) fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// The next one, in a range that includes both its ends.
    pub(super) fn within(&mut self, from: u64, to: u64) -> u64 {
        from + self.next() % (to - from).saturating_add(1)
    }
}

/// How often what goes wrong, each from 0 to 1, together at most 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Rates {
    pub(crate) error: f64,
    pub(crate) cut: f64,
    pub(crate) stall: f64,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is answered.
    Answer,
    /// It fails at once.
    Error,
    /// The answer is cut.
    Cut,
    /// The engine falls silent in the middle of the answer.
    Stall,
}

impl Rates {
    pub(super) fn fate(&self, numbers: &mut Numbers) -> Fate {
        let drawn = numbers.fraction();
        if drawn < self.error {
            Fate::Error
        } else if drawn < self.error + self.cut {
            Fate::Cut
        } else if drawn < self.error + self.cut + self.stall {
            Fate::Stall
        } else {
            Fate::Answer
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fates_are_as_frequent_as_they_should_be_and_follow_from_the_seed() {
        let rates = Rates { error: 0.1, cut: 0.2, stall: 0.3 };
        let fates =
            |seed| (0..10_000).map(|at| rates.fate(&mut Numbers::of(&[seed, at]))).collect::<Vec<_>>();
        let drawn = fates(1);
        for (fate, expected) in
            [(Fate::Error, 1000), (Fate::Cut, 2000), (Fate::Stall, 3000), (Fate::Answer, 4000)]
        {
            let seen = drawn.iter().filter(|one| **one == fate).count();
            assert!(seen.abs_diff(expected) < 200, "{fate:?}: {seen}");
        }
        assert_eq!(drawn, fates(1));
        assert_ne!(drawn, fates(2));
        let (never, always) = (Rates::default(), Rates { error: 1.0, ..Rates::default() });
        assert!((0..1000).all(|at| never.fate(&mut Numbers::of(&[at])) == Fate::Answer));
        assert!((0..1000).all(|at| always.fate(&mut Numbers::of(&[at])) == Fate::Error));
    }

    #[test]
    fn ranges_include_both_ends() {
        let mut numbers = Numbers::of(&[7]);
        let drawn: std::collections::BTreeSet<_> = (0..200).map(|_| numbers.within(3, 5)).collect();
        assert_eq!(drawn.into_iter().collect::<Vec<_>>(), [3, 4, 5]);
        assert_eq!(numbers.within(9, 9), 9);
        numbers.within(0, u64::MAX);
    }
}
