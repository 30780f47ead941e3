//! Puts a streamed answer together into the one chunk that is cached or stored, and takes that chunk apart again
//! when it is asked for as a stream. What an engine adds of its own is joined where that can be; where it cannot,
//! the last piece is kept and the loss is said.

use std::collections::BTreeMap;

use penstock_proto::{
    inference::v1::{
        Choice, CustomCall, Delta, Extension, FunctionCall, GenerateChunk, GenerateResponse, ToolCall,
    },
    pieces,
};
use prost::Message as _;

/// Most members beyond the contract, on each level: engines send a handful, and are not trusted to. Each is looked
/// for among those before it, as choices and calls are.
const EXTENSIONS_MAX: usize = 64;
/// Most choices: a request has at most 128.
const CHOICES_MAX: usize = 128;
/// Most tool calls of a choice.
const CALLS_MAX: usize = 1024;

/// An answer that is being put together.
#[derive(Debug)]
pub(crate) struct Merge {
    answer: Option<GenerateChunk>,
    /// Free-form JSON of each choice, joined at the end only: not anew with every piece.
    pieces: BTreeMap<i64, Pieces>,
    lossy: Vec<String>,
    bytes: usize,
    max_bytes: usize,
    /// It cannot be kept at all.
    given_up: bool,
}

/// An answer that was put together.
#[derive(Debug)]
pub(crate) struct Merged {
    pub(crate) answer: GenerateChunk,
    /// Members of which only the last piece is there.
    pub(crate) lossy: Vec<String>,
    /// What the pieces took, at least what the answer takes.
    pub(crate) bytes: usize,
}

#[derive(Debug, Default)]
struct Pieces {
    logprobs: Vec<String>,
    choice: Named,
    delta: Named,
}

/// Pieces of members by name, in the order in which they came first.
type Named = Vec<(String, Vec<String>)>;

impl Merge {
    /// Nothing yet. Beyond `max_bytes` nothing is kept: memory must not grow with an answer that is too large.
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self {
            answer: None,
            pieces: BTreeMap::new(),
            lossy: Vec::new(),
            bytes: 0,
            max_bytes,
            given_up: false,
        }
    }

    /// Adds a chunk.
    pub(crate) fn push(&mut self, chunk: &GenerateChunk) {
        if self.given_up {
            return;
        }
        self.bytes += chunk.encoded_len();
        if self.bytes > self.max_bytes || self.merge(chunk).is_none() {
            self.given_up = true;
            self.answer = None;
            self.pieces.clear();
        }
    }

    /// The whole answer, if it could be kept and every choice has ended.
    pub(crate) fn finish(mut self) -> Option<Merged> {
        let mut answer = self.answer?;
        answer.choices.sort_by_key(|choice| choice.index);
        let whole = !answer.choices.is_empty() && answer.choices.iter().all(|c| c.finish_reason.is_some());
        for choice in &mut answer.choices {
            let pieces = self.pieces.remove(&choice.index).unwrap_or_default();
            let logprobs = vec![("logprobs".to_owned(), pieces.logprobs)];
            let logprobs = joined(logprobs, &mut self.lossy).pop().map(|extension| extension.json);
            choice.logprobs_json = logprobs.filter(|json| json != "null");
            choice.extensions = joined(pieces.choice, &mut self.lossy);
            let delta = joined(pieces.delta, &mut self.lossy);
            if !delta.is_empty() {
                choice.delta.get_or_insert_default().extensions = delta;
            }
        }
        whole.then_some(Merged { answer, lossy: self.lossy, bytes: self.bytes })
    }

    /// `None`: there is too much of it.
    fn merge(&mut self, chunk: &GenerateChunk) -> Option<()> {
        let answer = self.answer.get_or_insert_with(|| GenerateChunk {
            id: chunk.id.clone(),
            created: chunk.created,
            model: chunk.model.clone(),
            ..GenerateChunk::default()
        });
        latest(&mut answer.usage, chunk.usage.as_ref());
        latest(&mut answer.system_fingerprint, chunk.system_fingerprint.as_ref());
        latest(&mut answer.service_tier, chunk.service_tier.as_ref());
        for extension in &chunk.extensions {
            // The same word again (such as a provider's name), or a later measure of the same thing.
            replace(&mut answer.extensions, extension)?;
        }
        for choice in &chunk.choices {
            let full = answer.choices.len() == CHOICES_MAX;
            let known = match answer.choices.iter_mut().position(|known| known.index == choice.index) {
                Some(position) => answer.choices.get_mut(position)?,
                None if full => return None,
                None => {
                    answer.choices.push(Choice { index: choice.index, ..Choice::default() });
                    answer.choices.last_mut()?
                }
            };
            let pieces = self.pieces.entry(choice.index).or_default();
            merge_choice(known, pieces, choice, &mut self.lossy)?;
        }
        Some(())
    }
}

