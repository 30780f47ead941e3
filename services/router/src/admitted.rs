//! A request that was let in, on its way to an answer: the cache's, or that of the first deployment that gives
//! one. Whatever becomes of it, its record says so, and the answer's metadata tells where it comes from.

use std::sync::Arc;

use penstock_proto::{
    Error, Reason,
    cache::v1::Entry,
    inference::v1::{GenerateChunk, GenerateRequest, GenerateResponse},
    limits, metadata,
    ratelimit::v1::LimitState,
};
use tonic::{Response, Status, metadata::MetadataMap};

use crate::{
    accounting::{BYPASS, HIT, MISS, Record},
    answer::Answer,
    attempts::{Begun, Caller, Dispatch, Rest},
    cache_policy::Plan,
    decision::Route,
    merge::replay,
    resume::Resume,
    service::RETRY_AFTER,
    stored::Keep,
    whole::Whole,
};

/// A request that may be answered.
#[derive(Debug)]
pub(crate) struct Admitted {
    pub(crate) caller: Caller,
    /// The registered name of the model that was asked for.
    pub(crate) model: Arc<str>,
    pub(crate) stream: bool,
    pub(crate) include_usage: bool,
    pub(crate) plan: Plan,
    /// The state of the limits, for the answer's headers.
    pub(crate) limits: Vec<LimitState>,
    /// If the caller asked to store the answer.
    pub(crate) keep: Option<Box<Keep>>,
    pub(crate) record: Record,
}

/// A request that was let in, and what it takes to answer it.
#[derive(Debug)]
pub(crate) struct LetIn {
    pub(crate) admitted: Admitted,
    pub(crate) request: GenerateRequest,
    pub(crate) route: Route,
    /// What the cache has.
    pub(crate) known: Option<Entry>,
}

impl LetIn {
    /// The same, unless there can be no answer: the caller takes none but the cache's, and it has none.
    pub(crate) fn unless_only_cached(self) -> Result<Self, Status> {
        let is_known = matches!(&self.known, Some(Entry { answer: Some(_), .. }));
        if !self.admitted.plan.only_if_cached || is_known {
            return Ok(self);
        }
        Err(self.admitted.refuse(Error::new(Reason::NotCached, "the answer is not in the cache"), 0))
    }

    /// The answer: from the cache or from an engine.
    pub(crate) async fn answer(self, dispatch: &Dispatch) -> Result<Response<Answer>, Status> {
        let Self { admitted, request, route, known } = self.unless_only_cached()?;
        match known {
            Some(Entry { answer: Some(answer), age }) => {
                Ok(admitted.replay(&answer, age.map_or(0, |age| age.seconds)))
            }
            _ => admitted.ask(dispatch, request, route).await,
        }
    }
}

impl Admitted {
    /// The answer that the cache has, `age` seconds old.
    pub(crate) fn replay(mut self, answer: &GenerateChunk, age: i64) -> Response<Answer> {
        if let Some(account) = self.record.account() {
            account.cache = HIT;
        }
        let model = Arc::clone(&self.model);
        // What is stored has its usage, whether the caller sees it or not.
        let messages = replay(answer, self.stream, self.include_usage || self.keep.is_some());
        let mut response = self.answer(messages, None, false, &model, 0, HIT);
        insert(response.metadata_mut(), metadata::AGE, &age.to_string());
        response
    }

    /// The answer of the first candidate that gives one.
    pub(crate) async fn ask(
        mut self,
        dispatch: &Dispatch,
        request: GenerateRequest,
        route: Route,
    ) -> Result<Response<Answer>, Status> {
        let resumable = Resume::is_possible(&request, &route, dispatch);
        match dispatch.begin(&self.caller, request, route).await {
            Ok(Begun { candidate, request, answer: (held_back, rest), failures, asked, left }) => {
                if let Some(account) = self.record.account() {
                    account.deployment = candidate.id().to_owned();
                    account.fallbacks = failures;
                }
                // What a fallback said is not the answer of the model that was asked for.
                let cached = self.plan.store && candidate.model == self.model;
                let cache = if self.plan.look_up { MISS } else { BYPASS };
                let resume = request.filter(|_| resumable).and_then(|request| {
                    Resume::new(dispatch, &self.caller, request, (&candidate, left, asked))
                });
                let response = self.answer(held_back, Some(rest), cached, &candidate.model, failures, cache);
                Ok(response.map(|answer| answer.resumable(resume)))
            }
            Err((error, failures)) => Err(self.refuse(error, failures)),
        }
    }

