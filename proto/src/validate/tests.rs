//! What is refused, each with its path, and what must not be: the specification is the measure, no stricter.

use proptest::prelude::*;

use super::{found::VIOLATIONS_MAX, *};
use crate::inference::v1::{
    ChatInput, ContentPart, ContentParts, CustomCall, CustomTool, File, FunctionCall, FunctionTool, ImageUrl,
    InputAudio, Message, Metadata, MetadataPair, ResponseTerms, StopSequences, StreamOptions, TextList, Tool,
    ToolCall, message::Content, stop_sequences::Kind,
};

type Request = GenerateRequest;

fn message(role: &str) -> Message {
    Message { role: role.into(), content: Some(Content::Text("hello".into())), ..Message::default() }
}

fn of(messages: Vec<Message>) -> Request {
    Request { model: "m".into(), input: Some(Input::Chat(ChatInput { messages })), ..Request::default() }
}

fn valid() -> Request {
    of(vec![message("user")])
}

fn fields(request: &Request) -> Vec<String> {
    generate_request(request).into_iter().map(|violation| violation.field).collect()
}

fn function(name: &str) -> Tool {
    let function = FunctionTool { name: name.into(), ..FunctionTool::default() };
    Tool { r#type: "function".into(), function: Some(function), ..Tool::default() }
}

fn custom(name: &str, format: Option<&str>) -> Tool {
    let format_json = format.map(Into::into);
    let custom = CustomTool { name: name.into(), format_json, ..CustomTool::default() };
    Tool { r#type: "custom".into(), custom: Some(custom), ..Tool::default() }
}

fn texts<const N: usize>(values: [&str; N]) -> TextList {
    TextList { values: values.map(Into::into).into() }
}

#[test]
fn a_plain_request_is_valid() {
    assert_eq!(fields(&valid()), Vec::<String>::new());
}

#[test]
fn every_violation_is_reported_not_just_the_first() {
    let request = Request {
        model: String::new(),
        temperature: Some(2.1),
        top_p: Some(f64::NAN),
        n: Some(0),
        max_tokens: Some(-1),
        stop: Some(StopSequences { kind: Some(Kind::List(TextList { values: vec![String::new(); 5] })) }),
        verbosity: Some("loud".into()),
        safety_identifier: Some("é".repeat(65)),
        response_format_json: Some("{}".into()),
        ..valid()
    };
    let expected = ["model", "temperature", "top_p", "n", "max_tokens", "stop", "response_format.type"];
    assert_eq!(fields(&request), [&expected[..], &["verbosity", "safety_identifier"]].concat());
}

#[test]
fn numbers_have_the_ranges_of_the_specification() {
    type Set = fn(f64) -> Request;
    #[allow(clippy::cast_possible_truncation)] // small numbers
    let cases: [(&str, Set, [f64; 2]); 6] = [
        ("temperature", |number| Request { temperature: Some(number), ..valid() }, [0.0, 2.0]),
        ("top_p", |number| Request { top_p: Some(number), ..valid() }, [0.0, 1.0]),
        ("presence_penalty", |number| Request { presence_penalty: Some(number), ..valid() }, [-2.0, 2.0]),
        ("frequency_penalty", |number| Request { frequency_penalty: Some(number), ..valid() }, [-2.0, 2.0]),
        ("n", |number| Request { n: Some(number as i64), ..valid() }, [1.0, 128.0]),
        (
            "top_logprobs",
            |number| Request { logprobs: Some(true), top_logprobs: Some(number as i64), ..valid() },
            [0.0, 20.0],
        ),
    ];
    for (field, set, [from, to]) in cases {
        for inside in [from, to] {
            assert!(fields(&set(inside)).is_empty(), "{field} {inside}");
        }
        for outside in [from - 1.0, to + 1.0] {
            assert_eq!(fields(&set(outside)), [field], "{outside}");
        }
    }
    for (tokens, fine) in [(i64::MIN, false), (0, false), (1, true), (i64::MAX, true)] {
        let request = Request { max_tokens: Some(tokens), max_completion_tokens: Some(tokens), ..valid() };
        assert_eq!(fields(&request).is_empty(), fine, "{tokens}");
    }
    let request =
        Request { top_logprobs: Some(1), stream_options: Some(StreamOptions::default()), ..valid() };
    assert_eq!(fields(&request), ["top_logprobs", "stream_options"]);
}

#[test]
fn messages_are_named_by_their_place() {
    let nothing = |role: &str| Message { content: None, ..message(role) };
    let request = of(vec![
        message("user"),
        nothing("robot"),
        message("tool"),
        nothing("assistant"),
        nothing("function"),
    ]);
    let expected =
        ["messages[1].role", "messages[1].content", "messages[2].tool_call_id", "messages[4].name"];
    assert_eq!(fields(&request), expected);
    assert_eq!(fields(&of(vec![])), ["messages"]);
    assert_eq!(fields(&Request { input: None, ..valid() }), ["messages"]);
}

fn part(kind: &str) -> ContentPart {
    ContentPart { r#type: kind.into(), ..ContentPart::default() }
}

fn with_parts(role: &str, parts: Vec<ContentPart>) -> Vec<String> {
    let content = Some(Content::Parts(ContentParts { parts }));
    let tool_call_id = Some("c".to_owned());
    fields(&of(vec![Message { content, tool_call_id, name: Some("f".into()), ..message(role) }]))
}

#[test]
fn parts_have_what_their_type_needs() {
    let image = |url: &str, detail: Option<&str>| ContentPart {
        image_url: Some(ImageUrl { url: url.into(), detail: detail.map(Into::into), ..ImageUrl::default() }),
        ..part("image_url")
    };
    let audio = |data: &str, format: &str| ContentPart {
        input_audio: Some(InputAudio { data: data.into(), format: format.into(), ..InputAudio::default() }),
        ..part("input_audio")
    };
    let text = ContentPart { text: Some(String::new()), ..part("text") };
    let file = ContentPart { file: Some(File::default()), ..part("file") };
    let fine = vec![text, image("data:,x", Some("low")), audio("AA==", "ogg"), file, part("video_url")];
    assert_eq!(with_parts("user", fine), Vec::<String>::new());
    let wrong = vec![
        part(""),
        part("text"),
        image("", None),
        image("x", Some("huge")),
        audio("", ""),
        part("file"),
        part("refusal"),
    ];
    let expected = [
        "[0].type",
        "[1].text",
        "[2].image_url.url",
        "[3].image_url.detail",
        "[4].input_audio.data",
        "[4].input_audio.format",
        "[5].file",
        "[6].type",
    ];
    assert_eq!(with_parts("user", wrong), expected.map(|field| format!("messages[0].content{field}")));
    assert_eq!(with_parts("user", vec![]), ["messages[0].content"]);
}

#[test]
fn each_role_has_its_types_of_parts() {
    let text = || ContentPart { text: Some("x".into()), ..part("text") };
    let refusal = || ContentPart { refusal: Some("no".into()), ..part("refusal") };
    let image = || ContentPart {
        image_url: Some(ImageUrl { url: "data:,x".into(), ..ImageUrl::default() }),
        ..part("image_url")
    };
    for (role, expected) in [
        ("user", vec![1]),
        ("assistant", vec![2]),
        ("system", vec![1, 2]),
        ("developer", vec![1, 2]),
        ("tool", vec![1, 2]),
        ("function", vec![1, 2]),
    ] {
        // What engines have of their own is theirs to judge.
        let found = with_parts(role, vec![text(), refusal(), image(), part("video_url")]);
        let expected: Vec<_> = expected.iter().map(|n| format!("messages[0].content[{n}].type")).collect();
        assert_eq!(found, expected, "{role}");
    }
}

#[test]
fn calls_that_were_made_are_whole() {
    let call = |kind: Option<&str>| ToolCall { r#type: kind.map(Into::into), ..ToolCall::default() };
    let function = |name: Option<&str>, arguments: Option<&str>| FunctionCall {
        name: name.map(Into::into),
        arguments: arguments.map(Into::into),
        ..FunctionCall::default()
    };
    let custom = CustomCall { name: Some("c".into()), input: Some(String::new()), ..CustomCall::default() };
    let calls = vec![
        call(None),
        call(Some("custom")),
        call(Some("other")),
        ToolCall { id: Some("c1".into()), function: Some(function(Some("f"), Some(""))), ..call(None) },
        ToolCall { id: Some("c2".into()), custom: Some(custom), ..call(Some("custom")) },
    ];
    let assistant =
        Message { tool_calls: calls, function_call: Some(function(Some("f"), None)), ..message("assistant") };
    let expected = [
        "tool_calls[0].id",
        "tool_calls[0].function.name",
        "tool_calls[0].function.arguments",
        "tool_calls[1].id",
        "tool_calls[1].custom.name",
        "tool_calls[1].custom.input",
        "tool_calls[2].id",
        "function_call.arguments",
    ];
    assert_eq!(fields(&of(vec![assistant])), expected.map(|field| format!("messages[0].{field}")));
}

#[test]
fn tools_have_names_and_forms() {
    let schema = |json: &str| {
        let mut tool = function("f");
        tool.function.as_mut().unwrap().parameters_json = Some(json.into());
        tool
    };
    let grammar = r#"{"type":"grammar","grammar":{"definition":"x","syntax":"lark"}}"#;
    let fine = vec![
        function("a-Z_09"),
        schema(" {}"),
        custom("any name.", Some(r#"{"type":"text"}"#)),
        custom("c", Some(grammar)),
        Tool { r#type: "web_search".into(), ..Tool::default() },
    ];
    assert_eq!(fields(&Request { tools: fine, ..valid() }), Vec::<String>::new());
    let wrong = vec![
        Tool::default(),
        function(""),
        function("with.dot"),
        function(&"x".repeat(65)),
        schema("[]"),
        custom("", None),
        custom("c", Some(r#"{"type":"grammar","grammar":{"syntax":"ebnf"}}"#)),
        custom("c", Some("{")),
    ];
    let expected = [
        "[0].type",
        "[1].function.name",
        "[2].function.name",
        "[3].function.name",
        "[4].function.parameters",
        "[5].custom.name",
        "[6].custom.format.grammar.definition",
        "[6].custom.format.grammar.syntax",
        "[7].custom.format",
    ];
    assert_eq!(fields(&Request { tools: wrong, ..valid() }), expected.map(|field| format!("tools{field}")));
    // Too many are not searched for what is named: callers without a key could make that expensive (A11).
    let named = r#"{"type":"function","function":{"name":"g"}}"#;
    let named = Request { tool_choice_json: Some(named.into()), ..valid() };
    assert_eq!(fields(&Request { tools: vec![function("f"); 129], ..named.clone() }), ["tools"]);
    assert_eq!(fields(&Request { tools: vec![function("f"); 128], ..named }), ["tool_choice.function.name"]);
}

#[test]
fn a_choice_of_tools_is_among_them() {
    let with = |json: &str| Request {
        tools: vec![function("f"), custom("c", None)],
        tool_choice_json: Some(json.into()),
        ..valid()
    };
    for json in [
        "\"none\"",
        "\"auto\"",
        "\"required\"",
        r#"{"type":"function","function":{"name":"f"}}"#,
        r#"{"type":"custom","custom":{"name":"c"}}"#,
        r#"{"type":"allowed_tools","allowed_tools":{"mode":"auto","tools":[{"type":"function","function":{"name":"f"}},{"type":"mcp"}]}}"#,
        r#"{"type":"web_search"}"#,
    ] {
        assert_eq!(fields(&with(json)), Vec::<String>::new(), "{json}");
    }
    for (json, expected) in [
        ("\"any\"", &["tool_choice"][..]),
        ("[]", &["tool_choice"]),
        ("{", &["tool_choice"]),
        ("{}", &["tool_choice.type"]),
        (r#"{"type":"function"}"#, &["tool_choice.function"]),
        (r#"{"type":"function","function":{}}"#, &["tool_choice.function.name"]),
        (r#"{"type":"function","function":{"name":"c"}}"#, &["tool_choice.function.name"]),
        (r#"{"type":"custom","custom":{"name":"f"}}"#, &["tool_choice.custom.name"]),
        (r#"{"type":"allowed_tools"}"#, &["tool_choice.allowed_tools"]),
        (
            r#"{"type":"allowed_tools","allowed_tools":{"mode":"none","tools":[1,{"type":"function","function":{"name":"g"}}]}}"#,
            &[
                "tool_choice.allowed_tools.mode",
                "tool_choice.allowed_tools.tools[0]",
                "tool_choice.allowed_tools.tools[1].function.name",
            ],
        ),
    ] {
        assert_eq!(fields(&with(json)), expected, "{json}");
    }
    let without = |json: &str| fields(&Request { tools: vec![], ..with(json) });
    assert!(without("\"auto\"").is_empty() && without("\"none\"").is_empty());
    assert_eq!(without("\"required\""), ["tool_choice"]);
    assert_eq!(without(r#"{"type":"function","function":{"name":"f"}}"#), ["tool_choice"]);
}

#[test]
fn the_deprecated_functions_are_checked_as_well() {
    let with = |functions: &str, call: &str| {
        fields(&Request {
            functions_json: Some(functions.into()),
            function_call_json: Some(call.into()),
            ..valid()
        })
    };
    let one = r#"[{"name":"f","description":"d","parameters":{}}]"#;
    assert!(with(one, "\"auto\"").is_empty() && with(one, r#"{"name":"f"}"#).is_empty());
    assert_eq!(with("[]", "\"none\""), ["functions"]);
    assert_eq!(with("{}", "\"none\""), ["functions"]);
    assert_eq!(
        with(r#"[{"name":"a b","parameters":[]},1]"#, r#"{"name":"g"}"#),
        ["functions[0].name", "functions[0].parameters", "functions[1]", "function_call.name"]
    );
    assert_eq!(with(one, "\"required\""), ["function_call"]);
}

type SetJson = fn(String) -> Request;
/// Texts and the fields that are wrong in each.
type Wrong = &'static [(&'static str, &'static [&'static str])];

fn refused(set: SetJson, json: &str) -> Vec<String> {
    fields(&set(json.into()))
}

#[test]
fn answers_have_formats_of_the_specification_or_of_an_engine() {
    let set: SetJson = |json| Request { response_format_json: Some(json), ..valid() };
    for json in [
        r#"{"type":"text"}"#,
        r#"{"type":"json_object"}"#,
        r#"{"type":"json_schema","json_schema":{"name":"a_b-1","schema":{"x":[1]},"strict":null}}"#,
        r#"{"type":"json_schema","json_schema":{"name":"a"}}"#,
        r#"{"type":"structural_tag","format":{}}"#,
    ] {
        assert_eq!(refused(set, json), Vec::<String>::new(), "{json}");
    }
    for (json, expected) in [
        ("{}", &["response_format.type"][..]),
        (r#"{"type":1}"#, &["response_format.type"]),
        (r#"{"type":"text","\u0074ype":"json_schema"}"#, &["response_format"]),
        ("\"json_object\"", &["response_format"]),
        (r#"{"type":"json_schema"}"#, &["response_format.json_schema"]),
        (r#"{"type":"json_schema","json_schema":{}}"#, &["response_format.json_schema.name"]),
        (
            r#"{"type":"json_schema","json_schema":{"name":"a b","description":1,"schema":[],"strict":"yes"}}"#,
            &[
                "response_format.json_schema.name",
                "response_format.json_schema.description",
                "response_format.json_schema.schema",
                "response_format.json_schema.strict",
            ],
        ),
    ] {
        assert_eq!(refused(set, json), expected, "{json}");
    }
    assert!(asks_for_schema(r#" {"x":1,"type":"json_schema"}"#));
    for json in [r#"{"type":"json_object"}"#, "{", "\"json_schema\"", r#"{"json_schema":{}}"#] {
        assert!(!asks_for_schema(json), "{json}");
    }
}

#[test]
fn rare_options_have_their_shapes() {
    let cases: [(SetJson, &[&str], Wrong); 4] = [
        (
            |json| Request { logit_bias_json: Some(json), ..valid() },
            &["{}", r#"{"50256":-100,"1":100,"2":0.5}"#],
            &[
                (
                    r#"{"1":-100.5,"2":1e999,"3":"x","4":101}"#,
                    &["logit_bias.1", "logit_bias.2", "logit_bias.3", "logit_bias.4"],
                ),
                ("[]", &["logit_bias"]),
            ],
        ),
        (
            |json| Request { audio_json: Some(json), ..valid() },
            &[r#"{"voice":"alloy","format":"wav"}"#, r#"{"voice":{"id":"v"},"format":"pcm16"}"#],
            &[
                ("{}", &["audio.voice", "audio.format"]),
                (r#"{"voice":{},"format":"ogg"}"#, &["audio.voice.id", "audio.format"]),
            ],
        ),
        (
            |json| Request { prediction_json: Some(json), ..valid() },
            &[
                r#"{"type":"content","content":"x"}"#,
                r#"{"type":"content","content":[{"type":"text","text":"x"}]}"#,
            ],
            &[
                ("{}", &["prediction.type", "prediction.content"]),
                (r#"{"type":"other","content":[]}"#, &["prediction.type", "prediction.content"]),
                (
                    r#"{"type":"content","content":[{"type":"image"}]}"#,
                    &["prediction.content[0].type", "prediction.content[0].text"],
                ),
            ],
        ),
        (
            |json| Request { web_search_options_json: Some(json), ..valid() },
            &[
                "{}",
                r#"{"search_context_size":"low","user_location":{"type":"approximate","approximate":{"city":"Bern"}}}"#,
                r#"{"user_location":null}"#,
            ],
            &[(
                r#"{"search_context_size":"all","user_location":{"approximate":{"city":1}}}"#,
                &[
                    "web_search_options.search_context_size",
                    "web_search_options.user_location.type",
                    "web_search_options.user_location.approximate.city",
                ],
            )],
        ),
    ];
    for (set, fine, wrong) in cases {
        for json in fine {
            assert_eq!(refused(set, json), Vec::<String>::new(), "{json}");
        }
        for (json, expected) in wrong {
            assert_eq!(refused(set, json), *expected, "{json}");
        }
    }
    let modalities = |list| fields(&Request { modalities: Some(list), ..valid() });
    assert!(modalities(texts(["text", "audio"])).is_empty());
    assert_eq!(modalities(texts(["text", "smell"])), ["modalities[1]"]);
    // Words that engines add to are theirs to judge.
    let words = Request {
        reasoning_effort: Some("ultra".into()),
        service_tier: Some("gold".into()),
        verbosity: Some("low".into()),
        ..valid()
    };
    assert!(fields(&words).is_empty());
}

#[test]
fn metadata_and_identifiers_are_bounded() {
    let with = |pairs: Vec<(String, String)>| {
        let pairs = pairs.into_iter().map(|(key, value)| MetadataPair { key, value }).collect();
        fields(&Request { metadata: Some(Metadata { pairs }), ..valid() })
    };
    let many = |count: usize| (0..count).map(|n| (n.to_string(), "é".repeat(512))).collect::<Vec<_>>();
    assert!(with(many(16)).is_empty());
    assert_eq!(with(many(17)), ["metadata"]);
    // The same where it is changed later.
    let pair = MetadataPair { key: "k".repeat(65), value: String::new() };
    assert_eq!(super::metadata(&Metadata { pairs: vec![pair] }).len(), 1);
    let long = "k".repeat(65);
    let pairs = [("a", "1"), ("a", "2"), (long.as_str(), ""), ("b", &*"v".repeat(513))];
    let found = with(pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).into());
    assert_eq!(found, ["metadata.a", &format!("metadata.{}", "k".repeat(64)), "metadata.b"]);
    let keys = |length| Request { prompt_cache_key: Some("k".repeat(length)), ..valid() };
    assert!(fields(&keys(64)).is_empty());
    assert_eq!(fields(&keys(65)), ["prompt_cache_key"]);
}

/// The facade makes its own; a caller by gRPC may say anything.
#[test]
fn what_a_response_is_kept_with_has_its_shape() {
    let with = |previous: &str, json: &str| {
        let (previous_response_id, request_json) = (Some(previous.to_owned()), Some(json.to_owned()));
        let has_instructions = false;
        let terms = ResponseTerms { previous_response_id, has_instructions, request_json };
        fields(&Request { response: Some(terms), ..valid() })
    };
    assert!(fields(&Request { response: Some(ResponseTerms::default()), ..valid() }).is_empty());
    assert!(with("resp_1", r#"{"tools":[]}"#).is_empty());
    assert_eq!(with(&"x".repeat(65), "{}"), ["response.previous_response_id"]);
    for json in ["", "null", "[]", "{} {}", "{\"a\":1,\"a\":2}"] {
        assert!(with("", json)[0].starts_with("response.request_json"), "{json}");
    }
}

#[test]
fn stop_is_one_to_four_sequences() {
    let with = |kind| fields(&Request { stop: Some(StopSequences { kind }), ..valid() });
    assert!(with(Some(Kind::Text(String::new()))).is_empty());
    assert!(with(Some(Kind::List(texts(["a", "b", "c", "d"])))).is_empty());
    assert_eq!(with(Some(Kind::List(texts([])))), ["stop"]);
    assert_eq!(with(Some(Kind::List(texts(["", "", "", "", ""])))), ["stop"]);
    assert_eq!(with(None), ["stop"]);
}

#[test]
fn unknown_members_are_bounded() {
    let mut request = valid();
    request.extensions = vec![Extension::default(); EXTENSIONS_MAX];
    assert!(fields(&request).is_empty());
    request.extensions.push(Extension { name: "x".repeat(100), json: "1".into() });
    assert_eq!(fields(&request), ["x".repeat(64)]);
}

#[test]
fn reports_are_bounded() {
    assert_eq!(fields(&of(vec![Message::default(); 10_000])).len(), VIOLATIONS_MAX);
}

proptest! {
    /// A caller by gRPC may put any text where JSON belongs.
    #[test]
    fn any_text_in_place_of_json_is_survived(json in "[\\[\\]{}\":,a-z0-9. \\\\]{0,40}") {
        let judged = ModerateRequest { input_json: json.clone(), ..ModerateRequest::default() };
        moderate_request(&judged);
        let json = Some(json);
        let request = Request {
            logit_bias_json: json.clone(),
            tool_choice_json: json.clone(),
            response_format_json: json.clone(),
            audio_json: json.clone(),
            prediction_json: json.clone(),
            web_search_options_json: json.clone(),
            functions_json: json.clone(),
            function_call_json: json.clone(),
            ..valid()
        };
        let violations = generate_request(&request);
        prop_assert!(violations.iter().all(|violation| !violation.message.is_empty()));
    }
}
