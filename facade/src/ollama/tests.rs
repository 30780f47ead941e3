//! Requests, read: into what the contract has, or refused by the name that they came under.

use penstock_proto::inference::v1::{
    Message, Prompt, generate_request::Input, message::Content, prompt::Kind, stop_sequences,
};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// A PNG, as far as its first bytes go.
const PNG: &str = "iVBORw0KGgoAAAAN";

fn read_chat(members: &Value) -> Result<GenerateRequest, Error> {
    let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
    body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    chat::read(body.to_string().as_bytes())
}

fn read_prompt(members: &Value) -> Result<GenerateRequest, Error> {
    let mut body = json!({"model": "m", "prompt": "hi"});
    body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    prompt::read(body.to_string().as_bytes())
}

/// What is wrong, as the caller is told: by what cannot be read, else by what the mesh says.
fn wrong(read: Result<GenerateRequest, Error>) -> Vec<String> {
    let found = match read {
        Ok(request) => terms::judge(&request, vec![]),
        Err(error) => crate::problem::told(crate::api::Api::Ollama, &error).violations,
    };
    found.into_iter().map(|found| found.field).collect()
}

fn conversation(messages: Value) -> Vec<Message> {
    match read_chat(&json!({"messages": messages})).unwrap().input {
        Some(Input::Chat(chat)) => chat.messages,
        other => panic!("{other:?}"),
    }
}

fn others(request: &GenerateRequest) -> Vec<(&str, &str)> {
    request.extensions.iter().map(|other| (other.name.as_str(), other.json.as_str())).collect()
}

#[test]
fn a_conversation_is_streamed_unless_it_says_otherwise() {
    let request = read_chat(&json!({})).unwrap();
    assert!(request.stream && request.stream_options.unwrap().include_usage == Some(true));
    let request = read_chat(&json!({"stream": false})).unwrap();
    assert_eq!((request.stream, request.stream_options, request.extensions), (false, None, vec![]));
}

