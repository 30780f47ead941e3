//! Chunks in, events out: by name, and by property that every sequence of them is well formed.

use penstock_proto::{
    Reason, Violation,
    inference::v1::{CustomCall, Delta, Extension, FunctionCall, ToolCall},
};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::responses::answer::Shown;

const ID: &str = "resp_0123456789abcdef0123456789abcdef";

fn terms(request: &str) -> ResponseTerms {
    ResponseTerms { request_json: Some(request.to_owned()), ..ResponseTerms::default() }
}

fn chunk(delta: Delta, finish_reason: Option<&str>) -> GenerateChunk {
    let finish_reason = finish_reason.map(str::to_owned);
    let choice = Choice { delta: Some(delta), finish_reason, ..Choice::default() };
    GenerateChunk {
        id: ID.into(),
        created: 7,
        model: "m".into(),
        choices: vec![choice],
        ..GenerateChunk::default()
    }
}

fn thought(text: &str) -> Delta {
    Delta { reasoning: Some(text.into()), ..Delta::default() }
}

fn text(text: &str) -> Delta {
    Delta { content: Some(text.into()), ..Delta::default() }
}

fn refusal(text: &str) -> Delta {
    Delta { refusal: Some(text.into()), ..Delta::default() }
}

/// A fragment of a call: the first one has `name`.
fn fragment(index: i64, name: Option<&str>, arguments: &str) -> Delta {
    let function = FunctionCall {
        name: name.map(Into::into),
        arguments: Some(arguments.into()),
        ..FunctionCall::default()
    };
    let call = ToolCall {
        index: Some(index),
        id: name.map(|_| format!("call_{index}")),
        function: Some(function),
        ..ToolCall::default()
    };
    Delta { tool_calls: vec![call], ..Delta::default() }
}

fn custom(index: i64, name: Option<&str>, input: &str) -> Delta {
    let custom =
        CustomCall { name: name.map(Into::into), input: Some(input.into()), ..CustomCall::default() };
    let call = ToolCall {
        index: Some(index),
        id: name.map(|_| format!("call_{index}")),
        custom: Some(custom),
        ..ToolCall::default()
    };
    Delta { tool_calls: vec![call], ..Delta::default() }
}

fn usage() -> GenerateChunk {
    let usage = Usage { prompt_tokens: 3, completion_tokens: 4, total_tokens: 7, ..Usage::default() };
    GenerateChunk {
        id: ID.into(),
        created: 7,
        model: "m".into(),
        usage: Some(usage),
        ..GenerateChunk::default()
    }
}

/// The events, each with the name before its data.
fn read(out: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(out).unwrap();
    let events = text.split_terminator("\n\n").enumerate().map(|(number, event)| {
        let (name, data) = event.split_once('\n').unwrap();
        let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(name.strip_prefix("event: "), data["type"].as_str());
        assert_eq!(data["sequence_number"], number);
        data
    });
    events.collect()
}

fn streamed(request: &str, chunks: &[GenerateChunk]) -> Option<Vec<Value>> {
    let mut out = BytesMut::new();
    let mut events = Responses::new(&terms(request), "asked", || 9);
    chunks.iter().for_each(|chunk| events.write(chunk, &mut out));
    events.end(&mut out).then(|| read(&out))
}

fn types(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["type"].as_str().unwrap().trim_start_matches("response.")).collect()
}

