//! Items and messages: each way, and what is refused.

use penstock_proto::inference::v1::{Choice, CustomCall, FunctionCall};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{write::write_input, *};
use crate::responses::request;

const ID: &str = "resp_0123456789abcdef0123456789abcdef";

fn said(role: &str, text: &str) -> Item {
    let content = Some(Content::Text(text.into()));
    Item::Message(Message { role: role.into(), content, ..Message::default() })
}

fn thought(text: &str) -> Item {
    Item::Reasoning { text: text.into(), extensions: vec![] }
}

fn called(id: &str) -> ToolCall {
    let function =
        FunctionCall { name: Some("f".into()), arguments: Some("{}".into()), ..FunctionCall::default() };
    let (id, r#type) = (Some(id.to_owned()), Some("function".to_owned()));
    ToolCall { id, r#type, function: Some(function), ..ToolCall::default() }
}

fn custom(id: &str) -> ToolCall {
    let custom = CustomCall { name: Some("c".into()), input: Some("i".into()), ..CustomCall::default() };
    ToolCall {
        id: Some(id.to_owned()),
        r#type: Some("custom".into()),
        custom: Some(custom),
        ..ToolCall::default()
    }
}

/// A conversation in a line: who says what, thinks (`?`) and calls (`!`).
fn line(items: Vec<Item>) -> String {
    let message = |message: &Message| {
        let text = match &message.content {
            Some(Content::Text(text)) => text.clone(),
            Some(Content::Parts(parts)) => format!("{} parts", parts.parts.len()),
            None => String::new(),
        };
        let calls: String =
            message.tool_calls.iter().map(|call| format!("!{}", call.id.as_deref().unwrap())).collect();
        let thought = message.reasoning.as_ref().map(|text| format!("{text}?")).unwrap_or_default();
        format!("{}:{thought}{text}{calls}", &message.role[..1])
    };
    conversation(items).iter().map(message).collect::<Vec<_>>().join(" ")
}

#[test]
fn what_an_assistant_does_in_a_row_is_one_message() {
    let call = |id: &str| Item::Call(called(id));
    for (items, expected) in [
        (vec![said("user", "hi")], "u:hi"),
        (
            vec![said("user", "hi"), thought("hm"), said("assistant", "a"), call("1"), call("2")],
            "u:hi a:hm?a!1!2",
        ),
        // As models with thoughts between calls give them.
        (vec![thought("x"), call("1"), thought("y"), call("2")], "a:xy?!1!2"),
        (vec![call("1"), said("assistant", "a")], "a:a!1"),
        (vec![said("assistant", "a"), call("1"), said("assistant", "b")], "a:ab!1"),
        // What a caller wrote as two stays two.
        (vec![said("assistant", "a"), said("assistant", "b")], "a:a a:b"),
        (vec![said("assistant", "a"), thought("hm")], "a:a a:hm?"),
        (vec![call("1"), said("tool", "x"), call("2"), said("tool", "y")], "a:!1 t:x a:!2 t:y"),
        (vec![thought("")], ""),
    ] {
        assert_eq!(line(items.clone()), expected, "{items:?}");
    }
}

/// A member that two items of one message have goes on once.
/// E8: what is said in parts between calls is added to the parts before, not put together anew each time: then this
/// would move hundreds of gigabytes.
#[test]
fn ever_more_parts_are_one_message() {
    let parts = || ContentParts { parts: vec![text_part("a".into()), text_part("b".into())] };
    let mut said = vec![Item::Call(called("1"))];
    said.extend((0..20_000).map(|_| {
        let content = Some(Content::Parts(parts()));
        Item::Message(Message { role: "assistant".into(), content, ..Message::default() })
    }));
    let messages = conversation(said);
    let [Message { content: Some(Content::Parts(parts)), .. }] = messages.as_slice() else { panic!() };
    assert_eq!(parts.parts.len(), 40_000);
}

#[test]
fn no_member_is_said_twice() {
    let member = |json: &str| vec![Extension { name: "x".into(), json: json.into() }];
    let Item::Message(message) = said("assistant", "a") else { panic!() };
    let items = vec![
        Item::Reasoning { text: "hm".into(), extensions: member("1") },
        Item::Message(Message { extensions: member("2"), ..message }),
    ];
    assert_eq!(conversation(items)[0].extensions, member("1"));
}

#[test]
fn ids_are_read_as_they_are_written() {
    for (kind, prefix) in
        [(Kind::Message, "msg"), (Kind::Reasoning, "rs"), (Kind::Function, "fc"), (Kind::Custom, "ctc")]
    {
        let id = item_id(kind, ID, 3);
        assert_eq!(id, format!("{prefix}_0123456789abcdef0123456789abcdef_3"));
        let read = Reference::read(&id, "f".into()).unwrap();
        assert_eq!((read.response_id.as_str(), read.kind, read.index), (ID, kind, 3));
    }
    for id in [
        "",
        "msg_",
        "msg_1",
        "resp_0123456789abcdef0123456789abcdef",
        "msg_0123456789abcdef0123456789abcdef",
        "msg_0123456789abcdef0123456789abcdef_",
        "msg_0123456789abcdef0123456789abcdef_x",
        "msg_0123456789abcdef0123456789abcdef_-1",
        "msg_0123456789abcdef0123456789abcdef_99999999999",
        "msg_0123456789ABCDEF0123456789abcdef_0",
        "msg_0123456789abcdef0123456789abcdef_in0",
        "xyz_0123456789abcdef0123456789abcdef_0",
    ] {
        assert_eq!(Reference::read(id, "f".into()), None, "{id}");
    }
}

fn answer(delta: Delta) -> GenerateChunk {
    GenerateChunk {
        choices: vec![Choice { delta: Some(delta), ..Choice::default() }],
        ..GenerateChunk::default()
    }
}

#[test]
fn items_of_an_answer_are_found_by_their_ids() {
    let answer = items_of(&spoken(&answer(Delta {
        reasoning: Some("hm".into()),
        content: Some("a".into()),
        tool_calls: vec![ToolCall { index: Some(0), ..called("1") }, custom("2")],
        ..Delta::default()
    })));
    let find = |kind, index| {
        Reference { response_id: ID.into(), kind, index, field: String::new() }.find(&answer).cloned()
    };
    assert_eq!(find(Kind::Reasoning, 0), Some(thought("hm")));
    assert_eq!(find(Kind::Message, 0), Some(said("assistant", "a")));
    assert_eq!(find(Kind::Function, 0), Some(Item::Call(called("1"))));
    assert_eq!(find(Kind::Custom, 1), Some(Item::Call(custom("2"))));
    // Streamed in pieces, kept as one.
    assert_eq!(find(Kind::Message, 1), Some(thought("")));
    for (kind, index) in [(Kind::Function, 1), (Kind::Custom, 0), (Kind::Function, 2)] {
        assert_eq!(find(kind, index), None);
    }
}

#[test]
fn an_answer_of_nothing_can_be_gone_on_from() {
    for answer in
        [GenerateChunk::default(), answer(Delta { content: Some(String::new()), ..Delta::default() })]
    {
        let message = spoken(&answer);
        assert_eq!(
            (message.role.as_str(), message.content.clone()),
            ("assistant", Some(Content::Text(String::new())))
        );
        assert_eq!(items_of(&message), []);
    }
    let called = spoken(&answer(Delta { tool_calls: vec![called("1")], ..Delta::default() }));
    assert_eq!((called.content, called.tool_calls.len()), (None, 1));
}

fn read_items(json: &Value) -> Vec<Item> {
    request::read(json!({"model": "m", "input": json}).to_string().as_bytes()).unwrap().items
}

fn text() -> impl Strategy<Value = String> {
    "[a-zé\"\n]{1,5}"
}

fn message() -> impl Strategy<Value = Message> {
    let part = prop_oneof![
        text().prop_map(text_part),
        (text(), prop::option::of(prop::sample::select(vec!["low", "high"]))).prop_map(|(url, detail)| {
            // Absent is written as what it means.
            let detail = Some(detail.unwrap_or("auto").to_owned());
            let image = penstock_proto::inference::v1::ImageUrl { url, detail, extensions: vec![] };
            ContentPart { r#type: "image_url".into(), image_url: Some(image), ..ContentPart::default() }
        }),
        (text(), text()).prop_map(|(data, name)| {
            let file = penstock_proto::inference::v1::File {
                file_data: Some(data),
                filename: Some(name),
                ..Default::default()
            };
            ContentPart { r#type: "file".into(), file: Some(file), ..ContentPart::default() }
        }),
    ];
    let user = prop::collection::vec(part, 2..4).prop_map(|parts| Message {
        role: "user".into(),
        content: Some(Content::Parts(ContentParts { parts })),
        ..Message::default()
    });
    let plain =
        (prop::sample::select(vec!["user", "system", "developer"]), text()).prop_map(|(role, text)| {
            Message { role: role.into(), content: Some(Content::Text(text)), ..Message::default() }
        });
    let assistant =
        (prop::option::of(text()), prop::option::of(text()), prop::option::of(text()), 0..3_usize)
            .prop_map(|(text, refusal, reasoning, calls)| Message {
                role: "assistant".into(),
                content: text.map(Content::Text),
                refusal,
                reasoning,
                tool_calls: (0..calls)
                    .map(|call| if call == 0 { called("0") } else { custom("1") })
                    .collect(),
                ..Message::default()
            })
            .prop_filter("says something", |message| {
                message.content.is_some() || message.refusal.is_some() || !message.tool_calls.is_empty()
            });
    let tool = (prop::sample::select(vec!["0", "1"]), text()).prop_map(|(call, text)| Message {
        role: "tool".into(),
        content: Some(Content::Text(text)),
        tool_call_id: Some(call.into()),
        ..Message::default()
    });
    prop_oneof![user, plain, assistant, tool]
}

proptest! {
    /// What is listed as the input of a response can be sent again: it is the same conversation.
    #[test]
    fn what_is_written_is_read_again(messages in prop::collection::vec(message(), 1..6)) {
        // Two turns of an assistant one after the other may be one.
        prop_assume!(!messages.windows(2).any(|two| two.iter().all(|message| message.role == "assistant")));
        let written = write_input(ID, &messages);
        let mut json = Vec::new();
        for (number, item) in written.iter().enumerate() {
            let value: Value = serde_json::from_slice(&item.json).unwrap();
            prop_assert_eq!(value["id"].as_str(), Some(item.id.as_str()));
            prop_assert!(item.id.ends_with(&format!("_in{number}")), "{}", item.id);
            json.push(value);
        }
        prop_assert_eq!(conversation(read_items(&Value::Array(json))), messages);
    }
}
