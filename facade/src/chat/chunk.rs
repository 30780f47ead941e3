//! Chunks of a streamed answer as server-sent events, in one pass into a buffer that is used again and again.

use bytes::{BufMut as _, BytesMut};
use penstock_proto::{
    Error,
    inference::v1::{Choice, CustomCall, Delta, FunctionCall, GenerateChunk, ToolCall, Usage},
};

use crate::{
    api::Api,
    json::write::{comma, extensions, key, nullable, optional, raw, value},
    stream::{EVENT_STREAM, Events, PING},
    text,
};

/// The end of a whole answer.
const DONE: &[u8] = b"data: [DONE]\n\n";

/// Most choices of an answer, as OpenAI has it; one bit each.
const CHOICES_MAX: i64 = 128;

/// Members of a chunk that are written anyway: an engine's own must not come twice.
pub(crate) const CHUNK: [&str; 8] =
    ["id", "object", "created", "model", "choices", "usage", "system_fingerprint", "service_tier"];

/// Likewise of a message or a delta, and of a tool call.
pub(super) const MESSAGE: [&str; 6] =
    ["role", "content", "refusal", "reasoning_content", "tool_calls", "function_call"];
pub(super) const CALL: [&str; 5] = ["index", "id", "type", "function", "custom"];

/// What an answer continues, which decides how its choices look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// A conversation.
    Chat,
    /// A text.
    Text,
}

/// Writes the events of one answer, as chat completions and the legacy completions have them.
#[derive(Debug)]
pub(crate) struct Completions {
    /// How choices look.
    shape: Shape,
    /// Whether usage was asked for: then every chunk has the member.
    include_usage: bool,
    /// What is the same on every chunk, and its JSON up to the choices.
    head: Head,
    /// Bits of the choices that were begun, and of those that were finished.
    begun: u128,
    finished: u128,
}

#[derive(Debug, Default)]
struct Head {
    id: String,
    created: i64,
    model: String,
    service_tier: Option<String>,
    system_fingerprint: Option<String>,
    json: BytesMut,
}

impl Completions {
    /// For an answer of which nothing was written yet.
    pub(crate) fn new(shape: Shape, include_usage: bool) -> Self {
        Self { shape, include_usage, head: Head::default(), begun: 0, finished: 0 }
    }

    /// Whether every choice that was begun was finished, and there was one: else the answer is not whole.
    fn is_whole(&self) -> bool {
        self.begun != 0 && self.begun == self.finished
    }

    fn note(&mut self, choice: &Choice) {
        let bit = 1_u128 << choice.index.clamp(0, CHOICES_MAX - 1);
        self.begun |= bit;
        if choice.finish_reason.is_some() {
            self.finished |= bit;
        }
    }
}

impl Events for Completions {
    const API: Api = Api::Completions;
    const CONTENT_TYPE: &'static str = EVENT_STREAM;

    /// Writes a chunk as one event.
    fn write(&mut self, chunk: &GenerateChunk, out: &mut BytesMut) {
        self.head.renew(self.shape, chunk);
        out.put_slice(&self.head.json);
        for choice in &chunk.choices {
            self.note(choice);
            comma(out);
            match self.shape {
                Shape::Chat => write_choice(choice, out),
                Shape::Text => text::answer::write_choice(choice, out),
            }
        }
        out.put_u8(b']');
        match &chunk.usage {
            Some(usage) => {
                out.put_slice(b",\"usage\":");
                write_usage(usage, out);
            }
            None if self.include_usage => out.put_slice(b",\"usage\":null"),
            None => {}
        }
        extensions(out, &chunk.extensions, &CHUNK);
        out.put_slice(b"}\n\n");
    }

    fn end(&mut self, out: &mut BytesMut) -> bool {
        let whole = self.is_whole();
        if whole {
            out.put_slice(DONE);
        }
        whole
    }

    fn fail(&mut self, error: &Error, request_id: &str, out: &mut BytesMut) {
        write_error(error, request_id, out);
    }

    fn ping(&mut self, out: &mut BytesMut) {
        out.put_slice(PING);
    }
}

impl Head {
    /// Writes the JSON anew if anything in it changed, which it does not within an answer.
    fn renew(&mut self, shape: Shape, chunk: &GenerateChunk) {
        let same = !self.json.is_empty()
            && self.id == chunk.id
            && self.created == chunk.created
            && self.model == chunk.model
            && self.service_tier == chunk.service_tier
            && self.system_fingerprint == chunk.system_fingerprint;
        if same {
            return;
        }
        self.id.clone_from(&chunk.id);
        self.created = chunk.created;
        self.model.clone_from(&chunk.model);
        self.service_tier.clone_from(&chunk.service_tier);
        self.system_fingerprint.clone_from(&chunk.system_fingerprint);
        self.json.clear();
        self.json.put_slice(b"data: {");
        match shape {
            Shape::Chat => write_head(chunk, "\"chat.completion.chunk\"", &mut self.json),
            Shape::Text => text::answer::write_head(chunk, &mut self.json),
        }
        self.json.put_slice(b",\"choices\":[");
    }
}

/// Writes an error as an event: what a client gets when the answer breaks after it began.
fn write_error(error: &Error, request_id: &str, out: &mut BytesMut) {
    out.put_slice(b"data: {\"error\":");
    write_error_object(error, Some(request_id), out);
    out.put_slice(b"}\n\n");
}

