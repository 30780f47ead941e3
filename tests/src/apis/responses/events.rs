//! The events of a response, put together as the SDKs do it: each item and each part is begun, filled and ended, and
//! the last object must be what was put together.

use super::{add, head, plain};
use crate::{
    apis::{Outcome, Said, chat, words},
    exact::Json,
};

/// What was put together so far.
#[derive(Default)]
struct Snapshot {
    id: Option<(Json, Json)>,
    items: Vec<Item>,
}

/// An item with what its events said of it.
struct Item {
    json: Json,
    /// Texts of parts by deltas; a part is there once it was added.
    parts: Vec<Part>,
    /// Arguments or input by deltas.
    argument: String,
    argument_done: bool,
    done: bool,
}

struct Part {
    /// Of the summary of a reasoning item, not of its content.
    summary: bool,
    kind: String,
    text: String,
    text_done: bool,
    done: bool,
}

/// A stream.
pub(in crate::apis) fn stream(body: &str) -> Outcome {
    let events = words::named_events(body);
    for (at, (name, data)) in events.iter().enumerate() {
        assert_eq!(words::int(data, "sequence_number"), i64::try_from(at).unwrap(), "{name}: {body:.2000}");
    }
    let mut names = events.iter().map(|(name, _)| name.as_str());
    // What fails before the first output is an error with a status: so an answer's stream begins by these two.
    assert_eq!(names.next(), Some("response.created"), "{body:.1000}");
    assert_eq!(names.next(), Some("response.in_progress"), "{body:.1000}");
    let mut snapshot = Snapshot::default();
    let mut end = None;
    let mut trouble = None;
    for (name, data) in &events {
        assert!(end.is_none(), "{name} after the end: {body:.2000}");
        match name.as_str() {
            "response.created" | "response.in_progress" => {
                let response = data.get("response");
                assert_eq!(snapshot.response(response), "in_progress");
                assert!(words::list(response, "output").is_empty() && snapshot.items.is_empty(), "{data}");
            }
            "error" => {
                assert!(trouble.is_none(), "two errors: {body:.2000}");
                let read = chat::trouble(data);
                for name in ["code", "message"] {
                    assert_eq!(data.get(name), data.get("error").get(name), "flat and nested: {data}");
                }
                words::has(data, &["code", "message", "param"]);
                trouble = Some(read);
            }
            "response.failed" => {
                let response = data.get("response");
                assert_eq!(snapshot.response(response), "failed");
                let code = words::text(response.get("error"), "code");
                assert!(["server_error", "rate_limit_exceeded"].contains(&code), "{data}");
                assert!(!words::text(response.get("error"), "message").is_empty());
                let trouble = trouble.clone().expect("SDKs raise by an event `error`, which comes first");
                end = Some(Outcome::Broken(snapshot.begun(), trouble));
            }
            "response.completed" | "response.incomplete" => {
                assert!(trouble.is_none(), "whole after an error: {body:.2000}");
                let response = data.get("response");
                assert_eq!(format!("response.{}", snapshot.response(response)), *name);
                snapshot.compare(response);
                end = Some(Outcome::Whole(plain(response)));
            }
            _ => {
                assert!(trouble.is_none(), "{name} after an error: {body:.2000}");
                snapshot.take(name, data);
            }
        }
    }
    end.unwrap_or_else(|| panic!("neither whole nor failed: {body:.2000}"))
}

impl Snapshot {
    /// Checks a response object, which must be of this answer; its status.
    fn response<'a>(&mut self, response: &'a Json) -> &'a str {
        let status = head(response);
        let is = (response.get("id").clone(), response.get("created_at").clone());
        assert_eq!(*self.id.get_or_insert_with(|| is.clone()), is, "two answers in one");
        status
    }

    fn compare(&self, response: &Json) {
        let output = words::list(response, "output");
        for item in &self.items {
            assert!(item.done, "an item has no end: {}", item.json);
        }
        // The last object is in the order of a plain answer; each item is the one that was told.
        assert_eq!(output.len(), self.items.len(), "{response}");
        for (told, item) in output.iter().zip(&self.items) {
            assert_eq!(*told, item.json, "the last object is the sum of the events");
        }
    }

    fn begun(&self) -> Said {
        let mut said = Said::default();
        for item in &self.items {
            if item.done {
                add(&mut said, &item.json, "incomplete");
                continue;
            }
            for part in item.parts.iter().filter(|part| !part.summary) {
                match part.kind.as_str() {
                    "output_text" => said.text += &part.text,
                    "refusal" => said.refusal += &part.text,
                    _ => said.reasoning += &part.text,
                }
            }
        }
        said.calls.clear();
        said
    }

    fn take(&mut self, name: &str, data: &Json) {
        let at = usize::try_from(words::int(data, "output_index")).unwrap();
        if name == "response.output_item.added" {
            assert_eq!(at, self.items.len(), "SDKs put a new item at the end: {data}");
            let json = data.get("item").clone();
            for empty in ["content", "summary"] {
                assert!(json.get(empty).items().is_empty(), "an item begins empty: {data}");
            }
            if words::text(&json, "type") != "reasoning" {
                assert_eq!(words::text(&json, "status"), "in_progress");
            }
            let (parts, argument) = (Vec::new(), String::new());
            self.items.push(Item { json, parts, argument, argument_done: false, done: false });
            return;
        }
        let item = self.items.get_mut(at).unwrap_or_else(|| panic!("no such item: {data}"));
        assert!(!item.done, "{name} after the item's end: {data}");
        if name == "response.output_item.done" {
            item.end(data.get("item"));
            return;
        }
        assert_eq!(data.get("item_id"), item.json.get("id"), "{data}");
        match name {
            "response.content_part.added" => item.open(data, "content_index"),
            "response.reasoning_summary_part.added" => item.open(data, "summary_index"),
            "response.content_part.done" => item.part(data, "content_index").end(data),
            "response.reasoning_summary_part.done" => item.part(data, "summary_index").end(data),
            "response.output_text.delta" | "response.refusal.delta" => item.part(data, "content_index").add(data),
            "response.reasoning_text.delta" => item.reasoning(data).add(data),
            "response.reasoning_summary_text.delta" => item.part(data, "summary_index").add(data),
            "response.output_text.done" => item.part(data, "content_index").is(data, "text"),
            "response.refusal.done" => item.part(data, "content_index").is(data, "refusal"),
            "response.reasoning_text.done" => item.reasoning(data).is(data, "text"),
            "response.reasoning_summary_text.done" => item.part(data, "summary_index").is(data, "text"),
            "response.function_call_arguments.delta" | "response.custom_tool_call_input.delta" => {
                assert!(!item.argument_done, "{data}");
                item.argument += words::text(data, "delta");
            }
            "response.function_call_arguments.done" => item.argued(data, "arguments"),
            "response.custom_tool_call_input.done" => item.argued(data, "input"),
            other => panic!("nobody knows the event {other}"),
        }
    }
}

