//! Responses as they stand in the store, and who wins when several want to end one. One that goes on has a pending
//! record, which its job takes away at its end; what it comes to is written once, by whoever is first: its job, a
//! cancel, or a delete, which leaves a mark so that nothing is kept under this id any more.

use penstock_chassis::CallContext;
use penstock_proto::{
    Error, Reason,
    cache::v1::{DeleteRequest, GetRequest, ObjectKey},
    inference::v1::{GenerateRequest, ResponseStatus, StoredResponse},
    stored::{RESPONSE, RESPONSE_PENDING},
};
use prost::Message as _;
use tonic::Status;

use super::MISSING;
use crate::stored::{Keeper, refused, response};

/// How often a delete may meet another one, a cancel or the job's answer before it gives up.
const DELETE_ROUNDS: usize = 4;

/// The responses of a tenant.
#[derive(Clone, Debug)]
pub(super) struct Records {
    keeper: Keeper,
    tenant: String,
}

impl Records {
    pub(super) fn new(keeper: &Keeper, tenant: String) -> Self {
        Self { keeper: keeper.clone(), tenant }
    }

    /// Puts a new record; nothing is ever overwritten.
    ///
    /// # Errors
    /// CONFLICT if there is one, REQUEST_TOO_LARGE, or the store cannot be asked.
    pub(super) async fn put(
        &self,
        context: &CallContext,
        kind: &str,
        record: &StoredResponse,
    ) -> Result<(), Error> {
        self.keeper.put(context, response(self.tenant.clone(), kind, record)).await
    }

    /// Says that an answer was lost.
    pub(super) fn lose(&self, request_id: &str, reason: Reason) {
        self.keeper.lose(request_id, reason);
    }

    /// Whether somebody else has said what the response comes to.
    pub(super) async fn is_ended(&self, context: &CallContext, id: &str) -> bool {
        matches!(self.get(context, RESPONSE, id).await, Ok(Some(_)))
    }

    /// The response as it is.
    ///
    /// # Errors
    /// NOT_FOUND, or the store cannot be asked.
    pub(super) async fn look(
        &self,
        context: &CallContext,
        id: &str,
        now: i64,
    ) -> Result<StoredResponse, Status> {
        // In the order in which they are written; it may end while we look.
        for kind in [RESPONSE, RESPONSE_PENDING, RESPONSE] {
            if let Some(response) = self.get(context, kind, id).await? {
                return if is_mark(&response) { Err(missing()) } else { Ok(seen_at(response, now)) };
            }
        }
        Err(missing())
    }

    /// Ends a response that goes on. One that has ended stays as it is.
    ///
    /// # Errors
    /// NOT_FOUND, or the store cannot be asked.
    pub(super) async fn cancel(
        &self,
        context: &CallContext,
        id: &str,
        now: i64,
    ) -> Result<StoredResponse, Status> {
        let response = self.look(context, id, now).await?;
        if response.status() != ResponseStatus::InProgress {
            return Ok(response);
        }
        let cancelled =
            StoredResponse { status: ResponseStatus::Cancelled.into(), deadline: None, ..response };
        match self.put(context, RESPONSE, &cancelled).await {
            Ok(()) => Ok(cancelled),
            Err(error) if error.reason == Reason::Conflict => self.look(context, id, now).await,
            Err(error) => Err(refused(&error.into(), MISSING)),
        }
    }

    /// Deletes a response.
    ///
    /// # Errors
    /// NOT_FOUND, or the store cannot be asked.
    pub(super) async fn delete(&self, context: &CallContext, id: &str) -> Result<(), Status> {
        let StoredResponse { created, request, background, .. } = self.look(context, id, 0).await?;
        if !background {
            // It was whole when it came here, and nobody else writes to it.
            let there_was_one = self.take(context, RESPONSE, id).await?;
            return if there_was_one { Ok(()) } else { Err(missing()) };
        }
        let model = request.map(|request| request.model).unwrap_or_default();
        let request = Some(GenerateRequest { model, ..GenerateRequest::default() });
        let mark = StoredResponse { id: id.to_owned(), created, request, ..StoredResponse::default() };
        for _ in 0..DELETE_ROUNDS {
            match self.put(context, RESPONSE, &mark).await {
                Ok(()) => {
                    self.take(context, RESPONSE_PENDING, id).await?;
                    return Ok(());
                }
                Err(error) if error.reason == Reason::Conflict => {
                    // In this order: what has ended must not be seen to go on.
                    self.take(context, RESPONSE_PENDING, id).await?;
                    self.take(context, RESPONSE, id).await?;
                }
                Err(error) => return Err(refused(&error.into(), MISSING)),
            }
        }
        Err(Error::new(Reason::Conflict, "others change this response at the same time: ask again").into())
    }

    /// The job has ended: nothing is pending any more.
    pub(super) async fn settle(&self, context: &CallContext, id: &str) {
        if let Err(status) = self.take(context, RESPONSE_PENDING, id).await {
            // Its time will be up some day; what it has come to stands before it.
            tracing::debug!(code = %status.code(), "a pending record stays");
        }
    }

    async fn get(
        &self,
        context: &CallContext,
        kind: &str,
        id: &str,
    ) -> Result<Option<StoredResponse>, Status> {
        let get = context.request(GetRequest { key: self.key(kind, id) });
        let object = match self.keeper.objects.clone().get(get).await {
            Ok(answer) => answer.into_inner().object.unwrap_or_default(),
            Err(status) if is_not_found(&status) => return Ok(None),
            Err(status) => return Err(refused(&status, MISSING)),
        };
        // The decoder's error would say what it met.
        let response = StoredResponse::decode(object.content)
            .map_err(|_| Error::new(Reason::Internal, "the stored response cannot be read"))?;
        Ok(Some(response))
    }

    /// Takes a record away. False: there was none.
    async fn take(&self, context: &CallContext, kind: &str, id: &str) -> Result<bool, Status> {
        let delete = context.request(DeleteRequest { key: self.key(kind, id) });
        match self.keeper.objects.clone().delete(delete).await {
            Ok(_) => Ok(true),
            Err(status) if is_not_found(&status) => Ok(false),
            Err(status) => Err(refused(&status, MISSING)),
        }
    }

    fn key(&self, kind: &str, id: &str) -> Option<ObjectKey> {
        Some(ObjectKey { tenant: self.tenant.clone(), kind: kind.to_owned(), id: id.to_owned() })
    }
}

fn missing() -> Status {
    Error::new(Reason::NotFound, MISSING).into()
}

fn is_not_found(status: &Status) -> bool {
    Error::from(status).reason == Reason::NotFound
}

/// Whether this is what a delete leaves.
fn is_mark(response: &StoredResponse) -> bool {
    response.status() == ResponseStatus::Unspecified
}

/// A response that goes on, and should have ended by now, has lost its gateway.
fn seen_at(response: StoredResponse, now: i64) -> StoredResponse {
    if response.deadline.is_none_or(|deadline| now < deadline) {
        return response;
    }
    StoredResponse {
        status: ResponseStatus::Failed.into(),
        failure: Some(Reason::Draining.as_str().to_owned()),
        failure_message: Some("the gateway was stopped before the answer was whole".to_owned()),
        deadline: None,
        ..response
    }
}
