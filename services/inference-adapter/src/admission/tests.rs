//! Tests of the way in: waiting, leaving, refusals, and that no place is ever lost.

use std::{future::Future, pin::Pin, task::Context};

use futures_util::{future::BoxFuture, task::noop_waker_ref};
use penstock_chassis::Metrics;
use proptest::prelude::*;
use tokio::time::advance;

use super::*;
use crate::metrics::EngineMetrics;

const SECOND: Duration = Duration::from_secs(1);

fn admission(max_concurrent: u32, queue_max: usize) -> Arc<Admission> {
    let breaker = BreakerConfig {
        window: 30 * SECOND,
        minimum_calls: 3,
        failure_rate: 0.5,
        open: 5 * SECOND,
        open_max: 60 * SECOND,
        probes: 1,
    };
    let config = AdmissionConfig { breaker, max_concurrent, queue_max, queue_timeout: 30 * SECOND };
    let metrics = EngineMetrics::register(&Metrics::default()).admission(&"d".into());
    Admission::new(config, metrics)
}

fn claim(tenant: &str) -> Claim {
    Claim { tenant: tenant.to_owned(), tokens: 10, may_wait: true, deadline: None }
}

type Entering = BoxFuture<'static, Result<Place, Refusal>>;

fn entering(admission: &Arc<Admission>, claim: Claim) -> Entering {
    let admission = Arc::clone(admission);
    Box::pin(async move { admission.enter(claim).await })
}

fn poll(entering: &mut Entering) -> Option<Result<Place, Refusal>> {
    match Pin::new(entering).poll(&mut Context::from_waker(noop_waker_ref())) {
        std::task::Poll::Ready(outcome) => Some(outcome),
        std::task::Poll::Pending => None,
    }
}

