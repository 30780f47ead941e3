//! What the check of the buckets finds.

use super::*;
use crate::{
    bucket::Spec,
    rules::{Rule, Scope, Subject, Unit},
};

fn limiter(max_buckets: usize) -> Arc<Limiter> {
    let minute = Duration::from_secs(60);
    let rule = Rule { scope: Scope::Key, only: None, unit: Unit::Requests, spec: Spec::new(5, minute, None) };
    Arc::new(Limiter::new(vec![rule], minute, max_buckets))
}

fn ask(limiter: &Limiter, key: &str) {
    let subject = Subject { key_id: key.into(), ..Subject::default() };
    limiter.reserve(&subject, 0, uuid::Uuid::nil, Instant::now()).unwrap();
}

#[test]
fn a_probe_takes_nothing_from_anybody_and_leaves_nothing() {
    let limiter = limiter(1);
    let probe = probe(&limiter);
    ask(&limiter, "a");
    let before = limiter.size();
    for _ in 0..10 {
        assert_eq!(probe(), Outcome::Up);
    }
    assert_eq!(limiter.size(), before, "nobody had to make room");
}

#[test]
fn limits_that_had_to_be_forgotten_are_told() {
    let limiter = limiter(1);
    let probe = probe(&limiter);
    assert_eq!(probe(), Outcome::Up);
    ask(&limiter, "a");
    ask(&limiter, "b");
    for _ in 0..3 {
        assert!(matches!(probe(), Outcome::Degraded(detail) if detail.contains("max_buckets")));
    }
}
