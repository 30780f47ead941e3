//! Tests of the answer in the making.

use penstock_proto::inference::v1::{FunctionCall, Prompt, TextInput, TextList, ToolCall, prompt::Kind};

use super::*;

fn request(stream: bool) -> GenerateRequest {
    GenerateRequest { model: "asked".into(), stream, ..GenerateRequest::default() }
}

fn piece(index: i64, text: Option<&str>, finish: Option<&str>) -> GenerateChunk {
    let delta =
        Delta { content: text.map(str::to_owned), role: Some("assistant".into()), ..Delta::default() };
    let finish_reason = finish.map(str::to_owned);
    GenerateChunk {
        id: format!("engine-{index}"),
        created: 1_000_000_000 + index,
        choices: vec![Choice { index, delta: Some(delta), finish_reason, ..Choice::default() }],
        ..GenerateChunk::default()
    }
}

fn usage(prompt: i64, completion: i64) -> GenerateChunk {
    let usage = Usage { prompt_tokens: prompt, completion_tokens: completion, ..Usage::default() };
    GenerateChunk { usage: Some(usage), ..GenerateChunk::default() }
}

fn run(stream: bool, chunks: Vec<GenerateChunk>) -> (Vec<GenerateChunk>, Result<(), Fault>) {
    let mut answer = Answer::new(&request(stream), 1_000_000_500);
    let mut out = Vec::new();
    let result = chunks
        .into_iter()
        .try_for_each(|chunk| answer.take(chunk, &mut out))
        .and_then(|()| answer.end(&mut out));
    (out, result)
}

#[test]
fn c5_identity_is_the_same_on_every_chunk_and_usage_comes_once_and_last() {
    let mut first = piece(0, Some("a"), None);
    first.usage = usage(9, 1).usage;
    let (out, result) = run(
        true,
        vec![first, piece(1, Some("b"), Some("stop")), piece(0, None, Some("length")), usage(9, 2)],
    );
    assert_eq!(result, Ok(()));
    assert!(
        out.iter()
            .all(|chunk| chunk.id == "engine-0" && chunk.created == 1_000_000_000 && chunk.model == "asked")
    );
    let with_usage: Vec<_> = out.iter().filter_map(|chunk| chunk.usage.as_ref()).collect();
    assert_eq!(with_usage.len(), 1);
    assert_eq!((with_usage[0].total_tokens, with_usage[0].estimated), (11, false));
    assert!(out.last().unwrap().choices.is_empty());
}

#[test]
fn roles_are_said_once_for_each_choice() {
    let (out, _) =
        run(true, vec![piece(0, Some("a"), None), piece(1, None, None), piece(0, Some("b"), Some("stop"))]);
    let roles: Vec<_> =
        out.iter().flat_map(|c| &c.choices).map(|c| c.delta.as_ref().unwrap().role.is_some()).collect();
    assert_eq!(roles, [true, false, true, false, false], "by themselves, and once");
}

#[test]
fn c8_an_answer_is_whole_only_if_every_choice_is_finished() {
    for chunks in [
        vec![],
        vec![usage(1, 1)],
        vec![piece(0, Some("a"), None)],
        vec![piece(0, None, Some("stop")), piece(2, Some("a"), Some(""))],
    ] {
        assert_eq!(run(true, chunks).1.unwrap_err().reason, Reason::EngineCut);
    }
}

#[test]
fn usage_that_no_engine_gave_is_left_to_be_counted() {
    let (out, _) = run(false, vec![piece(0, Some("12345678"), Some("stop"))]);
    assert_eq!(out.len(), 1);
    let usage = out[0].usage.as_ref().unwrap();
    assert_eq!((usage.prompt_tokens, usage.completion_tokens, usage.estimated), (0, 0, true));
}

/// What a chunk says, in short: role, content, tool calls, end.
fn said(out: &[GenerateChunk]) -> Vec<String> {
    let one = |choice: &Choice| {
        let delta = choice.delta.as_ref().unwrap();
        let mut words = Vec::new();
        words.extend(delta.role.clone());
        words.extend(delta.content.as_ref().map(|text| format!("{text:?}")));
        words.extend(delta.reasoning.as_ref().map(|text| format!("({text})")));
        words.extend(delta.tool_calls.iter().map(|call| format!("call {:?}", call.index.unwrap())));
        words.extend(choice.finish_reason.as_ref().map(|reason| format!("end {reason}")));
        format!("{} {}", choice.index, words.join(" "))
    };
    let usage = |chunk: &GenerateChunk| chunk.usage.is_some().then(|| "usage".to_owned());
    out.iter().flat_map(|chunk| chunk.choices.iter().map(one).chain(usage(chunk))).collect()
}

