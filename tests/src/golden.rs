//! The golden corpus: a request and what the engine says to it. What must hold of any answer is computed here:
//! what an engine would say plainly, the sum of a stream, and texts in which nothing differs from run to run.

use std::{fs, path::PathBuf};

use serde_json::json;

use crate::{Script, Step, engine::CREATED, exact::Json};

/// One case.
pub struct Case {
    /// The file's name without its ending.
    pub name: String,
    /// The request, without `stream`.
    pub request: Json,
    engine: Json,
}

/// Where the cases are.
pub fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/golden")
}

/// Every case, by name.
pub fn cases() -> Vec<Case> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|ending| ending == "json"));
    files.sort();
    let read = |file: &PathBuf| {
        let mut case = Json::parse(&fs::read_to_string(file).unwrap());
        let name = file.file_stem().unwrap().to_str().unwrap().to_owned();
        let (request, engine) = (case.take("request"), case.take("engine"));
        assert!(case.members_mut().is_empty(), "{name}: a case has a request and an engine: {case}");
        Case { name, request, engine }
    };
    files.iter().map(read).collect()
}

impl Case {
    /// The request for a stream, or for a plain answer.
    pub fn asking(&self, stream: bool) -> Json {
        let mut request = self.request.clone();
        if stream {
            request.set("stream", Json::Bool(true));
        } else {
            request.take("stream_options");
        }
        request
    }

    /// Whether the case asks for usage in streams.
    pub fn wants_usage(&self) -> bool {
        *self.request.get("stream_options").get("include_usage") == Json::Bool(true)
    }

    /// What the engine says to a request for a stream, or for a plain answer.
    pub fn script(&self, stream: bool) -> Script {
        if let Some(status) = self.engine.get("status").as_int() {
            let body = self.engine.get("body").to_string();
            return Script::status_with(u16::try_from(status).unwrap(), &[], &body);
        }
        let said: Vec<Json> = self.engine.items().iter().map(spelled).collect();
        let chunks: Vec<Json> = said.iter().filter(|one| matches!(one, Json::Object(_))).cloned().collect();
        if stream {
            let step = |one: &Json| match one.as_text() {
                None => Step::Event(one.to_string()),
                Some("[DONE]") => Step::Done,
                Some("cut") => Step::Cut,
                Some(other) => panic!("{}: the engine cannot {other}", self.name),
            };
            return Script::steps(said.iter().map(step).collect::<Vec<_>>());
        }
        if let Some(error) = chunks.iter().find(|chunk| *chunk.get("error") != Json::Null) {
            return Script::status_with(500, &[], &error.to_string());
        }
        let mut steps = vec![Step::Event(sum(&chunks).to_string())];
        steps.extend(said.contains(&Json::text("cut")).then_some(Step::Cut));
        Script::steps(steps)
    }
}

/// A chunk with the members that are the same on all chunks, unless it has its own.
fn spelled(said: &Json) -> Json {
    if !matches!(said, Json::Object(_)) || *said.get("error") != Json::Null {
        return said.clone();
    }
    let head = json!({
        "id": "chatcmpl-golden", "object": "chat.completion.chunk", "created": CREATED, "model": "engine-model",
    });
    let mut chunk = Json::parse(&head.to_string());
    let mut said = said.clone();
    for (name, value) in std::mem::take(said.members_mut()) {
        chunk.set(&name, value);
    }
    chunk
}

/// The plain answer that says what these chunks say.
pub fn sum(chunks: &[Json]) -> Json {
    let mut answer = Json::Object(Vec::new());
    let mut choices: Vec<Json> = Vec::new();
    for chunk in chunks {
        let mut chunk = chunk.clone();
        for (name, value) in std::mem::take(chunk.members_mut()) {
            match name.as_str() {
                "object" => answer.set("object", Json::text("chat.completion")),
                "choices" => value.items().iter().for_each(|choice| add_choice(&mut choices, choice)),
                "usage" if value == Json::Null => {}
                _ => answer.set(&name, value),
            }
        }
    }
    choices.sort_by_key(|choice| choice.get("index").as_int());
    for choice in &mut choices {
        let mut message = choice.take("message");
        let mut calls = message.take("tool_calls");
        if let Json::List(calls) = &mut calls {
            calls.iter_mut().for_each(|call| drop(call.take("index")));
            message.set("tool_calls", Json::List(std::mem::take(calls)));
        }
        choice.set("message", message);
    }
    answer.set("choices", Json::List(choices));
    answer
}

