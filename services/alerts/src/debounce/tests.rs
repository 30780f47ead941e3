//! Tests of the debounce: single rules by a clock that is moved by hand, and properties over random histories.

use State::{Degraded, Down, Up};
use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const PATIENCE: Patience = Patience { after: Duration::from_secs(10), grace: Duration::from_secs(30) };

/// A debounce with a clock, and what it has told.
struct Bench {
    debounce: Debounce,
    begin: Instant,
    at: Duration,
    told: Vec<(u64, String, State, State)>,
}

impl Bench {
    fn new() -> Self {
        Self {
            debounce: Debounce::new(PATIENCE),
            begin: Instant::now(),
            at: Duration::ZERO,
            told: Vec::new(),
        }
    }

    fn moment(&self, at: Duration) -> Moment {
        Moment { instant: self.begin + at, clock: SystemTime::UNIX_EPOCH + at }
    }

    /// Goes on to second `at`, telling what is due on the way.
    fn until(&mut self, at: u64) {
        let end = at * 1000;
        while let Some(due) = self.debounce.due() {
            let due = (due - self.begin).max(self.at);
            if due > Duration::from_millis(end) {
                break;
            }
            self.at = due;
            let news = self.debounce.take(self.moment(due));
            assert!(!news.is_empty(), "woken for nothing");
            for (name, change) in news {
                self.told.push((due.as_secs(), name, change.from, change.to));
            }
        }
        self.at = Duration::from_millis(end);
    }

    /// Sees these components at second `at`.
    fn see(&mut self, at: u64, components: &[(&str, State)]) {
        self.until(at);
        self.debounce.see(&report(components), self.moment(self.at));
    }

    fn told(&mut self, until: u64) -> Vec<(u64, String, State, State)> {
        self.until(until);
        std::mem::take(&mut self.told)
    }
}

fn report(components: &[(&str, State)]) -> Report {
    let component = |(name, state): &(&str, State)| Component {
        name: (*name).to_owned(),
        state: (*state).into(),
        ..Component::default()
    };
    Report { state: Up.into(), components: components.iter().map(component).collect(), ..Report::default() }
}

fn one(at: u64, from: State, to: State) -> Vec<(u64, String, State, State)> {
    vec![(at, "a".to_owned(), from, to)]
}

#[test]
fn a_state_that_lasts_is_told_once_and_so_is_the_recovery() {
    let mut bench = Bench::new();
    bench.see(0, &[("a", Up)]);
    bench.see(5, &[("a", Down)]);
    assert_eq!(bench.told(16), []);
    assert_eq!(bench.told(100), one(17, Up, Down), "after 10 s, and 2 s for what changes with it");
    bench.see(100, &[("a", Down)]);
    bench.see(200, &[("a", Up)]);
    assert_eq!(bench.told(1000), one(212, Down, Up));
}

#[test]
fn what_goes_back_in_time_is_not_told() {
    let mut bench = Bench::new();
    bench.see(0, &[("a", Up)]);
    bench.see(5, &[("a", Down)]);
    bench.see(14, &[("a", Up)]);
    assert_eq!(bench.told(100), []);
    // Nor is a short recovery of something that was told.
    bench.see(100, &[("a", Down)]);
    assert_eq!(bench.told(120), one(112, Up, Down));
    bench.see(120, &[("a", Up)]);
    bench.see(125, &[("a", Down)]);
    assert_eq!(bench.told(1000), []);
}

#[test]
fn what_swings_between_two_bad_states_is_told_as_the_better_one() {
    let mut bench = Bench::new();
    bench.see(0, &[("a", Up)]);
    for n in 0..10 {
        bench.see(5 + 4 * n, &[("a", if n % 2 == 0 { Down } else { Degraded })]);
    }
    assert_eq!(bench.told(45), one(17, Up, Degraded));
    bench.see(45, &[("a", Down)]);
    assert_eq!(bench.told(100), one(57, Degraded, Down));
    bench.see(100, &[("a", Degraded)]);
    assert_eq!(bench.told(200), one(112, Down, Degraded));
}

#[test]
fn several_changes_go_together() {
    let mut bench = Bench::new();
    bench.see(0, &[("a", Up), ("b", Up)]);
    bench.see(5, &[("a", Down), ("b", Up)]);
    bench.see(7, &[("a", Down), ("b", Degraded)]);
    let told: Vec<_> = bench.told(100).into_iter().map(|(at, name, ..)| (at, name)).collect();
    assert_eq!(told, [(17, "a".to_owned()), (17, "b".to_owned())]);
}

