//! What the caller was told of an answer so far, piece by piece and for each choice: enough to say it again to
//! another engine, or to find out where another telling of it goes on. Bounded.

use std::collections::BTreeMap;

use penstock_proto::inference::v1::{Choice, Delta, FunctionCall, GenerateChunk, ToolCall};

use crate::accounting::BYTES_PER_TOKEN;

/// Most that is remembered of an answer, in bytes: a very long answer. What is longer is told by nobody else.
const SAID_MAX_BYTES: usize = 1 << 20;

/// What a piece is a piece of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    Reasoning,
    Content,
    Refusal,
    FunctionName,
    FunctionArguments,
    /// The call with that index begins. Its id is the engine's own affair, as a mark is.
    Call(i64),
    CallName(i64),
    CallArguments(i64),
    /// Something that cannot be compared, such as log probabilities: where it stood, not what it was.
    Mark,
    /// The end, and its reason.
    Finish,
}

impl Field {
    /// What it says is the model's, and the same if it is said again.
    pub(crate) fn is_text(self) -> bool {
        !matches!(self, Field::Mark | Field::Call(_))
    }
}

/// Everything of one field that was said in a row.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) field: Field,
    pub(crate) text: String,
}

/// What a choice said.
#[derive(Debug, Default)]
pub(crate) struct Speech {
    pub(crate) segments: Vec<Segment>,
    /// It was said who speaks.
    pub(crate) role: bool,
}

/// What was said.
#[derive(Debug, Default)]
pub(crate) struct Said {
    head: Option<Head>,
    choices: BTreeMap<i64, Speech>,
    bytes: usize,
}

/// What all chunks of an answer have in common.
#[derive(Debug)]
struct Head {
    id: String,
    created: i64,
    system_fingerprint: Option<String>,
    service_tier: Option<String>,
}

impl Said {
    /// Takes note of what is said to the caller.
    pub(crate) fn hear(&mut self, chunk: &mut GenerateChunk) {
        self.head.get_or_insert_with(|| Head {
            id: chunk.id.clone(),
            created: chunk.created,
            system_fingerprint: chunk.system_fingerprint.clone(),
            service_tier: chunk.service_tier.clone(),
        });
        if self.is_too_much() {
            return;
        }
        for choice in &mut chunk.choices {
            self.bytes += self.choices.entry(choice.index).or_default().hear(choice);
        }
    }

    /// It was too long to be remembered whole.
    pub(crate) fn is_too_much(&self) -> bool {
        self.bytes > SAID_MAX_BYTES
    }

    /// What that choice said.
    pub(crate) fn choice(&self, index: i64) -> Option<&Speech> {
        self.choices.get(&index)
    }

    /// Gives a chunk the identity of those that the caller has.
    pub(crate) fn identify(&self, chunk: &mut GenerateChunk) {
        let Some(head) = &self.head else { return };
        chunk.id.clone_from(&head.id);
        chunk.created = head.created;
        chunk.system_fingerprint.clone_from(&head.system_fingerprint);
        chunk.service_tier.clone_from(&head.service_tier);
    }

    /// Text and reasoning, if there is one choice, its text has begun, and there is nothing else.
    pub(crate) fn plain(&self) -> Option<(&str, Option<&str>)> {
        let speech = self.choices.get(&0).filter(|_| self.choices.len() == 1 && !self.is_too_much())?;
        match speech.segments.as_slice() {
            [Segment { field: Field::Content, text }] => Some((text, None)),
            [
                Segment { field: Field::Reasoning, text: reasoning },
                Segment { field: Field::Content, text },
            ] => Some((text, Some(reasoning))),
            _ => None,
        }
    }

    /// Tokens of all that was said, estimated.
    pub(crate) fn tokens(&self) -> i64 {
        let segments = self.choices.values().flat_map(|speech| &speech.segments);
        let texts = segments.filter(|segment| segment.field != Field::Finish);
        tokens_of_bytes(texts.map(|segment| segment.text.len()).sum())
    }
}

