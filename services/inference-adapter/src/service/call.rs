//! One call to an engine, from the choice of the deployment to the last chunk: counted, timed, and judged,
//! however it ends. A call that is dropped was cancelled: that is nobody's fault. Usage that the engine did not
//! give is put in here: last, so that nothing waits for it.

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
use tokio::{
    task::{JoinHandle, spawn_blocking},
    time::{Instant, Sleep, sleep_until},
};
use tonic::{Response, Status};

use crate::{
    admission::{Claim, Place},
    answer::says_something,
    deployment::Deployment,
    engine::AnswerStream,
    error::Error,
    fleet::Fleet,
    metrics::EngineMetrics,
    tally::Tally,
    tokens::may_count_here,
    upstream::silent,
};

/// A call.
#[derive(Debug)]
pub(super) struct Call {
    deployment: Arc<Deployment>,
    fleet: Fleet,
    metrics: EngineMetrics,
    began: Instant,
    /// The engine said then that the model is not in its memory.
    loads: bool,
    ended: bool,
    place: Place,
}

impl Call {
    /// Begins a call on `deployment`, once there is a place.
    ///
    /// # Errors
    /// It is left alone, or has too many already.
    pub(super) async fn begin(
        deployment: &Arc<Deployment>,
        claim: Claim,
        fleet: &Fleet,
        metrics: &EngineMetrics,
    ) -> Result<Self, Error> {
        let entered = deployment.enter(claim).await;
        let place = entered.inspect_err(|error| metrics.ended(&deployment.id, error.reason().as_str()))?;
        Ok(Self {
            deployment: Arc::clone(deployment),
            fleet: fleet.clone(),
            metrics: metrics.clone(),
            began: Instant::now(),
            loads: deployment.loaded() == Some(false),
            ended: false,
            place,
        })
    }

    /// Ends the call with an answer that came in one piece, or with none.
    pub(super) fn whole<T>(mut self, outcome: Result<T, Error>) -> Result<Response<T>, Status> {
        self.end(outcome.as_ref().map(drop).map_err(Error::reason));
        outcome.map(Response::new).map_err(Status::from)
    }

    /// Ends a call that counted tokens. A tokenizer that works says nothing of the model behind it, nor does one that
    /// fails (D7): that nobody is there is all that speaks against the deployment.
    pub(super) fn counted<T>(mut self, outcome: Result<T, Error>) -> Result<T, Error> {
        match outcome.as_ref().map(drop).map_err(Error::reason) {
            Err(reason @ Reason::EngineUnreachable) => self.end(Err(reason)),
            Err(reason) => self.close(reason.as_str()),
            Ok(()) => self.close("ok"),
        }
        outcome
    }

    /// Counts the answer as one whose usage is an estimate.
    pub(super) fn estimated(&self) {
        if self.is_counted() {
            self.metrics.estimated(&self.deployment.id);
        }
    }

    /// What an answer counts that outlasts its deployment by long would be there until the process ends.
    fn is_counted(&self) -> bool {
        self.fleet.knows(&self.deployment.id)
    }

    fn count(&self, outcome: &'static str) {
        if self.is_counted() {
            self.metrics.ended(&self.deployment.id, outcome);
        }
    }

    /// The answer has begun.
    fn heard(&mut self) {
        let took = self.began.elapsed();
        self.deployment.first_token.observe(took.as_secs_f64());
        if self.loads {
            self.deployment.was_loaded_in(took);
        }
        self.fleet.heard(&self.deployment, &mut self.place);
    }

    /// Ends the call.
    pub(super) fn end(&mut self, outcome: Result<(), Reason>) {
        self.ended = true;
        self.count(outcome.map_or_else(Reason::as_str, |()| "ok"));
        self.fleet.judge(&self.deployment, &mut self.place, outcome);
    }

    /// Ends the call though the engine goes on. How long an answer gets is up to who asks for it, and how soon it is
    /// read, too: a breaker that opened for that would be in the hands of callers (D2).
    fn expire(&mut self, reason: Reason) {
        self.close(reason.as_str());
    }

