//! The seam between what an engine said before it broke and what another one says instead: what the caller has
//! already is taken out, and nothing else. Pure.

use std::collections::BTreeMap;

use penstock_proto::inference::v1::{Choice, Delta, FunctionCall, GenerateChunk, ToolCall};

use crate::said::{Field, Said, Speech, unmark, visit};

/// The second engine says something else than the first one said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Diverged;

/// How the second engine's answer begins.
#[derive(Debug)]
pub(crate) enum Splice {
    /// With all that was said.
    Replay(Replay),
    /// Where the first one ended.
    Continue(Join),
}

impl Splice {
    /// Takes out of a chunk what was said before; what remains is in `out`, in order.
    pub(crate) fn take(
        &mut self,
        mut chunk: GenerateChunk,
        said: &Said,
        out: &mut Vec<GenerateChunk>,
    ) -> Result<(), Diverged> {
        said.identify(&mut chunk);
        let had_choices = !chunk.choices.is_empty();
        match self {
            Splice::Replay(replay) => replay.take(&mut chunk, said)?,
            Splice::Continue(join) => out.extend(join.take(&mut chunk)),
        }
        // An engine's own members of a piece that was said before were said with it.
        if chunk.choices.is_empty() && had_choices {
            chunk.extensions.clear();
        }
        if !chunk.choices.is_empty() || !chunk.extensions.is_empty() || chunk.usage.is_some() {
            out.push(chunk);
        }
        Ok(())
    }
}

/// Where the second telling of an answer is in what was said.
#[derive(Debug, Default)]
pub(crate) struct Replay(BTreeMap<i64, Cursor>);

#[derive(Clone, Copy, Debug, Default)]
struct Cursor {
    segment: usize,
    offset: usize,
    /// All of it was heard again: what comes is new.
    is_past: bool,
}

impl Replay {
    fn take(&mut self, chunk: &mut GenerateChunk, said: &Said) -> Result<(), Diverged> {
        let mut failed = false;
        chunk.choices.retain_mut(|choice| {
            // A choice that had not begun is new from its first piece on, also when that has been passed on.
            let cursor = self.0.entry(choice.index);
            let Some(speech) = said.choice(choice.index) else {
                cursor.or_default().is_past = true;
                return true;
            };
            let kept = cursor.or_default().take(choice, speech);
            failed |= kept.is_err();
            kept.unwrap_or(false)
        });
        if failed { Err(Diverged) } else { Ok(()) }
    }
}

impl Cursor {
    /// Takes out of a choice what was said. False: nothing is left of it.
    fn take(&mut self, choice: &mut Choice, speech: &Speech) -> Result<bool, Diverged> {
        self.is_past |= self.segment >= speech.segments.len();
        let mut mark_was_said = false;
        visit(choice, &mut |field, text| {
            let heard = self.hear(field, text, speech)?;
            mark_was_said |= heard && field == Field::Mark;
            Ok(())
        })?;
        if mark_was_said {
            unmark(choice);
        }
        if let Some(delta) = &mut choice.delta {
            delta.role.take_if(|_| speech.role);
            // What kind of call it is was said with its id.
            delta.tool_calls.iter_mut().filter(|call| call.id.is_none()).for_each(|call| call.r#type = None);
        }
        Ok(has_something(choice))
    }

    /// Compares a text and takes out what was said. True: that was all of it.
    fn hear(&mut self, field: Field, text: &mut Option<String>, speech: &Speech) -> Result<bool, Diverged> {
        if self.is_past {
            return Ok(false);
        }
        let segment = speech.segments.get(self.segment).filter(|segment| segment.field == field);
        let left = segment.and_then(|segment| segment.text.get(self.offset..)).ok_or(Diverged)?;
        let heard = text.as_deref().filter(|_| field.is_text()).unwrap_or_default();
        if heard.len() < left.len() && field != Field::Finish {
            self.offset += heard.len();
            let same = left.starts_with(heard);
            *text = None;
            return if same { Ok(true) } else { Err(Diverged) };
        }
        let new = heard.strip_prefix(left).ok_or(Diverged)?;
        let new = (!new.is_empty()).then(|| new.to_owned());
        (self.segment, self.offset) = (self.segment + 1, 0);
        self.is_past = self.segment >= speech.segments.len();
        if new.is_some() && (!self.is_past || field == Field::Finish) {
            return Err(Diverged);
        }
        *text = new;
        Ok(text.is_none())
    }
}

/// An answer that goes on where another one ended.
#[derive(Debug)]
pub(crate) struct Join {
    /// What the engine was told that it had said.
    said: String,
    /// Bytes of it that the engine has repeated; `None`: it repeats nothing.
    repeated: Option<usize>,
    /// White space that the caller has and the engine was not told of.
    space: String,
    /// Bytes of thought that nobody gets: the caller has the text that was to come of it.
    pub(crate) dropped: usize,
}

impl Join {
    /// Goes on after `said`. `repeats`: the engine may say that again first. `trims`: it was told without the
    /// white space at the end.
    pub(crate) fn new(said: &str, repeats: bool, trims: bool) -> Self {
        let told = if trims { said.trim_end() } else { said };
        let space = said.get(told.len()..).unwrap_or_default().to_owned();
        Self { said: told.to_owned(), repeated: repeats.then_some(0), space, dropped: 0 }
    }

