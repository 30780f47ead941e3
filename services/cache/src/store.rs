//! The store: bytes by tenant and fingerprint, bounded by weight, each with its own expiry. Time is an
//! argument: whether an answer may still be given out is decided here; moka's own clock only frees memory.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use moka::{Expiry, notification::RemovalCause, sync::Cache};

/// What an entry takes beside its key and its answer, in bytes: measured by filling a store, rounded.
const OVERHEAD_BYTES: usize = 512;
/// How long the entry of a probe lives, should it not be taken out again.
const PROBE_TTL: Duration = Duration::from_secs(1);

/// Where an answer is kept. The whole of it is compared, so no tenant ever meets another's entry.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) tenant: Box<str>,
    pub(crate) fingerprint: [u8; 32],
}

/// An answer that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hit {
    pub(crate) answer: Bytes,
    pub(crate) age: Duration,
}

/// How much the store holds, approximately.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
}

#[derive(Clone, Debug)]
struct Entry {
    answer: Bytes,
    stored_at: Instant,
    ttl: Duration,
}

/// Bounds of a store.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// All entries together, with their keys and what it takes to keep them.
    pub(crate) max_bytes: u64,
    /// One answer.
    pub(crate) max_entry_bytes: u64,
    /// Longest time that an answer is given out.
    pub(crate) ttl: Duration,
}

/// Answers in memory. Nothing is allocated before something is stored.
#[derive(Debug)]
pub(crate) struct Store {
    cache: Cache<Key, Entry>,
    bounds: Bounds,
}

impl Store {
    /// An empty store. `evicted` is called for each answer that had to go, or that found no room.
    pub(crate) fn new(bounds: Bounds, evicted: impl Fn() + Send + Sync + 'static) -> Self {
        let cache = Cache::builder()
            .max_capacity(bounds.max_bytes)
            .weigher(weight)
            .expire_after(ByEntry)
            .support_invalidation_closures()
            .eviction_listener(move |key: Arc<Key>, _, cause| {
                if cause == RemovalCause::Size && *key != probe_key() {
                    evicted();
                }
            })
            .build();
        Self { cache, bounds }
    }

    /// The answer under `key`, unless it has expired or is older than `max_age`.
    pub(crate) fn lookup(&self, key: &Key, max_age: Option<Duration>, now: Instant) -> Option<Hit> {
        let entry = self.cache.get(key)?;
        let age = now.saturating_duration_since(entry.stored_at);
        let fresh = age < entry.ttl && max_age.is_none_or(|max_age| age <= max_age);
        fresh.then_some(Hit { answer: entry.answer, age })
    }

    /// Keeps `answer` for `ttl`, at most the configured time; returns false if it is too large.
    pub(crate) fn store(&self, key: Key, answer: Bytes, ttl: Option<Duration>, now: Instant) -> bool {
        if u64::try_from(answer.len()).is_ok_and(|bytes| bytes > self.bounds.max_entry_bytes) {
            return false;
        }
        let ttl = ttl.map_or(self.bounds.ttl, |ttl| ttl.min(self.bounds.ttl));
        self.cache.insert(key, Entry { answer, stored_at: now, ttl });
        true
    }

    /// Forgets all answers of `tenant`, or all. They are not found any more from now on; their memory is freed
    /// by and by.
    pub(crate) fn invalidate(&self, tenant: Option<String>) {
        match tenant {
            None => self.cache.invalidate_all(),
            Some(tenant) => {
                let of_tenant = move |key: &Key, _: &Entry| *key.tenant == *tenant;
                // Fails only for a cache that was built without support for it.
                if self.cache.invalidate_entries_if(of_tenant).is_err() {
                    self.cache.invalidate_all();
                }
            }
        }
    }

    /// Frees what has expired, was invalidated or has to go.
    pub(crate) fn sweep(&self) {
        self.cache.run_pending_tasks();
    }