    /// The answer of the first candidate that gives one, where it comes in one piece.
    pub(crate) async fn ask_whole<R: Whole>(
        mut self,
        dispatch: &Dispatch,
        request: R,
        route: Route,
    ) -> Result<Response<R::Answer>, Status> {
        if self.plan.only_if_cached {
            let message = "answers of this kind are not in the cache";
            return Err(self.refuse(Error::new(Reason::NotCached, message), 0));
        }
        let Begun { candidate, answer, failures, .. } =
            match dispatch.begin(&self.caller, request, route).await {
                Ok(begun) => begun,
                Err((error, failures)) => return Err(self.refuse(error, failures)),
            };
        if let Some(account) = self.record.account() {
            account.deployment = candidate.id().to_owned();
            account.fallbacks = failures;
            account.usage = R::usage(&answer).cloned();
            account.outcome = Some(Ok(()));
            account.first_content();
        }
        let estimated = R::is_estimated(&answer);
        let mut response = Response::new(answer);
        self.tell(response.metadata_mut(), &candidate.model, failures, BYPASS);
        if estimated {
            insert(response.metadata_mut(), metadata::USAGE, "estimated");
        }
        Ok(response)
    }

    /// Puts into an answer's metadata where it comes from, and what the limits are.
    fn tell(&self, head: &mut MetadataMap, model: &str, fallbacks: usize, cache: &str) {
        insert(head, metadata::MODEL, model);
        if fallbacks > 0 {
            insert(head, metadata::FALLBACKS, &fallbacks.to_string());
        }
        insert(head, metadata::CACHE, cache);
        self.sign(head);
    }

    /// Puts the identity of the decision and the limits into what the caller is told.
    pub(crate) fn sign(&self, head: &mut MetadataMap) {
        self.caller.trail.sign(head);
        insert_limits(head, &self.limits);
    }

    fn answer(
        self,
        held_back: Vec<GenerateResponse>,
        rest: Option<Rest>,
        cached: bool,
        model: &str,
        fallbacks: usize,
        cache: &str,
    ) -> Response<Answer> {
        let hide_usage = self.stream && !self.include_usage;
        // A stream's usage comes last, when its head is long gone.
        let estimated = !self.stream && is_estimated(&held_back);
        let mut head = MetadataMap::new();
        self.tell(&mut head, model, fallbacks, cache);
        if estimated {
            insert(&mut head, metadata::USAGE, "estimated");
        }
        let mut response =
            Response::new(Answer::new(held_back, rest, hide_usage, cached, self.keep, self.record));
        *response.metadata_mut() = head;
        response
    }

    /// Notes that the request got no answer, and why. The last of the failures had no fallback.
    pub(crate) fn refuse(mut self, mut error: Error, failures: usize) -> Status {
        if let Some(account) = self.record.account() {
            account.outcome = Some(Err(error.reason));
            account.fallbacks = failures.saturating_sub(1);
        }
        if error.retry_after.is_none() && error.reason.http_status() == 503 {
            error.retry_after = Some(RETRY_AFTER);
        }
        let mut status = Status::from(error);
        self.sign(status.metadata_mut());
        status
    }
}

/// Whether the usage in these messages is an estimate.
fn is_estimated(messages: &[GenerateResponse]) -> bool {
    let chunks = messages.iter().flat_map(|message| &message.chunks);
    chunks.filter_map(|chunk| chunk.usage.as_ref()).any(|usage| usage.estimated)
}

fn insert_limits(metadata: &mut MetadataMap, states: &[LimitState]) {
    for (key, value) in limits::headers(states) {
        insert(metadata, key, &value);
    }
}

/// Leaves out what metadata cannot hold, such as a model name that is not ASCII.
fn insert(metadata: &mut MetadataMap, key: &'static str, value: &str) {
    if let Ok(value) = value.parse() {
        metadata.insert(key, value);
    }
}
