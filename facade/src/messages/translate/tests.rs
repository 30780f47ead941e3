//! Requests in the words of the contract, and what is wrong with them under the names that they have.

use penstock_proto::inference::v1::{Message, StopSequences, message::Content, stop_sequences::Kind};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn request(members: Value) -> Value {
    let mut body = json!({"model": "m", "max_tokens": 16, "messages": [{"role": "user", "content": "Hi"}]});
    body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    body
}

fn translated(members: Value) -> GenerateRequest {
    read(request(members).to_string().as_bytes()).unwrap().request
}

fn messages(turns: Value) -> Vec<Message> {
    match translated(json!({"messages": turns})).input {
        Some(Input::Chat(chat)) => chat.messages,
        other => panic!("{other:?}"),
    }
}

/// What is wrong: `field: message` of each.
fn refused(members: Value) -> Vec<String> {
    let error = read(request(members).to_string().as_bytes()).unwrap_err();
    let Error::Invalid(found) = error else { panic!("{error:?}") };
    found.into_iter().map(|found| format!("{}: {}", found.field, found.message)).collect()
}

fn user(content: Value) -> Value {
    json!({"messages": [{"role": "user", "content": content}]})
}

fn text(message: &Message) -> &str {
    match &message.content {
        Some(Content::Text(text)) => text,
        other => panic!("{other:?}"),
    }
}