/// Conformance 1 and 2: the order of a stream, whatever the engine puts into one chunk.
#[test]
fn c5_every_chunk_of_a_stream_says_one_thing() {
    let with_usage = |mut chunk: GenerateChunk| {
        chunk.usage = usage(1, 1).usage;
        chunk
    };
    let no_role = |mut chunk: GenerateChunk| {
        chunk.choices[0].delta.as_mut().unwrap().role = None;
        chunk
    };
    let whole = ["0 assistant \"\"", "0 \"a\"", "0 end stop", "usage"];
    for chunks in [
        vec![piece(0, Some(""), None), piece(0, Some("a"), None), piece(0, Some(""), Some("stop"))],
        vec![piece(0, None, None), piece(0, Some("a"), Some("stop"))],
        vec![no_role(piece(0, Some("a"), None)), piece(0, None, Some("stop")), usage(1, 1)],
        vec![with_usage(piece(0, Some("a"), Some("stop")))],
        // The end again beside the usage, and an empty end before it.
        vec![
            piece(0, Some("a"), Some("")),
            piece(0, None, Some("stop")),
            with_usage(piece(0, None, Some("stop"))),
        ],
    ] {
        let (out, result) = run(true, chunks);
        assert_eq!(result, Ok(()));
        assert_eq!(said(&out), whole);
    }
    let mut both = piece(0, Some("a"), Some("stop"));
    both.choices.extend(piece(1, Some("b"), Some("length")).choices);
    both.system_fingerprint = Some("fp".into());
    both.extensions = vec![Extension { name: "timings".into(), json: "{}".into() }];
    let (out, _) = run(true, vec![both]);
    let expected =
        ["0 assistant \"\"", "0 \"a\"", "0 end stop", "1 assistant \"\"", "1 \"b\"", "1 end length", "usage"];
    assert_eq!(said(&out), expected);
    assert!(out.iter().all(|chunk| chunk.system_fingerprint.as_deref() == Some("fp")));
    assert_eq!(out.iter().filter(|chunk| !chunk.extensions.is_empty()).count(), 1, "said once");
}

#[test]
fn the_log_probabilities_stay_with_the_text_and_the_rest_with_the_end() {
    let mut chunk = piece(0, Some("a"), Some("stop"));
    chunk.choices[0].logprobs_json = Some("{}".into());
    chunk.choices[0].extensions = vec![Extension { name: "stop_reason".into(), json: "1".into() }];
    let (out, _) = run(true, vec![chunk]);
    let of = |at: usize| (&out[at].choices[0].logprobs_json, out[at].choices[0].extensions.len());
    assert_eq!((of(0), of(1), of(2)), ((&None, 0), (&Some("{}".into()), 0), (&None, 1)));
}

/// C12, and `finish_reason` that should have been `tool_calls`.
#[test]
fn a_plain_answer_with_calls_is_taken_apart_for_a_stream() {
    let call = |name: &str| ToolCall {
        function: Some(FunctionCall {
            name: Some(name.into()),
            arguments: Some("{}".into()),
            ..FunctionCall::default()
        }),
        ..ToolCall::default()
    };
    let mut chunk = piece(0, None, Some("stop"));
    let delta = chunk.choices[0].delta.as_mut().unwrap();
    delta.tool_calls = vec![call("f"), call("g")];
    delta.reasoning = Some("hm".into());
    let (out, _) = run(true, vec![chunk.clone()]);
    assert_eq!(said(&out), ["0 assistant \"\"", "0 (hm) call 0 call 1", "0 end tool_calls", "usage"]);
    let (out, _) = run(false, vec![chunk]);
    assert_eq!(out.len(), 1);
    let choice = &out[0].choices[0];
    assert_eq!(choice.finish_reason.as_deref(), Some("tool_calls"));
    assert!(choice.delta.as_ref().unwrap().tool_calls.iter().all(|call| call.index.is_none()));
}

#[test]
fn what_continues_a_text_has_no_roles() {
    let text = GenerateRequest { input: Some(Input::Text(TextInput::default())), ..request(true) };
    let mut answer = Answer::new(&text, 0);
    let mut out = Vec::new();
    let mut chunk = piece(0, Some("a"), Some("stop"));
    chunk.id.clear();
    answer.take(chunk, &mut out).unwrap();
    assert_eq!(said(&out), ["0 \"a\"", "0 end stop"]);
    assert!(out[0].id.starts_with("cmpl-"));
}

