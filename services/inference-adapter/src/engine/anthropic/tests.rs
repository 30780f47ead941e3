//! What goes to the Messages API, what comes from it, and what cannot be said in it.

use penstock_proto::inference::v1::{
    ChatInput, ContentPart, ContentParts, Delta, Extension, File, FunctionCall, FunctionTool, GenerateChunk,
    GenerateRequest, ImageUrl, Message, TextList, Tool, ToolCall, generate_request::Input, message::Content,
};
use serde_json::{Value, json};

use super::{event::Events, *};
use crate::{
    answer::Answer,
    engine::{Frame, Reader as _},
};

fn target() -> Target {
    Target::of("d".into(), "http://127.0.0.1:1".parse().unwrap(), "claude".into())
}

fn text(role: &str, text: &str) -> Message {
    Message { role: role.into(), content: Some(Content::Text(text.into())), ..Message::default() }
}

fn request(messages: Vec<Message>) -> GenerateRequest {
    GenerateRequest {
        model: "m".into(),
        input: Some(Input::Chat(ChatInput { messages })),
        ..GenerateRequest::default()
    }
}

fn sent(request: &GenerateRequest) -> Value {
    sent_to(request, &target())
}

fn sent_to(request: &GenerateRequest, target: &Target) -> Value {
    let ask = Anthropic::generate(request, target).unwrap();
    assert_eq!(ask.path, "/messages");
    serde_json::from_slice(&ask.body).unwrap()
}

/// It refuses white space at the end of what it is to go on from, and nowhere else.
#[test]
fn a_prefill_ends_without_white_space() {
    let said = |messages| sent(&request(messages))["messages"].clone();
    let messages = said(vec![text("user", "hi \n"), text("assistant", " Hello, \n")]);
    assert_eq!(messages[0]["content"], "hi \n");
    assert_eq!(messages[1]["content"], " Hello,");
    let messages = said(vec![text("assistant", "Hello, "), text("user", "hi ")]);
    assert_eq!((&messages[0]["content"], &messages[1]["content"]), (&json!("Hello, "), &json!("hi ")));
}

/// The fields that cannot be put to this engine.
fn refused(request: &GenerateRequest) -> Vec<String> {
    match Anthropic::generate(request, &target()).unwrap_err() {
        Error::Unsupported(found) => found.into_iter().map(|violation| violation.field).collect(),
        other => panic!("{other:?}"),
    }
}

