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
    let mut events = MessageEvents::new(vec!["END".into()], Arc::default());
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
                    block[member] =
                        format!("{}{}", block[member].as_str().unwrap(), delta[member].as_str().unwrap())
                            .into();
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

#[test]
fn reasoning_is_a_block_of_its_own_with_its_signature() {
    let block = json!({"type": "thinking", "thinking": "hm, so", "signature": "sig"});
    let hidden = json!({"type": "redacted_thinking", "data": "xyz"});
    let chunks = [
        thought("hm"),
        thought(", so"),
        signed(&json!([block])),
        signed(&json!([hidden])),
        text("Hi"),
        end("stop"),
    ];
    let (events, whole) = written(&chunks);
    assert!(whole);
    assert_eq!(message(&events)["content"], json!([block, hidden, {"type": "text", "text": "Hi"}]));
    // Another engine's has none, and a block with nothing to show may have one.
    let silent = json!({"type": "thinking", "thinking": "", "signature": "sig"});
    let (events, _) = written(&[thought("hm"), text("Hi"), signed(&json!([silent])), end("stop")]);
    let unsigned = json!({"type": "thinking", "thinking": "hm", "signature": ""});
    assert_eq!(message(&events)["content"], json!([unsigned, {"type": "text", "text": "Hi"}, silent]));
}

/// As LiteLLM's proxy streams it: each piece as a block without a signature, and the signature without a text.
#[test]
fn a_block_that_is_signed_in_pieces_is_one_block() {
    let piece = |text: &str, signature: Value| {
        let mut piece = signed(&json!([{"type": "thinking", "thinking": text, "signature": signature}]));
        piece.choices[0].delta.as_mut().unwrap().reasoning = Some(text.into());
        piece
    };
    let chunks = [piece("hm", json!("")), piece(", so", json!(null)), piece("", json!("sig")), end("stop")];
    let (events, whole) = written(&chunks);
    assert!(whole);
    let block = json!({"type": "thinking", "thinking": "hm, so", "signature": "sig"});
    assert_eq!(message(&events)["content"], json!([block]));
}

/// What was kept whole comes in one piece: the blocks are told apart again.
#[test]
fn signed_blocks_in_one_piece_stay_apart() {
    let blocks = json!([
        {"type": "thinking", "thinking": "one", "signature": "1"},
        {"type": "redacted_thinking", "data": "xyz"},
        {"type": "thinking", "thinking": "two", "signature": "2"},
    ]);
    let mut chunk = signed(&blocks);
    let delta = chunk.choices[0].delta.as_mut().unwrap();
    (delta.reasoning, delta.content) = (Some("onetwothree".into()), Some("Hi".into()));
    let (events, _) = written(&[chunk, end("stop")]);
    let mut expected = blocks.as_array().unwrap().clone();
    expected.push(json!({"type": "thinking", "thinking": "three", "signature": ""}));
    expected.push(json!({"type": "text", "text": "Hi"}));
    assert_eq!(message(&events)["content"], json!(expected));
}

#[test]
fn calls_whose_fragments_interleave_follow_one_another() {
    let chunks = [
        text("Let me see."),
        call(0, Some("f"), ""),
        call(0, None, "{\"a\":"),
        call(1, Some("g"), "{\"b\":[\"}\\\"\""),
        call(0, None, "{}"),
        call(1, None, "]"),
        call(0, None, "}"),
        call(2, Some("h"), ""),
        call(1, None, "}"),
        end("tool_calls"),
    ];
    let (events, whole) = written(&chunks);
    assert!(whole);
    let content = json!([
        {"type": "text", "text": "Let me see."},
        {"type": "tool_use", "id": "call_f", "name": "f", "input": {"a": {}}},
        {"type": "tool_use", "id": "call_g", "name": "g", "input": {"b": ["}\""]}},
        {"type": "tool_use", "id": "call_h", "name": "h", "input": {}},
    ]);
    let message = message(&events);
    assert_eq!((&message["content"], &message["stop_reason"]), (&content, &json!("tool_use")));
}

/// The first fragment is out before the last one is in.
#[test]
fn a_call_is_streamed_as_it_comes() {
    let mut events = MessageEvents::default();
    let mut out = BytesMut::new();
    events.write(&call(0, Some("f"), "{\"a\""), &mut out);
    let first = parsed(&out.split());
    assert_eq!(first.last().unwrap()["delta"]["partial_json"], "{\"a\"");
    events.write(&call(0, None, ":1}"), &mut out);
    assert_eq!(parsed(&out.split())[0]["delta"]["partial_json"], ":1}");
}

