//! Tests of the bulkhead: whose turn it is, and random arrivals, leaves and ends.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

/// The order in which those who wait get the one place.
fn turns(bulkhead: &mut Bulkhead<&'static str>) -> Vec<&'static str> {
    std::iter::from_fn(|| bulkhead.give_back()).collect()
}

#[test]
fn two_tenants_take_turns_though_one_came_first_with_many() {
    let mut bulkhead = Bulkhead::new(1, 100);
    assert!(bulkhead.take() && !bulkhead.take());
    for name in ["a1", "a2", "a3", "a4"] {
        bulkhead.wait("a", 10, name).unwrap();
    }
    for name in ["b1", "b2"] {
        bulkhead.wait("b", 10, name).unwrap();
    }
    assert_eq!(turns(&mut bulkhead), ["a1", "b1", "a2", "b2", "a3", "a4"]);
    assert_eq!(bulkhead.taken(), 0);
}

#[test]
fn tokens_count_and_not_requests() {
    let mut bulkhead = Bulkhead::new(1, 100);
    bulkhead.take();
    for name in ["long 1", "long 2"] {
        bulkhead.wait("a", 30, name).unwrap();
    }
    for name in ["short 1", "short 2", "short 3", "short 4"] {
        bulkhead.wait("b", 10, name).unwrap();
    }
    assert_eq!(turns(&mut bulkhead), ["long 1", "short 1", "short 2", "short 3", "long 2", "short 4"]);
}

#[test]
fn a_pause_saves_nothing_up_and_what_one_had_too_much_is_remembered() {
    let mut bulkhead = Bulkhead::new(1, 100);
    bulkhead.take();
    for name in ["a1", "a2", "a3", "a4"] {
        bulkhead.wait("a", 10, name).unwrap();
    }
    assert_eq!((bulkhead.give_back(), bulkhead.give_back()), (Some("a1"), Some("a2")));
    for name in ["late 1", "late 2"] {
        bulkhead.wait("late", 10, name).unwrap();
    }
    // Not both of the late ones first.
    assert_eq!(turns(&mut bulkhead), ["late 1", "a3", "late 2", "a4"]);

    let mut bulkhead = Bulkhead::new(1, 100);
    bulkhead.take();
    bulkhead.wait("greedy", 1000, "greedy 1").unwrap();
    for name in ["b1", "b2"] {
        bulkhead.wait("b", 10, name).unwrap();
    }
    assert_eq!(bulkhead.give_back(), Some("greedy 1"));
    bulkhead.wait("greedy", 1000, "greedy 2").unwrap();
    assert_eq!(turns(&mut bulkhead), ["b1", "b2", "greedy 2"]);
}

#[test]
fn who_leaves_gives_its_place_in_the_queue_to_another_at_once() {
    let mut bulkhead = Bulkhead::new(1, 2);
    bulkhead.take();
    let first = bulkhead.wait("a", 1, "first").unwrap();
    bulkhead.wait("a", 1, "second").unwrap();
    assert_eq!(bulkhead.wait("b", 1, "third").unwrap_err(), "third");
    bulkhead.leave(&first);
    bulkhead.leave(&first);
    bulkhead.wait("b", 1, "third").unwrap();
    assert_eq!(turns(&mut bulkhead), ["second", "third"]);
}

#[test]
fn a_wait_is_predicted_from_what_was_seen() {
    let second = Duration::from_secs(1);
    let mut bulkhead = Bulkhead::new(2, 100);
    assert_eq!(bulkhead.predicted_wait(), second, "nothing is known");
    bulkhead.took(10 * second);
    assert_eq!(bulkhead.predicted_wait(), 5 * second);
    for name in ["a", "b", "c"] {
        bulkhead.wait("t", 1, name).unwrap();
    }
    assert_eq!(bulkhead.predicted_wait(), 20 * second);
    bulkhead.took(1000 * second);
    assert_eq!(bulkhead.predicted_wait(), 60 * second);
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Arrive { tenant: usize, tokens: u64 },
    Leave(usize),
    End,
    Dismiss,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        40 => (0_usize..5, 1_u64..100).prop_map(|(tenant, tokens)| Event::Arrive { tenant, tokens }),
        10 => any::<usize>().prop_map(Event::Leave),
        30 => Just(Event::End),
        1 => Just(Event::Dismiss),
    ];
    prop::collection::vec(event, 1..400)
}

