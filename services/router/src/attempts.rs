//! Asks deployments until one gives its first content: the commit point. Before it a failure that the reason table
//! lets fall back is invisible; after it the answer is that deployment's. Who is asked, how often and when is
//! decided by `plan`, within the retry budget; a deployment that is slow to begin gets a second one beside it.

mod measures;
mod plan;
mod stream;
mod verdict;
mod way;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use penstock_chassis::{CallContext, Channel, Chassis, Door, MESSAGE_MAX_BYTES};
use penstock_proto::{
    Error, Reason,
    inference::v1::inference_client::InferenceClient,
    metadata::{DEPLOYMENT, QUEUE, TENANT, TOKENS},
    router::v1::AttemptKind,
};
use tokio::time::Instant;
use tonic::{Request, Status, metadata::MetadataValue};

pub(crate) use self::stream::{Rest, Stream};
use self::{measures::Measures, verdict::is_unasked, way::Way};
use crate::{
    budget::{Budget, Withdrawal},
    config::{HoldBack, Retrying},
    decision::{Candidate, Route},
    decisions::{Noted, OK, Trail},
    resume::Resumed,
    service::RETRY_AFTER,
};

/// What every attempt of a request needs to know of it.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) context: CallContext,
    /// Who waits for a place on a deployment.
    pub(crate) tenant: String,
    /// Where the attempts are noted.
    pub(crate) trail: Trail,
}

/// How a deployment is to be asked.
#[derive(Clone, Debug)]
pub(crate) struct Asking<'a> {
    pub(crate) caller: &'a Caller,
    pub(crate) candidate: &'a Candidate,
    /// Estimated tokens, prompt and answer together.
    pub(crate) tokens: u64,
    /// It may wait for a place there: there is nowhere else to go.
    pub(crate) may_queue: bool,
}

/// What deployments are asked.
pub(crate) trait Ask: Clone + Default + Send {
    /// The answer at its commit point.
    type Answer: Send;
    /// Whether the time that it takes says how soon the deployment answers.
    const IS_TIMED: bool = true;

    /// Puts it to the adapter, under the name that the answer is to carry.
    fn ask(
        self,
        adapter: InferenceClient<Channel>,
        asking: &Asking<'_>,
    ) -> impl Future<Output = Result<Self::Answer, Status>> + Send;

    /// Whether the answer comes as it is made: then more of it than its first content may be held back.
    fn is_streamed(&self) -> bool {
        false
    }

    /// The same answer with so much more of it held back.
    fn hold_back(
        answer: Self::Answer,
        _: HoldBack,
    ) -> impl Future<Output = Result<Self::Answer, Status>> + Send {
        std::future::ready(Ok(answer))
    }

    /// Whether the answer is nothing but the refusal of a content filter.
    fn is_filtered(_: &Self::Answer) -> bool {
        false
    }
}

/// An answer at its commit point.
#[derive(Debug)]
pub(crate) struct Begun<R: Ask> {
    /// Who gives it.
    pub(crate) candidate: Candidate,
    /// What was asked; `None`: the last attempt took it.
    pub(crate) request: Option<R>,
    /// The answer.
    pub(crate) answer: R::Answer,
    /// How many deployments failed before it.
    pub(crate) failures: usize,
    /// How many engines were asked, this one's with them.
    pub(crate) asked: usize,
    /// Where else the request may go, if the answer breaks: those who were not asked.
    pub(crate) left: Route,
}

/// Puts requests to deployments. One per router, cheap to clone.
#[derive(Clone)]
pub(crate) struct Dispatch {
    adapter: InferenceClient<Channel>,
    /// Most deployments asked for one request.
    pub(crate) most: usize,
    retrying: Retrying,
    budget: Arc<Mutex<Budget>>,
    measures: Measures,
    /// Counts answers that broke and were gone on with.
    pub(crate) resumed: Resumed,
    /// Whether there is room for more than one attempt at a time.
    door: Door,
    /// Numbers from 0 to 1.
    chance: fn() -> f64,
}

impl Dispatch {
    pub(crate) fn new(
        adapter: &Channel,
        most: usize,
        retrying: Retrying,
        door: Door,
        chassis: &Chassis,
    ) -> Self {
        let measures = Measures::default();
        chassis.metrics.register(|registry| measures.register(registry));
        let budget = Budget::new(retrying.budget, retrying.budget_min, Instant::now());
        Self {
            adapter: InferenceClient::new(adapter.clone()).max_decoding_message_size(MESSAGE_MAX_BYTES),
            most,
            retrying,
            budget: Arc::new(Mutex::new(budget)),
            measures,
            resumed: Resumed::start(chassis),
            door,
            chance: fastrand::f64,
        }
    }

