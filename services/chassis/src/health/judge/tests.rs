//! Outcomes in, states out: the cases by name, and that nothing flaps by property.

use proptest::prelude::*;

use super::*;

const FAST: Duration = Duration::from_millis(1);
const SLOW: Duration = Duration::from_millis(200);

fn judge() -> Judge {
    Judge::new(CheckConfig { failures: 2, slows: 3, recoveries: 2, ..CheckConfig::inside() })
}

fn down() -> Outcome {
    Outcome::Down("gone".into())
}

#[test]
fn the_first_outcome_counts_at_once_later_ones_only_in_a_row() {
    let mut judge = judge();
    assert_eq!(judge.take(Outcome::Up, FAST), (State::Up, ""));
    assert_eq!(judge.take(down(), FAST).0, State::Up);
    assert!(judge.is_unsure());
    assert_eq!(judge.take(Outcome::Up, FAST).0, State::Up, "one failure is forgotten");
    assert!(!judge.is_unsure());
    judge.take(down(), FAST);
    assert_eq!(judge.take(down(), FAST), (State::Down, "gone"));
    assert_eq!(judge.take(Outcome::Up, FAST).0, State::Down);
    assert_eq!(judge.take(Outcome::Up, FAST), (State::Up, ""));
}

#[test]
fn what_was_never_up_gets_better_at_once_and_later_no_more() {
    let mut judge = judge();
    assert_eq!(judge.take(down(), FAST).0, State::Down);
    assert_eq!(judge.take(Outcome::Up, FAST).0, State::Up, "a start");
    judge.take(down(), FAST);
    assert_eq!(judge.take(down(), FAST).0, State::Down);
    assert_eq!(judge.take(Outcome::Up, FAST).0, State::Down, "a recovery");
}

#[test]
fn an_outcome_that_alternates_does_not_flap() {
    let mut judge = judge();
    judge.take(Outcome::Up, FAST);
    for _ in 0..100 {
        assert_eq!(judge.take(down(), FAST).0, State::Up);
        assert_eq!(judge.take(Outcome::Up, FAST).0, State::Up);
    }
}

#[test]
fn slow_means_what_the_configuration_says_and_needs_its_own_number() {
    let mut degraded = judge();
    degraded.take(Outcome::Up, FAST);
    degraded.take(Outcome::Up, SLOW);
    assert_eq!(degraded.take(Outcome::Up, SLOW).0, State::Up);
    assert_eq!(degraded.take(Outcome::Up, SLOW), (State::Degraded, "slow: took longer than 100ms"));
    let config = CheckConfig { slow_means: State::Down, slows: 1, ..CheckConfig::inside() };
    let mut down = Judge::new(config);
    assert_eq!(down.take(Outcome::Up, SLOW).0, State::Down);
    let mut never = Judge::new(CheckConfig { slow_after: None, ..CheckConfig::inside() });
    assert_eq!(never.take(Outcome::Up, SLOW).0, State::Up);
}

#[test]
fn what_was_slow_has_not_failed() {
    let mut judge = judge();
    judge.take(Outcome::Up, FAST);
    judge.take(Outcome::Up, SLOW);
    assert_eq!(
        judge.take(down(), FAST).0,
        State::Up,
        "one lost answer is no failure, slow ones before it or not"
    );
    assert_eq!(judge.take(down(), FAST).0, State::Down);
}

/// An outcome and whether it was slow.
fn looks() -> impl Strategy<Value = Vec<(Outcome, Duration)>> {
    let outcome = prop_oneof![
        Just(Outcome::Up),
        Just(Outcome::Degraded("worse".into())),
        Just(Outcome::Down("gone".into()))
    ];
    proptest::collection::vec((outcome, prop_oneof![Just(FAST), Just(SLOW)]), 0..60)
}

fn configs() -> impl Strategy<Value = CheckConfig> {
    let means = prop_oneof![Just(State::Degraded), Just(State::Down)];
    (1..5_u32, 1..5_u32, 1..5_u32, means, any::<bool>()).prop_map(
        |(failures, slows, recoveries, means, limit)| CheckConfig {
            failures,
            slows,
            recoveries,
            slow_means: means,
            slow_after: limit.then_some(FAST * 100),
            ..CheckConfig::inside()
        },
    )
}

proptest! {
    /// It takes as many outcomes in a row as the configuration says, for worse and for better, and every change goes
    /// to the state that the last outcome speaks for.
    #[test]
    fn states_change_only_after_enough_outcomes_in_a_row(config in configs(), looks in looks()) {
        let mut judge = Judge::new(config);
        let (mut worse, mut better) = (0, 0);
        for (outcome, latency) in looks {
            let (before, been_up) = (judge.state().0, judge.been_up());
            let (found, _, _) = judge.read(outcome.clone(), latency);
            (worse, better) = match found.cmp(&before) {
                std::cmp::Ordering::Greater => (worse + 1, 0),
                std::cmp::Ordering::Less => (0, better + 1),
                std::cmp::Ordering::Equal => (0, 0),
            };
            let after = judge.take(outcome, latency).0;
            if before == State::Unspecified {
                // Only that the first one was slow does not count at once.
                (worse, better) = (u32::from(after != found), 0);
                continue;
            }
            if after == before {
                continue;
            }
            prop_assert_eq!(after, found);
            if after > before {
                prop_assert!(worse >= config.failures.min(config.slows), "{worse}");
            } else {
                prop_assert!(better >= config.recoveries || !been_up, "{better}");
            }
            (worse, better) = (0, 0);
        }
    }

    /// Whatever was before: the same outcome often enough decides, and then it is sure.
    #[test]
    fn the_same_outcome_often_enough_decides(config in configs(), looks in looks(), last in looks()) {
        let mut judge = Judge::new(config);
        for (outcome, latency) in looks {
            judge.take(outcome, latency);
        }
        let Some((outcome, latency)) = last.into_iter().next() else { return Ok(()) };
        let found = judge.read(outcome.clone(), latency).0;
        for _ in 0..5 {
            judge.take(outcome.clone(), latency);
        }
        prop_assert_eq!(judge.state().0, found);
        prop_assert_eq!(judge.is_unsure(), found != State::Up);
        prop_assert_eq!(judge.state().1.is_empty(), found == State::Up);
    }

    /// What alternates never makes it flap, as long as more than one outcome is needed.
    #[test]
    fn what_alternates_changes_nothing(config in configs(), bad in looks(), rounds in 1..50_usize) {
        let config = CheckConfig {
            failures: config.failures + 1,
            slows: config.slows + 1,
            recoveries: config.recoveries + 1,
            ..config
        };
        let mut judge = Judge::new(config);
        judge.take(Outcome::Up, FAST);
        for (outcome, latency) in bad.into_iter().cycle().take(rounds) {
            prop_assert_eq!(judge.take(outcome, latency).0, State::Up);
            prop_assert_eq!(judge.take(Outcome::Up, FAST).0, State::Up);
        }
    }
}
