//! Measures the choice among 100 deployments beside a baseline of the same run, and says where a decision takes
//! longer than is promised: `cargo run --release -p penstock-router --example decision`.

#![allow(clippy::print_stdout)] // a program for a terminal

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use penstock_router::{Strategy, bench::Bench};

const DEPLOYMENTS: u32 = 100;
const ROUNDS: u32 = 200;
const DECISIONS: u32 = 500;
/// Promised.
const DECISION_MAX: Duration = Duration::from_micros(3);

fn main() {
    let strategies = [
        Strategy::Weighted,
        Strategy::LeastLatency,
        Strategy::LeastBusy,
        Strategy::Cheapest,
        Strategy::RoundRobin,
        Strategy::Affinity,
        Strategy::LoadedFirst,
        Strategy::Priority,
    ];
    println!("{DEPLOYMENTS} deployments; ns per decision, least of {ROUNDS} rounds of {DECISIONS}");
    println!("{:<15} {:>9} {:>19}", "", "decision", "copied and sorted");
    for strategy in strategies {
        let bench = Bench::new(strategy, DEPLOYMENTS);
        let decision = least(|| bench.decide());
        let baseline = least(|| bench.baseline());
        let above = if decision > DECISION_MAX { "  above the 3000 that are promised" } else { "" };
        println!("{:<15} {:>9} {:>19}{above}", strategy.name(), decision.as_nanos(), baseline.as_nanos());
    }
}

/// The time of one call: of the round that was disturbed least.
fn least(mut call: impl FnMut() -> usize) -> Duration {
    let rounds = (0..ROUNDS).map(|_| {
        let began = Instant::now();
        for _ in 0..DECISIONS {
            black_box(call());
        }
        began.elapsed() / DECISIONS
    });
    rounds.min().unwrap_or_default()
}
