//! What every engine's answer is made into, whatever its dialect: one identity over all chunks, roles said
//! once, tool calls with index and id, usage once and last, and a verdict whether it is whole.

mod calls;

use penstock_proto::{
    Reason,
    inference::v1::{
        Choice, Delta, Extension, GenerateChunk, GenerateRequest, Message, Prompt, Usage,
        generate_request::Input, message::Content, prompt::Kind,
    },
};

use self::calls::Calls;
use crate::error::Fault;

/// Choices of an answer at most: as many as a request may ask for.
const CHOICES_MAX: usize = 128;
/// An engine's clock may be this far off before its `created` is replaced.
const CLOCK_SKEW_SECONDS: i64 = 86_400;
/// Longest id of an answer that is taken over, in bytes: it goes to clients on every chunk.
const ID_MAX_BYTES: usize = 128;
/// Bytes of text that are counted as one token where the engine gave no usage.
const BYTES_PER_TOKEN: usize = 4;

/// An answer in the making.
#[derive(Debug)]
pub(crate) struct Answer {
    id: String,
    created: i64,
    model: String,
    /// The id and time are settled: a chunk was given out.
    identified: bool,
    stream: bool,
    /// It continues a text: nobody speaks, so there are no roles.
    continues: bool,
    choices: Vec<State>,
    usage: Option<(Usage, Vec<Extension>)>,
    prompt_bytes: usize,
    answer_bytes: usize,
    begun: bool,
}

/// What is known of one choice.
#[derive(Debug, Default)]
struct State {
    seen: bool,
    has_role: bool,
    finished: bool,
    calls: Calls,
}

impl Answer {
    /// An answer to `request`, begun at `now` (Unix seconds).
    pub(crate) fn new(request: &GenerateRequest, now: i64) -> Self {
        Self {
            id: String::new(),
            created: now,
            model: request.model.clone(),
            identified: false,
            stream: request.stream,
            continues: matches!(request.input, Some(Input::Text(_))),
            choices: Vec::new(),
            usage: None,
            prompt_bytes: prompt_bytes(request),
            answer_bytes: 0,
            begun: false,
        }
    }

    /// Whether the model has said anything yet.
    pub(crate) fn has_begun(&self) -> bool {
        self.begun
    }

    /// Takes what the engine sent and puts what is to be passed on into `out`.
    ///
    /// # Errors
    /// The engine's answer makes no sense.
    pub(crate) fn take(
        &mut self,
        mut chunk: GenerateChunk,
        out: &mut Vec<GenerateChunk>,
    ) -> Result<(), Fault> {
        self.identify(&chunk);
        if let Some(usage) = chunk.usage.take() {
            let usage = sane(usage);
            if chunk.choices.is_empty() {
                self.usage = Some((usage, std::mem::take(&mut chunk.extensions)));
                return Ok(());
            }
            self.usage = Some((usage, Vec::new()));
        }
        if chunk.choices.is_empty() && chunk.extensions.is_empty() {
            return Ok(());
        }
        for choice in &mut chunk.choices {
            self.choice(choice)?;
        }
        self.begun = self.begun || says_something(&chunk);
        chunk.id.clone_from(&self.id);
        chunk.created = self.created;
        chunk.model.clone_from(&self.model);
        out.push(chunk);
        Ok(())
    }

    /// Takes the end of the answer and puts what is still to be said into `out`.
    ///
    /// # Errors
    /// The answer is not whole.
    pub(crate) fn end(&mut self, out: &mut Vec<GenerateChunk>) -> Result<(), Fault> {
        let mut seen = self.choices.iter().filter(|choice| choice.seen).peekable();
        if seen.peek().is_none() {
            return Err(Fault::new(Reason::EngineCut, "the engine's answer ended before it began"));
        }
        if seen.any(|choice| !choice.finished) {
            return Err(Fault::new(Reason::EngineCut, "the engine's answer ended before it was whole"));
        }
        let (usage, extensions) = self.usage.take().unwrap_or_else(|| (self.estimate(), Vec::new()));
        match out.last_mut() {
            Some(only) if !self.stream => {
                only.usage = Some(usage);
                only.extensions.extend(extensions);
            }
            _ => out.push(GenerateChunk {
                id: self.id.clone(),
                created: self.created,
                model: self.model.clone(),
                usage: Some(usage),
                extensions,
                ..GenerateChunk::default()
            }),
        }
        Ok(())
    }

    fn identify(&mut self, chunk: &GenerateChunk) {
        if std::mem::replace(&mut self.identified, true) {
            return;
        }
        self.id = sane_id(chunk.id.clone(), if self.continues { "cmpl" } else { "chatcmpl" });
        if chunk.created.abs_diff(self.created) <= CLOCK_SKEW_SECONDS.unsigned_abs() {
            self.created = chunk.created;
        }
    }

