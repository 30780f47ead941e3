//! Answers as Anthropic's API has them: the whole one as JSON, and what the whole and the streamed one share: the
//! reason of the end, the tokens, the id.

use bytes::{BufMut as _, BytesMut};
use penstock_proto::inference::v1::{Choice, Extension, GenerateChunk, Usage};
use serde_json::Value;

use super::blocks::Blocks;
use crate::{
    error::Error,
    json::write::{key, nullable, value},
};

/// Writes the one chunk that holds the whole answer. `ends`: the sequences that may have ended it.
///
/// # Errors
/// Its calls cannot be made: what they ask for is no object.
pub(crate) fn write(chunk: &GenerateChunk, ends: &[String], out: &mut BytesMut) -> Result<(), Error> {
    let mut blocks = Blocks::default();
    let mut end = End::default();
    for choice in first(chunk) {
        blocks.add(&choice.delta.clone().unwrap_or_default());
        end.note(choice, ends);
    }
    write_head(chunk, out);
    if !blocks.write(end.is_cut(), out) {
        return Err(Error::NotWhole);
    }
    end.write(out);
    out.put_slice(b",\"usage\":");
    write_usage(chunk.usage.as_ref(), chunk.service_tier.as_deref(), out);
    out.put_u8(b'}');
    Ok(())
}

/// The choice that is the answer: no other is asked for.
pub(super) fn first(chunk: &GenerateChunk) -> impl Iterator<Item = &Choice> {
    chunk.choices.iter().filter(|choice| choice.index == 0)
}

/// Writes a message up to its content.
pub(super) fn write_head(chunk: &GenerateChunk, out: &mut BytesMut) {
    // Clients tell messages by their ids; an engine's own kind of answer is no part of it.
    let id = chunk.id.strip_prefix("chatcmpl-").or(chunk.id.strip_prefix("msg_")).unwrap_or(&chunk.id);
    out.put_slice(b"{\"id\":");
    value(out, &format!("msg_{id}"));
    out.put_slice(b",\"type\":\"message\",\"role\":\"assistant\",\"model\":");
    value(out, &chunk.model);
    out.put_slice(b",\"content\":");
}

/// How an answer ended.
#[derive(Debug, Default)]
pub(super) struct End {
    reason: Option<&'static str>,
    sequence: Option<String>,
    refused: bool,
}

impl End {
    /// Takes what a piece says of it.
    pub(super) fn note(&mut self, choice: &Choice, ends: &[String]) {
        let refusal = choice.delta.as_ref().and_then(|delta| delta.refusal.as_deref());
        self.refused |= refusal.is_some_and(|text| !text.is_empty());
        let Some(reason) = &choice.finish_reason else { return };
        self.sequence = sequence(&choice.extensions, ends);
        self.reason = Some(match reason.as_str() {
            "length" => "max_tokens",
            "tool_calls" | "function_call" => "tool_use",
            "content_filter" => "refusal",
            _ if self.refused => "refusal",
            _ if self.sequence.is_some() => "stop_sequence",
            _ => "end_turn",
        });
    }

    /// Whether it ended.
    pub(super) fn is_there(&self) -> bool {
        self.reason.is_some()
    }

    /// Whether the bound of its tokens ended it.
    pub(super) fn is_cut(&self) -> bool {
        self.reason == Some("max_tokens")
    }

    /// Writes the members that tell it.
    pub(super) fn write(&self, out: &mut BytesMut) {
        key(out, "\"stop_reason\":");
        nullable(out, self.reason);
        out.put_slice(b",\"stop_sequence\":");
        nullable(out, self.sequence.as_deref().filter(|_| self.reason == Some("stop_sequence")));
    }
}

/// The sequence that ended the answer, if the engine says which: vLLM in `stop_reason`, Anthropic in
/// `stop_sequence`.
fn sequence(extensions: &[Extension], ends: &[String]) -> Option<String> {
    let says = |extension: &&Extension| matches!(extension.name.as_str(), "stop_reason" | "stop_sequence");
    let said = |extension: &Extension| serde_json::from_str::<String>(&extension.json).ok();
    extensions.iter().filter(says).filter_map(said).find(|said| ends.contains(said))
}

/// Writes the tokens used: those that a cache had or got are not among the input here. None are known: zeros,
/// which clients need.
pub(super) fn write_usage(usage: Option<&Usage>, tier: Option<&str>, out: &mut BytesMut) {
    let details = |name: &str| {
        let found = usage?.extensions.iter().find(|extension| extension.name == name)?;
        serde_json::from_str::<Value>(&found.json).ok()
    };
    let count = |details: &Option<Value>, name: &str| {
        details.as_ref().and_then(|details| details.get(name)?.as_i64()).map(|tokens| tokens.max(0))
    };
    let (asked, made) = (details("prompt_tokens_details"), details("completion_tokens_details"));
    let (input, output) = usage.map_or((0, 0), |usage| (usage.prompt_tokens, usage.completion_tokens));
    let read = count(&asked, "cached_tokens").unwrap_or_default().min(input);
    let written = count(&asked, "cache_write_tokens").unwrap_or_default().min(input - read);
    for (name, tokens) in [
        ("{\"input_tokens\":", input - read - written),
        (",\"cache_creation_input_tokens\":", written),
        (",\"cache_read_input_tokens\":", read),
        (",\"output_tokens\":", output),
    ] {
        out.put_slice(name.as_bytes());
        value(out, &tokens);
    }
    if let Some(tokens) = count(&made, "reasoning_tokens") {
        out.put_slice(b",\"output_tokens_details\":{\"thinking_tokens\":");
        value(out, &tokens);
        out.put_u8(b'}');
    }
    if let Some(tier) = tier {
        out.put_slice(b",\"service_tier\":");
        value(out, if tier == "default" { "standard" } else { tier });
    }
    if usage.is_some_and(|usage| usage.estimated) {
        out.put_slice(b",\"estimated\":true");
    }
    out.put_u8(b'}');
}

#[cfg(test)]
mod tests;
