//! What is kept, as it is shown.

use penstock_proto::inference::v1::{
    ChatInput, Choice, Delta, FunctionCall, GenerateChunk, Message, ToolCall, Usage, message::Content,
};
use serde_json::{Value, json};

use super::*;

const ID: &str = "resp_00000000000000000000000000000007";

fn said(role: &str, text: &str) -> Message {
    Message { role: role.into(), content: Some(Content::Text(text.into())), ..Message::default() }
}

fn kept(status: ResponseStatus) -> StoredResponse {
    let messages = vec![said("system", "be brief"), said("user", "1?"), said("user", "2?")];
    let terms = ResponseTerms {
        has_instructions: true,
        request_json: Some(r#"{"instructions":"be brief","temperature":0.50}"#.into()),
        ..ResponseTerms::default()
    };
    let request = GenerateRequest {
        model: "m".into(),
        input: Some(Input::Chat(ChatInput { messages })),
        response: Some(terms),
        ..GenerateRequest::default()
    };
    StoredResponse {
        id: ID.into(),
        created: 7,
        status: status.into(),
        request: Some(request),
        background: true,
        ..StoredResponse::default()
    }
}

fn answered() -> StoredResponse {
    let function =
        FunctionCall { name: Some("f".into()), arguments: Some("{}".into()), ..FunctionCall::default() };
    let call = ToolCall {
        id: Some("c1".into()),
        index: Some(0),
        r#type: Some("function".into()),
        function: Some(function),
        ..ToolCall::default()
    };
    let delta = Delta { content: Some("hello".into()), tool_calls: vec![call], ..Delta::default() };
    let choice = Choice { delta: Some(delta), finish_reason: Some("tool_calls".into()), ..Choice::default() };
    let answer = GenerateChunk {
        id: ID.into(),
        created: 7,
        model: "m".into(),
        choices: vec![choice],
        usage: Some(Usage { prompt_tokens: 3, completion_tokens: 2, total_tokens: 5, ..Usage::default() }),
        ..GenerateChunk::default()
    };
    StoredResponse { answer: Some(answer), completed: Some(9), ..kept(ResponseStatus::Completed) }
}

fn shown(response: &StoredResponse) -> Value {
    let mut out = BytesMut::new();
    write(response, &mut out).unwrap();
    serde_json::from_slice(&out).unwrap()
}

#[test]
fn each_status_is_shown_as_what_it_is() {
    for (status, name) in [
        (ResponseStatus::Queued, "queued"),
        (ResponseStatus::InProgress, "in_progress"),
        (ResponseStatus::Cancelled, "cancelled"),
    ] {
        let shown = shown(&kept(status));
        assert_eq!(
            (&shown["status"], &shown["output"], &shown["error"]),
            (&json!(name), &json!([]), &Value::Null)
        );
        assert_eq!(
            (&shown["id"], &shown["background"], &shown["model"]),
            (&json!(ID), &json!(true), &json!("m"))
        );
        assert_eq!((&shown["temperature"], &shown["instructions"]), (&json!(0.5), &json!("be brief")));
    }
    let failed = StoredResponse {
        failure: Some("ENGINE_CUT".into()),
        failure_message: Some("it was cut".into()),
        ..kept(ResponseStatus::Failed)
    };
    assert_eq!(shown(&failed)["error"], json!({"code": "server_error", "message": "it was cut"}));
    assert_eq!(shown(&answered())["status"], "completed");
    // Never passed off as a response.
    for none in
        [kept(ResponseStatus::Completed), kept(ResponseStatus::Unspecified), StoredResponse::default()]
    {
        assert!(matches!(write(&none, &mut BytesMut::new()), Err(Error::NotWhole)), "{none:?}");
    }
}

#[test]
fn items_come_in_pages_and_instructions_are_none() {
    let page = |after: Option<&str>, limit, newest_first| {
        let page = Page { after: after.map(str::to_owned), limit, newest_first };
        cut(of(answered()), &page)
            .ok()
            .map(|(items, more)| (items.into_iter().map(|item| item.id).collect::<Vec<_>>(), more))
    };
    let (all, more) = page(None, 20, false).unwrap();
    assert_eq!((all.len(), more), (2, false), "{all:?}");
    assert_eq!(page(None, 1, true), Some((vec![all[1].clone()], true)));
    assert_eq!(page(Some(&all[1]), 1, true), Some((vec![all[0].clone()], false)));
    assert_eq!(page(Some(&all[1]), 5, false), Some((vec![], false)));
    assert_eq!(page(Some("msg_x"), 5, false), None);
}

#[test]
fn a_replay_ends_with_what_is_kept_and_begins_where_it_is_told_to() {
    let events = |after| -> Vec<Value> {
        let text = String::from_utf8(replayed(&answered(), after).unwrap().to_vec()).unwrap();
        let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
        data.map(|data| serde_json::from_str(data).unwrap()).collect()
    };
    let all = events(None);
    let numbers: Vec<_> = all.iter().map(|event| event["sequence_number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (0..all.len() as u64).collect::<Vec<_>>());
    let last = all.last().unwrap();
    assert_eq!((&last["type"], &last["response"]), (&json!("response.completed"), &shown(&answered())));
    assert_eq!(events(Some(3)), all[4..]);
    assert_eq!(events(Some(usize::MAX)), Vec::<Value>::new());
    for status in [ResponseStatus::InProgress, ResponseStatus::Failed, ResponseStatus::Cancelled] {
        assert!(matches!(replayed(&kept(status), None), Err(Error::Invalid(_))), "{status:?}");
    }
}
