//! An answer that is being said, word by word, at the pace of a model, and broken where it is to break.

use std::{
    future::Future as _,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::Stream;
use penstock_proto::{
    Reason,
    inference::v1::{GenerateChunk, GenerateResponse},
};
use tokio::time::{Instant, Sleep, sleep_until};

use super::script::Script;
use crate::{
    answer::Answer,
    error::{Error, Fault},
    upstream::silent,
};

/// What is to be said, and how.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) answer: Answer,
    pub(super) deployment: Arc<str>,
    pub(super) stream: bool,
    pub(super) script: Script,
    /// Until the first word.
    pub(super) delay: Duration,
    /// Words per second from then on.
    pub(super) tokens_per_second: f64,
    /// Where it breaks, if it does.
    pub(super) breaks: Option<Break>,
}

/// A break in an answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Break {
    /// After so many words.
    pub(super) after: usize,
    /// It falls silent for so long, until that is noticed; `None`: it is cut.
    pub(super) silence: Option<Duration>,
}

/// An answer that is being said.
#[derive(Debug)]
pub(super) struct Speech {
    plan: Plan,
    began: Instant,
    timer: Pin<Box<Sleep>>,
    said: usize,
    ended: bool,
}

impl Speech {
    pub(super) fn new(plan: Plan) -> Self {
        let began = Instant::now();
        let timer = Box::pin(sleep_until(began + plan.delay));
        Self { plan, began, timer, said: 0, ended: false }
    }

    /// When the word of that number is due.
    fn due(&self, word: usize) -> Instant {
        #[allow(clippy::cast_precision_loss)] // an answer has far fewer than 2^53 words
        let seconds = word as f64 / self.plan.tokens_per_second;
        self.began + self.plan.delay + Duration::try_from_secs_f64(seconds).unwrap_or_default()
    }

    /// When something is to be said, or to break.
    fn next(&self) -> Instant {
        let last = self.plan.breaks.map_or(self.plan.script.len(), |one| one.after);
        let at = self.due(if self.plan.stream { self.said } else { last });
        match self.plan.breaks {
            Some(Break { after, silence: Some(silence) }) if !self.plan.stream || self.said == after => {
                at + silence
            }
            _ => at,
        }
    }

    fn speak(&mut self) -> Result<Vec<GenerateChunk>, Fault> {
        let Plan { answer, script, stream, breaks, .. } = &mut self.plan;
        let last = breaks.map_or(script.len(), |one| one.after);
        let mut chunks = Vec::new();
        if let Some(one) = breaks.filter(|_| !*stream || self.said == last) {
            return Err(match one.silence {
                Some(_) => silent(),
                None => Fault::new(Reason::EngineCut, "the simulated engine cut its answer, as it was told"),
            });
        }
        if !*stream {
            answer.take(script.whole(), &mut chunks)?;
            self.said = last;
        }
        let now = Instant::now();
        while self.said < last && self.due(self.said) <= now {
            let Plan { answer, script, .. } = &mut self.plan;
            for chunk in script.word(self.said) {
                answer.take(chunk, &mut chunks)?;
            }
            self.said += 1;
            for chunk in script.ends(self.said).into_iter().filter(|_| self.said < script.len()) {
                answer.take(chunk, &mut chunks)?;
            }
        }
        let Plan { answer, script, stream, breaks, .. } = &mut self.plan;
        if self.said == last && breaks.is_none() {
            for chunk in script.ends(self.said).into_iter().filter(|_| *stream) {
                answer.take(chunk, &mut chunks)?;
            }
            // A choice without a word has said nothing yet, and ends all the same.
            for chunk in script.ends(0).into_iter().filter(|_| *stream && last > 0) {
                answer.take(chunk, &mut chunks)?;
            }
            answer.take(script.usage(), &mut chunks)?;
            answer.end(&mut chunks)?;
            self.ended = true;
        }
        Ok(chunks)
    }
}

impl Stream for Speech {
    type Item = Result<GenerateResponse, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        while !this.ended {
            let next = this.next();
            if this.timer.deadline() != next {
                this.timer.as_mut().reset(next);
            }
            std::task::ready!(this.timer.as_mut().poll(cx));
            match this.speak() {
                // The word was said already: what is next is the break.
                Ok(chunks) if chunks.is_empty() => {}
                Ok(chunks) => return Poll::Ready(Some(Ok(GenerateResponse { chunks }))),
                Err(fault) => {
                    this.ended = true;
                    return Poll::Ready(Some(Err(fault.of(&this.plan.deployment))));
                }
            }
        }
        Poll::Ready(None)
    }
}