#[test]
fn members_have_their_fields() {
    let request = translated(json!({
        "system": "Be brief.", "stream": true, "temperature": 0.5, "top_p": 0.9, "top_k": 40,
        "stop_sequences": ["END", "\n", "c", "d"], "metadata": {"user_id": "u"}, "service_tier": "standard_only",
        "tools": [{"name": "f", "description": "d", "input_schema": {"type": "object"}, "cache_control": {"type": "ephemeral"}}],
        "tool_choice": {"type": "tool", "name": "f", "disable_parallel_tool_use": true},
        "output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}},
    }));
    assert_eq!(
        (request.model.as_str(), request.max_completion_tokens, request.stream),
        ("m", Some(16), true)
    );
    assert_eq!(request.stream_options.unwrap().include_usage, Some(true));
    assert_eq!((request.temperature, request.top_p), (Some(0.5), Some(0.9)));
    let list = ["END", "\n", "c", "d"].map(str::to_owned).into();
    let list = penstock_proto::inference::v1::TextList { values: list };
    assert_eq!(request.stop, Some(StopSequences { kind: Some(Kind::List(list)) }));
    assert_eq!((request.user.as_deref(), request.service_tier.as_deref()), (Some("u"), Some("default")));
    let function = request.tools[0].function.as_ref().unwrap();
    assert_eq!((function.name.as_str(), function.description.as_deref()), ("f", Some("d")));
    assert_eq!(function.parameters_json.as_deref(), Some(r#"{"type":"object"}"#));
    assert_eq!(request.tools[0].extensions[0].name, "cache_control");
    let parsed = |json: &Option<String>| serde_json::from_str::<Value>(json.as_deref().unwrap()).unwrap();
    assert_eq!(parsed(&request.tool_choice_json), json!({"type": "function", "function": {"name": "f"}}));
    assert_eq!(request.parallel_tool_calls, Some(false));
    assert_eq!(
        parsed(&request.response_format_json),
        json!({"type": "json_schema", "json_schema": {"name": "answer", "strict": true, "schema": {"type": "object"}}})
    );
    assert_eq!(request.optional_extensions, ["cache_control"]);
    // What nobody here knows goes on to the engine.
    let others: Vec<_> =
        request.extensions.iter().map(|one| (one.name.as_str(), one.json.as_str())).collect();
    assert_eq!(others, [("top_k", "40")]);
    let Some(Input::Chat(chat)) = request.input else { panic!() };
    assert_eq!((chat.messages[0].role.as_str(), text(&chat.messages[0])), ("system", "Be brief."));
    assert_eq!((chat.messages[1].role.as_str(), text(&chat.messages[1])), ("user", "Hi"));
}

#[test]
fn what_is_not_given_is_not_set() {
    assert_eq!(translated(json!({"n": null})).n, None);
    let keeping = json!({"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]});
    let request = translated(json!({
        "stop_sequences": [], "tools": null, "mcp_servers": [], "metadata": {}, "context_management": keeping,
    }));
    let input = request.input.clone();
    let expected = GenerateRequest {
        model: "m".into(),
        max_completion_tokens: Some(16),
        input,
        ..GenerateRequest::default()
    };
    assert_eq!(request, expected);
}

#[test]
fn choices_of_tools_have_their_words() {
    let tools = json!([{"name": "f", "input_schema": {"type": "object"}}]);
    for (choice, word) in [("auto", "\"auto\""), ("any", "\"required\""), ("none", "\"none\"")] {
        let request = translated(json!({"tools": tools, "tool_choice": {"type": choice}}));
        assert_eq!(request.tool_choice_json.as_deref(), Some(word));
        assert_eq!(request.parallel_tool_calls, None);
    }
}

/// The word for engines that know words; the caller's own member for those that know it.
#[test]
fn thinking_becomes_an_effort_and_stays_what_it_is() {
    let of = |thinking: Value, effort: Value| {
        let request = translated(
            json!({"max_tokens": 65536, "thinking": thinking, "output_config": {"effort": effort}}),
        );
        let thinking = request.extensions.iter().find(|extension| extension.name == "thinking");
        assert_eq!(request.optional_extensions.contains(&"thinking".to_owned()), thinking.is_some());
        let thinking = thinking.map(|found| serde_json::from_str::<Value>(&found.json).unwrap());
        (request.reasoning_effort, thinking)
    };
    for (budget, word) in
        [(1024, "low"), (2048, "low"), (2049, "medium"), (8192, "medium"), (16384, "high"), (16385, "xhigh")]
    {
        let thinking = json!({"type": "enabled", "budget_tokens": budget});
        assert_eq!(of(thinking.clone(), Value::Null), (Some(word.into()), Some(thinking)));
    }
    let adaptive = json!({"type": "adaptive", "display": "omitted"});
    assert_eq!(of(adaptive.clone(), json!("low")), (Some("low".into()), Some(adaptive.clone())));
    assert_eq!(of(adaptive.clone(), Value::Null), (Some("high".into()), Some(adaptive)));
    let disabled = json!({"type": "disabled"});
    assert_eq!(of(disabled.clone(), Value::Null), (Some("none".into()), Some(disabled)));
    assert_eq!(of(Value::Null, json!("medium")), (Some("medium".into()), None));
    assert_eq!(of(Value::Null, Value::Null), (None, None));
}

#[test]
fn results_of_tools_are_messages_before_the_rest_of_their_turn() {
    let messages = messages(json!([
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": [
            {"type": "text", "text": "Let me see."},
            {"type": "tool_use", "id": "t1", "name": "f", "input": {"city": "Oslo"}},
            {"type": "tool_use", "id": "t2", "name": "f", "input": {}},
        ]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "t1", "content": "5 °C"},
            {"type": "tool_result", "tool_use_id": "t2", "is_error": true, "content": [{"type": "text", "text": "no city"}]},
            {"type": "text", "text": "Go on."},
        ]},
        {"role": "assistant", "content": [{"type": "text", "text": "It is"}]},
    ]));
    let roles: Vec<_> = messages.iter().map(|message| message.role.as_str()).collect();
    assert_eq!(roles, ["user", "assistant", "tool", "tool", "user", "assistant"]);
    let call = &messages[1].tool_calls[0];
    assert_eq!((text(&messages[1]), call.id.as_deref()), ("Let me see.", Some("t1")));
    let function = call.function.as_ref().unwrap();
    assert_eq!(
        (function.name.as_deref(), function.arguments.as_deref()),
        (Some("f"), Some(r#"{"city":"Oslo"}"#))
    );
    assert_eq!((text(&messages[2]), messages[2].tool_call_id.as_deref()), ("5 °C", Some("t1")));
    assert_eq!((text(&messages[3]), messages[3].tool_call_id.as_deref()), ("Error: no city", Some("t2")));
    assert_eq!((text(&messages[4]), text(&messages[5])), ("Go on.", "It is"));
}

#[test]
fn a_failed_tool_says_so_once_and_an_empty_result_is_empty() {
    let said = |result: Value| {
        let mut block = json!({"type": "tool_result", "tool_use_id": "t"});
        block.as_object_mut().unwrap().extend(result.as_object().unwrap().clone());
        text(&messages(json!([{"role": "user", "content": [block]}]))[0]).to_owned()
    };
    assert_eq!(said(json!({})), "");
    assert_eq!(said(json!({"is_error": true})), "Error");
    assert_eq!(said(json!({"is_error": true, "content": "error: x"})), "error: x");
    assert_eq!(said(json!({"is_error": false, "content": "x"})), "x");
}

/// A result is text in the contract; what it shows is not lost.
#[test]
fn images_of_a_result_follow_it() {
    let image =
        json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}});
    let messages = messages(json!([{"role": "user", "content": [
        {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "a picture"}, image]},
    ]}]));
    assert_eq!((messages.len(), text(&messages[0])), (2, "a picture"));
    let Some(Content::Parts(parts)) = &messages[1].content else { panic!() };
    assert_eq!(parts.parts[0].text.as_deref(), Some("From the result of t:"));
    assert_eq!(parts.parts[1].image_url.as_ref().unwrap().url, "data:image/png;base64,AAAA");
}

