//! What is kept, for how long, and what came of it.

use std::collections::VecDeque;

use penstock_proto::Reason;
use proptest::prelude::*;
use tokio::time::advance;

use super::*;
use crate::registry::Deployment;

const TTL: Duration = Duration::from_secs(60);

fn considered(id: &str) -> Considered {
    let deployment = Arc::new(Deployment { id: id.into(), ..Deployment::default() });
    Considered {
        candidate: Candidate { model: "m".into(), deployment },
        score: None,
        vetoes: crate::decision::Vetoes::default(),
        weight: 1.0,
        priority: 1,
    }
}

fn is_consistent(decisions: &Decisions) -> bool {
    let kept = decisions.kept();
    kept.by_id.len() == kept.oldest_first.len()
        && kept.oldest_first.iter().all(|trail| kept.by_id.contains_key(&trail.0.id))
}

#[tokio::test(start_paused = true)]
async fn the_oldest_go_first_and_none_gets_old() {
    let decisions = Decisions::new(2, TTL);
    let [a, b, c] = ["a", "b", "c"].map(|request| decisions.keep(Decision::default(), request));
    assert!(decisions.get(a.id()).is_none(), "two are kept, not three");
    assert_eq!(decisions.get(b.id()).unwrap().entry().request_id, "b");
    advance(TTL - Duration::from_millis(1)).await;
    assert!(decisions.get(c.id()).is_some());
    advance(Duration::from_millis(1)).await;
    assert!(decisions.get(b.id()).is_none() && decisions.get(c.id()).is_none());
    decisions.keep(Decision::default(), "d");
    assert_eq!(decisions.kept().by_id.len(), 1, "what is old goes when something new comes");
}

#[tokio::test(start_paused = true)]
async fn without_room_none_is_kept_and_each_has_an_id() {
    let decisions = Decisions::new(0, TTL);
    let trail = decisions.keep(Decision::default(), "r");
    assert!(trail.id().starts_with("dec-"), "{}", trail.id());
    assert!(decisions.get(trail.id()).is_none());
}

#[tokio::test(start_paused = true)]
async fn of_many_deployments_the_first_are_kept_with_the_load_of_then() {
    let all: Vec<_> = (0..100).map(|n| considered(&format!("d{n}"))).collect();
    let load = Arc::clone(&all[0].candidate.deployment.load);
    let busy = load.enter();
    let decision = Decision { considered: all, ..Decision::default() };
    let trail = Decisions::new(1, TTL).keep(decision, "r");
    drop(busy);
    let entry = trail.entry();
    assert_eq!((entry.decision.considered.len(), entry.seen.len()), (CONSIDERED_MAX, CONSIDERED_MAX));
    assert_eq!(entry.seen[0], Seen { in_flight: 1, expected: None });
    assert_eq!((entry.seen[1].in_flight, load.in_flight()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn attempts_are_noted_with_their_times_and_ends() {
    let trail = Decisions::new(1, TTL).keep(Decision::default(), "r");
    let candidate = considered("a").candidate;
    advance(Duration::from_secs(1)).await;
    let first = trail.begin(&candidate, AttemptKind::First);
    advance(Duration::from_secs(2)).await;
    let second = trail.begin(&candidate, AttemptKind::Hedge);
    first.end("ENGINE_FAILED");
    drop(second);
    trail.begin(&candidate, AttemptKind::Retry).end("OK");
    trail.end("OK");
    let log = trail.so_far();
    let told: Vec<_> = log.attempts.iter().map(|one| (one.kind, one.started_after, one.outcome)).collect();
    let seconds = Duration::from_secs;
    assert_eq!(
        told,
        [
            (AttemptKind::First, seconds(1), Some("ENGINE_FAILED")),
            (AttemptKind::Hedge, seconds(3), Some("CANCELLED")),
            (AttemptKind::Retry, seconds(3), Some("OK")),
        ]
    );
    assert_eq!((log.attempts[0].took, log.outcome), (Some(seconds(2)), Some("OK")));
    trail.broke("ENGINE_CUT");
    trail.broke("ENGINE_TIMEOUT");
    let outcomes: Vec<_> = trail.so_far().attempts.iter().filter_map(|one| one.outcome).collect();
    assert_eq!(outcomes, ["ENGINE_FAILED", "CANCELLED", "ENGINE_CUT"], "what failed before did not break");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_noted_and_names_the_decision() {
    let trail = Decisions::new(1, TTL).keep(Decision::default(), "r");
    let status = trail.refuse(Error::new(Reason::ModelUnavailable, "nobody is there"));
    assert_eq!(status.metadata().get(metadata::DECISION).unwrap(), trail.id());
    assert_eq!(Error::from(&status).reason, Reason::ModelUnavailable);
    assert_eq!(trail.so_far().outcome, Some("MODEL_UNAVAILABLE"));
}

proptest! {
    /// Against a list that does the same the simple way.
    #[test]
    fn what_is_kept_is_what_is_new_and_young(
        most in 0_usize..8,
        steps in prop::collection::vec((0_u64..40, any::<bool>()), 1..60),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.unwrap().block_on(async {
            let decisions = Decisions::new(most, TTL);
            let (start, mut model, mut all) = (Instant::now(), VecDeque::new(), Vec::new());
            for (seconds, keeps) in steps {
                advance(Duration::from_secs(seconds)).await;
                if keeps {
                    let trail = decisions.keep(Decision::default(), "r");
                    model.push_back((trail.id().to_owned(), start.elapsed()));
                    all.push(trail.id().to_owned());
                    while model.len() > most {
                        model.pop_front();
                    }
                }
                prop_assert!(decisions.kept().by_id.len() <= most);
                prop_assert!(is_consistent(&decisions));
                for id in &all {
                    let young = model.iter().any(|(kept, made)| kept == id && start.elapsed() - *made < TTL);
                    prop_assert_eq!(decisions.get(id).is_some(), young);
                }
            }
            Ok(())
        })?;
    }
}
