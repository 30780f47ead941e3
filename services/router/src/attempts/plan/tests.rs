//! Who is asked next, by any failures in any order.

use penstock_proto::status::v1::State;
use proptest::prelude::*;

use super::*;
use crate::registry::Deployment;

fn candidate(model: &str, id: &str) -> Candidate {
    Candidate { model: model.into(), deployment: deployment(id, State::Up) }
}

fn deployment(id: &str, state: State) -> Arc<Deployment> {
    Deployment { id: id.into(), state, ..Deployment::default() }.into()
}

fn candidates(of: &[(&str, &str)]) -> Vec<Candidate> {
    of.iter().map(|(model, id)| candidate(model, id)).collect()
}

fn route(of: &[(&str, &str)]) -> Route {
    Route { candidates: candidates(of), ..Route::default() }
}

fn retrying() -> Retrying {
    Retrying { retries: 2, retry_after_max: Duration::from_secs(2), budget: 0.2, budget_min: 10 }
}

fn plan(route: Route) -> Plan {
    Plan::new(route, 4, &retrying())
}

const MINUTE: Option<Duration> = Some(Duration::from_secs(60));

/// Who is asked if they say this one after the other; by chance all pauses are as long as they can be.
fn asked(mut plan: Plan, said: &[Error]) -> String {
    let mut asked = Vec::new();
    for error in said.iter().map(Some).chain([None]) {
        let Some(next) = plan.next(MINUTE, 1.0) else { break };
        let kind = match next.kind {
            AttemptKind::First => "first",
            AttemptKind::Retry => "retry",
            AttemptKind::Failover => "failover",
            AttemptKind::Fallback => "fallback",
            _ => "?",
        };
        let pause = if next.after.is_zero() { String::new() } else { format!("+{}", next.after.as_millis()) };
        let queue = if next.may_queue { "" } else { "!" };
        asked.push(format!("{kind}:{}{queue}{pause}", next.candidate.id()));
        let Some(error) = error else { break };
        plan.failed(next.index, error);
    }
    asked.join(" ")
}

fn errors(reasons: &[Reason]) -> Vec<Error> {
    reasons.iter().map(|reason| Error::new(*reason, "x")).collect()
}

fn after(reason: Reason, milliseconds: u64) -> Error {
    Error::new(reason, "x").with_retry_after(Duration::from_millis(milliseconds))
}

const ONE: &[(&str, &str)] = &[("m", "a")];
const TWO_AND_ANOTHER: &[(&str, &str)] = &[("m", "a"), ("m", "b"), ("n", "c")];

#[test]
fn what_may_pass_is_asked_of_others_first_then_again_after_a_pause_then_of_other_models() {
    for reason in [Reason::EngineOverloaded, Reason::ModelLoading, Reason::EngineFailed] {
        assert_eq!(
            asked(plan(route(TWO_AND_ANOTHER)), &errors(&[reason; 6])),
            "first:a! failover:b retry:a+100 retry:b+200 fallback:c",
            "{reason:?}"
        );
        assert_eq!(
            asked(plan(route(ONE)), &errors(&[reason; 6])),
            "first:a retry:a+100 retry:a+200",
            "{reason:?}"
        );
    }
}

#[test]
fn what_will_not_pass_is_never_asked_again() {
    use Reason::*;
    for reason in [
        EngineTimeout,
        EngineUnreachable,
        EngineCut,
        EngineBadAnswer,
        EngineCredentials,
        EngineModelMissing,
        CircuitOpen,
        Unsupported,
        NotOffered,
    ] {
        let said = errors(&[reason; 6]);
        assert_eq!(
            asked(plan(route(TWO_AND_ANOTHER)), &said),
            "first:a! failover:b fallback:c",
            "{reason:?}"
        );
        assert_eq!(asked(plan(route(ONE)), &said), "first:a", "{reason:?}");
    }
}

#[test]
fn a_connection_that_was_closed_is_tried_once_more_at_once() {
    let said = errors(&[Reason::EngineReset; 9]);
    assert_eq!(asked(plan(route(ONE)), &said), "first:a retry:a");
    assert_eq!(
        asked(plan(route(TWO_AND_ANOTHER)), &said),
        "first:a! retry:a! failover:b retry:b fallback:c",
        "and that counts as a retry, of which there are two"
    );
}

