//! Tests of the limiter as a whole.

use std::sync::{
    Barrier,
    atomic::{AtomicUsize, Ordering},
};

use proptest::prelude::*;

use super::*;
use crate::rules::Scope;

const MINUTE: Duration = Duration::from_secs(60);
const NANO: Duration = Duration::from_nanos(1);
const TTL: Duration = Duration::from_secs(900);

fn rule(scope: Scope, unit: Unit, limit: u64, burst: u64) -> Rule {
    Rule { scope, only: None, unit, spec: Spec::new(limit, MINUTE, Some(burst)) }
}

fn limiter(rules: Vec<Rule>) -> Limiter {
    Limiter::new(rules, TTL, 100)
}

fn of(key_id: &str) -> Subject {
    Subject { key_id: key_id.into(), tenant: "acme".into(), model: "m".into(), own: Vec::new() }
}

fn remaining(limiter: &Limiter, key_id: &str, now: Instant) -> Vec<u64> {
    limiter.peek(&of(key_id), now).iter().map(|level| level.remaining).collect()
}

#[test]
fn without_limits_nothing_is_kept() {
    let limiter = limiter(Vec::new());
    let admission = limiter.reserve(&of("k"), u64::MAX, Uuid::now_v7, Instant::now()).unwrap();
    assert_eq!(admission, Admission::default());
    assert_eq!(limiter.size(), Size { reservations: 0, buckets: 0, evictions: 0 });
}

#[test]
fn a_request_limit_alone_needs_no_settling() {
    let limiter = limiter(vec![rule(Scope::Key, Unit::Requests, 60, 10)]);
    let admission = limiter.reserve(&of("k"), 5, Uuid::now_v7, Instant::now()).unwrap();
    assert_eq!((admission.reservation, admission.levels[0].remaining), (None, 9));
    assert_eq!(admission.levels[0].reset_after, Duration::from_secs(1));
}

#[test]
fn all_buckets_or_none() {
    let now = Instant::now();
    let limiter = limiter(vec![
        rule(Scope::Key, Unit::Requests, 60, 10),
        rule(Scope::Key, Unit::Tokens, 1000, 1000),
        rule(Scope::Tenant, Unit::Tokens, 1500, 1500),
    ]);
    limiter.reserve(&of("a"), 1000, Uuid::now_v7, now).unwrap();
    let size = limiter.size();
    let refusal = limiter.reserve(&of("b"), 600, Uuid::now_v7, now).unwrap_err();
    assert_eq!((refusal.by.name, refusal.needed), ("tenant.tokens", 600));
    assert_eq!(remaining(&limiter, "b", now), [10, 1000, 500]);
    // C26, G8: the refused request left no entry.
    assert_eq!(limiter.size(), size);
    assert_eq!(refusal.levels.len(), 3);
}

/// Counting tokens takes a request and none of them.
#[test]
fn who_takes_no_token_is_let_in_though_none_are_left() {
    let now = Instant::now();
    let limiter =
        limiter(vec![rule(Scope::Key, Unit::Requests, 60, 3), rule(Scope::Key, Unit::Tokens, 1000, 1000)]);
    let used = limiter.reserve(&of("k"), 1000, Uuid::now_v7, now).unwrap();
    limiter.settle(used.reservation.unwrap(), 5000, now);
    for left in [1, 0] {
        limiter.reserve(&of("k"), 0, Uuid::now_v7, now).unwrap();
        assert_eq!(remaining(&limiter, "k", now), [left, 0]);
    }
    assert_eq!(limiter.reserve(&of("k"), 0, Uuid::now_v7, now).unwrap_err().by.name, "key.requests");
}

#[test]
fn the_hint_is_when_every_limit_lets_it_pass() {
    let now = Instant::now();
    let limiter = limiter(vec![
        rule(Scope::Key, Unit::Requests, 60, 1),
        rule(Scope::Tenant, Unit::Tokens, 700, 700),
        rule(Scope::Mesh, Unit::Tokens, 100_000, 100_000),
    ]);
    limiter.reserve(&of("k"), 600, Uuid::now_v7, now).unwrap();
    let refusal = limiter.reserve(&of("k"), 333, Uuid::now_v7, now).unwrap_err();
    let wait = refusal.retry_after.unwrap();
    assert_eq!(refusal.by.name, "tenant.tokens");
    let early = limiter.reserve(&of("k"), 333, Uuid::now_v7, now + wait - NANO).unwrap_err();
    assert_eq!(early.retry_after, Some(NANO));
    limiter.reserve(&of("k"), 333, Uuid::now_v7, now + wait).unwrap();
}

#[test]
fn what_can_never_pass_is_told_apart() {
    let now = Instant::now();
    let limiter =
        limiter(vec![rule(Scope::Key, Unit::Requests, 1, 1), rule(Scope::Key, Unit::Tokens, 100, 100)]);
    limiter.reserve(&of("k"), 100, Uuid::now_v7, now).unwrap();
    let refusal = limiter.reserve(&of("k"), 101, Uuid::now_v7, now).unwrap_err();
    assert_eq!((refusal.by.name, refusal.needed, refusal.retry_after), ("key.tokens", 101, None));
    assert!(limiter.reserve(&of("k"), 100, Uuid::now_v7, now).unwrap_err().retry_after.is_some());
}

