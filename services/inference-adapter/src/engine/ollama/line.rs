//! Answers of Ollama, plain or one line, read straight into the contract's messages.

use penstock_proto::inference::v1::{Choice, Delta, Extension, FunctionCall, GenerateChunk, ToolCall, Usage};

use crate::{
    error::Fault,
    json::read::{Count, extension, object, raw, skip},
    upstream::status::engine_error,
};

/// A line.
#[derive(Debug, Default)]
pub(super) struct Reading {
    message: Option<Delta>,
    done: bool,
    done_reason: Option<String>,
    prompt_tokens: Option<i64>,
    completion_tokens: Option<i64>,
    logprobs: Option<String>,
    error: Option<String>,
    extensions: Vec<Extension>,
}

/// Reads a line or a plain answer; true: it is the last one.
pub(super) fn read(json: &[u8]) -> Result<(GenerateChunk, bool), Fault> {
    let line = serde_json::from_slice::<Line>(json)
        .map_err(|_| Fault::bad_answer("the engine sent what is not a chat answer"))?
        .0;
    if let Some(error) = line.error {
        return Err(engine_error(error.as_bytes()));
    }
    if line.message.is_none() && !line.done {
        return Err(Fault::bad_answer("the engine sent a line without a message"));
    }
    let usage = line.completion_tokens.map(|completion_tokens| {
        // Left out when the whole prompt was cached: then it is counted here, and marked.
        Usage { prompt_tokens: line.prompt_tokens.unwrap_or_default(), completion_tokens, ..Usage::default() }
    });
    let finish_reason = line.done.then(|| match line.done_reason.as_deref() {
        Some("length") => "length".to_owned(),
        _ => "stop".to_owned(),
    });
    // The entries are OpenAI's own; only the object around them is missing.
    let logprobs_json = line.logprobs.map(|entries| format!(r#"{{"content":{entries},"refusal":null}}"#));
    let choice = Choice { delta: line.message, finish_reason, logprobs_json, ..Choice::default() };
    let chunk = GenerateChunk {
        choices: vec![choice],
        usage,
        extensions: line.extensions,
        ..GenerateChunk::default()
    };
    Ok((chunk, line.done))
}

object!(Line(Reading), |line, map| {
    "message" => line.message = map.next_value::<Option<MessageObject>>()?.map(|message| message.0),
    "done" => line.done = map.next_value::<Option<bool>>()?.unwrap_or_default(),
    "done_reason" => line.done_reason = map.next_value()?,
    "prompt_eval_count" => line.prompt_tokens = map.next_value::<Count>()?.0,
    "eval_count" => line.completion_tokens = map.next_value::<Count>()?.0,
    // Of `/api/generate`, which has no message.
    "response" => line.message.get_or_insert_default().content =
        map.next_value::<Option<String>>()?.filter(|text| !text.is_empty()),
    "thinking" => line.message.get_or_insert_default().reasoning =
        map.next_value::<Option<String>>()?.filter(|text| !text.is_empty()),
    "logprobs" => line.logprobs = raw(&mut map)?.filter(|entries| *entries != "[]").map(str::to_owned),
    "error" => line.error = raw(&mut map)?.map(str::to_owned),
    "model" | "created_at" | "context" => skip(&mut map)?,
} else |other| extension(&mut line.extensions, &other, &mut map)?);

object!(MessageObject(Delta), |delta, map| {
    "content" => delta.content = map.next_value::<Option<String>>()?.filter(|text| !text.is_empty()),
    "thinking" => delta.reasoning = map.next_value::<Option<String>>()?.filter(|text| !text.is_empty()),
    "role" => delta.role = map.next_value()?,
    "tool_calls" => {
        let calls = map.next_value::<Option<Vec<ToolCallObject>>>()?.unwrap_or_default();
        delta.tool_calls = calls.into_iter().map(|call| call.0).collect();
    },
} else |other| extension(&mut delta.extensions, &other, &mut map)?);

object!(ToolCallObject(ToolCall), |call, map| {
    "id" => call.id = map.next_value()?,
    "function" => call.function = map.next_value::<Option<FunctionObject>>()?.map(|function| function.0),
} else |_other| skip(&mut map)?);

object!(FunctionObject(FunctionCall), |function, map| {
    "name" => function.name = map.next_value()?,
    "arguments" => function.arguments = raw(&mut map)?.map(str::to_owned),
} else |_other| skip(&mut map)?);