#[test]
fn a_text_is_told_in_the_order_of_the_specification() {
    let chunks = [
        chunk(
            Delta { role: Some("assistant".into()), content: Some(String::new()), ..Delta::default() },
            None,
        ),
        chunk(text("Hé\n"), None),
        chunk(text("llo"), Some("stop")),
        usage(),
    ];
    let events = streamed("{}", &chunks).unwrap();
    assert_eq!(
        types(&events),
        [
            "created",
            "in_progress",
            "output_item.added",
            "content_part.added",
            "output_text.delta",
            "output_text.delta",
            "output_text.done",
            "content_part.done",
            "output_item.done",
            "completed",
        ]
    );
    assert_eq!(events[0]["response"]["status"], "in_progress");
    assert_eq!(events[0]["response"]["output"], json!([]));
    assert_eq!(events[0]["response"]["usage"], Value::Null);
    let id = "msg_0123456789abcdef0123456789abcdef_0";
    let place = json!({"item_id": id, "output_index": 0, "content_index": 0});
    for event in &events[3..8] {
        for (name, value) in place.as_object().unwrap() {
            assert_eq!(&event[name], value, "{event}");
        }
    }
    assert_eq!((&events[4]["delta"], &events[4]["logprobs"]), (&json!("Hé\n"), &json!([])));
    assert_eq!(events[6]["text"], "Hé\nllo");
    let response = &events[9]["response"];
    assert_eq!((&response["status"], &response["completed_at"]), (&json!("completed"), &json!(9)));
    assert_eq!((&response["id"], &response["model"]), (&json!(ID), &json!("m")));
    assert_eq!(response["output"][0], events[8]["item"]);
    assert_eq!(response["output"][0]["content"][0]["text"], "Hé\nllo");
    assert_eq!(response["usage"]["total_tokens"], 7);
}

/// Conformance 4: until the answer ends with a finish reason, there is no end that looks like one.
#[test]
fn another_choice_is_no_part_of_the_answer() {
    let mut both = chunk(text("Hi"), Some("stop"));
    let other = chunk(text("Ho"), Some("length")).choices.remove(0);
    both.choices.insert(0, Choice { index: 1, ..other });
    let events = streamed("{}", std::slice::from_ref(&both)).unwrap();
    let last = &events.last().unwrap()["response"];
    assert_eq!(
        (&last["status"], &last["output"][0]["content"][0]["text"]),
        (&json!("completed"), &json!("Hi"))
    );
    assert_eq!(plain("{}", &both).unwrap()["output"][0]["content"][0]["text"], "Hi");
}

