//! Golden requests, one per feature, and the table of bad input.

use penstock_proto::{Reason, Violation, inference::v1::Extension};
use proptest::prelude::*;

use super::*;

fn read_ok(json: &str) -> GenerateRequest {
    read(json.as_bytes()).unwrap()
}

fn refused(body: impl AsRef<[u8]>) -> penstock_proto::Error {
    penstock_proto::Error::from(&read(body.as_ref()).unwrap_err())
}

fn extension(name: &str, json: &str) -> Extension {
    Extension { name: name.into(), json: json.into() }
}

fn messages(request: &GenerateRequest) -> &[Message] {
    match &request.input {
        Some(Input::Chat(chat)) => &chat.messages,
        Some(Input::Text(_)) | None => &[],
    }
}

#[test]
fn every_named_member_is_typed() {
    let request = read_ok(
        r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"stream":true,
            "stream_options":{"include_usage":true,"include_obfuscation":false},
            "temperature":0.12345678901234567,"top_p":1,"n":2,"max_tokens":3,"max_completion_tokens":4,
            "stop":"x","presence_penalty":-2,"frequency_penalty":0,"seed":-9007199254740991,"logprobs":true,
            "top_logprobs":5,"logit_bias":{"50256": -100},"user":"u","tool_choice":"auto",
            "parallel_tool_calls":false,"response_format":{"type":"json_object"},"reasoning_effort":"low",
            "service_tier":"flex","verbosity":"high","modalities":["text","audio"],"audio":{"voice":"v"},
            "prediction":{"type":"content","content":"c"},"web_search_options":{},"prompt_cache_key":"k",
            "safety_identifier":"s","functions":[{"name":"f"}],"function_call":"none","store":true,
            "metadata":{"b":"1","a":"2"}}"#,
    );
    let expected = GenerateRequest {
        model: "m".into(),
        input: Some(Input::Chat(ChatInput {
            messages: vec![Message {
                role: "user".into(),
                content: Some(Content::Text("hi".into())),
                ..Message::default()
            }],
        })),
        stream: true,
        stream_options: Some(StreamOptions {
            include_usage: Some(true),
            extensions: vec![extension("include_obfuscation", "false")],
        }),
        temperature: Some(0.123_456_789_012_345_67),
        top_p: Some(1.0),
        n: Some(2),
        max_tokens: Some(3),
        max_completion_tokens: Some(4),
        stop: Some(StopSequences { kind: Some(Kind::Text("x".into())) }),
        presence_penalty: Some(-2.0),
        frequency_penalty: Some(0.0),
        seed: Some(-9_007_199_254_740_991),
        logprobs: Some(true),
        top_logprobs: Some(5),
        logit_bias_json: Some(r#"{"50256": -100}"#.into()),
        user: Some("u".into()),
        tools: vec![],
        tool_choice_json: Some("\"auto\"".into()),
        parallel_tool_calls: Some(false),
        response_format_json: Some(r#"{"type":"json_object"}"#.into()),
        reasoning_effort: Some("low".into()),
        service_tier: Some("flex".into()),
        verbosity: Some("high".into()),
        modalities: Some(TextList { values: vec!["text".into(), "audio".into()] }),
        audio_json: Some(r#"{"voice":"v"}"#.into()),
        prediction_json: Some(r#"{"type":"content","content":"c"}"#.into()),
        web_search_options_json: Some("{}".into()),
        prompt_cache_key: Some("k".into()),
        safety_identifier: Some("s".into()),
        functions_json: Some(r#"[{"name":"f"}]"#.into()),
        function_call_json: Some("\"none\"".into()),
        store: Some(true),
        metadata: Some(Metadata {
            pairs: [("b", "1"), ("a", "2")]
                .map(|(key, value)| MetadataPair { key: key.into(), value: value.into() })
                .into(),
        }),
        response: None,
        optional_extensions: vec![],
        extensions: vec![],
    };
    assert_eq!(request, expected);
}

#[test]
fn what_the_contract_does_not_name_keeps_its_order_and_its_very_text() {
    let request = read_ok(
        r#"{"model":"m","guided_json": {"b" : 1,  "a":1e400, "s":"\u00e9"},"messages":[
            {"role":"user","content":"x","cache_control":{"type":"ephemeral"},"audio":null}],"Model":"other","top_k":20}"#,
    );
    assert_eq!(
        request.extensions,
        [
            extension("guided_json", r#"{"b" : 1,  "a":1e400, "s":"\u00e9"}"#),
            extension("Model", "\"other\""),
            extension("top_k", "20"),
        ]
    );
    assert_eq!(
        messages(&request)[0].extensions,
        [extension("cache_control", r#"{"type":"ephemeral"}"#), extension("audio", "null")]
    );
}

#[test]
fn a_string_stays_a_string_and_a_list_a_list() {
    let request = read_ok(
        r#"{"messages":[{"role":"user","content":[{"type":"text","text":"a"},
            {"type":"image_url","image_url":{"url":"data:,x","detail":"low","w":1}},
            {"type":"input_audio","input_audio":{"data":"AA==","format":"wav"}}]},
            {"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"{\"a\":1}"}}]},
            {"role":"tool","content":"42","tool_call_id":"c1"}],"stop":["a","b"]}"#,
    );
    let [user, assistant, tool] = messages(&request) else { panic!("three messages") };
    let part = |kind: &str| ContentPart { r#type: kind.into(), ..ContentPart::default() };
    let image =
        ImageUrl { url: "data:,x".into(), detail: Some("low".into()), extensions: vec![extension("w", "1")] };
    let parts = vec![
        ContentPart { text: Some("a".into()), ..part("text") },
        ContentPart { image_url: Some(image), ..part("image_url") },
        ContentPart {
            input_audio: Some(InputAudio {
                data: "AA==".into(),
                format: "wav".into(),
                ..InputAudio::default()
            }),
            ..part("input_audio")
        },
    ];
    assert_eq!(user.content, Some(Content::Parts(ContentParts { parts })));
    assert_eq!(assistant.content, None);
    let function = FunctionCall {
        name: Some("f".into()),
        arguments: Some(r#"{"a":1}"#.into()),
        ..FunctionCall::default()
    };
    let call = ToolCall {
        id: Some("c1".into()),
        r#type: Some("function".into()),
        function: Some(function),
        ..ToolCall::default()
    };
    assert_eq!(assistant.tool_calls, [call]);
    assert_eq!(tool.tool_call_id.as_deref(), Some("c1"));
    let list = TextList { values: vec!["a".into(), "b".into()] };
    assert_eq!(request.stop, Some(StopSequences { kind: Some(Kind::List(list)) }));
}

#[test]
fn tools_keep_the_text_of_their_schemas() {
    let request = read_ok(
        r#"{"tools":[{"type":"function","function":{"name":"f","description":"d","strict":null,
            "parameters":{ "type" : "object", "properties":{}},"x":[1]}},
            {"type":"custom","custom":{"name":"c"}}],
            "tool_choice":{"type":"function","function":{"name":"f"}}}"#,
    );
    let function = FunctionTool {
        name: "f".into(),
        description: Some("d".into()),
        parameters_json: Some(r#"{ "type" : "object", "properties":{}}"#.into()),
        strict: None,
        extensions: vec![extension("x", "[1]")],
    };
    let custom = Tool {
        r#type: "custom".into(),
        custom: Some(CustomTool { name: "c".into(), ..CustomTool::default() }),
        ..Tool::default()
    };
    let tool = Tool { r#type: "function".into(), function: Some(function), ..Tool::default() };
    assert_eq!(request.tools, [tool, custom]);
    assert_eq!(request.tool_choice_json.as_deref(), Some(r#"{"type":"function","function":{"name":"f"}}"#));
}

#[test]
fn reasoning_has_two_names_and_neither_is_lost() {
    let request = read_ok(
        r#"{"messages":[{"role":"assistant","reasoning_content":"a"},{"role":"assistant","reasoning":"b"},
            {"role":"assistant","reasoning":"c","reasoning_content":"d"},{"role":"assistant","reasoning":{"e":1}}]}"#,
    );
    let seen: Vec<_> = messages(&request)
        .iter()
        .map(|message| (message.reasoning.as_deref(), message.extensions.as_slice()))
        .collect();
    let (c, e) = ([extension("reasoning", "\"c\"")], [extension("reasoning", r#"{"e":1}"#)]);
    assert_eq!(seen, [(Some("a"), &[][..]), (Some("b"), &[]), (Some("d"), &c), (None, &e)]);
}

#[test]
fn null_is_absence() {
    let request = read_ok(
        r#"{"model":null,"messages":null,"stream":null,"stream_options":null,"temperature":null,"n":null,"stop":null,
            "logit_bias":null,"tools":null,"tool_choice":null,"response_format":null,"user":null,"logprobs":null}"#,
    );
    assert_eq!(request, GenerateRequest::default());
}

/// A1, A2, A9: what is no JSON text is 400, with the place and without the body's text.
#[test]
fn what_is_not_json_is_malformed() {
    let deep = |open: &str, close: &str| {
        format!(
            r#"{{"tools":[{{"function":{{"parameters":{}0{}}}}}]}}"#,
            open.repeat(100_000),
            close.repeat(100_000)
        )
    };
    let cases: Vec<Vec<u8>> = vec![
        b"".to_vec(),
        b" ".to_vec(),
        b"{".to_vec(),
        b"{\"model\":\"secret".to_vec(),
        b"{\"model\":\"m\"} x".to_vec(),
        b"{'model':1}".to_vec(),
        b"{\"model\":NaN}".to_vec(),
        b"{\"temperature\":Infinity}".to_vec(),
        b"{\"a\":01}".to_vec(),
        b"{\"a\":1,}".to_vec(),
        b"{\"a\":\"\x00\"}".to_vec(),
        b"\xef\xbb\xbf{}".to_vec(),
        b"{\"model\":\"\xff\"}".to_vec(),
        b"{\"x\":\"\xc3\"}".to_vec(),
        br#"{"model":"\ud800"}"#.to_vec(),
        br#"{"model":"\udc00secret"}"#.to_vec(),
        deep("[", "]").into_bytes(),
        deep("{\"a\":", "}").into_bytes(),
        format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)).into_bytes(),
        format!(r#"{{"messages":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000)).into_bytes(),
    ];
    for body in cases {
        let error = refused(&body);
        let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
        assert_eq!(error.reason, Reason::MalformedJson, "{shown}: {error:?}");
        assert!(!error.message.contains("secret"), "{error:?}");
    }
}

/// A5, A6: JSON of another shape is 422 and names the field, never the value.
#[test]
fn what_is_json_of_another_shape_names_the_field() {
    for (json, field, message) in [
        (r#"{"model":1}"#, "model", "must be a string"),
        (r#"{"model":"secret","model":"secret"}"#, "model", "is given twice"),
        (r#"{"model":"a","\u006dodel":"b"}"#, "model", "is given twice"),
        (r#"{"model":null,"model":"b"}"#, "model", "is given twice"),
        (r#"{"x":1,"x":2}"#, "x", "is given twice"),
        (r#"{"x":{"a":1,"\u0061":2}}"#, "x", "has a member that is given twice"),
        (r#"{"response_format":{"a":1,"a":2}}"#, "response_format", "has a member that is given twice"),
        (r#"{"messages":{}}"#, "messages", "must be an array of messages"),
        (r#"{"messages":"secret, expected x"}"#, "messages", "must be an array of messages"),
        (r#"{"messages":[1]}"#, "messages[0]", "must be an object"),
        (r#"{"messages":[{},null]}"#, "messages[1]", "must be an object"),
        (r#"{"messages":[{"role":[]}]}"#, "messages[0].role", "must be a string"),
        (r#"{"messages":[{"role":"user","role":"system"}]}"#, "messages[0].role", "is given twice"),
        (
            r#"{"messages":[{"content":7}]}"#,
            "messages[0].content",
            "must be a string or an array of content parts",
        ),
        (r#"{"messages":[{"content":["x"]}]}"#, "messages[0].content[0]", "must be an object"),
        (
            r#"{"messages":[{"content":[{"image_url":"http://x"}]}]}"#,
            "messages[0].content[0].image_url",
            "must be an object",
        ),
        (
            r#"{"messages":[{"tool_calls":[{"function":{"arguments":{}}}]}]}"#,
            "messages[0].tool_calls[0].function.arguments",
            "must be a string",
        ),
        (r#"{"temperature":"hot"}"#, "temperature", "must be a number"),
        (r#"{"temperature":1e400}"#, "temperature", "must be a number that a double can hold"),
        (r#"{"model":1e400}"#, "model", "is a number out of range"),
        (r#"{"n":1.5}"#, "n", "must be a whole number"),
        (r#"{"seed":9223372036854775808}"#, "seed", "must be a whole number that 64 bits can hold"),
        (r#"{"stream":"true"}"#, "stream", "must be true or false"),
        (r#"{"stream":1}"#, "stream", "must be true or false"),
        (r#"{"stop":[1]}"#, "stop[0]", "must be a string"),
        (r#"{"stop":[null]}"#, "stop", "must be an array of strings"),
        (r#"{"stop":{}}"#, "stop", "must be a string or an array of strings"),
        (r#"{"stream_options":[]}"#, "stream_options", "must be an object"),
        (r#"{"tools":{}}"#, "tools", "must be an array of objects"),
        (r#"{"tools":[{"function":{"strict":1}}]}"#, "tools[0].function.strict", "must be true or false"),
        (r#"{"tool_choice":1}"#, "tool_choice", "must be a string or an object"),
        (r#"{"logit_bias":[]}"#, "logit_bias", "must be an object"),
    ] {
        let error = refused(json);
        assert_eq!(error.reason, Reason::InvalidRequest, "{json}: {error:?}");
        assert_eq!(error.violations[0], Violation::new(field, message), "{json}");
    }
    for json in ["[]", "null", "\"text\"", "1"] {
        let error = refused(json);
        assert_eq!(
            (error.reason, error.message.as_ref()),
            (Reason::InvalidRequest, "the body must be an object")
        );
    }
}

/// A11: memory is bounded, not only bytes.
#[test]
fn a_body_of_very_many_parts_is_too_large() {
    let messages = |count: usize| format!(r#"{{"messages":[{}{{}}]}}"#, "{},".repeat(count - 1));
    assert_eq!(self::messages(&read_ok(&messages(100_000))).len(), 100_000);
    assert_eq!(refused(messages(1_000_000)).reason, Reason::RequestTooLarge);
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![".{0,12}", Just("\u{0}\u{1f600}\"\\\n".to_owned())]
}

proptest! {
    /// A9: any text arrives as it was, however it is escaped.
    #[test]
    fn any_text_survives(text in text(), name in "[a-z]{1,3}_x") {
        let json = serde_json::to_string(&text).unwrap();
        let request = read_ok(&format!(r#"{{"model":{json},"messages":[{{"role":{json},"content":{json}}}],"{name}": {json}}}"#));
        prop_assert_eq!(&request.model, &text);
        prop_assert_eq!(messages(&request)[0].content.clone(), Some(Content::Text(text)));
        prop_assert_eq!(&request.extensions, &[extension(&name, &json)]);
    }

    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = read(&bytes);
    }

    /// A18 in small: a valid request, cut or changed anywhere, is read or refused.
    #[test]
    fn any_change_is_survived(at in 0_usize..120, byte in any::<u8>(), cut in any::<bool>()) {
        let mut body = br#"{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"a"}]}],"n":1,"x":{"y":[1,2]}}"#.to_vec();
        let at = at % body.len();
        if cut { body.truncate(at) } else { body[at] = byte }
        if let Err(error) = read(&body) {
            let reason = penstock_proto::Error::from(&error).reason;
            prop_assert!(matches!(reason, Reason::MalformedJson | Reason::InvalidRequest));
        }
    }
}