fn add_choice(choices: &mut Vec<Json>, choice: &Json) {
    let index = choice.get("index").as_int();
    let known = match choices.iter().position(|known| known.get("index").as_int() == index) {
        Some(at) => &mut choices[at],
        None => {
            let fresh = Json::parse(r#"{"index":0,"message":{"role":"assistant","content":null}}"#);
            choices.push(fresh);
            choices.last_mut().unwrap()
        }
    };
    let mut choice = choice.clone();
    for (name, value) in std::mem::take(choice.members_mut()) {
        match name.as_str() {
            "delta" => {
                let mut message = known.take("message");
                add_delta(&mut message, value);
                known.set("message", message);
            }
            "logprobs" => {
                let mut all = known.take("logprobs");
                join(&mut all, value);
                known.set("logprobs", all);
            }
            _ if value == Json::Null => {}
            _ => known.set(&name, value),
        }
    }
}

fn add_delta(message: &mut Json, mut delta: Json) {
    for (name, value) in std::mem::take(delta.members_mut()) {
        match name.as_str() {
            "content" | "refusal" | "reasoning_content" | "function_call" => {
                let mut whole = message.take(&name);
                join(&mut whole, value);
                message.set(&name, whole);
            }
            "tool_calls" => {
                let mut calls = message.take("tool_calls").items().to_vec();
                for fragment in value.items() {
                    let index = fragment.get("index").as_int();
                    match calls.iter_mut().find(|known| known.get("index").as_int() == index) {
                        Some(known) => join(known, fragment.clone()),
                        None => calls.push(fragment.clone()),
                    }
                }
                message.set("tool_calls", Json::List(calls));
            }
            _ if value == Json::Null => {}
            _ => message.set(&name, value),
        }
    }
}

/// Texts and lists are put one behind the other, objects member by member; of all else the later one counts.
fn join(whole: &mut Json, more: Json) {
    match (whole, more) {
        (Json::Text(whole), Json::Text(more)) => whole.push_str(&more),
        (Json::List(whole), Json::List(more)) => whole.extend(more),
        (Json::Object(whole), Json::Object(more)) => {
            for (name, value) in more {
                match whole.iter_mut().find(|(known, _)| *known == name) {
                    Some((_, known)) => join(known, value),
                    None => whole.push((name, value)),
                }
            }
        }
        (_, Json::Null) => {}
        (whole, more) => *whole = more,
    }
}

/// Whether an id was made on the way.
pub fn is_made(id: &str) -> bool {
    let hex = |part: &str| part.len() == 32 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    id.split(['-', '_']).any(hex)
}

/// `json` without what differs from run to run: times, and ids that were made on the way.
pub fn settled(json: &Json) -> Json {
    let passes = |name: &str| name.ends_with("_duration") || ["created", "created_at", "completed_at"].contains(&name);
    match json {
        Json::List(items) => Json::List(items.iter().map(settled).collect()),
        Json::Object(members) => Json::Object(
            members
                .iter()
                .map(|(name, value)| {
                    let value = match (name.as_str(), value) {
                        (name, Json::Number(_) | Json::Text(_)) if passes(name) => Json::text("…"),
                        ("request_id" | "decision_id" | "instance", Json::Text(_)) => Json::text("…"),
                        ("id" | "item_id" | "call_id" | "tool_call_id", Json::Text(text)) if is_made(text) => Json::text("…"),
                        _ => settled(value),
                    };
                    (name.clone(), value)
                })
                .collect(),
        ),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_of_chunks_is_the_plain_answer() {
        let chunks = [
            r#"{"id":"a","object":"chat.completion.chunk","choices":[{"index":1,"delta":{"role":"assistant","content":"x"}}]}"#,
            r#"{"id":"a","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"c","function":{"name":"f","arguments":"{"}}]}}]}"#,
            r#"{"id":"a","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"}"}}]}}]}"#,
            r#"{"id":"a","choices":[{"index":1,"delta":{"content":"y"},"finish_reason":"stop","logprobs":{"content":[1]}}]}"#,
            r#"{"id":"a","choices":[{"index":1,"delta":{},"logprobs":{"content":[2]}}],"usage":{"total_tokens":1}}"#,
        ];
        let whole = concat!(
            r#"{"id":"a","object":"chat.completion","usage":{"total_tokens":1},"choices":["#,
            r#"{"index":0,"message":{"role":"assistant","content":null,"#,
            r#""tool_calls":[{"id":"c","function":{"name":"f","arguments":"{}"}}]}},"#,
            r#"{"index":1,"message":{"role":"assistant","content":"xy"},"finish_reason":"stop","logprobs":{"content":[1,2]}}]}"#,
        );
        let sum = sum(&chunks.map(Json::parse));
        assert!(sum.says_the_same(&Json::parse(whole)), "{sum}");
    }
}