#[test]
fn settling_replaces_the_estimate_once() {
    let now = Instant::now();
    let limiter =
        limiter(vec![rule(Scope::Key, Unit::Requests, 60, 10), rule(Scope::Key, Unit::Tokens, 600, 600)]);
    let take = |tokens| limiter.reserve(&of("k"), tokens, Uuid::now_v7, now).unwrap().reservation.unwrap();
    let (less, nothing, more) = (take(100), take(100), take(100));
    assert_eq!(remaining(&limiter, "k", now), [7, 300]);
    for _ in 0..2 {
        limiter.settle(less, 40, now);
        assert_eq!(remaining(&limiter, "k", now), [7, 360]);
    }
    limiter.settle(nothing, 0, now);
    assert_eq!(remaining(&limiter, "k", now), [7, 460]);
    limiter.settle(more, 800, now);
    limiter.settle(more, 0, now);
    limiter.settle(Uuid::nil(), 1000, now);
    assert_eq!(remaining(&limiter, "k", now), [7, 0]);
    // 40 + 800 of 600 used: a debt of 240, which one minute's 600 pay in 24 s, and the next one in 0.1 s.
    let refusal = limiter.reserve(&of("k"), 1, Uuid::now_v7, now).unwrap_err();
    assert_eq!(refusal.retry_after, Some(Duration::from_millis(24_100)));
    assert_eq!(limiter.size().reservations, 0);
}

#[test]
fn more_than_the_estimate_counts_even_if_the_bucket_was_full_since() {
    let now = Instant::now();
    let limiter = limiter(vec![rule(Scope::Key, Unit::Tokens, 600, 600)]);
    let id = limiter.reserve(&of("k"), 10, Uuid::now_v7, now).unwrap().reservation.unwrap();
    let later = now + 2 * MINUTE;
    assert!(!limiter.sweep(100, later));
    assert_eq!(limiter.size(), Size { reservations: 1, buckets: 0, evictions: 0 });
    limiter.settle(id, 310, later);
    assert_eq!(remaining(&limiter, "k", later), [300]);
}

// F8, I3: whoever reserved may die; the estimate stands and the reservation goes.
#[test]
fn what_is_not_settled_lapses() {
    let now = Instant::now();
    let limiter = limiter(vec![rule(Scope::Key, Unit::Tokens, 1, 100)]);
    let id = limiter.reserve(&of("k"), 100, Uuid::now_v7, now).unwrap().reservation.unwrap();
    let late = now + TTL;
    let before = remaining(&limiter, "k", late);
    limiter.settle(id, 0, late);
    assert_eq!(remaining(&limiter, "k", late), before);
    assert_eq!(limiter.size().reservations, 0);
}

// F7: 50 at once at a limit of 10, the subject's first requests: exactly 10.
#[test]
fn concurrent_requests_share_exactly_the_limit() {
    let now = Instant::now();
    for _ in 0..20 {
        let limiter = limiter(vec![
            rule(Scope::Key, Unit::Requests, 10, 10),
            rule(Scope::Mesh, Unit::Tokens, 100, 100),
        ]);
        let (barrier, admitted) = (Barrier::new(50), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..50 {
                scope.spawn(|| {
                    barrier.wait();
                    if limiter.reserve(&of("k"), 10, Uuid::now_v7, now).is_ok() {
                        admitted.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(admitted.into_inner(), 10);
        assert_eq!(limiter.size().reservations, 10);
    }
}

// F8, G8: nothing grows with refused, settled and lapsed requests of many subjects.
#[test]
fn ten_thousand_cycles_leave_nothing() {
    let mut now = Instant::now();
    let limiter =
        limiter(vec![rule(Scope::Key, Unit::Requests, 60, 2), rule(Scope::Key, Unit::Tokens, 600, 100)]);
    for cycle in 0..10_000_u64 {
        now += Duration::from_millis(100);
        let key = format!("k{}", cycle % 37);
        let admitted = limiter.reserve(&of(&key), cycle % 120, Uuid::now_v7, now);
        if let Ok(Admission { reservation: Some(id), .. }) = admitted
            && cycle % 3 > 0
        {
            limiter.settle(id, cycle % 90, now);
        }
        assert!(limiter.size().buckets <= 74);
    }
    now += TTL;
    while limiter.sweep(10, now) {}
    assert_eq!(limiter.size(), Size { reservations: 0, buckets: 0, evictions: 0 });
}

proptest! {
    // Whatever is reserved, settled and refused, over any window no subject uses more tokens than the bucket
    // is deep and the window refills, as long as no estimate was too low.
    #[test]
    fn real_use_stays_within_every_limit(
        steps in prop::collection::vec((0u64..4_000, 0u64..120, 0u64..120, 0usize..3, 0usize..6), 1..80),
    ) {
        let (limit, burst) = (600, 100);
        let limiter = limiter(vec![rule(Scope::Key, Unit::Tokens, limit, burst)]);
        let mut now = Instant::now();
        let keys = ["a", "b", "c"];
        let mut used: Vec<(Instant, usize, u64)> = Vec::new();
        let mut open: Vec<(Uuid, usize, u64)> = Vec::new();
        for (wait, x, y, key, settle) in steps {
            now += Duration::from_millis(wait);
            let (real, estimate) = (x.min(y), x.max(y));
            if let Ok(admission) = limiter.reserve(&of(keys[key]), estimate, Uuid::now_v7, now) {
                open.push((admission.reservation.unwrap(), used.len(), real));
                used.push((now, key, estimate));
            }
            if settle < open.len() {
                let (id, index, real) = open.remove(settle);
                limiter.settle(id, real, now);
                used[index].2 = real;
            }
        }
        for (i, (from, key, _)) in used.iter().enumerate() {
            let mut sum = 0;
            for (to, _, amount) in used[i..].iter().filter(|(_, of, _)| of == key) {
                sum += u128::from(*amount);
                let refill = (*to - *from).as_nanos() * u128::from(limit);
                prop_assert!(sum * MINUTE.as_nanos() <= u128::from(burst) * MINUTE.as_nanos() + refill);
            }
        }
    }
}
