//! Ollama's own chat as a strict client asks for it and reads it: a line for each object, and one that says that it is
//! the last.

mod question;

pub(super) use self::question::question;
use super::{Called, Finish, Outcome, Said, Trouble, Usage, fields, words};
use crate::exact::Json;

/// How long things took, in nanoseconds, and how many tokens.
const DURATIONS: [&str; 4] = ["total_duration", "load_duration", "prompt_eval_duration", "eval_duration"];

/// A plain answer.
pub(super) fn plain(json: &Json) -> Said {
    let mut said = Said::default();
    line(&mut said, json);
    assert_eq!(*json.get("done"), Json::Bool(true), "{json}");
    said
}

/// A stream.
pub(super) fn stream(body: &str) -> Outcome {
    assert!(body.ends_with('\n'), "half a line at the end: {body:.1000}");
    let (mut said, mut done, mut broken) = (Said::default(), false, None);
    for text in body.split_terminator('\n') {
        assert!(!text.is_empty(), "a blank line, at which clients break: {body:.1000}");
        assert!(!done, "a line after the last: {body:.1000}");
        assert!(broken.is_none(), "a line after the error: {body:.1000}");
        let json = Json::parse(text);
        if json.has("error") {
            broken = Some(trouble(&json));
        } else {
            line(&mut said, &json);
            done = *json.get("done") == Json::Bool(true);
        }
    }
    if let Some(trouble) = broken {
        said.calls.clear();
        return Outcome::Broken(said, trouble);
    }
    assert!(done, "neither whole nor an error: {body:.2000}");
    Outcome::Whole(said)
}

/// Adds what a line says.
fn line(said: &mut Said, json: &Json) {
    let model = words::text(json, "model");
    assert!(said.model.is_empty() || said.model == model, "two answers in one: {json}");
    said.model = model.to_owned();
    moment(words::text(json, "created_at"));
    let message = json.get("message");
    assert_eq!(words::text(message, "role"), "assistant", "{json}");
    said.text += words::text(message, "content");
    said.reasoning += message.get("thinking").as_text().unwrap_or_default();
    for call in message.get("tool_calls").items() {
        let function = call.get("function");
        let input = function.get("arguments").clone();
        assert!(matches!(input, Json::Object(_)), "arguments are an object: {json}");
        let id = call.get("id").as_text().map(str::to_owned);
        said.calls.push(Called { id, name: words::text(function, "name").to_owned(), input });
    }
    if *json.get("done") == Json::Bool(false) {
        assert!(!json.has("done_reason"), "a reason before the end: {json}");
        return;
    }
    assert_eq!(*json.get("done"), Json::Bool(true), "{json}");
    said.finish = match words::text(json, "done_reason") {
        "stop" if said.calls.is_empty() => Finish::Stop,
        "stop" => Finish::Calls,
        "length" => Finish::Length,
        "content_filter" => Finish::Filter,
        other => panic!("ended by {other}: {json}"),
    };
    for name in DURATIONS {
        assert!(words::int(json, name) >= 0, "{name}: {json}");
    }
    assert!(words::int(json, "total_duration") > 0, "{json}");
    let (input, output) = (words::int(json, "prompt_eval_count"), words::int(json, "eval_count"));
    said.usage = Some(Usage { input, output, ..Usage::default() });
}

/// Checks a moment as RFC 3339 has it: `2025-06-15T15:06:40.123456789Z`, the fraction as long as it likes.
fn moment(text: &str) {
    let (date, time) = text.split_once('T').unwrap_or_else(|| panic!("no moment: {text}"));
    let numbers = |text: &str, by: char| text.split(by).all(|part| part.parse::<u32>().is_ok());
    let (time, _) = time.strip_suffix('Z').unwrap_or(time).split_once('.').unwrap_or((time, ""));
    assert!(numbers(date, '-') && numbers(time.trim_end_matches('Z'), ':'), "no moment: {text}");
}

/// An error, whole or in a line.
pub(super) fn trouble(json: &Json) -> Trouble {
    assert!(!json.has("done") && !json.has("message"), "an error and an answer: {json}");
    Trouble {
        status: 200,
        code: json.get("code").as_text().map(str::to_owned),
        kind: None,
        message: words::text(json, "error").to_owned(),
        fields: fields(json),
    }
}

/// How an answer that chat shows so is shown here: a refusal is a text, calls are no end of their own, and of usage there
/// are two counts.
pub(super) fn shown(said: &mut Said) {
    said.text += &std::mem::take(&mut said.refusal);
    if [Finish::Stop, Finish::Calls].contains(&said.finish) {
        said.finish = if said.calls.is_empty() { Finish::Stop } else { Finish::Calls };
    }
    if let Some(usage) = &mut said.usage {
        *usage = Usage { input: usage.input, output: usage.output, ..Usage::default() };
    }
}
