//! Whole answers, their ends and their tokens.

use penstock_proto::inference::v1::Delta;
use serde_json::json;

use super::*;

fn whole(choice: Choice) -> GenerateChunk {
    GenerateChunk {
        id: "chatcmpl-7".into(),
        model: "m".into(),
        choices: vec![choice],
        ..GenerateChunk::default()
    }
}

fn written(chunk: &GenerateChunk) -> Value {
    let mut out = BytesMut::new();
    write(chunk, &["END".to_owned()], &mut out).unwrap();
    serde_json::from_slice(&out).unwrap()
}

fn ended(reason: &str, extensions: Vec<Extension>, delta: Delta) -> Value {
    let finish_reason = Some(reason.to_owned());
    let body = written(&whole(Choice { delta: Some(delta), finish_reason, extensions, ..Choice::default() }));
    json!([body["stop_reason"], body["stop_sequence"]])
}

#[test]
fn an_end_has_this_apis_word() {
    let said = |name: &str, json: Value| vec![Extension { name: name.into(), json: json.to_string() }];
    let none = Delta::default;
    for (reason, word) in [
        ("stop", "end_turn"),
        ("length", "max_tokens"),
        ("tool_calls", "tool_use"),
        ("content_filter", "refusal"),
    ] {
        assert_eq!(ended(reason, vec![], none()), json!([word, null]), "{reason}");
    }
    // vLLM says the sequence, or the number of a token; Anthropic the sequence.
    for name in ["stop_reason", "stop_sequence"] {
        assert_eq!(ended("stop", said(name, json!("END")), none()), json!(["stop_sequence", "END"]));
        assert_eq!(ended("stop", said(name, json!("other")), none()), json!(["end_turn", null]));
        assert_eq!(ended("stop", said(name, json!(7)), none()), json!(["end_turn", null]));
        assert_eq!(ended("length", said(name, json!("END")), none()), json!(["max_tokens", null]));
    }
    let refusal = Delta { refusal: Some("No.".into()), ..Delta::default() };
    assert_eq!(ended("stop", vec![], refusal.clone()), json!(["refusal", null]));
    let choice = Choice { delta: Some(refusal), finish_reason: Some("stop".into()), ..Choice::default() };
    assert_eq!(written(&whole(choice))["content"], json!([{"type": "text", "text": "No."}]));
}

#[test]
fn ids_are_messages_ids() {
    for (id, expected) in [("chatcmpl-7", "msg_7"), ("msg_7", "msg_7"), ("x", "msg_x")] {
        let chunk = GenerateChunk { id: id.into(), ..whole(Choice::default()) };
        assert_eq!(written(&chunk)["id"], expected);
    }
}

#[test]
fn cached_tokens_are_no_input_tokens() {
    let usage = |prompt_tokens, details: &str| {
        let details = Extension { name: "prompt_tokens_details".into(), json: details.into() };
        let made = Extension {
            name: "completion_tokens_details".into(),
            json: json!({"reasoning_tokens": 2}).to_string(),
        };
        let extensions = vec![details, made];
        let usage = Usage { prompt_tokens, completion_tokens: 4, extensions, ..Usage::default() };
        let mut out = BytesMut::new();
        write_usage(Some(&usage), Some("default"), &mut out);
        serde_json::from_slice::<Value>(&out).unwrap()
    };
    let expected = |input: i64, written: i64, read: i64| {
        json!({
            "input_tokens": input, "cache_creation_input_tokens": written, "cache_read_input_tokens": read,
            "output_tokens": 4, "output_tokens_details": {"thinking_tokens": 2}, "service_tier": "standard",
        })
    };
    assert_eq!(usage(10, r#"{"cached_tokens":3,"cache_write_tokens":2}"#), expected(5, 2, 3));
    // An engine that counts oddly makes nothing negative.
    assert_eq!(usage(10, r#"{"cached_tokens":30,"cache_write_tokens":-2}"#), expected(0, 0, 10));
    assert_eq!(usage(10, "null"), expected(10, 0, 0));
}
