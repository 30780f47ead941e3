//! What an answer has said so far, item by item, and the events that tell it. Thoughts and texts end where anything
//! else begins; what comes after that is an item of its own. Calls end with the answer: pieces of several may come
//! in turns.

use std::{collections::HashMap, mem::take};

use bytes::{BufMut as _, BytesMut};
use penstock_proto::inference::v1::ToolCall;

use super::{
    kept::{CONTENT_INDEX, Called, Item, Kept, KeptPart, SUMMARY_INDEX, item_event, part_event, text_event},
    sequence::{Place, Sequence},
};
use crate::{
    json::write::{key, raw, value},
    responses::{
        items::{Kind, item_id},
        output::{self, COMPLETED, IN_PROGRESS, Output, write_part},
    },
};

/// What was said so far.
#[derive(Debug, Default)]
pub(super) struct Said {
    response_id: String,
    /// Whether thoughts are told as their summary, too.
    summary: bool,
    /// In the order in which they began; of those that are not calls at most the last one is open.
    items: Vec<Item>,
    /// So many of them are thoughts, and so many messages.
    thoughts: usize,
    messages: usize,
    /// Where among them the call is whose fragments share this.
    places: HashMap<i64, usize>,
    /// Calls whose name is still to come.
    waiting: Vec<Called>,
    /// Calls begun, those that wait among them.
    calls: usize,
    /// Log probabilities that came before their text.
    stray: String,
}

impl Said {
    pub(super) fn new(response_id: &str, summary: bool) -> Self {
        Self { response_id: response_id.to_owned(), summary, ..Self::default() }
    }

