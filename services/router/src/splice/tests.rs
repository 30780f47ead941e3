//! Whatever was cut wherever, and in whatever pieces it comes: what the caller gets is the text, once.

use penstock_proto::inference::v1::Usage;
use proptest::prelude::*;

use super::*;

fn piece(text: &str) -> GenerateChunk {
    of(Delta { content: Some(text.to_owned()), ..Delta::default() })
}

fn of(delta: Delta) -> GenerateChunk {
    let choice = Choice { delta: Some(delta), ..Choice::default() };
    GenerateChunk { id: "second".into(), choices: vec![choice], ..GenerateChunk::default() }
}

fn finish(reason: &str) -> GenerateChunk {
    let mut chunk = of(Delta::default());
    chunk.choices[0].finish_reason = Some(reason.into());
    chunk
}

fn role() -> GenerateChunk {
    of(Delta { role: Some("assistant".into()), content: Some(String::new()), ..Delta::default() })
}

fn call(index: i64, id: Option<&str>, name: Option<&str>, arguments: &str) -> GenerateChunk {
    let function = FunctionCall {
        name: name.map(str::to_owned),
        arguments: Some(arguments.to_owned()),
        ..FunctionCall::default()
    };
    let id = id.map(str::to_owned);
    let r#type = id.as_ref().map(|_| "function".to_owned());
    let call = ToolCall { index: Some(index), id, r#type, function: Some(function), ..ToolCall::default() };
    of(Delta { tool_calls: vec![call], ..Delta::default() })
}

fn heard(chunks: &[GenerateChunk]) -> Said {
    let mut said = Said::default();
    for chunk in chunks {
        said.hear(&mut GenerateChunk { id: "first".into(), created: 7, ..chunk.clone() });
    }
    said
}

/// What the caller gets of `chunks` after the seam, as an answer takes it: what is passed on is said.
fn passed(
    splice: &mut Splice,
    said: &mut Said,
    chunks: &[GenerateChunk],
) -> Result<Vec<GenerateChunk>, Diverged> {
    let mut passed = Vec::new();
    for chunk in chunks {
        let mut out = Vec::new();
        splice.take(chunk.clone(), said, &mut out)?;
        out.iter_mut().for_each(|chunk| said.hear(chunk));
        passed.extend(out);
    }
    Ok(passed)
}

fn replayed(first: &[GenerateChunk], second: &[GenerateChunk]) -> Result<Vec<GenerateChunk>, Diverged> {
    passed(&mut Splice::Replay(Replay::default()), &mut heard(first), second)
}

fn joined(first: &[GenerateChunk], join: Join, second: &[GenerateChunk]) -> Vec<GenerateChunk> {
    passed(&mut Splice::Continue(join), &mut heard(first), second).unwrap()
}

fn content(chunks: &[GenerateChunk]) -> String {
    let choices = chunks.iter().flat_map(|chunk| &chunk.choices);
    choices.filter_map(|choice| choice.delta.as_ref()?.content.as_deref()).collect()
}

fn finishes(chunks: &[GenerateChunk]) -> usize {
    chunks.iter().flat_map(|chunk| &chunk.choices).filter(|choice| choice.finish_reason.is_some()).count()
}

/// `text` as chunks that end at these places, as far as they are places between characters.
fn in_pieces(text: &str, cuts: &[usize]) -> Vec<GenerateChunk> {
    let mut ends: Vec<_> = cuts.iter().map(|cut| cut % (text.len() + 1)).collect();
    ends.extend([0, text.len()]);
    ends.retain(|end| text.is_char_boundary(*end));
    ends.sort_unstable();
    ends.windows(2).map(|ends| piece(&text[ends[0]..ends[1]])).collect()
}

/// Texts that repeat themselves, break characters apart and have much white space.
fn texts() -> impl Strategy<Value = String> {
    prop::collection::vec(
        prop::sample::select(vec!["a", "b", "ab", " ", "\n", "é", "\u{1F980}", "the "]),
        0..24,
    )
    .prop_map(|words| words.concat())
}

/// What one choice says.
struct Told<'a> {
    texts: &'a [String],
    roles: bool,
}

impl Told<'_> {
    /// Its pieces, cut at these places.
    fn pieces(&self, cuts: &[usize]) -> Vec<GenerateChunk> {
        let mut pieces = if self.roles { vec![role()] } else { Vec::new() };
        let texts = || self.texts.iter().cycle();
        let thoughts = texts().take(1).flat_map(|text| in_pieces(text, cuts)).map(|mut piece| {
            let delta = piece.choices[0].delta.as_mut().unwrap();
            delta.reasoning = delta.content.take();
            piece
        });
        pieces.extend(thoughts);
        pieces.extend(texts().skip(1).take(1).flat_map(|text| in_pieces(text, &cuts[1..])));
        pieces.push(call(0, Some("id"), Some("f"), ""));
        let arguments = texts().take(2).flat_map(|text| in_pieces(text, &cuts[2..]));
        pieces.extend(arguments.map(|piece| call(0, None, None, &content(&[piece]))));
        pieces.push(finish("stop"));
        pieces
    }
}

