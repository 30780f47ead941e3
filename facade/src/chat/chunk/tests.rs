//! Golden events, and the property that an event read back is the chunk that was written.

use penstock_proto::{
    Reason, Violation,
    inference::v1::{Extension, FunctionCall},
};
use proptest::prelude::*;
use serde_json::Value;

use super::*;

fn chunk(choices: Vec<Choice>) -> GenerateChunk {
    GenerateChunk { id: "c".into(), created: 7, model: "m".into(), choices, ..GenerateChunk::default() }
}

fn choice(index: i64, delta: Delta) -> Choice {
    Choice { index, delta: Some(delta), ..Choice::default() }
}

fn text(content: &str) -> Delta {
    Delta { content: Some(content.into()), ..Delta::default() }
}

fn events(include_usage: bool, chunks: &[GenerateChunk]) -> String {
    let mut out = BytesMut::new();
    let mut events = Completions::new(Shape::Chat, include_usage);
    for chunk in chunks {
        events.write(chunk, &mut out);
    }
    String::from_utf8(out.to_vec()).unwrap()
}

#[test]
fn an_answer_streams_as_openai_streams_it() {
    let end = Choice { finish_reason: Some("stop".into()), ..choice(0, Delta::default()) };
    let usage = Usage { prompt_tokens: 1, completion_tokens: 2, total_tokens: 3, ..Usage::default() };
    let stream = [
        chunk(vec![choice(0, Delta { role: Some("assistant".into()), ..text("") })]),
        chunk(vec![choice(0, text("Hi\n\r\u{2028}"))]),
        chunk(vec![end]),
        GenerateChunk { usage: Some(usage), ..chunk(vec![]) },
    ];
    let head = r#"data: {"id":"c","object":"chat.completion.chunk","created":7,"model":"m","system_fingerprint":null,"choices":["#;
    let expected = [
        r#"{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}],"usage":null}"#,
        "{\"index\":0,\"delta\":{\"content\":\"Hi\\n\\r\u{2028}\"},\"logprobs\":null,\"finish_reason\":null}],\"usage\":null}",
        r#"{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}],"usage":null}"#,
        r#"],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}"#,
    ];
    assert_eq!(events(true, &stream), expected.map(|rest| format!("{head}{rest}\n\n")).concat());
    assert!(!events(false, &stream[..3]).contains("usage"));
}

#[test]
fn calls_stream_as_fragments() {
    let first = ToolCall {
        index: Some(1),
        id: Some("call_1".into()),
        r#type: Some("function".into()),
        function: Some(FunctionCall {
            name: Some("f".into()),
            arguments: Some(String::new()),
            ..FunctionCall::default()
        }),
        ..ToolCall::default()
    };
    let later = ToolCall {
        index: Some(1),
        function: Some(FunctionCall { arguments: Some("{\"a\"".into()), ..FunctionCall::default() }),
        ..ToolCall::default()
    };
    let delta = Delta { tool_calls: vec![first, later], ..Delta::default() };
    let json = events(false, &[chunk(vec![choice(0, delta)])]);
    assert!(
        json.contains(
            r#""delta":{"tool_calls":[{"index":1,"id":"call_1","type":"function","function":{"name":"f","arguments":""}},{"index":1,"function":{"arguments":"{\"a\""}}]}"#
        ),
        "{json}"
    );
}

#[test]
fn what_changes_between_chunks_is_told() {
    let first = chunk(vec![]);
    let second = GenerateChunk {
        system_fingerprint: Some("fp".into()),
        service_tier: Some("flex".into()),
        ..chunk(vec![])
    };
    let json = events(false, &[first, second]);
    let told = r#""model":"m","service_tier":"flex","system_fingerprint":"fp","choices":[]}"#;
    assert!(json.contains(told), "{json}");
}

#[test]
fn an_estimate_is_called_one_and_raw_json_never_breaks_an_event() {
    let usage = Usage { estimated: true, ..Usage::default() };
    let mut end = choice(0, Delta::default());
    end.logprobs_json = Some("{\n\n\"content\":\r\n[]}".into());
    let pretty = Extension { name: "timings".into(), json: "{\n  \"a\": 1\n\n}".into() };
    let last = GenerateChunk { usage: Some(usage), extensions: vec![pretty], ..chunk(vec![end]) };
    let json = events(false, &[last]);
    assert_eq!(json.matches('\n').count(), 2, "{json:?}");
    assert!(json.contains("\"estimated\":true"), "{json}");
}