    /// The items, to be shown.
    pub(super) fn items(&self) -> Vec<Output<'_>> {
        self.items.iter().map(Item::shown).collect()
    }

    /// Whether all that was said can be said here: each call has a name.
    pub(super) fn can_be_told(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Tells a piece of what was thought.
    pub(super) fn reasoning(&mut self, piece: &str, sequence: &mut Sequence, out: &mut BytesMut) {
        if piece.is_empty() {
            return;
        }
        let summary = self.summary;
        let goes_on = matches!(self.items.last(), Some(Item { open: true, content: Kept::Reasoning(_), .. }));
        if !goes_on {
            self.close_last(COMPLETED, sequence, out);
            let id = item_id(Kind::Reasoning, &self.response_id, self.thoughts);
            self.thoughts += 1;
            self.add(id, Kept::Reasoning(String::new()), sequence, out);
        }
        let output_index = self.items.len().saturating_sub(1);
        let Some(Item { id, content: Kept::Reasoning(whole), .. }) = self.items.last_mut() else { return };
        let full = Place { item_id: id, output_index, part: Some((CONTENT_INDEX, 0)) };
        let short = Place { part: Some((SUMMARY_INDEX, 0)), ..full };
        if !goes_on {
            part_event("response.content_part.added", full, "reasoning_text", "", sequence, out);
            if summary {
                part_event("response.reasoning_summary_part.added", short, "summary_text", "", sequence, out);
            }
        }
        whole.push_str(piece);
        text_event("response.reasoning_text.delta", full, "\"delta\":", piece, sequence, out);
        if summary {
            text_event("response.reasoning_summary_text.delta", short, "\"delta\":", piece, sequence, out);
        }
    }

    /// Tells a piece of the text, and its log probabilities, which may come without any text of their own.
    pub(super) fn text(&mut self, piece: &str, logprobs: &str, sequence: &mut Sequence, out: &mut BytesMut) {
        if piece.is_empty() {
            match self.open_part() {
                Some((KeptPart::Text { logprobs: known, .. }, _)) => join(known, logprobs),
                _ => join(&mut self.stray, logprobs),
            }
            return;
        }
        let goes_on = matches!(self.open_part(), Some((KeptPart::Text { .. }, _)));
        if !goes_on {
            let part = KeptPart::Text { text: String::new(), logprobs: String::new() };
            self.add_part(part, sequence, out);
        }
        let mut told = take(&mut self.stray);
        join(&mut told, logprobs);
        let Some((KeptPart::Text { text, logprobs }, place)) = self.open_part() else { return };
        text.push_str(piece);
        join(logprobs, &told);
        sequence.event("response.output_text.delta", out, |out| {
            place.write(out);
            key(out, "\"delta\":");
            value(out, piece);
            key(out, "\"logprobs\":[");
            raw(out, &told);
            out.put_u8(b']');
        });
    }

    /// Tells a piece of a refusal.
    pub(super) fn refusal(&mut self, piece: &str, sequence: &mut Sequence, out: &mut BytesMut) {
        if piece.is_empty() {
            return;
        }
        if !matches!(self.open_part(), Some((KeptPart::Refusal(_), _))) {
            self.add_part(KeptPart::Refusal(String::new()), sequence, out);
        }
        let Some((KeptPart::Refusal(refusal), place)) = self.open_part() else { return };
        refusal.push_str(piece);
        text_event("response.refusal.delta", place, "\"delta\":", piece, sequence, out);
    }

    /// Tells a fragment of a call. One whose name is still to come waits for it.
    pub(super) fn call(&mut self, fragment: &ToolCall, sequence: &mut Sequence, out: &mut BytesMut) {
        let same = |called: &Called| called.key == fragment.index && called.key.is_some();
        if let Some(place) = self.waiting.iter().position(same) {
            let mut waiting = self.waiting.remove(place);
            waiting.go_on(fragment);
            return self.begin_call(waiting, sequence, out);
        }
        let place = fragment.index.and_then(|key| self.places.get(&key).copied());
        let known = place.and_then(|output_index| match self.items.get_mut(output_index)? {
            Item { id, content: Kept::Call(called), .. } => Some((output_index, id, called)),
            _ => None,
        });
        let Some((output_index, item_id, called)) = known else {
            let mut called = Called {
                key: fragment.index,
                number: self.calls,
                call_id: String::new(),
                name: String::new(),
                input: String::new(),
                custom: Kind::of(fragment) == Kind::Custom,
                extensions: Vec::new(),
            };
            self.calls += 1;
            called.go_on(fragment);
            return self.begin_call(called, sequence, out);
        };
        called.go_on(fragment);
        let piece = output::input(fragment).unwrap_or_default();
        called.tell(Place { item_id, output_index, part: None }, piece, sequence, out);
    }

    fn begin_call(&mut self, mut called: Called, sequence: &mut Sequence, out: &mut BytesMut) {
        if called.name.is_empty() {
            return self.waiting.push(called);
        }
        self.close_last(COMPLETED, sequence, out);
        let kind = if called.custom { Kind::Custom } else { Kind::Function };
        let id = item_id(kind, &self.response_id, called.number);
        let begun = take(&mut called.input);
        self.places.extend(called.key.map(|key| (key, self.items.len())));
        self.add(id, Kept::Call(called), sequence, out);
        let output_index = self.items.len().saturating_sub(1);
        let Some(Item { id: item_id, content: Kept::Call(called), .. }) = self.items.last_mut() else {
            return;
        };
        called.tell(Place { item_id, output_index, part: None }, &begun, sequence, out);
        called.input = begun;
    }

    /// Ends all that goes on. The last item has this status: it is the one that was cut, if any was.
    pub(super) fn close(&mut self, last: &'static str, sequence: &mut Sequence, out: &mut BytesMut) {
        let items = self.items.len();
        for (index, item) in self.items.iter_mut().enumerate() {
            let status = if index + 1 == items { last } else { COMPLETED };
            item.close(index, status, self.summary, sequence, out);
        }
    }

    /// Ends the last item, unless it is a call.
    fn close_last(&mut self, status: &'static str, sequence: &mut Sequence, out: &mut BytesMut) {
        let index = self.items.len().saturating_sub(1);
        if let Some(item) = self.items.last_mut()
            && !matches!(item.content, Kept::Call(_))
        {
            item.close(index, status, self.summary, sequence, out);
        }
    }

    fn add(&mut self, id: String, content: Kept, sequence: &mut Sequence, out: &mut BytesMut) {
        let item = Item { id, open: true, content };
        let output_index = self.items.len();
        item_event("response.output_item.added", output_index, &item, IN_PROGRESS, false, sequence, out);
        self.items.push(item);
    }

    /// The part of a message that goes on, and its place.
    fn open_part(&mut self) -> Option<(&mut KeptPart, Place<'_>)> {
        let output_index = self.items.len().checked_sub(1)?;
        let Item { id, open: true, content: Kept::Message(parts) } = self.items.last_mut()? else {
            return None;
        };
        let place =
            Place { item_id: id, output_index, part: Some((CONTENT_INDEX, parts.len().checked_sub(1)?)) };
        Some((parts.last_mut()?, place))
    }

    /// Begins a part, after the one that goes on, in the message that goes on or in a new one.
    fn add_part(&mut self, part: KeptPart, sequence: &mut Sequence, out: &mut BytesMut) {
        if let Some((part, place)) = self.open_part() {
            part.close(place, sequence, out);
        } else {
            self.close_last(COMPLETED, sequence, out);
            let id = item_id(Kind::Message, &self.response_id, self.messages);
            self.messages += 1;
            self.add(id, Kept::Message(Vec::new()), sequence, out);
        }
        if let Some(Item { content: Kept::Message(parts), .. }) = self.items.last_mut() {
            parts.push(part);
        }
        let Some((part, place)) = self.open_part() else { return };
        sequence.event("response.content_part.added", out, |out| {
            place.write(out);
            key(out, "\"part\":");
            write_part(part.shown(), out);
        });
    }
}

/// Adds to the insides of a JSON array.
fn join(inside: &mut String, more: &str) {
    if !inside.is_empty() && !more.is_empty() {
        inside.push(',');
    }
    inside.push_str(more);
}
