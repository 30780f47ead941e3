//! Tests of what counts as evidence.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const FAST: Duration = Duration::from_millis(1);
const SLOW: Duration = Duration::from_millis(501);
const FAILED: Result<(), Reason> = Err(Reason::EngineFailed);
const GONE: Result<(), Reason> = Err(Reason::EngineUnreachable);

/// Time as the tests tell it, in milliseconds since some beginning.
fn at(millis: u64) -> (Instant, SystemTime) {
    static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
    let since = Duration::from_millis(millis);
    (*BEGAN + since, SystemTime::UNIX_EPOCH + since)
}

/// Every request alone, but where a test says what there was before.
struct Story(Evidence);

impl Story {
    fn new() -> Self {
        Self(Evidence::none(CheckConfig::engine()))
    }

    fn request(&mut self, outcome: Result<(), Reason>, millis: u64) -> State {
        self.among(u32::from(outcome.is_err()), 1, outcome, millis)
    }

    fn among(&mut self, failed: u32, calls: u32, outcome: Result<(), Reason>, millis: u64) -> State {
        let (now, wall) = at(millis);
        self.0.request(outcome, Recent { failed, calls }, now, wall);
        self.0.seen().state
    }

    fn check(&mut self, outcome: Result<(), Reason>, latency: Duration, millis: u64) -> State {
        let (now, wall) = at(millis);
        self.0.check(outcome, latency, now, wall);
        self.0.seen().state
    }

    fn due(&self) -> u64 {
        let due = self.0.due().map(|due| due.saturating_duration_since(at(0).0));
        u64::try_from(due.unwrap_or_default().as_millis()).unwrap()
    }
}

#[test]
fn d7_requests_outweigh_checks_for_a_while() {
    let mut story = Story::new();
    assert_eq!(story.check(Ok(()), FAST, 0), State::Up);
    assert_eq!(story.request(FAILED, 0), State::Down);
    assert_eq!(story.0.seen().detail, Reason::EngineFailed.title());
    for second in 1..15 {
        assert_eq!(story.check(Ok(()), FAST, second * 1000), State::Down, "it only answers checks");
    }
    assert_eq!(story.check(Ok(()), FAST, 15_000), State::Down, "one is not enough");
    assert_eq!(story.check(Ok(()), FAST, 16_000), State::Up, "recovers without a request");
    assert_eq!(story.request(Ok(()), 17_000), State::Up);
    for second in 18..32 {
        assert_eq!(story.check(FAILED, FAST, second * 1000), State::Up, "only the check fails");
    }
    assert_eq!(story.check(FAILED, FAST, 32_000), State::Up);
    assert_eq!(story.check(FAILED, FAST, 33_000), State::Down);
}

#[test]
fn requests_count_together_and_one_failure_is_not_the_end() {
    let mut story = Story::new();
    story.check(Ok(()), FAST, 0);
    assert_eq!(story.among(0, 19, Ok(()), 1000), State::Up);
    assert_eq!(story.among(1, 20, FAILED, 2000), State::Up, "one of twenty");
    assert_eq!(story.0.seen().checked_at, Some(at(1000).1), "which confirms nothing");
    assert_eq!(story.among(2, 20, FAILED, 3000), State::Degraded);
    assert_eq!(story.0.seen().detail, "some requests fail: The engine failed");
    assert_eq!(story.among(2, 20, Ok(()), 4000), State::Degraded, "one that goes well mends little");
    assert_eq!(story.check(Ok(()), FAST, 5000), State::Degraded, "nor do checks");
    assert_eq!(story.among(1, 20, Ok(()), 6000), State::Up);
    assert_eq!(story.among(3, 3, FAILED, 7000), State::Down);
    // Without further requests the checks have the say.
    assert_eq!(story.check(Ok(()), FAST, 22_000), State::Down);
    assert_eq!(story.check(Ok(()), FAST, 23_000), State::Up);
}

/// As many fail as it takes for a word, now one more and now one less: the word stays until it is clearly better.
#[test]
fn a_share_of_failures_at_the_edge_does_not_flap() {
    let mut story = Story::new();
    story.check(Ok(()), FAST, 0);
    let mut seen = vec![State::Up];
    for n in 1..50 {
        let (failed, outcome) = if n % 10 == 0 { (n / 10, FAILED) } else { (n / 10, Ok(())) };
        let state = story.among(failed, n, outcome, 1000 + u64::from(n));
        if seen.last() != Some(&state) {
            seen.push(state);
        }
    }
    assert_eq!(seen, [State::Up, State::Degraded]);
    assert_eq!(story.among(5, 101, Ok(()), 2000), State::Up);
}