fn merge_choice(
    known: &mut Choice,
    pieces: &mut Pieces,
    choice: &Choice,
    lossy: &mut Vec<String>,
) -> Option<()> {
    latest(&mut known.finish_reason, choice.finish_reason.as_ref());
    pieces.logprobs.extend(choice.logprobs_json.clone());
    collect(&mut pieces.choice, &choice.extensions)?;
    let Some(delta) = &choice.delta else { return Some(()) };
    collect(&mut pieces.delta, &delta.extensions)?;
    let known = known.delta.get_or_insert_default();
    first(&mut known.role, delta.role.as_ref());
    append(&mut known.content, delta.content.as_deref());
    append(&mut known.refusal, delta.refusal.as_deref());
    append(&mut known.reasoning, delta.reasoning.as_deref());
    merge_function(&mut known.function_call, delta.function_call.as_ref(), lossy)?;
    delta.tool_calls.iter().try_for_each(|call| merge_tool_call(&mut known.tool_calls, call, lossy))
}

fn merge_tool_call(known: &mut Vec<ToolCall>, call: &ToolCall, lossy: &mut Vec<String>) -> Option<()> {
    let full = known.len() == CALLS_MAX;
    let Some(same) = known.iter_mut().find(|known| known.index == call.index && call.index.is_some()) else {
        known.push(call.clone());
        return (!full).then_some(());
    };
    first(&mut same.id, call.id.as_ref());
    first(&mut same.r#type, call.r#type.as_ref());
    replace_all(&mut same.extensions, &call.extensions, lossy)?;
    merge_function(&mut same.function, call.function.as_ref(), lossy)?;
    let Some(CustomCall { name, input, extensions }) = &call.custom else { return Some(()) };
    let custom = same.custom.get_or_insert_default();
    append(&mut custom.name, name.as_deref());
    append(&mut custom.input, input.as_deref());
    replace_all(&mut custom.extensions, extensions, lossy)
}

fn merge_function(
    known: &mut Option<FunctionCall>,
    call: Option<&FunctionCall>,
    lossy: &mut Vec<String>,
) -> Option<()> {
    let Some(FunctionCall { name, arguments, extensions }) = call else { return Some(()) };
    let function = known.get_or_insert_default();
    append(&mut function.name, name.as_deref());
    append(&mut function.arguments, arguments.as_deref());
    replace_all(&mut function.extensions, extensions, lossy)
}

fn append(known: &mut Option<String>, more: Option<&str>) {
    if let Some(more) = more {
        known.get_or_insert_default().push_str(more);
    }
}

fn first<T: Clone>(known: &mut Option<T>, more: Option<&T>) {
    if known.is_none() {
        *known = more.cloned();
    }
}

fn latest<T: Clone>(known: &mut Option<T>, more: Option<&T>) {
    if more.is_some() {
        *known = more.cloned();
    }
}

/// Keeps a member in place of the one with its name; `Some(true)`: that one was another.
fn replace(known: &mut Vec<Extension>, extension: &Extension) -> Option<bool> {
    if let Some(same) = known.iter_mut().find(|known| known.name == extension.name) {
        let other = same.json != extension.json;
        same.json.clone_from(&extension.json);
        return Some(other);
    }
    if known.len() == EXTENSIONS_MAX {
        return None;
    }
    known.push(extension.clone());
    Some(false)
}

fn replace_all(known: &mut Vec<Extension>, more: &[Extension], lossy: &mut Vec<String>) -> Option<()> {
    for extension in more {
        if replace(known, extension)? {
            note(lossy, &extension.name);
        }
    }
    Some(())
}

fn collect(named: &mut Named, extensions: &[Extension]) -> Option<()> {
    for Extension { name, json } in extensions {
        let full = named.len() == EXTENSIONS_MAX;
        match named.iter_mut().find(|(known, _)| known == name) {
            Some((_, pieces)) => pieces.push(json.clone()),
            None if full => return None,
            None => named.push((name.clone(), vec![json.clone()])),
        }
    }
    Some(())
}

fn joined(named: Named, lossy: &mut Vec<String>) -> Vec<Extension> {
    let mut extensions = Vec::with_capacity(named.len());
    for (name, mut pieces) in named {
        let whole = pieces::join(pieces.iter().map(String::as_str));
        if whole.is_none() && !pieces.is_empty() {
            note(lossy, &name);
        }
        if let Some(json) = whole.or_else(|| pieces.pop()) {
            extensions.push(Extension { name, json });
        }
    }
    extensions
}

fn note(lossy: &mut Vec<String>, name: &str) {
    // That something is lost counts, and people read what: not every name that a hostile engine thinks of.
    if lossy.len() < EXTENSIONS_MAX && !lossy.iter().any(|known| known == name) {
        lossy.push(name.to_owned());
    }
}

/// A whole answer as the messages of a stream: role, content, end, usage if asked for.
pub(crate) fn replay(answer: &GenerateChunk, stream: bool, include_usage: bool) -> Vec<GenerateResponse> {
    if !stream {
        return vec![GenerateResponse { chunks: vec![answer.clone()] }];
    }
    // What all pieces have; the engine's own members of the whole come once, with the first of them.
    let head = GenerateChunk {
        id: answer.id.clone(),
        created: answer.created,
        model: answer.model.clone(),
        system_fingerprint: answer.system_fingerprint.clone(),
        service_tier: answer.service_tier.clone(),
        ..GenerateChunk::default()
    };
    let mut chunks = Vec::new();
    for choice in &answer.choices {
        let delta = choice.delta.clone().unwrap_or_default();
        let of = |delta| Choice { index: choice.index, delta: Some(delta), ..Choice::default() };
        let mut say = |choice| chunks.push(GenerateChunk { choices: vec![choice], ..head.clone() });
        // A text that is continued has no roles.
        if delta.role.is_some() {
            let content = Some(String::new());
            say(of(Delta { role: delta.role.clone(), content, ..Delta::default() }));
        }
        say(Choice {
            logprobs_json: choice.logprobs_json.clone(),
            extensions: choice.extensions.clone(),
            ..of(Delta { role: None, ..delta })
        });
        say(Choice { finish_reason: choice.finish_reason.clone(), ..of(Delta::default()) });
    }
    if include_usage {
        chunks.push(GenerateChunk { usage: answer.usage.clone(), ..head });
    }
    if let Some(first) = chunks.first_mut() {
        first.extensions.clone_from(&answer.extensions);
    }
    vec![GenerateResponse { chunks }]
}

#[cfg(test)]
mod tests {
    use penstock_proto::inference::v1::Usage;
    use proptest::prelude::*;

    use super::*;

    fn piece(index: i64, content: &str, finish_reason: Option<&str>) -> GenerateChunk {
        let delta = Delta { content: Some(content.to_owned()), ..Delta::default() };
        let finish_reason = finish_reason.map(str::to_owned);
        let choice = Choice { index, delta: Some(delta), finish_reason, ..Choice::default() };
        GenerateChunk { id: "id".into(), choices: vec![choice], ..GenerateChunk::default() }
    }

    const MAX_BYTES: usize = 1 << 20;

    fn put_together(chunks: &[GenerateChunk]) -> Option<Merged> {
        let mut merge = Merge::new(MAX_BYTES);
        chunks.iter().for_each(|chunk| merge.push(chunk));
        merge.finish()
    }

    fn merged(chunks: &[GenerateChunk]) -> Option<GenerateChunk> {
        put_together(chunks).map(|merged| merged.answer)
    }

    fn extension(name: &str, json: &str) -> Extension {
        Extension { name: name.into(), json: json.into() }
    }

    fn contents(answer: &GenerateChunk) -> Vec<String> {
        answer.choices.iter().map(|c| c.delta.clone().unwrap().content.unwrap()).collect()
    }

    #[test]
    fn choices_that_interleave_are_put_together_each() {
        let chunks = [
            piece(1, "b", None),
            piece(0, "a", None),
            piece(1, "B", Some("stop")),
            piece(0, "A", Some("length")),
        ];
        assert_eq!(contents(&merged(&chunks).unwrap()), ["aA", "bB"]);
    }

    /// C11: what did not end is not an answer.
    #[test]
    fn an_answer_that_did_not_end_is_nothing() {
        assert_eq!(merged(&[piece(0, "a", None)]), None);
        assert_eq!(merged(&[piece(0, "a", Some("stop")), piece(1, "b", None)]), None);
        assert_eq!(merged(&[]), None);
    }

    #[test]
    fn tool_call_fragments_are_joined_by_index() {
        let call = |index, name: Option<&str>, arguments: &str| ToolCall {
            index: Some(index),
            function: Some(FunctionCall {
                name: name.map(str::to_owned),
                arguments: Some(arguments.to_owned()),
                ..FunctionCall::default()
            }),
            ..ToolCall::default()
        };
        let with = |calls| {
            let mut chunk = piece(0, "", None);
            chunk.choices[0].delta = Some(Delta { tool_calls: calls, ..Delta::default() });
            chunk
        };
        let chunks = [
            with(vec![call(0, Some("f"), "{")]),
            with(vec![call(1, Some("g"), "[")]),
            with(vec![call(0, None, "}"), call(1, None, "]")]),
            piece(0, "", Some("tool_calls")),
        ];
        let answer = merged(&chunks).unwrap();
        let calls = &answer.choices[0].delta.as_ref().unwrap().tool_calls;
        let joined: Vec<_> = calls.iter().map(|c| c.function.clone().unwrap()).collect();
        assert_eq!(joined.iter().map(|f| f.arguments.clone().unwrap()).collect::<Vec<_>>(), ["{}", "[]"]);
        assert_eq!(joined.iter().map(|f| f.name.clone().unwrap()).collect::<Vec<_>>(), ["f", "g"]);
    }

    #[test]
    fn what_an_engine_adds_is_joined_or_said_to_be_lost() {
        let with = |content, finish, extensions: &[Extension], of_delta: &[Extension], logprobs: &str| {
            let mut chunk = piece(0, content, finish);
            chunk.choices[0].extensions = extensions.to_vec();
            chunk.choices[0].delta.as_mut().unwrap().extensions = of_delta.to_vec();
            chunk.choices[0].logprobs_json = Some(logprobs.to_owned());
            chunk
        };
        let start =
            with("a", None, &[extension("ids", "[1]"), extension("stop", "null")], &[], r#"{"content":[1]}"#);
        let end = with(
            "b",
            Some("stop"),
            &[extension("ids", "[2,3]"), extension("stop", "7")],
            &[extension("notes", "[\"x\"]")],
            r#"{"content":[2]}"#,
        );
        let Merged { answer, lossy, .. } = put_together(&[start.clone(), end.clone()]).unwrap();
        let choice = &answer.choices[0];
        assert_eq!(choice.extensions, [extension("ids", "[1,2,3]"), extension("stop", "7")]);
        assert_eq!(choice.delta.as_ref().unwrap().extensions, [extension("notes", "[\"x\"]")]);
        assert_eq!(choice.logprobs_json.as_deref(), Some(r#"{"content":[1,2]}"#));
        assert!(lossy.is_empty());
        assert_eq!(merged(std::slice::from_ref(&end)).unwrap(), end, "a single chunk stays as it is");

        let other = with("c", None, &[extension("stop", "8")], &[], "null");
        let Merged { answer, lossy, .. } = put_together(&[start, end, other]).unwrap();
        assert_eq!(answer.choices[0].extensions[1], extension("stop", "8"), "the last one");
        assert_eq!(lossy, ["stop"]);
    }

    #[test]
    fn function_calls_and_custom_calls_are_joined_too() {
        let with = |delta| GenerateChunk {
            choices: vec![Choice { delta: Some(delta), ..Choice::default() }],
            ..GenerateChunk::default()
        };
        let function = |name: Option<&str>, arguments: &str| {
            let (name, arguments) = (name.map(str::to_owned), Some(arguments.to_owned()));
            with(Delta {
                function_call: Some(FunctionCall { name, arguments, ..FunctionCall::default() }),
                ..Delta::default()
            })
        };
        let custom = |id: Option<&str>, input: &str| {
            let custom = Some(CustomCall { input: Some(input.to_owned()), ..CustomCall::default() });
            let call = ToolCall { index: Some(0), id: id.map(str::to_owned), custom, ..ToolCall::default() };
            with(Delta { tool_calls: vec![call], ..Delta::default() })
        };
        let chunks = [
            with(Delta { role: Some("assistant".into()), ..Delta::default() }),
            function(Some("f"), "{"),
            custom(Some("c"), "a"),
            function(None, "}"),
            custom(None, "b"),
            piece(0, "", Some("stop")),
        ];
        let delta = merged(&chunks).unwrap().choices.remove(0).delta.unwrap();
        let call = delta.function_call.unwrap();
        assert_eq!((call.name.as_deref(), call.arguments.as_deref()), (Some("f"), Some("{}")));
        let call = &delta.tool_calls[0];
        assert_eq!(
            (call.id.as_deref(), call.custom.as_ref().unwrap().input.as_deref()),
            (Some("c"), Some("ab"))
        );
        assert_eq!(delta.role.as_deref(), Some("assistant"));
    }

    /// G8: an engine is not trusted to end.
    #[test]
    fn what_is_too_large_or_too_much_is_not_kept() {
        let large = piece(0, &"x".repeat(MAX_BYTES), Some("stop"));
        assert_eq!(merged(&[large]), None);
        let many: Vec<_> = (0..=EXTENSIONS_MAX).map(|n| extension(&n.to_string(), "1")).collect();
        let mut chunk = piece(0, "a", Some("stop"));
        chunk.extensions = many.clone();
        assert_eq!(merged(&[chunk]), None);
        let mut chunk = piece(0, "a", Some("stop"));
        chunk.choices[0].extensions = many;
        assert_eq!(merged(&[chunk]), None);
        let choices: Vec<_> = (0..=CHOICES_MAX as i64).map(|index| piece(index, "a", Some("stop"))).collect();
        assert_eq!(merged(&choices), None);
        assert_eq!(merged(&choices[1..]).unwrap().choices.len(), CHOICES_MAX);
        let mut chunk = piece(0, "a", Some("stop"));
        chunk.choices[0].delta.as_mut().unwrap().tool_calls = vec![ToolCall::default(); CALLS_MAX + 1];
        assert_eq!(merged(&[chunk]), None);
    }

    /// An answer of many choices with a large member of the engine's own must not be as large as both together.
    #[test]
    fn a_replay_says_the_engines_own_members_once() {
        let choices = (0..128).flat_map(|index| piece(index, "a", Some("stop")).choices).collect();
        let answer = GenerateChunk { choices, extensions: vec![extension("x", "1")], ..piece(0, "", None) };
        let chunks = replay(&answer, true, true).remove(0).chunks;
        assert_eq!(chunks.iter().map(|chunk| chunk.extensions.len()).sum::<usize>(), 1);
        assert_eq!(merged(&chunks), Some(answer));
    }

    #[test]
    fn a_replay_of_a_continued_text_begins_with_the_text() {
        let answer =
            merged(&[piece(0, "a", None), piece(1, "b", Some("stop")), piece(0, "A", Some("length"))]);
        let messages = replay(&answer.unwrap(), true, false);
        let pieces: Vec<_> = messages[0]
            .chunks
            .iter()
            .flat_map(|chunk| &chunk.choices)
            .map(|c| (c.index, c.delta.clone().unwrap().content, c.finish_reason.as_deref()))
            .collect();
        let said = |text: &str| Some(text.to_owned());
        let expected =
            [(0, said("aA"), None), (0, None, Some("length")), (1, said("b"), None), (1, None, Some("stop"))];
        assert_eq!(pieces, expected);
    }

    proptest! {
        #[test]
        fn a_replay_says_what_was_said(words in prop::collection::vec(".{0,6}", 1..8), include_usage: bool) {
            let mut chunks: Vec<_> = words.iter().map(|word| piece(0, word, None)).collect();
            chunks.push(piece(0, "", Some("stop")));
            chunks.push(GenerateChunk { usage: Some(Usage { total_tokens: 7, ..Usage::default() }), ..GenerateChunk::default() });
            let answer = merged(&chunks).unwrap();
            let messages = replay(&answer, true, include_usage);
            let replayed: Vec<_> = messages.into_iter().flat_map(|message| message.chunks).collect();
            prop_assert_eq!(replayed.iter().filter(|chunk| chunk.usage.is_some()).count(), usize::from(include_usage));
            let again = merged(&replayed).unwrap();
            prop_assert_eq!(contents(&again), vec![words.concat()]);
            prop_assert_eq!(replay(&answer, false, include_usage)[0].chunks.clone(), vec![answer]);
        }
    }
}