#[test]
fn images_and_documents_become_parts() {
    let messages = messages(json!([{"role": "user", "content": [
        {"type": "image", "source": {"type": "url", "url": "https://x/y.png"}, "cache_control": {"type": "ephemeral"}},
        {"type": "document", "title": "T", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}},
        {"type": "document", "title": "T", "context": "C", "source": {"type": "text", "media_type": "text/plain", "data": "D"}},
        {"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "E"}]}},
    ]}]));
    let Some(Content::Parts(parts)) = &messages[0].content else { panic!() };
    let [image, pdf, plain, blocks] = parts.parts.as_slice() else { panic!("{parts:?}") };
    assert_eq!(image.image_url.as_ref().unwrap().url, "https://x/y.png");
    assert_eq!(image.extensions[0].name, "cache_control");
    let file = pdf.file.as_ref().unwrap();
    assert_eq!(file.file_data.as_deref(), Some("data:application/pdf;base64,JVBERi0="));
    assert_eq!(file.filename.as_deref(), Some("T"));
    assert_eq!((plain.text.as_deref(), blocks.text.as_deref()), (Some("T\n\nC\n\nD"), Some("E")));
}

/// Only what an engine signed is given back as it was: no other knows the block.
#[test]
fn reasoning_goes_back_with_its_signatures() {
    let signed = json!({"type": "thinking", "thinking": "one ", "signature": "s"});
    let hidden = json!({"type": "redacted_thinking", "data": "x"});
    let messages = messages(json!([
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": [signed, hidden, {"type": "thinking", "thinking": "two", "signature": ""}, {"type": "text", "text": "Ho"}]},
        {"role": "user", "content": "And?"},
    ]));
    assert_eq!(messages[1].reasoning.as_deref(), Some("one two"));
    let blocks = &messages[1].extensions[0];
    assert_eq!(blocks.name, "thinking_blocks");
    assert_eq!(serde_json::from_str::<Value>(&blocks.json).unwrap(), json!([signed, hidden]));
}

