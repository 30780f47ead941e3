//! Answers of the dialect, plain or one chunk, read straight into the contract's messages.

use penstock_proto::inference::v1::{
    Choice, CustomCall, Delta, FunctionCall, GenerateChunk, ToolCall, Usage,
};

use crate::{
    error::Fault,
    json::read::{Count, extension, object, raw, skip, text},
    upstream::status::engine_error,
};

/// A chunk, with the engine's error if it is one.
#[derive(Debug, Default)]
pub(super) struct Reading {
    chunk: GenerateChunk,
    error: Option<String>,
}

/// Reads a chunk or a plain answer.
pub(super) fn read(json: &[u8]) -> Result<GenerateChunk, Fault> {
    let reading = serde_json::from_slice::<Chunk>(json)
        .map_err(|_| Fault::bad_answer("the engine sent what is not a chat completion"))?
        .0;
    match reading.error {
        Some(error) => Err(engine_error(error.as_bytes())),
        None => Ok(reading.chunk),
    }
}

object!(Chunk(Reading), |reading, map| {
    "choices" => {
        let choices = map.next_value::<Option<Vec<ChoiceObject>>>()?.unwrap_or_default();
        reading.chunk.choices = choices.into_iter().map(|choice| choice.0).collect();
    },
    "id" => reading.chunk.id = map.next_value::<Option<String>>()?.unwrap_or_default(),
    "created" => reading.chunk.created = map.next_value::<Count>()?.0.unwrap_or_default(),
    "usage" => reading.chunk.usage = map.next_value::<Option<UsageObject>>()?.map(|usage| usage.0),
    "system_fingerprint" => reading.chunk.system_fingerprint = map.next_value()?,
    "service_tier" => reading.chunk.service_tier = map.next_value()?,
    "error" => reading.error = raw(&mut map)?.map(str::to_owned),
    // An error without the member `error`, from older vLLM.
    "object" => if raw(&mut map)? == Some(r#""error""#) {
        reading.error.get_or_insert_default();
    },
    "model" => skip(&mut map)?,
} else |other| extension(&mut reading.chunk.extensions, &other, &mut map)?);

object!(ChoiceObject(Choice), |choice, map| {
    "index" => choice.index = map.next_value::<Count>()?.0.unwrap_or_default(),
    "delta" | "message" => choice.delta = map.next_value::<Option<DeltaObject>>()?.map(|delta| delta.0),
    // Of a text that is continued.
    "text" => if let Some(text) = map.next_value()? {
        choice.delta.get_or_insert_default().content = Some(text);
    },
    "finish_reason" => choice.finish_reason = map.next_value()?,
    "logprobs" => choice.logprobs_json = raw(&mut map)?.map(str::to_owned),
} else |other| extension(&mut choice.extensions, &other, &mut map)?);

object!(DeltaObject(Delta), |delta, map| {
    "content" => delta.content = map.next_value()?,
    "role" => delta.role = map.next_value()?,
    // The same text comes under several names from engines in transition: the first one counts.
    "reasoning_content" | "reasoning" | "thinking" => {
        let reasoning = text(raw(&mut map)?);
        if delta.reasoning.is_none() {
            delta.reasoning = reasoning;
        }
    },
    "refusal" => delta.refusal = map.next_value()?,
    "tool_calls" => {
        let calls = map.next_value::<Option<Vec<ToolCallObject>>>()?.unwrap_or_default();
        delta.tool_calls = calls.into_iter().map(|call| call.0).collect();
    },
    "function_call" => {
        delta.function_call = map.next_value::<Option<FunctionObject>>()?.map(|function| function.0);
    },
} else |other| extension(&mut delta.extensions, &other, &mut map)?);

object!(ToolCallObject(ToolCall), |call, map| {
    "index" => call.index = map.next_value::<Count>()?.0,
    "id" => call.id = map.next_value()?,
    "type" => call.r#type = map.next_value()?,
    "function" => call.function = map.next_value::<Option<FunctionObject>>()?.map(|function| function.0),
    "custom" => call.custom = map.next_value::<Option<CustomObject>>()?.map(|custom| custom.0),
} else |other| extension(&mut call.extensions, &other, &mut map)?);

object!(FunctionObject(FunctionCall), |function, map| {
    "name" => function.name = map.next_value()?,
    // A string by the specification; some engines send the object itself.
    "arguments" => {
        let json = raw(&mut map)?;
        function.arguments = match json.filter(|json| json.starts_with('"')) {
            Some(string) => Some(serde_json::from_str(string).map_err(serde::de::Error::custom)?),
            None => json.map(str::to_owned),
        };
    },
} else |other| extension(&mut function.extensions, &other, &mut map)?);

object!(CustomObject(CustomCall), |custom, map| {
    "name" => custom.name = map.next_value()?,
    "input" => custom.input = map.next_value()?,
} else |other| extension(&mut custom.extensions, &other, &mut map)?);

object!(UsageObject(Usage), |usage, map| {
    "prompt_tokens" => usage.prompt_tokens = map.next_value::<Count>()?.0.unwrap_or_default(),
    "completion_tokens" => usage.completion_tokens = map.next_value::<Count>()?.0.unwrap_or_default(),
    "total_tokens" => usage.total_tokens = map.next_value::<Count>()?.0.unwrap_or_default(),
} else |other| extension(&mut usage.extensions, &other, &mut map)?);
