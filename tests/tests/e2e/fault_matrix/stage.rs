//! Plays rows of the matrix: each cell has engines, deployments and a model of its own in one mesh, so that none sees
//! the breaker or the state of another. What came of all of them is printed as one table.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::{StreamExt as _, stream};
use penstock_tests::{
    Client, Engine, Mesh, Topology,
    client::{chat, streamed},
    engine::{Call, Refused},
    mesh::deployment,
    outcome::{Outcome, outcome},
};

use super::fault::{Case, Expect, Fault, Plays};

/// Where an engine redirects to. Nobody may ever follow.
pub(super) const LURE: &str = "/elsewhere";
/// Cells that are played at once: enough that those that wait for a timeout do not add up.
const AT_ONCE: usize = 12;
/// The longest that anything may take: some timeouts of the configuration, one after the other. A bound for hangs.
const WITHIN: Duration = Duration::from_secs(15);

/// Short patience with what never ends; long patience with checks and first tokens, for a busy machine.
pub(super) const IMPATIENT: &str = "answer_timeout = \"3s\"\nfirst_token_timeout = \"10s\"\n\
    stall_timeout = \"2s\"\nanswer_max_bytes = \"1 MiB\"\n";
/// Patience that no test waits for: what ends, ends by the deployment's own.
pub(super) const PATIENT: &str =
    "answer_timeout = \"10m\"\nfirst_token_timeout = \"10m\"\nstall_timeout = \"10m\"\n";
/// Next to every request here needs another attempt, and the router's budget is for all of them: it must not decide
/// which of the rows has one. Checks are made once.
const COMMON: &str = "[telemetry]\nlog = \"info\"\n[router]\nretry_budget_min = 1000\n\
    [inference_adapter]\ndiscovery_interval = \"1h\"\nprobe_timeout = \"20s\"\n";

/// Whether there is another deployment to go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Setting {
    Away,
    Alone,
}

/// The engine of a deployment.
enum Player {
    Engine(Engine),
    Nobody(Refused),
}

impl Player {
    async fn of(plays: Option<&Plays>) -> Player {
        let Some(plays) = plays else { return Player::Nobody(Refused::new()) };
        let (engine, plays, calls) = (Engine::start().await, Arc::clone(plays), AtomicUsize::new(0));
        engine.answering(move |body| plays(calls.fetch_add(1, Ordering::Relaxed), body));
        Player::Engine(engine)
    }

    fn v1(&self) -> String {
        match self {
            Player::Engine(engine) => engine.v1(),
            Player::Nobody(refused) => refused.v1(),
        }
    }

    fn calls(&self) -> Vec<Call> {
        match self {
            Player::Engine(engine) => engine.calls(),
            Player::Nobody(_) => Vec::new(),
        }
    }
}

/// One fault, asked for a stream or not.
struct Cell {
    fault: Arc<Fault>,
    stream: bool,
    expect: Expect,
    model: String,
    sick: Player,
    well: Option<Player>,
}

/// What came of a cell.
struct Played {
    cell: Cell,
    saw: Vec<Outcome>,
    took: Duration,
    /// Calls of the sick and of the other one when the caller had its answer.
    calls: (usize, usize),
    wrong: Vec<String>,
}

/// Plays all of `faults` in one mesh with this patience, by stream and not.
///
/// # Panics
/// With everything that went otherwise than a row says.
#[allow(clippy::print_stdout)] // What came of every row is half of what the tests are for.
pub(super) async fn play(topology: Topology, setting: Setting, patience: &str, faults: Vec<Fault>) {
    let (mut cells, mut config) = (Vec::new(), format!("{COMMON}{patience}"));
    for fault in faults.into_iter().map(Arc::new) {
        for stream in [true, false] {
            let cell = Cell::new(&fault, stream, setting, cells.len()).await;
            config += &cell.config();
            cells.push(cell);
        }
    }
    let mesh = Mesh::start(topology, &config).await;
    let client = mesh.client();
    let played = stream::iter(cells).map(|cell| cell.play(client.clone())).buffered(AT_ONCE);
    let mut played: Vec<Played> = played.collect().await;
    for cell in &mut played {
        cell.look_back().await;
    }
    println!("\n{topology:?}, {setting:?}\n{}", table(&played));
    let wrong: Vec<_> =
        played.iter().filter(|cell| !cell.wrong.is_empty()).map(ToString::to_string).collect();
    drop(mesh);
    assert!(wrong.is_empty(), "{} of {} cells:\n{}", wrong.len(), played.len(), wrong.join("\n"));
}

impl Cell {
    async fn new(fault: &Arc<Fault>, stream: bool, setting: Setting, number: usize) -> Cell {
        let Case { away, alone } = if stream { fault.stream.clone() } else { fault.plain.clone() };
        Cell {
            stream,
            model: format!("m{number}"),
            sick: Player::of(fault.plays.as_ref()).await,
            well: match setting {
                Setting::Away => Some(Player::of(Some(&fault.other)).await),
                Setting::Alone => None,
            },
            expect: if setting == Setting::Away { away } else { alone },
            fault: Arc::clone(fault),
        }
    }

