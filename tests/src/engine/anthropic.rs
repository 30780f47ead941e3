//! How Anthropic's Messages API says a script: typed events around blocks, and whole messages.

use std::cell::Cell;

use serde_json::{Value, json};

use super::Step;

/// The blocks of one streamed message.
#[derive(Default)]
pub(super) struct Blocks {
    begun: Cell<bool>,
    /// Kind of the block that is open.
    open: Cell<Option<&'static str>>,
    index: Cell<u64>,
}

fn event(value: &Value) -> String {
    format!("event: {}\ndata: {value}\n\n", value["type"].as_str().unwrap_or_default())
}

/// OpenAI's finish reason, as it is here.
fn stop_reason(finish: &str) -> &'static str {
    match finish {
        "length" => "max_tokens",
        "tool_calls" => "tool_use",
        "content_filter" => "refusal",
        _ => "end_turn",
    }
}

/// Reasoning in a delta of OpenAI's shape.
fn reasoning(delta: &Value) -> Option<&str> {
    delta["reasoning_content"].as_str().or_else(|| delta["reasoning"].as_str())
}

fn calls(delta: &Value) -> impl Iterator<Item = &Value> {
    delta["tool_calls"].as_array().into_iter().flatten()
}

impl Blocks {
    /// The events for a step; `head` is the message that a stream begins with.
    pub(super) fn events(&self, step: &Step, head: &Value, output_tokens: u64) -> Option<String> {
        let mut events = String::new();
        let says =
            matches!(step, Step::Text(_) | Step::Delta(_) | Step::Finish(_) | Step::FinishWithUsage(_));
        if says && !self.begun.replace(true) {
            events += &event(&json!({"type": "message_start", "message": head}));
            events += &event(&json!({"type": "ping"}));
        }
        match step {
            Step::Text(text) => {
                events += &self.within("text", json!({"type": "text", "text": ""}));
                events += &self.delta(json!({"type": "text_delta", "text": text}));
            }
            Step::Delta(delta) => events += &self.shaped(delta),
            Step::Finish(reason) | Step::FinishWithUsage(reason) => {
                events += &self.close();
                events += &event(&json!({"type": "message_delta",
                    "delta": {"stop_reason": stop_reason(reason), "stop_sequence": null},
                    "usage": {"output_tokens": output_tokens}}));
            }
            Step::Done => events += &event(&json!({"type": "message_stop"})),
            Step::Event(text) => events += &format!("data: {text}\n\n"),
            _ => {}
        }
        Some(events).filter(|events| !events.is_empty())
    }

    fn shaped(&self, delta: &Value) -> String {
        let mut events = String::new();
        if let Some(thought) = reasoning(delta) {
            events += &self.within("thinking", json!({"type": "thinking", "thinking": "", "signature": ""}));
            events += &self.delta(json!({"type": "thinking_delta", "thinking": thought}));
        }
        for call in calls(delta) {
            if call["id"].is_string() {
                events += &self.close();
                let (id, name) = (&call["id"], &call["function"]["name"]);
                events += &self
                    .within("tool_use", json!({"type": "tool_use", "id": id, "name": name, "input": {}}));
            }
            let arguments = call["function"]["arguments"].as_str().unwrap_or_default();
            events += &self.delta(json!({"type": "input_json_delta", "partial_json": arguments}));
        }
        events
    }

    /// Opens a block of this kind, unless one is open.
    fn within(&self, kind: &'static str, block: Value) -> String {
        if self.open.get() == Some(kind) {
            return String::new();
        }
        let closed = self.close();
        self.open.set(Some(kind));
        closed
            + &event(
                &json!({"type": "content_block_start", "index": self.index.get(), "content_block": block}),
            )
    }

    fn delta(&self, delta: Value) -> String {
        event(&json!({"type": "content_block_delta", "index": self.index.get(), "delta": delta}))
    }

    fn close(&self) -> String {
        let Some(kind) = self.open.take() else { return String::new() };
        let signature = match kind {
            "thinking" => self.delta(json!({"type": "signature_delta", "signature": "c2lnbmVk"})),
            _ => String::new(),
        };
        let index = self.index.get();
        self.index.set(index + 1);
        signature + &event(&json!({"type": "content_block_stop", "index": index}))
    }
}

/// A whole message: `head` with the content of an OpenAI message.
pub(super) fn plain(mut head: Value, message: &Value, finish: &str, output_tokens: u64) -> Value {
    let mut content = Vec::new();
    if let Some(thought) = reasoning(message) {
        content.push(json!({"type": "thinking", "thinking": thought, "signature": "c2lnbmVk"}));
    }
    if let Some(text) = message["content"].as_str().filter(|text| !text.is_empty()) {
        content.push(json!({"type": "text", "text": text}));
    }
    for call in calls(message) {
        let function = &call["function"];
        let input: Value = serde_json::from_str(function["arguments"].as_str().unwrap_or("{}")).unwrap();
        content.push(json!({"type": "tool_use", "id": call["id"], "name": function["name"], "input": input}));
    }
    head["content"] = json!(content);
    head["stop_reason"] = json!(stop_reason(finish));
    head["usage"]["output_tokens"] = json!(output_tokens);
    head
}
