//! Chunks of the contract as events.

use penstock_proto::{
    Reason,
    inference::v1::{Choice, Delta, Extension, FunctionCall, ToolCall},
};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{super::answer, *};

fn chunk(delta: Delta) -> GenerateChunk {
    let choices = vec![Choice { delta: Some(delta), ..Choice::default() }];
    GenerateChunk { id: "chatcmpl-1".into(), model: "m".into(), choices, ..GenerateChunk::default() }
}

fn text(content: &str) -> GenerateChunk {
    chunk(Delta { content: Some(content.into()), ..Delta::default() })
}

fn thought(text: &str) -> GenerateChunk {
    chunk(Delta { reasoning: Some(text.into()), ..Delta::default() })
}

fn signed(blocks: &Value) -> GenerateChunk {
    let extensions = vec![Extension { name: "thinking_blocks".into(), json: blocks.to_string() }];
    chunk(Delta { extensions, ..Delta::default() })
}

/// A fragment of a call; with a name its first one.
fn call(index: i64, name: Option<&str>, arguments: &str) -> GenerateChunk {
    let function = FunctionCall {
        name: name.map(Into::into),
        arguments: Some(arguments.into()),
        ..FunctionCall::default()
    };
    let call = ToolCall {
        index: Some(index),
        id: name.map(|name| format!("call_{name}")),
        function: Some(function),
        ..ToolCall::default()
    };
    chunk(Delta { tool_calls: vec![call], ..Delta::default() })
}

fn end(reason: &str) -> GenerateChunk {
    let mut chunk = chunk(Delta::default());
    chunk.choices[0].finish_reason = Some(reason.into());
    chunk
}

fn usage() -> GenerateChunk {
    let details = json!({"cached_tokens": 3, "cache_write_tokens": 2}).to_string();
    let usage = Usage {
        prompt_tokens: 10,
        completion_tokens: 4,
        total_tokens: 14,
        extensions: vec![Extension { name: "prompt_tokens_details".into(), json: details }],
        ..Usage::default()
    };
    GenerateChunk { id: "chatcmpl-1".into(), usage: Some(usage), ..GenerateChunk::default() }
}

/// The events, and whether they end as those of a whole answer do.
fn written(chunks: &[GenerateChunk]) -> (Vec<Value>, bool) {
    let mut events = MessageEvents::new(vec!["END".into()]);
    let mut out = BytesMut::new();
    for chunk in chunks {
        events.write(chunk, &mut out);
    }
    let whole = events.end(&mut out);
    (parsed(&out), whole)
}

fn parsed(out: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(out).unwrap();
    let blocks = text.split("\n\n").filter(|block| !block.is_empty());
    blocks
        .map(|block| {
            let (name, data) = block.split_once('\n').unwrap();
            let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
            assert_eq!(name.strip_prefix("event: ").unwrap(), data["type"]);
            data
        })
        .collect()
}

/// Puts a message together as a client does, and holds the events to their order on the way.
fn message(events: &[Value]) -> Value {
    let mut message = events[0]["message"].clone();
    assert_eq!(events[0]["type"], "message_start");
    let mut open: Option<(Value, String)> = None;
    for event in &events[1..] {
        let content = message["content"].as_array_mut().unwrap();
        match event["type"].as_str().unwrap() {
            "ping" => {}
            "content_block_start" => {
                assert!(open.is_none() && event["index"] == content.len(), "{event}");
                open = Some((event["content_block"].clone(), String::new()));
            }
            "content_block_delta" => {
                assert_eq!(event["index"], content.len());
                let (block, json) = open.as_mut().unwrap();
                let delta = &event["delta"];
                let mut add = |member: &str| {
                    block[member] = format!("{}{}", block[member].as_str().unwrap(), delta[member].as_str().unwrap()).into();
                };
                match delta["type"].as_str().unwrap() {
                    "text_delta" => add("text"),
                    "thinking_delta" => add("thinking"),
                    "signature_delta" => add("signature"),
                    "input_json_delta" => json.push_str(delta["partial_json"].as_str().unwrap()),
                    other => panic!("{other}"),
                }
            }
            "content_block_stop" => {
                assert_eq!(event["index"], content.len());
                let (mut block, json) = open.take().unwrap();
                if !json.is_empty() {
                    block["input"] = serde_json::from_str(&json).unwrap_or_else(|_| json!(json));
                }
                content.push(block);
            }
            "message_delta" => {
                assert!(open.is_none());
                for member in ["stop_reason", "stop_sequence"] {
                    message[member] = event["delta"][member].clone();
                }
                message["usage"] = event["usage"].clone();
            }
            "message_stop" => assert!(std::ptr::eq(event, events.last().unwrap())),
            other => panic!("{other}"),
        }
    }
    message
}

#[test]
fn a_text_is_one_block_between_start_and_stop() {
    let (events, whole) = written(&[text(""), text("Hel"), text("lo"), end("stop"), usage()]);
    assert!(whole);
    let types: Vec<_> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(
        types,
        [
            "message_start",
            "ping",
            "content_block_start",
            "content_block_delta",
            "content_block_delta",
            "content_block_stop",
            "message_delta",
            "message_stop"
        ]
    );
    assert_eq!(
        message(&events),
        json!({
            "id": "msg_1", "type": "message", "role": "assistant", "model": "m",
            "content": [{"type": "text", "text": "Hello"}], "stop_reason": "end_turn", "stop_sequence": null,
            "usage": {"input_tokens": 5, "cache_creation_input_tokens": 2, "cache_read_input_tokens": 3, "output_tokens": 4},
        })
    );
}