fn function(name: &str) -> Tool {
    let function = FunctionTool {
        name: name.into(),
        parameters_json: Some(r#"{"type":"object","b":1.0,"a":2}"#.into()),
        ..FunctionTool::default()
    };
    Tool { r#type: "function".into(), function: Some(function), ..Tool::default() }
}

fn call(id: &str, arguments: &str) -> ToolCall {
    let function =
        FunctionCall { name: Some("f".into()), arguments: Some(arguments.into()), ..FunctionCall::default() };
    ToolCall {
        id: Some(id.into()),
        r#type: Some("function".into()),
        function: Some(function),
        ..ToolCall::default()
    }
}

fn part(kind: &str) -> ContentPart {
    ContentPart { r#type: kind.into(), ..ContentPart::default() }
}

fn parts(role: &str, parts: Vec<ContentPart>) -> Message {
    Message { role: role.into(), content: Some(Content::Parts(ContentParts { parts })), ..Message::default() }
}

#[test]
fn the_system_stands_apart_and_the_bound_is_always_there() {
    let plain = request(vec![text("system", "be brief"), text("user", "hi"), text("developer", "be kind")]);
    assert_eq!(
        sent(&plain),
        json!({"model": "claude", "max_tokens": 4096, "stream": false,
            "system": [{"type": "text", "text": "be brief"}, {"type": "text", "text": "be kind"}],
            "messages": [{"role": "user", "content": "hi"}]})
    );
    let bounded = GenerateRequest { max_tokens: Some(9), stream: true, ..plain.clone() };
    assert_eq!((&sent(&bounded)["max_tokens"], &sent(&bounded)["stream"]), (&json!(9), &json!(true)));
    let configured = Target { answer_tokens: Some(77), ..target() };
    assert_eq!(sent_to(&plain, &configured)["max_tokens"], 77);
    let known = target();
    known.learnt.lock().unwrap().answer_tokens = Some(64_000);
    assert_eq!(sent_to(&plain, &known)["max_tokens"], 64_000);
}

/// The path refuses members that it does not know.
#[test]
fn a_count_is_asked_for_without_what_bounds_the_answer() {
    let extension = |name: &str| Extension { name: name.into(), json: "{}".into() };
    let asked = GenerateRequest {
        tools: vec![function("f")],
        tool_choice_json: Some("\"required\"".into()),
        stream: true,
        max_tokens: Some(1),
        temperature: Some(0.5),
        user: Some("u".into()),
        service_tier: Some("auto".into()),
        extensions: vec![extension("top_k"), extension("thinking"), extension("cache_control")],
        ..request(vec![text("system", "be brief"), text("user", "hi")])
    };
    let ask = Anthropic::count(&asked, &target()).unwrap().unwrap();
    assert_eq!(ask.path, "/messages/count_tokens");
    assert_eq!(
        serde_json::from_slice::<Value>(&ask.body).unwrap(),
        json!({"model": "claude", "system": [{"type": "text", "text": "be brief"}],
            "messages": [{"role": "user", "content": "hi"}],
            "tools": [{"name": "f", "input_schema": {"type": "object", "b": 1.0, "a": 2}}],
            "tool_choice": {"type": "any"}, "thinking": {}, "cache_control": {}})
    );
    // As much reasoning as is asked for, though the answer may hold less.
    let known = target();
    known.learnt.lock().unwrap().thinks_by_budget = true;
    let asked = GenerateRequest {
        max_tokens: Some(1),
        reasoning_effort: Some("high".into()),
        ..request(vec![text("user", "hi")])
    };
    let ask = Anthropic::count(&asked, &known).unwrap().unwrap();
    let body: Value = serde_json::from_slice(&ask.body).unwrap();
    assert_eq!(body["thinking"], json!({"type": "enabled", "budget_tokens": 16_384}));
    assert!(matches!(
        Anthropic::count(&GenerateRequest { functions_json: Some("[]".into()), ..asked }, &target()),
        Err(Error::Unsupported(_))
    ));
}

#[test]
fn calls_and_results_are_blocks_and_results_come_together() {
    let assistant = Message {
        role: "assistant".into(),
        content: Some(Content::Text("let me see".into())),
        tool_calls: vec![call("a", r#"{"x": 1.0}"#), call("b", "")],
        ..Message::default()
    };
    let result = |id: &str, said: &str| Message { tool_call_id: Some(id.into()), ..text("tool", said) };
    let sent = sent(&GenerateRequest {
        tools: vec![function("f")],
        tool_choice_json: Some(r#"{"type":"function","function":{"name":"f"}}"#.into()),
        parallel_tool_calls: Some(false),
        ..request(vec![
            text("user", "hi"),
            assistant,
            result("a", "1"),
            result("b", "2"),
            text("user", "so?"),
        ])
    });
    assert_eq!(
        sent["messages"],
        json!([
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": [
                {"type": "text", "text": "let me see"},
                {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1.0}},
                {"type": "tool_use", "id": "b", "name": "f", "input": {}},
            ]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "a", "content": "1"},
                {"type": "tool_result", "tool_use_id": "b", "content": "2"},
            ]},
            {"role": "user", "content": "so?"},
        ])
    );
    assert_eq!(sent["tools"], json!([{"name": "f", "input_schema": {"type": "object", "b": 1.0, "a": 2}}]));
    assert_eq!(sent["tool_choice"], json!({"type": "tool", "name": "f", "disable_parallel_tool_use": true}));
}

#[test]
fn every_choice_among_tools_is_kept() {
    let choice = |json: &str| {
        let sent = sent(&GenerateRequest {
            tools: vec![function("f"), function("g")],
            tool_choice_json: Some(json.into()),
            ..request(vec![text("user", "hi")])
        });
        (sent["tool_choice"]["type"].as_str().unwrap().to_owned(), sent["tools"].as_array().unwrap().len())
    };
    assert_eq!(choice(r#""auto""#), ("auto".into(), 2));
    assert_eq!(choice(r#""none""#), ("none".into(), 2));
    assert_eq!(choice(r#""required""#), ("any".into(), 2));
    let allowed = |mode: &str| {
        format!(
            r#"{{"type":"allowed_tools","allowed_tools":{{"mode":"{mode}","tools":[{{"type":"function","function":{{"name":"g"}}}}]}}}}"#
        )
    };
    assert_eq!(choice(&allowed("auto")), ("auto".into(), 1));
    assert_eq!(choice(&allowed("required")), ("any".into(), 1));
}

#[test]
fn images_and_documents_have_sources() {
    let image = |url: &str| ContentPart {
        image_url: Some(ImageUrl { url: url.into(), ..ImageUrl::default() }),
        ..part("image_url")
    };
    let pdf = File {
        file_data: Some("data:application/pdf;base64,JVBERi0=".into()),
        filename: Some("a.pdf".into()),
        ..File::default()
    };
    let cached = Extension { name: "cache_control".into(), json: r#"{"type":"ephemeral"}"#.into() };
    let said = ContentPart { text: Some("look".into()), extensions: vec![cached], ..part("text") };
    let given = vec![
        said,
        image("data:image/png;base64,AAAA"),
        image("https://x/y.png"),
        ContentPart { file: Some(pdf), ..part("file") },
    ];
    assert_eq!(
        sent(&request(vec![parts("user", given)]))["messages"][0]["content"],
        json!([
            {"type": "text", "text": "look", "cache_control": {"type": "ephemeral"}},
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
            {"type": "image", "source": {"type": "url", "url": "https://x/y.png"}},
            {"type": "document", "title": "a.pdf",
                "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}},
        ])
    );
    let by_id = File { file_id: Some("file-1".into()), ..File::default() };
    for (strange, field) in [
        (image("file:///etc/passwd"), "messages[0].content[0].image_url.url"),
        (ContentPart { file: Some(by_id), ..part("file") }, "messages[0].content[0].file"),
        (part("input_audio"), "messages[0].content[0]"),
        (part("video_url"), "messages[0].content[0]"),
    ] {
        assert_eq!(refused(&request(vec![parts("user", vec![strange])])), [field]);
    }
}

#[test]
fn effort_is_said_as_the_model_knows_it() {
    let effort = |effort: &str| GenerateRequest {
        reasoning_effort: Some(effort.into()),
        max_completion_tokens: Some(10_000),
        ..request(vec![text("user", "hi")])
    };
    let adaptive = sent(&effort("medium"));
    assert_eq!(adaptive["thinking"], json!({"type": "adaptive"}));
    assert_eq!(adaptive["output_config"], json!({"effort": "medium"}));
    let none = sent(&effort("none"));
    assert_eq!((&none["thinking"], none.get("output_config")), (&json!({"type": "disabled"}), None));
    let older = target();
    older.learnt.lock().unwrap().thinks_by_budget = true;
    let budgeted = sent_to(&effort("high"), &older);
    assert_eq!(budgeted["thinking"], json!({"type": "enabled", "budget_tokens": 5000}));
    assert_eq!(budgeted.get("output_config"), None);
    let small = GenerateRequest { max_completion_tokens: Some(1000), ..effort("low") };
    assert!(matches!(Anthropic::generate(&small, &older), Err(Error::Unsupported(_))));
    assert_eq!(refused(&effort("extreme")), ["reasoning_effort"]);
}

/// The caller's own `thinking` stays as it is; the effort is its translation, and told where it was left to one.
#[test]
fn thinking_in_the_callers_own_words_is_sent_to_the_letter() {
    let asked = |thinking: Value, effort: &str| {
        let request = GenerateRequest {
            reasoning_effort: Some(effort.into()),
            extensions: vec![Extension { name: "thinking".into(), json: thinking.to_string() }],
            optional_extensions: vec!["thinking".into()],
            max_completion_tokens: Some(1000),
            ..request(vec![text("user", "hi")])
        };
        let sent = sent(&request);
        assert_eq!(sent["thinking"], thinking);
        sent.get("output_config").cloned()
    };
    assert_eq!(asked(json!({"type": "enabled", "budget_tokens": 900, "x": 1}), "low"), None);
    assert_eq!(asked(json!({"type": "disabled"}), "none"), None);
    assert_eq!(asked(json!({"type": "adaptive"}), "low"), Some(json!({"effort": "low"})));
}

#[test]
fn a_schema_is_asked_for_and_json_without_one_is_not_known() {
    let format = |json: &str| GenerateRequest {
        response_format_json: Some(json.into()),
        ..request(vec![text("user", "hi")])
    };
    let asked =
        sent(&format(r#"{"type":"json_schema","json_schema":{"name":"s","schema":{"type":"object"}}}"#));
    let expected = json!({"format": {"type": "json_schema", "schema": {"type": "object"}}});
    assert_eq!(asked["output_config"], expected);
    assert_eq!(sent(&format(r#"{"type":"text"}"#)).get("output_config"), None);
    assert_eq!(refused(&format(r#"{"type":"json_object"}"#)), ["response_format.type"]);
}

#[test]
fn what_has_no_words_is_refused_by_name_and_never_left_out() {
    let plain = || request(vec![text("user", "hi")]);
    let cases = [
        ("n", GenerateRequest { n: Some(2), ..plain() }),
        ("logprobs", GenerateRequest { logprobs: Some(true), ..plain() }),
        ("logit_bias", GenerateRequest { logit_bias_json: Some(r#"{"1":2}"#.into()), ..plain() }),
        ("seed", GenerateRequest { seed: Some(1), ..plain() }),
        ("presence_penalty", GenerateRequest { presence_penalty: Some(0.5), ..plain() }),
        ("temperature", GenerateRequest { temperature: Some(1.5), ..plain() }),
        (
            "modalities",
            GenerateRequest { modalities: Some(TextList { values: vec!["audio".into()] }), ..plain() },
        ),
        ("audio", GenerateRequest { audio_json: Some("{}".into()), ..plain() }),
        ("prediction", GenerateRequest { prediction_json: Some("{}".into()), ..plain() }),
        ("web_search_options", GenerateRequest { web_search_options_json: Some("{}".into()), ..plain() }),
        ("functions", GenerateRequest { functions_json: Some("[]".into()), ..plain() }),
        ("verbosity", GenerateRequest { verbosity: Some("low".into()), ..plain() }),
        ("service_tier", GenerateRequest { service_tier: Some("flex".into()), ..plain() }),
        ("messages[0].name", request(vec![Message { name: Some("eve".into()), ..text("user", "hi") }])),
    ];
    for (field, request) in cases {
        assert_eq!(refused(&request), [field]);
    }
    // What asks for nothing beyond the default is no need.
    sent(&GenerateRequest {
        n: Some(1),
        logprobs: Some(false),
        logit_bias_json: Some("{ }".into()),
        presence_penalty: Some(0.0),
        modalities: Some(TextList { values: vec!["text".into()] }),
        ..plain()
    });
}

#[test]
fn no_extension_stands_for_a_member_of_ours() {
    let with = |name: &str| GenerateRequest {
        extensions: vec![Extension { name: name.into(), json: "5".into() }],
        reasoning_effort: Some("low".into()),
        ..request(vec![text("user", "hi")])
    };
    for name in ["max_tokens", "System", "thinking", "output_config"] {
        assert!(matches!(Anthropic::generate(&with(name), &target()), Err(Error::Request(_))), "{name}");
    }
    assert_eq!(sent(&with("top_k"))["top_k"], 5);
}

fn streamed(events: &[Value]) -> (Vec<GenerateChunk>, Result<(), Fault>) {
    let mut reader = Events::default();
    let mut answer = Answer::new(&GenerateRequest { stream: true, ..request(Vec::new()) }, 0);
    let mut chunks = Vec::new();
    for event in events {
        let outcome = match reader.frame(event.to_string().as_bytes()) {
            Ok(Frame::Piece(chunk) | Frame::Last(chunk)) => answer.take(chunk, &mut chunks),
            Ok(Frame::Done) => {
                return {
                    let ended = answer.end(&mut chunks);
                    (chunks, ended)
                };
            }
            Err(fault) => Err(fault),
        };
        if outcome.is_err() {
            return (chunks, outcome);
        }
    }
    let ended = answer.end(&mut chunks);
    (chunks, ended)
}

fn deltas(chunks: &[GenerateChunk]) -> impl Iterator<Item = &Delta> {
    chunks.iter().flat_map(|chunk| &chunk.choices).filter_map(|choice| choice.delta.as_ref())
}

fn start() -> Value {
    json!({"type": "message_start", "message": {"id": "msg_1", "type": "message", "role": "assistant",
        "content": [], "model": "claude", "stop_reason": null, "stop_sequence": null,
        "usage": {"input_tokens": 10, "cache_read_input_tokens": 3, "cache_creation_input_tokens": 2, "output_tokens": 1}}})
}

fn end(reason: &str) -> [Value; 2] {
    [
        json!({"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": null},
            "usage": {"output_tokens": 7}}),
        json!({"type": "message_stop"}),
    ]
}

fn block(index: u64, block: Value, deltas: &[Value]) -> Vec<Value> {
    let mut events = vec![json!({"type": "content_block_start", "index": index, "content_block": block})];
    events.extend(
        deltas.iter().map(|delta| json!({"type": "content_block_delta", "index": index, "delta": delta})),
    );
    events.push(json!({"type": "content_block_stop", "index": index}));
    events
}

#[test]
fn a_stream_of_blocks_is_a_stream_of_deltas() {
    let thinking = block(
        0,
        json!({"type": "thinking", "thinking": "", "signature": ""}),
        &[
            json!({"type": "thinking_delta", "thinking": "let me "}),
            json!({"type": "thinking_delta", "thinking": "see"}),
            json!({"type": "signature_delta", "signature": "c2ln"}),
        ],
    );
    let said = block(1, json!({"type": "text", "text": ""}), &[json!({"type": "text_delta", "text": "Hi"})]);
    let first = block(
        2,
        json!({"type": "tool_use", "id": "a", "name": "f", "input": {}}),
        &[
            json!({"type": "input_json_delta", "partial_json": ""}),
            json!({"type": "input_json_delta", "partial_json": "{\"x\":"}),
            json!({"type": "input_json_delta", "partial_json": "1}"}),
        ],
    );
    let second = block(3, json!({"type": "tool_use", "id": "b", "name": "g", "input": {}}), &[]);
    let ping = vec![json!({"type": "ping"}), json!({"type": "something_new", "x": 1})];
    let events = [vec![start()], ping, thinking, said, first, second, end("tool_use").to_vec()].concat();
    let (chunks, ended) = streamed(&events);
    ended.unwrap();
    assert!(chunks.iter().all(|chunk| chunk.id == "msg_1"));
    let joined = |of: fn(&Delta) -> Option<&str>| deltas(&chunks).filter_map(of).collect::<String>();
    assert_eq!(joined(|delta| delta.reasoning.as_deref()), "let me see");
    assert_eq!(joined(|delta| delta.content.as_deref()), "Hi");
    let mut arguments = [String::new(), String::new()];
    for call in deltas(&chunks).flat_map(|delta| &delta.tool_calls) {
        let fragment = call.function.as_ref().unwrap().arguments.as_deref().unwrap_or_default();
        arguments[usize::try_from(call.index.unwrap()).unwrap()].push_str(fragment);
    }
    assert_eq!(arguments, [r#"{"x":1}"#, "{}"]);
    let finish: Vec<_> =
        chunks.iter().flat_map(|c| &c.choices).filter_map(|c| c.finish_reason.as_deref()).collect();
    assert_eq!(finish, ["tool_calls"]);
    let usage = chunks.last().unwrap().usage.as_ref().unwrap();
    assert_eq!((usage.prompt_tokens, usage.completion_tokens, usage.total_tokens), (15, 7, 22));
    let details: Value = serde_json::from_str(&usage.extensions[0].json).unwrap();
    assert_eq!(details, json!({"cached_tokens": 3, "cache_write_tokens": 2}));

    // What was thought goes back as it came: the signature is over it.
    let thoughts = deltas(&chunks).flat_map(|delta| &delta.extensions).find(|e| e.name == "thinking_blocks");
    let history = Message { extensions: vec![thoughts.unwrap().clone()], ..text("assistant", "Hi") };
    assert_eq!(
        sent(&request(vec![text("user", "q"), history]))["messages"][1]["content"],
        json!([
            {"type": "thinking", "thinking": "let me see", "signature": "c2ln"},
            {"type": "text", "text": "Hi"},
        ])
    );
}

#[test]
fn a_whole_message_says_the_same() {
    let body = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "claude",
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
            {"type": "redacted_thinking", "data": "eA=="},
            {"type": "text", "text": "Hi "}, {"type": "text", "text": "there"},
            {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1.50}},
            {"type": "server_tool_use", "id": "s"}],
        "stop_reason": "max_tokens", "stop_sequence": null, "container": {"id": "c"},
        "usage": {"input_tokens": 4, "output_tokens": 5, "output_tokens_details": {"thinking_tokens": 2}}});
    let chunk = Events::default().plain(body.to_string().as_bytes()).unwrap();
    let choice = &chunk.choices[0];
    let delta = choice.delta.as_ref().unwrap();
    assert_eq!((delta.content.as_deref(), delta.reasoning.as_deref()), (Some("Hi there"), Some("hm")));
    assert_eq!(choice.finish_reason.as_deref(), Some("length"));
    assert_eq!(delta.tool_calls[0].function.as_ref().unwrap().arguments.as_deref(), Some(r#"{"x":1.5}"#));
    let names: Vec<_> = delta.extensions.iter().map(|extension| extension.name.as_str()).collect();
    assert_eq!(names, ["thinking_blocks", "content_blocks"]);
    assert_eq!(chunk.extensions[0].name, "container", "what nobody names comes back");
    assert_eq!(chunk.usage.unwrap().extensions[1].json, r#"{"reasoning_tokens":2}"#);
}

#[test]
fn stop_reasons_have_their_names() {
    for (theirs, ours) in [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("tool_use", "tool_calls"),
        ("refusal", "content_filter"),
        ("model_context_window_exceeded", "length"),
        ("pause_turn", "length"),
    ] {
        let (chunks, ended) = streamed(&[vec![start()], end(theirs).to_vec()].concat());
        ended.unwrap();
        let finish = chunks.iter().flat_map(|c| &c.choices).find_map(|c| c.finish_reason.clone());
        assert_eq!(finish.as_deref(), Some(ours), "{theirs}");
    }
}

/// C6, C8: an error in the stream, and an end that is none.
#[test]
fn what_breaks_is_an_error() {
    use penstock_proto::Reason;
    let said = block(0, json!({"type": "text", "text": ""}), &[json!({"type": "text_delta", "text": "Hi"})]);
    let error = |kind: &str| json!({"type": "error", "error": {"type": kind, "message": "canary"}});
    for (event, reason) in [
        (error("overloaded_error"), Reason::EngineOverloaded),
        (error("rate_limit_error"), Reason::EngineOverloaded),
        (error("authentication_error"), Reason::EngineCredentials),
        (error("api_error"), Reason::EngineFailed),
        (json!({"type": "message_stop"}), Reason::EngineCut),
        (json!(7), Reason::EngineBadAnswer),
        (json!({"type": "content_block_start", "index": 1}), Reason::EngineBadAnswer),
    ] {
        let (_, ended) = streamed(&[vec![start()], said.clone(), vec![event]].concat());
        let fault = ended.unwrap_err();
        assert_eq!(fault.reason, reason);
        assert!(!fault.what.contains("canary"));
    }
    let (_, cut) = streamed(&[vec![start()], said].concat());
    assert_eq!(cut.unwrap_err().reason, Reason::EngineCut);
}

#[test]
fn a_models_page_says_what_it_can_do() {
    let page = json!({"id": "claude", "max_input_tokens": 200_000, "max_tokens": 64_000, "capabilities": {
        "image_input": {"supported": true}, "structured_outputs": {"supported": false},
        "thinking": {"supported": true, "types": {"enabled": {"supported": true}, "adaptive": {"supported": false}}}}});
    let learnt = Anthropic::detailed(page.to_string().as_bytes());
    assert_eq!(learnt.answer_tokens, Some(64_000));
    assert!(learnt.thinks_by_budget);
    let said = learnt.capabilities;
    assert_eq!(
        (said.vision, said.json_schema, said.context_tokens),
        (Some(true), Some(false), Some(200_000))
    );
    assert_eq!(Anthropic::detailed(b"{}"), Learnt::default());
    assert_eq!(Anthropic::detail(&target()).unwrap().path, "/models/claude");
    let odd = Target { model: "../x".into(), ..target() };
    assert!(Anthropic::detail(&odd).is_none());
}

proptest::proptest! {
    /// Whatever the order of events: no panic, and no end without a reason is taken for whole.
    #[test]
    fn events_in_any_order_never_make_a_whole_answer_without_an_end(
        order in proptest::collection::vec(0..12_usize, 0..30),
    ) {
        let delta = |delta: Value| json!({"type": "content_block_delta", "index": 0, "delta": delta});
        let begin = |block: Value| json!({"type": "content_block_start", "index": 0, "content_block": block});
        let every = [
            start(),
            begin(json!({"type": "text", "text": "a"})),
            begin(json!({"type": "thinking", "thinking": "b"})),
            begin(json!({"type": "tool_use", "id": "c", "name": "f", "input": {"x": 1}})),
            begin(json!({"type": "unheard_of"})),
            delta(json!({"type": "text_delta", "text": "d"})),
            delta(json!({"type": "input_json_delta", "partial_json": "{"})),
            delta(json!({"type": "thinking_delta", "thinking": "e"})),
            delta(json!({"type": "signature_delta", "signature": "f"})),
            json!({"type": "content_block_stop", "index": 0}),
            json!({"type": "message_stop"}),
            json!({"type": "ping"}),
        ];
        let events: Vec<_> = order.iter().map(|index| every[*index].clone()).collect();
        proptest::prop_assert!(streamed(&events).1.is_err());
    }
}

/// As the API sends it, with the event's name: what is read is what `Sse` makes of it.
#[test]
fn c6_an_error_in_mid_stream_is_read_by_its_name_or_without() {
    use crate::frames::{Frames as _, Sse, TooLong};
    for name in ["event: error\n", ""] {
        let error = r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;
        let text = format!("event: message_start\ndata: {}\n\n{name}data: {error}\n\n", start());
        let (mut reader, mut read) = (Events::default(), Vec::new());
        let fed = Sse::new(1 << 20).feed(text.as_bytes(), |frame| {
            read.push(reader.frame(frame).map(drop).map_err(|fault| fault.reason));
            Ok::<(), TooLong>(())
        });
        assert!(fed.is_ok());
        assert_eq!(read, [Ok(()), Err(penstock_proto::Reason::EngineOverloaded)], "{name}");
    }
}
