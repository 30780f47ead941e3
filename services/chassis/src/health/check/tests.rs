//! Checks over a paused clock: when they come, and that nothing they do reaches beyond them.

use penstock_proto::status::v1::State;
use std::sync::{
    Mutex,
    atomic::{AtomicU32, Ordering},
};

use tokio::time::sleep;

use super::*;

async fn state_after(health: &Health, wait: Duration) -> (State, String) {
    sleep(wait).await;
    let report = health.report();
    (report.components[0].state(), report.components[0].detail.clone())
}

#[tokio::test(start_paused = true)]
async fn a_check_runs_at_once_then_at_intervals_and_soon_when_it_failed() {
    let (health, tasks, calls) = (Health::default(), Tasks::default(), Arc::new(AtomicU32::new(0)));
    let counted = Arc::clone(&calls);
    health.check(Check::store("s").every(Duration::from_secs(10)), &tasks, move || {
        let call = counted.fetch_add(1, Ordering::Relaxed);
        async move { if call == 0 { Outcome::Up } else { Outcome::Down("gone".into()) } }
    });
    assert_eq!(state_after(&health, Duration::from_secs(1)).await.0, State::Up);
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    assert_eq!(state_after(&health, Duration::from_secs(10)).await, (State::Down, "gone".into()));
    tasks.stop(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_check_that_hangs_or_panics_is_down_and_goes_on() {
    for panics in [false, true] {
        let (health, tasks, calls) = (Health::default(), Tasks::default(), Arc::new(AtomicU32::new(0)));
        let counted = Arc::clone(&calls);
        health.check(Check::store("s"), &tasks, move || {
            let call = counted.fetch_add(1, Ordering::Relaxed);
            assert!(!panics || call > 0, "a bug");
            async move { if call == 0 { std::future::pending().await } else { Outcome::Up } }
        });
        let (state, detail) = state_after(&health, Duration::from_millis(1100)).await;
        let expected = if panics { "panicked" } else { "no answer within 1s" };
        assert!(state == State::Up || detail.contains(expected), "{state:?} {detail}");
        assert_eq!(state_after(&health, Duration::from_secs(5)).await.0, State::Up);
        tasks.stop(Duration::from_secs(1)).await;
    }
}

/// A Redis that answers PING, or does not.
#[derive(Clone)]
struct Pool(Arc<AtomicU32>);

async fn ping(pool: Pool) -> Outcome {
    match pool.0.load(Ordering::Relaxed) {
        0 => Outcome::Up,
        1 => Outcome::Down("cannot be reached".into()),
        _ => panic!("a bug of the client, met in the future"),
    }
}

/// A store on Redis registers its check in one line.
#[tokio::test(start_paused = true)]
async fn a_store_on_redis_is_checked_by_one_line() {
    let (health, tasks, pool) = (Health::default(), Tasks::default(), Pool(Arc::default()));
    let down = Arc::clone(&pool.0);
    health.check(Check::store("cache/redis"), &tasks, move || ping(pool.clone()));
    assert_eq!(state_after(&health, Duration::from_secs(1)).await.0, State::Up);
    down.store(1, Ordering::Relaxed);
    assert_eq!(state_after(&health, Duration::from_secs(3)).await, (State::Down, "cannot be reached".into()));
    down.store(2, Ordering::Relaxed);
    let (state, detail) = state_after(&health, Duration::from_secs(1)).await;
    assert!(state == State::Down && detail.contains("panicked"), "{detail}");
    down.store(0, Ordering::Relaxed);
    assert_eq!(state_after(&health, Duration::from_secs(1)).await.0, State::Up);
}

#[tokio::test(start_paused = true)]
async fn what_only_degrades_is_never_down_even_if_it_hangs_or_panics() {
    for mode in 0..3 {
        let (health, tasks) = (Health::default(), Tasks::default());
        health.started();
        health.check(Check::store("s").required(true).only_degrades(), &tasks, move || async move {
            match mode {
                0 => Outcome::Down("gone".into()),
                1 => std::future::pending().await,
                _ => panic!("a bug"),
            }
        });
        let (state, detail) = state_after(&health, Duration::from_secs(5)).await;
        assert!(state == State::Degraded && !detail.is_empty(), "{mode} {state:?} {detail}");
        assert_eq!(health.report().state(), State::Degraded);
    }
}

#[tokio::test(start_paused = true)]
async fn work_that_fails_counts_at_once_and_the_next_check_comes_soon() {
    let (health, tasks, calls) = (Health::default(), Tasks::default(), Arc::new(AtomicU32::new(0)));
    let counted = Arc::clone(&calls);
    let evidence = health.check(Check::file("s"), &tasks, move || {
        counted.fetch_add(1, Ordering::Relaxed);
        async { Outcome::Up }
    });
    assert_eq!(state_after(&health, Duration::from_secs(1)).await.0, State::Up);
    evidence.failed(Outcome::Degraded("cannot be written".into()));
    assert_eq!(
        state_after(&health, Duration::ZERO).await,
        (State::Degraded, "cannot be written".into()),
        "no check has run meanwhile"
    );
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    // Two checks that are well, five seconds apart.
    assert_eq!(state_after(&health, Duration::from_secs(11)).await.0, State::Up);
    assert_eq!(calls.load(Ordering::Relaxed), 3);
    // Work that goes on failing does not push the check away.
    for _ in 0..30 {
        evidence.failed(Outcome::Degraded("cannot be written".into()));
        sleep(Duration::from_secs(1)).await;
    }
    assert!(calls.load(Ordering::Relaxed) >= 7, "{calls:?}");
    evidence.failed(Outcome::Degraded("cannot be written".into()));
    evidence.works();
    assert_eq!(state_after(&health, Duration::ZERO).await.0, State::Up);
}

#[tokio::test(start_paused = true)]
async fn work_that_succeeds_does_not_gloss_over_what_a_check_has_found() {
    let (health, tasks) = (Health::default(), Tasks::default());
    let evidence =
        health.check(Check::store("s"), &tasks, || async { Outcome::Degraded("nearly full".into()) });
    assert_eq!(state_after(&health, Duration::from_secs(1)).await.0, State::Degraded);
    evidence.works();
    assert_eq!(state_after(&health, Duration::ZERO).await.0, State::Degraded);
}

/// A disk that hangs costs one thread, however long it hangs.
#[tokio::test]
async fn a_blocking_probe_that_hangs_is_the_only_one() {
    let config = "[health]\n[[health.checks]]\nname = 's'\ninterval = '10ms'\ntimeout = '10ms'";
    let health = Health::new("auth", crate::HealthConfig::of_text(config));
    let (tasks, calls) = (Tasks::default(), Arc::new(AtomicU32::new(0)));
    let (held, hang) = std::sync::mpsc::channel::<()>();
    let (counted, hang) = (Arc::clone(&calls), Mutex::new(hang));
    health.check_blocking(Check::store("s"), &tasks, move || {
        counted.fetch_add(1, Ordering::Relaxed);
        // Until nobody holds it any more.
        let _ = hang.lock().unwrap().recv();
        Outcome::Up
    });
    while !state_after(&health, Duration::from_millis(5)).await.1.contains("has not come back") {}
    for _ in 0..20 {
        sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    drop(held);
    while state_after(&health, Duration::from_millis(5)).await.0 != State::Up {}
    tasks.stop(Duration::from_secs(1)).await;
}