#[test]
fn an_error_is_an_event_with_openais_object() {
    let mut out = BytesMut::new();
    let error = Error {
        violations: vec![Violation::new("n", "x")],
        ..Error::new(Reason::EngineCut, "the answer was cut")
    };
    write_error(&error, "req-1", &mut out);
    assert_eq!(
        out,
        "data: {\"error\":{\"message\":\"the answer was cut\",\"type\":\"server_error\",\"param\":\"n\",\"code\":\"engine_cut\",\"request_id\":\"req-1\"}}\n\n"
    );
}

/// C12: each choice has its own end.
#[test]
fn an_answer_is_whole_when_every_choice_has_ended() {
    let end = |index| Choice { finish_reason: Some("stop".into()), ..choice(index, Delta::default()) };
    let mut events = Completions::new(Shape::Chat, false);
    let mut out = BytesMut::new();
    assert!(!events.is_whole());
    events.write(&chunk(vec![choice(0, text("a")), choice(1, text("b"))]), &mut out);
    events.write(&chunk(vec![end(1)]), &mut out);
    assert!(!events.is_whole());
    events.write(&chunk(vec![end(0)]), &mut out);
    assert!(events.is_whole());
}

fn any_text() -> impl Strategy<Value = Option<String>> {
    prop::option::of(prop_oneof![".{0,8}", Just("\u{0}\r\n\n\u{2028}\u{1f600}\"\\".to_owned())])
}

prop_compose! {
    fn any_choice()(index in 0_i64..4, role in any_text(), content in any_text(), refusal in any_text(),
        reasoning in any_text(), arguments in any_text(), finish_reason in any_text()) -> Choice {
        let tool_calls = arguments.map(|arguments| ToolCall {
            index: Some(0),
            function: Some(FunctionCall { arguments: Some(arguments), ..FunctionCall::default() }),
            ..ToolCall::default()
        });
        let delta = Delta { role, content, refusal, reasoning, tool_calls: tool_calls.into_iter().collect(), ..Delta::default() };
        Choice { finish_reason, ..choice(index, delta) }
    }
}

proptest! {
    /// The events, split as an SDK splits them, hold the deltas that were written, and nothing else.
    #[test]
    fn events_read_back_as_the_chunks_that_were_written(choices in prop::collection::vec(prop::collection::vec(any_choice(), 0..3), 1..5)) {
        let chunks: Vec<_> = choices.into_iter().map(chunk).collect();
        let stream = events(false, &chunks);
        prop_assert!(!stream.contains('\r'));
        let read: Vec<&str> = stream.split_terminator("\n\n").collect();
        prop_assert_eq!(read.len(), chunks.len());
        for (event, chunk) in read.iter().zip(&chunks) {
            let json: Value = serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap();
            let read = json["choices"].as_array().unwrap();
            prop_assert_eq!(read.len(), chunk.choices.len());
            for (json, choice) in read.iter().zip(&chunk.choices) {
                let delta = choice.delta.as_ref().unwrap();
                let arguments = delta.tool_calls.first().and_then(|call| call.function.as_ref()?.arguments.as_deref());
                prop_assert_eq!(json["index"].as_i64(), Some(choice.index));
                prop_assert_eq!(json["delta"]["role"].as_str(), delta.role.as_deref());
                prop_assert_eq!(json["delta"]["content"].as_str(), delta.content.as_deref());
                prop_assert_eq!(json["delta"]["refusal"].as_str(), delta.refusal.as_deref());
                prop_assert_eq!(json["delta"]["reasoning_content"].as_str(), delta.reasoning.as_deref());
                prop_assert_eq!(json["delta"]["tool_calls"][0]["function"]["arguments"].as_str(), arguments);
                prop_assert_eq!(json["finish_reason"].as_str(), choice.finish_reason.as_deref());
            }
        }
    }
}
