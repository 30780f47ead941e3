//! Requests in the words of responses: what they become, and what is refused.

use penstock_proto::inference::v1::{
    ContentPart, ContentParts, CustomTool, FunctionTool, ImageUrl, MetadataPair, Tool, ToolCall,
};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::responses::items::{Kind, Reference, conversation};

fn asked(request: &Value) -> Asked {
    super::read(request.to_string().as_bytes()).unwrap()
}

/// With these members beside a model and an input.
fn with(members: Value) -> Value {
    let mut request = json!({"model": "m", "input": "hi"});
    request.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    request
}

/// What is wrong with a request, in the words of this API.
fn violations(request: &Value) -> Vec<(String, String)> {
    match super::read(request.to_string().as_bytes()) {
        Err(Error::Invalid(found)) => {
            found.into_iter().map(|violation| (violation.field, violation.message)).collect()
        }
        other => panic!("{request}: {other:?}"),
    }
}

fn fields(request: &Value) -> Vec<String> {
    violations(request).into_iter().map(|(field, _)| field).collect()
}

#[test]
fn every_member_is_put_into_the_words_of_the_contract() {
    let asked = asked(&json!({
        "model": "m", "input": "hi", "instructions": "be kind", "max_output_tokens": 50, "temperature": 0.5,
        "top_p": 0.25, "top_logprobs": 3, "include": ["message.output_text.logprobs", "reasoning.encrypted_content"],
        "stream": true, "stream_options": {"include_obfuscation": false, "extra": 1}, "metadata": {"k": "v"},
        "parallel_tool_calls": false, "tool_choice": {"type": "function", "name": "f"},
        "tools": [
            {"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}, "strict": true},
            {"type": "custom", "name": "c", "format": {"type": "grammar", "definition": "a+", "syntax": "regex"}},
        ],
        "text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": true},
            "verbosity": "low"},
        "reasoning": {"effort": "high", "summary": "auto"}, "truncation": "disabled", "user": "u",
        "safety_identifier": "s", "prompt_cache_key": "p", "prompt_cache_retention": "24h", "service_tier": "flex",
        "max_tool_calls": 3, "previous_response_id": "resp_1", "seed": 7, "stop": "x", "presence_penalty": 1.0,
        "frequency_penalty": -1.0, "logit_bias": {"1": 2}, "top_k": 4, "conversation": null,
    }));
    let mut request = asked.request;
    let terms = request.response.take().unwrap();
    assert_eq!((terms.has_instructions, terms.previous_response_id.as_deref()), (true, Some("resp_1")));
    let extension = |name: &str, json: &str| Extension { name: name.into(), json: json.into() };
    let function = FunctionTool {
        name: "f".into(),
        description: Some("d".into()),
        parameters_json: Some(r#"{"type":"object"}"#.into()),
        strict: Some(true),
        extensions: vec![],
    };
    let custom = CustomTool {
        name: "c".into(),
        format_json: Some(r#"{"type":"grammar","grammar":{"definition":"a+","syntax":"regex"}}"#.into()),
        ..CustomTool::default()
    };
    let stop = penstock_proto::inference::v1::stop_sequences::Kind::Text("x".into());
    let expected = GenerateRequest {
        model: "m".into(),
        stream: true,
        stream_options: Some(StreamOptions {
            include_usage: Some(true),
            extensions: vec![extension("extra", "1")],
        }),
        temperature: Some(0.5),
        top_p: Some(0.25),
        max_completion_tokens: Some(50),
        stop: Some(StopSequences { kind: Some(stop) }),
        presence_penalty: Some(1.0),
        frequency_penalty: Some(-1.0),
        seed: Some(7),
        logprobs: Some(true),
        top_logprobs: Some(3),
        logit_bias_json: Some(r#"{"1":2}"#.into()),
        user: Some("u".into()),
        store: Some(true),
        metadata: Some(Metadata { pairs: vec![MetadataPair { key: "k".into(), value: "v".into() }] }),
        tools: vec![
            Tool { r#type: "function".into(), function: Some(function), ..Tool::default() },
            Tool { r#type: "custom".into(), custom: Some(custom), ..Tool::default() },
        ],
        tool_choice_json: Some(r#"{"type":"function","function":{"name":"f"}}"#.into()),
        parallel_tool_calls: Some(false),
        response_format_json: Some(
            r#"{"type":"json_schema","json_schema":{"name":"n","schema":{"type":"object"},"strict":true}}"#
                .into(),
        ),
        reasoning_effort: Some("high".into()),
        service_tier: Some("flex".into()),
        verbosity: Some("low".into()),
        prompt_cache_key: Some("p".into()),
        safety_identifier: Some("s".into()),
        extensions: vec![extension("top_k", "4")],
        ..GenerateRequest::default()
    };
    assert_eq!(request, expected);
    let instructions = asked.instructions.unwrap();
    assert_eq!(
        (instructions.role.as_str(), instructions.content),
        ("system", Some(Content::Text("be kind".into())))
    );
    assert_eq!(conversation(asked.items).len(), 1);
    assert!(!asked.background);
}

/// A6: numbers keep the text in which they came.
#[test]
fn what_was_asked_is_given_back_to_the_letter() {
    let body = br#"{"model":"m","input":[{"role":"user","content":"secret"}],"temperature":0.70,
        "text": {"verbosity":"low"}, "tools":[],"metadata":{"a":"\u0062"},"store":false,"unknown":1}"#;
    let terms = super::read(body).unwrap().request.response.unwrap();
    let echo = terms.request_json.unwrap();
    for part in
        [r#""temperature":0.70"#, r#""text":{"verbosity":"low"}"#, r#"{"a":"\u0062"}"#, r#""store":false"#]
    {
        assert!(echo.contains(part), "{part}: {echo}");
    }
    assert!(!echo.contains("secret") && !echo.contains("unknown"), "{echo}");
}

#[test]
fn what_nobody_said_is_not_asked_but_to_be_kept() {
    let request = asked(&json!({"model": "m", "input": "hi"})).request;
    let expected = GenerateRequest { model: "m".into(), store: Some(true), ..GenerateRequest::default() };
    assert_eq!(GenerateRequest { response: None, ..request }, expected);
    let nulls = json!({"model": "m", "input": "hi", "tools": null, "text": null, "reasoning": null, "stream": null,
        "stream_options": null, "include": null, "tool_choice": null, "metadata": null, "store": null,
        "background": null, "conversation": null, "prompt": null, "truncation": null, "top_logprobs": null});
    assert_eq!(GenerateRequest { response: None, ..asked(&nulls).request }, expected);
    assert_eq!(asked(&with(json!({"store": false}))).request.store, Some(false));
    // Text is what comes anyway; and without log probabilities nobody needs the number of them.
    let request = asked(&with(json!({"text": {"format": {"type": "text"}}, "top_logprobs": 0}))).request;
    assert_eq!((request.response_format_json, request.top_logprobs, request.logprobs), (None, None, None));
}

#[test]
fn which_tools_may_be_called_is_said_as_chat_says_it() {
    let tools = json!([{"type": "function", "name": "f"}, {"type": "custom", "name": "c"}]);
    for (choice, expected) in [
        (json!("auto"), r#""auto""#),
        (json!("required"), r#""required""#),
        (json!({"type": "custom", "name": "c"}), r#"{"type":"custom","custom":{"name":"c"}}"#),
        (
            json!({"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]}),
            r#"{"type":"allowed_tools","allowed_tools":{"mode":"auto","tools":[{"type":"function","function":{"name":"f"}}]}}"#,
        ),
    ] {
        let request = asked(&with(json!({"tools": tools, "tool_choice": choice}))).request;
        assert_eq!(request.tool_choice_json.as_deref(), Some(expected));
    }
    for (choice, field) in [
        (json!({"type": "function", "name": "g"}), "tool_choice.name"),
        (json!({"type": "function", "function": {"name": "f"}}), "tool_choice.function"),
        (json!({"type": "web_search"}), "tool_choice.type"),
        (json!({"name": "f"}), "tool_choice.type"),
        (json!({"type": "function", "name": 1}), "tool_choice"),
        (json!({"type": "allowed_tools", "mode": "x", "tools": []}), "tool_choice.mode"),
        (
            json!({"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "g"}]}),
            "tool_choice.tools[0].name",
        ),
        (
            json!({"type": "allowed_tools", "mode": "auto", "tools": [{"type": "mcp"}]}),
            "tool_choice.tools[0].type",
        ),
    ] {
        let found = fields(&with(json!({"tools": tools, "tool_choice": choice})));
        assert_eq!(found.first().map(String::as_str), Some(field), "{choice}: {found:?}");
    }
}

#[test]
fn what_cannot_be_done_is_refused_by_name() {
    for (members, field) in [
        (json!({"truncation": "auto"}), "truncation"),
        (json!({"conversation": "conv_1"}), "conversation"),
        (json!({"prompt": {"id": "pmpt_1"}}), "prompt"),
        (json!({"context_management": []}), "context_management"),
        (json!({"include": ["everything"]}), "include[0]"),
        (json!({"tools": [{"type": "web_search"}]}), "tools[0].type"),
        (json!({"tools": [{"type": "mcp", "server_url": "x"}]}), "tools[0].type"),
        (json!({"tools": [{"type": "function", "name": "a b"}]}), "tools[0].name"),
        (json!({"tools": [{"type": "function", "name": "f", "parameters": 1}]}), "tools[0].parameters"),
        (
            json!({"tools": [{"type": "custom", "name": "f", "format": {"type": "grammar", "definition": "x",
                "syntax": "ebnf"}}]}),
            "tools[0].format.syntax",
        ),
        (json!({"tools": [{"name": "f"}]}), "tools[0].type"),
        (json!({"text": {"format": {"type": "json_schema", "schema": {}}}}), "text.format.name"),
        (json!({"text": {"format": {"name": "x"}}}), "text.format.type"),
        (json!({"text": {"verbosity": "loud"}}), "text.verbosity"),
        (json!({"text": {"color": "red"}}), "text.color"),
        (json!({"reasoning": {"summary": "long"}}), "reasoning.summary"),
        (json!({"reasoning": {"budget": 1}}), "reasoning.budget"),
        (json!({"max_output_tokens": 0}), "max_output_tokens"),
        (json!({"temperature": 3}), "temperature"),
        (json!({"top_logprobs": 21}), "top_logprobs"),
        (json!({"max_tool_calls": 0}), "max_tool_calls"),
        (json!({"prompt_cache_retention": "forever"}), "prompt_cache_retention"),
        (json!({"stream_options": {}}), "stream_options"),
        (json!({"model": ""}), "model"),
        (json!({"input": null}), "input"),
        (json!({"input": []}), "input"),
        (json!({"n": 2}), "n"),
        (json!({"max_tokens": 2}), "max_output_tokens"),
        (json!({"messages": []}), "input"),
        (json!({"response_format": {"type": "json_object"}}), "text.format"),
        // Of another shape.
        (json!({"input": 1}), "input"),
        (json!({"input": [1]}), "input[0]"),
        (
            json!({"input": [{"role": "user", "content": [{"type": "input_text", "text": 1}]}]}),
            "input[0].content[0].text",
        ),
        (json!({"temperature": "hot"}), "temperature"),
        (json!({"tools": [{"type": "function", "name": "f", "strict": "yes"}]}), "tools[0].strict"),
        (json!({"background": "yes"}), "background"),
    ] {
        let found = fields(&with(members.clone()));
        assert_eq!(found, [field], "{members}");
        // As it goes out, once more through the names of this API.
        assert_eq!(crate::responses::field(field.to_owned()), field);
    }
}

/// What an engine would take for a member of the chat that it is asked in is either read here or refused.
#[test]
fn no_member_of_chat_goes_on_unread() {
    for (member, _) in <GenerateRequest as crate::json::object::Object>::MEMBERS {
        let typed = <Body as crate::json::object::Object>::MEMBERS.iter().any(|(known, _)| known == member);
        let refused = || super::read(with(json!({*member: {"x": 1}})).to_string().as_bytes()).is_err();
        assert!(typed || refused(), "{member}");
    }
}

#[test]
fn every_mistake_is_said_at_once() {
    let found = fields(&json!({
        "model": 1, "temperature": 3, "truncation": "auto", "max_output_tokens": 0,
        "input": [{"role": "user", "content": [{"type": "input_image"}]}, {"type": "web_search_call"}, {"role": "tool"}],
    }));
    for field in [
        "model",
        "temperature",
        "truncation",
        "max_output_tokens",
        "input[0].content[0].image_url",
        "input[1].type",
        "input[2].role",
    ] {
        assert!(found.iter().any(|known| known == field), "{field}: {found:?}");
    }
    assert_eq!(found.len(), 7, "{found:?}");
}

/// What SDKs send back: items of an answer as they were given, with all their members.
#[test]
fn items_of_an_answer_come_back_as_they_were_given() {
    let asked = asked(&json!({"model": "m", "input": [
        {"role": "user", "content": [{"type": "input_text", "text": "look"},
            {"type": "input_image", "image_url": "data:image/png;base64,AA==", "detail": "low"}]},
        {"id": "rs_1", "type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}],
            "encrypted_content": null, "status": null},
        {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "phase": null,
            "content": [{"type": "output_text", "text": "ok", "annotations": [], "logprobs": []}]},
        {"id": "fc_1", "type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}", "status": "completed",
            "extra_content": {"x": 1}},
        {"id": "ctc_1", "type": "custom_tool_call", "call_id": "c2", "name": "g", "input": "in"},
        {"type": "function_call_output", "call_id": "c1", "output": "42"},
        {"type": "custom_tool_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "43"}]},
        {"role": "developer", "content": "short"},
    ]}));
    let messages = conversation(asked.items);
    let roles: Vec<_> = messages.iter().map(|message| message.role.as_str()).collect();
    assert_eq!(roles, ["user", "assistant", "tool", "tool", "developer"]);
    let [user, assistant, first, second, _] = messages.as_slice() else { panic!() };
    let image = ImageUrl {
        url: "data:image/png;base64,AA==".into(),
        detail: Some("low".into()),
        ..ImageUrl::default()
    };
    let parts = vec![
        ContentPart { r#type: "text".into(), text: Some("look".into()), ..ContentPart::default() },
        ContentPart { r#type: "image_url".into(), image_url: Some(image), ..ContentPart::default() },
    ];
    assert_eq!(user.content, Some(Content::Parts(ContentParts { parts })));
    assert_eq!(assistant.reasoning.as_deref(), Some("hm"));
    assert_eq!(assistant.content, Some(Content::Text("ok".into())));
    let [function, custom] = assistant.tool_calls.as_slice() else { panic!() };
    assert_eq!((function.id.as_deref(), Kind::of(function)), (Some("c1"), Kind::Function));
    assert_eq!(function.extensions[0].json, r#"{"x":1}"#);
    assert_eq!((custom.id.as_deref(), Kind::of(custom)), (Some("c2"), Kind::Custom));
    assert_eq!(
        (first.tool_call_id.as_deref(), &first.content),
        (Some("c1"), &Some(Content::Text("42".into())))
    );
    assert_eq!(
        (second.tool_call_id.as_deref(), &second.content),
        (Some("c2"), &Some(Content::Text("43".into())))
    );
    assert!(assistant.tool_calls.iter().all(|call: &ToolCall| call.r#type.is_some()));
}

#[test]
fn items_are_judged_by_their_places() {
    for (item, field) in [
        (json!({"type": "image_generation_call", "id": "x"}), "type"),
        (json!({"role": "tool", "content": "x"}), "role"),
        (json!({"content": "x"}), "role"),
        (json!({"role": "user"}), "content"),
        (json!({"role": "user", "content": []}), "content"),
        (json!({"role": "user", "content": [{"text": "x"}]}), "content[0].type"),
        (json!({"role": "user", "content": [{"type": "input_text"}]}), "content[0].text"),
        (json!({"role": "user", "content": [{"type": "refusal", "refusal": "x"}]}), "content[0].type"),
        (json!({"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}), "content[0].file_id"),
        (
            json!({"role": "user", "content": [{"type": "input_image", "image_url": "u", "detail": "x"}]}),
            "content[0].detail",
        ),
        (
            json!({"role": "user", "content": [{"type": "input_file", "file_url": "u"}]}),
            "content[0].file_url",
        ),
        (json!({"role": "user", "content": [{"type": "input_file"}]}), "content[0].file_data"),
        (json!({"role": "user", "content": [{"type": "input_audio"}]}), "content[0].input_audio"),
        (
            json!({"role": "assistant", "content": [{"type": "input_image", "image_url": "u"}]}),
            "content[0].type",
        ),
        (json!({"type": "function_call", "call_id": "c", "name": "f"}), "arguments"),
        (json!({"type": "function_call", "name": "f", "arguments": ""}), "call_id"),
        (json!({"type": "custom_tool_call", "call_id": "c", "input": ""}), "name"),
        (json!({"type": "function_call_output", "output": "x"}), "call_id"),
        (json!({"type": "function_call_output", "call_id": "c"}), "output"),
        (
            json!({"type": "function_call_output", "call_id": "c", "output": [{"type": "input_image", "image_url": "u"}]}),
            "output[0].type",
        ),
        (json!({"role": "assistant", "content": "x", "tool_calls": [{}]}), "tool_calls"),
        (
            json!({"type": "function_call", "call_id": "c", "name": "f", "arguments": "", "function": {}}),
            "function",
        ),
        (
            json!({"role": "user", "content": [{"type": "input_file", "file_data": "x", "file": {}}]}),
            "content[0].file",
        ),
        (json!({"type": "item_reference"}), "id"),
        (json!({"type": "item_reference", "id": "msg_1"}), "id"),
    ] {
        let request = json!({"model": "m", "input": [{"role": "user", "content": "x"}, item]});
        assert_eq!(fields(&request), [format!("input[1].{field}")], "{request}");
    }
}

#[test]
fn an_item_that_has_only_an_id_is_a_reference() {
    let id = "fc_0123456789abcdef0123456789abcdef_12";
    let expected = Item::Reference(Reference {
        response_id: "resp_0123456789abcdef0123456789abcdef".into(),
        kind: Kind::Function,
        index: 12,
        field: "input[0].id".into(),
    });
    for item in
        [json!({"id": id}), json!({"type": "item_reference", "id": id}), json!({"type": null, "id": id})]
    {
        let items = asked(&json!({"model": "m", "input": [item]})).items;
        assert_eq!(items.as_slice(), std::slice::from_ref(&expected));
    }
}

proptest! {
    /// A1, A2: whatever comes is read or refused.
    #[test]
    fn any_text_is_survived(text in "[\\[\\]{}\":,a-z0-9_ ]{0,60}") {
        let _ = super::read(text.as_bytes());
        let _ = super::read(format!("{{\"model\":\"m\",\"input\":{text}}}").as_bytes());
        let _ = super::read(format!("{{\"model\":\"m\",\"input\":\"x\",\"tool_choice\":{text}}}").as_bytes());
    }

    /// Fields go through the names of this API more than once.
    #[test]
    fn names_of_fields_are_stable(field in "(messages|tools|tool_choice|response_format|verbosity|reasoning_effort|max_tokens|input|text)(\\[[0-9]\\]|\\.[a-z]{1,4}|\\.function|\\.custom|\\.json_schema|\\.allowed_tools|\\.name){0,4}") {
        let once = crate::responses::field(field);
        prop_assert_eq!(crate::responses::field(once.clone()), once);
    }
}
