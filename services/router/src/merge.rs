//! Puts a streamed answer together into the one chunk that the cache keeps, and takes that chunk apart again
//! when it is asked for as a stream. What cannot be put together without loss is not kept.

use penstock_proto::inference::v1::{Choice, Delta, FunctionCall, GenerateChunk, GenerateResponse, ToolCall};
use prost::Message as _;

/// Largest answer that is put together, in bytes: memory must not grow with an answer that is too large to keep.
const ANSWER_MAX_BYTES: usize = 1 << 20;

/// Most members of a chunk that are put together: engines send a handful.
const EXTENSIONS_MAX: usize = 64;

/// An answer that is being put together.
#[derive(Debug, Default)]
pub(crate) struct Merge {
    answer: Option<GenerateChunk>,
    bytes: usize,
    lossy: bool,
}

impl Merge {
    /// Adds a chunk. Once the answer is too large, or would lose something, nothing more is kept.
    pub(crate) fn push(&mut self, chunk: &GenerateChunk) {
        if self.lossy {
            return;
        }
        self.bytes += chunk.encoded_len();
        let fits = self.bytes <= ANSWER_MAX_BYTES;
        let merged = match &mut self.answer {
            None => {
                self.answer = Some(chunk.clone());
                true
            }
            Some(answer) => merge_chunk(answer, chunk).is_some(),
        };
        if !fits || !merged {
            self.lossy = true;
            self.answer = None;
        }
    }

    /// The whole answer, if nothing of it was lost and every choice has ended.
    pub(crate) fn finish(self) -> Option<GenerateChunk> {
        let mut answer = self.answer?;
        answer.choices.sort_by_key(|choice| choice.index);
        let whole = !answer.choices.is_empty() && answer.choices.iter().all(|c| c.finish_reason.is_some());
        whole.then_some(answer)
    }
}

/// `None`: something does not merge.
fn merge_chunk(answer: &mut GenerateChunk, chunk: &GenerateChunk) -> Option<()> {
    if chunk.usage.is_some() {
        answer.usage.clone_from(&chunk.usage);
    }
    for extension in &chunk.extensions {
        if let Some(known) = answer.extensions.iter_mut().find(|known| known.name == extension.name) {
            // The same word again (such as a provider's name), or a later measure of the same thing.
            known.json.clone_from(&extension.json);
        } else if answer.extensions.len() < EXTENSIONS_MAX {
            answer.extensions.push(extension.clone());
        } else {
            // An engine is not trusted to send only so many.
            return None;
        }
    }
    for choice in &chunk.choices {
        match answer.choices.iter_mut().find(|known| known.index == choice.index) {
            Some(known) => merge_choice(known, choice)?,
            None => answer.choices.push(choice.clone()),
        }
    }
    Some(())
}

fn merge_choice(known: &mut Choice, choice: &Choice) -> Option<()> {
    if choice.logprobs_json.is_some() || !choice.extensions.is_empty() {
        return None;
    }
    if choice.finish_reason.is_some() {
        known.finish_reason.clone_from(&choice.finish_reason);
    }
    let Some(delta) = &choice.delta else { return Some(()) };
    let known = known.delta.get_or_insert_default();
    if !delta.extensions.is_empty() {
        return None;
    }
    append(&mut known.content, delta.content.as_deref());
    append(&mut known.refusal, delta.refusal.as_deref());
    append(&mut known.reasoning, delta.reasoning.as_deref());
    delta.tool_calls.iter().try_for_each(|call| merge_tool_call(&mut known.tool_calls, call))
}

fn merge_tool_call(known: &mut Vec<ToolCall>, call: &ToolCall) -> Option<()> {
    let Some(same) = known.iter_mut().find(|known| known.index == call.index && call.index.is_some()) else {
        known.push(call.clone());
        return Some(());
    };
    let extended = !call.extensions.is_empty()
        || call.function.as_ref().is_some_and(|function| !function.extensions.is_empty());
    if extended {
        return None;
    }
    if let Some(FunctionCall { name, arguments, .. }) = &call.function {
        let function = same.function.get_or_insert_default();
        append(&mut function.name, name.as_deref());
        append(&mut function.arguments, arguments.as_deref());
    }
    Some(())
}

fn append(known: &mut Option<String>, more: Option<&str>) {
    if let Some(more) = more {
        known.get_or_insert_default().push_str(more);
    }
}

/// A whole answer as the messages of a stream: role, content, end, usage if asked for.
pub(crate) fn replay(answer: &GenerateChunk, stream: bool, include_usage: bool) -> Vec<GenerateResponse> {
    if !stream {
        return vec![GenerateResponse { chunks: vec![answer.clone()] }];
    }
    let chunk = |choices| GenerateChunk { choices, usage: None, ..answer.clone() };
    let mut chunks = Vec::new();
    for choice in &answer.choices {
        let delta = choice.delta.clone().unwrap_or_default();
        let role = Delta { role: delta.role.clone(), content: Some(String::new()), ..Delta::default() };
        let of = |delta, finish_reason| Choice { delta: Some(delta), finish_reason, ..choice.clone() };
        // A text that is continued has no roles.
        if delta.role.is_some() {
            let first = Choice { logprobs_json: None, extensions: Vec::new(), ..of(role, None) };
            chunks.push(chunk(vec![first]));
        }
        chunks.push(chunk(vec![of(Delta { role: None, ..delta }, None)]));
        let last = of(Delta::default(), choice.finish_reason.clone());
        chunks.push(chunk(vec![Choice { logprobs_json: None, extensions: Vec::new(), ..last }]));
    }
    if include_usage {
        chunks.push(GenerateChunk { usage: answer.usage.clone(), ..chunk(Vec::new()) });
    }
    vec![GenerateResponse { chunks }]
}

#[cfg(test)]
mod tests {
    use penstock_proto::inference::v1::{Extension, Usage};
    use proptest::prelude::*;

    use super::*;

    fn piece(index: i64, content: &str, finish_reason: Option<&str>) -> GenerateChunk {
        let delta = Delta { content: Some(content.to_owned()), ..Delta::default() };
        let finish_reason = finish_reason.map(str::to_owned);
        let choice = Choice { index, delta: Some(delta), finish_reason, ..Choice::default() };
        GenerateChunk { id: "id".into(), choices: vec![choice], ..GenerateChunk::default() }
    }

    fn merged(chunks: &[GenerateChunk]) -> Option<GenerateChunk> {
        let mut merge = Merge::default();
        chunks.iter().for_each(|chunk| merge.push(chunk));
        merge.finish()
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
    fn what_would_lose_something_or_is_too_large_is_not_kept() {
        let mut extended = piece(0, "b", Some("stop"));
        extended.choices[0].extensions.push(Extension { name: "x".into(), json: "1".into() });
        assert_eq!(merged(&[piece(0, "a", None), extended.clone()]), None);
        assert!(merged(&[extended]).is_some(), "a single chunk loses nothing");
        let large = piece(0, &"x".repeat(ANSWER_MAX_BYTES), Some("stop"));
        assert_eq!(merged(&[large]), None);
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