    fn choice(&mut self, choice: &mut Choice) -> Result<(), Fault> {
        let index = usize::try_from(choice.index)
            .ok()
            .filter(|index| *index < CHOICES_MAX)
            .ok_or_else(|| Fault::bad_answer("the engine sent a choice with an impossible index"))?;
        if self.choices.len() <= index {
            self.choices.resize_with(index + 1, State::default);
        }
        let Some(state) = self.choices.get_mut(index) else { return Ok(()) };
        state.seen = true;
        let delta = choice.delta.get_or_insert_with(Delta::default);
        if state.has_role || self.continues {
            delta.role = None;
        } else {
            delta.role.get_or_insert_with(|| "assistant".to_owned());
            state.has_role = true;
        }
        state.calls.normalise(&mut delta.tool_calls, self.stream)?;
        self.answer_bytes += text_bytes(delta);
        if choice.finish_reason.as_deref() == Some("") {
            choice.finish_reason = None;
        }
        if let Some(reason) = &mut choice.finish_reason {
            state.finished = true;
            if reason == "stop" && state.calls.any() {
                "tool_calls".clone_into(reason);
            }
        }
        Ok(())
    }

    /// Usage where the engine gave none, marked as an estimate.
    fn estimate(&self) -> Usage {
        let tokens = |bytes: usize| i64::try_from(bytes.div_ceil(BYTES_PER_TOKEN)).unwrap_or(i64::MAX);
        let (prompt_tokens, completion_tokens) = (tokens(self.prompt_bytes), tokens(self.answer_bytes));
        Usage {
            prompt_tokens,
            completion_tokens,
            total_tokens: prompt_tokens.saturating_add(completion_tokens),
            estimated: true,
            ..Usage::default()
        }
    }
}

/// An engine's own id if it is sane, else one of ours of this kind.
pub(crate) fn sane_id(id: String, kind: &str) -> String {
    if (1..=ID_MAX_BYTES).contains(&id.len()) && !id.contains(char::is_control) {
        id
    } else {
        format!("{kind}-{}", uuid::Uuid::now_v7().simple())
    }
}

/// Usage as an engine gave it, with nothing negative in it (D10).
fn sane(usage: Usage) -> Usage {
    let (prompt_tokens, completion_tokens) = (usage.prompt_tokens.max(0), usage.completion_tokens.max(0));
    let total_tokens = usage.total_tokens.max(prompt_tokens.saturating_add(completion_tokens));
    Usage { prompt_tokens, completion_tokens, total_tokens, ..usage }
}

/// Whether a chunk carries something that the model said.
pub(crate) fn says_something(chunk: &GenerateChunk) -> bool {
    let says = |choice: &Choice| {
        let delta = choice.delta.as_ref();
        // Extensions too: reasoning has as many names as there are engines.
        choice.finish_reason.is_some()
            || delta.is_some_and(|delta| {
                text_bytes(delta) > 0 || !delta.tool_calls.is_empty() || !delta.extensions.is_empty()
            })
    };
    chunk.choices.iter().any(says)
}

fn text_bytes(delta: &Delta) -> usize {
    let texts = [&delta.content, &delta.reasoning, &delta.refusal];
    let calls = delta.tool_calls.iter().filter_map(|call| call.function.as_ref()?.arguments.as_ref());
    texts.into_iter().flatten().chain(calls).map(String::len).sum()
}

fn prompt_bytes(request: &GenerateRequest) -> usize {
    let messages = match &request.input {
        Some(Input::Chat(chat)) => chat.messages.as_slice(),
        Some(Input::Text(text)) => return text.prompt.as_ref().map_or(0, bytes_of_prompt),
        None => return 0,
    };
    let text = |message: &Message| match &message.content {
        Some(Content::Text(text)) => text.len(),
        Some(Content::Parts(parts)) => {
            parts.parts.iter().filter_map(|part| part.text.as_ref()).map(String::len).sum()
        }
        None => 0,
    };
    messages.iter().map(text).sum()
}

/// Bytes of a prompt; what comes as tokens is counted as the bytes that so many tokens have.
fn bytes_of_prompt(prompt: &Prompt) -> usize {
    match &prompt.kind {
        Some(Kind::Text(text)) => text.len(),
        Some(Kind::Texts(list)) => list.values.iter().map(String::len).sum(),
        Some(Kind::Tokens(list)) => list.values.len() * BYTES_PER_TOKEN,
        Some(Kind::TokenLists(lists)) => {
            lists.values.iter().map(|list| list.values.len() * BYTES_PER_TOKEN).sum()
        }
        None => 0,
    }
}

#[cfg(test)]
mod tests;
