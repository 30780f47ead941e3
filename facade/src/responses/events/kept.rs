//! Items of an answer while it is streamed, and the events that begin and end them.

use bytes::{BufMut as _, BytesMut};
use penstock_proto::inference::v1::{Extension, ToolCall};

use super::sequence::{Place, Sequence};
use crate::{
    json::write::{key, raw, value},
    responses::output::{self, Call, Content, Output, Part, write_part, write_typed_text},
};

/// How the places of parts are told.
pub(super) const CONTENT_INDEX: &str = "\"content_index\":";
pub(super) const SUMMARY_INDEX: &str = "\"summary_index\":";

/// An item, as far as it was told.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) id: String,
    pub(super) open: bool,
    pub(super) content: Kept,
}

/// What an item has.
#[derive(Debug)]
pub(super) enum Kept {
    Reasoning(String),
    Message(Vec<KeptPart>),
    Call(Called),
}

/// A part of a message.
#[derive(Debug)]
pub(super) enum KeptPart {
    Text { text: String, logprobs: String },
    Refusal(String),
}

/// A call, as far as its fragments came.
#[derive(Debug)]
pub(super) struct Called {
    /// What its fragments share.
    pub(super) key: Option<i64>,
    /// Its place among the calls.
    pub(super) number: usize,
    pub(super) call_id: String,
    pub(super) name: String,
    pub(super) input: String,
    pub(super) custom: bool,
    pub(super) extensions: Vec<Extension>,
}

impl Item {
    pub(super) fn shown(&self) -> Output<'_> {
        let content = match &self.content {
            Kept::Reasoning(text) => Content::Reasoning(text),
            Kept::Message(parts) => Content::Message(parts.iter().map(KeptPart::shown).collect()),
            Kept::Call(called) => Content::Call(Call {
                call_id: &called.call_id,
                name: &called.name,
                input: &called.input,
                custom: called.custom,
                extensions: &called.extensions,
            }),
        };
        Output { id: self.id.as_str().into(), content }
    }

    pub(super) fn close(
        &mut self,
        output_index: usize,
        status: &'static str,
        summary: bool,
        sequence: &mut Sequence,
        out: &mut BytesMut,
    ) {
        if !std::mem::replace(&mut self.open, false) {
            return;
        }
        let item = Place { item_id: &self.id, output_index, part: None };
        match &self.content {
            Kept::Reasoning(text) => {
                let full = Place { part: Some((CONTENT_INDEX, 0)), ..item };
                text_event("response.reasoning_text.done", full, "\"text\":", text, sequence, out);
                part_event("response.content_part.done", full, "reasoning_text", text, sequence, out);
                if summary {
                    let short = Place { part: Some((SUMMARY_INDEX, 0)), ..item };
                    let done = "response.reasoning_summary_text.done";
                    text_event(done, short, "\"text\":", text, sequence, out);
                    let done = "response.reasoning_summary_part.done";
                    part_event(done, short, "summary_text", text, sequence, out);
                }
            }
            Kept::Message(parts) => {
                if let Some(part) = parts.last() {
                    let index = parts.len().saturating_sub(1);
                    part.close(Place { part: Some((CONTENT_INDEX, index)), ..item }, sequence, out);
                }
            }
            Kept::Call(called) => called.close(item, sequence, out),
        }
        item_event("response.output_item.done", output_index, self, status, summary, sequence, out);
    }
}

impl KeptPart {
    pub(super) fn shown(&self) -> Part<'_> {
        match self {
            KeptPart::Text { text, logprobs } => Part::Text { text, logprobs },
            KeptPart::Refusal(refusal) => Part::Refusal(refusal),
        }
    }

    pub(super) fn close(&self, place: Place<'_>, sequence: &mut Sequence, out: &mut BytesMut) {
        match self {
            KeptPart::Text { text, logprobs } => sequence.event("response.output_text.done", out, |out| {
                place.write(out);
                key(out, "\"text\":");
                value(out, text);
                key(out, "\"logprobs\":[");
                raw(out, logprobs);
                out.put_u8(b']');
            }),
            KeptPart::Refusal(refusal) => {
                text_event("response.refusal.done", place, "\"refusal\":", refusal, sequence, out);
            }
        }
        sequence.event("response.content_part.done", out, |out| {
            place.write(out);
            key(out, "\"part\":");
            write_part(self.shown(), out);
        });
    }
}

impl Called {
    /// Takes a fragment in.
    pub(super) fn go_on(&mut self, fragment: &ToolCall) {
        if let Some(id) = &fragment.id
            && self.call_id.is_empty()
        {
            self.call_id.clone_from(id);
        }
        self.name.push_str(output::name(fragment).unwrap_or_default());
        self.input.push_str(output::input(fragment).unwrap_or_default());
        for extension in &fragment.extensions {
            match self.extensions.iter_mut().find(|known| known.name == extension.name) {
                Some(known) => known.json.clone_from(&extension.json),
                None => self.extensions.push(extension.clone()),
            }
        }
    }

    pub(super) fn tell(&self, place: Place<'_>, piece: &str, sequence: &mut Sequence, out: &mut BytesMut) {
        if piece.is_empty() {
            return;
        }
        let kind = if self.custom {
            "response.custom_tool_call_input.delta"
        } else {
            "response.function_call_arguments.delta"
        };
        text_event(kind, place, "\"delta\":", piece, sequence, out);
    }

    pub(super) fn close(&self, place: Place<'_>, sequence: &mut Sequence, out: &mut BytesMut) {
        if self.custom {
            let done = "response.custom_tool_call_input.done";
            return text_event(done, place, "\"input\":", &self.input, sequence, out);
        }
        sequence.event("response.function_call_arguments.done", out, |out| {
            place.write(out);
            key(out, "\"name\":");
            value(out, &self.name);
            key(out, "\"arguments\":");
            value(out, &self.input);
        });
    }
}

/// Writes an event that has a text, or a piece of one, as its member `name`.
pub(super) fn text_event(
    kind: &str,
    place: Place<'_>,
    name: &'static str,
    text: &str,
    sequence: &mut Sequence,
    out: &mut BytesMut,
) {
    sequence.event(kind, out, |out| {
        place.write(out);
        key(out, name);
        value(out, text);
    });
}

/// Writes an event that has a part of a reasoning item.
pub(super) fn part_event(
    kind: &str,
    place: Place<'_>,
    part: &'static str,
    text: &str,
    sequence: &mut Sequence,
    out: &mut BytesMut,
) {
    sequence.event(kind, out, |out| {
        place.write(out);
        key(out, "\"part\":");
        write_typed_text(part, text, out);
    });
}

/// Writes an event that has an item.
pub(super) fn item_event(
    kind: &str,
    output_index: usize,
    item: &Item,
    status: &'static str,
    summary: bool,
    sequence: &mut Sequence,
    out: &mut BytesMut,
) {
    sequence.event(kind, out, |out| {
        key(out, "\"output_index\":");
        value(out, &output_index);
        key(out, "\"item\":");
        output::write_item(&item.shown(), status, summary, out);
    });
}