/// D2.
#[test]
fn what_is_the_callers_to_mend_is_asked_of_nobody_else() {
    for reason in Reason::ALL.iter().filter(|reason| !reason.remedy().fallback) {
        assert_eq!(asked(plan(route(TWO_AND_ANOTHER)), &errors(&[*reason])), "first:a!", "{reason:?}");
    }
}

/// D3.
#[test]
fn an_engine_that_says_when_is_not_asked_sooner_and_one_that_says_much_later_not_at_all() {
    let soon = vec![after(Reason::EngineOverloaded, 1500); 3];
    assert_eq!(asked(plan(route(ONE)), &soon), "first:a retry:a+1600 retry:a+1700");
    assert_eq!(asked(plan(route(ONE)), &[after(Reason::EngineOverloaded, 2001)]), "first:a");
    let other = [after(Reason::EngineOverloaded, 9000), after(Reason::EngineOverloaded, 2000)];
    assert_eq!(
        asked(plan(route(TWO_AND_ANOTHER)), &other),
        "first:a! failover:b retry:b+2100",
        "the one that will be back is asked, not the first"
    );
}

#[test]
fn a_pause_is_as_long_as_chance_has_it() {
    let mut plan = plan(route(ONE));
    for (chance, pause) in [(0.9, 0), (0.25, 25), (0.5, 100)] {
        let next = plan.next(MINUTE, chance).unwrap();
        assert_eq!(next.after, Duration::from_millis(pause));
        plan.failed(next.index, &Error::new(Reason::EngineFailed, "x"));
    }
}

#[test]
fn who_is_busy_is_waited_for_when_nobody_else_is_left() {
    let busy = vec![after(Reason::EngineBusy, 9000); 6];
    assert_eq!(asked(plan(route(ONE)), &busy), "first:a", "it could have waited, and there was no room");
    assert_eq!(asked(plan(route(TWO_AND_ANOTHER)), &busy), "first:a! failover:b retry:a fallback:c");
    let mixed = [after(Reason::EngineBusy, 9000), after(Reason::EngineTimeout, 0)];
    assert_eq!(asked(plan(route(TWO_AND_ANOTHER)), &mixed), "first:a! failover:b retry:a");
}

#[test]
fn who_was_not_asked_after_all_is_made_up_for() {
    use Reason::*;
    let ids = ["a", "b", "c", "d", "e", "f", "g"];
    let route = |count: usize| route(&ids.map(|id| ("m", id))[..count]);
    let plan = |count| Plan::new(route(count), 1, &Retrying { retries: 0, ..retrying() });
    let said = errors(&[EngineBusy, CircuitOpen, EngineTimeout, EngineTimeout]);
    assert_eq!(asked(plan(7), &said), "first:a! failover:b! failover:c!", "an engine said no");
    assert_eq!(
        asked(plan(2), &errors(&[EngineBusy; 4])),
        "first:a! failover:b",
        "the last one is waited for"
    );
    let all = asked(plan(7), &errors(&[CircuitOpen; 9]));
    assert_eq!(all, "first:a! failover:b! failover:c! failover:d! failover:e", "and there is an end");
}

#[test]
fn one_that_is_down_is_no_reason_not_to_wait() {
    let down = Candidate { model: "m".into(), deployment: deployment("b", State::Down) };
    let route = Route { candidates: [candidates(ONE), vec![down]].concat(), ..Route::default() };
    assert_eq!(asked(plan(route.clone()), &errors(&[Reason::EngineTimeout])), "first:a failover:b");
    let mut plan = plan(route);
    plan.next(MINUTE, 0.0).unwrap();
    assert!(!plan.can_hedge(MINUTE), "and none to hedge with");
}

#[test]
fn a_prompt_that_is_too_long_goes_to_larger_contexts_only() {
    let too_long = errors(&[Reason::ContextLengthExceeded; 9]);
    let larger = candidates(&[("m", "big"), ("n", "bigger")]);
    assert_eq!(asked(plan(route(TWO_AND_ANOTHER)), &too_long), "first:a!");
    let route = Route { on_context: larger, ..route(TWO_AND_ANOTHER) };
    assert_eq!(asked(plan(route.clone()), &too_long), "first:a! failover:big fallback:bigger");
    let said = errors(&[Reason::EngineFailed, Reason::ContextLengthExceeded, Reason::EngineFailed]);
    assert_eq!(
        asked(plan(route), &said),
        "first:a! failover:b failover:big retry:big+100",
        "who is too small is not asked again, whatever it said before"
    );
}

