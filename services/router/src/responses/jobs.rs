//! Answers that nobody waits for, while they are made: bounded in number and time, ended at once when their caller
//! ends them, here or at another router. Whatever one comes to is stored as well as it can be.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use penstock_chassis::{CallContext, Chassis, Tasks};
use penstock_proto::{
    Error, Reason, Violation,
    inference::v1::{GenerateRequest, ResponseStatus, StoredResponse},
    stored::RESPONSE,
};
use prometheus_client::metrics::gauge::Gauge;
use tokio::{sync::Notify, time::sleep};
use tokio_stream::StreamExt as _;
use tonic::Status;

use super::records::Records;
use crate::{
    admitted::LetIn,
    answer::STORED_MAX_BYTES,
    attempts::Dispatch,
    merge::{Merge, Merged},
    service::RETRY_AFTER,
    stored::{Identity, now},
};

/// How often a job looks whether another router has ended it.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long a look, or the last word of a job, may take.
const STORE_TIMEOUT: Duration = Duration::from_secs(2);
/// How often it is tried to store what a job came to: a restart of the store's process lies in between.
const STORE_ATTEMPTS: usize = 3;
/// The pipeline ends a request at its deadline; this long after it we do.
const BACKSTOP: Duration = Duration::from_secs(1);

/// Of so many places one is kept for tenants that have few: one tenant's long answers must not shut all others out.
const KEPT_ONE_OF: usize = 4;

/// The answers in progress at this router that nobody waits for. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Jobs {
    /// By their ids.
    running: Arc<Mutex<HashMap<String, Running>>>,
    most: usize,
    shown: Gauge,
    tasks: Tasks,
}

/// A job, as others see it.
#[derive(Debug)]
struct Running {
    tenant: String,
    /// Told when its caller ends it.
    ended: Arc<Notify>,
}

impl Jobs {
    /// At most so many at a time.
    pub(crate) fn new(most: usize, chassis: &Chassis) -> Self {
        let shown = Gauge::default();
        chassis.metrics.register(|registry| {
            let help = "Responses in progress that nobody waits for";
            registry.register("penstock_background_responses", help, shown.clone());
        });
        Self { running: Arc::default(), most, shown, tasks: chassis.tasks.clone() }
    }

    /// A place for one more of this tenant.
    ///
    /// # Errors
    /// OVERLOADED: all are taken, or all that the tenant may have. INVALID_REQUEST: there are none here.
    pub(super) fn enter(&self, id: &str, tenant: &str) -> Result<Place, Error> {
        if self.most == 0 {
            let message = "is not offered on this gateway (router.background_max is 0): leave it out";
            return Err(Error::invalid(vec![Violation::new("background", message)]));
        }
        let ended = Arc::new(Notify::new());
        let mut running = self.running();
        let kept = self.most / KEPT_ONE_OF;
        let theirs = running.values().filter(|job| job.tenant == tenant).count();
        let has_its_share = running.len() + kept >= self.most && theirs >= kept;
        if running.len() >= self.most || has_its_share {
            let message = "as many responses as may be are being made in the background";
            return Err(Error::new(Reason::Overloaded, message).with_retry_after(RETRY_AFTER));
        }
        running.insert(id.to_owned(), Running { tenant: tenant.to_owned(), ended: Arc::clone(&ended) });
        self.shown.inc();
        Ok(Place { id: id.to_owned(), jobs: self.clone(), ended })
    }

    /// Ends a job, if it is one of ours.
    pub(super) fn end(&self, id: &str) {
        if let Some(job) = self.running().get(id) {
            job.ended.notify_one();
        }
    }

    /// Lets a job run, whoever leaves.
    pub(super) fn spawn(&self, job: Job, let_in: LetIn, dispatch: Dispatch) {
        let aborting = self.tasks.aborting().cancelled_owned();
        self.tasks.spawn_answer("response", job.run(let_in, dispatch, aborting));
    }

    fn running(&self) -> MutexGuard<'_, HashMap<String, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place among the jobs, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    id: String,
    jobs: Jobs,
    /// Told when its caller ends the job.
    ended: Arc<Notify>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.jobs.running().remove(&self.id);
        self.jobs.shown.dec();
    }
}

