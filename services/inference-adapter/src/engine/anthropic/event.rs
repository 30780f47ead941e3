//! Answers of the Messages API: blocks, whole or in events. Text, reasoning and calls become those of the
//! contract; what it has no place for keeps its name and its text.

use std::borrow::Cow;

use penstock_proto::inference::v1::{Choice, Delta, Extension, FunctionCall, GenerateChunk, ToolCall};
use serde::Deserialize;
use serde_json::{json, value::RawValue};

use super::{content::THINKING_BLOCKS, usage::Counted};
use crate::{
    engine::{Frame, Reader},
    error::Fault,
    json::read::{extension, object, raw, skip},
    upstream::status::engine_error,
};

/// Bytes of one block of reasoning that are kept to be signed.
const THOUGHT_MAX_BYTES: usize = 4 << 20;

/// An answer, or its head.
#[derive(Debug, Default)]
pub(super) struct Message {
    id: String,
    blocks: Vec<String>,
    stop_reason: Option<String>,
    stop_sequence: Option<String>,
    usage: Counted,
    error: Option<String>,
    extensions: Vec<Extension>,
}

object!(MessageObject(Message), |message, map| {
    "id" => message.id = map.next_value::<Option<String>>()?.unwrap_or_default(),
    "content" => {
        let blocks = map.next_value::<Option<Vec<&'de RawValue>>>()?.unwrap_or_default();
        message.blocks = blocks.into_iter().map(|block| block.get().to_owned()).collect();
    },
    "stop_reason" => message.stop_reason = map.next_value()?,
    "stop_sequence" => message.stop_sequence = map.next_value()?,
    "usage" => message.usage = map.next_value::<Option<Counted>>()?.unwrap_or_default(),
    "error" => message.error = raw(&mut map)?.map(str::to_owned),
    "type" | "role" | "model" => skip(&mut map)?,
} else |other| extension(&mut message.extensions, &other, &mut map)?);

/// A block, or its head.
#[derive(Debug, Deserialize)]
struct Block<'a> {
    #[serde(borrow)]
    r#type: Cow<'a, str>,
    id: Option<String>,
    name: Option<String>,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
    text: Option<String>,
    thinking: Option<String>,
    signature: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Event<'a> {
    /// Empty in an event that is named `error`: what was its data is its `error` then.
    #[serde(borrow, default)]
    r#type: Cow<'a, str>,
    message: Option<MessageObject>,
    #[serde(borrow)]
    content_block: Option<&'a RawValue>,
    #[serde(borrow)]
    delta: Option<EventDelta<'a>>,
    usage: Option<Counted>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct EventDelta<'a> {
    text: Option<String>,
    partial_json: Option<String>,
    thinking: Option<String>,
    signature: Option<String>,
    #[serde(borrow)]
    citation: Option<&'a RawValue>,
    stop_reason: Option<String>,
    stop_sequence: Option<String>,
}

/// The block that is open.
#[derive(Debug, Default)]
enum Open {
    #[default]
    Other,
    Thought {
        text: String,
        signature: String,
    },
    /// The call of that index; whether it has any arguments yet.
    Call(i64, bool),
}

/// Reads events.
#[derive(Debug, Default)]
pub(crate) struct Events {
    open: Open,
    calls: i64,
    counted: Counted,
}

