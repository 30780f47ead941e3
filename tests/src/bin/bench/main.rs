//! The benchmark: what the gateway costs beside the same load straight to the scripted engine. Absolute times
//! are those of this machine; counts and ratios travel further. Fails where the project promises a number.

// A program for a terminal that stops loudly, as the tests do.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::disallowed_methods
)]

mod api;
mod engines;
mod load;
mod measure;
mod probes;

use std::{
    process::exit,
    time::{Duration, Instant},
};

use api::Api;
use engines::Engines;
use load::{Kind, Load, Result};
use penstock_tests::{
    Mesh, Service, Topology,
    mesh::{ADMIN_KEY, Plan, binary, deployment, model},
};

/// Promised: ready this soon after the start of `penstock up`.
const READY_MAX: Duration = Duration::from_millis(300);
/// Promised: memory of an idle `penstock up`.
const IDLE_MAX_BYTES: u64 = 40 << 20;
/// Memory that a stream of any length may cost: slack of the allocator, not the stream.
const GROWTH_MAX_BYTES: u64 = 8 << 20;

/// How much to measure.
#[derive(Clone, Copy)]
struct Size {
    starts: usize,
    requests: usize,
    streams: usize,
    rounds: usize,
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["engine"] => engines::serve().await,
        [] => run(Size { starts: 10, requests: 20_000, streams: 50, rounds: 4 }).await,
        ["probes"] => probes().await,
        ["--quick"] => run(Size { starts: 10, requests: 3_000, streams: 50, rounds: 1 }).await,
        _ => {
            println!("usage: bench [--quick | probes]");
            exit(2);
        }
    }
}

async fn run(size: Size) {
    let engines = Engines::start();
    let direct = baseline(&engines, size).await;
    println!("binary: {:.1} MB ({})", bytes_of_binary(), binary().display());
    println!("engine directly, 8 callers: plain {}, chunk {}", direct.plain, direct.paced);
    let mut broken = Vec::new();
    for topology in [Topology::Standalone, Topology::Mesh] {
        broken.extend(one(topology, &engines, &direct, size).await);
    }
    probes().await;
    for promise in &broken {
        println!("BROKEN: {promise}");
    }
    // An exit drops nothing.
    drop(engines);
    exit(i32::from(!broken.is_empty()));
}

async fn probes() {
    for topology in [Topology::Standalone, Topology::Mesh] {
        probes::run(topology).await;
    }
}

/// The same loads without a gateway.
struct Baseline {
    plain: Result,
    paced: Result,
    burst: Result,
}

async fn baseline(engines: &Engines, size: Size) -> Baseline {
    let load = |kind, address, total| Load {
        api: Api::Chat,
        kind,
        address,
        model: "engine-model",
        key: None,
        callers: 8,
        total,
        first: 0,
    };
    Baseline {
        plain: load(Kind::Plain, engines.short, size.requests).run().await,
        paced: Load {
            callers: size.streams,
            ..load(Kind::Stream, engines.paced, size.streams * size.rounds)
        }
        .run()
        .await,
        burst: load(Kind::Stream, engines.burst, 40 * size.rounds).run().await,
    }
}

fn config(engines: &Engines) -> String {
    let names = [
        ("short", engines.short),
        ("paced", engines.paced),
        ("burst", engines.burst),
        ("long", engines.long),
    ];
    let models: String = names
        .iter()
        .map(|(name, address)| {
            [deployment(name, &format!("http://{address}/v1")), model(name, &[name], "")].concat()
        })
        .collect();
    // Everything is on: limits that are never reached, the cache asked by every plain request.
    let limits = "[[limits]]\napplies_to = \"key\"\nrequests = { per = \"1s\", limit = 1_000_000 }\n\
        tokens = { per = \"1s\", limit = 1_000_000_000 }\n";
    format!("[telemetry]\nlog = \"info\"\nlog_format = \"json\"\n{models}{limits}")
}