/// Writes OpenAI's error object.
pub(crate) fn write_error_object(error: &Error, request_id: Option<&str>, out: &mut BytesMut) {
    out.put_slice(b"{\"message\":");
    value(out, &*error.message);
    out.put_slice(b",\"type\":");
    value(out, error.reason.openai_type());
    out.put_slice(b",\"param\":");
    nullable(out, error.violations.first().map(|violation| violation.field.as_str()));
    out.put_slice(b",\"code\":");
    nullable(out, error.reason.openai_code());
    optional(out, "\"request_id\":", request_id);
    out.put_u8(b'}');
}

/// Writes the members that come before the choices.
pub(super) fn write_head(chunk: &GenerateChunk, object: &'static str, out: &mut BytesMut) {
    key(out, "\"id\":");
    value(out, &chunk.id);
    key(out, "\"object\":");
    out.put_slice(object.as_bytes());
    key(out, "\"created\":");
    value(out, &chunk.created);
    key(out, "\"model\":");
    value(out, &chunk.model);
    optional(out, "\"service_tier\":", chunk.service_tier.as_deref());
    key(out, "\"system_fingerprint\":");
    nullable(out, chunk.system_fingerprint.as_deref());
}

fn write_choice(choice: &Choice, out: &mut BytesMut) {
    out.put_slice(b"{\"index\":");
    value(out, &choice.index);
    out.put_slice(b",\"delta\":{");
    if let Some(delta) = &choice.delta {
        write_delta(delta, out);
    }
    out.put_u8(b'}');
    write_end_of_choice(choice, "delta", out);
}

/// Writes what comes after a choice's delta or message, and ends the choice.
pub(super) fn write_end_of_choice(choice: &Choice, content: &'static str, out: &mut BytesMut) {
    out.put_slice(b",\"logprobs\":");
    raw(out, choice.logprobs_json.as_deref().unwrap_or("null"));
    out.put_slice(b",\"finish_reason\":");
    nullable(out, choice.finish_reason.as_deref());
    extensions(out, &choice.extensions, &["index", content, "logprobs", "finish_reason"]);
    out.put_u8(b'}');
}

fn write_delta(delta: &Delta, out: &mut BytesMut) {
    optional(out, "\"role\":", delta.role.as_deref());
    optional(out, "\"content\":", delta.content.as_deref());
    optional(out, "\"refusal\":", delta.refusal.as_deref());
    optional(out, "\"reasoning_content\":", delta.reasoning.as_deref());
    if !delta.tool_calls.is_empty() {
        key(out, "\"tool_calls\":[");
        for call in &delta.tool_calls {
            comma(out);
            write_call_fragment(call, out);
        }
        out.put_u8(b']');
    }
    if let Some(call) = &delta.function_call {
        key(out, "\"function_call\":");
        write_function(call, call.arguments.as_deref(), out);
    }
    extensions(out, &delta.extensions, &MESSAGE);
}

fn write_call_fragment(call: &ToolCall, out: &mut BytesMut) {
    out.put_u8(b'{');
    if let Some(index) = call.index {
        key(out, "\"index\":");
        value(out, &index);
    }
    optional(out, "\"id\":", call.id.as_deref());
    optional(out, "\"type\":", call.r#type.as_deref());
    if let Some(function) = &call.function {
        key(out, "\"function\":");
        write_function(function, function.arguments.as_deref(), out);
    }
    if let Some(custom) = &call.custom {
        key(out, "\"custom\":");
        write_custom(custom, custom.input.as_deref(), out);
    }
    extensions(out, &call.extensions, &CALL);
    out.put_u8(b'}');
}

/// Writes the function of a call, with these arguments.
pub(super) fn write_function(function: &FunctionCall, arguments: Option<&str>, out: &mut BytesMut) {
    out.put_u8(b'{');
    optional(out, "\"name\":", function.name.as_deref());
    optional(out, "\"arguments\":", arguments);
    extensions(out, &function.extensions, &["name", "arguments"]);
    out.put_u8(b'}');
}

/// Writes the custom tool of a call, with this input.
pub(super) fn write_custom(custom: &CustomCall, input: Option<&str>, out: &mut BytesMut) {
    out.put_u8(b'{');
    optional(out, "\"name\":", custom.name.as_deref());
    optional(out, "\"input\":", input);
    extensions(out, &custom.extensions, &["name", "input"]);
    out.put_u8(b'}');
}

/// Writes usage. An estimate is said to be one.
pub(crate) fn write_usage(usage: &Usage, out: &mut BytesMut) {
    out.put_slice(b"{\"prompt_tokens\":");
    value(out, &usage.prompt_tokens);
    out.put_slice(b",\"completion_tokens\":");
    value(out, &usage.completion_tokens);
    out.put_slice(b",\"total_tokens\":");
    value(out, &usage.total_tokens);
    if usage.estimated {
        out.put_slice(b",\"estimated\":true");
    }
    extensions(out, &usage.extensions, &["prompt_tokens", "completion_tokens", "total_tokens", "estimated"]);
    out.put_u8(b'}');
}

#[cfg(test)]
mod tests;