impl Reader for Events {
    fn frame(&mut self, frame: &[u8]) -> Result<Frame, Fault> {
        let event: Event<'_> = serde_json::from_slice(frame)
            .map_err(|_| Fault::bad_answer("the engine sent what is not an event of a message"))?;
        let delta = match &*event.r#type {
            "message_start" => {
                let Message { id, usage, extensions, .. } = event.message.unwrap_or_default().0;
                self.counted.update(usage);
                let begin = Delta { role: Some("assistant".to_owned()), ..Delta::default() };
                return Ok(Frame::Piece(GenerateChunk { id, extensions, ..piece(begin) }));
            }
            "content_block_start" => match event.content_block {
                Some(block) => self.start(block)?,
                None => return Err(Fault::bad_answer("the engine began a block of nothing")),
            },
            "content_block_delta" => self.delta(event.delta.unwrap_or_default())?,
            "content_block_stop" => self.stop(),
            "message_delta" => {
                let EventDelta { stop_reason, stop_sequence, .. } = event.delta.unwrap_or_default();
                self.counted.update(event.usage.unwrap_or_default());
                let Some(reason) = stop_reason else { return Ok(nothing()) };
                let mut last = piece(Delta::default());
                finish(&mut last, &reason, stop_sequence);
                last.usage = self.counted.usage();
                return Ok(Frame::Piece(last));
            }
            "message_stop" => return Ok(Frame::Done),
            "error" => return Err(engine_error(event.error.map_or("{}", RawValue::get).as_bytes())),
            "" => {
                return Err(match event.error {
                    Some(error) => engine_error(error.get().as_bytes()),
                    None => Fault::bad_answer("the engine sent an event without a type"),
                });
            }
            // `ping`, and what later versions add: clients are to expect that.
            _ => None,
        };
        Ok(delta.map_or_else(nothing, |delta| Frame::Piece(piece(delta))))
    }

    fn plain(&mut self, body: &[u8]) -> Result<GenerateChunk, Fault> {
        let not_one = |_| Fault::bad_answer("the engine sent what is not a message");
        let message = serde_json::from_slice::<MessageObject>(body).map_err(not_one)?.0;
        if let Some(error) = message.error {
            return Err(engine_error(error.as_bytes()));
        }
        let mut whole = Delta { role: Some("assistant".to_owned()), ..Delta::default() };
        let (mut thoughts, mut others) = (Vec::new(), Vec::new());
        for json in &message.blocks {
            let block: Block<'_> = serde_json::from_str(json)
                .map_err(|_| Fault::bad_answer("the engine sent a strange block"))?;
            match &*block.r#type {
                "text" => add(&mut whole.content, block.text),
                "thinking" => {
                    add(&mut whole.reasoning, block.thinking);
                    thoughts.push(json.as_str());
                }
                "redacted_thinking" => thoughts.push(json),
                "tool_use" => {
                    let arguments = block.input.map_or("{}", RawValue::get).to_owned();
                    whole.tool_calls.push(call(self.calls, block.id, block.name, arguments));
                    self.calls += 1;
                }
                _ => others.push(json.as_str()),
            }
        }
        for (name, blocks) in [(THINKING_BLOCKS, thoughts), (CONTENT_BLOCKS, others)] {
            if !blocks.is_empty() {
                whole.extensions.push(array(name, &blocks));
            }
        }
        let mut chunk = GenerateChunk { id: message.id, extensions: message.extensions, ..piece(whole) };
        if let Some(reason) = message.stop_reason {
            finish(&mut chunk, &reason, message.stop_sequence);
        }
        chunk.usage = message.usage.usage();
        Ok(chunk)
    }
}

/// The extension that holds blocks which the contract has no place for.
const CONTENT_BLOCKS: &str = "content_blocks";

