//! The items of an answer as JSON: the same whether the answer is streamed, shown at once or shown again.

use std::borrow::Cow;

use bytes::{BufMut as _, BytesMut};
use penstock_proto::inference::v1::{Choice, Extension, ToolCall};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::items::{Kind, item_id};
use crate::json::write::{comma, extensions, key, raw, value};

/// The status of an item that is whole.
pub(crate) const COMPLETED: &str = "completed";
/// Of one that goes on.
pub(crate) const IN_PROGRESS: &str = "in_progress";
/// Of one that was cut short.
pub(crate) const INCOMPLETE: &str = "incomplete";

/// An item of an answer.
#[derive(Debug)]
pub(crate) struct Output<'a> {
    pub(crate) id: Cow<'a, str>,
    pub(crate) content: Content<'a>,
}

/// What an item has.
#[derive(Debug)]
pub(crate) enum Content<'a> {
    Reasoning(&'a str),
    Message(Vec<Part<'a>>),
    Call(Call<'a>),
}

/// A part of a message.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Part<'a> {
    Text {
        text: &'a str,
        /// The insides of a JSON array.
        logprobs: &'a str,
    },
    Refusal(&'a str),
}

/// A call of a tool.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    pub(crate) call_id: &'a str,
    pub(crate) name: &'a str,
    /// The arguments of a function, or what a custom tool is given.
    pub(crate) input: &'a str,
    pub(crate) custom: bool,
    pub(crate) extensions: &'a [Extension],
}

/// The items of a whole answer. `None`: it has a call of a kind that this API does not know.
pub(crate) fn of_choice<'a>(choice: &'a Choice, response_id: &str) -> Option<Vec<Output<'a>>> {
    let mut items = Vec::new();
    let Some(delta) = &choice.delta else { return Some(items) };
    let some = |text: &'a Option<String>| text.as_deref().filter(|text| !text.is_empty());
    if let Some(text) = some(&delta.reasoning) {
        let id = item_id(Kind::Reasoning, response_id, 0).into();
        items.push(Output { id, content: Content::Reasoning(text) });
    }
    let logprobs = choice.logprobs_json.as_deref().map(logprobs).unwrap_or_default();
    let text = some(&delta.content).map(|text| Part::Text { text, logprobs });
    let parts: Vec<_> = text.into_iter().chain(some(&delta.refusal).map(Part::Refusal)).collect();
    if !parts.is_empty() {
        let id = item_id(Kind::Message, response_id, 0).into();
        items.push(Output { id, content: Content::Message(parts) });
    }
    for (index, call) in delta.tool_calls.iter().enumerate() {
        let name = name(call).filter(|name| !name.is_empty())?;
        let input = input(call).unwrap_or_default();
        let (custom, extensions) = (Kind::of(call) == Kind::Custom, call.extensions.as_slice());
        let call_id = call.id.as_deref().unwrap_or_default();
        let id = item_id(Kind::of(call), response_id, index).into();
        items.push(Output { id, content: Content::Call(Call { call_id, name, input, custom, extensions }) });
    }
    Some(items)
}

/// The name of what is called.
pub(crate) fn name(call: &ToolCall) -> Option<&str> {
    match (&call.function, &call.custom) {
        (Some(function), _) => function.name.as_deref(),
        (None, Some(custom)) => custom.name.as_deref(),
        (None, None) => None,
    }
}

/// What it is given, or a piece of it.
pub(crate) fn input(call: &ToolCall) -> Option<&str> {
    match (&call.function, &call.custom) {
        (Some(function), _) => function.arguments.as_deref(),
        (None, Some(custom)) => custom.input.as_deref(),
        (None, None) => None,
    }
}

