//! The answer on its way to the caller: handed on message by message as it comes, measured, and never ended as
//! a success unless it is whole. Dropping it, at any moment, hands its record to the accounting.

use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll, ready},
};

use penstock_proto::{
    Error, Reason,
    inference::v1::{GenerateChunk, GenerateResponse},
};
use tokio_stream::Stream;
use tonic::Status;

use crate::{
    accounting::Record,
    attempts::Rest,
    merge::{Merge, Merged},
    resume::{Resume, Resuming, without_discarded},
    stored::{Keep, Storing},
};

/// Largest answer that is given to the cache, in bytes.
const CACHED_MAX_BYTES: usize = 1 << 20;
/// Largest answer that is put together to be stored, in bytes: the store has bounds of its own.
pub(crate) const STORED_MAX_BYTES: usize = 32 << 20;

/// An answer on its way.
#[derive(Debug)]
pub(crate) struct Answer {
    held_back: VecDeque<GenerateResponse>,
    rest: Option<Rest>,
    /// The caller did not ask for usage, which we always ask for.
    hide_usage: bool,
    /// Choices that began, and that ended: a bit each.
    began: u128,
    ended: u128,
    /// Put together for the cache or the store, if it may be kept.
    merge: Option<Merge>,
    /// Whether the cache may have it.
    cached: bool,
    /// What the caller asked to store it by.
    keep: Option<Box<Keep>>,
    /// Its id and moment before it got those that it is stored by: the cache gives it to others.
    unnamed: Option<(String, i64)>,
    /// Its end is held back until it is stored.
    storing: Option<Storing>,
    /// What it takes to go on if it breaks.
    resume: Option<Box<Resume>>,
    /// It broke, and somebody is looked for who goes on.
    resuming: Option<Resuming>,
    over: bool,
    record: Record,
}

impl Answer {
    pub(crate) fn new(
        held_back: Vec<GenerateResponse>,
        rest: Option<Rest>,
        hide_usage: bool,
        cached: bool,
        keep: Option<Box<Keep>>,
        record: Record,
    ) -> Self {
        let max_bytes = if keep.is_some() { STORED_MAX_BYTES } else { CACHED_MAX_BYTES };
        Self {
            held_back: held_back.into(),
            rest,
            hide_usage,
            began: 0,
            ended: 0,
            merge: (cached || keep.is_some()).then(|| Merge::new(max_bytes)),
            cached,
            keep,
            unnamed: None,
            storing: None,
            resume: None,
            resuming: None,
            over: false,
            record,
        }
    }

    /// The same, to be gone on with if it breaks.
    pub(crate) fn resumable(self, resume: Option<Box<Resume>>) -> Self {
        Self { resume, ..self }
    }

    /// Measures a message and takes out what the caller did not ask for. False: nothing of it is left.
    fn pass(&mut self, message: &mut GenerateResponse) -> bool {
        for chunk in &mut message.chunks {
            self.measure(chunk);
            if let Some(keep) = &self.keep {
                self.unnamed.get_or_insert_with(|| (chunk.id.clone(), chunk.created));
                keep.name(chunk);
            }
            if let Some(merge) = &mut self.merge {
                merge.push(chunk);
            }
            if self.hide_usage {
                chunk.usage = None;
            }
        }
        if self.hide_usage {
            message.chunks.retain(|chunk| !chunk.choices.is_empty() || !chunk.extensions.is_empty());
        }
        !message.chunks.is_empty()
    }

    fn measure(&mut self, chunk: &GenerateChunk) {
        let mut delivered = 0;
        for choice in &chunk.choices {
            // A request has at most 128 choices; what an engine numbers beyond that shares the last bit.
            let index = u32::try_from(choice.index).unwrap_or(127).min(127);
            let bit = 1u128 << index;
            self.began |= bit;
            if choice.finish_reason.is_some() {
                self.ended |= bit;
            }
            if let Some(delta) = &choice.delta {
                let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
                delivered += text(&delta.content) + text(&delta.reasoning) + text(&delta.refusal);
                let functions = delta.tool_calls.iter().filter_map(|call| call.function.as_ref());
                let functions = functions.chain(&delta.function_call);
                delivered += functions.map(|call| text(&call.name) + text(&call.arguments)).sum::<usize>();
                let customs = delta.tool_calls.iter().filter_map(|call| call.custom.as_ref());
                delivered += customs.map(|call| text(&call.name) + text(&call.input)).sum::<usize>();
            }
        }
        if let Some(account) = self.record.account() {
            account.delivered_bytes += delivered;
            if chunk.usage.is_some() {
                account.usage.clone_from(&chunk.usage);
            }
        }
    }

