//! Whole and streamed answers in Ollama's words, by name and by property.

use penstock_proto::inference::v1::{Delta, FunctionCall, ToolCall};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn answer() -> Answer {
    Answer::new(Shape::Chat, "asked".into(), Clock::start())
}

fn chunk(delta: Delta, finish_reason: Option<&str>) -> GenerateChunk {
    let choice =
        Choice { delta: Some(delta), finish_reason: finish_reason.map(Into::into), ..Choice::default() };
    GenerateChunk { model: "m".into(), choices: vec![choice], ..GenerateChunk::default() }
}

fn says(text: &str) -> Delta {
    Delta { content: Some(text.into()), ..Delta::default() }
}

fn fragment(index: Option<i64>, name: Option<&str>, arguments: &str) -> ToolCall {
    let function = FunctionCall {
        name: name.map(Into::into),
        arguments: Some(arguments.into()),
        ..FunctionCall::default()
    };
    let id = name.map(|name| format!("id_{name}"));
    ToolCall { index, id, function: Some(function), ..ToolCall::default() }
}

fn calls(tool_calls: Vec<ToolCall>) -> Delta {
    Delta { tool_calls, ..Delta::default() }
}

/// The lines, and whether the answer is whole.
fn lines(chunks: &[GenerateChunk]) -> (Vec<Value>, bool) {
    let (mut answer, mut out) = (answer(), BytesMut::new());
    for chunk in chunks {
        answer.write(chunk, &mut out);
    }
    let whole = answer.end(&mut out);
    let text = std::str::from_utf8(&out).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'), "{text}");
    (text.lines().map(|line| serde_json::from_str(line).unwrap()).collect(), whole)
}

fn whole(chunk: &GenerateChunk) -> Option<Value> {
    let mut out = BytesMut::new();
    answer().whole(chunk, &mut out).ok()?;
    Some(serde_json::from_slice(&out).unwrap())
}

fn usage() -> Option<Usage> {
    Some(Usage { prompt_tokens: 3, completion_tokens: 4, total_tokens: 7, ..Usage::default() })
}

/// What comes of a call after the end would be in no line.
#[test]
fn a_call_after_the_end_makes_no_answer() {
    let call = |index, name| calls(vec![fragment(Some(index), Some(name), "{}")]);
    let chunks = [chunk(call(0, "f"), Some("tool_calls")), chunk(call(1, "g"), None)];
    assert!(lines(&chunks[..1]).1);
    assert!(!lines(&chunks).1);
}

#[test]
fn an_answer_is_lines_and_the_last_one_says_how_it_went() {
    let begun = Delta { role: Some("assistant".into()), content: Some(String::new()), ..Delta::default() };
    let thought = Delta { reasoning: Some("hm".into()), ..Delta::default() };
    let counted = GenerateChunk { model: "m".into(), usage: usage(), ..GenerateChunk::default() };
    let (lines, is_whole) = lines(&[
        chunk(begun, None),
        chunk(thought, None),
        chunk(says("a\n"), None),
        chunk(Delta { refusal: Some("no".into()), ..Delta::default() }, None),
        chunk(Delta::default(), Some("length")),
        counted,
    ]);
    assert!(is_whole);
    let messages: Vec<_> = lines.iter().map(|line| line["message"].clone()).collect();
    assert_eq!(
        messages,
        [
            json!({"role": "assistant", "content": "", "thinking": "hm"}),
            json!({"role": "assistant", "content": "a\n"}),
            json!({"role": "assistant", "content": "no"}),
            json!({"role": "assistant", "content": ""}),
        ]
    );
    let (last, others) = lines.split_last().unwrap();
    assert!(others.iter().all(|line| line["done"] == false && line.get("total_duration").is_none()));
    assert!(
        lines.iter().all(|line| line["model"] == "m" && line["created_at"].as_str().unwrap().ends_with('Z'))
    );
    assert_eq!((&last["done"], &last["done_reason"]), (&json!(true), &json!("length")));
    assert_eq!((&last["prompt_eval_count"], &last["eval_count"]), (&json!(3), &json!(4)));
    for name in ENGINE {
        assert!(last[name].is_u64(), "{name}");
    }
    assert_eq!(last.get("estimated"), None);
}

