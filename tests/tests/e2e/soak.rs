//! Ten thousand requests at engines that fail every tenth time, in every way that ends fast (G8): each of them ends
//! as a whole answer or as a clear error, the engines are asked little more often than that, and afterwards
//! nothing is left of it: no call, no memory, no file descriptor.

use std::{
    collections::BTreeMap,
    fs,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use futures_util::{StreamExt as _, stream};
use penstock_tests::{
    ENGINE_CANARY, Engine, Mesh, PROMPT_CANARY, Script, Service, Step, Topology,
    bounded::until,
    client::streamed,
    engine::Head,
    mesh::{deployment, model},
    outcome::{Outcome, outcome},
};
use serde_json::{Value, json};

const WARM_UP: u64 = 1_000;
const REQUESTS: u64 = 10_000;
const AT_ONCE: usize = 64;
/// Of a thousand calls of the engines.
const FAULTS_PER_MILLE: u64 = 100;
/// What chance follows from: the same faults in every run, for calls in the same order.
const SEED: u64 = 5;
/// Calls beyond one for each request: a fifth, as the router's budget for retries has it, and some to begin with.
const BUDGET: f64 = 0.2;
const MINIMUM: f64 = 100.0;
/// Memory may end so far above what it was after the warm-up: the allocator's slack, no leak of 10,000 of anything.
const GROWTH: f64 = 1.3;
const SLACK_BYTES: u64 = 30 << 20;
/// File descriptors beyond those after the warm-up.
const SLACK_FILES: usize = 16;

/// SplitMix64: the number at this place of the sequence.
fn number(at: u64) -> u64 {
    let mut z = at.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// What the answer to the request of this number says: nobody else's would be taken for it.
fn pieces(request: u64) -> Vec<String> {
    (0..6).map(|piece| format!("{:016x} ", number(request * 6 + piece))).collect()
}

fn request(number: u64) -> Value {
    let message = json!({"role": "user", "content": format!("{PROMPT_CANARY} request {number}")});
    let body = json!({"model": "test-model", "messages": [message]});
    if number.is_multiple_of(2) { streamed(body) } else { body }
}

/// The ways to fail, each after `said` where it gets so far.
fn fault(kind: u64, said: &[String], stream: bool) -> Script {
    let begun = |ending| Script::broken(said[..3].to_vec(), ending);
    let error = || {
        let error = json!({"error": {"message": format!("{ENGINE_CANARY} out of memory"), "code": 500}});
        Step::Event(error.to_string())
    };
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n{";
    let kinds: [&dyn Fn() -> Script; 22] = [
        &|| Script::status(500),
        &|| Script::status(502),
        &|| Script::status(503),
        &|| Script::status(429),
        &|| Script::status_with(429, &[("retry-after", "1")], "{}"),
        &|| Script::status(400),
        &|| Script::status(401),
        &|| Script::status(404),
        &|| Script::status(408),
        &|| Script::status_with(302, &[("location", "/elsewhere")], ""),
        &|| Script::default().with_head(Head::Close),
        &|| Script::default().after(Step::Reset),
        &|| Script::raw(head, [Step::Reset]),
        &|| Script::raw("garbage\r\n\r\n", []),
        &|| Script::html(),
        &|| Script::status_with(200, &[], "{\"choices\":[{"),
        &|| Script::steps([error()]),
        &|| begun(Step::Cut),
        &|| begun(Step::Reset),
        &|| begun(Step::Raw(b"data: {\n\n".into())),
        &|| begun(if stream { Step::Done } else { Step::Cut }),
        &|| begun(error()),
    ];
    kinds[kind as usize % kinds.len()]()
}

async fn engine(calls: &Arc<AtomicU64>) -> Engine {
    let (engine, calls) = (Engine::start().await, Arc::clone(calls));
    engine.answering(move |body| {
        let prompt = body["messages"].as_array().and_then(|all| all.iter().find(|one| one["role"] == "user"));
        let asked = prompt.and_then(|prompt| prompt["content"].as_str()?.rsplit(' ').next()?.parse().ok());
        let said = pieces(asked.expect("every prompt has its number"));
        let luck = number(SEED << 32 | calls.fetch_add(1, Ordering::Relaxed));
        match luck % 1000 < FAULTS_PER_MILLE {
            true => fault(luck / 1000, &said, body["stream"] == json!(true)),
            false => Script::texts(said),
        }
    });
    engine
}

/// Asks for all of `numbers`; how often each thing was seen.
async fn ask(mesh: &Mesh, numbers: std::ops::Range<u64>) -> BTreeMap<String, usize> {
    let asked = stream::iter(numbers).map(|number| {
        let client = mesh.client();
        async move { (number, outcome(&client, &request(number)).await) }
    });
    let mut seen = BTreeMap::new();
    let mut answers = asked.buffer_unordered(AT_ONCE);
    while let Some((number, outcome)) = answers.next().await {
        let whole = pieces(number).concat();
        match &outcome {
            Outcome::Whole { text, finish } => {
                assert_eq!((text, finish.as_str()), (&whole, "stop"), "request {number}")
            }
            Outcome::Broken { text, .. } => assert!(whole.starts_with(text), "request {number}: {text}"),
            Outcome::Refused { status, .. } => assert!(*status >= 400, "request {number}: {outcome}"),
        }
        *seen.entry(outcome.to_string()).or_default() += 1;
    }
    seen
}

/// What is going on in the process, as its metrics have it.
async fn busy(mesh: &Mesh) -> f64 {
    let metrics = mesh.metrics(Service::Facade).await;
    let counted = |line: &&str| ["in_flight", "queued", "in_progress"].iter().any(|what| line.contains(what));
    let lines = metrics.lines().filter(|line| !line.starts_with('#')).filter(counted);
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

fn files(mesh: &Mesh) -> usize {
    mesh.pids().map(|pid| fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_requests_leave_nothing_behind() {
    let calls = Arc::default();
    let (first, second) = (engine(&calls).await, engine(&calls).await);
    let config = [
        "[telemetry]\nlog = \"warn\"\n".to_owned(),
        deployment("first", &first.v1()),
        deployment("second", &second.v1()),
        model("test-model", &["first", "second"], ""),
    ];
    let mesh = Mesh::start(Topology::Standalone, &config.concat()).await;
    let idle = busy(&mesh).await;
    let settled =
        async || until("the end of every call", async || (busy(&mesh).await <= idle).then_some(())).await;
    ask(&mesh, 0..WARM_UP).await;
    settled().await;
    let (memory, open) = (mesh.resident_bytes(), files(&mesh));

    let since = Instant::now();
    let seen = ask(&mesh, WARM_UP..WARM_UP + REQUESTS).await;
    let took = since.elapsed();
    let asked = calls.load(Ordering::Relaxed);
    settled().await;
    let most = (memory as f64 * GROWTH) as u64 + SLACK_BYTES;
    until("memory to be given back", async || (mesh.resident_bytes() <= most).then_some(())).await;
    until("connections to be given up", async || (files(&mesh) <= open + SLACK_FILES).then_some(())).await;

    let mebibytes = |bytes: u64| bytes >> 20;
    println!(
        "{REQUESTS} requests, {AT_ONCE} at once, in {:.1} s; calls of the engines, warm-up and all: {asked}",
        took.as_secs_f64()
    );
    println!(
        "memory: {} MiB, then {} MiB; files: {open}, then {}",
        mebibytes(memory),
        mebibytes(mesh.resident_bytes()),
        files(&mesh)
    );
    for (what, count) in &seen {
        println!("{count:>6} {what}");
    }
    assert_eq!(seen.values().sum::<usize>() as u64, REQUESTS);
    assert_eq!(calls.load(Ordering::Relaxed), asked, "an engine was asked after the last answer");
    let requests = (WARM_UP + REQUESTS) as f64;
    assert!(asked as f64 <= requests * (1.0 + BUDGET) + MINIMUM, "{asked} calls of the engines");
    // One in 220 is refused as the caller's fault, two engines may fail in a row, and nothing else is ever seen.
    let whole = seen.get("whole answer").copied().unwrap_or_default() as f64 / REQUESTS as f64;
    assert!(seen.len() > 1 && whole > 0.985, "{whole} of the answers are whole");
}
