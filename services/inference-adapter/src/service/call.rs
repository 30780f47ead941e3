//! One call to an engine, from the choice of the deployment to the last chunk: counted, timed, and judged,
//! however it ends. A call that is dropped was cancelled: that is nobody's fault.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::Stream;
use penstock_proto::{Reason, inference::v1::GenerateResponse};
use tokio::time::Instant;
use tonic::{Response, Status};

use crate::{
    answer::says_something,
    engine::AnswerStream,
    error::Error,
    fleet::{Deployment, Fleet, InFlight},
    metrics::EngineMetrics,
};

/// A call.
#[derive(Debug)]
pub(super) struct Call {
    deployment: Arc<Deployment>,
    fleet: Fleet,
    metrics: EngineMetrics,
    began: Instant,
    ended: bool,
    _place: InFlight,
}

impl Call {
    /// Begins a call on `deployment`.
    ///
    /// # Errors
    /// It has too many already.
    pub(super) fn begin(
        deployment: &Arc<Deployment>,
        fleet: &Fleet,
        metrics: &EngineMetrics,
    ) -> Result<Self, Error> {
        let place =
            deployment.enter().inspect_err(|error| metrics.ended(&deployment.id, error.reason().as_str()))?;
        Ok(Self {
            deployment: Arc::clone(deployment),
            fleet: fleet.clone(),
            metrics: metrics.clone(),
            began: Instant::now(),
            ended: false,
            _place: place,
        })
    }

    /// Ends the call with an answer that came in one piece, or with none.
    pub(super) fn whole<T>(mut self, outcome: Result<T, Error>) -> Result<Response<T>, Status> {
        self.end(outcome.as_ref().map(drop).map_err(Error::reason));
        outcome.map(Response::new).map_err(Status::from)
    }

    /// Ends the call.
    pub(super) fn end(&mut self, outcome: Result<(), Reason>) {
        self.ended = true;
        self.metrics.ended(&self.deployment.id, outcome.map_or_else(Reason::as_str, |()| "ok"));
        self.fleet.judge(&self.deployment, outcome);
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if !self.ended {
            self.metrics.ended(&self.deployment.id, "cancelled");
        }
    }
}

/// An answer on its way.
pub(crate) struct Observed {
    answer: AnswerStream,
    call: Call,
    begun: bool,
}

impl Observed {
    pub(super) fn new(answer: AnswerStream, call: Call) -> Self {
        Self { answer, call, begun: false }
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
        Poll::Ready(match std::task::ready!(this.answer.as_mut().poll_next(cx)) {
            Some(Ok(message)) => {
                if !this.begun && message.chunks.iter().any(says_something) {
                    this.begun = true;
                    this.call.deployment.first_token.observe(this.call.began.elapsed().as_secs_f64());
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
        })
    }
}