impl Item {
    fn open(&mut self, data: &Json, index: &str) {
        let (at, summary) = (words::int(data, index), index == "summary_index");
        let there = self.parts.iter().filter(|part| part.summary == summary).count();
        assert_eq!(usize::try_from(at).unwrap(), there, "SDKs put a new part at the end: {data}");
        let (kind, text) = (words::text(data.get("part"), "type").to_owned(), String::new());
        self.parts.push(Part { summary, kind, text, text_done: false, done: false });
    }

    fn part(&mut self, data: &Json, index: &str) -> &mut Part {
        let (at, summary) = (usize::try_from(words::int(data, index)).unwrap(), index == "summary_index");
        let mut of_kind = self.parts.iter_mut().filter(|part| part.summary == summary);
        let part = of_kind.nth(at).unwrap_or_else(|| panic!("no such part: {data}"));
        assert!(!part.done, "after the part's end: {data}");
        part
    }

    /// A part of reasoning's own text: OpenAI begins it with or without an event of its own.
    fn reasoning(&mut self, data: &Json) -> &mut Part {
        let at = usize::try_from(words::int(data, "content_index")).unwrap();
        if at == self.parts.iter().filter(|part| !part.summary).count() {
            let (kind, text) = ("reasoning_text".to_owned(), String::new());
            self.parts.push(Part { summary: false, kind, text, text_done: false, done: true });
        }
        let mut contents = self.parts.iter_mut().filter(|part| !part.summary);
        contents.nth(at).unwrap_or_else(|| panic!("no such part: {data}"))
    }

    fn argued(&mut self, data: &Json, name: &str) {
        assert!(!self.argument_done, "two ends of arguments: {data}");
        self.argument_done = true;
        assert_eq!(words::text(data, name), self.argument, "arguments are the sum of their deltas");
    }

    /// The item as its end has it must be what its events said.
    fn end(&mut self, json: &Json) {
        self.done = true;
        for same in ["id", "type", "call_id", "name", "role"] {
            assert_eq!(json.get(same), self.json.get(same), "an item changes: {} {json}", self.json);
        }
        let told = |summary: bool| -> Vec<(String, String)> {
            let parts = self.parts.iter().filter(|part| part.summary == summary);
            parts.map(|part| (part.kind.clone(), part.text.clone())).collect()
        };
        let shown = |name: &str| -> Vec<(String, String)> {
            let text = |part: &Json| {
                let text = part.get("text").as_text().or(part.get("refusal").as_text());
                (words::text(part, "type").to_owned(), text.unwrap().to_owned())
            };
            json.get(name).items().iter().map(text).collect()
        };
        assert_eq!(shown("content"), told(false), "an item is the sum of its deltas");
        assert_eq!(shown("summary"), told(true), "a summary is the sum of its deltas");
        for part in &self.parts {
            assert!(part.done && part.text_done, "a part has no end: {json}");
        }
        if let Some(argument) = json.get("arguments").as_text().or(json.get("input").as_text()) {
            assert!(self.argument_done, "arguments have no end: {json}");
            assert_eq!(argument, self.argument);
        }
        self.json = json.clone();
    }
}

impl Part {
    fn add(&mut self, data: &Json) {
        assert!(!self.text_done, "a delta after the text's end: {data}");
        self.text += words::text(data, "delta");
    }

    fn is(&mut self, data: &Json, name: &str) {
        assert!(!self.text_done, "two ends of a text: {data}");
        self.text_done = true;
        assert_eq!(words::text(data, name), self.text, "a text is the sum of its deltas");
    }

    fn end(&mut self, data: &Json) {
        let part = data.get("part");
        let text = part.get("text").as_text().or(part.get("refusal").as_text());
        assert_eq!(text, Some(self.text.as_str()), "{data}");
        assert!(self.text_done, "a part ends before its text: {data}");
        self.done = true;
    }
}
