//! A slice of the fault matrix by each API: whatever an engine does, a caller gets the whole answer or an error in
//! the shape of its API, the same as by chat, and no engine is asked more often than by chat (C5 to C9, D1 to D5).

use std::{collections::HashMap, fmt, sync::Arc};

use futures_util::{StreamExt as _, stream};
use penstock_tests::{
    Client, Engine, Mesh, Script, Step, Topology,
    apis::{Api, Outcome, Said},
    both,
    engine::Head,
    mesh::deployment,
};
use serde_json::{Value, json};

use super::{APIS, asking};

/// What every engine would say if nothing were wrong.
const WHOLE: &str = "One two three four five.";
/// Cells that are played at once.
const AT_ONCE: usize = 12;
/// Short patience with what never ends, and a budget of retries that does not decide which cell has one.
const CONFIG: &str = "[telemetry]\nlog = \"info\"\n[router]\nretry_budget_min = 1000\n\
    [inference_adapter]\ndiscovery_interval = \"1h\"\nprobe_timeout = \"20s\"\nanswer_timeout = \"3s\"\n\
    first_token_timeout = \"3s\"\nstall_timeout = \"2s\"\n";

/// What must come of a fault, by stream and not, where nobody else can be asked.
#[derive(Clone, Copy, Debug)]
enum Comes {
    /// An error with this status; somebody else would have answered.
    Lost(u16),
    /// An error with this status, whoever else is there.
    Told(u16),
    /// A stream that says that it broke, without a stream this status; somebody else goes on.
    Broken(u16),
}

fn begun(ending: Step) -> Script {
    Script::broken(["One two ", "three "], ending)
}

fn coded(status: u16, code: &str) -> Script {
    let error = json!({"error": {"message": "no", "type": "x", "code": code}});
    Script::status_with(status, &[], &error.to_string())
}

fn faults() -> Vec<(&'static str, Script, Comes)> {
    let role = || Step::Delta(json!({"role": "assistant", "content": ""}));
    let error = json!({"error": {"message": "boom", "type": "server_error", "code": null}}).to_string();
    vec![
        ("500", Script::status(500), Comes::Lost(502)),
        ("503", Script::status(503), Comes::Lost(503)),
        ("429, Retry-After", Script::status_with(429, &[("retry-after", "30")], "{}"), Comes::Lost(503)),
        ("400", Script::status(400), Comes::Told(400)),
        ("401", Script::status(401), Comes::Lost(502)),
        ("404", Script::status(404), Comes::Lost(503)),
        ("a filter refuses", coded(400, "content_filter"), Comes::Told(400)),
        ("a page", Script::html(), Comes::Lost(502)),
        ("closed without a byte", Script::default().with_head(Head::Close), Comes::Lost(502)),
        ("cut before the first content", Script::steps([role(), Step::Cut]), Comes::Lost(502)),
        ("never a head", Script::default().after(Step::Stall), Comes::Lost(504)),
        ("cut", begun(Step::Cut), Comes::Broken(502)),
        ("reset", begun(Step::Reset), Comes::Broken(502)),
        ("an error in the stream", begun(Step::Event(error)), Comes::Broken(502)),
        ("no JSON", begun(Step::Event("{".into())), Comes::Broken(502)),
        ("silence", begun(Step::Stall), Comes::Broken(504)),
    ]
}

/// A fault by one API.
#[derive(Clone)]
struct Cell {
    name: &'static str,
    comes: Comes,
    api: Api,
    stream: bool,
    number: usize,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} by {:?} ({})", self.name, self.api, if self.stream { "stream" } else { "plain" })
    }
}

/// The whole answer, or what is left of it if the request holds its beginning.
fn whole(body: &Value) -> Script {
    let last = body["messages"].as_array().and_then(|messages| messages.last());
    let begun = last.filter(|last| last["role"] == "assistant").and_then(|last| last["content"].as_str());
    let left = WHOLE.strip_prefix(begun.unwrap_or_default()).unwrap_or(WHOLE);
    Script::texts(left.split_inclusive(' '))
}

