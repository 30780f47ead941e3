//! One object of an answer, in one pass into a buffer.

use std::time::Duration;

use bytes::{BufMut as _, BytesMut};
use penstock_proto::inference::v1::{Extension, Usage};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Shape, calls::Call};
use crate::json::write::{comma, extensions, key, optional, raw, value};

/// What an Ollama engine measures, in nanoseconds.
pub(super) const ENGINE: [&str; 4] =
    ["total_duration", "load_duration", "prompt_eval_duration", "eval_duration"];

/// Members that are written anyway, or that would mean something else: an engine's own must not come twice.
const OURS: [&str; 16] = [
    "model",
    "created_at",
    "message",
    "response",
    "thinking",
    "context",
    "logprobs",
    "done",
    "done_reason",
    "prompt_eval_count",
    "eval_count",
    "estimated",
    "error",
    "errors",
    "code",
    "request_id",
];

/// What an object says.
#[derive(Debug, Default)]
pub(super) struct Piece {
    pub(super) content: String,
    pub(super) thinking: String,
    pub(super) calls: Vec<Call>,
    /// JSON array.
    pub(super) logprobs: Option<String>,
}

impl Piece {
    pub(super) fn is_empty(&self) -> bool {
        self.content.is_empty()
            && self.thinking.is_empty()
            && self.calls.is_empty()
            && self.logprobs.is_none()
    }
}

/// How an answer went.
#[derive(Debug)]
pub(super) struct End<'a> {
    pub(super) reason: &'a str,
    pub(super) usage: Option<&'a Usage>,
    pub(super) measured: [Option<u64>; ENGINE.len()],
    /// Since it was asked for; likewise until the model began to speak.
    pub(super) total: Duration,
    pub(super) first: Duration,
}

/// What every object has.
#[derive(Debug)]
pub(super) struct Object<'a> {
    pub(super) shape: Shape,
    pub(super) model: &'a str,
    pub(super) created_at: &'a str,
    pub(super) others: &'a [Extension],
}

impl Object<'_> {
    /// Writes it; with an `end` it is the last one.
    pub(super) fn write(&self, piece: &Piece, end: Option<End<'_>>, out: &mut BytesMut) {
        out.put_slice(b"{\"model\":");
        value(out, self.model);
        out.put_slice(b",\"created_at\":");
        value(out, self.created_at);
        match self.shape {
            Shape::Chat => {
                out.put_slice(b",\"message\":{\"role\":\"assistant\",\"content\":");
                write_said(piece, out);
                write_calls(&piece.calls, out);
                out.put_u8(b'}');
            }
            Shape::Prompt => {
                out.put_slice(b",\"response\":");
                write_said(piece, out);
            }
        }
        if let Some(entries) = &piece.logprobs {
            out.put_slice(b",\"logprobs\":");
            raw(out, entries);
        }
        match end {
            Some(end) => end.write(out),
            None => out.put_slice(b",\"done\":false"),
        }
        extensions(out, self.others, &OURS);
        out.put_u8(b'}');
    }
}

fn write_said(piece: &Piece, out: &mut BytesMut) {
    value(out, &piece.content);
    optional(out, "\"thinking\":", Some(&*piece.thinking).filter(|text| !text.is_empty()));
}

fn write_calls(calls: &[Call], out: &mut BytesMut) {
    if calls.is_empty() {
        return;
    }
    key(out, "\"tool_calls\":[");
    for (index, call) in calls.iter().enumerate() {
        comma(out);
        out.put_u8(b'{');
        optional(out, "\"id\":", call.id.as_deref());
        key(out, "\"function\":{\"index\":");
        value(out, &index);
        out.put_slice(b",\"name\":");
        value(out, &call.name);
        out.put_slice(b",\"arguments\":");
        let arguments = call.arguments.trim();
        raw(out, if arguments.is_empty() { "{}" } else { arguments });
        out.put_slice(b"}}");
    }
    out.put_u8(b']');
}

impl End<'_> {
    fn write(&self, out: &mut BytesMut) {
        out.put_slice(b",\"done\":true,\"done_reason\":");
        let reason = match self.reason {
            // No word for what a filter held back: it must not look like an end of the model's own.
            "length" | "content_filter" => self.reason,
            _ => "stop",
        };
        value(out, reason);
        let [total, load, prompt, eval] = self.measured;
        let measured = nanos(self.first);
        let mut number = |name: &'static str, number: u64| {
            key(out, name);
            value(out, &number);
        };
        number("\"total_duration\":", total.unwrap_or(nanos(self.total)));
        number("\"load_duration\":", load.unwrap_or_default());
        let count = |tokens: i64| u64::try_from(tokens).unwrap_or_default();
        if let Some(usage) = self.usage {
            number("\"prompt_eval_count\":", count(usage.prompt_tokens));
        }
        number("\"prompt_eval_duration\":", prompt.unwrap_or(measured));
        if let Some(usage) = self.usage {
            number("\"eval_count\":", count(usage.completion_tokens));
        }
        number("\"eval_duration\":", eval.unwrap_or(nanos(self.total.saturating_sub(self.first))));
        if self.usage.is_some_and(|usage| usage.estimated) {
            out.put_slice(b",\"estimated\":true");
        }
    }
}

/// A span in nanoseconds.
pub(in crate::ollama) fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

/// Log probabilities of the text, out of the object that OpenAI puts around them.
pub(super) fn entries(json: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Around<'a> {
        #[serde(borrow)]
        content: Option<&'a RawValue>,
    }
    let entries = serde_json::from_str::<Around<'_>>(json).ok()?.content?.get();
    (entries.starts_with('[') && entries != "[]").then(|| entries.to_owned())
}
