//! Golden translations of Ollama's API.

use penstock_proto::{
    Reason,
    inference::v1::{
        ChatInput, ContentPart, ContentParts, CustomTool, Extension, FunctionCall, FunctionTool, ImageUrl,
        Message, Prompt, StopSequences, TextInput, TextList, TokenList, Tool, ToolCall,
        generate_request::Input, message::Content, prompt::Kind as Kind_, stop_sequences::Kind,
    },
};
use serde_json::{Value, json};

use super::*;
use crate::{answer::Answer, engine::Shown};

fn target() -> Target {
    let found = Target::of("d".into(), "http://127.0.0.1:1".parse().unwrap(), "llama3.2:3b".into());
    Target { context_tokens: Some(8192), ..found }
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
        r#""format":{ "type":"object" },"keep_alive":"5m","truncate":false,"shift":false}"#,
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
    bad.verbosity = Some("low".into());
    bad.functions_json = Some("[]".into());
    bad.extensions = vec![
        Extension { name: "MODEL".into(), json: "1".into() },
        Extension { name: "options".into(), json: "3".into() },
    ];
    let fields = [
        "n",
        "verbosity",
        "functions",
        "messages[0].content[0].image_url.url",
        "messages[0].content[1]",
        "options",
        "MODEL",
    ];
    assert_eq!(encode(&bad).unwrap_err(), fields);
}

/// What the request becomes with this change, as JSON, or the fields that are refused.
fn changed(change: impl FnOnce(&mut GenerateRequest)) -> Result<Value, Vec<String>> {
    let mut request = request(vec![user(vec![part("text", Some("hi"), None)])]);
    change(&mut request);
    encode(&request).map(|json| serde_json::from_str(&json).unwrap())
}

