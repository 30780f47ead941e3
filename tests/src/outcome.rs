//! What a caller got of one request for a chat, judged: the whole answer, an error with a status, or a stream that
//! says that it broke. Anything else must never be, and fails the test: above all an answer that is cut and looks
//! whole.

use std::fmt;

use http::Method;
use serde_json::Value;

use crate::{Answer, Client, ENGINE_CANARY};

/// What a caller got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A whole answer: its text, and why it ended.
    Whole {
        /// The text of the one choice.
        text: String,
        /// Its finish reason.
        finish: String,
    },
    /// An error with a status, in the one shape that errors have.
    Refused {
        /// HTTP status.
        status: u16,
        /// `error.code`.
        code: String,
        /// `Retry-After`, in seconds.
        retry_after: Option<u64>,
    },
    /// A stream that ends with an error event, and without `[DONE]`.
    Broken {
        /// The text before it.
        text: String,
        /// `error.code` of the event.
        code: String,
    },
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Whole { finish, .. } if finish == "stop" => f.write_str("whole answer"),
            Outcome::Whole { finish, .. } => write!(f, "whole answer ({finish})"),
            Outcome::Refused { status, code, .. } => write!(f, "{status} {code}"),
            Outcome::Broken { code, .. } => write!(f, "error event {code}"),
        }
    }
}

/// Asks for a chat and judges what comes.
pub async fn outcome(client: &Client, body: &Value) -> Outcome {
    let events = client.send(Method::POST, "/v1/chat/completions", body.to_string()).await.head().await;
    let (status, headers) = (events.status, events.headers.clone());
    let (body, ended) = events.bytes().await;
    let said = String::from_utf8(body.to_vec()).expect("answers are UTF-8");
    assert!(ended, "the body has no end: {said:.1000}");
    assert!(!said.contains(ENGINE_CANARY), "the engine's text is passed on: {said:.1000}");
    let answer = Answer { status, headers, body };
    if status != 200 {
        let code = answer.json()["error"]["code"].as_str().unwrap_or_default().to_owned();
        answer.problem(status, &code);
        let retry_after = answer.header("retry-after").map(|text| text.parse().expect("seconds"));
        return Outcome::Refused { status, code, retry_after };
    }
    if answer.header("content-type").is_some_and(|kind| kind.starts_with("text/event-stream")) {
        return of_stream(&said);
    }
    let choice = &answer.json()["choices"][0];
    let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("not whole: {said:.1000}")).to_owned();
    Outcome::Whole { text: text(&choice["message"]["content"]), finish: text(&choice["finish_reason"]) }
}

fn of_stream(said: &str) -> Outcome {
    assert!(said.ends_with("\n\n"), "half an event at the end: {said:.1000}");
    let events = said.split_terminator("\n\n").filter(|event| !event.starts_with(':'));
    let mut events: Vec<_> = events
        .map(|event| event.strip_prefix("data: ").unwrap_or_else(|| panic!("not an event: {event:?}")))
        .collect();
    let done = events.pop_if(|last| *last == "[DONE]").is_some();
    let (mut text, mut finish, mut id, mut broken) = (String::new(), None, None, None);
    for event in events {
        let event: Value = serde_json::from_str(event).unwrap_or_else(|error| panic!("{error}: {event:?}"));
        assert!(broken.is_none(), "something follows the error: {said:.1000}");
        if let Some(error) = event.get("error") {
            broken = Some(error["code"].as_str().expect("an error has a code").to_owned());
            continue;
        }
        let first = id.get_or_insert_with(|| event["id"].clone());
        assert_eq!(*first, event["id"], "two answers in one: {said:.1000}");
        let choice = &event["choices"][0];
        if let Some(delta) = choice["delta"]["content"].as_str() {
            assert!(finish.is_none() || delta.is_empty(), "text after the end: {said:.1000}");
            text.push_str(delta);
        }
        if let Some(reason) = choice["finish_reason"].as_str() {
            assert!(finish.is_none(), "two ends: {said:.1000}");
            finish = Some(reason.to_owned());
        }
    }
    match (broken, finish) {
        (Some(code), _) => {
            assert!(!done, "an error and [DONE]: {said:.1000}");
            Outcome::Broken { text, code }
        }
        (None, Some(finish)) if done => Outcome::Whole { text, finish },
        (None, finish) => panic!("neither whole ({finish:?}, [DONE]: {done}) nor an error: {said:.1000}"),
    }
}