async fn one(topology: Topology, engines: &Engines, direct: &Baseline, size: Size) -> Vec<String> {
    let mut ready = Vec::new();
    for _ in 0..size.starts {
        let start = Instant::now();
        let mesh = Plan::new(topology, &config(engines)).start().await;
        ready.push(start.elapsed());
        drop(mesh);
    }
    ready.sort();
    let ready = ready[ready.len() / 2];

    let mesh = Plan::new(topology, &config(engines)).start().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let idle = mesh.resident_bytes();
    println!("\n{topology:?}: {} process(es)", mesh.processes_of_topology().len());
    println!("  ready after          {:>8.1} ms (median of {})", ready.as_secs_f64() * 1e3, size.starts);
    println!("  idle memory          {:>8.1} MB", mb(idle));

    let load = |kind, model, callers, total| Load {
        api: Api::Chat,
        kind,
        address: mesh.address(Service::Facade),
        model,
        key: Some(ADMIN_KEY),
        callers,
        total,
        first: 0,
    };
    // Warm: connections, memos, pools.
    load(Kind::Plain, "short", 8, 200).run().await;
    row(&mesh, "plain request", load(Kind::Plain, "short", 8, size.requests), &direct.plain).await;
    let total = size.streams * size.rounds;
    row(&mesh, "chunk, paced 20 ms", load(Kind::Stream, "paced", size.streams, total), &direct.paced).await;
    row(&mesh, "chunk, in bursts", load(Kind::Stream, "burst", 8, 40 * size.rounds), &direct.burst).await;
    for (at, api) in Api::ALL.into_iter().enumerate() {
        let first = (at + 1) * 1_000_000;
        let plain = Load { api, first, ..load(Kind::Plain, "short", 8, size.requests / 2) };
        row(&mesh, &format!("{api:?}, plain"), plain, &direct.plain).await;
        let burst = Load { api, first, ..load(Kind::Stream, "burst", 8, 40 * size.rounds) };
        row(&mesh, &format!("{api:?}, bursts"), burst, &direct.burst).await;
    }
    println!("  loaded memory        {:>8.1} MB", mb(mesh.resident_bytes()));

    load(Kind::Stream, "burst", 1, 2).run().await;
    let before = mesh.resident_bytes();
    let long = load(Kind::Stream, "long", 1, 1).run().await;
    let growth = mesh.resident_bytes().saturating_sub(before);
    println!("  growth over a stream {:>8.1} MB ({} chunks)", mb(growth), long.units);

    let mut broken = Vec::new();
    if topology == Topology::Standalone && ready > READY_MAX {
        broken.push(format!("ready after {ready:?}, promised {READY_MAX:?}"));
    }
    if topology == Topology::Standalone && idle > IDLE_MAX_BYTES {
        broken.push(format!("idle memory {:.1} MB, promised {:.1} MB", mb(idle), mb(IDLE_MAX_BYTES)));
    }
    if growth > GROWTH_MAX_BYTES {
        broken.push(format!("{topology:?}: memory grew by {:.1} MB with a long stream", mb(growth)));
    }
    if let Err(what) = long.whole(engines::LONG_CHUNKS) {
        broken.push(format!("{topology:?}: {what}"));
    }
    broken
}

async fn row(mesh: &Mesh, name: &str, load: Load<'_>, direct: &Result) {
    let before = measure::cpu_of(mesh);
    let result = load.run().await;
    let cpu = (measure::cpu_of(mesh) - before).as_secs_f64() * 1e6 / result.units as f64;
    println!(
        "  {name:<20} {cpu:>8.1} µs CPU of the gateway; {result}, {:.1} times as long as directly",
        result.median.as_secs_f64() / direct.median.as_secs_f64(),
    );
}

fn mb(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn bytes_of_binary() -> f64 {
    mb(std::fs::metadata(binary()).unwrap().len())
}