/// An answer that nobody waits for.
pub(super) struct Job {
    pub(super) place: Place,
    pub(super) records: Records,
    pub(super) identity: Identity,
    pub(super) request: GenerateRequest,
    /// With a deadline of its own.
    pub(super) context: CallContext,
}

impl Job {
    async fn run(self, let_in: LetIn, dispatch: Dispatch, aborting: impl Future<Output = ()> + Send) {
        let left = self.context.remaining().unwrap_or_default() + BACKSTOP;
        let made = tokio::time::timeout(left, make(let_in, &dispatch));
        let outcome = tokio::select! {
            biased;
            () = self.is_ended() => None,
            made = made => Some(made.unwrap_or_else(|_| {
                Err(Error::new(Reason::DeadlineExceeded, "the answer took longer than background answers may"))
            })),
            () = aborting => Some(Err(Error::new(
                Reason::Draining,
                "the gateway was stopped before the answer was whole",
            ))),
        };
        let Self { place, records, identity, request, context } = self;
        if let Some(outcome) = outcome {
            let record = came_to(identity, request, outcome);
            if !finish(&records, &context, record).await {
                // The pending record is all that is left of it: failed, once its time is up.
                return;
            }
        }
        records.settle(&context.detached(STORE_TIMEOUT), &place.id).await;
    }

    /// Ready when somebody ended it, here or elsewhere.
    async fn is_ended(&self) {
        let elsewhere = async {
            loop {
                sleep(LOOK_EVERY).await;
                let context = self.context.detached(STORE_TIMEOUT);
                // A store that cannot be asked has not ended anything.
                if self.records.is_ended(&context, &self.place.id).await {
                    return;
                }
            }
        };
        tokio::select! {
            () = self.place.ended.notified() => {}
            () = elsewhere => {}
        }
    }
}

/// Takes the whole answer in.
async fn make(let_in: LetIn, dispatch: &Dispatch) -> Result<Merged, Error> {
    let of = |status: Status| Error::from(&status);
    let mut answer = let_in.answer(dispatch).await.map_err(of)?.into_inner();
    let mut merge = Merge::new(STORED_MAX_BYTES);
    while let Some(message) = answer.next().await {
        message.map_err(of)?.chunks.iter().for_each(|chunk| merge.push(chunk));
    }
    // It is whole, since it ended well.
    merge.finish().ok_or_else(too_large)
}

fn too_large() -> Error {
    Error::new(Reason::RequestTooLarge, "request and answer together are larger than what can be stored")
}

/// What is to be stored of an outcome.
pub(super) fn came_to(
    identity: Identity,
    request: GenerateRequest,
    outcome: Result<Merged, Error>,
) -> StoredResponse {
    let response = match outcome {
        Ok(mut merged) => {
            identity.name(&mut merged.answer);
            identity.completed(request, merged, now())
        }
        Err(error) => failed(identity.response(request, ResponseStatus::Failed), &error),
    };
    StoredResponse { background: true, ..response }
}

fn failed(response: StoredResponse, error: &Error) -> StoredResponse {
    StoredResponse {
        status: ResponseStatus::Failed.into(),
        completed: None,
        answer: None,
        failure: Some(error.reason.as_str().to_owned()),
        failure_message: Some(error.message.to_string()),
        ..response
    }
}

/// Stores what a job came to, if nobody else has said what it comes to.
/// False: it could not be stored.
pub(super) async fn finish(records: &Records, context: &CallContext, mut record: StoredResponse) -> bool {
    let mut reason = Reason::ServiceUnavailable;
    for attempt in 0..STORE_ATTEMPTS {
        if attempt > 0 && reason != Reason::RequestTooLarge {
            sleep(LOOK_EVERY).await;
        }
        match records.put(&context.detached(STORE_TIMEOUT), RESPONSE, &record).await {
            Ok(()) => return true,
            Err(error) => reason = error.reason,
        }
        match reason {
            Reason::Conflict => return true,
            // Less and less of it, until it fits.
            Reason::RequestTooLarge if record.answer.is_some() => record = failed(record, &too_large()),
            Reason::RequestTooLarge => record.request.iter_mut().for_each(|request| request.input = None),
            _ => {}
        }
    }
    records.lose(context.request_id(), reason);
    false
}
