//! `penstock explain`: where a request would go and why, or why one did go there, as text or as JSON. Nothing is
//! asked of an engine.

mod draw;
mod session;

use std::{
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use clap::Args;
use penstock_chassis::config::Environment;
use penstock_proto::{
    metadata,
    router::v1::{ExplainRequest, explain_request::Request as Asked},
};
use serde_json::{Value, json};
use tonic::metadata::{Ascii, MetadataValue};

pub(crate) use self::session::{Session, Trouble};
use crate::caller::DEFAULT_ADDRESS;

/// Exit code of a request that would be let through, and of a decision that was found.
const DECIDED: u8 = 0;
/// Exit code of one that would be refused, and of a decision that nobody knows.
const REFUSED: u8 = 1;
/// Exit code of arguments that make no sense.
const ARGUMENTS: u8 = 2;
/// Exit code if Penstock cannot be asked.
pub(crate) const UNASKED: u8 = 3;

/// Say where a request would go and why, or why one did go there.
///
/// The key needs the scope `admin`. Exits with 0 if the request would be let through, 1 if it would be refused or the
/// decision is not known, 2 for wrong arguments, 3 if Penstock cannot be asked.
#[derive(Args, Debug)]
pub(crate) struct Explain {
    #[command(flatten)]
    target: Target,
    /// File with a request as it would be posted, `-` for standard input; `{"endpoint": …, "request": …}` for another
    /// endpoint than its members tell.
    #[arg(value_name = "FILE", conflicts_with = "prompt")]
    file: Option<PathBuf>,
    /// Model to ask for; with FILE in place of the one in it.
    #[arg(long)]
    model: Option<String>,
    /// What to ask. Default: Hello.
    #[arg(long, value_name = "TEXT")]
    prompt: Option<String>,
    /// Session of the request.
    #[arg(long)]
    session: Option<String>,
    /// Only deployments that have all of these tags, separated by commas.
    #[arg(long)]
    tags: Option<String>,
    /// Only deployments where it is expected to cost at most so much.
    #[arg(long, value_name = "USD")]
    max_cost: Option<String>,
    /// Only deployments whose first token is expected so soon.
    #[arg(long, value_name = "MS")]
    max_latency: Option<String>,
    /// Id of a decision that was made, as an answer has it in x-penstock-decision.
    #[arg(long, value_name = "ID", conflicts_with_all = ["file", "model", "prompt", "session", "tags", "max_cost", "max_latency"])]
    decision: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Whom to ask, and with which key.
#[derive(Args, Debug)]
pub(crate) struct Target {
    /// Address of Penstock: of the facade or a router.
    #[arg(long, value_name = "URL", default_value = DEFAULT_ADDRESS)]
    pub(crate) addr: String,
    /// File that holds a key; without it, the environment variable PENSTOCK_ADMIN_KEY or PENSTOCK_API_KEY is used.
    #[arg(long, value_name = "FILE")]
    pub(crate) key_file: Option<PathBuf>,
}

type Steering = Vec<(&'static str, MetadataValue<Ascii>)>;

impl Explain {
    /// Asks, shows, and says with which code to exit.
    pub(crate) async fn run(self) -> u8 {
        let name = "explain";
        let session = match Session::new(&self.target, &Environment::of_process()) {
            Ok(session) => session,
            Err(error) => return say(name, &error, ARGUMENTS),
        };
        let shown = match &self.decision {
            Some(id) => session.decision(id).await.map(|decision| match self.json {
                true => (pretty(&penstock_facade::decision(&decision)), DECIDED),
                false => (draw::decision(&decision), DECIDED),
            }),
            None => match self.asked().and_then(|asked| Ok((asked, self.steering()?))) {
                Ok((asked, steering)) => session.explain(asked, steering).await.map(|answer| {
                    let refused = answer.decision.as_ref().is_some_and(|made| !made.outcome.is_empty());
                    let code = if refused { REFUSED } else { DECIDED };
                    match self.json {
                        true => (pretty(&penstock_facade::explanation(&answer)), code),
                        false => (draw::explanation(&answer), code),
                    }
                }),
                Err(error) => return say(name, &error, ARGUMENTS),
            },
        };
        match shown {
            Ok((text, code)) => print(name, &text, code),
            Err(Trouble::Refused(error)) => say(name, &error, REFUSED),
            Err(Trouble::Unasked(error)) => say(name, &error, UNASKED),
        }
    }

    /// The request to explain.
    fn asked(&self) -> anyhow::Result<ExplainRequest> {
        let body = match &self.file {
            Some(file) => of_file(&read(file)?)?,
            None => {
                let model =
                    self.model.as_deref().context("name a model by --model, or a FILE with a request")?;
                let prompt = self.prompt.as_deref().unwrap_or("Hello.");
                let messages = json!([{"role": "user", "content": prompt}]);
                json!({"request": {"model": model, "messages": messages}}).to_string()
            }
        };
        // Before it is read: a request without a model is none.
        let body = match &self.model {
            Some(model) if self.file.is_some() => with_model(&body, model)?,
            _ => body,
        };
        let request = penstock_facade::explain_request(body.as_bytes()).map_err(|error| {
            let violations: String = error
                .violations
                .iter()
                .map(|wrong| format!("\n  {}: {}", wrong.field, wrong.message))
                .collect();
            let words =
                if violations.is_empty() { error.message.as_ref() } else { "the request is not valid" };
            anyhow::anyhow!("{words}{violations}")
        })?;
        match &request.request {
            Some(Asked::Generate(_) | Asked::Embed(_) | Asked::Moderate(_)) => Ok(request),
            None => bail!("there is no request"),
        }
    }

    /// What goes along with it.
    fn steering(&self) -> anyhow::Result<Steering> {
        let given = [
            (metadata::SESSION, &self.session),
            (metadata::TAGS, &self.tags),
            (metadata::MAX_COST, &self.max_cost),
            (metadata::MAX_LATENCY, &self.max_latency),
        ];
        let given = given.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?)));
        given
            .map(|(name, value)| {
                let held = value.parse().with_context(|| format!("no header can hold this {name}"))?;
                Ok((name, held))
            })
            .collect()
    }
}