/// C12: items are counted and calls found without a look at all that was said before.
#[test]
fn ever_more_items_are_told() {
    let mut chunks = vec![chunk(fragment(7, Some("f"), "{"), None)];
    for _ in 0..20_000 {
        chunks.extend([text("a"), thought("b"), fragment(7, None, " ")].map(|delta| chunk(delta, None)));
    }
    chunks.push(chunk(fragment(7, None, "}"), Some("tool_calls")));
    let events = streamed("{}", &chunks).unwrap();
    let output = events.last().unwrap()["response"]["output"].as_array().unwrap();
    assert_eq!(output.len(), 40_001);
    let ids: std::collections::HashSet<_> = output.iter().map(|item| item["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), output.len());
    assert_eq!(output[0]["arguments"].as_str().unwrap().len(), 20_002);
}

#[test]
fn nothing_ends_that_is_not_whole() {
    assert!(streamed("{}", &[]).is_none());
    assert!(streamed("{}", &[chunk(text("a"), None)]).is_none());
    assert!(streamed("{}", &[usage()]).is_none());
    // A call without a name cannot be told, streamed or not.
    let nameless = chunk(fragment(0, None, "{}"), Some("tool_calls"));
    assert!(streamed("{}", std::slice::from_ref(&nameless)).is_none());
    assert!(plain("{}", &nameless).is_err());
}

#[test]
fn thoughts_are_told_in_full_and_as_the_summary_that_was_asked_for() {
    let chunks = [chunk(thought("hm"), None), chunk(text("x"), Some("stop"))];
    let events = streamed("{}", &chunks).unwrap();
    let reasoning = [
        "output_item.added",
        "content_part.added",
        "reasoning_text.delta",
        "reasoning_text.done",
        "content_part.done",
        "output_item.done",
    ];
    assert_eq!(types(&events)[2..8], reasoning);
    assert_eq!(events[7]["item"]["summary"], json!([]));
    let events = streamed(r#"{"reasoning":{"summary":"auto"}}"#, &chunks).unwrap();
    let told = types(&events);
    for name in
        ["summary_part.added", "summary_text.delta", "summary_text.done", "summary_part.done", "text.done"]
    {
        assert!(told.contains(&format!("reasoning_{name}").as_str()), "{name}: {told:?}");
    }
    let done = events.iter().find(|event| event["type"] == "response.output_item.done").unwrap();
    assert_eq!(done["item"]["summary"], json!([{"type": "summary_text", "text": "hm"}]));
    assert_eq!(done["item"]["content"], json!([{"type": "reasoning_text", "text": "hm"}]));
}

#[test]
fn calls_are_told_by_their_fragments_in_turns_too() {
    let chunks = [
        chunk(fragment(0, Some("f"), ""), None),
        chunk(custom(1, Some("c"), "in"), None),
        chunk(fragment(0, None, "{\"a\":"), None),
        chunk(custom(1, None, "put"), None),
        chunk(fragment(0, None, "1}"), Some("tool_calls")),
    ];
    let events = streamed("{}", &chunks).unwrap();
    assert_eq!(
        types(&events)[2..],
        [
            "output_item.added",
            "output_item.added",
            "custom_tool_call_input.delta",
            "function_call_arguments.delta",
            "custom_tool_call_input.delta",
            "function_call_arguments.delta",
            "function_call_arguments.done",
            "output_item.done",
            "custom_tool_call_input.done",
            "output_item.done",
            "completed",
        ]
    );
    let output = &events.last().unwrap()["response"]["output"];
    assert_eq!(
        *output,
        json!([
            {"id": "fc_0123456789abcdef0123456789abcdef_0", "type": "function_call", "status": "completed",
             "call_id": "call_0", "name": "f", "arguments": "{\"a\":1}"},
            {"id": "ctc_0123456789abcdef0123456789abcdef_1", "type": "custom_tool_call", "status": "completed",
             "call_id": "call_1", "name": "c", "input": "input"},
        ])
    );
}

#[test]
fn a_call_whose_name_comes_late_begins_with_its_name() {
    let late = Delta {
        tool_calls: vec![ToolCall {
            index: Some(0),
            function: Some(FunctionCall { name: Some("f".into()), ..FunctionCall::default() }),
            ..ToolCall::default()
        }],
        ..Delta::default()
    };
    let chunks =
        [chunk(fragment(0, None, "{"), None), chunk(late, None), chunk(fragment(0, None, "}"), Some("stop"))];
    let events = streamed("{}", &chunks).unwrap();
    assert_eq!(events[2]["item"]["name"], "f");
    assert_eq!(events[2]["item"]["arguments"], "");
    assert_eq!(events.last().unwrap()["response"]["output"][0]["arguments"], "{}");
}

#[test]
fn what_a_bound_cuts_is_incomplete_and_so_is_its_last_item() {
    for (finish, reason) in [("length", "max_output_tokens"), ("content_filter", "content_filter")] {
        let events = streamed("{}", &[chunk(thought("a"), None), chunk(text("b"), Some(finish))]).unwrap();
        let last = events.last().unwrap();
        assert_eq!(last["type"], "response.incomplete");
        let response = &last["response"];
        assert_eq!(response["status"], "incomplete");
        assert_eq!(response["incomplete_details"], json!({"reason": reason}));
        assert_eq!(response["completed_at"], Value::Null);
        assert_eq!(response["output"][1]["status"], "incomplete");
    }
}

/// C8: an error after the begin is an event with which SDKs throw, and a response that failed. No piece is shown
/// as an item.
#[test]
fn what_breaks_off_has_failed() {
    let violation = Violation::new("max_output_tokens", "must be less");
    for (error, code, param) in [
        (Error::new(Reason::EngineCut, "cut"), "server_error", Value::Null),
        (Error::new(Reason::RateLimitExceeded, "later"), "rate_limit_exceeded", Value::Null),
        (Error::invalid(vec![violation]), "server_error", json!("max_output_tokens")),
    ] {
        for chunks in [&[][..], &[chunk(text("a"), None)]] {
            let mut out = BytesMut::new();
            let mut events = Responses::new(&terms("{}"), "asked", || 9);
            chunks.iter().for_each(|chunk| events.write(chunk, &mut out));
            events.fail(&error, "r1", &mut out);
            let events = read(&out);
            let [.., told, failed] = events.as_slice() else { panic!("{events:?}") };
            assert_eq!(told["type"], "error");
            assert_eq!(told["message"], *error.message);
            assert_eq!(told["error"]["message"], *error.message);
            assert_eq!((&told["param"], &told["error"]["param"]), (&param, &param));
            assert_eq!(failed["type"], "response.failed");
            let response = &failed["response"];
            assert_eq!(response["status"], "failed");
            assert_eq!(response["error"], json!({"code": code, "message": *error.message}));
            assert_eq!(response["output"], json!([]));
            assert_eq!(response["model"], if chunks.is_empty() { "asked" } else { "m" });
            assert!(!types(&events).contains(&"completed"));
        }
    }
}

#[test]
fn log_probabilities_go_with_their_text() {
    let with = |content: &str, logprobs: &str, finish: Option<&str>| {
        let mut chunk = chunk(text(content), finish);
        chunk.choices[0].logprobs_json = Some(logprobs.into());
        chunk
    };
    let chunks = [
        with("", r#"{"content":[{"token":"0"}]}"#, None),
        with("a", r#"{"content":[{"token":"a","logprob":-0.10}],"refusal":null}"#, None),
        with("b", r#"{"content":[{"token":"b"}]}"#, None),
        with("", r#"{"content":[{"token":"c"}]}"#, Some("stop")),
    ];
    let events = streamed("{}", &chunks).unwrap();
    let deltas: Vec<_> =
        events.iter().filter(|event| event["type"] == "response.output_text.delta").collect();
    assert_eq!(deltas[0]["logprobs"], json!([{"token": "0"}, {"token": "a", "logprob": -0.1}]));
    assert_eq!(deltas[1]["logprobs"], json!([{"token": "b"}]));
    let all = json!([{"token": "0"}, {"token": "a", "logprob": -0.1}, {"token": "b"}, {"token": "c"}]);
    assert_eq!(events.last().unwrap()["response"]["output"][0]["content"][0]["logprobs"], all);
}

fn plain(request: &str, answer: &GenerateChunk) -> Result<Value, crate::error::Error> {
    let terms = terms(request);
    let shown = Shown {
        id: ID,
        created: answer.created,
        completed: Some(9),
        status: Status::Completed,
        model: "asked",
        terms: &terms,
        answer: Some(answer),
        error: None,
        background: false,
    };
    let mut out = BytesMut::new();
    answer::write(&shown, &mut out)?;
    Ok(serde_json::from_slice(&out).unwrap())
}

/// The same answer in one chunk.
fn merged(chunks: &[GenerateChunk]) -> GenerateChunk {
    let mut whole = Delta::default();
    let add = |to: &mut Option<String>, piece: &Option<String>| {
        if let Some(piece) = piece {
            to.get_or_insert_default().push_str(piece);
        }
    };
    let mut answer = usage();
    let mut finish = None;
    for choice in chunks.iter().flat_map(|chunk| &chunk.choices) {
        finish = finish.or(choice.finish_reason.as_deref());
        let delta = choice.delta.as_ref().unwrap();
        add(&mut whole.reasoning, &delta.reasoning);
        add(&mut whole.content, &delta.content);
        add(&mut whole.refusal, &delta.refusal);
        for call in &delta.tool_calls {
            let Some(known) = whole.tool_calls.iter_mut().find(|known| known.index == call.index) else {
                whole.tool_calls.push(call.clone());
                continue;
            };
            for (to, from) in known.function.iter_mut().zip(&call.function) {
                add(&mut to.arguments, &from.arguments);
            }
            for (to, from) in known.custom.iter_mut().zip(&call.custom) {
                add(&mut to.input, &from.input);
            }
        }
    }
    answer.choices = chunk(whole, finish).choices;
    answer
}

/// Pieces of an answer, in any order.
fn pieces() -> impl Strategy<Value = Vec<GenerateChunk>> {
    let piece = prop_oneof![
        "[a-c\"\n]{0,3}".prop_map(|piece| thought(&piece)),
        "[a-c\"\n]{0,3}".prop_map(|piece| text(&piece)),
        "[a-c]{0,3}".prop_map(|piece| refusal(&piece)),
        (0..4_i64, "[a-c]{0,3}").prop_map(|(index, piece)| {
            // Whose call it is, its index tells; the name is put in below, where it begins.
            if index % 2 == 0 { fragment(index, None, &piece) } else { custom(index, None, &piece) }
        }),
    ];
    let finish = prop::sample::select(vec!["stop", "length", "content_filter", "tool_calls"]);
    (prop::collection::vec(piece, 0..12), finish).prop_map(|(mut deltas, finish)| {
        let mut seen = Vec::new();
        for call in deltas.iter_mut().flat_map(|delta| &mut delta.tool_calls) {
            let index = call.index.unwrap();
            if !seen.contains(&index) {
                seen.push(index);
                call.id = Some(format!("call_{index}"));
                call.function.iter_mut().for_each(|function| function.name = Some("f".into()));
                call.custom.iter_mut().for_each(|custom| custom.name = Some("c".into()));
            }
        }
        let mut chunks: Vec<_> = deltas.into_iter().map(|delta| chunk(delta, None)).collect();
        chunks.push(chunk(Delta::default(), Some(finish)));
        chunks.push(usage());
        chunks
    })
}

/// The order in which a model speaks: thoughts, text, calls.
fn in_order(chunks: &[GenerateChunk]) -> Vec<GenerateChunk> {
    let rank = |chunk: &GenerateChunk| {
        let Some(delta) = chunk.choices.first().and_then(|choice| choice.delta.as_ref()) else { return 5 };
        match () {
            () if delta.reasoning.is_some() => 0,
            () if delta.content.is_some() => 1,
            () if delta.refusal.is_some() => 2,
            () if !delta.tool_calls.is_empty() => 3,
            () => 4,
        }
    };
    let mut chunks = chunks.to_vec();
    chunks.sort_by_key(rank);
    chunks
}

/// Puts what the events tell together, and sees to it that each belongs where it says.
fn put_together(events: &[Value]) -> Vec<Value> {
    let mut items: Vec<(Value, bool)> = Vec::new();
    for event in events {
        let kind = event["type"].as_str().unwrap().trim_start_matches("response.");
        let Some(index) = event["output_index"].as_u64().map(|index| index as usize) else { continue };
        if kind == "output_item.added" {
            assert_eq!(index, items.len(), "{event}");
            items.push((event["item"].clone(), true));
            continue;
        }
        let (item, open) = &mut items[index];
        assert!(*open, "told after its end: {event}");
        let id = if kind == "output_item.done" { &event["item"]["id"] } else { &event["item_id"] };
        assert_eq!(id, &item["id"], "{event}");
        let list = if kind.contains("summary") { "summary" } else { "content" };
        let part = event["content_index"].as_u64().or(event["summary_index"].as_u64()).map(|at| at as usize);
        let append = |to: &mut Value| {
            let whole = to.as_str().unwrap().to_owned() + event["delta"].as_str().unwrap();
            *to = whole.into();
        };
        match kind {
            "content_part.added" | "reasoning_summary_part.added" => {
                let parts = item[list].as_array_mut().unwrap();
                assert_eq!(part, Some(parts.len()), "{event}");
                parts.push(event["part"].clone());
            }
            "output_text.delta" | "reasoning_text.delta" | "reasoning_summary_text.delta" => {
                append(&mut item[list][part.unwrap()]["text"]);
            }
            "refusal.delta" => append(&mut item[list][part.unwrap()]["refusal"]),
            "function_call_arguments.delta" => append(&mut item["arguments"]),
            "custom_tool_call_input.delta" => append(&mut item["input"]),
            "output_text.done" | "reasoning_text.done" | "reasoning_summary_text.done" => {
                assert_eq!(item[list][part.unwrap()]["text"], event["text"]);
            }
            "refusal.done" => assert_eq!(item[list][part.unwrap()]["refusal"], event["refusal"]),
            "function_call_arguments.done" => assert_eq!(item["arguments"], event["arguments"]),
            "custom_tool_call_input.done" => assert_eq!(item["input"], event["input"]),
            "content_part.done" | "reasoning_summary_part.done" => {
                assert_eq!(item[list][part.unwrap()], event["part"]);
            }
            "output_item.done" => {
                *open = false;
                if item.get("status").is_some() {
                    item["status"] = event["item"]["status"].clone();
                }
                assert_eq!(*item, event["item"]);
            }
            other => panic!("{other}"),
        }
    }
    assert!(items.iter().all(|(_, open)| !open), "an item has no end");
    items.into_iter().map(|(item, _)| item).collect()
}

proptest! {
    #[test]
    fn any_pieces_are_told_in_events_that_fit_together(chunks in pieces(), summary in any::<bool>()) {
        let request = if summary { r#"{"reasoning":{"summary":"auto"}}"# } else { "{}" };
        let events = streamed(request, &chunks).unwrap();
        let output = put_together(&events);
        prop_assert_eq!(&events.last().unwrap()["response"]["output"], &json!(output));
        // What follows one another belongs together: nothing is lost by the order.
        let said = |output: &[Value], kind: &str, member: &str| -> String {
            let of_kind = output.iter().filter(|item| item["type"] == kind);
            let parts = of_kind.flat_map(|item| item["content"].as_array().unwrap());
            parts.filter_map(|part| part[member].as_str()).collect()
        };
        let whole = merged(&chunks).choices.remove(0).delta.unwrap();
        prop_assert_eq!(said(&output, "reasoning", "text"), whole.reasoning.unwrap_or_default());
        prop_assert_eq!(said(&output, "message", "text"), whole.content.unwrap_or_default());
        prop_assert_eq!(said(&output, "message", "refusal"), whole.refusal.unwrap_or_default());
    }

    #[test]
    fn what_is_streamed_is_what_is_shown_at_once(chunks in pieces(), summary in any::<bool>()) {
        let request = if summary { r#"{"reasoning":{"summary":"auto"},"store":false}"# } else { "{}" };
        let chunks = in_order(&chunks);
        let events = streamed(request, &chunks).unwrap();
        let shown = plain(request, &merged(&chunks)).unwrap();
        prop_assert_eq!(&events.last().unwrap()["response"], &shown);
    }

    /// Whatever breaks, and wherever: the events so far, the error, and no end that looks like one.
    #[test]
    fn any_answer_may_break_anywhere(chunks in pieces(), at in 0..14_usize) {
        let mut out = BytesMut::new();
        let mut events = Responses::new(&terms("{}"), "asked", || 9);
        chunks.iter().take(at).for_each(|chunk| events.write(chunk, &mut out));
        events.fail(&Error::new(Reason::EngineCut, "cut"), "r", &mut out);
        let events = read(&out);
        prop_assert_eq!(&events.last().unwrap()["type"], "response.failed");
        prop_assert!(!events.iter().any(|event| event["response"]["status"] == "completed"));
    }
}

/// Some engines give a call a member that has to come back with what the tool gave.
#[test]
fn members_of_the_engines_own_stay_with_their_call() {
    let mut first = fragment(0, Some("f"), "{}");
    first.tool_calls[0].extensions =
        vec![Extension { name: "extra_content".into(), json: r#"{"signature":"x"}"#.into() }];
    let events = streamed("{}", &[chunk(first, Some("tool_calls"))]).unwrap();
    let output = &events.last().unwrap()["response"]["output"];
    assert_eq!(output[0]["extra_content"], json!({"signature": "x"}));
}
