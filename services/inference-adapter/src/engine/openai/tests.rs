//! Golden translations of the dialect.

use penstock_proto::{
    Reason,
    inference::v1::{
        ChatInput, ContentPart, ContentParts, Extension, FunctionCall, FunctionTool, ImageUrl, Message,
        Prompt, StopSequences, StreamOptions, TextInput, TextList, TokenList, Tool, ToolCall,
        generate_request::Input, message::Content, prompt, stop_sequences::Kind,
    },
};

use super::*;

fn extension(name: &str, json: &str) -> Extension {
    Extension { name: name.into(), json: json.into() }
}

fn text(role: &str, text: &str) -> Message {
    Message { role: role.into(), content: Some(Content::Text(text.into())), ..Message::default() }
}

fn target() -> Target {
    Target::of("d".into(), "http://127.0.0.1:1".parse().unwrap(), "engine/model".into())
}

fn encode(request: &GenerateRequest) -> Result<String, Vec<String>> {
    match OpenAi::generate(request, &target()) {
        Ok(ask) => Ok(String::from_utf8(ask.body).unwrap()),
        Err(Error::Request(found)) => Err(found.into_iter().map(|violation| violation.field).collect()),
        Err(other) => panic!("{other}"),
    }
}

/// vLLM has to be told; whoever says it itself is not spoken over, and a call that was made is no prefill.
#[test]
fn vllm_is_told_to_go_on_from_an_assistants_last_message() {
    let sent = |messages: Vec<Message>, extensions: Vec<Extension>| {
        let request = GenerateRequest {
            input: Some(Input::Chat(ChatInput { messages })),
            extensions,
            ..GenerateRequest::default()
        };
        let ask = crate::engine::vllm::Vllm::generate(&request, &target()).unwrap();
        assert!(!encode(&request).unwrap().contains("final_message") || !request.extensions.is_empty());
        let body: serde_json::Value = serde_json::from_slice(&ask.body).unwrap();
        (body["continue_final_message"].as_bool(), body["add_generation_prompt"].as_bool())
    };
    let prefilled = vec![text("user", "hi"), text("assistant", "Hel")];
    assert_eq!(sent(prefilled.clone(), vec![]), (Some(true), Some(false)));
    let own = vec![extension("add_generation_prompt", "true")];
    assert_eq!(sent(prefilled.clone(), own), (None, Some(true)));
    assert_eq!(sent(vec![text("assistant", "Hel"), text("user", "hi")], vec![]), (None, None));
    let calls = vec![ToolCall { id: Some("c".into()), ..ToolCall::default() }];
    let called = Message { tool_calls: calls, ..text("assistant", "") };
    assert_eq!(sent(vec![text("user", "hi"), called], vec![]), (None, None));
}