impl Events {
    fn start(&mut self, json: &RawValue) -> Result<Option<Delta>, Fault> {
        let block: Block<'_> = serde_json::from_str(json.get())
            .map_err(|_| Fault::bad_answer("the engine began a strange block"))?;
        self.open = Open::Other;
        let extension =
            |name| Some(Delta { extensions: vec![array(name, &[json.get()])], ..Delta::default() });
        Ok(match &*block.r#type {
            "text" => block.text.filter(|text| !text.is_empty()).map(content),
            "thinking" => {
                let text = block.thinking.unwrap_or_default();
                let said = (!text.is_empty()).then(|| reasoning(text.clone()));
                self.open = Open::Thought { text, signature: block.signature.unwrap_or_default() };
                said
            }
            "redacted_thinking" => extension(THINKING_BLOCKS),
            "tool_use" => {
                // Some servers send all of it at once; the API itself an empty object, and the text later.
                let whole = block.input.map(RawValue::get).filter(|json| !is_empty_object(json));
                self.open = Open::Call(self.calls, whole.is_some());
                let arguments = whole.unwrap_or_default().to_owned();
                let call = call(self.calls, block.id, block.name, arguments);
                self.calls += 1;
                Some(Delta { tool_calls: vec![call], ..Delta::default() })
            }
            _ => extension(CONTENT_BLOCKS),
        })
    }

    fn delta(&mut self, delta: EventDelta<'_>) -> Result<Option<Delta>, Fault> {
        if let Some(text) = delta.text {
            return Ok(Some(content(text)));
        }
        if let Some(citation) = delta.citation {
            let citation = Extension { name: "citation".into(), json: citation.get().to_owned() };
            return Ok(Some(Delta { extensions: vec![citation], ..Delta::default() }));
        }
        match &mut self.open {
            Open::Thought { text, signature } => {
                let (signed, said) = (delta.signature.unwrap_or_default(), delta.thinking);
                let more = signed.len() + said.as_ref().map_or(0, String::len);
                if text.len() + signature.len() + more > THOUGHT_MAX_BYTES {
                    return Err(Fault::bad_answer("the engine reasons without end"));
                }
                signature.push_str(&signed);
                let Some(more) = said else { return Ok(None) };
                text.push_str(&more);
                Ok(Some(reasoning(more)))
            }
            Open::Call(index, said) => Ok(delta.partial_json.filter(|json| !json.is_empty()).map(|json| {
                *said = true;
                arguments(*index, json)
            })),
            Open::Other => Ok(None),
        }
    }

    fn stop(&mut self) -> Option<Delta> {
        match std::mem::take(&mut self.open) {
            Open::Thought { text, signature } if !signature.is_empty() => {
                let block = json!({"type": "thinking", "thinking": text, "signature": signature}).to_string();
                Some(Delta { extensions: vec![array(THINKING_BLOCKS, &[&block])], ..Delta::default() })
            }
            // A call without arguments has empty ones.
            Open::Call(index, false) => Some(arguments(index, "{}".to_owned())),
            _ => None,
        }
    }
}

fn nothing() -> Frame {
    Frame::Piece(GenerateChunk::default())
}

fn piece(delta: Delta) -> GenerateChunk {
    let choice = Choice { index: 0, delta: Some(delta), ..Choice::default() };
    GenerateChunk { choices: vec![choice], ..GenerateChunk::default() }
}

fn content(text: String) -> Delta {
    Delta { content: Some(text), ..Delta::default() }
}

fn reasoning(text: String) -> Delta {
    Delta { reasoning: Some(text), ..Delta::default() }
}

fn arguments(index: i64, json: String) -> Delta {
    let function = FunctionCall { arguments: Some(json), ..FunctionCall::default() };
    let call = ToolCall { index: Some(index), function: Some(function), ..ToolCall::default() };
    Delta { tool_calls: vec![call], ..Delta::default() }
}

fn call(index: i64, id: Option<String>, name: Option<String>, arguments: String) -> ToolCall {
    let function = FunctionCall { name, arguments: Some(arguments), ..FunctionCall::default() };
    ToolCall {
        index: Some(index),
        id,
        r#type: Some("function".to_owned()),
        function: Some(function),
        ..ToolCall::default()
    }
}

fn add(whole: &mut Option<String>, more: Option<String>) {
    if let Some(more) = more {
        whole.get_or_insert_default().push_str(&more);
    }
}

/// An array of JSON texts.
fn array(name: &str, items: &[&str]) -> Extension {
    Extension { name: name.to_owned(), json: format!("[{}]", items.join(",")) }
}

fn is_empty_object(json: &str) -> bool {
    json.bytes().filter(|byte| !byte.is_ascii_whitespace()).eq(*b"{}")
}

/// Ends the choice of a chunk.
fn finish(chunk: &mut GenerateChunk, reason: &str, stop_sequence: Option<String>) {
    let reason = match reason {
        "tool_use" => "tool_calls",
        "refusal" => "content_filter",
        // A turn that paused is as little whole as one that met a limit.
        "max_tokens" | "model_context_window_exceeded" | "pause_turn" => "length",
        _ => "stop",
    };
    for choice in &mut chunk.choices {
        choice.finish_reason = Some(reason.to_owned());
        if let Some(sequence) = &stop_sequence {
            let json = json!(sequence).to_string();
            choice.extensions.push(Extension { name: "stop_sequence".into(), json });
        }
    }
}