#[test]
fn at_the_start_there_is_more_patience() {
    let mut bench = Bench::new();
    bench.see(0, &[("a", Down)]);
    bench.see(29, &[("a", Up)]);
    assert_eq!(bench.told(100), []);
    let mut bench = Bench::new();
    bench.see(0, &[("a", Down)]);
    assert_eq!(bench.told(100), one(32, Up, Down), "it lasts");
}

#[test]
fn starting_stopping_and_not_knowing_are_no_changes() {
    let mut bench = Bench::new();
    bench.see(0, &[("a", Up)]);
    bench.see(1, &[("a", State::Unspecified)]);
    assert_eq!(bench.told(100), []);
    let draining = Report { draining: true, state: Down.into(), ..report(&[("a", Down)]) };
    bench.debounce.see(&draining, bench.moment(bench.at));
    let starting = Report { starting: true, state: Down.into(), ..Report::default() };
    bench.debounce.see(&starting, bench.moment(bench.at));
    assert_eq!(bench.told(200), []);
    // What was told stands while nobody can say.
    bench.see(200, &[("a", Down)]);
    assert_eq!(bench.told(220), one(212, Up, Down));
    bench.see(220, &[("a", State::Unspecified)]);
    bench.see(300, &[("a", Down)]);
    assert_eq!(bench.told(400), []);
}

#[test]
fn what_was_told_and_is_gone_for_good_is_told_as_gone() {
    let mut bench = Bench::new();
    bench.see(0, &[("a", Up), ("b", Up)]);
    bench.see(5, &[("a", Down), ("b", Up)]);
    assert_eq!(bench.told(20), one(17, Up, Down));
    bench.see(20, &[]);
    bench.see(25, &[("a", Down)]);
    assert_eq!(bench.told(50), []);
    bench.see(50, &[]);
    assert_eq!(bench.told(100), one(62, Down, State::Unspecified));
    assert_eq!(bench.debounce.tracks.len(), 1, "only the whole is left");
}

#[test]
fn the_text_is_that_of_the_state_that_is_told() {
    let mut bench = Bench::new();
    bench.see(0, &[("a", Up)]);
    let mut ill = report(&[("a", Down)]);
    ill.components[0].detail = "gone\nfor good".into();
    ill.components[0].since = Some((SystemTime::UNIX_EPOCH + 3 * SECOND).into());
    bench.debounce.see(&ill, bench.moment(5 * SECOND));
    let news = bench.debounce.take(bench.moment(17 * SECOND));
    let change = &news["a"];
    assert_eq!(change.detail, "gone for good");
    assert_eq!(change.since, SystemTime::UNIX_EPOCH + 3 * SECOND);
}

#[test]
fn names_are_bounded() {
    let mut bench = Bench::new();
    bench.debounce.names_max = 10;
    let names: Vec<String> = (0..100).map(|n| format!("model/{n}")).collect();
    let components: Vec<_> = names.iter().map(|name| (name.as_str(), Down)).collect();
    bench.see(0, &components);
    assert_eq!(bench.debounce.tracks.len(), 10);
    bench.see(1, &[]);
    bench.see(2, &[("a", Up)]);
    assert_eq!(bench.debounce.tracks.len(), 2, "those that were never told leave at once");
}

proptest! {
    /// Whatever happens: each notice goes on from the one before, what lasts is told, what does not last is not.
    #[test]
    fn notices_follow_on_another_and_end_with_what_is_so(
        steps in prop::collection::vec((1..25_u64, 0..4_usize), 1..60)
    ) {
        let mut bench = Bench::new();
        bench.see(0, &[("a", Up)]);
        let (mut at, mut last) = (0, Up);
        // The state at each second, with the last word for what is unknown.
        let mut history = vec![];
        for (pause, state) in steps {
            history.extend(std::iter::repeat_n(last, usize::try_from(pause).unwrap()));
            at += pause;
            let state = [Up, Degraded, Down, State::Unspecified][state];
            bench.see(at, &[("a", state)]);
            if state != State::Unspecified {
                last = state;
            }
        }
        let told = bench.told(at + 100);
        let mut known = Up;
        for (second, _, from, to) in told {
            prop_assert_eq!(from, known);
            prop_assert_ne!(from, to);
            // For all of the ten seconds before it was at least, or at most, as bad.
            let end = usize::try_from(second).unwrap();
            let lasted = (end.saturating_sub(10)..end).map(|at| history.get(at).copied().unwrap_or(last));
            let holds = |state: State| if to > from { state >= to } else { state <= to };
            prop_assert!(lasted.into_iter().all(holds), "{} {:?} {:?}", second, from, to);
            known = to;
        }
        prop_assert_eq!(known, last);
        prop_assert_eq!(bench.debounce.due(), None);
    }
}