#[test]
fn a_filters_refusal_is_the_answer_unless_there_is_somebody_for_it() {
    let refused = errors(&[Reason::ContentFiltered; 9]);
    assert_eq!(asked(plan(route(TWO_AND_ANOTHER)), &refused), "first:a!");
    assert!(!plan(route(ONE)).minds_filters());
    let route = Route { on_filter: candidates(&[("n", "x"), ("o", "y")]), ..route(TWO_AND_ANOTHER) };
    assert!(plan(route.clone()).minds_filters());
    assert_eq!(asked(plan(route), &refused), "first:a! fallback:x fallback:y");
}

#[test]
fn no_more_deployments_are_asked_than_is_configured_and_those_that_are_down_go_first() {
    let candidate = |id: &str, down| {
        let state = if down { State::Down } else { State::Up };
        Candidate { model: "m".into(), deployment: deployment(id, state) }
    };
    let left = |most| {
        let all = [("up", false), ("down", true), ("lost", true), ("fallback", false), ("gone", true)];
        let mut candidates: Vec<_> = all.map(|(id, down)| candidate(id, down)).into();
        leave_out(&mut candidates, most);
        candidates.into_iter().map(|candidate| candidate.id().to_owned()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(left(9), "up down lost fallback gone");
    assert_eq!(left(4), "up down lost fallback");
    assert_eq!(left(3), "up down fallback");
    assert_eq!(left(2), "up fallback");
    assert_eq!(left(1), "up");
    let mut many = candidates(&[("m", "a"), ("m", "b"), ("m", "c"), ("n", "x"), ("o", "y")]);
    leave_out(&mut many, 3);
    assert_eq!(many, candidates(&[("m", "a"), ("m", "b"), ("n", "x")]), "one place is for another model");
    leave_out(&mut many, 2);
    assert_eq!(many, candidates(&[("m", "a"), ("m", "b")]));
    let route = Route { on_context: candidates(&[("m", "big")]), ..route(TWO_AND_ANOTHER) };
    let too_long = errors(&[Reason::EngineTimeout, Reason::ContextLengthExceeded, Reason::EngineFailed]);
    let never = Retrying { retries: 0, ..retrying() };
    assert_eq!(asked(Plan::new(route.clone(), 2, &never), &too_long), "first:a! failover:b");
    assert_eq!(asked(Plan::new(route, 3, &never), &too_long), "first:a! failover:b failover:big");
}

#[test]
fn nothing_is_begun_that_cannot_end_before_the_deadline() {
    let milliseconds = |count| Some(Duration::from_millis(count));
    let failed = |plan: &mut Plan| {
        let next = plan.next(milliseconds(10), 1.0).unwrap();
        plan.failed(next.index, &Error::new(Reason::EngineFailed, "x"));
    };
    assert!(plan(route(ONE)).next(Some(Duration::ZERO), 1.0).is_none());
    let mut one = plan(route(ONE));
    failed(&mut one);
    assert!(one.next(milliseconds(149), 1.0).is_none(), "a pause of 100 ms, and 50 for the attempt");
    assert!(one.next(milliseconds(150), 1.0).is_some());
    let mut two = plan(route(TWO_AND_ANOTHER));
    failed(&mut two);
    assert!(!two.can_hedge(milliseconds(49)));
    assert!(two.next(milliseconds(49), 1.0).is_none());
    assert!(two.next(milliseconds(50), 1.0).is_some());
}

#[test]
fn a_pause_that_does_not_fit_leaves_time_for_another_model() {
    let mut plan = plan(route(&[("m", "a"), ("n", "b")]));
    let next = plan.next(MINUTE, 1.0).unwrap();
    plan.failed(next.index, &after(Reason::EngineOverloaded, 1000));
    let next = plan.next(Some(Duration::from_millis(500)), 1.0).unwrap();
    assert_eq!((next.candidate.id(), next.after), ("b", Duration::ZERO));
}

fn ids_of(asked: &[(Candidate, Error)]) -> std::collections::HashSet<(&str, &str)> {
    asked.iter().map(|(candidate, _)| (&*candidate.model, candidate.id())).collect()
}

fn reasons() -> impl Strategy<Value = Reason> {
    // Those that go on more often than those that end it all.
    prop_oneof![
        1 => proptest::sample::select(Reason::ALL),
        4 => proptest::sample::select(
            Reason::ALL.iter().copied().filter(|reason| reason.remedy().fallback).collect::<Vec<_>>()
        ),
    ]
}

proptest! {
    /// Whatever is said in whatever order: the bounds hold, and nobody is asked again who must not be.
    #[test]
    fn the_bounds_hold(
        shape in proptest::collection::vec((0..3usize, 0..5usize), 1..8),
        on_context in proptest::collection::vec((0..3usize, 5..8usize), 0..3),
        on_filter in proptest::collection::vec((0..3usize, 5..8usize), 0..3),
        said in proptest::collection::vec((reasons(), proptest::option::of(0..4000u64)), 0..20),
        hedge_at in 0..6usize,
        most in 1..6usize,
        retries in 0..4u32,
        chance in 0.0..=1.0f64,
    ) {
        let named = |of: Vec<(usize, usize)>| -> Vec<Candidate> {
            let name = |(model, id): (usize, usize)| candidate(&format!("m{model}"), &format!("m{model}-{id}"));
            let mut all: Vec<_> = of.into_iter().map(name).collect();
            all.sort_by(|a, b| a.id().cmp(b.id()));
            all.dedup();
            all
        };
        let (on_context, on_filter) = (named(on_context), named(on_filter));
        let route = Route { candidates: named(shape), on_context, on_filter, ..Route::default() };
        let retrying = Retrying { retries, ..retrying() };
        let mut plan = Plan::new(route.clone(), most, &retrying);
        let mut asked: Vec<(Candidate, Error)> = Vec::new();
        let mut paused = 0;
        for (turn, (reason, retry_after)) in said.into_iter().enumerate() {
            let hedge = turn == hedge_at && turn > 0 && plan.can_hedge(MINUTE);
            let next = if hedge { plan.hedge() } else { plan.next(MINUTE, chance) };
            let Some(next) = next else { break };
            let before: Vec<_> =
                asked.iter().filter(|(candidate, _)| *candidate == next.candidate).map(|(_, error)| error).collect();
            prop_assert_eq!(next.kind == AttemptKind::Retry, !before.is_empty());
            if let Some(last) = before.last() {
                prop_assert!(last.reason.remedy().again, "{:?} is not asked again", last.reason);
                let others = route.candidates.iter().any(|other| {
                    other.model == next.candidate.model
                        && plan.stops.iter().skip(plan.from).any(|stop| stop.candidate == *other && stop.is_untried())
                });
                prop_assert!(last.reason == Reason::EngineReset || !others, "others come first");
            }
            if !next.after.is_zero() {
                paused += 1;
                let least = before.last().and_then(|last| last.retry_after).unwrap_or_default();
                prop_assert!(least <= Duration::from_secs(2));
                prop_assert!((least..=least + Duration::from_secs(2)).contains(&next.after));
            }
            let error = Error {
                retry_after: retry_after.map(Duration::from_millis),
                ..Error::new(reason, "x")
            };
            plan.failed(next.index, &error);
            asked.push((next.candidate, error));
        }
        prop_assert!(paused <= retries);
        // A place that was not waited for is not a retry: the engine was not asked.
        let again = asked.len() - ids_of(&asked).len();
        let waited = asked.iter().filter(|(_, error)| error.reason == Reason::EngineBusy).count();
        prop_assert!(again <= retries as usize + waited);
        let unasked: Vec<_> = asked.iter().filter(|(_, error)| is_unasked(error.reason)).cloned().collect();
        let spare = ids_of(&unasked).len().min(SPARE);
        prop_assert!(asked.len() <= most + retries as usize + spare);
        prop_assert!(ids_of(&asked).len() <= most + spare);
        prop_assert_eq!(plan.failures(None), ids_of(&asked).len());
    }
}
