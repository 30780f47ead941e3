//! What every engine's answer is made into, whatever its dialect: one identity over all chunks, roles said
//! once and by themselves, ends by themselves, tool calls with index and id, usage once and last, and a verdict
//! whether it is whole.

mod calls;
mod split;

use penstock_proto::{
    Reason,
    inference::v1::{
        Choice, Delta, Extension, GenerateChunk, GenerateRequest, Usage, generate_request::Input,
    },
};

use self::{calls::Calls, split::split};
use crate::{error::Fault, upstream::prompt_too_long, vectors::texts_in};

/// Choices of an answer at most: as many as a request may ask for of one prompt.
const CHOICES_MAX: usize = 128;
/// The same where texts are continued, of all its prompts together: what is known of each takes memory.
const CHOICES_OF_TEXTS_MAX: usize = 4096;
/// An engine's clock may be this far off before its `created` is replaced.
const CLOCK_SKEW_SECONDS: i64 = 86_400;
/// Longest id of an answer that is taken over, in bytes: it goes to clients on every chunk.
const ID_MAX_BYTES: usize = 128;

/// An answer in the making.
#[derive(Debug)]
pub(crate) struct Answer {
    id: String,
    created: i64,
    model: String,
    /// The id and time are settled: a chunk was given out.
    identified: bool,
    system_fingerprint: Option<String>,
    service_tier: Option<String>,
    stream: bool,
    /// It continues a text: nobody speaks, so there are no roles.
    continues: bool,
    choices: Vec<State>,
    /// Choices that were asked for.
    asked: usize,
    usage: Option<(Usage, Vec<Extension>)>,
    /// A prompt of so many tokens was cut.
    prompt_max: Option<u64>,
    begun: bool,
}

