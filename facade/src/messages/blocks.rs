//! An answer as blocks, one after the other, as this API has it. In the contract pieces of text, reasoning and
//! several calls may come in any order: the first block is on the wire, and those behind it wait for its end.

mod call;

use std::collections::VecDeque;

use bytes::{BufMut as _, BytesMut};
use penstock_proto::inference::v1::{Delta, FunctionCall, ToolCall};
use serde::Deserialize;

use self::call::Call;
use super::conversation::THINKING_BLOCKS;
use crate::json::write::{comma, value};

/// Bytes of reasoning and arguments that are kept to be signed, put in order and checked; an answer that has more is
/// none.
const HELD_MAX_BYTES: usize = 16 << 20;

/// Blocks that are not over yet.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    waiting: VecDeque<Block>,
    /// Index of the first of them.
    index: usize,
    /// Whether its start was written.
    begun: bool,
    held_bytes: usize,
    broken: bool,
}

#[derive(Debug)]
enum Block {
    /// A text, as far as it was not written.
    Text(String),
    Thinking(Thought),
    /// What the engine does not show, as a JSON string.
    Redacted(String),
    Call(Call),
}

/// Reasoning: all of it, for a signature is of the whole.
#[derive(Debug, Default)]
struct Thought {
    text: String,
    sent: usize,
    signature: String,
    signed: bool,
}

/// A block that an engine of this API signed or hid.
#[derive(Deserialize)]
struct Signed {
    r#type: String,
    #[serde(default)]
    thinking: String,
    #[serde(default)]
    signature: Option<String>,
    #[serde(default)]
    data: String,
}

impl Blocks {
    /// Takes what is new.
    pub(super) fn add(&mut self, delta: &Delta) {
        if self.broken {
            return;
        }
        let signed = delta.extensions.iter().find(|extension| extension.name == THINKING_BLOCKS);
        let signed = signed.and_then(|found| serde_json::from_str::<Vec<Signed>>(&found.json).ok());
        self.reason(delta.reasoning.as_deref().unwrap_or_default(), signed.unwrap_or_default());
        for text in [&delta.content, &delta.refusal].into_iter().flatten() {
            self.say(text);
        }
        for (at, fragment) in (0..).zip(&delta.tool_calls) {
            self.call(fragment.index.unwrap_or(at), fragment);
        }
        self.broken |= self.held_bytes > HELD_MAX_BYTES;
    }

    fn say(&mut self, text: &str) {
        if self.waiting.len() > 1 {
            self.held_bytes += text.len();
        }
        match self.waiting.back_mut() {
            _ if text.is_empty() => {}
            Some(Block::Text(said)) => said.push_str(text),
            _ => self.waiting.push_back(Block::Text(text.to_owned())),
        }
    }

    /// Reasoning, and which of it an engine signed: what was said before, or what is said now. Proxies like LiteLLM
    /// give blocks in pieces, each without a signature, and the signature with no text at last.
    fn reason(&mut self, mut text: &str, signed: Vec<Signed>) {
        self.held_bytes += text.len();
        for block in signed {
            if block.r#type == "redacted_thinking" {
                self.waiting.push_back(Block::Redacted(block.data));
                continue;
            }
            let said = self.thought().map_or("", |thought| thought.text.as_str());
            let unsaid = block.thinking.strip_prefix(said).filter(|unsaid| text.starts_with(*unsaid));
            let unsaid = unsaid.map(str::len);
            let signature = block.signature.unwrap_or_default();
            let is_piece = signature.is_empty() && text.starts_with(&block.thinking);
            let is_end = block.thinking.is_empty() && !said.is_empty();
            let unsaid = unsaid.or((is_piece || is_end).then_some(block.thinking.len()));
            let signed = !signature.is_empty() || unsaid.is_none();
            self.held_bytes += block.thinking.len() + signature.len();
            let (now, later) = text.split_at(unsaid.unwrap_or_default());
            text = later;
            match self.thought().filter(|_| unsaid.is_some()) {
                Some(thought) => {
                    thought.text.push_str(now);
                    (thought.signature, thought.signed) = (signature, signed);
                }
                None => {
                    let thought = Thought { text: block.thinking, sent: 0, signature, signed };
                    self.waiting.push_back(Block::Thinking(thought));
                }
            }
        }
        if text.is_empty() {
            return;
        }
        match self.thought() {
            Some(thought) => thought.text.push_str(text),
            None => {
                let thought = Thought { text: text.to_owned(), ..Thought::default() };
                self.waiting.push_back(Block::Thinking(thought));
            }
        }
    }

    /// The reasoning that goes on.
    fn thought(&mut self) -> Option<&mut Thought> {
        match self.waiting.back_mut() {
            Some(Block::Thinking(thought)) if !thought.signed => Some(thought),
            _ => None,
        }
    }

    fn call(&mut self, key: i64, fragment: &ToolCall) {
        let known = self.waiting.iter_mut().find_map(|block| match block {
            Block::Call(call) if call.key == key => Some(call),
            _ => None,
        });
        // Some engines give an empty name with whatever follows the first fragment.
        let named = |function: &FunctionCall| function.name.as_deref().is_some_and(|name| !name.is_empty());
        let begins = fragment.id.is_some() || fragment.function.as_ref().is_some_and(named);
        match known {
            Some(call) => self.held_bytes += call.add(fragment),
            None if begins => {
                let mut call = Call::new(key);
                self.held_bytes += call.add(fragment);
                self.waiting.push_back(Block::Call(call));
            }
            // More of a call that is over: its arguments were none.
            None => self.broken |= call::says_something(fragment),
        }
    }

    /// Writes the events of what can be written. `all`: nothing more comes; `cut`: for the bound of the answer's
    /// tokens was met, so that a call may lack its end.
    pub(super) fn stream(&mut self, all: bool, cut: bool, out: &mut BytesMut) {
        while !self.broken {
            let behind = all || self.waiting.len() > 1;
            let Some(block) = self.waiting.front_mut() else { return };
            if !self.begun {
                if !block.is_named() {
                    self.broken = all;
                    return;
                }
                start(block, self.index, out);
                self.begun = true;
            }
            block.send(self.index, out);
            if !block.is_over(all, behind) {
                return;
            }
            if let Block::Call(call) = block
                && call.input().is_none()
                && !cut
            {
                self.broken = true;
                return;
            }
            block.end(self.index, cut, out);
            self.waiting.pop_front();
            self.index += 1;
            self.begun = false;
        }
    }

    /// Writes the content of a whole answer. False: it is none. Of an answer that was `cut` the call that lacks its
    /// end is left out: there is no saying what it asks for.
    #[must_use]
    pub(super) fn write(&self, cut: bool, out: &mut BytesMut) -> bool {
        out.put_u8(b'[');
        for block in &self.waiting {
            match block {
                Block::Call(call) if call.input().is_none() && cut => continue,
                Block::Call(call) if call.input().is_none() || call.name.is_empty() => return false,
                _ => comma(out),
            }
            block.whole(out);
        }
        out.put_u8(b']');
        !self.broken
    }

    /// Whether what was said so far can be no answer.
    pub(super) fn is_broken(&self) -> bool {
        self.broken
    }
}