fn everything() -> GenerateRequest {
    let parts = ContentParts {
        parts: vec![
            ContentPart { r#type: "text".into(), text: Some("look 🦀".into()), ..ContentPart::default() },
            ContentPart {
                r#type: "image_url".into(),
                image_url: Some(ImageUrl {
                    url: "data:image/png;base64,AA==".into(),
                    detail: Some("low".into()),
                    extensions: vec![],
                }),
                extensions: vec![extension("cache_control", r#"{"type":"ephemeral"}"#)],
                ..ContentPart::default()
            },
        ],
    };
    let call = ToolCall {
        id: Some("call_1".into()),
        r#type: Some("function".into()),
        function: Some(FunctionCall {
            name: Some("f".into()),
            arguments: Some(r#"{"a":1}"#.into()),
            extensions: vec![],
        }),
        ..ToolCall::default()
    };
    let function = FunctionTool {
        name: "f".into(),
        parameters_json: Some(r#"{ "type": "object" }"#.into()),
        strict: Some(true),
        ..FunctionTool::default()
    };
    GenerateRequest {
        model: "asked".into(),
        input: Some(Input::Chat(ChatInput {
            messages: vec![
                text("system", "be\u{0}\n\"brief\""),
                Message { role: "user".into(), content: Some(Content::Parts(parts)), ..Message::default() },
                Message {
                    role: "assistant".into(),
                    tool_calls: vec![call],
                    reasoning: Some("hm".into()),
                    ..Message::default()
                },
                Message { tool_call_id: Some("call_1".into()), ..text("tool", "42") },
            ],
        })),
        stream: true,
        stream_options: Some(StreamOptions {
            include_usage: Some(false),
            extensions: vec![extension("include_obfuscation", "false")],
        }),
        temperature: Some(0.1),
        seed: Some(-9_007_199_254_740_993),
        stop: Some(StopSequences { kind: Some(Kind::List(TextList { values: vec!["x".into()] })) }),
        tools: vec![Tool { r#type: "function".into(), function: Some(function), ..Tool::default() }],
        tool_choice_json: Some(r#""auto""#.into()),
        extensions: vec![
            extension("top_k", "40"),
            extension("chat_template_kwargs", r#"{"enable_thinking": false}"#),
        ],
        ..GenerateRequest::default()
    }
}

#[test]
fn a_request_is_written_whole() {
    let golden = concat!(
        r#"{"model":"engine/model","messages":[{"role":"system","content":"be\u0000\n\"brief\""},"#,
        r#"{"role":"user","content":[{"type":"text","text":"look 🦀"},{"type":"image_url","image_url":"#,
        r#"{"url":"data:image/png;base64,AA==","detail":"low"},"cache_control":{"type":"ephemeral"}}]},"#,
        r#"{"role":"assistant","content":null,"tool_calls":[{"id":"call_1","type":"function","function":"#,
        r#"{"name":"f","arguments":"{\"a\":1}"}}],"reasoning_content":"hm"},"#,
        r#"{"role":"tool","content":"42","tool_call_id":"call_1"}],"stream":true,"#,
        r#""stream_options":{"include_usage":true,"include_obfuscation":false},"temperature":0.1,"stop":["x"],"#,
        r#""seed":-9007199254740993,"tools":[{"type":"function","function":{"name":"f","parameters":"#,
        r#"{ "type": "object" },"strict":true}}],"tool_choice":"auto","top_k":40,"#,
        r#""chat_template_kwargs":{"enable_thinking": false}}"#,
    );
    assert_eq!(encode(&everything()).unwrap(), golden);
}

#[test]
fn a7_a8_dangerous_extensions_are_refused_by_name() {
    let mut request = everything();
    request.extensions =
        vec![extension("api_base", r#""http://evil""#), extension("Model", "1"), extension("top_k", "1,2")];
    assert_eq!(encode(&request).unwrap_err(), ["api_base", "Model", "top_k"]);
}

#[test]
fn servers_of_the_dialect_have_habits_of_their_own() {
    let asks = |target: &dyn Fn(&GenerateRequest) -> Result<Ask, Error>, request: &GenerateRequest| {
        serde_json::from_slice::<serde_json::Value>(&target(request).unwrap().body).unwrap()
    };
    let request = GenerateRequest {
        model: "m".into(),
        input: Some(Input::Chat(ChatInput {
            messages: vec![
                text("developer", "be kind"),
                Message { reasoning: Some("hm".into()), ..text("assistant", "hi") },
            ],
        })),
        service_tier: Some("flex".into()),
        tools: ["f", "g"].map(named).into(),
        tool_choice_json: Some(r#"{"type":"function","function":{"name":"g"}}"#.into()),
        ..GenerateRequest::default()
    };
    let (vllm, llama) = (
        asks(&|request| crate::engine::vllm::Vllm::generate(request, &target()), &request),
        asks(&|request| crate::engine::llama_cpp::LlamaCpp::generate(request, &target()), &request),
    );
    assert_eq!(vllm["messages"][1]["reasoning"], "hm");
    assert_eq!(vllm["messages"][0]["role"], "developer");
    assert_eq!(vllm["tool_choice"]["function"]["name"], "g");
    assert_eq!(llama["messages"][1]["reasoning_content"], "hm");
    assert_eq!(llama["messages"][0]["role"], "system");
    assert_eq!(llama["tool_choice"], "required", "it takes words only");
    assert_eq!(llama["tools"].as_array().unwrap().len(), 1, "so the choice is kept by what is offered");
    assert!(vllm.get("service_tier").is_none() && llama.get("service_tier").is_none());
}

#[test]
fn what_a_server_would_leave_out_is_refused() {
    let many = GenerateRequest { n: Some(2), ..everything_plain() };
    let llama = crate::engine::llama_cpp::LlamaCpp::generate;
    assert!(matches!(llama(&many, &target()), Err(Error::Unsupported(_))));
    let mut newer = target();
    newer.declared.multiple_choices = Some(true);
    assert!(llama(&many, &newer).is_ok());
    let search = GenerateRequest { web_search_options_json: Some("{}".into()), ..everything_plain() };
    let vllm = crate::engine::vllm::Vllm::generate(&search, &target());
    assert!(matches!(vllm, Err(Error::Unsupported(found)) if found[0].field == "web_search_options"));
}

fn everything_plain() -> GenerateRequest {
    let input = Input::Chat(ChatInput { messages: vec![text("user", "hi")] });
    GenerateRequest { model: "m".into(), input: Some(input), ..GenerateRequest::default() }
}

fn named(name: &str) -> Tool {
    let function = FunctionTool { name: name.into(), ..FunctionTool::default() };
    Tool { r#type: "function".into(), function: Some(function), ..Tool::default() }
}

#[test]
fn a_chunk_is_read_with_everything_in_it() {
    let json = r#"{"id":"c1","object":"chat.completion.chunk","created":5,"model":"path","system_fingerprint":"fp",
        "choices":[{"index":1,"delta":{"role":"assistant","content":"h\u00e9","reasoning_content":"why","reasoning":"why",
        "tool_calls":[{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":"{\""}}],"annotations":[1, 2]},
        "logprobs":{"content": []},"finish_reason":null,"stop_reason":7,"token_ids":null}],
        "usage":{"prompt_tokens":1.0,"completion_tokens":2,"total_tokens":null,"prompt_tokens_details":{"cached_tokens":1}},"x_y":[ ]}"#;
    let chunk = Chunks.plain(json.as_bytes()).unwrap();
    assert_eq!(
        (chunk.id.as_str(), chunk.created, chunk.system_fingerprint.as_deref()),
        ("c1", 5, Some("fp"))
    );
    assert_eq!(chunk.extensions, [extension("x_y", "[ ]")]);
    let choice = &chunk.choices[0];
    assert_eq!(
        (choice.index, choice.finish_reason.as_deref(), choice.logprobs_json.as_deref()),
        (1, None, Some(r#"{"content": []}"#))
    );
    assert_eq!(choice.extensions, [extension("stop_reason", "7")]);
    let delta = choice.delta.as_ref().unwrap();
    assert_eq!((delta.content.as_deref(), delta.reasoning.as_deref()), (Some("hé"), Some("why")));
    assert_eq!(delta.extensions, [extension("annotations", "[1, 2]")]);
    let call = delta.tool_calls[0].function.as_ref().unwrap();
    assert_eq!((call.name.as_deref(), call.arguments.as_deref()), (Some("f"), Some("{\"")));
    let usage = chunk.usage.unwrap();
    assert_eq!((usage.prompt_tokens, usage.completion_tokens, usage.total_tokens), (1, 2, 0));
    assert_eq!(usage.extensions.len(), 1);
}

#[test]
fn c6_errors_and_nonsense_are_told_apart() {
    let reason = |json: &str| Chunks.plain(json.as_bytes()).unwrap_err().reason;
    assert_eq!(reason(r#"{"error":{"message":"boom","code":500}}"#), Reason::EngineFailed);
    assert_eq!(
        reason(r#"{"error":{"message":"x","code":"context_length_exceeded"}}"#),
        Reason::ContextLengthExceeded
    );
    assert_eq!(reason(r#"{"error":"boom"}"#), Reason::EngineFailed);
    assert_eq!(reason(r#"{"object":"error","message":"canary","code":500}"#), Reason::EngineFailed);
    for nonsense in
        ["", "<html>", "[]", "1", r#"{"choices":[{"delta":{"content":5}}]}"#, r#"{"choices":[]} trailing"#]
    {
        assert_eq!(reason(nonsense), Reason::EngineBadAnswer, "{nonsense}");
    }
    assert!(Chunks.plain(br#"{"choices":[],"error":null}"#).is_ok());
    assert!(matches!(Chunks.frame(b"[DONE]"), Ok(Frame::Done)));
}

fn continued(kind: prompt::Kind) -> GenerateRequest {
    let text = TextInput {
        prompt: Some(Prompt { kind: Some(kind) }),
        echo: Some(true),
        suffix: Some("end".into()),
        best_of: Some(3),
        logprobs: Some(2),
    };
    GenerateRequest {
        model: "asked".into(),
        input: Some(Input::Text(text)),
        stream: true,
        n: Some(2),
        max_tokens: Some(0),
        stop: Some(StopSequences { kind: Some(Kind::Text("x".into())) }),
        user: Some("u".into()),
        store: Some(true),
        extensions: vec![extension("top_k", "40"), extension("response_format", r#"{"type": "text"}"#)],
        ..GenerateRequest::default()
    }
}

#[test]
fn a_request_to_continue_a_text_is_written_whole() {
    let ask = OpenAi::generate(&continued(prompt::Kind::Text("é".into())), &target()).unwrap();
    assert_eq!(ask.path, "/completions");
    assert_eq!(
        String::from_utf8(ask.body).unwrap(),
        concat!(
            r#"{"model":"engine/model","prompt":"é","suffix":"end","echo":true,"best_of":3,"logprobs":2,"#,
            r#""stream":true,"stream_options":{"include_usage":true},"n":2,"max_tokens":0,"stop":"x","user":"u","#,
            r#""top_k":40,"response_format":{"type": "text"}}"#,
        )
    );
    let tokens = continued(prompt::Kind::Tokens(TokenList { values: vec![1, -2] }));
    assert!(encode(&tokens).unwrap().contains(r#""prompt":[1,-2],"#));
}

#[test]
fn a_text_is_not_asked_for_what_only_conversations_have() {
    let mut request = continued(prompt::Kind::Text("x".into()));
    request.tools = vec![Tool::default()];
    request.logprobs = Some(true);
    request.extensions.push(extension("Prompt", "1"));
    assert_eq!(encode(&request).unwrap_err(), ["logprobs", "tools", "Prompt"]);
}

#[test]
fn a_continued_text_is_read_as_content() {
    let json = r#"{"id":"cmpl-1","object":"text_completion","created":5,"choices":[
        {"index":3,"text":"","logprobs":{"tokens":["a"],"text_offset":[0]},"finish_reason":"length","stop_reason":null}]}"#;
    let chunk = Chunks.plain(json.as_bytes()).unwrap();
    let choice = &chunk.choices[0];
    assert_eq!(choice.delta.as_ref().unwrap().content.as_deref(), Some(""));
    assert_eq!(choice.logprobs_json.as_deref(), Some(r#"{"tokens":["a"],"text_offset":[0]}"#));
    assert_eq!((choice.index, choice.finish_reason.as_deref()), (3, Some("length")));
}