fn read(file: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    if file == Path::new("-") {
        io::stdin().read_to_string(&mut text).context("cannot read standard input")?;
        return Ok(text);
    }
    std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
}

/// The body for a request as it would be posted, its endpoint told by its members.
fn of_file(text: &str) -> anyhow::Result<String> {
    let value: Value = serde_json::from_str(text).context("the request is not JSON")?;
    let has = |member: &str| value.get(member).is_some();
    if has("request") {
        return Ok(text.to_owned());
    }
    // What only one of the faces has: the rest of their members are the same.
    let of_responses = || {
        let items = value.get("input").and_then(Value::as_array).and_then(|items| items.first());
        items.is_some_and(Value::is_object)
            || ["instructions", "max_output_tokens", "reasoning", "text", "tools", "store", "stream"]
                .into_iter()
                .any(has)
    };
    let of_messages = || ["system", "thinking", "stop_sequences"].into_iter().any(has);
    let endpoint = match (has("messages"), has("prompt"), has("input")) {
        (false, true, _) => "/v1/completions",
        (false, _, true) if of_responses() => "/v1/responses",
        (false, _, true) => "/v1/embeddings",
        (true, ..) if of_messages() => "/v1/messages",
        _ => "/v1/chat/completions",
    };
    // The text as it is: what it says twice is not to be lost.
    Ok(format!("{{\"endpoint\":\"{endpoint}\",\"request\":{text}}}"))
}

/// The same body for another model.
fn with_model(body: &str, model: &str) -> anyhow::Result<String> {
    let mut value: Value = serde_json::from_str(body).context("the request is not JSON")?;
    let request =
        value.get_mut("request").and_then(Value::as_object_mut).context("the request is no object")?;
    request.insert("model".to_owned(), model.into());
    Ok(value.to_string())
}

fn pretty(json: &[u8]) -> String {
    let value: Value = serde_json::from_slice(json).unwrap_or_default();
    format!("{value:#}\n")
}

/// Prints an answer; who reads may have seen enough, as `head` does.
pub(crate) fn print(command: &str, text: &str, code: u8) -> u8 {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            say(command, &anyhow::Error::from(error).context("cannot print the answer"), UNASKED)
        }
        _ => code,
    }
}

/// Says on standard error what is wrong.
pub(crate) fn say(command: &str, error: &anyhow::Error, code: u8) -> u8 {
    let text = format!("{error:#}");
    // Line by line: what is said may come from elsewhere, and nothing in it is to move a cursor.
    for (number, line) in text.lines().enumerate() {
        let line = crate::status::plain(line);
        // Nobody is left to tell if standard error is gone.
        let _ = match number {
            0 => writeln!(io::stderr(), "penstock {command}: {line}"),
            _ => writeln!(io::stderr(), "{line}"),
        };
    }
    code
}

#[cfg(test)]
mod tests;
