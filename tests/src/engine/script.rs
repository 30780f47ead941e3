//! What the scripted engine is told to do: a head, then steps in order. One script serves every dialect, and
//! both a streamed and a plain answer: plain ones join the texts.

use std::time::Duration;

use serde_json::{Value, json};

use super::texts::Vectors;

/// One thing to do, in order.
#[derive(Clone, Debug)]
pub enum Step {
    /// Do nothing for this long.
    Wait(Duration),
    /// Do nothing until the test opens the gate once more.
    Gate,
    /// A delta with this text.
    Text(String),
    /// A delta of this shape: tool calls, reasoning, a role.
    Delta(Value),
    /// The choice ends for this reason.
    Finish(&'static str),
    /// As `Finish`, with the usage in the same chunk (transformers serve).
    FinishWithUsage(&'static str),
    /// The usage in a chunk of its own, if the request asked for it.
    Usage,
    /// The end as the dialect has it: `[DONE]`.
    Done,
    /// This text as one event (or line), whatever it is.
    Event(String),
    /// These bytes in the body, whatever they are.
    Raw(Vec<u8>),
    /// Close the socket without ending the body.
    Cut,
    /// Reset the socket.
    Reset,
    /// Say nothing more until the client goes away.
    Stall,
}

/// How the answer starts.
#[derive(Clone, Debug)]
pub enum Head {
    /// 200 and the content type of the dialect.
    Ok,
    /// 200, but one plain JSON answer even to a request for a stream.
    AlwaysPlain,
    /// This status with these headers and this body; the steps are not played.
    Status {
        /// HTTP status.
        status: u16,
        /// Further headers.
        headers: Vec<(String, String)>,
        /// Body, JSON unless a header says otherwise.
        body: String,
    },
    /// Close the connection without a byte.
    Close,
    /// These bytes instead of a head, whatever they are; then the `Raw` steps as they are, with no chunks around
    /// them, and the steps that say nothing. The connection is closed at the end.
    Raw(Vec<u8>),
}

/// What to do with one request.
#[derive(Clone, Debug)]
pub struct Script {
    /// Played before the head: `Wait`, `Gate`, `Cut`, `Reset` and `Stall` only.
    pub before_head: Vec<Step>,
    /// The head.
    pub head: Head,
    /// Played after the head.
    pub steps: Vec<Step>,
    /// Prompt and completion tokens to report.
    pub usage: (u64, u64),
    /// A member that no specification names, put on every chunk or answer.
    pub extra: Option<(String, Value)>,
    /// How vectors are given.
    pub vectors: Vectors,
}

impl Default for Script {
    fn default() -> Self {
        Script::texts(["Hello", ", ", "world", "!"])
    }
}

impl Script {
    /// A whole answer of these deltas, as OpenAI sends it.
    pub fn texts<T: Into<String>>(texts: impl IntoIterator<Item = T>) -> Script {
        let texts: Vec<Step> = texts.into_iter().map(|text| Step::Text(text.into())).collect();
        let count = texts.len() as u64;
        let mut steps = vec![Step::Delta(json!({"role": "assistant", "content": ""}))];
        steps.extend(texts);
        steps.extend([Step::Finish("stop"), Step::Usage, Step::Done]);
        Script { usage: (7, count), ..Script::steps(steps) }
    }

    /// An answer of these steps.
    pub fn steps(steps: impl Into<Vec<Step>>) -> Script {
        Script {
            before_head: Vec::new(),
            head: Head::Ok,
            steps: steps.into(),
            usage: (7, 3),
            extra: None,
            vectors: Vectors::default(),
        }
    }

    /// The deltas of `texts`, then `ending` instead of the end.
    pub fn broken<T: Into<String>>(texts: impl IntoIterator<Item = T>, ending: Step) -> Script {
        let mut steps = vec![Step::Delta(json!({"role": "assistant", "content": ""}))];
        steps.extend(texts.into_iter().map(|text| Step::Text(text.into())));
        steps.push(ending);
        Script::steps(steps)
    }

    /// A gate before each delta of `texts` and before the end: nothing is sent that the test did not ask for.
    pub fn gated<T: Into<String>>(texts: impl IntoIterator<Item = T>) -> Script {
        let mut script = Script::texts(texts);
        script.steps = script
            .steps
            .into_iter()
            .flat_map(|step| match step {
                Step::Text(_) | Step::Finish(_) => vec![Step::Gate, step],
                other => vec![other],
            })
            .collect();
        script
    }

    /// An error answer with this status and an OpenAI error that holds the canary.
    pub fn status(status: u16) -> Script {
        let message = format!("{} secret detail", crate::ENGINE_CANARY);
        let body =
            json!({"error": {"message": message, "type": "server_error", "param": null, "code": null}});
        Script::status_with(status, &[], &body.to_string())
    }

    /// An error answer with this status, headers and body.
    pub fn status_with(status: u16, headers: &[(&str, &str)], body: &str) -> Script {
        let headers = headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        Script { head: Head::Status { status, headers, body: body.into() }, ..Script::default() }
    }

    /// A page of HTML with status 200, as a captive portal or a wrong port gives it.
    pub fn html() -> Script {
        let page = format!("<html><body>{} welcome</body></html>", crate::ENGINE_CANARY);
        Script::status_with(200, &[("content-type", "text/html")], &page)
    }

    /// These bytes instead of HTTP, then `steps`.
    pub fn raw(bytes: impl Into<Vec<u8>>, steps: impl Into<Vec<Step>>) -> Script {
        Script { head: Head::Raw(bytes.into()), ..Script::steps(steps) }
    }

    /// The same script behind `step`, before the head.
    #[must_use]
    pub fn after(mut self, step: Step) -> Script {
        self.before_head.push(step);
        self
    }

    /// The default script, with vectors given in this way.
    pub fn vectors(vectors: Vectors) -> Script {
        Script { vectors, ..Script::default() }
    }

    /// The same script with this head.
    #[must_use]
    pub fn with_head(self, head: Head) -> Script {
        Script { head, ..self }
    }

    /// Every text of the script, joined.
    pub fn text(&self) -> String {
        self.steps
            .iter()
            .filter_map(|step| if let Step::Text(text) = step { Some(text.as_str()) } else { None })
            .collect()
    }
}