proptest! {
    /// A naive list of who waits: whatever happens no place is lost and none is given twice, and nobody waits while a
    /// place is free.
    #[test]
    fn no_place_is_lost_and_nobody_is_passed_over(places in 1_u32..5, queue_max in 0_usize..20, events in events()) {
        let mut bulkhead = Bulkhead::new(places, queue_max);
        let mut waiting: Vec<(usize, u64, Ticket)> = Vec::new();
        let (mut taken, mut number) = (0, 0);
        for event in events {
            match event {
                Event::Arrive { tenant, tokens } => {
                    number += 1;
                    if bulkhead.take() {
                        taken += 1;
                    } else {
                        let told = bulkhead.wait(&tenant.to_string(), tokens, number);
                        prop_assert_eq!(told.is_ok(), waiting.len() < queue_max);
                        waiting.extend(told.ok().map(|ticket| (tenant, number, ticket)));
                    }
                }
                Event::Leave(which) if !waiting.is_empty() => {
                    let (.., ticket) = waiting.swap_remove(which % waiting.len());
                    bulkhead.leave(&ticket);
                }
                Event::End if taken > 0 => match bulkhead.give_back() {
                    Some(next) => {
                        let index = waiting.iter().position(|(_, number, _)| *number == next);
                        prop_assert!(index.is_some(), "who does not wait got a place");
                        let (tenant, ..) = waiting.swap_remove(index.unwrap());
                        let older = waiting.iter().any(|(other, number, _)| *other == tenant && *number < next);
                        prop_assert!(!older, "first come, first served within a tenant");
                    }
                    None => {
                        prop_assert!(waiting.is_empty());
                        taken -= 1;
                    }
                },
                Event::Dismiss => {
                    prop_assert_eq!(bulkhead.dismiss().len(), waiting.len());
                    waiting.clear();
                }
                Event::Leave(_) | Event::End => {}
            }
            prop_assert_eq!((bulkhead.taken(), bulkhead.waiting()), (taken, waiting.len()));
            prop_assert!(taken <= places && (waiting.is_empty() || taken == places));
        }
    }

    /// Tenants that always have something waiting: their tokens never differ by more than one request's, and so
    /// nobody starves.
    #[test]
    fn shares_are_equal_in_tokens(tenants in 2_usize..6, requests in prop::collection::vec(1_u64..1000, 50..200)) {
        let mut bulkhead = Bulkhead::new(1, 100);
        bulkhead.take();
        let mut tokens = requests.iter().copied().cycle();
        let mut come = |bulkhead: &mut Bulkhead<(usize, u64)>, tenant: usize| {
            let tokens = tokens.next().unwrap();
            bulkhead.wait(&tenant.to_string(), tokens, (tenant, tokens)).unwrap();
        };
        for tenant in 0..tenants {
            come(&mut bulkhead, tenant);
            come(&mut bulkhead, tenant);
        }
        let mut had: HashMap<usize, u64> = (0..tenants).map(|tenant| (tenant, 0)).collect();
        for _ in &requests {
            let (tenant, tokens) = bulkhead.give_back().unwrap();
            *had.get_mut(&tenant).unwrap() += tokens;
            come(&mut bulkhead, tenant);
            let (least, most) = (had.values().min().unwrap(), had.values().max().unwrap());
            prop_assert!(most - least <= 1000, "{had:?}");
        }
    }

    /// Whatever comes and goes: memory of tenants is bounded by those who wait, and some.
    #[test]
    fn tenants_are_forgotten(names in prop::collection::vec("[a-z]{1,3}", 1..200)) {
        let mut bulkhead = Bulkhead::new(1, usize::MAX);
        bulkhead.take();
        for name in &names {
            bulkhead.wait(name, 5, ()).unwrap();
        }
        while bulkhead.give_back().is_some() {}
        prop_assert_eq!(bulkhead.remembered(), 0);
    }
}
