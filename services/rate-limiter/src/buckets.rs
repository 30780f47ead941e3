//! All buckets that are not full. A bucket that is full again is forgotten, so the map is no larger than what
//! was used lately. At its bound the bucket nearest to full makes room; one in debt never does: then the map
//! grows instead, for as many subjects as have debts at once (subjects are known keys, tenants and models).

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    bucket::{Bucket, Fit, Spec},
    rules::Key,
};

/// Buckets looked at to find one that makes room: bounds the time under the lock.
const CANDIDATES: usize = 16;
/// Refill of the bucket of a probe: any time that is longer than a probe takes.
const PROBE_PERIOD: Duration = Duration::from_secs(3600);

#[derive(Debug)]
pub(crate) struct Buckets {
    map: HashMap<Arc<Key>, Bucket>,
    /// One entry for every bucket: a time before which it is not full, as far as was known when it was put in.
    due: BinaryHeap<Reverse<Due>>,
    max: usize,
    evictions: u64,
}

#[derive(Debug)]
struct Due {
    at: Instant,
    key: Arc<Key>,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.at.cmp(&other.at)
    }
}

impl Buckets {
    pub(crate) fn new(max: usize) -> Self {
        Self { map: HashMap::new(), due: BinaryHeap::new(), max, evictions: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.map.len()
    }

    /// How many buckets had to make room, and what was used of them was forgotten.
    pub(crate) fn evictions(&self) -> u64 {
        self.evictions
    }

    /// Parts used of the bucket at `now`; none if there is no such bucket.
    pub(crate) fn used(&self, key: &Key, now: Instant) -> u128 {
        self.map.get(key).map_or(0, |bucket| bucket.used_at(now))
    }

    /// The bucket, if it is not full.
    pub(crate) fn get_mut(&mut self, key: &Key) -> Option<&mut Bucket> {
        self.map.get_mut(key)
    }

    /// Changes the bucket by `change`; a full one of `spec` if there is none. Makes room if it must.
    pub(crate) fn change(
        &mut self,
        key: &Arc<Key>,
        spec: Spec,
        now: Instant,
        change: impl FnOnce(&mut Bucket),
    ) {
        if let Some(bucket) = self.map.get_mut(key) {
            change(bucket);
            return;
        }
        let mut bucket = Bucket::full(spec, now);
        change(&mut bucket);
        if bucket.used_at(now) == 0 {
            return;
        }
        if self.map.len() >= self.max {
            self.make_room(now);
        }
        self.due.push(Reverse(Due { at: bucket.full_at(now), key: Arc::clone(key) }));
        self.map.insert(Arc::clone(key), bucket);
    }

    /// Takes from a bucket that no subject has, finds it taken, and forgets it. Nothing has to make room for it.
    pub(crate) fn probe(&mut self, now: Instant) -> bool {
        let spec = Spec::new(1, PROBE_PERIOD, None);
        let mut bucket = Bucket::full(spec, now);
        bucket.take(1, spec, 0, now);
        let key = Arc::new(Key::Probe);
        self.map.insert(Arc::clone(&key), bucket);
        let taken = spec.fit(self.used(&key, now), 1) != Fit::Now;
        self.map.remove(&key);
        taken
    }

    /// Forgets up to `most` buckets that are full again; returns whether there may be more.
    pub(crate) fn forget_full(&mut self, most: usize, now: Instant) -> bool {
        for _ in 0..most {
            if self.due.peek().is_none_or(|Reverse(due)| due.at > now) {
                return false;
            }
            let Some(Reverse(due)) = self.due.pop() else { return false };
            self.forget_or_put_back(due, now);
        }
        true
    }

    fn forget_or_put_back(&mut self, due: Due, now: Instant) {
        let Some(bucket) = self.map.get(&due.key) else { return };
        if bucket.used_at(now) == 0 {
            self.map.remove(&due.key);
        } else {
            self.due.push(Reverse(Due { at: bucket.full_at(now), ..due }));
        }
    }

    fn make_room(&mut self, now: Instant) {
        let mut candidates = Vec::with_capacity(CANDIDATES);
        while candidates.len() < CANDIDATES
            && let Some(Reverse(due)) = self.due.pop()
        {
            if let Some(bucket) = self.map.get(&due.key) {
                let at = bucket.full_at(now);
                // The other buckets of the same request come last: it must not undo its own taking.
                let rank = (bucket.is_in_debt(now), bucket.was_changed_at(now), at);
                candidates.push((rank, Due { at, ..due }));
            }
        }
        candidates.sort_by_key(|(rank, _)| *rank);
        let mut candidates = candidates.into_iter();
        match candidates.next() {
            Some(((false, ..), fullest)) => {
                self.map.remove(&fullest.key);
                self.evictions += 1;
            }
            Some(((true, ..), due)) => self.due.push(Reverse(due)),
            None => {}
        }
        self.due.extend(candidates.map(|(_, due)| Reverse(due)));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn key(index: usize) -> Arc<Key> {
        Arc::new(Key::Rule(index, "".into()))
    }

    fn spec() -> Spec {
        Spec::new(10, Duration::from_secs(10), None)
    }

    fn take(buckets: &mut Buckets, index: usize, amount: u64, now: Instant) {
        buckets.change(&key(index), spec(), now, |bucket| bucket.take(amount, spec(), 0, now));
    }

    #[test]
    fn full_buckets_are_forgotten() {
        let start = Instant::now();
        let mut buckets = Buckets::new(100);
        for index in 0..50 {
            take(&mut buckets, index, 1, start);
        }
        take(&mut buckets, 7, 1, start);
        take(&mut buckets, 99, 0, start);
        assert_eq!(buckets.len(), 50, "taking nothing makes no entry");
        assert!(!buckets.forget_full(1000, start + Duration::from_millis(999)));
        assert_eq!(buckets.len(), 50);
        assert!(buckets.forget_full(10, start + Duration::from_secs(1)), "a bounded step");
        assert!(!buckets.forget_full(1000, start + Duration::from_secs(1)));
        assert_eq!(buckets.len(), 1, "the one that was used twice stays");
        assert!(!buckets.forget_full(1000, start + Duration::from_secs(2)));
        assert_eq!((buckets.len(), buckets.due.len()), (0, 0));
    }

    #[test]
    fn the_fullest_makes_room() {
        let now = Instant::now();
        let mut buckets = Buckets::new(3);
        for (index, amount) in [(0, 5), (1, 2), (2, 9)] {
            take(&mut buckets, index, amount, now);
        }
        let now = now + Duration::from_nanos(1);
        take(&mut buckets, 3, 1, now);
        assert_eq!(buckets.len(), 3);
        assert_eq!((buckets.used(&key(1), now), buckets.evictions()), (0, 1));
        assert!(buckets.used(&key(0), now) > 0 && buckets.used(&key(2), now) > 0);
    }

    #[test]
    fn a_request_does_not_evict_its_own_buckets() {
        let now = Instant::now();
        let mut buckets = Buckets::new(3);
        for index in 0..3 {
            take(&mut buckets, index, 9, now);
        }
        let now = now + Duration::from_nanos(1);
        for index in 3..6 {
            take(&mut buckets, index, 1, now);
        }
        assert!((3..6).all(|index| buckets.used(&key(index), now) > 0));
    }

    #[test]
    fn a_debt_is_never_forgotten() {
        let now = Instant::now();
        let mut buckets = Buckets::new(20);
        for index in 0..40 {
            buckets.change(&key(index), spec(), now, |bucket| bucket.charge(15, now));
        }
        take(&mut buckets, 40, 1, now);
        take(&mut buckets, 41, 1, now);
        for index in 0..40 {
            assert!(buckets.get_mut(&key(index)).unwrap().is_in_debt(now), "{index}");
        }
        assert_eq!(buckets.len(), buckets.due.len());
    }

    proptest! {
        // G8: whatever happens, every bucket has one entry in the queue, and in the end nothing is left.
        #[test]
        fn nothing_is_left_behind(steps in prop::collection::vec((0usize..12, 0u64..10, 0u64..3_000), 0..100)) {
            let mut now = Instant::now();
            let mut buckets = Buckets::new(8);
            for (index, amount, wait) in steps {
                now += Duration::from_millis(wait);
                buckets.forget_full(2, now);
                take(&mut buckets, index, amount, now);
                prop_assert_eq!(buckets.len(), buckets.due.len());
                prop_assert!(buckets.len() <= 12);
            }
            now += Duration::from_secs(3600);
            while buckets.forget_full(3, now) {}
            prop_assert_eq!((buckets.len(), buckets.due.len()), (0, 0));
        }
    }
}
