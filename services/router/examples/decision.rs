//! Measures the choice among 100 deployments beside a baseline of the same run, and fails where a decision takes
//! longer than is promised: `cargo run --release -p penstock-router --example decision`.

#![allow(clippy::print_stdout)] // a program for a terminal

use std::{
    hint::black_box,
    process::ExitCode,
    time::{Duration, Instant},
};

use penstock_router::{Strategy, bench::Bench};

const DEPLOYMENTS: u32 = 100;
const ROUNDS: u32 = 200;
const DECISIONS: u32 = 500;
/// Promised.
const DECISION_MAX: Duration = Duration::from_micros(3);

fn main() -> ExitCode {
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
    println!("{DEPLOYMENTS} deployments; ns per decision, median of {ROUNDS} rounds of {DECISIONS}");
    println!("{:<15} {:>9} {:>19}", "", "decision", "copied and sorted");
    let mut is_kept = true;
    for strategy in strategies {
        let bench = Bench::new(strategy, DEPLOYMENTS);
        let decision = median(|| bench.decide());
        let baseline = median(|| bench.baseline());
        let broken = if decision > DECISION_MAX { "  BROKEN: 3000 promised" } else { "" };
        is_kept &= broken.is_empty();
        println!("{:<15} {:>9} {:>19}{broken}", strategy.name(), decision.as_nanos(), baseline.as_nanos());
    }
    if is_kept { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The time of one call.
fn median(mut call: impl FnMut() -> usize) -> Duration {
    let mut times: Vec<_> = (0..ROUNDS)
        .map(|_| {
            let began = Instant::now();
            for _ in 0..DECISIONS {
                black_box(call());
            }
            began.elapsed() / DECISIONS
        })
        .collect();
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
