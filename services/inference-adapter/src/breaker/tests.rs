//! Tests of the breaker: the moments that matter, and random events against a naive model of it.

use proptest::prelude::*;

use super::{window::BUCKETS, *};

const SECOND: Duration = Duration::from_secs(1);

fn config() -> BreakerConfig {
    BreakerConfig {
        window: 30 * SECOND,
        minimum_calls: 4,
        failure_rate: 0.5,
        open: 5 * SECOND,
        open_max: 15 * SECOND,
        probes: 2,
    }
}

struct Story {
    breaker: Breaker,
    now: Instant,
}

impl Story {
    fn new() -> Self {
        Self { breaker: Breaker::new(config()), now: Instant::now() }
    }

    fn admit(&mut self) -> Permit {
        self.breaker.admit(self.now).expect("it lets requests through")
    }

    fn settle(&mut self, permit: Permit, went_well: Option<bool>) -> Option<Recent> {
        self.breaker.settle(permit, went_well, self.now, 0.0)
    }

    fn calls(&mut self, outcomes: &[bool]) {
        for went_well in outcomes {
            let permit = self.admit();
            self.settle(permit, Some(*went_well));
        }
    }

    /// Opens it, and waits until it is half-open.
    fn half_open() -> Self {
        let mut story = Self::new();
        story.calls(&[false; 4]);
        story.now += 5 * SECOND;
        story.breaker.turn(story.now);
        assert_eq!(story.breaker.phase(), Phase::HalfOpen);
        story
    }
}

#[test]
fn it_opens_at_the_rate_and_not_for_a_few() {
    let mut story = Story::new();
    story.calls(&[false; 3]);
    assert_eq!(story.breaker.phase(), Phase::Closed, "too few say nothing");
    story.calls(&[true; 4]);
    story.calls(&[false]);
    assert_eq!(story.breaker.phase(), Phase::Open, "four of eight");
    assert_eq!(story.breaker.cause(), Recent { failed: 4, calls: 8 });
    assert_eq!(story.breaker.admit(story.now).unwrap_err(), 5 * SECOND);
    story.now += 2 * SECOND;
    assert_eq!(story.breaker.refusal(story.now), Some(3 * SECOND), "the engine is left alone until then");
}

#[test]
fn what_is_long_ago_does_not_count() {
    let mut story = Story::new();
    story.calls(&[false; 3]);
    story.now += 31 * SECOND;
    story.calls(&[false; 3]);
    assert_eq!(story.breaker.phase(), Phase::Closed);
}

/// D6: closes after as many good ones as there are places, and lets no more through at once.
#[test]
fn d6_half_open_lets_a_few_through_and_closes_when_they_go_well() {
    let mut story = Story::half_open();
    let (first, second) = (story.admit(), story.admit());
    assert_eq!(story.breaker.admit(story.now).unwrap_err(), PROBED);
    story.settle(first, Some(true));
    assert_eq!(story.breaker.phase(), Phase::HalfOpen);
    story.settle(second, Some(true));
    assert_eq!(story.breaker.phase(), Phase::Closed);
    story.calls(&[false; 2]);
    assert_eq!(story.breaker.phase(), Phase::Closed, "what was before is forgotten");
}

#[test]
fn d6_one_failure_reopens_for_twice_as_long_and_closing_begins_anew() {
    let mut story = Story::half_open();
    for seconds in [10, 15, 15] {
        let (probe, other) = (story.admit(), story.admit());
        story.settle(probe, Some(false));
        assert_eq!(story.breaker.open_until(), Some(story.now + seconds * SECOND));
        assert_eq!(story.settle(other, Some(true)), None, "it was begun before");
        assert_eq!(story.breaker.phase(), Phase::Open);
        story.now += seconds * SECOND;
    }
    story.calls(&[true, true]);
    story.calls(&[false; 3]);
    assert_eq!(story.breaker.open_until(), Some(story.now + 5 * SECOND));
}

/// D6: a probe that nobody waits for any more, or that says nothing, holds nothing up.
#[test]
fn d6_a_probe_that_ends_without_a_word_gives_its_place_back() {
    let mut story = Story::half_open();
    for _ in 0..10 {
        let probe = story.admit();
        assert_eq!(story.settle(probe, None), None);
        assert_eq!(story.breaker.phase(), Phase::HalfOpen);
    }
    let (_first, _second) = (story.admit(), story.admit());
    assert!(story.breaker.admit(story.now).is_err());
}

