//! What was asked comes back as it was asked, and every member that OpenAI has is there.

use penstock_proto::inference::v1::{
    ChatInput, Choice, Delta, Extension, GenerateChunk, MetadataPair, generate_request::Input,
};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;
use crate::chat::request::read;

fn parsed(out: &BytesMut) -> Value {
    serde_json::from_slice(out).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(out)))
}

fn asked(members: Value) -> GenerateRequest {
    read(members.to_string().as_bytes()).unwrap()
}

/// The only message of a request, as it is written once it is stored.
fn message(message: &Value) -> Value {
    let Some(Input::Chat(ChatInput { messages })) = asked(json!({"messages": [message]})).input else {
        panic!()
    };
    let mut out = BytesMut::new();
    write_message(&StoredMessage { id: "c-0".into(), message: messages.into_iter().next() }, &mut out);
    parsed(&out)
}

fn completion() -> StoredCompletion {
    let delta = Delta { content: Some("Hi".into()), ..Delta::default() };
    let choice = Choice { delta: Some(delta), finish_reason: Some("stop".into()), ..Choice::default() };
    let answer = GenerateChunk {
        id: "chatcmpl-1".into(),
        created: 7,
        model: "m".into(),
        choices: vec![choice],
        ..GenerateChunk::default()
    };
    StoredCompletion {
        id: "chatcmpl-1".into(),
        created: 7,
        answer: Some(answer),
        ..StoredCompletion::default()
    }
}

fn written(completion: &StoredCompletion) -> Value {
    let mut out = BytesMut::new();
    write(completion, &mut out);
    // No member twice: serde_json would keep the last one and say nothing.
    assert_eq!(crate::json::raw::check(std::str::from_utf8(&out).unwrap()), Ok(()));
    parsed(&out)
}

#[test]
fn what_was_not_asked_is_null() {
    assert_eq!(
        written(&completion()),
        json!({
            "id": "chatcmpl-1", "object": "chat.completion", "created": 7, "model": "m", "system_fingerprint": null,
            "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi", "refusal": null},
                "logprobs": null, "finish_reason": "stop"}],
            "usage": null, "request_id": "", "tool_choice": null, "seed": null, "top_p": null, "temperature": null,
            "presence_penalty": null, "frequency_penalty": null, "input_user": null, "service_tier": null,
            "tools": null, "metadata": {}, "response_format": null,
        })
    );
}

#[test]
fn what_was_asked_stands_beside_the_answer_and_nothing_twice() {
    let tools = json!([{"type": "function", "function": {"name": "f"}}]);
    let members = json!({
        "tool_choice": {"type": "function", "function": {"name": "f"}}, "seed": -9_007_199_254_740_993_i64,
        "top_p": 0.5, "temperature": 1.5, "presence_penalty": -1.0, "frequency_penalty": 0.25, "user": "u",
        "service_tier": "flex", "tools": tools, "response_format": {"type": "json_object"},
    });
    let mut stored = StoredCompletion { request: Some(asked(members.clone())), ..completion() };
    stored.request_id = "r".into();
    let pair = |key: &str, value: &str| MetadataPair { key: key.into(), value: value.into() };
    stored.metadata = Some(Metadata { pairs: vec![pair("b", "1"), pair("a", "\"")] });
    // An engine with members of these names.
    let answer = stored.answer.as_mut().unwrap();
    answer.extensions = ["metadata", "tools", "seed", "id", "own"]
        .map(|name| Extension { name: name.into(), json: "0".into() })
        .into();
    let written = written(&stored);
    for (member, value) in members.as_object().unwrap() {
        let member = if member == "user" { "input_user" } else { member };
        assert_eq!(&written[member], value, "{member}");
    }
    assert_eq!((&written["request_id"], &written["metadata"]), (&json!("r"), &json!({"b": "1", "a": "\""})));
    assert_eq!((&written["id"], &written["own"]), (&json!("chatcmpl-1"), &json!(0)));
    stored.answer.as_mut().unwrap().service_tier = Some("default".into());
    assert_eq!(
        super::tests::written(&stored)["service_tier"],
        "default",
        "what was used, not what was asked"
    );
}

#[test]
fn parts_stand_apart_from_text() {
    assert_eq!(
        message(&json!({"role": "user", "content": "hi"})),
        json!({"id": "c-0", "role": "user", "content": "hi", "content_parts": null, "name": null, "refusal": null})
    );
    let parts =
        json!([{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "data:,x"}}]);
    let written = message(&json!({"role": "user", "content": parts, "name": "n"}));
    assert_eq!(
        (&written["content"], &written["content_parts"], &written["name"]),
        (&Value::Null, &parts, &json!("n"))
    );
    let written = message(&json!({"role": "user", "content": "x", "id": "mine", "content_parts": 7}));
    assert_eq!((&written["id"], &written["content_parts"]), (&json!("c-0"), &Value::Null));
}