    /// The engine's stream ended well; the answer is whole only if every choice did.
    fn end(&mut self) -> Option<Result<GenerateResponse, Status>> {
        if self.began == 0 || self.began != self.ended {
            return self
                .break_off(Error::new(Reason::EngineCut, "the engine's answer ended before it was whole"));
        }
        self.rest = None;
        if let Some(resume) = self.resume.take() {
            resume.end();
            self.cached &= !resume.is_continued();
        }
        let merged = self.merge.take().and_then(Merge::finish);
        let fits = |merged: &Merged| merged.lossy.is_empty() && merged.bytes <= CACHED_MAX_BYTES;
        let cached = self.cached && merged.as_ref().is_some_and(fits);
        let mut of_cache = None;
        match self.keep.take() {
            Some(keep) => {
                of_cache = merged.as_ref().filter(|_| cached).map(|merged| merged.answer.clone());
                if let (Some(answer), Some(unnamed)) = (&mut of_cache, self.unnamed.take()) {
                    (answer.id, answer.created) = unnamed;
                }
                self.storing = keep.store(merged);
            }
            None if cached => of_cache = merged.map(|merged| merged.answer),
            None => {}
        }
        if let Some(usage) = of_cache.as_mut().and_then(|answer| answer.usage.as_mut()) {
            without_discarded(usage);
        }
        if let Some(account) = self.record.account() {
            account.answer = of_cache;
            account.outcome = Some(Ok(()));
        }
        self.over = self.storing.is_none();
        None
    }

    /// The answer broke: somebody else goes on with it, if anybody can.
    fn break_off(&mut self, error: Error) -> Option<Result<GenerateResponse, Status>> {
        self.note_break(error.reason);
        // The engine need not go on with what nobody hears.
        self.rest = None;
        match self.resume.take().map_or(Err(error.clone()), |resume| resume.go_on(error)) {
            Ok(resuming) => {
                self.resuming = Some(resuming);
                None
            }
            Err(error) => Some(Err(self.fail(error))),
        }
    }

    /// Whether the answer goes on, once that is known.
    fn poll_resuming(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        let Some(resuming) = &mut self.resuming else { return Poll::Ready(Ok(())) };
        let found = ready!(Pin::new(resuming).poll(cx));
        self.resuming = None;
        Poll::Ready(match found {
            Ok((resume, (held_back, rest))) => {
                (self.held_back, self.rest, self.resume) = (held_back.into(), Some(rest), Some(resume));
                Ok(())
            }
            Err(error) => Err(self.fail(error)),
        })
    }

    /// Says in the decision that the attempt did not go well to its end, though it had begun to.
    fn note_break(&mut self, reason: Reason) {
        if let Some(account) = self.record.account() {
            account.trail.broke(reason.as_str());
        }
    }

    fn fail(&mut self, error: Error) -> Status {
        (self.rest, self.resume) = (None, None);
        self.held_back.clear();
        self.over = true;
        if let Some(account) = self.record.account() {
            account.outcome = Some(Err(error.reason));
        }
        error.into()
    }
}