/// Asks one cell, and judges what came of it alone.
async fn play(cell: Cell, client: Client, away: bool) -> (Cell, Result<Outcome, String>) {
    let question = asking(cell.api, &format!("m{}", cell.number), json!({}), cell.stream);
    let api = cell.api;
    // On its own, so that one that panics is one line of many.
    let own = format!("deployment s{}:", cell.number);
    let asked = tokio::spawn(async move {
        let mut outcome = api.ask(&client, &question).await.outcome;
        if let Outcome::Refused(trouble) | Outcome::Broken(_, trouble) = &mut outcome {
            // As if all had the same one.
            trouble.message = trouble.message.replace(&own, "deployment:");
        }
        outcome
    });
    let asked = asked.await;
    let verdict = match (asked, cell.comes) {
        (Err(panicked), _) => Err(format!("what must never be: {panicked}")),
        (Ok(outcome), Comes::Lost(_) | Comes::Broken(_)) if away => match &outcome {
            Outcome::Whole(Said { text, .. }) if text == WHOLE => Ok(outcome),
            other => Err(format!("not the whole answer: {other:?}")),
        },
        (Ok(Outcome::Broken(said, trouble)), Comes::Broken(_)) if cell.stream => {
            match WHOLE.starts_with(&said.text) {
                true => Ok(Outcome::Broken(said, trouble)),
                false => Err(format!("not its beginning: {said:?}")),
            }
        }
        (Ok(Outcome::Refused(trouble)), Comes::Lost(status) | Comes::Told(status)) if trouble.status == status => {
            Ok(Outcome::Refused(trouble))
        }
        (Ok(Outcome::Refused(trouble)), Comes::Broken(status)) if !cell.stream && trouble.status == status => {
            Ok(Outcome::Refused(trouble))
        }
        (Ok(other), comes) => Err(format!("{other:?}, not {comes:?}")),
    };
    (cell, verdict)
}

async fn slice(topology: Topology, away: bool) {
    let (mut cells, mut config, mut scripts) = (Vec::new(), CONFIG.to_owned(), HashMap::new());
    let (sick, well) = (Engine::start().await, Engine::start().await);
    for (name, script, comes) in faults() {
        for stream in [false, true] {
            for api in APIS {
                let number = cells.len();
                scripts.insert(format!("cell-{number}"), Arc::new(script.clone()));
                // Each has deployments and a model of its own, so that none sees the state of another.
                let of = |id: &str, engine: &Engine| {
                    let cell = format!("\"cell-{number}\"");
                    deployment(&format!("{id}{number}"), &engine.v1()).replace("\"engine-model\"", &cell)
                };
                let second = format!(", {{ id = \"w{number}\", priority = 2 }}");
                config += &of("s", &sick);
                config += &if away { of("w", &well) } else { String::new() };
                config += &format!("[[models]]\nname = \"m{number}\"\ndeployments = [\"s{number}\"{}]\n",
                    if away { &second } else { "" });
                cells.push(Cell { name, comes, api, stream, number });
            }
        }
    }
    sick.answering(move |body| Arc::clone(&scripts[body["model"].as_str().unwrap_or_default()]));
    well.answering(whole);
    let mesh = Mesh::start(topology, &config).await;
    let client = mesh.client();
    let played = stream::iter(cells).map(|cell| play(cell, client.clone(), away)).buffered(AT_ONCE);
    let played: Vec<_> = played.collect().await;
    drop(mesh);
    let calls = |engine: &Engine, number: usize| {
        let of = json!(format!("cell-{number}"));
        engine.calls().iter().filter(|call| call.json()["model"] == of).count()
    };
    let mut wrong = Vec::new();
    for four in played.chunks(APIS.len()) {
        let (chat, by_chat) = &four[0];
        for (cell, verdict) in four {
            let asked = |number: usize| (calls(&sick, number), calls(&well, number));
            if asked(cell.number) != asked(chat.number) {
                wrong.push(format!("{cell}: asked {:?} times, by chat {:?}", asked(cell.number), asked(chat.number)));
            }
            if asked(cell.number).0 > 3 {
                wrong.push(format!("{cell}: hammered: {:?}", asked(cell.number)));
            }
            match (by_chat, verdict) {
                (_, Err(what)) => wrong.push(format!("{cell}: {what}")),
                (Ok(by_chat), Ok(own)) if !matches!(own, Outcome::Whole(_)) => cell.api.agrees(by_chat, own),
                _ => {}
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

both! {
    async fn with_somewhere_to_go(topology: Topology) {
        slice(topology, true).await;
    }
}

both! {
    async fn with_nowhere_to_go(topology: Topology) {
        slice(topology, false).await;
    }
}