/// An answer may take minutes: that it has begun is enough.
#[test]
fn a_first_word_is_enough_to_close_and_a_cut_afterwards_counts() {
    let mut story = Story::half_open();
    let (mut first, mut second) = (story.admit(), story.admit());
    story.breaker.heard(&mut first);
    assert!(!first.is_probe());
    let mut third = story.admit();
    story.breaker.heard(&mut second);
    assert_eq!(story.breaker.phase(), Phase::Closed);
    story.breaker.heard(&mut third);
    for cut in [first, second, third] {
        story.settle(cut, Some(false));
    }
    story.calls(&[false]);
    assert_eq!(story.breaker.phase(), Phase::Open);

    let mut story = Story::half_open();
    let mut cut = story.admit();
    story.breaker.heard(&mut cut);
    story.settle(cut, Some(false));
    assert_eq!(story.breaker.phase(), Phase::Open);
}

#[test]
fn what_was_asked_before_it_opened_neither_closes_nor_reopens_it() {
    let mut story = Story::new();
    let before: Vec<_> = (0..8).map(|_| story.admit()).collect();
    story.calls(&[false; 4]);
    let until = story.breaker.open_until();
    for (index, permit) in before.into_iter().enumerate() {
        assert_eq!(story.settle(permit, Some(index % 2 == 0)), None);
    }
    assert_eq!(story.breaker.open_until(), until);
}

#[test]
fn an_engine_that_is_back_is_asked_at_once() {
    let mut story = Story::new();
    story.breaker.hint();
    assert_eq!(story.breaker.phase(), Phase::Closed);
    story.calls(&[false; 4]);
    story.breaker.hint();
    let (hangs, other) = (story.admit(), story.admit());
    story.breaker.hint();
    let probe = story.admit();
    assert_eq!(story.settle(hangs, Some(false)), None, "it was asked before the engine was back");
    story.settle(other, None);
    let _probe = story.admit();
    assert!(story.breaker.admit(story.now).is_err(), "two at once, whatever became of the older ones");
    story.settle(probe, Some(true));
    story.calls(&[true]);
    assert_eq!(story.breaker.phase(), Phase::Closed);
}

#[test]
fn chance_makes_the_open_time_longer_by_a_little() {
    let mut story = Story::new();
    story.calls(&[false; 3]);
    let last = story.admit();
    story.breaker.settle(last, Some(false), story.now, 1.0);
    assert_eq!(story.breaker.open_until(), Some(story.now + 6 * SECOND));
}

/// What a breaker is to do, in the simplest words: every outcome is kept, and everything is counted anew.
struct Model {
    began: Option<Instant>,
    /// Outcomes since it was closed, with the number of their tenth of the window.
    outcomes: Vec<(u128, bool)>,
    phase: Phase,
    until: Instant,
    in_a_row: u32,
    opening: u64,
    well: u32,
}

impl Model {
    fn tenth(&mut self, now: Instant) -> u128 {
        let began = *self.began.get_or_insert(now);
        (now - began).as_nanos() / (config().window / BUCKETS as u32).as_nanos()
    }

    fn turn(&mut self, now: Instant) {
        if self.phase == Phase::Open && self.until <= now {
            (self.phase, self.well) = (Phase::HalfOpen, 0);
        }
    }

    fn open(&mut self, now: Instant) {
        let span = config().open * 2_u32.pow(self.in_a_row.min(10));
        self.until = now + span.min(config().open_max);
        self.phase = Phase::Open;
        self.in_a_row += 1;
        self.opening += 1;
    }

    fn first_word(&mut self) {
        self.well += 1;
        if self.well == config().probes {
            (self.phase, self.in_a_row) = (Phase::Closed, 0);
            self.outcomes.clear();
        }
    }

    fn outcome(&mut self, went_well: bool, now: Instant) {
        match self.phase {
            Phase::Closed => {
                let tenth = self.tenth(now);
                self.outcomes.push((tenth, went_well));
                let last: Vec<_> =
                    self.outcomes.iter().filter(|one| one.0 + u128::from(BUCKETS) > tenth).collect();
                let failed = last.iter().filter(|one| !one.1).count();
                if !went_well && last.len() >= 4 && 2 * failed >= last.len() {
                    self.open(now);
                }
            }
            Phase::HalfOpen if !went_well => self.open(now),
            Phase::HalfOpen | Phase::Open => {}
        }
    }
}