/// The log probabilities of a text, as the insides of an array, from those of a chat's choice.
pub(crate) fn logprobs(json: &str) -> &str {
    #[derive(Deserialize)]
    struct Logprobs<'a> {
        #[serde(borrow, default)]
        content: Option<&'a RawValue>,
    }
    let content = serde_json::from_str::<Logprobs<'_>>(json).ok().and_then(|logprobs| logprobs.content);
    let inside = content.and_then(|array| array.get().strip_prefix('[')?.strip_suffix(']'));
    inside.unwrap_or_default().trim()
}

/// Writes the items; the last one has the status of the whole, for it is the one that was cut.
pub(crate) fn write(items: &[Output<'_>], last: &'static str, summary: bool, out: &mut BytesMut) {
    out.put_u8(b'[');
    for (index, item) in items.iter().enumerate() {
        comma(out);
        let status = if index + 1 == items.len() { last } else { COMPLETED };
        write_item(item, status, summary, out);
    }
    out.put_u8(b']');
}

/// Writes an item.
pub(crate) fn write_item(item: &Output<'_>, status: &'static str, summary: bool, out: &mut BytesMut) {
    match &item.content {
        Content::Reasoning(text) => write_reasoning(&item.id, text, summary, out),
        Content::Message(parts) => write_message(&item.id, parts, status, out),
        Content::Call(call) => write_call(&item.id, call, status, out),
    }
}

/// Writes what was thought: in full, and, if it was asked for, as the summary too.
pub(crate) fn write_reasoning(id: &str, text: &str, summary: bool, out: &mut BytesMut) {
    out.put_slice(b"{\"id\":");
    value(out, id);
    key(out, "\"type\":\"reasoning\",\"summary\":[");
    if summary && !text.is_empty() {
        write_typed_text("summary_text", text, out);
    }
    out.put_slice(b"],\"content\":[");
    if !text.is_empty() {
        write_typed_text("reasoning_text", text, out);
    }
    out.put_slice(b"],\"encrypted_content\":null}");
}

/// Writes `{"type":…,"text":…}`.
pub(crate) fn write_typed_text(kind: &'static str, text: &str, out: &mut BytesMut) {
    out.put_slice(b"{\"type\":");
    value(out, kind);
    key(out, "\"text\":");
    value(out, text);
    out.put_u8(b'}');
}

fn write_message(id: &str, parts: &[Part<'_>], status: &'static str, out: &mut BytesMut) {
    out.put_slice(b"{\"id\":");
    value(out, id);
    key(out, "\"type\":\"message\",\"status\":");
    value(out, status);
    key(out, "\"role\":\"assistant\",\"content\":[");
    for part in parts {
        comma(out);
        write_part(*part, out);
    }
    out.put_slice(b"]}");
}

/// Writes a part of a message.
pub(crate) fn write_part(part: Part<'_>, out: &mut BytesMut) {
    match part {
        Part::Text { text, logprobs } => {
            out.put_slice(b"{\"type\":\"output_text\",\"text\":");
            value(out, text);
            out.put_slice(b",\"annotations\":[],\"logprobs\":[");
            raw(out, logprobs);
            out.put_slice(b"]}");
        }
        Part::Refusal(refusal) => {
            out.put_slice(b"{\"type\":\"refusal\",\"refusal\":");
            value(out, refusal);
            out.put_u8(b'}');
        }
    }
}

/// Writes a call. Members of the engine's own go along: some have to come back with what the tool gave.
pub(crate) fn write_call(id: &str, call: &Call<'_>, status: &'static str, out: &mut BytesMut) {
    out.put_slice(b"{\"id\":");
    value(out, id);
    key(out, "\"type\":");
    value(out, if call.custom { "custom_tool_call" } else { "function_call" });
    key(out, "\"status\":");
    value(out, status);
    key(out, "\"call_id\":");
    value(out, call.call_id);
    key(out, "\"name\":");
    value(out, call.name);
    key(out, if call.custom { "\"input\":" } else { "\"arguments\":" });
    value(out, call.input);
    extensions(out, call.extensions, &["id", "type", "status", "call_id", "name", "input", "arguments"]);
    out.put_u8(b'}');
}