#[test]
fn calls_are_put_together_and_come_whole() {
    let (lines, is_whole) = lines(&[
        chunk(calls(vec![fragment(Some(0), Some("f"), "{\"a\":")]), None),
        chunk(calls(vec![fragment(Some(1), Some("g"), ""), fragment(Some(0), None, " \"é\"\n}")]), None),
        chunk(Delta::default(), Some("tool_calls")),
    ]);
    assert!(is_whole);
    assert_eq!(lines.len(), 2, "{lines:?}");
    let expected = json!([
        {"id": "id_f", "function": {"index": 0, "name": "f", "arguments": {"a": "é"}}},
        {"id": "id_g", "function": {"index": 1, "name": "g", "arguments": {}}},
    ]);
    assert_eq!((&lines[0]["message"]["tool_calls"], &lines[0]["done"]), (&expected, &json!(false)));
    assert_eq!(lines[1]["done_reason"], "stop");
    let plain = whole(&chunk(
        calls(vec![fragment(None, Some("f"), "{\"a\": \"é\"}"), fragment(None, Some("g"), "")]),
        Some("tool_calls"),
    ));
    assert_eq!(plain.unwrap()["message"]["tool_calls"], expected);
}

/// C8: what is broken never looks whole.
#[test]
fn arguments_that_are_no_object_break_the_answer() {
    for arguments in ["{", "[]", "null", "\"x\"", "{}{}", "{\"a\":}", "x"] {
        let call = || calls(vec![fragment(Some(0), Some("f"), arguments)]);
        let (written, is_whole) = lines(&[chunk(says("a"), None), chunk(call(), Some("tool_calls"))]);
        assert!(!is_whole, "{arguments}");
        assert!(written.iter().all(|line| line["done"] == false), "{written:?}");
        assert_eq!(whole(&chunk(call(), Some("tool_calls"))), None, "{arguments}");
    }
    let nameless = || chunk(calls(vec![fragment(Some(0), None, "{}")]), Some("stop"));
    assert!(!lines(&[nameless()]).1 && whole(&nameless()).is_none());
    let second = || GenerateChunk {
        choices: vec![Choice { index: 1, finish_reason: Some("stop".into()), ..Choice::default() }],
        ..GenerateChunk::default()
    };
    assert!(!lines(&[second()]).1 && whole(&second()).is_none());
    assert!(!lines(&[]).1 && !lines(&[chunk(says("a"), None)]).1);
}

#[test]
fn what_the_engine_measured_and_said_beside_is_told() {
    let extension = |name: &str, json: &str| Extension { name: name.into(), json: json.into() };
    let mut last = chunk(says("a"), Some("stop"));
    last.extensions = vec![
        extension("total_duration", "50"),
        extension("load_duration", "20"),
        extension("prompt_eval_duration", "10"),
        extension("eval_duration", "19"),
        extension("done", "false"),
        extension("error", "\"x\""),
        extension("remote_host", "\"h\""),
    ];
    last.usage = Some(Usage { estimated: true, ..Usage::default() });
    let plain = whole(&last).unwrap();
    let (streamed, _) = lines(&[last]);
    for end in [&plain, &streamed[1]] {
        let told: Vec<_> = ENGINE.iter().map(|name| end[name].as_u64().unwrap()).collect();
        assert_eq!(told, [50, 20, 10, 19]);
        assert_eq!((&end["done"], &end["estimated"], end.get("error")), (&json!(true), &json!(true), None));
    }
    assert_eq!((&plain["remote_host"], &streamed[0]["remote_host"]), (&json!("h"), &json!("h")));
}

#[tokio::test(start_paused = true)]
async fn what_the_engine_does_not_measure_is_measured() {
    let (mut answer, mut out) = (answer(), BytesMut::new());
    tokio::time::advance(Duration::from_millis(30)).await;
    answer.write(&chunk(says("a"), None), &mut out);
    tokio::time::advance(Duration::from_millis(12)).await;
    answer.write(&chunk(Delta::default(), Some("stop")), &mut out);
    out.clear();
    assert!(answer.end(&mut out));
    let end: Value = serde_json::from_slice(&out).unwrap();
    let told: Vec<_> = ENGINE.iter().map(|name| end[name].as_u64().unwrap()).collect();
    assert_eq!(told, [42_000_000, 0, 30_000_000, 12_000_000]);
}

#[test]
fn a_prompt_has_its_answer_in_response() {
    let mut answer = Answer::new(Shape::Prompt, "asked".into(), Clock::start());
    let mut out = BytesMut::new();
    answer.ping(&mut out);
    let ping: Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(
        (&ping["model"], &ping["response"], &ping["done"]),
        (&json!("asked"), &json!(""), &json!(false))
    );
    let said = Delta { reasoning: Some("hm".into()), ..says("a") };
    let mut out = BytesMut::new();
    answer.whole(&chunk(said, Some("content_filter")), &mut out).unwrap();
    let plain: Value = serde_json::from_slice(&out).unwrap();
    assert_eq!((&plain["response"], &plain["thinking"]), (&json!("a"), &json!("hm")));
    assert_eq!((plain.get("message"), &plain["done_reason"]), (None, &json!("content_filter")));
}