/// A request under way, as the model has it.
struct Call {
    permit: Permit,
    opening: u64,
    probes: bool,
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Ask,
    FirstWord(usize),
    End(usize, Option<bool>),
    Pass(u64),
    Hint,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let outcome = prop_oneof![3 => Just(Some(false)), 2 => Just(Some(true)), 1 => Just(None)];
    let event = prop_oneof![
        6 => Just(Event::Ask),
        1 => any::<usize>().prop_map(Event::FirstWord),
        5 => (any::<usize>(), outcome).prop_map(|(which, outcome)| Event::End(which, outcome)),
        2 => (1_u64..8000).prop_map(Event::Pass),
        1 => Just(Event::Hint),
    ];
    prop::collection::vec(event, 1..300)
}

proptest! {
    #[test]
    fn it_does_what_the_model_does(events in events()) {
        let Story { mut breaker, mut now } = Story::new();
        let mut model = Model {
            began: None,
            outcomes: Vec::new(),
            phase: Phase::Closed,
            until: now,
            in_a_row: 0,
            opening: 0,
            well: 0,
        };
        let mut calls: Vec<Call> = Vec::new();
        for event in events {
            let out = |calls: &[Call], opening| {
                calls.iter().filter(|call| call.probes && call.opening == opening).count()
            };
            match event {
                Event::Pass(millis) => now += Duration::from_millis(millis),
                Event::Hint => {
                    breaker.hint();
                    if model.phase != Phase::Closed {
                        (model.phase, model.well) = (Phase::HalfOpen, 0);
                        model.opening += 1;
                    }
                }
                Event::Ask => {
                    model.turn(now);
                    let admitted = breaker.admit(now);
                    let expected = match model.phase {
                        Phase::Closed => true,
                        Phase::Open => false,
                        Phase::HalfOpen => out(&calls, model.opening) < 2,
                    };
                    prop_assert_eq!(admitted.is_ok(), expected);
                    if let Err(after) = admitted {
                        prop_assert!(after > Duration::ZERO && after <= config().open_max);
                    } else if let Ok(permit) = admitted {
                        let probes = model.phase == Phase::HalfOpen;
                        calls.push(Call { permit, opening: model.opening, probes });
                    }
                }
                Event::FirstWord(which) if !calls.is_empty() => {
                    let index = which % calls.len();
                    let call = &mut calls[index];
                    breaker.heard(&mut call.permit);
                    if std::mem::take(&mut call.probes)
                        && call.opening == model.opening
                        && model.phase == Phase::HalfOpen
                    {
                        model.first_word();
                    }
                }
                Event::End(which, went_well) if !calls.is_empty() => {
                    let call = calls.swap_remove(which % calls.len());
                    let counted = breaker.settle(call.permit, went_well, now, 0.0);
                    let current = call.opening == model.opening;
                    prop_assert_eq!(counted.is_some(), current && went_well.is_some());
                    if current && let Some(went_well) = went_well {
                        if went_well && call.probes && model.phase == Phase::HalfOpen {
                            model.first_word();
                        }
                        model.outcome(went_well, now);
                    }
                }
                Event::FirstWord(_) | Event::End(..) => {}
            }
            prop_assert_eq!(breaker.phase(), model.phase);
            if model.phase == Phase::HalfOpen {
                prop_assert!(out(&calls, model.opening) <= 2, "more than the few");
            }
            if model.phase == Phase::Open {
                prop_assert_eq!(breaker.open_until(), Some(model.until));
            }
        }
        // However it has come to be: it lets requests through again, and closes when they go well.
        for call in calls {
            breaker.settle(call.permit, None, now, 0.0);
        }
        now += config().open_max;
        for _ in 0..2 {
            let permit = breaker.admit(now);
            prop_assert!(permit.is_ok());
            breaker.settle(permit.unwrap(), Some(true), now, 0.0);
        }
        prop_assert_eq!(breaker.phase(), Phase::Closed);
    }
}
