//! `Responses`: answers that are kept as responses, and those among them that nobody waits for. What a background
//! response asks goes the way of every request; only then does its caller leave, and the answer goes on.

mod jobs;
mod records;

use std::time::Duration;

use penstock_chassis::CallContext;
use penstock_proto::{
    Error, Reason, Violation,
    inference::v1::{
        CancelResponseRequest, CancelResponseResponse, DeleteResponseRequest, DeleteResponseResponse,
        GenerateRequest, GetResponseRequest, GetResponseResponse, ResponseStatus, StartResponseRequest,
        StartResponseResponse, StoredResponse, generate_request::Input, responses_server::Responses,
    },
    stored::RESPONSE_PENDING,
};
use tokio::time::Instant;
use tonic::{Request, Response, Status, metadata::MetadataMap};

pub(crate) use self::jobs::Jobs;
use self::{jobs::Job, records::Records};
use crate::{
    service::{RETRY_AFTER, Router, refused},
    stored::{Call, Kind, identity, now},
};

/// What is said of what is not there, or another tenant's.
const MISSING: &str = "there is no stored response with this id";
/// How long after its deadline a response may still be stored, by another machine's clock.
const GRACE: Duration = Duration::from_secs(10);

impl Router {
    /// Begins an answer that nobody waits for.
    async fn begin(
        &self,
        context: &CallContext,
        caller: &MetadataMap,
        asked: GenerateRequest,
        started: Instant,
    ) -> Result<Response<StartResponseResponse>, Status> {
        // As a stream: an engine that is busy with a long answer is then not one that is silent.
        let mut streamed = GenerateRequest { stream: true, ..asked };
        streamed.stream_options.get_or_insert_default().include_usage = Some(true);
        let refused = |status| refused(context, status);
        let checked = self.check(context, caller, streamed).await.map_err(refused)?;
        let violations = not_to_be_found(&checked.request);
        if !violations.is_empty() {
            return Err(refused(Error::invalid(violations).into()));
        }
        let identity = identity(Kind::Response, context, &checked.principal);
        let place = self.jobs.enter(&identity.id, &identity.tenant).map_err(|full| refused(full.into()))?;
        let timeout = self.config.background_timeout;
        let request = GenerateRequest { stream: false, stream_options: None, ..checked.request.clone() };
        let detached = context.detached(timeout);
        let let_in = self.admit(detached.clone(), checked, None, started).await?.unless_only_cached()?;
        let lasts = i64::try_from((timeout + GRACE).as_secs()).unwrap_or(i64::MAX);
        let pending = StoredResponse {
            background: true,
            deadline: Some(identity.created.saturating_add(lasts)),
            ..identity.clone().response(request.clone(), ResponseStatus::InProgress)
        };
        let records = Records::new(&self.keeper, identity.tenant.clone());
        match records.put(context, RESPONSE_PENDING, &pending).await {
            // Nobody else makes this id: the channel asked again because it did not hear that it was stored.
            Ok(()) | Err(Error { reason: Reason::Conflict, .. }) => {}
            Err(error) => return Err(let_in.admitted.refuse(not_begun(&error), 0)),
        }
        let response = without_input(pending);
        let mut answer = Response::new(StartResponseResponse { response: Some(response) });
        let_in.admitted.sign(answer.metadata_mut());
        let job = Job { place, records, identity, request, context: detached };
        self.jobs.spawn(job, let_in, self.dispatch.clone());
        Ok(answer)
    }

    fn records<T>(&self, call: &Call<T>) -> Records {
        Records::new(&self.keeper, call.tenant.clone())
    }
}

/// What is wrong with a valid request whose answer nobody waits for: how else would it be found?
fn not_to_be_found(request: &GenerateRequest) -> Vec<Violation> {
    let is_chat = matches!(request.input, Some(Input::Chat(_)));
    let needs = [
        (request.store == Some(true), "store", "must be true for a response that nobody waits for"),
        (request.response.is_some(), "response", "is required for a response that nobody waits for"),
        (is_chat, "messages", "is required: only the answer to a conversation is a response"),
    ];
    let missing = needs.into_iter().filter(|(is_there, ..)| !is_there);
    missing.map(|(_, field, message)| Violation::new(field, message)).collect()
}

/// What a caller is told whose response could not be begun.
fn not_begun(error: &Error) -> Error {
    match error.reason {
        Reason::RequestTooLarge => {
            let message =
                "the request is larger than what can be stored: ask without `background` and `store`";
            Error::new(Reason::RequestTooLarge, message)
        }
        Reason::DeadlineExceeded | Reason::Overloaded => error.clone(),
        _ => Error::new(Reason::ServiceUnavailable, "the store of answers cannot be asked")
            .with_retry_after(RETRY_AFTER),
    }
}

fn without_input(mut response: StoredResponse) -> StoredResponse {
    if let Some(request) = &mut response.request {
        request.input = None;
    }
    response
}

#[tonic::async_trait]
impl Responses for Router {
    async fn start(
        &self,
        request: Request<StartResponseRequest>,
    ) -> Result<Response<StartResponseResponse>, Status> {
        let started = Instant::now();
        let context = CallContext::of(&request);
        let (caller, _, StartResponseRequest { request }) = request.into_parts();
        self.begin(&context, &caller, request.unwrap_or_default(), started).await
    }

    async fn get(
        &self,
        request: Request<GetResponseRequest>,
    ) -> Result<Response<GetResponseResponse>, Status> {
        let call = self.call(request).await?;
        let response = self.records(&call).look(&call.context, &call.message.id, now()).await?;
        let response = if call.message.without_input { without_input(response) } else { response };
        Ok(Response::new(GetResponseResponse { response: Some(response) }))
    }

    async fn cancel(
        &self,
        request: Request<CancelResponseRequest>,
    ) -> Result<Response<CancelResponseResponse>, Status> {
        let call = self.call(request).await?;
        let id = &call.message.id;
        let response = self.records(&call).cancel(&call.context, id, now()).await?;
        // Not one that comes to something else: its job is about to say what.
        if response.status() == ResponseStatus::Cancelled {
            self.jobs.end(id);
        }
        Ok(Response::new(CancelResponseResponse { response: Some(without_input(response)) }))
    }

    async fn delete(
        &self,
        request: Request<DeleteResponseRequest>,
    ) -> Result<Response<DeleteResponseResponse>, Status> {
        let call = self.call(request).await?;
        let id = &call.message.id;
        self.records(&call).delete(&call.context, id).await?;
        self.jobs.end(id);
        Ok(Response::new(DeleteResponseResponse {}))
    }
}

#[cfg(test)]
mod tests;
