//! Runs real clients that nobody on this project wrote, each from the folder that `tests/run` installs it in,
//! and plays the model that they all want: one that calls tools and answers in JSON when it is asked to.

use std::{
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::process::{Child, Command};

use crate::{Mesh, Script, Step};

/// Longest run of a script: starting Python and importing a client takes many seconds on a busy machine.
const RUN_MAX: Duration = Duration::from_secs(120);

/// Runs `tests/<script>` against `mesh`; it must exit with 0. Python runs in the venv beside the script (or, of
/// `python/`, in `tests/.venv`), JavaScript in node.
pub async fn run(script: &str, mesh: &Mesh, environment: &[(&str, &str)]) -> Output {
    ends(start(script, mesh, environment)).await
}

/// A script that runs; dropping it ends it.
pub struct Running {
    script: PathBuf,
    child: Child,
}

/// Starts a script, as `run` does.
pub fn start(script: &str, mesh: &Mesh, environment: &[(&str, &str)]) -> Running {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let script = tests.join(script);
    let folder = script.parent().unwrap();
    let (program, installed) = if script.extension().is_some_and(|ending| ending == "mjs") {
        (PathBuf::from("node"), folder.join("node_modules"))
    } else {
        let home = if folder.ends_with("python") { tests } else { folder };
        (home.join(".venv/bin/python"), home.join(".venv/stamp"))
    };
    assert!(installed.exists(), "{} is not installed: run tests/run", folder.display());
    let child = Command::new(program)
        .arg(&script)
        .env("PENSTOCK_BASE_URL", mesh.base_url())
        .env("PENSTOCK_KEY", mesh.key())
        .env("PENSTOCK_GRPC", mesh.grpc().to_string())
        .env("PENSTOCK_PROTO", tests.join("../proto"))
        .envs(environment.iter().copied())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the script starts");
    Running { script, child }
}

/// Waits until a script has made the file `signal`; fails with what it said if it ended before.
pub async fn began(mut running: Running, signal: &Path) -> Running {
    let waiting = async {
        while !signal.exists() && running.child.try_wait().unwrap().is_none() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(RUN_MAX, waiting).await.expect("the script begins");
    if signal.exists() {
        return running;
    }
    ends(running).await;
    panic!("the script has ended without {}", signal.display());
}

/// Waits until a script ends; it must exit with 0.
pub async fn ends(running: Running) -> Output {
    let Running { script, child } = running;
    let output = tokio::time::timeout(RUN_MAX, child.wait_with_output());
    let output = output.await.expect("the script ends").expect("the script runs");
    assert!(
        output.status.success(),
        "{}: {}\n{}{}",
        script.display(),
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    output
}

/// What the model says to `request`: to the result of a tool that it has called what it was; to a tool `add` a call
/// of it, to any other tool a call with a person; where JSON is wanted a person; else `Hello, world!`. Asked to think
/// it does so first.
pub fn model(request: &Value) -> Script {
    let mut script = says(request);
    if request["reasoning_effort"].as_str().is_some_and(|effort| effort != "none") {
        let pieces = if request["stream"] == true { &["Let me ", "think."][..] } else { &["Let me think."] };
        let thoughts = pieces.iter().map(|piece| Step::Delta(json!({"reasoning_content": piece})));
        script.steps.splice(1..1, thoughts);
    }
    script
}

fn says(request: &Value) -> Script {
    const PERSON: [&str; 3] = ["{\"name\": ", "\"Ada\", \"a", "ge\": 36}"];
    let messages = request["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let last = messages.last().unwrap_or(&Value::Null);
    // A result without its call would be a conversation that lost a turn on the way.
    let called = messages.iter().any(|message| message["tool_calls"][0].is_object());
    let name = request["tools"][0]["function"]["name"].as_str();
    if last["role"] == "tool" && name == Some("add") && called {
        let result =
            last["content"].as_str().or_else(|| last["content"][0]["text"].as_str()).unwrap_or("nothing");
        return Script { usage: (7, 4), ..Script::texts(["The result", " is ", result, "."]) };
    }
    if let Some(name) = name {
        let pieces = if name == "add" { &["{\"a\": 1,", " \"b\": 2}"][..] } else { &PERSON };
        return call(name, pieces, request["stream"] == true);
    }
    let wants_json = request["response_format"]["type"].as_str().is_some_and(|kind| kind != "text");
    // Some clients have no other way to ask for JSON than to say so.
    let told_so = request["messages"].to_string().contains("JSON");
    if wants_json || told_so {
        return Script { usage: (7, 4), ..Script::texts(PERSON) };
    }
    Script::default()
}

/// A call of the tool `name`, its arguments in pieces; of a plain answer in one, which is not put together.
fn call(name: &str, pieces: &[&str], stream: bool) -> Script {
    let whole = [pieces.concat()];
    let pieces: Vec<&str> = if stream { pieces.to_vec() } else { vec![&whole[0]] };
    let mut steps = vec![Step::Delta(json!({"role": "assistant", "content": null}))];
    for (at, piece) in pieces.into_iter().enumerate() {
        let mut fragment = json!({"index": 0, "function": {"arguments": piece}});
        if at == 0 {
            fragment["id"] = json!("call_1");
            fragment["type"] = json!("function");
            fragment["function"]["name"] = json!(name);
        }
        steps.push(Step::Delta(json!({"tool_calls": [fragment]})));
    }
    steps.extend([Step::Finish("tool_calls"), Step::Usage, Step::Done]);
    Script { usage: (7, 4), ..Script::steps(steps) }
}