impl Block {
    /// Whether enough is known of it to begin.
    fn is_named(&self) -> bool {
        !matches!(self, Block::Call(call) if call.name.is_empty())
    }

    fn is_over(&self, all: bool, behind: bool) -> bool {
        match self {
            Block::Text(_) => behind,
            Block::Thinking(thought) => behind || thought.signed,
            Block::Redacted(_) => true,
            Block::Call(call) => all || (behind && call.is_whole()),
        }
    }

    /// Writes what was not written yet.
    fn send(&mut self, index: usize, out: &mut BytesMut) {
        match self {
            Block::Text(text) => {
                delta(index, "text_delta", "text", text, out);
                text.clear();
            }
            Block::Thinking(thought) => {
                delta(
                    index,
                    "thinking_delta",
                    "thinking",
                    thought.text.get(thought.sent..).unwrap_or_default(),
                    out,
                );
                thought.sent = thought.text.len();
            }
            Block::Redacted(_) => {}
            Block::Call(call) => delta(index, "input_json_delta", "partial_json", call.unsent(), out),
        }
    }

    fn end(&mut self, index: usize, cut: bool, out: &mut BytesMut) {
        match self {
            Block::Thinking(thought) => delta(index, "signature_delta", "signature", &thought.signature, out),
            // So that whoever joins the fragments has JSON.
            Block::Call(call) if call.is_silent() && !cut => {
                delta(index, "input_json_delta", "partial_json", "{}", out);
            }
            _ => {}
        }
        event("content_block_stop", out);
        out.put_slice(b",\"index\":");
        value(out, &index);
        out.put_slice(b"}\n\n");
    }

    /// Writes all of it.
    fn whole(&self, out: &mut BytesMut) {
        match self {
            Block::Text(text) => {
                out.put_slice(b"{\"type\":\"text\",\"text\":");
                value(out, text);
            }
            Block::Thinking(thought) => {
                out.put_slice(b"{\"type\":\"thinking\",\"thinking\":");
                value(out, &thought.text);
                out.put_slice(b",\"signature\":");
                value(out, &thought.signature);
            }
            Block::Redacted(data) => {
                out.put_slice(b"{\"type\":\"redacted_thinking\",\"data\":");
                value(out, data);
            }
            Block::Call(call) => call.write(call.input().unwrap_or("{}"), out),
        }
        out.put_u8(b'}');
    }
}

/// Begins an event: its name, and its data up to its type.
pub(super) fn event(name: &str, out: &mut BytesMut) {
    out.put_slice(b"event: ");
    out.put_slice(name.as_bytes());
    out.put_slice(b"\ndata: {\"type\":\"");
    out.put_slice(name.as_bytes());
    out.put_u8(b'"');
}

fn start(block: &Block, index: usize, out: &mut BytesMut) {
    event("content_block_start", out);
    out.put_slice(b",\"index\":");
    value(out, &index);
    out.put_slice(b",\"content_block\":");
    match block {
        Block::Text(_) => out.put_slice(b"{\"type\":\"text\",\"text\":\"\"}"),
        Block::Thinking(_) => {
            out.put_slice(b"{\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"}");
        }
        Block::Redacted(_) => block.whole(out),
        Block::Call(call) => {
            call.write("{}", out);
            out.put_u8(b'}');
        }
    }
    out.put_slice(b"}\n\n");
}

/// Writes a delta, unless there is nothing in it.
fn delta(index: usize, kind: &str, member: &str, text: &str, out: &mut BytesMut) {
    if text.is_empty() {
        return;
    }
    event("content_block_delta", out);
    out.put_slice(b",\"index\":");
    value(out, &index);
    out.put_slice(b",\"delta\":{\"type\":\"");
    out.put_slice(kind.as_bytes());
    out.put_slice(b"\",\"");
    out.put_slice(member.as_bytes());
    out.put_slice(b"\":");
    value(out, text);
    out.put_slice(b"}}\n\n");
}
