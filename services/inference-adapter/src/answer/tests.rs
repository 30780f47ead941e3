//! Tests of the answer in the making.

use penstock_proto::inference::v1::TextInput;

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
    assert_eq!(roles, [true, true, false]);
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
fn without_usage_it_is_estimated_and_says_so() {
    let (out, _) = run(false, vec![piece(0, Some("12345678"), Some("stop"))]);
    assert_eq!(out.len(), 1);
    let usage = out[0].usage.as_ref().unwrap();
    assert_eq!((usage.completion_tokens, usage.estimated), (2, true));
}

#[test]
fn d10_senseless_numbers_are_put_right() {
    let mut chunk = piece(0, Some("a"), Some("stop"));
    chunk.created = 17;
    chunk.id.clear();
    let (out, _) = run(true, vec![chunk, usage(-5, 3)]);
    assert_eq!(out[0].created, 1_000_000_500);
    assert!(out[0].id.starts_with("chatcmpl-"));
    let usage = out[1].usage.as_ref().unwrap();
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
        let prompt = Prompt { kind: Some(Kind::Text("12345678".into())) };
        let text = TextInput { prompt: Some(prompt), ..TextInput::default() };
        let request = GenerateRequest { input: Some(Input::Text(text)), ..request(stream) };
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
        let usage = out.last().unwrap().usage.as_ref().unwrap();
        assert_eq!((usage.prompt_tokens, usage.estimated), (2, true));
    }
}