    /// What the engine is told that it has said.
    pub(crate) fn prefill(&self) -> &str {
        &self.said
    }

    /// Takes out of a chunk what the caller has; what is to come before it is returned.
    fn take(&mut self, chunk: &mut GenerateChunk) -> Option<GenerateChunk> {
        let mut held_back = None;
        chunk.choices.retain_mut(|choice| {
            if let Some(delta) = &mut choice.delta {
                delta.role = None;
                if let Some(thought) = delta.reasoning.take() {
                    self.dropped += thought.len();
                    delta.extensions.clear();
                }
                if let Some(text) = delta.content.take().filter(|text| !text.is_empty()) {
                    let text = self.new_of(text);
                    delta.content = (!text.is_empty()).then_some(text);
                }
            }
            let has_something = has_something(choice);
            if has_something && choice.delta.as_ref().is_none_or(|delta| delta.content.is_none()) {
                held_back = self.not_repeated();
            }
            has_something
        });
        let content = held_back.map(|text| self.without_space(text)).filter(|text| !text.is_empty());
        let delta = Some(Delta { content: Some(content?), ..Delta::default() });
        Some(GenerateChunk {
            choices: vec![Choice { delta, ..Choice::default() }],
            usage: None,
            extensions: Vec::new(),
            ..chunk.clone()
        })
    }

    /// What is new of a text.
    fn new_of(&mut self, text: String) -> String {
        let Some(repeated) = self.repeated else { return self.without_space(text) };
        let left = self.said.get(repeated..).unwrap_or_default();
        if text.len() < left.len() && left.starts_with(&text) {
            self.repeated = Some(repeated + text.len());
            return String::new();
        }
        let new = match text.strip_prefix(left) {
            Some(new) => new.to_owned(),
            // It only looked like a repetition.
            None => [self.said.get(..repeated).unwrap_or_default(), &text].concat(),
        };
        self.repeated = None;
        self.without_space(new)
    }

    /// What was held back as the beginning of a repetition that did not come.
    fn not_repeated(&mut self) -> Option<String> {
        let repeated = self.repeated.take().filter(|repeated| *repeated > 0)?;
        self.said.get(..repeated).map(str::to_owned)
    }

    /// The text without the white space that the caller has already.
    fn without_space(&mut self, text: String) -> String {
        if self.space.is_empty() || text.is_empty() {
            return text;
        }
        let same = self.space.chars().zip(text.chars()).take_while(|(one, other)| one == other);
        let same = same.map(|(one, _)| one.len_utf8()).sum();
        let new = text.get(same..).unwrap_or_default().to_owned();
        if new.is_empty() {
            self.space.drain(..same);
        } else {
            self.space.clear();
        }
        new
    }
}

/// Whether a choice still says something, after what says nothing was taken out.
fn has_something(choice: &mut Choice) -> bool {
    let filled = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    let is_function =
        |one: &FunctionCall| filled(&one.name) || filled(&one.arguments) || !one.extensions.is_empty();
    let is_call = |call: &ToolCall| {
        let is_custom = call
            .custom
            .as_ref()
            .is_some_and(|one| filled(&one.name) || filled(&one.input) || !one.extensions.is_empty());
        let is_function = call.function.as_ref().is_some_and(is_function);
        call.id.is_some() || is_function || is_custom || !call.extensions.is_empty()
    };
    let says = choice.delta.as_mut().is_some_and(|delta| {
        delta.tool_calls.retain(is_call);
        delta.function_call.take_if(|one| !is_function(one));
        [&delta.role, &delta.content, &delta.refusal, &delta.reasoning].into_iter().any(filled)
            || !delta.tool_calls.is_empty()
            || delta.function_call.is_some()
            || !delta.extensions.is_empty()
    });
    says || choice.finish_reason.is_some() || choice.logprobs_json.is_some() || !choice.extensions.is_empty()
}

#[cfg(test)]
mod tests;