async fn fail(admission: &Arc<Admission>, times: usize) {
    for _ in 0..times {
        admission.enter(claim("t")).await.unwrap().settle(Some(false));
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_gets_the_place_of_who_leaves() {
    let admission = admission(1, 10);
    let place = admission.enter(claim("a")).await.unwrap();
    let mut second = entering(&admission, claim("a"));
    assert!(poll(&mut second).is_none());
    assert_eq!((admission.shown().in_flight, admission.shown().queued), (1, 1));
    drop(place);
    let place = second.await.unwrap();
    assert_eq!((admission.shown().in_flight, admission.shown().queued), (1, 0));
    drop(place);
    assert_eq!(admission.shown().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_ever_and_nobody_who_does_not_want_to() {
    let admission = admission(1, 1);
    let _place = admission.enter(claim("a")).await.unwrap();
    let busy = Err(Refusal::Busy { after: SECOND });
    let enter = async |claim| admission.enter(claim).await.map(drop);
    assert_eq!(enter(Claim { may_wait: false, ..claim("a") }).await, busy);
    let began = Instant::now();
    let mut waits = entering(&admission, claim("a"));
    assert!(poll(&mut waits).is_none());
    assert_eq!(enter(claim("b")).await, busy, "the queue is full");
    assert_eq!(began.elapsed(), Duration::ZERO, "both at once");
    assert_eq!(waits.await.map(drop), busy);
    assert_eq!(began.elapsed(), 30 * SECOND);
    let soon = Some(Instant::now() + SECOND);
    assert_eq!(enter(Claim { deadline: soon, ..claim("a") }).await, busy);
    assert_eq!(began.elapsed(), 31 * SECOND);
    assert_eq!(admission.shown().queued, 0);
}

/// Between two looks it may have let a request through, and opened again: that is news all the same.
#[tokio::test(start_paused = true)]
async fn a_breaker_that_opened_again_has_turned() {
    let admission = admission(3, 10);
    fail(&admission, 3).await;
    assert!(admission.has_turned(Instant::now()) && !admission.has_turned(Instant::now()));
    advance(6 * SECOND).await;
    fail(&admission, 1).await;
    assert_eq!(admission.shown().phase, Phase::Open);
    assert!(admission.has_turned(Instant::now()) && !admission.has_turned(Instant::now()));
}

#[tokio::test(start_paused = true)]
async fn an_open_breaker_refuses_at_once_and_also_those_who_wait() {
    let admission = admission(3, 10);
    let mut places = Vec::new();
    for _ in 0..3 {
        places.push(admission.enter(claim("a")).await.unwrap());
    }
    let mut waits = entering(&admission, claim("a"));
    assert!(poll(&mut waits).is_none());
    for place in &mut places {
        place.settle(Some(false));
    }
    let cause = Recent { failed: 3, calls: 3 };
    let refused = |outcome: Result<Place, Refusal>| match outcome {
        Err(Refusal::Open { after, cause: why }) => {
            assert!(after >= 5 * SECOND && after <= 6 * SECOND && why == cause, "{after:?} {why:?}");
        }
        other => panic!("{other:?}"),
    };
    refused(waits.await);
    refused(admission.enter(claim("a")).await);
    assert_eq!((admission.shown().queued, admission.shown().phase), (0, Phase::Open));
}

#[tokio::test(start_paused = true)]
async fn a_place_leads_past_a_half_open_breaker_only_as_a_probe() {
    let admission = admission(10, 10);
    fail(&admission, 3).await;
    advance(6 * SECOND).await;
    assert!(admission.has_turned(Instant::now()) && !admission.has_turned(Instant::now()));
    let mut probe = admission.enter(claim("a")).await.unwrap();
    let other = admission.enter(claim("a")).await.unwrap_err();
    assert!(matches!(other, Refusal::Open { after: SECOND, .. }), "{other:?}");
    assert_eq!(admission.shown().in_flight, 1, "a refusal takes no place");
    assert!(probe.heard());
    assert_eq!(admission.shown().phase, Phase::Closed);
    assert!(!probe.heard());
    // One that is dropped without a word frees its place for the next.
    fail(&admission, 3).await;
    advance(6 * SECOND).await;
    drop(admission.enter(claim("a")).await.unwrap());
    admission.enter(claim("a")).await.unwrap().settle(Some(true));
    assert_eq!(admission.shown().phase, Phase::Closed);
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Arrive(u8, bool),
    /// A caller looks whether its turn has come.
    Look(usize),
    /// A caller leaves, whether its turn has come or not.
    Leave(usize),
    End(usize, Option<bool>),
    Pass(u64),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let outcome = prop_oneof![6 => Just(Some(true)), 2 => Just(Some(false)), 1 => Just(None)];
    let event = prop_oneof![
        8 => (0_u8..4, prop::bool::weighted(0.8)).prop_map(|(tenant, waits)| Event::Arrive(tenant, waits)),
        4 => any::<usize>().prop_map(Event::Look),
        2 => any::<usize>().prop_map(Event::Leave),
        6 => (any::<usize>(), outcome).prop_map(|(which, outcome)| Event::End(which, outcome)),
        1 => (1_u64..20_000).prop_map(Event::Pass),
    ];
    prop::collection::vec(event, 1..200)
}

proptest! {
    /// Callers come, look, leave and end at any moment: there are never more than places, nobody waits while one is
    /// free, and in the end every place is back.
    #[test]
    fn no_place_and_no_turn_is_lost(places in 1_u32..4, queue_max in 0_usize..6, events in events()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.unwrap().block_on(async move {
            let admission = admission(places, queue_max);
            let (mut waiting, mut held): (Vec<Entering>, Vec<Place>) = (Vec::new(), Vec::new());
            for event in events {
                match event {
                    Event::Arrive(tenant, may_wait) => {
                        let mut one = entering(&admission, Claim { may_wait, ..claim(&tenant.to_string()) });
                        match poll(&mut one) {
                            Some(outcome) => held.extend(outcome),
                            None => waiting.push(one),
                        }
                    }
                    Event::Look(which) if !waiting.is_empty() => {
                        let index = which % waiting.len();
                        if let Some(outcome) = poll(&mut waiting[index]) {
                            drop(waiting.swap_remove(index));
                            held.extend(outcome);
                        }
                    }
                    Event::Leave(which) if !waiting.is_empty() => {
                        drop(waiting.swap_remove(which % waiting.len()));
                    }
                    Event::End(which, outcome) if !held.is_empty() => {
                        let mut place = held.swap_remove(which % held.len());
                        place.settle(outcome);
                    }
                    Event::Pass(millis) => advance(Duration::from_millis(millis)).await,
                    Event::Look(_) | Event::Leave(_) | Event::End(..) => {}
                }
                let shown = admission.shown();
                prop_assert!(shown.in_flight <= places && shown.queued <= queue_max);
                prop_assert!(held.len() <= shown.in_flight as usize);
                prop_assert!(shown.queued == 0 || shown.in_flight == places, "waits while a place is free");
            }
            // Whose turn has come knows it: all others have been refused, or still wait behind those.
            drop(held);
            while let Some(mut one) = waiting.pop() {
                let outcome = poll(&mut one);
                if outcome.is_none() {
                    prop_assert_eq!(admission.shown().in_flight, places, "a lost turn");
                }
            }
            let shown = admission.shown();
            prop_assert_eq!((shown.in_flight, shown.queued), (0, 0), "a lost place");
            Ok(())
        })?;
    }
}