    fn config(&self) -> String {
        let (model, fault) = (&self.model, &self.fault);
        let sick = deployment(&format!("{model}-sick"), &self.sick.v1()) + fault.sick;
        let well = self.well.as_ref().map(|well| {
            deployment(&format!("{model}-well"), &well.v1())
                .replace("\"openai\"", &format!("\"{}\"", fault.engine))
                + fault.well
        });
        let mut targets = format!("\"{model}-sick\"");
        if well.is_some() {
            targets += &format!(", {{ id = \"{model}-well\", priority = 2 }}");
        }
        let more = fault.model;
        format!(
            "{sick}{}[[models]]\nname = \"{model}\"\ndeployments = [{targets}]\n{more}",
            well.unwrap_or_default()
        )
    }

    async fn play(self, client: Client) -> Played {
        let body = if self.stream { streamed(chat(&self.model)) } else { chat(&self.model) };
        let client = match self.fault.deadline {
            Some(deadline) if self.stream => client.with_header("x-request-timeout", deadline),
            _ => client,
        };
        let since = Instant::now();
        let (mut saw, mut wrong) = (Vec::new(), Vec::new());
        for _ in 0..self.fault.requests {
            // On its own, so that one that panics is one line of many.
            let (client, body) = (client.clone(), body.clone());
            let asked = tokio::spawn(async move { outcome(&client, &body).await });
            match tokio::time::timeout(WITHIN, asked).await {
                Ok(Ok(outcome)) => saw.push(outcome),
                Ok(Err(panicked)) => wrong.push(format!("what must never be: {panicked}")),
                Err(_) => wrong.push(format!("no end within {WITHIN:?}")),
            }
        }
        let took = since.elapsed();
        let calls = self.calls();
        let mut played = Played { calls, saw, took, wrong, cell: self };
        played.judge();
        played
    }

    fn calls(&self) -> (usize, usize) {
        (self.sick.calls().len(), self.well.as_ref().map_or(0, |well| well.calls().len()))
    }
}

impl Played {
    fn judge(&mut self) {
        let Cell { expect, fault, sick, stream, .. } = &self.cell;
        for outcome in &self.saw {
            if !expect.sees.fits(outcome) {
                self.wrong.push(format!("the caller saw {outcome:?}, not {:?}", expect.sees));
            }
            if let (Outcome::Refused { retry_after, .. }, Some(least)) = (outcome, fault.retry_after)
                && retry_after.is_none_or(|told| told < least)
            {
                self.wrong.push(format!("told to wait {retry_after:?} s, not {least} or more"));
            }
        }
        for (name, calls, expected) in
            [("sick", self.calls.0, &expect.sick), ("well", self.calls.1, &expect.well)]
        {
            if !expected.contains(&calls) {
                self.wrong.push(format!("{calls} calls of {name}, not {expected:?}"));
            }
        }
        let sick = sick.calls();
        let hasty = sick.windows(2).any(|pair| pair[1].at.duration_since(pair[0].at) < fault.pause);
        if hasty && fault.requests == 1 {
            self.wrong.push(format!("asked again sooner than {:?}", fault.pause));
        }
        let goes_on = self.cell.well.as_ref().is_some_and(|well| well.calls().iter().any(holds_beginning));
        if goes_on != (fault.prefills && *stream && self.cell.well.is_some()) {
            self.wrong.push(format!("asked to go on from what was said: {goes_on}"));
        }
    }

    /// When all is over: nobody was asked once the caller had its answer, no connection was left behind, and nobody
    /// followed where an engine sent us.
    async fn look_back(&mut self) {
        let calls = self.cell.calls();
        if calls != self.calls {
            self.wrong
                .push(format!("asked after the caller had its answer: {:?}, then {calls:?}", self.calls));
        }
        for player in std::iter::once(&self.cell.sick).chain(&self.cell.well) {
            let Player::Engine(engine) = player else { continue };
            for call in engine.calls() {
                call.ended().await;
            }
            if engine.free_calls().iter().any(|call| call.path.contains(LURE)) {
                self.wrong.push("followed a redirect".to_owned());
            }
        }
    }

    /// The caller saw, and the calls of the sick one and of the other.
    fn brief(&self) -> String {
        let mut saw: Vec<_> = self.saw.iter().map(ToString::to_string).collect();
        saw.dedup();
        let (sick, well) = self.calls;
        let wrong = if self.wrong.is_empty() { "" } else { " (WRONG)" };
        format!("{}{wrong} | {sick}/{well} | {:.1} s", saw.join(", then "), self.took.as_secs_f64())
    }
}

fn holds_beginning(call: &Call) -> bool {
    call.json()["messages"]
        .as_array()
        .and_then(|all| all.last())
        .is_some_and(|last| last["role"] == "assistant")
}

impl fmt::Display for Played {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = if self.cell.stream { "stream" } else { "plain" };
        write!(f, "{} ({how}, {}): {}", self.cell.fault.name, self.cell.model, self.wrong.join("; "))
    }
}

fn table(played: &[Played]) -> String {
    let head = "| fault | stream: the caller saw | calls sick/well | took | plain: the caller saw | calls | took |\n\
        | --- | --- | --- | --- | --- | --- | --- |\n";
    let rows = played.chunks(2).map(|pair| {
        let cells: Vec<_> = pair.iter().map(Played::brief).collect();
        format!("| {} | {} |\n", pair[0].cell.fault.name, cells.join(" | "))
    });
    head.to_owned() + &rows.collect::<String>()
}