#[test]
fn an_error_is_a_line_and_logprobs_are_entries() {
    let (mut answer, mut out) = (answer(), BytesMut::new());
    let mut first = chunk(says("a"), None);
    first.choices[0].logprobs_json =
        Some(r#"{"content":[{"token":"a","logprob":-0.5}],"refusal":null}"#.into());
    answer.write(&first, &mut out);
    answer.fail(&penstock_proto::Error::new(Reason::EngineCut, "cut"), "r", &mut out);
    let lines: Vec<Value> =
        std::str::from_utf8(&out).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["logprobs"], json!([{"token": "a", "logprob": -0.5}]));
    assert_eq!((&lines[1]["error"], lines[1].get("done")), (&json!("cut"), None));
}

/// One piece of an answer.
fn piece() -> impl Strategy<Value = Delta> {
    let text = prop::option::of("[a-é\n\"]{0,4}");
    let call = (0..3_i64, "[a-z ]{0,4}").prop_map(|(index, text)| (index, text));
    (text.clone(), text.clone(), text, prop::collection::vec(call, 0..3)).prop_map(
        |(content, reasoning, refusal, parts)| Delta {
            content,
            reasoning,
            refusal,
            // Part of a string in the object that the first and the last piece make.
            tool_calls: parts.iter().map(|(index, text)| fragment(Some(*index), None, text)).collect(),
            ..Delta::default()
        },
    )
}

proptest! {
    /// Whatever the pieces are, the lines add up to the answer that is given at once.
    #[test]
    fn the_lines_add_up_to_the_plain_answer(pieces in prop::collection::vec(piece(), 0..8)) {
        let names = ["f", "g", "h"];
        let open = || (0..3).map(|index| fragment(Some(index), Some(names[index as usize]), "{\"a\":\"")).collect();
        let close = || (0..3).map(|index| fragment(Some(index), None, "\"}")).collect();
        let mut deltas = vec![calls(open())];
        deltas.extend(pieces);
        deltas.push(calls(close()));
        let mut chunks: Vec<_> = deltas.iter().map(|delta| chunk(delta.clone(), None)).collect();
        chunks.push(chunk(Delta::default(), Some("stop")));
        chunks.push(GenerateChunk { model: "m".into(), usage: usage(), ..GenerateChunk::default() });
        let (lines, is_whole) = lines(&chunks);
        prop_assert!(is_whole);

        let mut all = Delta::default();
        let mut texts = (String::new(), String::new());
        for delta in deltas {
            texts.0 += &delta.content.unwrap_or_default();
            texts.0 += &delta.refusal.unwrap_or_default();
            texts.1 += &delta.reasoning.unwrap_or_default();
            all.tool_calls.extend(delta.tool_calls);
        }
        (all.content, all.reasoning) = (Some(texts.0), Some(texts.1));
        let plain = GenerateChunk { usage: usage(), ..chunk(all, Some("stop")) };
        let plain = whole(&plain).unwrap();

        let joined = |name: &str| lines.iter().filter_map(|line| line["message"][name].as_str()).collect::<String>();
        prop_assert_eq!(joined("content"), plain["message"]["content"].as_str().unwrap());
        prop_assert_eq!(joined("thinking"), plain["message"]["thinking"].as_str().unwrap_or_default());
        let called: Vec<_> = lines.iter().filter_map(|line| line["message"].get("tool_calls")).collect();
        prop_assert_eq!(called, vec![&plain["message"]["tool_calls"]]);
        let last = lines.last().unwrap();
        for name in ["done", "done_reason", "prompt_eval_count", "eval_count"] {
            prop_assert_eq!(&last[name], &plain[name]);
        }
        let dones = lines.iter().filter(|line| line["done"] == true).count();
        prop_assert_eq!(dones, 1);
    }

    /// However it is cut, an answer that lost its end is never whole.
    #[test]
    fn without_an_end_there_is_none(pieces in prop::collection::vec(piece(), 0..8)) {
        let chunks: Vec<_> = pieces.into_iter().map(|delta| chunk(delta, None)).collect();
        let (lines, is_whole) = lines(&chunks);
        prop_assert!(!is_whole);
        prop_assert!(lines.iter().all(|line| line["done"] == false));
    }
}