#[test]
fn an_engine_that_could_not_be_reached_and_is_back_is_seen_at_once() {
    let mut story = Story::new();
    story.check(Ok(()), FAST, 0);
    assert_eq!(story.request(GONE, 1000), State::Down);
    assert_eq!(story.due(), 2000, "it is looked at soon");
    assert_eq!(story.check(Ok(()), FAST, 2000), State::Down);
    assert_eq!(story.check(Ok(()), FAST, 3000), State::Up);

    // It died while it answered: a check that does not reach it shows that.
    story.check(Ok(()), FAST, 4000);
    assert_eq!(story.request(Err(Reason::EngineCut), 5000), State::Down);
    assert_eq!(story.check(GONE, FAST, 6000), State::Down);
    story.check(Ok(()), FAST, 7000);
    assert_eq!(story.check(Ok(()), FAST, 8000), State::Up);
}

/// Who is back has been gone: a host that only refuses some connections is not to be asked anew at every check.
#[test]
fn only_a_check_shows_that_an_engine_is_gone() {
    let mut story = Story::new();
    story.check(Ok(()), FAST, 0);
    story.request(GONE, 1000);
    assert!(!story.0.is_gone());
    for outcome in [GONE, Err(Reason::EngineTimeout)] {
        story.check(outcome, FAST, 2000);
        assert!(story.0.is_gone(), "{outcome:?}");
        story.check(Ok(()), FAST, 3000);
        assert!(!story.0.is_gone());
    }
}

#[test]
fn what_cannot_be_connected_to_cannot_generate_either() {
    let mut story = Story::new();
    story.check(Ok(()), FAST, 0);
    story.request(Ok(()), 1000);
    assert_eq!(story.check(GONE, FAST, 2000), State::Up, "one failure is none");
    assert_eq!(story.check(GONE, FAST, 3000), State::Down);
    assert_eq!(story.request(Ok(()), 3500), State::Up, "it answers");
}

#[test]
fn slow_is_degraded_and_several_fast_answers_mend_it() {
    let mut story = Story::new();
    story.check(Ok(()), FAST, 0);
    story.check(Ok(()), SLOW, 5000);
    story.check(Ok(()), SLOW, 6000);
    assert_eq!(story.check(Ok(()), SLOW, 8000), State::Degraded);
    let seen = story.0.seen();
    assert_eq!((seen.detail.as_str(), seen.latency), ("slow: took longer than 500ms", Some(SLOW)));
    assert_eq!(story.check(Ok(()), FAST, 12_000), State::Degraded);
    assert_eq!(story.check(Ok(()), FAST, 13_000), State::Up);
}

#[test]
fn a_first_answer_that_was_slow_has_its_time() {
    let mut story = Story::new();
    assert_eq!(story.check(Ok(()), SLOW, 1000), State::Up);
    let seen = story.0.seen();
    assert_eq!((seen.checked_at, seen.last_success_at), (Some(at(1000).1), Some(at(1000).1)));
}

#[test]
fn overloaded_and_loading_is_degraded_other_failures_are_down() {
    for reason in Reason::ALL.iter().copied() {
        let expected = match reason {
            Reason::EngineOverloaded | Reason::ModelLoading => State::Degraded,
            _ => State::Down,
        };
        assert_eq!(Story::new().check(Err(reason), FAST, 0), expected, "{reason:?}");
    }
}

#[test]
fn what_fails_is_looked_at_soon_and_ever_less_often() {
    let mut story = Story::new();
    assert_eq!(story.0.due(), None, "at once");
    story.check(Ok(()), FAST, 0);
    assert_eq!(story.due(), 5000);
    story.request(FAILED, 1000);
    assert_eq!(story.due(), 2000);
    // However often it fails: one that fails all the time is looked at, too.
    story.request(FAILED, 1900);
    assert_eq!(story.due(), 2000);
    let mut now = 2000;
    let mut pauses = Vec::new();
    for _ in 0..6 {
        story.check(GONE, FAST, now);
        pauses.push(story.due() - now);
        now = story.due();
    }
    assert_eq!(pauses, [1000, 2000, 4000, 5000, 5000, 5000]);
    story.check(Ok(()), FAST, now);
    assert_eq!(story.due(), now + 1000, "news");
}

