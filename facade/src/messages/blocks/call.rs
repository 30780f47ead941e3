//! A call of a tool: its arguments come in fragments of JSON, of which the whole must be an object. Where it ends is
//! seen by its brackets, so that the next block can begin before the answer ends.

use bytes::{BufMut as _, BytesMut};
use penstock_proto::inference::v1::ToolCall;
use serde_json::value::RawValue;

use crate::json::write::{raw, value};

/// A call, as far as it is known.
#[derive(Debug, Default)]
pub(super) struct Call {
    /// What its fragments share.
    pub(super) key: i64,
    id: String,
    /// Empty until it is known.
    pub(super) name: String,
    arguments: String,
    sent: usize,
    scan: Scan,
}

/// How deep in brackets the arguments are so far.
#[derive(Debug, Default)]
struct Scan {
    depth: usize,
    in_string: bool,
    escaped: bool,
    closed: bool,
}

impl Call {
    pub(super) fn new(key: i64) -> Self {
        Self { key, ..Self::default() }
    }

    /// Takes a fragment; how many bytes it has.
    pub(super) fn add(&mut self, fragment: &ToolCall) -> usize {
        if let Some(id) = fragment.id.as_ref().filter(|_| self.id.is_empty()) {
            self.id.clone_from(id);
        }
        let Some(function) = &fragment.function else { return 0 };
        if let Some(name) = function.name.as_ref().filter(|_| self.name.is_empty()) {
            self.name.clone_from(name);
        }
        let text = function.arguments.as_deref().unwrap_or_default();
        self.scan.read(text);
        self.arguments.push_str(text);
        text.len()
    }

    /// What was not sent yet.
    pub(super) fn unsent(&mut self) -> &str {
        let from = std::mem::replace(&mut self.sent, self.arguments.len());
        self.arguments.get(from..).unwrap_or_default()
    }

    /// Whether its arguments have ended, as far as brackets tell.
    pub(super) fn is_whole(&self) -> bool {
        self.scan.closed
    }

    /// Whether nothing was said of its arguments.
    pub(super) fn is_silent(&self) -> bool {
        self.arguments.trim().is_empty()
    }

    /// The arguments, if they are an object; none are an empty one.
    pub(super) fn input(&self) -> Option<&str> {
        let arguments = self.arguments.trim();
        if arguments.is_empty() {
            return Some("{}");
        }
        let is_object = arguments.starts_with('{') && serde_json::from_str::<&RawValue>(arguments).is_ok();
        is_object.then_some(arguments)
    }

    /// Writes it with that input, up to its closing bracket.
    pub(super) fn write(&self, input: &str, out: &mut BytesMut) {
        out.put_slice(b"{\"type\":\"tool_use\",\"id\":");
        value(out, &self.id);
        out.put_slice(b",\"name\":");
        value(out, &self.name);
        out.put_slice(b",\"input\":");
        raw(out, input);
    }
}

/// Whether a fragment has more than white space.
pub(super) fn says_something(fragment: &ToolCall) -> bool {
    let arguments = fragment.function.as_ref().and_then(|function| function.arguments.as_deref());
    fragment.custom.is_some() || arguments.is_some_and(|text| !text.trim().is_empty())
}

impl Scan {
    fn read(&mut self, text: &str) {
        for byte in text.bytes() {
            match byte {
                _ if std::mem::take(&mut self.escaped) => {}
                b'\\' if self.in_string => self.escaped = true,
                b'"' => self.in_string = !self.in_string,
                _ if self.in_string => {}
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    self.closed = self.depth == 0;
                }
                _ => {}
            }
        }
    }
}
