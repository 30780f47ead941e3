//! What becomes of an answer that breaks after the caller has some of it: another deployment of the same model goes
//! on from what was said, or says it again and what is the same is left out. The caller sees one answer, or an
//! error. Everything lives inside the answer's stream: dropping that drops this.

mod cost;
mod prefill;
mod steps;

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::{FutureExt as _, future::BoxFuture};
use penstock_chassis::Chassis;
use penstock_proto::{
    Error, Reason,
    inference::v1::{GenerateRequest, GenerateResponse},
    router::v1::AttemptKind,
};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
};

pub(crate) use self::cost::without_discarded;
use self::{
    cost::Cost,
    steps::{How, Step, Steps},
};
use crate::{
    attempts::{Asking, Caller, Dispatch, Stream},
    config::AfterCommit,
    decision::{Candidate, Route},
    said::Said,
    splice::{Join, Replay, Splice},
};

/// What it takes to go on with an answer that breaks, and what was said of it so far.
#[derive(Debug)]
pub(crate) struct Resume {
    dispatch: Dispatch,
    caller: Caller,
    request: GenerateRequest,
    tokens: u64,
    steps: Steps,
    said: Said,
    /// Between what was said and what is being said; `None`: nothing has broken yet.
    splice: Option<Splice>,
    cost: Cost,
}

/// How often answers were resumed. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Resumed(Family<Labels, Counter>);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    how: &'static str,
    outcome: &'static str,
}

impl Resumed {
    pub(crate) fn start(chassis: &Chassis) -> Self {
        let resumed = Self::default();
        chassis.metrics.register(|registry| {
            let help = "Answers that broke and that another attempt was to go on with";
            registry.register("penstock_resumed", help, resumed.0.clone());
        });
        resumed
    }

    fn count(&self, how: How, outcome: &'static str) {
        self.0.get_or_create(&Labels { how: how.name(), outcome }).inc();
    }
}

impl Resume {
    /// Whether anything can be done about the answer to `request`, if it breaks: if not, nothing of it is kept.
    pub(crate) fn is_possible(request: &GenerateRequest, route: &Route, dispatch: &Dispatch) -> bool {
        request.stream && route.policy.after_commit != AfterCommit::Error && dispatch.most > 1
    }

    /// For a stream that `candidate` has begun to give, the last of so many engines that were `asked`. `None`: nobody
    /// could go on with it.
    pub(crate) fn new(
        dispatch: &Dispatch,
        caller: &Caller,
        request: GenerateRequest,
        (candidate, left, asked): (&Candidate, Route, usize),
    ) -> Option<Box<Self>> {
        let spare = dispatch.most.saturating_sub(asked);
        let steps = Steps::new(left.policy.after_commit, candidate, left.candidates, spare)?;
        Some(Box::new(Self {
            dispatch: dispatch.clone(),
            caller: caller.clone(),
            request,
            tokens: left.tokens,
            steps,
            said: Said::default(),
            splice: None,
            cost: Cost::default(),
        }))
    }

    /// Takes out of a message what the caller has already, and takes note of the rest.
    ///
    /// # Errors
    /// The answer cannot be gone on with: this is another one.
    pub(crate) fn take(&mut self, message: &mut GenerateResponse) -> Result<(), Error> {
        if let Some(splice) = &mut self.splice {
            let mut out = Vec::with_capacity(message.chunks.len());
            for mut chunk in std::mem::take(&mut message.chunks) {
                if let Some(usage) = &mut chunk.usage {
                    self.cost.put_into(usage, splice);
                }
                if splice.take(chunk, &self.said, &mut out).is_err() {
                    self.dispatch.resumed.count(How::Replay, "diverged");
                    return Err(cut("the answer was cut, and another attempt at it said something else"));
                }
            }
            message.chunks = out;
        }
        message.chunks.iter_mut().for_each(|chunk| self.said.hear(chunk));
        Ok(())
    }

    /// The answer is whole.
    pub(crate) fn end(&self) {
        if let Some(how) = self.how() {
            self.dispatch.resumed.count(how, "ok");
        }
    }