    /// Whether it gives back what it is given, by an entry of no tenant that is gone again afterwards. A full store
    /// may refuse it: that it is full shows that it was written.
    pub(crate) fn probe(&self, now: Instant) -> bool {
        let key = probe_key();
        let entry = Entry { answer: Bytes::new(), stored_at: now, ttl: PROBE_TTL };
        let needed = u64::from(weight(&key, &entry));
        self.cache.insert(key.clone(), entry);
        let found = self.cache.remove(&key).is_some();
        found || self.cache.weighted_size().saturating_add(needed) > self.bounds.max_bytes
    }

    /// How much it holds, as of the last sweep.
    pub(crate) fn size(&self) -> Size {
        Size { entries: self.cache.entry_count(), bytes: self.cache.weighted_size() }
    }
}

/// No tenant has an empty name.
fn probe_key() -> Key {
    Key { tenant: "".into(), fingerprint: [0; 32] }
}

fn weight(key: &Key, entry: &Entry) -> u32 {
    let bytes = key.tenant.len() + key.fingerprint.len() + entry.answer.len() + OVERHEAD_BYTES;
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

struct ByEntry;

impl Expiry<Key, Entry> for ByEntry {
    fn expire_after_create(&self, _: &Key, entry: &Entry, _: Instant) -> Option<Duration> {
        Some(entry.ttl)
    }

    fn expire_after_update(
        &self,
        _: &Key,
        entry: &Entry,
        _: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(entry.ttl)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::HashMap,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
    };

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_probe_finds_what_it_wrote_and_leaves_nothing_even_in_a_full_store() {
        let evicted = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&evicted);
        let bounds = Bounds { max_bytes: 10_000, max_entry_bytes: 1000, ttl: 10 * MINUTE };
        let store = Store::new(bounds, move || {
            counted.fetch_add(1, Ordering::Relaxed);
        });
        let now = Instant::now();
        for n in 0..50_u8 {
            assert!(store.probe(now));
            store.sweep();
            let before = (store.size(), evicted.load(Ordering::Relaxed));
            assert!(store.probe(now));
            store.sweep();
            assert_eq!((store.size(), evicted.load(Ordering::Relaxed)), before);
            store.store(Key { tenant: "t".into(), fingerprint: [n; 32] }, vec![0; 900].into(), None, now);
        }
        // Too small for anything.
        let store = Store::new(Bounds { max_bytes: 10, max_entry_bytes: 10, ttl: MINUTE }, || {});
        assert!(store.probe(now));
    }

    const MINUTE: Duration = Duration::from_secs(60);
    const NANO: Duration = Duration::from_nanos(1);

    fn store() -> Store {
        Store::new(Bounds { max_bytes: 1 << 20, max_entry_bytes: 1000, ttl: 10 * MINUTE }, || {})
    }

    fn key(tenant: &str, fingerprint: u8) -> Key {
        Key { tenant: tenant.into(), fingerprint: [fingerprint; 32] }
    }

    #[test]
    fn an_answer_is_given_out_until_it_expires() {
        let (store, now) = (store(), Instant::now());
        assert!(store.store(key("a", 1), "short".into(), Some(MINUTE), now));
        assert!(store.store(key("a", 2), "capped".into(), Some(60 * MINUTE), now));
        assert!(store.store(key("a", 3), "default".into(), None, now));
        let found = |fingerprint, at| store.lookup(&key("a", fingerprint), None, at);
        assert_eq!(found(1, now), Some(Hit { answer: "short".into(), age: Duration::ZERO }));
        assert_eq!(found(1, now + MINUTE - NANO).map(|hit| hit.age), Some(MINUTE - NANO));
        assert_eq!(found(1, now + MINUTE), None);
        for fingerprint in [2, 3] {
            assert!(found(fingerprint, now + 10 * MINUTE - NANO).is_some());
            assert_eq!(found(fingerprint, now + 10 * MINUTE), None);
        }
        assert_eq!(found(4, now), None);
    }

    #[test]
    fn a_caller_may_ask_for_a_younger_one() {
        let (store, now) = (store(), Instant::now());
        store.store(key("a", 1), "x".into(), None, now);
        let found = |max_age| store.lookup(&key("a", 1), Some(max_age), now + MINUTE).is_some();
        assert!(found(MINUTE) && !found(MINUTE - NANO) && !found(Duration::ZERO));
        assert!(store.lookup(&key("a", 1), Some(Duration::ZERO), now).is_some());
    }

    #[test]
    fn storing_again_replaces_answer_and_time() {
        let (store, now) = (store(), Instant::now());
        store.store(key("a", 1), "old".into(), Some(MINUTE), now);
        store.store(key("a", 1), "new".into(), Some(2 * MINUTE), now + MINUTE);
        let hit = store.lookup(&key("a", 1), None, now + 2 * MINUTE);
        assert_eq!(hit, Some(Hit { answer: "new".into(), age: MINUTE }));
    }

    #[test]
    fn what_is_too_large_is_not_kept_and_does_not_replace() {
        let (store, now) = (store(), Instant::now());
        assert!(store.store(key("a", 1), vec![0; 1000].into(), None, now));
        assert!(!store.store(key("a", 1), vec![1; 1001].into(), None, now));
        assert_eq!(store.lookup(&key("a", 1), None, now).map(|hit| hit.answer), Some(vec![0; 1000].into()));
    }

    // G8: memory is bounded however much is stored, and what went is counted.
    #[test]
    fn the_bound_holds() {
        let evicted = Arc::new(AtomicUsize::new(0));
        let bounds = Bounds { max_bytes: 50_000, max_entry_bytes: 10_000, ttl: MINUTE };
        let store = Store::new(bounds, {
            let evicted = Arc::clone(&evicted);
            move || {
                evicted.fetch_add(1, Ordering::Relaxed);
            }
        });
        for n in 0..2_000_u32 {
            let mut fingerprint = [0; 32];
            fingerprint[..4].copy_from_slice(&n.to_be_bytes());
            let key = Key { tenant: "a".into(), fingerprint };
            store.store(key, vec![0; 700].into(), None, Instant::now());
        }
        store.sweep();
        let size = store.size();
        assert!(size.bytes <= 50_000 && size.entries >= 25, "{size:?}");
        assert_eq!(evicted.load(Ordering::Relaxed) as u64 + size.entries, 2_000);
    }

    #[test]
    fn one_tenant_or_all_are_forgotten_at_once() {
        let (store, now) = (store(), Instant::now());
        let fill = || {
            for tenant in ["a", "b"] {
                store.store(key(tenant, 1), tenant.to_owned().into(), None, now);
            }
        };
        let found = |tenant| store.lookup(&key(tenant, 1), None, now).is_some();
        fill();
        store.invalidate(Some("a".into()));
        assert!(!found("a") && found("b"));
        store.sweep();
        assert_eq!(store.size().entries, 1);
        fill();
        assert!(found("a"), "what is stored afterwards is kept");
        store.invalidate(None);
        assert!(!found("a") && !found("b"));
        store.sweep();
        assert_eq!(store.size(), Size { entries: 0, bytes: 0 });
    }

    proptest! {
        // B10, B3: a hit is what the same tenant stored last under the very same fingerprint, and nothing else,
        // whatever tenants are called: names that continue in the fingerprint, prefixes, other cases.
        #[test]
        fn nobody_finds_what_is_not_theirs(
            steps in prop::collection::vec(
                (any::<bool>(), prop::sample::select(vec!["", "a", "A", "aa", "a\u{0}", "b", "a\u{1}"]), 0u8..3, 0usize..32),
                1..60,
            ),
        ) {
            let (store, now) = (store(), Instant::now());
            let mut model: HashMap<(&str, [u8; 32]), Bytes> = HashMap::new();
            for (number, (write, tenant, byte, at)) in steps.into_iter().enumerate() {
                let mut fingerprint = [0; 32];
                fingerprint[at] = byte;
                let key = Key { tenant: tenant.into(), fingerprint };
                if write {
                    let answer = Bytes::from(format!("{number} of {tenant}"));
                    store.store(key, answer.clone(), None, now);
                    model.insert((tenant, fingerprint), answer);
                } else {
                    let found = store.lookup(&key, None, now).map(|hit| hit.answer);
                    prop_assert_eq!(found.as_ref(), model.get(&(tenant, fingerprint)));
                }
            }
        }
    }
}
