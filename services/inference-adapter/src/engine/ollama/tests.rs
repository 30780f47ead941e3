//! Golden translations of Ollama's API.

use penstock_proto::{
    Reason,
    inference::v1::{
        ChatInput, ContentPart, ContentParts, Extension, FunctionCall, ImageUrl, Message, StopSequences,
        ToolCall, generate_request::Input, message::Content, stop_sequences::Kind,
    },
};

use super::*;
use crate::answer::Answer;

fn target() -> Target {
    Target {
        deployment: "d".into(),
        endpoint: "http://127.0.0.1:1".parse().unwrap(),
        model: "llama3.2:3b".into(),
        context_tokens: Some(8192),
        authorization: None,
    }
}

fn encode(request: &GenerateRequest) -> Result<String, Vec<String>> {
    match Ollama::generate(request, &target()) {
        Ok(ask) => Ok(String::from_utf8(ask.body).unwrap()),
        Err(Error::Request(found) | Error::Unsupported(found)) => {
            Err(found.into_iter().map(|violation| violation.field).collect())
        }
        Err(other) => panic!("{other}"),
    }
}

fn part(kind: &str, text: Option<&str>, url: Option<&str>) -> ContentPart {
    ContentPart {
        r#type: kind.into(),
        text: text.map(str::to_owned),
        image_url: url.map(|url| ImageUrl { url: url.into(), ..ImageUrl::default() }),
        ..ContentPart::default()
    }
}

fn request(messages: Vec<Message>) -> GenerateRequest {
    GenerateRequest {
        model: "asked".into(),
        input: Some(Input::Chat(ChatInput { messages })),
        ..GenerateRequest::default()
    }
}

fn user(parts: Vec<ContentPart>) -> Message {
    Message {
        role: "user".into(),
        content: Some(Content::Parts(ContentParts { parts })),
        ..Message::default()
    }
}

#[test]
fn a_request_is_written_in_ollamas_words() {
    let call = ToolCall {
        id: Some("call_1".into()),
        function: Some(FunctionCall {
            name: Some("f".into()),
            arguments: Some(r#"{"a":1}"#.into()),
            extensions: vec![],
        }),
        ..ToolCall::default()
    };
    let messages = vec![
        Message {
            role: "developer".into(),
            content: Some(Content::Text("be brief".into())),
            ..Message::default()
        },
        user(vec![
            part("text", Some("a"), None),
            part("text", Some("b"), None),
            part("image_url", None, Some("data:image/png;base64,AA==")),
        ]),
        Message {
            role: "assistant".into(),
            tool_calls: vec![call],
            reasoning: Some("hm".into()),
            ..Message::default()
        },
        Message {
            role: "tool".into(),
            content: Some(Content::Text("42".into())),
            tool_call_id: Some("call_1".into()),
            ..Message::default()
        },
    ];
    let request = GenerateRequest {
        temperature: Some(0.5),
        max_completion_tokens: Some(7),
        stop: Some(StopSequences { kind: Some(Kind::Text("x".into())) }),
        reasoning_effort: Some("none".into()),
        response_format_json: Some(
            r#"{"type":"json_schema","json_schema":{"name":"n","schema":{ "type":"object" }}}"#.into(),
        ),
        extensions: vec![
            Extension { name: "options".into(), json: r#"{"top_k": 5, "temperature": 1}"#.into() },
            Extension { name: "keep_alive".into(), json: r#""5m""#.into() },
        ],
        stream: true,
        ..request(messages)
    };
    let golden = concat!(
        r#"{"model":"llama3.2:3b","messages":[{"role":"system","content":"be brief"},"#,
        r#"{"role":"user","content":"a\nb","images":["AA=="]},"#,
        r#"{"role":"assistant","content":"","thinking":"hm","tool_calls":[{"function":{"name":"f","arguments":{"a":1}}}]},"#,
        r#"{"role":"tool","content":"42","tool_name":"f"}],"stream":true,"#,
        r#""options":{"temperature":0.5,"num_predict":7,"num_ctx":8192,"stop":["x"],"top_k":5},"think":false,"#,
        r#""format":{ "type":"object" },"keep_alive":"5m"}"#,
    );
    assert_eq!(encode(&request).unwrap(), golden);
}

#[test]
fn what_ollama_cannot_do_is_refused_by_name() {
    let mut bad = request(vec![user(vec![
        part("image_url", None, Some("http://169.254.169.254/")),
        part("input_audio", None, None),
    ])]);
    bad.n = Some(2);
    bad.logprobs = Some(true);
    bad.extensions = vec![
        Extension { name: "MODEL".into(), json: "1".into() },
        Extension { name: "options".into(), json: "3".into() },
    ];
    let fields = [
        "n",
        "logprobs",
        "messages[0].content[0].image_url.url",
        "messages[0].content[1]",
        "options",
        "MODEL",
    ];
    assert_eq!(encode(&bad).unwrap_err(), fields);
}

#[test]
fn lines_become_chunks() {
    let mut answer = Answer::new(
        &GenerateRequest { model: "asked".into(), stream: true, ..GenerateRequest::default() },
        9,
    );
    let mut out = Vec::new();
    for line in [
        r#"{"model":"m","created_at":"2026-01-01T00:00:00Z","message":{"role":"assistant","content":"","thinking":"hm"},"done":false}"#,
        r#"{"message":{"role":"assistant","content":"","tool_calls":[{"function":{"name":"f","arguments":{"a": 1}}},{"function":{"name":"g","arguments":{}}}]},"done":false}"#,
        r#"{"message":{"role":"assistant","content":"é"},"done":true,"done_reason":"stop","total_duration":5,"prompt_eval_count":3,"eval_count":4}"#,
    ] {
        let (Frame::Piece(chunk) | Frame::Last(chunk)) = Lines.frame(line.as_bytes()).unwrap() else {
            panic!("{line}")
        };
        answer.take(chunk, &mut out).unwrap();
    }
    answer.end(&mut out).unwrap();
    // The role, the thought, the calls, the text, the end, the usage.
    assert_eq!(out.len(), 6);
    let delta = |at: usize| out[at + 1].choices[0].delta.as_ref().unwrap();
    assert_eq!((delta(0).reasoning.as_deref(), delta(0).content.as_deref()), (Some("hm"), None));
    let calls = &delta(1).tool_calls;
    assert_eq!(calls.iter().map(|call| call.index).collect::<Vec<_>>(), [Some(0), Some(1)]);
    assert!(calls.iter().all(|call| call.id.as_deref().unwrap().starts_with("call_")));
    assert_eq!(calls[0].function.as_ref().unwrap().arguments.as_deref(), Some(r#"{"a": 1}"#));
    assert_eq!(out[4].choices[0].finish_reason.as_deref(), Some("tool_calls"));
    let usage = out[5].usage.as_ref().unwrap();
    assert_eq!(
        (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens, usage.estimated),
        (3, 4, 7, false)
    );
}

#[test]
fn an_error_line_fails_and_nonsense_is_a_bad_answer() {
    assert_eq!(Lines.frame(br#"{"error":"boom"}"#).unwrap_err().reason, Reason::EngineFailed);
    for nonsense in ["{}", "[]", "<html>", r#"{"done":"yes"}"#] {
        assert_eq!(
            Lines.frame(nonsense.as_bytes()).unwrap_err().reason,
            Reason::EngineBadAnswer,
            "{nonsense}"
        );
    }
}