    /// One engine's words go on with another's: no model would say just that.
    pub(crate) fn is_continued(&self) -> bool {
        self.how() == Some(How::Continue)
    }

    /// Finds somebody to go on with an answer that broke.
    ///
    /// # Errors
    /// `broke`, if nobody may be asked.
    pub(crate) fn go_on(mut self: Box<Self>, broke: Error) -> Result<Resuming, Error> {
        if let Some(how) = self.how() {
            self.dispatch.resumed.count(how, "failed");
        }
        if self.said.is_too_much() || !broke.reason.remedy().fallback {
            return Err(broke);
        }
        self.cost.broke(&self.said, self.splice.take());
        self.steps.broke(broke.reason, prefill::can_be_continued(&self.request, &self.said));
        Ok(Resuming(self.find(broke).boxed()))
    }

    async fn find(mut self: Box<Self>, broke: Error) -> Result<(Box<Self>, Stream), Error> {
        while let Some(step) = self.steps.next() {
            if self.caller.context.remaining().is_some_and(|left| left.is_zero()) {
                break;
            }
            if step.how == How::Continue
                && prefill::is_ambiguous(&self.said, &step.candidate.deployment.engine)
            {
                self.steps.passed_over(step.candidate);
                continue;
            }
            let (request, splice) = self.asked(&step);
            let kind = match step.how {
                How::Continue => AttemptKind::Continue,
                How::Replay => AttemptKind::Replay,
            };
            let (caller, candidate) = (&self.caller, &step.candidate);
            let may_queue = self.steps.is_last();
            let asking = Asking { caller, candidate, tokens: self.tokens, may_queue };
            match self.dispatch.one(&asking, request, kind).await {
                Ok(stream) => {
                    let (deployment, how) = (candidate.id(), step.how.name());
                    tracing::info!(deployment, how, reason = broke.reason.as_str(), "an answer goes on");
                    self.cost.begins(&self.said, &splice);
                    self.splice = Some(splice);
                    self.steps.begun(step.candidate);
                    return Ok((self, stream));
                }
                Err(error) if step.how == How::Continue && is_refusal(error.reason) => {
                    self.dispatch.resumed.count(step.how, "refused");
                    self.steps.refused(step.candidate);
                }
                Err(error) => {
                    self.dispatch.resumed.count(step.how, "failed");
                    // The budget is used up, or it would be the same everywhere.
                    if error.reason == Reason::ModelUnavailable || !error.reason.remedy().fallback {
                        break;
                    }
                }
            }
        }
        Err(broke)
    }

    fn asked(&self, step: &Step) -> (GenerateRequest, Splice) {
        let plain = self.said.plain().filter(|_| step.how == How::Continue);
        match plain {
            Some((text, reasoning)) => {
                let (repeats, trims) = prefill::habits(&step.candidate.deployment.engine);
                let join = Join::new(text, repeats, trims);
                let tokens = self.said.tokens();
                let request = prefill::request(&self.request, join.prefill(), reasoning, tokens);
                (request, Splice::Continue(join))
            }
            None => (self.request.clone(), Splice::Replay(Replay::default())),
        }
    }

    fn how(&self) -> Option<How> {
        self.splice.as_ref().map(|splice| match splice {
            Splice::Continue(_) => How::Continue,
            Splice::Replay(_) => How::Replay,
        })
    }
}

/// The engine will not have a prefill; it may answer the request without.
fn is_refusal(reason: Reason) -> bool {
    matches!(reason, Reason::EngineRejected | Reason::Unsupported | Reason::InvalidRequest)
}

fn cut(message: &'static str) -> Error {
    Error::new(Reason::EngineCut, message)
}

/// The search for somebody who goes on; ready when there is one, or nobody.
pub(crate) struct Resuming(BoxFuture<'static, Result<(Box<Resume>, Stream), Error>>);

impl fmt::Debug for Resuming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resuming")
    }
}

impl Future for Resuming {
    type Output = Result<(Box<Resume>, Stream), Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll_unpin(cx)
    }
}