#[test]
fn options_become_what_everybody_has_or_stay_ollamas() {
    let body = r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"keep_alive":"5m","truncate":true,
        "shift":false,"x":[ 1 ],"options":{"num_predict":5,"temperature":0.5,"top_p":0.9,"seed":7,"stop":"x",
        "presence_penalty":1,"frequency_penalty":-1,"top_k":40,"min_p":5e-2,"repeat_penalty":1.10,"num_ctx":512,
        "penalize_newline":true,"num_gpu":null,"low vram\"":[ 1 ]}}"#;
    let request = chat::read(body.as_bytes()).unwrap();
    assert_eq!((request.max_tokens, request.temperature, request.top_p), (Some(5), Some(0.5), Some(0.9)));
    assert_eq!(
        (request.seed, request.presence_penalty, request.frequency_penalty),
        (Some(7), Some(1.0), Some(-1.0))
    );
    assert_eq!(request.stop.as_ref().unwrap().kind, Some(stop_sequences::Kind::Text("x".into())));
    let expected = [
        ("top_k", "40"),
        ("min_p", "5e-2"),
        ("repeat_penalty", "1.10"),
        ("penalize_newline", "true"),
        ("options", r#"{"num_ctx":512,"low vram\"":[ 1 ]}"#),
        ("keep_alive", r#""5m""#),
        ("truncate", "true"),
        ("shift", "false"),
        ("x", "[ 1 ]"),
    ];
    assert_eq!(others(&request), expected);
    for unbounded in [-1, -2] {
        let request = read_chat(&json!({"options": {"num_predict": unbounded, "stop": []}})).unwrap();
        assert_eq!((request.max_tokens, request.stop, request.extensions), (None, None, vec![]));
    }
}

#[test]
fn format_and_think_have_other_names() {
    let asked = |members| {
        let request = read_chat(&members).unwrap();
        (request.response_format_json, request.reasoning_effort)
    };
    for (think, effort) in [
        (json!(false), "none"),
        (json!(true), "medium"),
        (json!("low"), "low"),
        (json!("medium"), "medium"),
        (json!("high"), "high"),
    ] {
        assert_eq!(asked(json!({"think": think})).1.as_deref(), Some(effort), "{think}");
    }
    for (format, expected) in [
        (json!(""), None),
        (json!(null), None),
        (json!("json"), Some(r#"{"type":"json_object"}"#)),
        (
            json!({"type": "object"}),
            Some(r#"{"type":"json_schema","json_schema":{"name":"format","schema":{"type":"object"}}}"#),
        ),
    ] {
        assert_eq!(asked(json!({"format": format})).0.as_deref(), expected, "{format}");
    }
}

#[test]
fn images_come_before_the_text() {
    let messages = conversation(json!([
        {"role": "user", "content": "what?", "images": [PNG]},
        {"role": "user", "images": [PNG], "content": ""},
        {"role": "user"},
    ]));
    let parts = |message: &Message| match &message.content {
        Some(Content::Parts(parts)) => parts
            .parts
            .iter()
            .map(|part| part.image_url.as_ref().map_or("text", |image| &image.url).to_owned())
            .collect(),
        other => vec![format!("{other:?}")],
    };
    let url = format!("data:image/png;base64,{PNG}");
    assert_eq!(parts(&messages[0]), [url.as_str(), "text"]);
    assert_eq!(parts(&messages[1]), [url.as_str()]);
    assert_eq!(messages[2].content, Some(Content::Text(String::new())));
}

fn ids(messages: &[Message]) -> Vec<String> {
    let calls = |message: &Message| -> Vec<_> {
        message
            .tool_calls
            .iter()
            .filter_map(|call| call.id.clone())
            .chain(message.tool_call_id.clone())
            .collect()
    };
    messages.iter().flat_map(calls).collect()
}

#[test]
fn calls_get_ids_and_answers_find_their_calls() {
    let call = |name: &str| json!({"function": {"name": name, "arguments": {"a": 1}}});
    let messages = conversation(json!([
        {"role": "user", "content": "x"},
        {"role": "assistant", "thinking": "hm", "tool_calls": [call("f"), call("g"), call("f")]},
        {"role": "tool", "tool_name": "g", "content": "1"},
        {"role": "tool", "tool_name": "f", "content": "2"},
        {"role": "tool", "content": "3"},
        {"role": "assistant", "content": "", "tool_calls": [{"id": "own", "type": "function", "function": {"index": 0, "name": "h"}}]},
        {"role": "tool", "tool_call_id": "own", "tool_name": "h", "content": "4"},
    ]));
    assert_eq!(
        ids(&messages),
        ["call_1_0", "call_1_1", "call_1_2", "call_1_1", "call_1_0", "call_1_2", "own", "own"]
    );
    assert_eq!((messages[1].reasoning.as_deref(), &messages[1].content), (Some("hm"), &None));
    let function = messages[1].tool_calls[0].function.clone().unwrap();
    assert_eq!((function.name.as_deref(), function.arguments.as_deref()), (Some("f"), Some(r#"{"a":1}"#)));
    let function = messages[5].tool_calls[0].function.clone().unwrap();
    assert_eq!(function.arguments.as_deref(), Some("{}"), "no arguments are an empty object");
}

#[test]
fn a_call_is_answered_once() {
    let call = |name: &str| json!({"id": name, "function": {"name": name, "arguments": {}}});
    let body = |answers: Vec<Value>| {
        let calls = ["f", "g", "h"].map(call);
        let mut messages = vec![json!({"role": "assistant", "tool_calls": calls})];
        messages.extend(answers);
        json!({"messages": messages})
    };
    let tool = |member: &str, value: &str| json!({"role": "tool", member: value, "content": "1"});
    let answers = vec![tool("tool_call_id", "f"), tool("content", "x"), tool("tool_name", "h")];
    let messages = conversation(body(answers)["messages"].clone());
    assert_eq!(ids(&messages), ["f", "g", "h", "f", "g", "h"]);
    for again in [tool("tool_name", "f"), tool("tool_name", "g")] {
        let answers = vec![tool("tool_call_id", "f"), tool("content", "x"), again];
        assert_eq!(wrong(read_chat(&body(answers))), ["messages[3].tool_name"]);
    }
    let four = (0..4).map(|_| tool("content", "x")).collect();
    assert_eq!(wrong(read_chat(&body(four))), ["messages[4].tool_call_id"]);
}

/// A11, E8: each call was looked for among all of them, and each mistake told.
#[test]
fn many_calls_are_read_and_many_mistakes_are_not_told() {
    const MANY: usize = 60_000;
    let mut messages =
        vec![json!({"role": "assistant", "tool_calls": vec![json!({"function": {"name": "f"}}); MANY]})];
    messages.extend(vec![json!({"role": "tool", "tool_call_id": "x"}); MANY]);
    assert!(read_chat(&json!({"messages": messages})).is_ok());
    let lost = vec![json!({"role": "tool", "tool_name": "f"}); 1000];
    assert_eq!(wrong(read_chat(&json!({"messages": lost}))).len(), 100);
}

#[test]
fn what_cannot_be_said_is_refused_by_its_name() {
    let call = json!({"function": {"name": "f", "arguments": {}}});
    let answer = |members: Value| json!({"messages": [{"role": "assistant", "tool_calls": [call]}, members]});
    let user = |members: Value| {
        let mut message = json!({"role": "user", "content": "x"});
        message.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        json!({"messages": [message]})
    };
    for (members, fields) in [
        (json!({"messages": []}), &["messages"][..]),
        (json!({"messages": null, "model": ""}), &["messages", "model"]),
        (json!({"think": "enormous"}), &["think"]),
        (json!({"think": 1}), &["think"]),
        (json!({"format": "xml"}), &["format"]),
        (json!({"format": 7}), &["format"]),
        (json!({"temperature": 1}), &["options.temperature"]),
        (json!({"response_format": {}, "n": 2}), &["n", "format"]),
        (
            json!({"options": {"temperature": 2.5, "num_predict": 0}}),
            &["options.temperature", "options.num_predict"],
        ),
        (json!({"options": {"temperature": "hot", "top_k": "x"}}), &["options.temperature", "options.top_k"]),
        (json!({"options": []}), &["options"]),
        (json!({"top_logprobs": 2}), &["top_logprobs"]),
        (json!({"tools": [{"type": "custom", "custom": {"name": "f"}}]}), &["tools[0].type"]),
        (user(json!({"images": [PNG, "AAAA"]})), &["messages[0].images[1]"]),
        (user(json!({"images": [7]})), &["messages[0].images[0]"]),
        (user(json!({"role": "wizard"})), &["messages[0].role"]),
        (user(json!({"role": "function"})), &["messages[0].role"]),
        (user(json!({"role": "system", "images": [PNG]})), &["messages[0].images[0]"]),
        (user(json!({"content": 7})), &["messages[0].content"]),
        (user(json!({"content": [{"type": "text", "text": "x"}]})), &["messages[0].content"]),
        (user(json!({"name": "n"})), &["messages[0].name"]),
        (user(json!({"role": "tool"})), &["messages[0].tool_call_id"]),
        (user(json!({"role": "tool", "tool_name": "f"})), &["messages[0].tool_name"]),
        (answer(json!({"role": "tool", "tool_name": "g"})), &["messages[1].tool_name"]),
        (
            user(json!({"role": "assistant", "tool_calls": [{"function": {"arguments": {}}}]})),
            &["messages[0].tool_calls[0].function.name"],
        ),
        (
            user(
                json!({"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}),
            ),
            &["messages[0].tool_calls[0].function.arguments"],
        ),
        (
            user(json!({"role": "assistant", "tool_calls": [{"type": "custom"}]})),
            &["messages[0].tool_calls[0].function"],
        ),
    ] {
        let mut found = wrong(read_chat(&members));
        found.sort();
        let mut fields = fields.to_vec();
        fields.sort_unstable();
        assert_eq!(found, fields, "{members}");
    }
    assert!(read_chat(&answer(json!({"role": "tool", "tool_name": "f"}))).is_ok());
}

#[test]
fn a_prompt_is_a_question_or_a_text_to_continue() {
    let request = read_prompt(
        &json!({"system": "be kind", "images": [PNG], "template": "", "context": [], "suffix": ""}),
    );
    let Some(Input::Chat(chat)) = request.unwrap().input else { panic!() };
    let roles: Vec<_> = chat.messages.iter().map(|message| message.role.as_str()).collect();
    assert_eq!(roles, ["system", "user"]);
    assert!(matches!(&chat.messages[1].content, Some(Content::Parts(parts)) if parts.parts.len() == 2));

    for (members, suffix) in [(json!({"raw": true}), None), (json!({"suffix": "end"}), Some("end"))] {
        let request = read_prompt(&members).unwrap();
        assert_eq!(others(&request), [("options", r#"{"num_predict":-1}"#)], "to its own end");
        let Some(Input::Text(text)) = request.input else { panic!("{members}") };
        assert_eq!(text.prompt, Some(Prompt { kind: Some(Kind::Text("hi".into())) }));
        assert_eq!(text.suffix.as_deref(), suffix);
    }
    let bounded = read_prompt(&json!({"raw": true, "options": {"num_predict": 9}})).unwrap();
    assert_eq!((bounded.max_tokens, bounded.extensions), (Some(9), vec![]));
}

#[test]
fn a_prompt_that_cannot_be_put_is_refused() {
    for (members, fields) in [
        (json!({"prompt": ""}), &["prompt"][..]),
        (json!({"prompt": null, "raw": true}), &["prompt"]),
        (json!({"template": "{{ .Prompt }}", "context": [1, 2]}), &["template", "context"]),
        (json!({"images": ["x"]}), &["images[0]"]),
        (
            json!({"raw": true, "system": "s", "images": [PNG], "think": true, "logprobs": true}),
            &["system", "images", "think", "logprobs"],
        ),
        (json!({"messages": [], "tools": []}), &["messages", "tools"]),
        (json!({"options": {"top_p": 2}}), &["options.top_p"]),
    ] {
        assert_eq!(wrong(read_prompt(&members)), fields, "{members}");
    }
}

/// Everything that is wrong with a body is named at once, also where some of it is of another shape.
#[test]
fn every_mistake_is_named() {
    let body = json!({"model": 7, "think": "x", "stream": "no", "options": {"seed": 1.5, "top_p": 3},
        "messages": [{"role": "user", "content": "x", "images": ["x"]}]});
    let mut found = wrong(chat::read(body.to_string().as_bytes()));
    found.sort();
    assert_eq!(found, ["messages[0].images[0]", "model", "options.seed", "options.top_p", "stream", "think"]);
}

proptest! {
    /// A name goes to its own and stays there: what is told twice is told once.
    #[test]
    fn a_field_has_one_name(field in "(messages\\[[0-9]\\]\\.)?(content\\[[0-9]\\]\\.)?[a-z_]{1,12}(\\[[0-9]\\])?|temperature|stop\\[3\\]|max_tokens|reasoning_effort") {
        let once = super::field(field.clone());
        prop_assert_eq!(super::field(once.clone()), once);
    }

    #[test]
    fn no_body_is_too_strange(body in "\\PC{0,60}", word in "[a-z_]{1,12}", value in any::<i32>()) {
        let _ = (chat::read(body.as_bytes()), prompt::read(body.as_bytes()), embed::read(body.as_bytes()));
        let _ = read_chat(&json!({word.clone(): value, "options": {word.clone(): value}}));
        let _ = read_prompt(&json!({word.clone(): value, "options": {word: value}}));
    }
}