#[test]
fn d10_senseless_numbers_are_put_right() {
    let mut chunk = piece(0, Some("a"), Some("stop"));
    chunk.created = 17;
    chunk.id.clear();
    let (out, _) = run(true, vec![chunk, usage(-5, 3)]);
    assert_eq!(out[0].created, 1_000_000_500);
    assert!(out[0].id.starts_with("chatcmpl-"));
    let usage = out.last().unwrap().usage.as_ref().unwrap();
    assert_eq!((usage.prompt_tokens, usage.total_tokens), (0, 3));
    assert_eq!(run(true, vec![piece(-1, None, None)]).1.unwrap_err().reason, Reason::EngineBadAnswer);
    assert_eq!(run(true, vec![piece(128, None, None)]).1.unwrap_err().reason, Reason::EngineBadAnswer);
}

/// C7: what the router takes for a beginning must not be silence here.
#[test]
fn c7_what_only_an_extension_says_is_said() {
    let mut answer = Answer::new(&request(true), 1_000_000_500);
    let mut out = Vec::new();
    let begun = |answer: &mut Answer, out: &mut Vec<_>, chunk| {
        answer.take(chunk, out).unwrap();
        answer.has_begun()
    };
    let mut noted = piece(0, Some(""), None);
    let extension = Extension { name: "thinking".into(), json: "[1]".into() };
    noted.extensions.push(extension.clone());
    noted.choices[0].extensions.push(extension.clone());
    assert!(!begun(&mut answer, &mut out, noted), "a role and what is said about the answer");
    let mut thought = piece(0, None, None);
    thought.choices[0].delta.as_mut().unwrap().extensions.push(extension);
    assert!(begun(&mut answer, &mut out, thought));
}

/// Of a text that is continued nobody speaks: no roles, an id of its own kind, usage all the same.
#[test]
fn texts_that_are_continued_have_no_roles() {
    for stream in [true, false] {
        let request = GenerateRequest { input: Some(Input::Text(TextInput::default())), ..request(stream) };
        let mut answer = Answer::new(&request, 1_000_000_500);
        let mut out = Vec::new();
        let anonymous =
            |index, text, finish| GenerateChunk { id: String::new(), ..piece(index, text, finish) };
        let mut chunk = anonymous(0, Some("a"), Some("stop"));
        chunk.choices.extend(anonymous(1, Some("b"), Some("length")).choices);
        answer.take(chunk, &mut out).and_then(|()| answer.end(&mut out)).unwrap();
        assert!(out[0].id.starts_with("cmpl-"), "{}", out[0].id);
        assert!(
            out.iter().flat_map(|chunk| &chunk.choices).all(|choice| choice
                .delta
                .as_ref()
                .unwrap()
                .role
                .is_none())
        );
        assert!(out.last().unwrap().usage.as_ref().unwrap().estimated);
    }
}

/// D9: without a word that it is done, only a whole answer is one.
#[test]
fn c1_a_choice_that_never_came_was_cut_unless_the_engine_says_that_it_is_done() {
    let asked = GenerateRequest { n: Some(2), ..request(true) };
    for (choices, is_whole) in [(1, false), (2, true)] {
        let mut answer = Answer::new(&asked, 0);
        let mut out = Vec::new();
        for index in 0..choices {
            answer.take(piece(index, Some("a"), Some("stop")), &mut out).unwrap();
        }
        assert_eq!(answer.cease(&mut out).map_err(|fault| fault.reason).is_ok(), is_whole, "{choices}");
        assert!(is_whole || answer.end(&mut out).is_ok());
    }
}

#[test]
fn texts_to_continue_have_a_choice_each_and_no_more() {
    let values = vec!["x".to_owned(); 200];
    let text = TextInput {
        prompt: Some(Prompt { kind: Some(Kind::Texts(TextList { values })) }),
        ..TextInput::default()
    };
    let mut answer = Answer::new(&GenerateRequest { input: Some(Input::Text(text)), ..request(true) }, 0);
    for index in 0..200 {
        assert!(answer.take(piece(index, Some("a"), Some("stop")), &mut Vec::new()).is_ok(), "{index}");
    }
    assert!(answer.take(piece(200, Some("a"), None), &mut Vec::new()).is_err());
    assert!(Answer::new(&request(true), 0).take(piece(128, Some("a"), None), &mut Vec::new()).is_err());
}
