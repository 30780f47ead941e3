//! The engines of the benchmark, in a process of their own, so that their CPU is not mixed into anybody's.

use std::{
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    time::Duration,
};

use penstock_tests::{Engine, Script, Step};
use rustix::process::{Pid, Signal, kill_process};

/// Deltas of a paced stream, one each 20 ms.
const PACED_CHUNKS: usize = 100;
/// Deltas of a stream in bursts.
const BURST_CHUNKS: usize = 1_000;
/// Deltas of the stream that shows whether memory grows.
pub(crate) const LONG_CHUNKS: usize = 100_000;
/// Text of a delta: with its frame about the 240 bytes that engines send.
const TEXT: &str = "sixteen letters ";

/// Where the engines are.
pub(crate) struct Engines {
    process: Child,
    pub(crate) short: SocketAddr,
    pub(crate) paced: SocketAddr,
    pub(crate) burst: SocketAddr,
    pub(crate) long: SocketAddr,
}

impl Engines {
    pub(crate) fn start() -> Engines {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .arg("engine")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the engines start");
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut address = || lines.next().unwrap().unwrap().parse().unwrap();
        let (short, paced, burst, long) = (address(), address(), address(), address());
        Engines { process, short, paced, burst, long }
    }
}

impl Engines {
    /// They take connections and say nothing any more.
    pub(crate) fn freeze(&self) {
        let pid = Pid::from_raw(self.process.id().cast_signed()).unwrap();
        kill_process(pid, Signal::STOP).expect("the engines run");
    }
}

impl Drop for Engines {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// Serves until standard input ends: with the benchmark, however that ends.
pub(crate) async fn serve() {
    let paced = Script::texts([TEXT; PACED_CHUNKS]);
    let steps = paced.steps.into_iter().flat_map(|step| match step {
        Step::Text(_) => vec![Step::Wait(Duration::from_millis(20)), step],
        other => vec![other],
    });
    let engines = [
        Engine::playing(Script::default()).await,
        Engine::playing(Script::steps(steps.collect::<Vec<_>>())).await,
        Engine::playing(Script::texts([TEXT; BURST_CHUNKS])).await,
        Engine::playing(Script::texts(vec![TEXT; LONG_CHUNKS])).await,
    ];
    for engine in &engines {
        println!("{}", engine.address());
    }
    tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink())).await.ok();
}
