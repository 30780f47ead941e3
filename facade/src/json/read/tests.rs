//! Everything that is wrong with a body, at once, and nothing that is only a consequence of it.

use penstock_proto::{inference::v1::GenerateRequest, validate};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn refused(body: &str) -> Vec<(String, String)> {
    match read::<GenerateRequest>(body.as_bytes(), validate::generate_request) {
        Err(Error::Invalid(found)) => found.into_iter().map(|found| (found.field, found.message)).collect(),
        other => panic!("{body}: {other:?}"),
    }
}

fn fields(body: &str) -> Vec<String> {
    refused(body).into_iter().map(|(field, _)| field).collect()
}

#[test]
fn wrong_types_and_ranges_are_told_together() {
    let body = r#"{"model":1,"messages":[{"role":[],"content":7},{"role":"user","content":[{"type":"text","text":1},5,
        {"type":"image_url","image_url":"http://x"}]},null,{"role":"robot","content":"x"}],
        "temperature":"hot","top_p":1e400,"n":1.5,"seed":9223372036854775808,"stop":[1,"a",{}],"tools":{},
        "metadata":{"a":1,"b":"x","c":[]},"presence_penalty":3,"x":{"a":1,"a":2}}"#;
    let expected = [
        "model",
        "messages[0].role",
        "messages[0].content",
        "messages[1].content[0].text",
        "messages[1].content[1]",
        "messages[1].content[2].image_url",
        "messages[2]",
        "temperature",
        "top_p",
        "n",
        "seed",
        "stop[0]",
        "stop[2]",
        "tools",
        "metadata.a",
        "metadata.c",
        "x",
        "messages[3].role",
        "presence_penalty",
    ];
    assert_eq!(fields(body), expected);
}

#[test]
fn what_follows_from_a_refused_value_is_not_told() {
    for (body, expected) in [
        // It is not that it is missing.
        (r#"{"model":1,"messages":1}"#, &["model", "messages"][..]),
        (r#"{"model":"m","messages":[1]}"#, &["messages[0]"]),
        // Nobody knows whether there were tools, a stream, log probabilities.
        (
            r#"{"model":"m","messages":[{"role":"user","content":"x"}],"tools":1,"tool_choice":"required","stream":"yes",
            "stream_options":{},"logprobs":1,"top_logprobs":1}"#,
            &["tools", "stream", "logprobs"],
        ),
        (
            r#"{"model":"m","messages":[{"role":"user","content":"x"}],"tools":[{"type":"function","function":{"name":1}}],
            "tool_choice":{"type":"function","function":{"name":"f"}}}"#,
            &["tools[0].function.name"],
        ),
        // A list that cannot be told apart from its null is told once.
        (r#"{"model":"m","messages":[{"role":"user","content":"x"}],"stop":[null,1]}"#, &["stop"]),
    ] {
        assert_eq!(fields(body), expected, "{body}");
    }
}

/// A5.
#[test]
fn members_given_twice_do_not_hide_what_comes_after() {
    let body = r#"{"model":"a","model":"b" , "model":3,"x":1,"messages":[{"role":"user","role":"user","content":1}],"x":2,"n":"1"}"#;
    let twice = "is given twice".to_owned();
    assert_eq!(
        refused(body),
        [
            ("model".to_owned(), twice.clone()),
            ("messages[0].role".to_owned(), twice.clone()),
            ("messages[0].content".to_owned(), "must be a string or an array of content parts".to_owned()),
            ("x".to_owned(), twice),
            ("n".to_owned(), "must be a whole number".to_owned()),
        ]
    );
}

#[test]
fn the_path_of_a_violation_is_bounded() {
    let name = "é".repeat(10_000);
    let found = fields(&format!(r#"{{"{name}":1,"{name}":2}}"#));
    assert!(found[0].len() <= FIELD_MAX_BYTES + '…'.len_utf8());
    assert!(!fields("{\"a\\n\":1,\"a\\n\":2}")[0].contains('\n'));
}

/// A11: the answer and the work are bounded, whatever is wrong.
#[test]
fn rounds_and_bytes_are_bounded() {
    let wrong = |count| json!({"model": "m", "messages": vec![json!({"role": 1}); count]}).to_string();
    assert_eq!(fields(&wrong(300)).len(), ROUNDS_MAX);
    let (found, body) = (fields(&wrong(5000)).len(), wrong(5000).len());
    assert!((10..=BYTES_MAX / body).contains(&found), "{found} of {body} bytes");
    let large = "x".repeat(3 << 20);
    let found =
        fields(&json!({"model": 1, "messages": [{"role": 2, "content": large}], "n": "3"}).to_string());
    assert_eq!(found, ["messages[0].role", "model"], "members are sorted; the third is beyond the bytes");
}

/// Any of these in the place of any value of a whole request.
fn odd() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!(1)),
        Just(json!("x")),
        Just(json!([])),
        Just(json!({})),
        Just(json!([1, null])),
        Just(json!(true)),
        Just(json!({"a": 1})),
    ]
}

fn replace(value: &mut Value, at: &mut usize, with: &Value) {
    if *at == 0 {
        *value = with.clone();
    }
    *at = at.wrapping_sub(1);
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| replace(item, at, with)),
        Value::Object(members) => members.values_mut().for_each(|member| replace(member, at, with)),
        _ => {}
    }
}

proptest! {
    /// Whatever is wrong, it is told with a place, and a place is told once.
    #[test]
    fn any_wrong_values_are_told_once(changes in prop::collection::vec((1_usize..60, odd()), 1..6)) {
        let mut body = json!({"model": "m", "messages": [
            {"role": "user", "content": [{"type": "text", "text": "x"}, {"type": "image_url", "image_url": {"url": "data:,x"}}]},
            {"role": "assistant", "content": null, "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
            {"role": "tool", "content": "x", "tool_call_id": "c"}],
            "tools": [{"type": "function", "function": {"name": "f", "parameters": {}, "strict": true}}], "stop": ["a"],
            "stream": true, "stream_options": {"include_usage": true}, "metadata": {"a": "b"}, "n": 1, "logprobs": true,
            "response_format": {"type": "json_schema", "json_schema": {"name": "a"}}, "x": {"y": [1]}});
        for (at, with) in &changes {
            replace(&mut body, &mut at.clone(), with);
        }
        match read::<GenerateRequest>(body.to_string().as_bytes(), validate::generate_request) {
            Ok(_) => {}
            Err(Error::Invalid(found)) => {
                let mut fields: Vec<_> = found.iter().map(|violation| &violation.field).collect();
                prop_assert!(fields.iter().all(|field| !field.is_empty()), "{body}: {found:?}");
                fields.sort();
                let told = fields.len();
                fields.dedup();
                prop_assert_eq!(fields.len(), told, "{}: {:?}", body, found);
            }
            Err(other) => prop_assert!(false, "{body}: {other:?}"),
        }
    }
}