    /// Ends the call without a word on the deployment.
    fn close(&mut self, outcome: &'static str) {
        self.ended = true;
        self.count(outcome);
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if !self.ended {
            self.count("cancelled");
        }
    }
}

/// An answer on its way.
pub(crate) struct Observed {
    answer: AnswerStream,
    call: Call,
    begun: bool,
    tally: Tally,
    /// A chunk whose usage is being counted, and what to say if that fails.
    counting: Option<Counting>,
    /// When it has to have ended; `None`: it came whole.
    limit: Option<Pin<Box<Sleep>>>,
}

struct Counting {
    chunk: GenerateChunk,
    guess: (i64, i64),
    counted: JoinHandle<(i64, i64)>,
}

impl Observed {
    /// `total`: how long it may take, from the beginning of the call.
    pub(super) fn new(answer: AnswerStream, call: Call, tally: Tally, total: Option<Duration>) -> Self {
        let limit = total.map(|total| Box::pin(sleep_until(call.began + total)));
        Self { answer, call, begun: false, tally, counting: None, limit }
    }

    /// Ends an answer that takes longer than it may, though it never falls silent.
    fn poll_limit(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        let Some(limit) = &mut self.limit else { return Poll::Pending };
        std::task::ready!(limit.as_mut().poll(cx));
        Poll::Ready(silent().of(&self.call.deployment.id))
    }

    /// Takes note of what goes by. If usage lacks something it is put in; where that takes time the chunk is
    /// taken out of the message until it is done.
    fn observe(&mut self, message: &mut GenerateResponse) {
        if !self.begun && message.chunks.iter().any(says_something) {
            self.begun = true;
            self.call.heard();
        }
        message.chunks.iter().for_each(|chunk| self.tally.hear(chunk));
        // `Answer` puts usage on the last chunk, and on no other.
        let Some(usage) = message.chunks.last_mut().and_then(|chunk| chunk.usage.as_mut()) else { return };
        if !self.tally.is_missing_in(usage) {
            return;
        }
        self.call.estimated();
        if may_count_here(self.tally.bytes()) {
            Tally::complete(usage, self.tally.count());
        } else if let Some(chunk) = message.chunks.pop() {
            let tally = std::mem::replace(&mut self.tally, Tally::new(Default::default()));
            let guess = tally.guess();
            self.counting = Some(Counting { chunk, guess, counted: spawn_blocking(move || tally.count()) });
        }
    }

    fn poll_counting(&mut self, cx: &mut Context<'_>) -> Poll<Option<GenerateResponse>> {
        let Some(counting) = &mut self.counting else { return Poll::Ready(None) };
        let counted = std::task::ready!(Pin::new(&mut counting.counted).poll(cx)).unwrap_or(counting.guess);
        let mut chunk = std::mem::take(&mut counting.chunk);
        self.counting = None;
        if let Some(usage) = &mut chunk.usage {
            Tally::complete(usage, counted);
        }
        Poll::Ready(Some(GenerateResponse { chunks: vec![chunk] }))
    }
}

impl std::fmt::Debug for Observed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Observed").field("call", &self.call).finish_non_exhaustive()
    }
}

impl Stream for Observed {
    type Item = Result<GenerateResponse, Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.call.ended {
            return Poll::Ready(None);
        }
        loop {
            if let Some(message) = std::task::ready!(this.poll_counting(cx)) {
                return Poll::Ready(Some(Ok(message)));
            }
            let next = match this.poll_limit(cx) {
                Poll::Ready(late) if this.begun => {
                    this.call.expire(late.reason());
                    return Poll::Ready(Some(Err(late.into())));
                }
                Poll::Ready(late) => Some(Err(late)),
                Poll::Pending => std::task::ready!(this.answer.as_mut().poll_next(cx)),
            };
            return Poll::Ready(match next {
                Some(Ok(mut message)) => {
                    this.observe(&mut message);
                    if message.chunks.is_empty() {
                        continue;
                    }
                    Some(Ok(message))
                }
                Some(Err(error)) => {
                    this.call.end(Err(error.reason()));
                    Some(Err(error.into()))
                }
                None => {
                    this.call.end(Ok(()));
                    None
                }
            });
        }
    }
}