/// What is known of one choice.
#[derive(Debug, Default)]
struct State {
    seen: bool,
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
            system_fingerprint: None,
            service_tier: None,
            stream: request.stream,
            continues: matches!(request.input, Some(Input::Text(_))),
            choices: Vec::new(),
            asked: choices_of(request),
            usage: None,
            prompt_max: None,
            begun: false,
        }
    }

    /// The same, to a prompt that must stay below so many tokens: one that has as many was cut to fit (D12).
    pub(crate) fn below(self, prompt_max: Option<u64>) -> Self {
        Self { prompt_max, ..self }
    }

    /// Whether the model has said anything yet.
    pub(crate) fn has_begun(&self) -> bool {
        self.begun
    }

    /// Whether it is given in pieces.
    pub(crate) fn is_streamed(&self) -> bool {
        self.stream
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
            if self.prompt_max.is_some_and(|most| u64::try_from(usage.prompt_tokens).is_ok_and(|n| n >= most))
            {
                return Err(prompt_too_long());
            }
            if chunk.choices.is_empty() {
                self.usage = Some((usage, std::mem::take(&mut chunk.extensions)));
                return Ok(());
            }
            self.usage = Some((usage, Vec::new()));
        }
        if chunk.choices.is_empty() && chunk.extensions.is_empty() {
            return Ok(());
        }
        let mut to_split = false;
        for choice in &mut chunk.choices {
            to_split |= self.choice(choice)?;
        }
        // An end that is said again, as beside the usage, says nothing.
        let had_choices = !chunk.choices.is_empty();
        chunk.choices.retain(|choice| choice.delta.is_some());
        if had_choices && chunk.choices.is_empty() && chunk.extensions.is_empty() {
            return Ok(());
        }
        self.begun = self.begun || says_something(&chunk);
        chunk.id.clone_from(&self.id);
        chunk.created = self.created;
        chunk.model.clone_from(&self.model);
        chunk.system_fingerprint.clone_from(&self.system_fingerprint);
        chunk.service_tier.clone_from(&self.service_tier);
        if to_split {
            split(chunk, out);
        } else {
            out.push(chunk);
        }
        Ok(())
    }

    /// Takes the end of the connection, where the engine did not say that it is done: a choice that never came
    /// was cut, too.
    ///
    /// # Errors
    /// The answer is not whole.
    pub(crate) fn cease(&mut self, out: &mut Vec<GenerateChunk>) -> Result<(), Fault> {
        if self.choices.iter().filter(|choice| choice.finished).count() < self.asked {
            return Err(Fault::new(Reason::EngineCut, "the engine's answer ended before it was whole"));
        }
        self.end(out)
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
        // An engine that counted nothing: it is counted later, by whoever has the texts.
        let uncounted = Usage { estimated: true, ..Usage::default() };
        let (usage, extensions) = self.usage.take().unwrap_or((uncounted, Vec::new()));
        match out.last_mut() {
            Some(only) if !self.stream => {
                only.usage = Some(usage);
                only.extensions.extend(extensions);
            }
            _ => out.push(GenerateChunk {
                id: self.id.clone(),
                created: self.created,
                model: self.model.clone(),
                system_fingerprint: self.system_fingerprint.clone(),
                service_tier: self.service_tier.clone(),
                usage: Some(usage),
                extensions,
                ..GenerateChunk::default()
            }),
        }
        Ok(())
    }

    fn identify(&mut self, chunk: &GenerateChunk) {
        for (known, said) in [
            (&mut self.system_fingerprint, &chunk.system_fingerprint),
            (&mut self.service_tier, &chunk.service_tier),
        ] {
            if known.is_none() {
                known.clone_from(said);
            }
        }
        if std::mem::replace(&mut self.identified, true) {
            return;
        }
        self.id = sane_id(chunk.id.clone(), if self.continues { "cmpl" } else { "chatcmpl" });
        if chunk.created.abs_diff(self.created) <= CLOCK_SKEW_SECONDS.unsigned_abs() {
            self.created = chunk.created;
        }
    }

    /// Puts a piece of a choice right. True: it says more than one piece of a stream may say. An end that was
    /// said before, and nothing more, is left without a delta.
    fn choice(&mut self, choice: &mut Choice) -> Result<bool, Fault> {
        let index = usize::try_from(choice.index)
            .ok()
            .filter(|index| *index < self.asked.clamp(CHOICES_MAX, CHOICES_OF_TEXTS_MAX))
            .ok_or_else(|| Fault::bad_answer("the engine sent a choice with an impossible index"))?;
        if self.choices.len() <= index {
            self.choices.resize_with(index + 1, State::default);
        }
        let Some(state) = self.choices.get_mut(index) else { return Ok(false) };
        let first = !std::mem::replace(&mut state.seen, true);
        if choice.finish_reason.as_deref() == Some("") {
            choice.finish_reason = None;
        }
        let delta = choice.delta.get_or_insert_default();
        delta.role = match first && !self.continues {
            true => {
                delta.role.take().filter(|role| !role.is_empty()).or_else(|| Some("assistant".to_owned()))
            }
            false => None,
        };
        state.calls.normalise(&mut delta.tool_calls, self.stream)?;
        let says = delta_says_something(delta);
        if let Some(reason) = &mut choice.finish_reason {
            if std::mem::replace(&mut state.finished, true) && !says {
                choice.delta = None;
                return Ok(false);
            }
            if reason == "stop" && state.calls.any() {
                "tool_calls".clone_into(reason);
            }
        }
        if !self.stream {
            return Ok(false);
        }
        let opens = delta.role.is_some();
        if opens && delta.content.is_none() {
            delta.content = Some(String::new());
        }
        if choice.finish_reason.is_some() && !says && !opens {
            // The end has an empty delta, not an empty text.
            *delta = Delta::default();
        }
        Ok((opens && (says || choice.finish_reason.is_some())) || (says && choice.finish_reason.is_some()))
    }
}

/// How many choices a request asks for: so many of each of its prompts.
fn choices_of(request: &GenerateRequest) -> usize {
    let prompts = match &request.input {
        Some(Input::Text(text)) => text.prompt.as_ref().map_or(1, texts_in),
        Some(Input::Chat(_)) | None => 1,
    };
    let each = request.n.and_then(|n| usize::try_from(n).ok()).unwrap_or(1);
    prompts.max(1).saturating_mul(each.max(1))
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
        choice.finish_reason.is_some() || choice.delta.as_ref().is_some_and(delta_says_something)
    };
    chunk.choices.iter().any(says)
}

/// Whether a delta carries more than a role. Extensions too: reasoning has as many names as there are engines.
fn delta_says_something(delta: &Delta) -> bool {
    let texts = [&delta.content, &delta.reasoning, &delta.refusal];
    texts.into_iter().flatten().any(|text| !text.is_empty())
        || !delta.tool_calls.is_empty()
        || delta.function_call.is_some()
        || !delta.extensions.is_empty()
}

#[cfg(test)]
mod tests;