#[test]
fn nothing_more_of_a_call_that_is_over_is_no_call() {
    let mut nothing = call(0, Some(""), "");
    nothing.choices[0].delta.as_mut().unwrap().tool_calls[0].id = None;
    let chunks = [call(0, Some("f"), "{}"), call(1, Some("g"), "{}"), nothing, end("tool_calls")];
    let (events, whole) = written(&chunks);
    assert!(whole);
    assert_eq!(message(&events)["content"].as_array().unwrap().len(), 2);
}

#[test]
fn a_call_that_asks_for_no_object_makes_no_answer() {
    for arguments in ["[1]", "7", "{\"a\":", "{\"a\":1}}", "{a}", "\"{}\""] {
        let (events, whole) = written(&[call(0, Some("f"), arguments), end("tool_calls")]);
        assert!(!whole, "{arguments}");
        assert!(events.iter().all(|event| event["type"] != "message_stop"), "{arguments}");
        let mut plain = call(0, Some("f"), arguments);
        plain.choices[0].finish_reason = Some("tool_calls".into());
        assert!(answer::write(&plain, &[], &mut BytesMut::new()).is_err(), "{arguments}");
    }
    // More of a call that was over, and one without a name.
    assert!(!written(&[call(0, Some("f"), "{}"), text("x"), call(0, None, "{}"), end("tool_calls")]).1);
    assert!(!written(&[call(0, Some(""), "{}"), end("tool_calls")]).1);
}

/// The bound of the tokens may cut a call: the end says so.
#[test]
fn a_call_that_was_cut_is_told_by_the_end() {
    let (events, whole) = written(&[text("x"), call(0, Some("f"), "{\"a"), end("length")]);
    assert!(whole);
    assert_eq!(message(&events)["stop_reason"], "max_tokens");
    let mut plain = call(0, Some("f"), "{\"a");
    plain.choices[0].finish_reason = Some("length".into());
    let mut out = BytesMut::new();
    answer::write(&plain, &[], &mut out).unwrap();
    let body: Value = serde_json::from_slice(&out).unwrap();
    assert_eq!((&body["content"], &body["stop_reason"]), (&json!([]), &json!("max_tokens")));
}

#[test]
fn without_an_end_there_is_no_answer() {
    for chunks in [vec![], vec![text("a")], vec![text("a"), usage()]] {
        let mut events = MessageEvents::default();
        let mut out = BytesMut::new();
        chunks.iter().for_each(|chunk| events.write(chunk, &mut out));
        let before = out.len();
        assert!(!events.end(&mut out));
        assert_eq!(out.len(), before);
    }
}

/// What is refused after the head of the stream was sent has its place in the body, as before it.
#[test]
fn a_break_tells_the_places_of_the_body() {
    let turns = json!({"model": "m", "max_tokens": 1, "system": "s", "messages": [
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "x"}]},
    ]});
    let places = crate::messages::read(turns.to_string().as_bytes()).unwrap().places;
    let mut events = MessageEvents::new(vec![], Arc::new(places));
    let mut out = BytesMut::new();
    let violation = penstock_proto::Violation::new("messages[1].tool_call_id", "answers no call");
    events.fail(&Error::invalid(vec![violation]), "r1", &mut out);
    let error = &parsed(&out)[0];
    assert_eq!(error["errors"][0]["field"], "messages[0].content[0].tool_use_id");
    assert_eq!(error["error"]["message"], "messages[0].content[0].tool_use_id: answers no call");
}

#[test]
fn a_break_is_an_event_and_silence_is_a_ping() {
    let mut events = MessageEvents::default();
    let mut out = BytesMut::new();
    events.ping(&mut out);
    assert_eq!(out.split(), ": ping\n\n");
    events.write(&text("a"), &mut out);
    out.clear();
    events.ping(&mut out);
    assert_eq!(out.split(), "event: ping\ndata: {\"type\":\"ping\"}\n\n");
    events.fail(&Error::new(Reason::EngineOverloaded, "later"), "r1", &mut out);
    let failed = &parsed(&out)[0];
    assert_eq!((&failed["error"]["message"], &failed["request_id"]), (&json!("later"), &json!("r1")));
}

/// One thing that an engine may say, as the contract has it.
#[derive(Clone, Debug)]
enum Said {
    Text(String),
    Thought(String),
    Hidden,
    Fragment(usize),
}

fn said() -> impl Strategy<Value = Said> {
    prop_oneof![
        ".{0,4}".prop_map(Said::Text),
        ".{0,4}".prop_map(Said::Thought),
        Just(Said::Hidden),
        (0_usize..3).prop_map(Said::Fragment),
    ]
}