/// All of the choices, side by side in an order that `chance` gives.
fn tell(choices: &[Told<'_>], chance: &[usize]) -> Vec<GenerateChunk> {
    let mut left: Vec<_> = choices.iter().map(|told| told.pieces(&chance[..6]).into_iter()).collect();
    let mut chunks = Vec::new();
    for at in chance.iter().cycle() {
        let index = at % left.len();
        if left.iter().all(|left| left.len() == 0) {
            return chunks;
        }
        let some = (0..left.len()).map(|n| (index + n) % left.len()).find(|n| left[*n].len() > 0);
        let mut chunk = left[some.unwrap()].next().unwrap();
        chunk.choices[0].index = i64::try_from(some.unwrap()).unwrap();
        chunks.push(chunk);
    }
    chunks
}

fn at_boundary(text: &str, near: usize) -> usize {
    (0..=near % (text.len() + 1)).rev().find(|at| text.is_char_boundary(*at)).unwrap()
}

proptest! {
    #[test]
    fn a_replay_of_the_same_is_the_rest_of_it(
        text in texts(), cut: usize, first in any::<[usize; 4]>(), second in any::<[usize; 6]>(),
    ) {
        let cut = at_boundary(&text, cut);
        let mut told = vec![role()];
        told.extend(in_pieces(&text[..cut], &first));
        let mut again = vec![role()];
        again.extend(in_pieces(&text, &second));
        again.push(finish("stop"));
        let rest = replayed(&told, &again).unwrap();
        prop_assert_eq!(content(&rest), &text[cut..]);
        prop_assert_eq!(finishes(&rest), 1);
        for chunk in &rest {
            prop_assert!(chunk.choices[0].delta.as_ref().unwrap().role.is_none(), "the role twice");
            prop_assert_eq!((&*chunk.id, chunk.created), ("first", 7));
        }
    }

    #[test]
    fn a_replay_of_something_else_is_none_and_nothing_of_it_gets_out(
        text in texts(), cut: usize, at: usize, second in any::<[usize; 6]>(),
    ) {
        let cut = at_boundary(&text, cut);
        prop_assume!(cut > 0);
        let at = at_boundary(&text[..cut], at % cut);
        let told = [role(), piece(&text[..cut])];
        // Other from there on; or over too early.
        let other = format!("{}X{}", &text[..at], &text[at..]);
        for (another, end) in [(other.as_str(), None), (&text[..at], Some(finish("stop")))] {
            let mut said = heard(&told);
            let mut splice = Splice::Replay(Replay::default());
            let again: Vec<_> = in_pieces(another, &second).into_iter().chain(end).collect();
            let mut got = Vec::new();
            let diverged = again.into_iter().any(|chunk| {
                let result = splice.take(chunk, &said, &mut got);
                got.iter_mut().for_each(|chunk| said.hear(chunk));
                result.is_err()
            });
            prop_assert!(diverged, "{:?} for {:?}", another, &text[..cut]);
            prop_assert_eq!(content(&got), "");
        }
    }

    /// Choices that come side by side, each of thoughts, text and a call, with roles or without.
    #[test]
    fn a_replay_is_the_rest_of_every_choice(
        texts in prop::collection::vec(texts(), 4), roles: bool, cut: usize,
        first in prop::collection::vec(any::<usize>(), 24), second in prop::collection::vec(any::<usize>(), 24),
    ) {
        let choices: Vec<_> = texts.chunks(2).map(|texts| Told { texts, roles }).collect();
        let (told, again) = (tell(&choices, &first), tell(&choices, &second));
        let told = &told[..cut % (told.len() + 1)];
        let mut said = heard(told);
        passed(&mut Splice::Replay(Replay::default()), &mut said, &again).unwrap();
        let whole = heard(&again);
        for index in 0..2 {
            let words = |said: &Said| said.choice(index).map(|speech| format!("{speech:?}"));
            prop_assert_eq!(words(&said), words(&whole), "{:?}", told);
        }
    }

    #[test]
    fn a_continuation_is_the_rest_whether_the_engine_repeats_itself_or_not(
        text in texts(), cut: usize, echo: bool, second in any::<[usize; 6]>(),
    ) {
        let cut = at_boundary(&text, cut);
        prop_assume!(!text[..cut].is_empty());
        // What may be repeated must not look like what comes next: nobody could tell.
        prop_assume!(echo || !text[cut..].starts_with(&text[..cut]));
        let told = [role(), piece(&text[..cut])];
        let again = if echo { &text[..] } else { &text[cut..] };
        let mut chunks = vec![role()];
        chunks.extend(in_pieces(again, &second));
        chunks.push(finish("length"));
        let rest = joined(&told, Join::new(&text[..cut], true, false), &chunks);
        prop_assert_eq!(content(&rest), &text[cut..]);
        prop_assert_eq!(finishes(&rest), 1);
        prop_assert!(rest.last().unwrap().choices[0].finish_reason.is_some(), "text after the end");
    }

    #[test]
    fn an_engine_that_repeats_nothing_may_say_the_same_again(text in texts(), cut: usize, second in any::<[usize; 6]>()) {
        let cut = at_boundary(&text, cut);
        let told = [role(), piece(&text[..cut])];
        let rest = joined(&told, Join::new(&text[..cut], false, false), &in_pieces(&text[cut..], &second));
        prop_assert_eq!(content(&rest), &text[cut..]);
    }

    /// Whether the engine says the white space that it was not told of, or takes it for said.
    #[test]
    fn white_space_at_the_seam_is_there_once(
        before in "[a-z]{1,5}", space in "[ \n]{0,3}", after in "[a-z]{0,5}", says: bool, second in any::<[usize; 6]>(),
    ) {
        let said = format!("{before}{space}");
        let join = Join::new(&said, false, true);
        prop_assert_eq!(join.prefill(), &before);
        let goes_on = if says { format!("{space}{after}") } else { after.clone() };
        let rest = joined(&[role(), piece(&said)], join, &in_pieces(&goes_on, &second));
        prop_assert_eq!(content(&rest), after);
    }
}

#[test]
fn white_space_that_goes_on_is_not_lost() {
    let rest =
        |said, goes_on| content(&joined(&[piece(said)], Join::new(said, false, true), &[piece(goes_on)]));
    assert_eq!(rest("a\n", "\n\nb"), "\nb");
    assert_eq!(rest("a ", "\nb"), "\nb");
    assert_eq!(rest("a\n\n", "\nb"), "b");
    assert_eq!(rest("a", " b"), " b");
}

#[test]
fn calls_are_skipped_byte_for_byte_and_keep_their_ids() {
    let told = [role(), call(0, Some("one"), Some("f"), ""), call(0, None, None, "{\"a\":")];
    let again = [
        role(),
        call(0, Some("two"), Some("f"), ""),
        call(0, None, None, "{\"a"),
        call(0, None, None, "\":1}"),
        call(1, Some("three"), Some("g"), "{}"),
        finish("tool_calls"),
    ];
    let rest = replayed(&told, &again).unwrap();
    let calls: Vec<_> = rest
        .iter()
        .flat_map(|chunk| &chunk.choices[0].delta.as_ref().unwrap().tool_calls)
        .map(|call| {
            let function = call.function.clone().unwrap();
            (call.index.unwrap(), call.id.clone(), function.name, function.arguments.unwrap())
        })
        .collect();
    let new = (1, Some("three".to_owned()), Some("g".to_owned()), "{}".to_owned());
    assert_eq!(calls, [(0, None, None, "1}".to_owned()), new]);
    assert_eq!(finishes(&rest), 1);
    for other in [
        call(0, Some("two"), Some("g"), ""),
        call(0, Some("two"), Some("f"), "{\"b\""),
        piece("text instead"),
        finish("tool_calls"),
    ] {
        assert_eq!(replayed(&told, &[role(), other]), Err(Diverged));
    }
}

/// A call that was begun with its id alone, and one of which only the name was said.
#[test]
fn a_call_that_had_only_begun_is_not_begun_twice() {
    let begun = call(0, Some("one"), Some("f"), "");
    let rest = replayed(std::slice::from_ref(&begun), &[call(0, Some("two"), Some("f"), "{}")]).unwrap();
    let call = &rest[0].choices[0].delta.as_ref().unwrap().tool_calls[0];
    assert_eq!((&call.id, &call.r#type), (&None, &None));
    let function = call.function.as_ref().unwrap();
    assert_eq!((function.name.as_deref(), function.arguments.as_deref()), (None, Some("{}")));
    let same = std::slice::from_ref(&begun);
    assert_eq!(replayed(same, same), Ok(vec![]), "the same again is nothing");
    let announced = self::call(0, Some("one"), None, "");
    let rest =
        replayed(std::slice::from_ref(&announced), &[self::call(0, Some("two"), Some("f"), "{}")]).unwrap();
    let call = &rest[0].choices[0].delta.as_ref().unwrap().tool_calls[0];
    assert_eq!((&call.id, call.function.as_ref().unwrap().name.as_deref()), (&None, Some("f")));
    assert_eq!(replayed(&[announced], &[piece("text instead")]), Err(Diverged));
}

#[test]
fn the_order_of_thought_and_text_counts_and_each_choice_has_its_own() {
    let thought = |text: &str| of(Delta { reasoning: Some(text.into()), ..Delta::default() });
    let told = [thought("hm"), piece("so")];
    let rest = replayed(&told, &[thought("hm"), piece("so it is")]).unwrap();
    assert_eq!(content(&rest), " it is");
    assert_eq!(replayed(&told, &[thought("hmm"), piece("so")]), Err(Diverged));
    assert_eq!(replayed(&told, &[piece("so")]), Err(Diverged));
    let other = |mut chunk: GenerateChunk| {
        chunk.choices[0].index = 1;
        chunk
    };
    let told = [piece("ab"), other(piece("x"))];
    let rest = replayed(&told, &[other(piece("xyz")), piece("abc")]).unwrap();
    assert_eq!(content(&rest), "yzc");
    assert_eq!(replayed(&told, &[other(piece("ab"))]), Err(Diverged));
    // One that had not begun: of a text that is continued no role comes first.
    let rest = replayed(&[piece("ab")], &[piece("ab"), other(piece("x")), other(piece("y")), piece("c")]);
    assert_eq!(rest.map(|rest| content(&rest)), Ok("xyc".to_owned()));
}

#[test]
fn what_cannot_be_compared_must_stand_where_it_stood() {
    let likely = |text: &str| {
        let mut chunk = piece(text);
        chunk.choices[0].logprobs_json = Some("[1]".into());
        chunk
    };
    let rest = replayed(&[likely("a")], &[likely("a"), likely("b")]).unwrap();
    assert_eq!(content(&rest), "b");
    assert!(rest[0].choices[0].logprobs_json.is_some());
    assert_eq!(rest.len(), 1, "log probabilities twice");
    assert_eq!(replayed(&[likely("a")], &[likely("ab")]), Err(Diverged), "of what of it?");
}

/// All was said but the usage.
#[test]
fn an_end_that_was_said_is_not_said_again() {
    let usage = GenerateChunk { usage: Some(Usage::default()), ..GenerateChunk::default() };
    let told = [piece("a"), finish("stop")];
    let rest = replayed(&told, &[piece("a"), finish("stop"), usage]).unwrap();
    assert!(rest.len() == 1 && rest[0].usage.is_some(), "{rest:?}");
    assert_eq!(replayed(&told, &[piece("a"), finish("length")]), Err(Diverged));
    assert_eq!(replayed(&told, &[piece("ab")]), Err(Diverged));
}

#[test]
fn second_thoughts_are_dropped_and_counted() {
    let thought = of(Delta { reasoning: Some("hm".into()), ..Delta::default() });
    let mut splice = Splice::Continue(Join::new("a", true, false));
    let rest = passed(&mut splice, &mut heard(&[piece("a")]), &[thought, piece("b")]).unwrap();
    assert_eq!((content(&rest).as_str(), rest.len()), ("b", 1));
    assert!(matches!(splice, Splice::Continue(Join { dropped: 2, .. })));
}

/// A call may follow a text that another engine began.
#[test]
fn what_only_looked_like_a_repetition_comes_before_what_follows() {
    let rest = joined(
        &[piece("abc")],
        Join::new("abc", true, false),
        &[piece("ab"), call(0, Some("c"), Some("f"), "{}")],
    );
    assert_eq!(content(&rest[..1]), "ab");
    assert_eq!(rest[1].choices[0].delta.as_ref().unwrap().tool_calls.len(), 1);
}

/// What is too long is not gone on with; but whoever is being skipped by then is skipped to the end.
#[test]
fn too_much_is_not_remembered() {
    let other = |mut chunk: GenerateChunk| {
        chunk.choices[0].index = 1;
        chunk
    };
    let mut said = heard(&[piece(&"x".repeat((1 << 20) - 2))]);
    assert!(!said.is_too_much() && said.plain().is_some());
    said.hear(&mut other(piece("yz")));
    assert!(!said.is_too_much());
    let again = [piece(&"x".repeat(1 << 20)), other(piece("yza"))];
    let rest = passed(&mut Splice::Replay(Replay::default()), &mut said, &again).unwrap();
    assert_eq!(content(&rest), "xxa");
    assert!(said.is_too_much() && said.plain().is_none());
    let bytes = said.choice(0).unwrap().segments[0].text.len();
    said.hear(&mut piece("x"));
    assert_eq!(said.choice(0).unwrap().segments[0].text.len(), bytes, "it grows without end");
}