impl Speech {
    /// Returns the bytes of it.
    fn hear(&mut self, choice: &mut Choice) -> usize {
        let mut bytes = 0;
        self.role |= choice.delta.as_ref().is_some_and(|delta| delta.role.is_some());
        visit(choice, &mut |field, text: &mut Option<String>| {
            let text = text.as_deref().filter(|_| field.is_text()).unwrap_or_default();
            // A mark takes place, too.
            bytes += text.len().max(1);
            match self.segments.last_mut().filter(|last| last.field == field && field.is_text()) {
                Some(last) => last.text.push_str(text),
                None => self.segments.push(Segment { field, text: text.to_owned() }),
            }
            Ok::<_, ()>(())
        })
        .ok();
        bytes
    }
}

/// Every text of a choice that is not empty, in the order in which engines say them. A mark has none.
pub(crate) fn visit<E>(
    choice: &mut Choice,
    on_text: &mut impl FnMut(Field, &mut Option<String>) -> Result<(), E>,
) -> Result<(), E> {
    let mut visit = |field, text: &mut Option<String>| match text {
        Some(said) if said.is_empty() => Ok(()),
        Some(_) => on_text(field, text),
        None => Ok(()),
    };
    if let Some(Delta { content, refusal, reasoning, tool_calls, function_call, .. }) = &mut choice.delta {
        visit(Field::Reasoning, reasoning)?;
        visit(Field::Content, content)?;
        visit(Field::Refusal, refusal)?;
        if let Some(function) = function_call {
            visit(Field::FunctionName, &mut function.name)?;
            visit(Field::FunctionArguments, &mut function.arguments)?;
        }
        for call in tool_calls {
            let index = call.index.unwrap_or_default();
            visit(Field::Call(index), &mut call.id)?;
            if let Some(function) = &mut call.function {
                visit(Field::CallName(index), &mut function.name)?;
                visit(Field::CallArguments(index), &mut function.arguments)?;
            }
            if let Some(custom) = &mut call.custom {
                visit(Field::CallName(index), &mut custom.name)?;
                visit(Field::CallArguments(index), &mut custom.input)?;
            }
        }
    }
    if is_marked(choice) {
        on_text(Field::Mark, &mut None)?;
    }
    match &choice.finish_reason {
        Some(_) => on_text(Field::Finish, &mut choice.finish_reason),
        None => Ok(()),
    }
}

fn is_marked(choice: &Choice) -> bool {
    let of_function =
        |function: &Option<FunctionCall>| function.as_ref().is_some_and(|one| !one.extensions.is_empty());
    let of_call = |call: &ToolCall| {
        !call.extensions.is_empty()
            || of_function(&call.function)
            || call.custom.as_ref().is_some_and(|custom| !custom.extensions.is_empty())
    };
    choice.logprobs_json.is_some()
        || !choice.extensions.is_empty()
        || choice.delta.as_ref().is_some_and(|delta| {
            !delta.extensions.is_empty()
                || of_function(&delta.function_call)
                || delta.tool_calls.iter().any(of_call)
        })
}

/// Takes out what [`Field::Mark`] stands for.
pub(crate) fn unmark(choice: &mut Choice) {
    choice.logprobs_json = None;
    choice.extensions.clear();
    let Some(delta) = &mut choice.delta else { return };
    delta.extensions.clear();
    for call in &mut delta.tool_calls {
        call.extensions.clear();
        call.function.iter_mut().for_each(|function| function.extensions.clear());
        call.custom.iter_mut().for_each(|custom| custom.extensions.clear());
    }
    delta.function_call.iter_mut().for_each(|function| function.extensions.clear());
}

/// Tokens of so many bytes of text, estimated.
pub(crate) fn tokens_of_bytes(bytes: usize) -> i64 {
    i64::try_from(bytes.div_ceil(BYTES_PER_TOKEN)).unwrap_or(i64::MAX)
}