fn tool(name: &str) -> Tool {
    let function = FunctionTool { name: name.into(), ..FunctionTool::default() };
    Tool { r#type: "function".into(), function: Some(function), ..Tool::default() }
}

#[test]
fn tools_are_offered_as_the_choice_allows_and_what_cannot_be_forced_is_refused() {
    let choice = |json: &str| {
        changed(|request| {
            request.tools = vec![tool("f"), tool("g")];
            request.tool_choice_json = Some(json.into());
        })
    };
    let names = |json: &str| {
        let tools = choice(json).unwrap()["tools"].as_array().cloned().unwrap_or_default();
        tools.iter().map(|tool| tool["function"]["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(r#""auto""#), ["f", "g"]);
    assert_eq!(names(r#" "none" "#), Vec::<String>::new());
    let allowed = r#"{"type":"allowed_tools","allowed_tools":{"mode":"auto","tools":[{"type":"function","function":{"name":"g"}}]}}"#;
    assert_eq!(names(allowed), ["g"]);
    for forced in [
        r#""required""#.to_owned(),
        r#"{"type":"function","function":{"name":"f"}}"#.to_owned(),
        allowed.replace("auto", "required"),
    ] {
        assert_eq!(choice(&forced).unwrap_err(), ["tool_choice"], "{forced}");
    }
    let custom = Tool {
        r#type: "custom".into(),
        custom: Some(CustomTool { name: "c".into(), ..CustomTool::default() }),
        ..Tool::default()
    };
    assert_eq!(changed(|request| request.tools = vec![tool("f"), custom]).unwrap_err(), ["tools[1].type"]);
    let one_by_one = changed(|request| {
        request.tools = vec![tool("f")];
        request.parallel_tool_calls = Some(false);
    });
    assert_eq!(one_by_one.unwrap_err(), ["parallel_tool_calls"]);
}

#[test]
fn a_caller_may_have_less_context_and_never_more() {
    let ask = |json: &str| {
        changed(|r| r.extensions = vec![Extension { name: "options".into(), json: json.into() }])
    };
    assert_eq!(
        ask(r#"{"num_ctx":2048,"top_k":3}"#).unwrap()["options"],
        json!({"num_ctx": 2048, "top_k": 3})
    );
    for more in ["8193", "0", "-1", "\"9\"", "1e9"] {
        assert_eq!(ask(&format!(r#"{{"num_ctx":{more}}}"#)).unwrap_err(), ["options.num_ctx"], "{more}");
    }
    let twice = ask(r#"{"num_ctx":10,"num_ctx":999999}"#).unwrap();
    assert_eq!(twice["options"], json!({"num_ctx": 10}));
}

#[test]
fn the_context_is_the_deployments_else_the_models_else_a_default() {
    let bare = Target { context_tokens: None, ..target() };
    assert_eq!(bare.context_tokens(), 8192);
    let shown = Shown { context_tokens: 4096, thinks: None, has_levels: false };
    bare.learnt.lock().unwrap().shown = Some(shown);
    assert_eq!(bare.context_tokens(), 4096);
    assert_eq!(Target { context_tokens: Some(5), ..bare }.context_tokens(), 5);
}

#[test]
fn thinking_has_levels_only_where_the_model_has() {
    let think = |effort: &str, shown: Option<(Option<bool>, bool)>| {
        let target = target();
        if let Some((thinks, has_levels)) = shown {
            target.learnt.lock().unwrap().shown = Some(Shown { context_tokens: 1, thinks, has_levels });
        }
        let request = GenerateRequest { reasoning_effort: Some(effort.into()), ..request(vec![]) };
        let ask = Ollama::generate(&request, &target);
        ask.map(|ask| serde_json::from_slice::<Value>(&ask.body).unwrap().get("think").cloned()).ok()
    };
    for effort in ["minimal", "low", "medium", "high", "xhigh"] {
        assert_eq!(think(effort, None), Some(Some(json!(true))), "{effort}");
    }
    assert_eq!(think("none", None), Some(Some(json!(false))));
    assert_eq!(think("minimal", Some((Some(true), true))), Some(Some(json!("low"))));
    assert_eq!(think("max", Some((Some(true), true))), Some(Some(json!("high"))));
    assert_eq!(think("none", Some((Some(false), false))), Some(None), "it does not anyway");
    assert_eq!(think("high", Some((Some(false), false))), None, "refused");
    assert_eq!(think("enormous", None), None, "refused");
}

#[test]
fn the_deployment_says_how_long_the_model_stays_unless_the_caller_does() {
    let target = Target { keep_alive_seconds: Some(-1), ..target() };
    let ask = |extensions| {
        let request = GenerateRequest { extensions, ..request(vec![]) };
        let body = Ollama::generate(&request, &target).unwrap().body;
        serde_json::from_slice::<Value>(&body).unwrap()["keep_alive"].clone()
    };
    assert_eq!(ask(vec![]), json!(-1));
    assert_eq!(ask(vec![Extension { name: "keep_alive".into(), json: "\"1h\"".into() }]), json!("1h"));
}

#[test]
fn words_for_sampling_that_others_know_too_stand_in_options() {
    let ask = |given: &[(&str, &str)]| {
        let extension =
            |(name, json): &(&str, &str)| Extension { name: (*name).into(), json: (*json).into() };
        encode(&GenerateRequest {
            extensions: given.iter().map(extension).collect(),
            temperature: Some(0.5),
            ..request(vec![])
        })
    };
    let body = ask(&[
        ("repeat_penalty", "1.10"),
        ("top_k", "40"),
        ("penalize_newline", "true"),
        ("options", r#"{"top_k":7,"temperature":1}"#),
        ("top_n", "1"),
    ])
    .unwrap();
    let options = r#""options":{"temperature":0.5,"num_ctx":8192,"top_k":7,"repeat_penalty":1.10,"penalize_newline":true}"#;
    assert!(body.contains(options), "{body}");
    assert!(body.ends_with(r#""truncate":false,"shift":false,"top_n":1}"#), "{body}");
    assert_eq!(ask(&[("top_k", "1"), ("top_k", "2")]).unwrap_err(), ["top_k"]);
}

fn text(prompt: Kind_) -> GenerateRequest {
    let prompt = Some(Prompt { kind: Some(prompt) });
    let input = Some(Input::Text(TextInput { prompt, ..TextInput::default() }));
    GenerateRequest { model: "asked".into(), input, ..GenerateRequest::default() }
}

#[test]
fn a_text_is_continued_raw_and_with_a_suffix_by_the_template() {
    let ask = Ollama::generate(&text(Kind_::Text("Once".into())), &target()).unwrap();
    assert_eq!(ask.path, "/api/generate");
    assert_eq!(
        String::from_utf8(ask.body).unwrap(),
        concat!(
            r#"{"model":"llama3.2:3b","prompt":"Once","raw":true,"stream":false,"#,
            r#""options":{"num_predict":16,"num_ctx":8192},"truncate":false,"shift":false}"#
        )
    );
    let mut filled = text(Kind_::Texts(TextList { values: vec!["def f(".into()] }));
    if let Some(Input::Text(input)) = &mut filled.input {
        input.suffix = Some("return x".into());
    }
    filled.max_tokens = Some(5);
    let body: Value = serde_json::from_str(&encode(&filled).unwrap()).unwrap();
    assert_eq!((&body["suffix"], &body["raw"]), (&json!("return x"), &json!(false)));
    assert_eq!(body["options"]["num_predict"], 5);

    let mut endless = text(Kind_::Text("Once".into()));
    endless.extensions = vec![Extension { name: "options".into(), json: r#"{"num_predict":-1}"#.into() }];
    let body: Value = serde_json::from_str(&encode(&endless).unwrap()).unwrap();
    assert_eq!(body["options"]["num_predict"], -1, "the caller bounds it in Ollama's own words");

    let several = Kind_::Texts(TextList { values: vec!["a".into(), "b".into()] });
    let tokens = Kind_::Tokens(TokenList { values: vec![1] });
    for wrong in [several, tokens] {
        assert_eq!(encode(&text(wrong)).unwrap_err(), ["prompt"]);
    }
    let mut bad = text(Kind_::Text("a".into()));
    if let Some(Input::Text(input)) = &mut bad.input {
        (input.echo, input.best_of, input.logprobs) = (Some(true), Some(2), Some(0));
    }
    bad.extensions = vec![Extension { name: "system".into(), json: "\"x\"".into() }];
    assert_eq!(encode(&bad).unwrap_err(), ["echo", "best_of", "logprobs", "system"]);
}

/// D12: Ollama would cut it without a word.
#[test]
fn d12_a_prompt_that_surely_does_not_fit_is_not_sent() {
    let small = Target { context_tokens: Some(10), ..target() };
    let asked = |text: String, extensions: &[(&str, &str)]| {
        let message = Message { content: Some(Content::Text(text)), ..Message::default() };
        let extension =
            |(name, json): &(&str, &str)| Extension { name: (*name).into(), json: (*json).into() };
        let extensions = extensions.iter().map(extension).collect();
        Ollama::generate(&GenerateRequest { extensions, ..request(vec![message]) }, &small)
    };
    assert!(asked("word ".repeat(10), &[]).is_ok());
    let refused = asked("word ".repeat(11), &[]).unwrap_err();
    assert_eq!(refused.reason(), Reason::ContextLengthExceeded);
    let less = asked("word ".repeat(6), &[("options", r#"{"num_ctx":5}"#)]).unwrap_err();
    assert_eq!(less.reason(), Reason::ContextLengthExceeded);
    assert!(asked("word ".repeat(11), &[("truncate", "true")]).is_ok(), "who asks for it gets it cut");
}

#[test]
fn d12_a_prompt_that_filled_the_context_was_cut() {
    let request = request(vec![]);
    let end = |tokens: u64| format!(r#"{{"done":true,"prompt_eval_count":{tokens},"eval_count":1}}"#);
    for (tokens, fits) in [(8191, true), (8192, false), (9000, false), (0, true)] {
        let mut answer = Answer::new(&request, 9).below(Ollama::prompt_max(&request, &target()));
        let chunk = Lines.plain(end(tokens).as_bytes()).unwrap();
        let taken = answer.take(chunk, &mut Vec::new());
        assert_eq!(
            taken.map_err(|fault| fault.reason).err(),
            (!fits).then_some(Reason::ContextLengthExceeded)
        );
    }
}

#[test]
fn vectors_are_asked_for_uncut_and_read_strictly() {
    let texts = Kind_::Texts(TextList { values: vec!["a".into(), "b".into()] });
    let asked = EmbedRequest {
        model: "asked".into(),
        input: Some(Prompt { kind: Some(texts) }),
        dimensions: Some(2),
        ..EmbedRequest::default()
    };
    let ask = Ollama::embed(&asked, &target()).unwrap();
    assert_eq!(ask.path, "/api/embed");
    assert_eq!(
        String::from_utf8(ask.body).unwrap(),
        r#"{"model":"llama3.2:3b","input":["a","b"],"dimensions":2,"options":{"num_ctx":8192},"truncate":false}"#
    );
    let read = |json: &str| Ollama::embedded(json.as_bytes(), &asked);
    let vectors =
        read(r#"{"model":"m","embeddings":[[1,2.5],[-3e-2,0]],"prompt_eval_count":4,"x":1}"#).unwrap();
    assert_eq!(vectors.embeddings[1].values, [-0.03, 0.0]);
    assert_eq!((vectors.model.as_str(), vectors.usage.unwrap().total_tokens), ("asked", 4));
    for wrong in [
        r#"{"embeddings":[[1,2]]}"#,
        r#"{"embeddings":[[1,2],[3]]}"#,
        r#"{"embeddings":[[],[]]}"#,
        r#"{"embeddings":[[1,null],[3,4]]}"#,
        r#"{"embeddings":[[1,1e99],[3,4]]}"#,
        r#"{"error":"x"}"#,
        "[]",
    ] {
        assert_eq!(read(wrong).unwrap_err().reason, Reason::EngineBadAnswer, "{wrong}");
    }
    let tokens = Some(Prompt { kind: Some(Kind_::Tokens(TokenList { values: vec![1] })) });
    let refused = Ollama::embed(&EmbedRequest { input: tokens, ..asked }, &target()).unwrap_err();
    assert!(matches!(refused, Error::Unsupported(found) if found[0].field == "input"));
}

#[test]
fn log_probabilities_get_the_object_that_openai_puts_around_them() {
    let line = r#"{"message":{"role":"assistant","content":"a"},"done":false,"logprobs":[{"token":"a","logprob":-0.5}]}"#;
    let Frame::Piece(chunk) = Lines.frame(line.as_bytes()).unwrap() else { panic!("{line}") };
    let logprobs = chunk.choices[0].logprobs_json.as_deref();
    assert_eq!(logprobs, Some(r#"{"content":[{"token":"a","logprob":-0.5}],"refusal":null}"#));
    let asked = changed(|request| (request.logprobs, request.top_logprobs) = (Some(true), Some(2))).unwrap();
    assert_eq!((&asked["logprobs"], &asked["top_logprobs"]), (&json!(true), &json!(2)));
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