impl Stream for Answer {
    type Item = Result<GenerateResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            if this.over {
                return Poll::Ready(None);
            }
            if let Some(storing) = &mut this.storing {
                ready!(Pin::new(storing).poll(cx));
                this.storing = None;
                this.over = true;
                continue;
            }
            if let Err(status) = ready!(this.poll_resuming(cx)) {
                return Poll::Ready(Some(Err(status)));
            }
            let next = match (this.held_back.pop_front(), &mut this.rest) {
                (Some(message), _) => Some(Ok(message)),
                (None, Some(rest)) => ready!(Pin::new(rest).poll_next(cx)),
                (None, None) => None,
            };
            match next {
                Some(Ok(mut message)) => {
                    if let Some(resume) = &mut this.resume
                        && let Err(diverged) = resume.take(&mut message)
                    {
                        this.note_break(diverged.reason);
                        return Poll::Ready(Some(Err(this.fail(diverged))));
                    }
                    if this.pass(&mut message) {
                        if let Some(account) = this.record.account() {
                            account.first_content();
                        }
                        return Poll::Ready(Some(Ok(message)));
                    }
                }
                Some(Err(status)) => {
                    if let Some(failed) = this.break_off(Error::from(&status)) {
                        return Poll::Ready(Some(failed));
                    }
                }
                None => {
                    if let Some(failed) = this.end() {
                        return Poll::Ready(Some(failed));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use penstock_proto::{
        inference::v1::{Choice, CustomCall, Delta, FunctionCall, ToolCall, Usage},
        router::v1::AttemptKind,
    };
    use tokio_stream::StreamExt as _;

    use super::*;
    use crate::{accounting::tests::recorder, decision::Candidate, decisions::OK};

    fn message(index: i64, content: &str, finish_reason: Option<&str>) -> GenerateResponse {
        let delta = Delta { content: Some(content.into()), ..Delta::default() };
        let finish_reason = finish_reason.map(str::to_owned);
        let choice = Choice { index, delta: Some(delta), finish_reason, ..Choice::default() };
        GenerateResponse { chunks: vec![GenerateChunk { choices: vec![choice], ..GenerateChunk::default() }] }
    }

    fn usage() -> GenerateResponse {
        let usage = Usage { prompt_tokens: 3, completion_tokens: 2, total_tokens: 5, ..Usage::default() };
        GenerateResponse { chunks: vec![GenerateChunk { usage: Some(usage), ..GenerateChunk::default() }] }
    }

    #[tokio::test]
    async fn an_answer_that_ends_without_a_finish_reason_is_an_error() {
        for messages in
            [vec![], vec![message(0, "a", None)], vec![message(0, "a", Some("stop")), message(1, "b", None)]]
        {
            let (mut record, mut records) = recorder();
            let candidate = Candidate { model: "m".into(), deployment: Arc::default() };
            let trail = record.account().unwrap().trail.clone();
            trail.begin(&candidate, AttemptKind::First).end(OK);
            let answer = Answer::new(messages, None, false, true, None, record);
            let last = answer.collect::<Vec<_>>().await.pop().unwrap().unwrap_err();
            assert_eq!(Error::from(&last).reason, Reason::EngineCut);
            let record = records.try_recv().unwrap().account;
            assert_eq!(record.outcome, Some(Err(Reason::EngineCut)));
            assert!(record.answer.is_none(), "C11: never kept");
            assert_eq!(
                trail.so_far().attempts[0].outcome,
                Some("ENGINE_CUT"),
                "it did not go well to its end"
            );
        }
    }

    #[tokio::test]
    async fn usage_is_counted_and_hidden_unless_asked_for() {
        for (hide, seen) in [(true, 1), (false, 2)] {
            let (record, mut records) = recorder();
            let answer =
                Answer::new(vec![message(0, "a", Some("stop")), usage()], None, hide, true, None, record);
            assert_eq!(answer.collect::<Vec<_>>().await.len(), seen);
            let record = records.try_recv().unwrap().account;
            assert_eq!(record.tokens(), 5);
            assert_eq!(record.outcome, Some(Ok(())));
            assert_eq!(record.answer.clone().unwrap().usage.unwrap().total_tokens, 5);
        }
    }

    #[tokio::test]
    async fn a_caller_that_leaves_pays_for_what_it_got() {
        let (record, mut records) = recorder();
        let mut answer = Answer::new(vec![message(0, "12345678", None)], None, false, true, None, record);
        answer.next().await.unwrap().unwrap();
        drop(answer);
        let record = records.try_recv().unwrap().account;
        assert_eq!(record.outcome, None);
        assert_eq!(record.tokens(), 10 + 2, "the prompt's estimate and a token per four bytes");
    }

    #[tokio::test]
    async fn calls_of_every_kind_are_measured() {
        let eight = || Some("12345678".to_owned());
        let function = || FunctionCall { name: eight(), arguments: eight(), ..FunctionCall::default() };
        let custom = CustomCall { name: eight(), input: eight(), ..CustomCall::default() };
        let tool_calls = vec![
            ToolCall { function: Some(function()), ..ToolCall::default() },
            ToolCall { custom: Some(custom), ..ToolCall::default() },
        ];
        let delta = Delta { tool_calls, function_call: Some(function()), ..Delta::default() };
        let mut call = message(0, "", None);
        call.chunks[0].choices[0].delta = Some(delta);
        let (record, mut records) = recorder();
        let mut answer = Answer::new(vec![call], None, false, true, None, record);
        answer.next().await.unwrap().unwrap();
        drop(answer);
        assert_eq!(records.try_recv().unwrap().account.delivered_bytes, 6 * 8);
    }
}