#[test]
fn what_is_wrong_has_its_place() {
    let tool = json!({"name": "f", "input_schema": {}});
    for (members, expected) in [
        (json!({"max_tokens": null}), "max_tokens: is required"),
        (json!({"model": null, "temperature": 1.5}), "temperature: must be from 0 to 1"),
        (json!({"messages": []}), "messages: must have at least one message"),
        (
            json!({"messages": [{"role": "system", "content": "x"}]}),
            "messages[0].role: must be user or assistant: what the system says stands in `system`",
        ),
        (json!({"n": 2}), "n: is a member of chat completions, and none here: leave it out"),
        (json!({"max_completion_tokens": 9}), "max_tokens: is what max_completion_tokens is called here"),
        (json!({"stop": ["x"]}), "stop_sequences: is what stop is called here"),
        (
            json!({"messages": [{"role": "assistant", "content": "x", "tool_calls": []}]}),
            "messages[0].tool_calls: is not known to this API: leave it out",
        ),
        (json!({"system": [{"type": "image"}]}), "system[0].type: must be text in system"),
        (user(json!([])), "messages[0].content: must have at least one block"),
        (user(json!([{"type": "text"}])), "messages[0].content[0].text: is required"),
        (user(json!([{"type": "tool_result"}])), "messages[0].content[0].tool_use_id: is required"),
        (
            user(json!([{"type": "image", "source": {"type": "base64", "data": "x"}}])),
            "messages[0].content[0].source.media_type: is required",
        ),
        (
            user(json!([{"type": "image", "source": {"type": "file", "file_id": "x"}}])),
            "messages[0].content[0].source.type: must be base64 or url: no files are kept here",
        ),
        (
            user(json!([{"type": "document", "source": {"type": "url", "url": "https://x"}}])),
            "messages[0].content[0].source.type: must be base64, text or content: nothing is fetched for a document here",
        ),
        (
            user(
                json!([{"type": "document", "citations": {"enabled": true}, "source": {"type": "text", "data": "x"}}]),
            ),
            "messages[0].content[0].citations.enabled: no engine's citations are passed on: leave it out",
        ),
        (
            json!({"messages": [{"role": "assistant", "content": [{"type": "tool_use", "id": "x", "name": "f"}]}]}),
            "messages[0].content[0].input: is required",
        ),
        (
            json!({"tools": [tool, {"type": "web_search_20250305", "name": "web_search"}]}),
            "tools[1].type: must be custom: the provider's own tools do not exist here; give a tool of yours with an input_schema",
        ),
        (json!({"tools": [{"name": "f"}]}), "tools[0].input_schema: is required"),
        (json!({"tools": [tool], "tool_choice": {"type": "tool"}}), "tool_choice.name: is required"),
        (
            json!({"thinking": {"type": "enabled", "budget_tokens": 1000}}),
            "thinking.budget_tokens: must be at least 1024",
        ),
        (
            json!({"thinking": {"type": "enabled", "budget_tokens": 1024}}),
            "thinking.budget_tokens: must be below max_tokens",
        ),
        (json!({"service_tier": "priority"}), "service_tier: must be auto or standard_only"),
        (
            json!({"mcp_servers": [{}]}),
            "mcp_servers: no servers of tools are called here: offer their tools in `tools`, and call them yourself",
        ),
        (
            json!({"context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}}),
            "context_management: no context is edited here: leave it out, and shorten the conversation yourself",
        ),
        (json!({"container": "c"}), "container: no code is run here: leave it out"),
        (
            json!({"output_config": {"task_budget": {}}}),
            "output_config.task_budget: is not known here: leave it out",
        ),
        (json!({"output_format": {"type": "json_schema"}}), "output_format.schema: is required"),
    ] {
        let found = refused(members.clone());
        assert!(found.contains(&expected.to_owned()), "{members}: {found:?}");
    }
}

/// Shapes, what this API asks for and what the mesh will ask for are told at once, under its names.
#[test]
fn everything_is_told_at_once() {
    let found = refused(json!({
        "max_tokens": 1.5, "temperature": 2, "stop_sequences": ["a", "b", "c", "d", "e"],
        "messages": [{"role": "user", "content": [{"type": "text"}, {"type": "image", "source": 7}]}],
        "tools": [{"name": "not a name", "input_schema": {"type": "object"}}], "tool_choice": {"type": "tool", "name": "g"},
    }));
    for field in [
        "max_tokens: must be a whole number",
        "temperature: must be from 0 to 1",
        "stop_sequences: must have from 1 to 4 sequences",
        "messages[0].content[0].text: is required",
        "messages[0].content[1].source: must be an object",
        "tools[0].name: must be letters, digits, _ and -, at most 64 of them",
        "tool_choice.name: must be the name of a function among the tools",
    ] {
        assert!(found.contains(&field.to_owned()), "{field}: {found:#?}");
    }
    assert_eq!(found.len(), 7, "{found:#?}");
}

/// A6, A9: exact numbers, and no member twice.
#[test]
fn a_member_is_not_given_twice() {
    let error =
        read(br#"{"model":"m","model":"n","max_tokens":1,"messages":[{"role":"user","content":"x"}]}"#);
    let Err(Error::Invalid(found)) = error else { panic!("{error:?}") };
    assert_eq!((found[0].field.as_str(), found[0].message.as_str()), ("model", "is given twice"));
    assert!(matches!(read(b"{"), Err(Error::Malformed(_))));
}

#[test]
fn tokens_are_counted_without_a_bound_and_without_a_stream() {
    let body =
        json!({"model": "m", "stream": true, "messages": [{"role": "user", "content": "x"}]}).to_string();
    let request = read_to_count(body.as_bytes()).unwrap().request;
    assert_eq!((request.stream, request.stream_options, request.max_completion_tokens), (false, None, None));
    assert!(read(body.as_bytes()).is_err());
}

/// Values of any shape under the names that mean something.
fn anything() -> impl Strategy<Value = Value> {
    let words = [
        "user",
        "assistant",
        "text",
        "image",
        "document",
        "tool_use",
        "tool_result",
        "thinking",
        "redacted_thinking",
        "base64",
        "content",
        "enabled",
        "tool",
        "application/pdf",
        "",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        prop::sample::select(words.to_vec()).prop_map(Value::from),
    ];
    let names = [
        "type",
        "role",
        "text",
        "source",
        "content",
        "messages",
        "system",
        "id",
        "name",
        "input",
        "tool_use_id",
        "thinking",
        "signature",
        "data",
        "media_type",
        "tools",
        "tool_choice",
        "input_schema",
        "budget_tokens",
        "output_config",
        "format",
        "schema",
        "metadata",
        "max_tokens",
        "model",
        "is_error",
        "citations",
        "other",
    ];
    leaf.prop_recursive(6, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(prop::sample::select(names.to_vec()), inner, 0..6)
                .prop_map(|members| json!(members)),
        ]
    })
}

proptest! {
    /// What is taken has a place for each message; what is not is refused with at least one reason.
    #[test]
    fn any_body_is_translated_or_refused(members in anything(), turns in prop::collection::vec(anything(), 0..4)) {
        let mut body = request(json!({}));
        for (name, value) in members.as_object().into_iter().flatten() {
            body[name] = value.clone();
        }
        for turn in turns {
            body["messages"] = json!([{"role": "user", "content": [turn]}, {"role": "assistant", "content": [turn]}]);
            match read(body.to_string().as_bytes()) {
                Ok(translated) => {
                    let Some(Input::Chat(chat)) = translated.request.input else { panic!() };
                    prop_assert_eq!(chat.messages.len(), translated.places.0.len());
                }
                Err(Error::Invalid(found)) => prop_assert!(!found.is_empty()),
                Err(other) => prop_assert!(false, "{other:?}"),
            }
        }
    }
}