#[test]
fn a_request_that_went_well_spares_a_check_but_not_for_ever() {
    let mut story = Story::new();
    assert!(!story.0.spare(at(0).0), "what it can do is not known yet");
    story.check(Ok(()), FAST, 0);
    assert!(!story.0.spare(at(5000).0), "no requests");
    story.request(Ok(()), 4000);
    assert!(story.0.spare(at(5000).0));
    assert_eq!(story.due(), 9000);
    assert!(!story.0.spare(at(9000).0));
    story.request(FAILED, 9500);
    assert!(!story.0.spare(at(9600).0), "the last one counts");
    story.request(Ok(()), 59_000);
    assert!(story.0.spare(at(59_500).0));
    assert!(!story.0.spare(at(60_000).0), "once in a minute all the same");
}

#[test]
fn times_are_those_of_what_confirmed_the_state() {
    let mut story = Story::new();
    story.check(Ok(()), FAST, 1000);
    story.request(Ok(()), 2000);
    let seen = story.0.seen();
    assert_eq!((seen.checked_at, seen.last_success_at), (Some(at(2000).1), Some(at(2000).1)));
    assert_eq!(seen.latency, Some(FAST), "of the last check");
    story.check(FAILED, FAST, 3000);
    assert_eq!(story.0.seen().checked_at, Some(at(2000).1), "nothing is confirmed");
    story.request(FAILED, 4000);
    let seen = story.0.seen();
    assert_eq!((seen.checked_at, seen.last_success_at), (Some(at(4000).1), Some(at(2000).1)));
}

#[test]
fn a_generation_is_due_without_traffic_and_weighs_until_the_next_one() {
    let interval = 300 * SECOND;
    let mut story = Story::new();
    assert_eq!(story.0.generation_due(interval, at(0).0), None, "not looked at yet");
    story.check(Ok(()), FAST, 0);
    assert_eq!(story.0.generation_due(interval, at(0).0), Some(at(0).0));
    story.request(Ok(()), 1000);
    assert_eq!(story.0.generation_due(interval, at(2000).0), Some(at(301_000).0));
    let (now, wall) = at(301_000);
    story.0.generation(Err(Reason::EngineCredentials), (interval, 30 * SECOND), now, wall);
    assert_eq!(story.0.generation_due(interval, now), Some(at(316_000).0), "soon");
    let (now, wall) = at(316_000);
    story.0.generation(Err(Reason::EngineCredentials), (interval, 30 * SECOND), now, wall);
    assert_eq!(story.0.generation_due(interval, now), Some(at(346_000).0), "and then less often");
    assert_eq!(story.check(Ok(()), FAST, 345_000), State::Down);
    assert_eq!(story.check(Ok(()), FAST, 390_000), State::Down);
    // No generation any more, such as for want of tokens: the checks have the say.
    assert_eq!(story.check(Ok(()), FAST, 391_000), State::Down);
    assert_eq!(story.check(Ok(()), FAST, 392_000), State::Up);
    story.check(GONE, FAST, 393_000);
    assert_eq!(story.0.generation_due(interval, at(394_000).0), None, "nobody is there");
}

fn any_outcome() -> impl Strategy<Value = Result<(), Reason>> {
    prop_oneof![
        3 => Just(Ok(())),
        1 => Just(FAILED),
        1 => Just(GONE),
        1 => Just(Err(Reason::EngineOverloaded)),
        1 => Just(Err(Reason::EngineTimeout)),
    ]
}

proptest! {
    /// Whatever happens: a request's word is taken at once; the next check is neither further off than the
    /// interval nor nearer than the pause after a failure; checks come at most as often as that.
    #[test]
    fn time_and_state_stay_within_their_bounds(
        steps in prop::collection::vec((any::<bool>(), any_outcome(), 1_u64..4000, 0_u64..2000), 1..200),
    ) {
        let (mut story, config) = (Story::new(), CheckConfig::engine());
        let mut now = 0;
        let mut checked = None;
        for (is_request, outcome, pause, latency) in steps {
            now += pause;
            if is_request {
                let state = story.request(outcome, now);
                prop_assert_eq!(state, if outcome.is_ok() { State::Up } else { State::Down });
            } else if story.0.due().is_none_or(|due| due <= at(now).0) && !story.0.spare(at(now).0) {
                if let Some(last) = checked {
                    prop_assert!(now - last >= 1000, "hammered");
                }
                checked = Some(now);
                let state = story.check(outcome, Duration::from_millis(latency), now);
                prop_assert_ne!(state, State::Unspecified);
            }
            if let Some(due) = story.0.due() {
                prop_assert!(due <= at(now).0 + config.interval);
            }
            let seen = story.0.seen();
            prop_assert_eq!(seen.detail.is_empty(), matches!(seen.state, State::Up | State::Unspecified));
            prop_assert!(seen.checked_at <= Some(at(now).1) && seen.last_success_at <= Some(at(now).1));
        }
    }
}