    /// Asks the candidates of a route until one answers.
    ///
    /// # Errors
    /// The most telling of all that were heard, and how many deployments failed.
    pub(crate) async fn begin<R: Ask>(
        &self,
        caller: &Caller,
        request: R,
        route: Route,
    ) -> Result<Begun<R>, (Error, usize)> {
        self.budget().deposit(Instant::now());
        Way::new(self, caller, request, route).go().await
    }

    /// Asks one deployment more than it took to begin the answer; noted, and paid for by the retry budget.
    ///
    /// # Errors
    /// What the deployment said; MODEL_UNAVAILABLE without asking it, if the budget is used up.
    pub(crate) async fn one<R: Ask>(
        &self,
        asking: &Asking<'_>,
        request: R,
        kind: AttemptKind,
    ) -> Result<R::Answer, Error> {
        let Some(paid) = self.withdraw() else {
            let message = "too much of the traffic is asked again already";
            return Err(Error::new(Reason::ModelUnavailable, message).with_retry_after(RETRY_AFTER));
        };
        let attempt = Attempt::begin((asking.caller, asking.candidate, kind), &request, Some(paid));
        match request.ask(self.adapter.clone(), asking).await {
            Ok(answer) => {
                attempt.has_content();
                attempt.won();
                Ok(answer)
            }
            Err(status) => Err(attempt.failed(self, &status)),
        }
    }

    /// Takes an attempt beyond the first out of the budget. `None`: it must not be made.
    fn withdraw(&self) -> Option<Withdrawal> {
        let withdrawal = self.budget().withdraw(Instant::now());
        if withdrawal.is_none() {
            self.measures.exhausted.inc();
        }
        withdrawal
    }

    /// Whether an attempt beyond the first could be made now.
    fn can_withdraw(&self) -> bool {
        let can = self.budget().can_withdraw(Instant::now());
        if !can {
            self.measures.exhausted.inc();
        }
        can
    }

    fn budget(&self) -> MutexGuard<'_, Budget> {
        self.budget.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Dispatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dispatch").field("most", &self.most).finish_non_exhaustive()
    }
}

/// A deployment that is being asked.
#[derive(Debug)]
struct Attempt {
    candidate: Candidate,
    noted: Noted,
    began: Instant,
    /// `None`: how long it takes says nothing of answers.
    streamed: Option<bool>,
    /// `None`: it is the first that reaches an engine.
    paid: Option<Withdrawal>,
}

impl Attempt {
    fn begin<R: Ask>(
        asking: (&Caller, &Candidate, AttemptKind),
        request: &R,
        paid: Option<Withdrawal>,
    ) -> Self {
        let (caller, candidate, kind) = asking;
        let streamed = R::IS_TIMED.then(|| request.is_streamed());
        let noted = caller.trail.begin(candidate, kind);
        Self { candidate: candidate.clone(), noted, began: Instant::now(), streamed, paid }
    }

    /// It has its first content.
    fn has_content(&self) {
        if let Some(streamed) = self.streamed {
            self.candidate.deployment.load.times(streamed).first_content(self.began.elapsed());
        }
    }

    /// The answer is its.
    fn won(self) {
        self.noted.end(OK);
    }

    /// Another one had its first content before.
    fn lost(self) {
        // It would have taken at least so long.
        self.has_content();
        self.noted.end("LOST");
    }

    /// It gave no answer.
    fn failed(mut self, dispatch: &Dispatch, status: &Status) -> Error {
        let error = Error::from(status);
        match error.reason {
            Reason::EngineTimeout | Reason::DeadlineExceeded => self.has_content(),
            reason if is_unasked(reason) => {
                if let Some(paid) = self.paid.take() {
                    dispatch.budget().give_back(paid);
                }
            }
            _ => {}
        }
        let deployment = self.candidate.id();
        tracing::info!(deployment, reason = error.reason.as_str(), "a deployment gave no answer");
        self.noted.end(error.reason.as_str());
        error
    }
}

impl Asking<'_> {
    /// `message` as a call that the candidate is to answer.
    pub(crate) fn addressed<T>(&self, message: T) -> Result<Request<T>, Status> {
        let mut request = self.caller.context.request(message);
        let deployment = self.candidate.id().parse().map_err(|_| {
            Status::from(Error::new(Reason::Internal, "the deployment's id cannot be sent as metadata"))
        })?;
        let metadata = request.metadata_mut();
        metadata.insert(DEPLOYMENT, deployment);
        metadata.insert(TOKENS, self.tokens.into());
        // A tenant that metadata cannot hold waits with the nameless ones.
        if let Ok(tenant) = self.caller.tenant.parse() {
            metadata.insert(TENANT, tenant);
        }
        if !self.may_queue {
            metadata.insert(QUEUE, MetadataValue::from_static("no"));
        }
        Ok(request)
    }
}

#[cfg(test)]
mod tests;