/// The next fragment of each call, in order; what is left is said at the end.
fn chunks(said: Vec<Said>, arguments: &[String], pieces: usize) -> Vec<GenerateChunk> {
    let mut left: Vec<_> = arguments
        .iter()
        .map(|json| {
            let letters: Vec<char> = json.chars().collect();
            letters.chunks(letters.len().div_ceil(pieces).max(1)).map(String::from_iter).collect::<Vec<_>>()
        })
        .collect();
    let mut begun = vec![false; left.len()];
    let mut next = |index: usize| {
        let pieces = &mut left[index];
        if pieces.is_empty() {
            return None;
        }
        let name = (!std::mem::replace(&mut begun[index], true)).then(|| format!("f{index}"));
        Some(call(i64::try_from(index).unwrap(), name.as_deref(), &pieces.remove(0)))
    };
    let mut all = Vec::new();
    for one in said {
        match one {
            Said::Text(content) => all.push(text(&content)),
            Said::Thought(reasoning) => all.push(thought(&reasoning)),
            Said::Hidden => all.push(signed(&json!([{"type": "redacted_thinking", "data": "x"}]))),
            Said::Fragment(index) => all.extend(next(index)),
        }
    }
    for index in 0..arguments.len() {
        while let Some(chunk) = next(index) {
            all.push(chunk);
        }
    }
    all
}

/// What there is of each kind: text and reasoning joined, calls by their ids.
fn sums(content: &Value) -> (String, String, usize, std::collections::BTreeMap<String, Value>) {
    let (mut text, mut thinking, mut hidden) = (String::new(), String::new(), 0);
    let mut calls = std::collections::BTreeMap::new();
    for block in content.as_array().unwrap() {
        match block["type"].as_str().unwrap() {
            "text" => text += block["text"].as_str().unwrap(),
            "thinking" => thinking += block["thinking"].as_str().unwrap(),
            "redacted_thinking" => hidden += 1,
            "tool_use" => {
                let id = block["id"].as_str().unwrap().to_owned();
                assert!(calls.insert(id, block["input"].clone()).is_none());
            }
            other => panic!("{other}"),
        }
    }
    (text, thinking, hidden, calls)
}

/// All of it in one piece, as an answer that is not streamed.
fn joined(chunks: &[GenerateChunk]) -> GenerateChunk {
    let mut whole = Delta::default();
    let mut hidden = Vec::new();
    for delta in chunks.iter().map(|chunk| chunk.choices[0].delta.clone().unwrap()) {
        let add = |to: &mut Option<String>, more: Option<String>| {
            if let Some(more) = more {
                to.get_or_insert_default().push_str(&more);
            }
        };
        add(&mut whole.content, delta.content);
        add(&mut whole.reasoning, delta.reasoning);
        hidden.extend(delta.extensions.iter().map(|_| json!({"type": "redacted_thinking", "data": "x"})));
        for mut call in delta.tool_calls {
            match whole.tool_calls.iter_mut().find(|known| known.index == call.index) {
                Some(known) => add(
                    &mut known.function.as_mut().unwrap().arguments,
                    call.function.take().unwrap().arguments,
                ),
                None => whole.tool_calls.push(call),
            }
        }
    }
    whole.tool_calls.iter_mut().for_each(|call| call.index = None);
    whole.extensions.push(Extension { name: "thinking_blocks".into(), json: json!(hidden).to_string() });
    let mut chunk = chunk(whole);
    chunk.choices[0].finish_reason = Some("stop".into());
    chunk
}

proptest! {
    /// Whatever the order: blocks that do not overlap, with the same in them as in the plain answer.
    #[test]
    fn every_stream_is_well_formed_and_says_what_the_plain_answer_says(
        said in prop::collection::vec(said(), 0..24),
        inputs in prop::collection::vec(prop::collection::btree_map("[a-z\"{}\\\\]{0,3}", ".{0,3}", 0..3), 3),
        pieces in 1_usize..5,
    ) {
        let arguments: Vec<_> = inputs.iter().map(|input| json!(input).to_string()).collect();
        let mut chunks = chunks(said, &arguments, pieces);
        let plain = joined(&chunks);
        chunks.extend([end("stop"), usage()]);
        let (events, whole) = written(&chunks);
        prop_assert!(whole);
        let mut out = BytesMut::new();
        answer::write(&plain, &[], &mut out).unwrap();
        let plain: Value = serde_json::from_slice(&out).unwrap();
        prop_assert_eq!(sums(&message(&events)["content"]), sums(&plain["content"]));
    }
}