fn text() -> impl Strategy<Value = Value> {
    prop_oneof![".{0,12}", Just("\u{0}\u{1f600}\"\\\n".to_owned())].prop_map(Value::from)
}

/// Any JSON, small.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![text(), any::<i64>().prop_map(Value::from), any::<bool>().prop_map(Value::from)];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map("[a-z]{1,3}", inner, 0..3).prop_map(|map| json!(map)),
        ]
    })
}

/// An object of some of these members, and of some that nobody knows.
fn object(known: Vec<(&'static str, bool, BoxedStrategy<Value>)>) -> BoxedStrategy<Value> {
    let members: Vec<_> = known
        .into_iter()
        .map(|(name, required, value)| {
            let value = value.prop_map(Some).boxed();
            let value = if required { value } else { prop_oneof![value, Just(None)].boxed() };
            value.prop_map(move |value| value.map(|value| (name.to_owned(), value)))
        })
        .collect();
    let unknown = prop::collection::btree_map("x_[a-z]{1,4}", any_json(), 0..3);
    (members, unknown)
        .prop_map(|(known, unknown)| {
            Value::Object(known.into_iter().flatten().chain(unknown).collect::<Map<_, _>>())
        })
        .boxed()
}

fn part() -> BoxedStrategy<Value> {
    let image = object(vec![("url", true, text().boxed()), ("detail", false, text().boxed())]);
    let audio = object(vec![("data", true, text().boxed()), ("format", true, text().boxed())]);
    let names = ["file_data", "file_id", "filename"];
    let file = object(names.map(|name| (name, false, text().boxed())).into());
    object(vec![
        ("type", true, text().boxed()),
        ("text", false, text().boxed()),
        ("refusal", false, text().boxed()),
        ("image_url", false, image),
        ("input_audio", false, audio),
        ("file", false, file),
    ])
}

fn call() -> BoxedStrategy<Value> {
    let function = object(vec![("name", true, text().boxed()), ("arguments", true, text().boxed())]);
    let custom = object(vec![("name", true, text().boxed()), ("input", true, text().boxed())]);
    object(vec![
        ("id", true, text().boxed()),
        ("type", true, text().boxed()),
        ("function", false, function),
        ("custom", false, custom),
    ])
}

fn any_message() -> BoxedStrategy<Value> {
    let content =
        prop_oneof![text().boxed(), prop::collection::vec(part(), 0..3).prop_map(Value::from).boxed()];
    let function = object(vec![("name", true, text().boxed()), ("arguments", false, text().boxed())]);
    object(vec![
        ("role", true, text().boxed()),
        ("content", false, content.boxed()),
        ("name", false, text().boxed()),
        ("tool_calls", false, prop::collection::vec(call(), 1..3).prop_map(Value::from).boxed()),
        ("tool_call_id", false, text().boxed()),
        ("refusal", false, text().boxed()),
        ("reasoning_content", false, text().boxed()),
        ("function_call", false, function),
    ])
}

fn tool() -> BoxedStrategy<Value> {
    let function = object(vec![
        ("name", true, text().boxed()),
        ("description", false, text().boxed()),
        ("parameters", false, any_json().boxed()),
        ("strict", false, any::<bool>().prop_map(Value::from).boxed()),
    ]);
    let format = prop::collection::btree_map("[a-z]{1,3}", any_json(), 0..3).prop_map(|map| json!(map));
    let custom = object(vec![
        ("name", true, text().boxed()),
        ("description", false, text().boxed()),
        ("format", false, format.boxed()),
    ]);
    object(vec![("type", true, text().boxed()), ("function", false, function), ("custom", false, custom)])
}

proptest! {
    #[test]
    fn messages_come_back_as_they_were(given in any_message()) {
        let mut expected = given.clone();
        let members = expected.as_object_mut().unwrap();
        let content = members.remove("content").unwrap_or_default();
        let (text, parts) = if content.is_array() { (Value::Null, content) } else { (content, Value::Null) };
        members.extend([("id".into(), "c-0".into()), ("content".into(), text), ("content_parts".into(), parts)]);
        for nullable in ["name", "refusal"] {
            members.entry(nullable).or_insert(Value::Null);
        }
        prop_assert_eq!(message(&given), expected);
    }

    #[test]
    fn tools_come_back_as_they_were(tools in prop::collection::vec(tool(), 1..4)) {
        let tools = Value::from(tools);
        let stored = StoredCompletion { request: Some(asked(json!({"tools": tools}))), ..completion() };
        prop_assert_eq!(&written(&stored)["tools"], &tools);
    }
}
