//! What an answer is kept as: a completion or a response, and the object of the store that holds it. Pure.

use penstock_proto::{
    cache::v1::{Object, PutRequest},
    inference::v1::{
        GenerateChunk, GenerateRequest, ResponseStatus, StoredCompletion, StoredResponse,
        generate_request::Input,
    },
    stored::{CHAT_COMPLETION, RESPONSE},
};
use prost::Message as _;
use uuid::Uuid;

use crate::merge::Merged;

/// What an answer is kept as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A chat completion.
    Completion,
    /// A response.
    Response,
}

impl Kind {
    /// As what the answer to `request` is to be kept; `None`: nobody asked for that.
    pub(crate) fn of(request: &GenerateRequest) -> Option<Self> {
        let asked = request.store == Some(true) && matches!(request.input, Some(Input::Chat(_)));
        let kind = if request.response.is_some() { Kind::Response } else { Kind::Completion };
        asked.then_some(kind)
    }

    /// A new name. Ours: the ids of two engines may be the same.
    pub(crate) fn new_id(self) -> String {
        let id = Uuid::now_v7().simple();
        match self {
            Kind::Completion => format!("chatcmpl-{id}"),
            Kind::Response => format!("resp_{id}"),
        }
    }
}

/// An answer's identity, what it answers, and for whom it is kept.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) id: String,
    /// Unix seconds.
    pub(crate) created: i64,
    pub(crate) tenant: String,
    /// Of the request that made it.
    pub(crate) request_id: String,
}

impl Identity {
    /// Gives a chunk the identity under which its answer will be found.
    pub(crate) fn name(&self, chunk: &mut GenerateChunk) {
        chunk.id.clone_from(&self.id);
        chunk.created = self.created;
    }

    /// The object of a whole answer, which was whole at the moment `now`.
    pub(crate) fn put(self, kind: Kind, request: GenerateRequest, merged: Merged, now: i64) -> PutRequest {
        match kind {
            Kind::Completion => self.completion(request, merged),
            Kind::Response => {
                let tenant = self.tenant.clone();
                response(tenant, RESPONSE, &self.completed(request, merged, now))
            }
        }
    }

    fn completion(self, mut request: GenerateRequest, merged: Merged) -> PutRequest {
        let Identity { id, created, tenant, request_id } = self;
        let Merged { answer, lossy, .. } = merged;
        let (model, metadata) = (answer.model.clone(), request.metadata.take());
        let completion = StoredCompletion {
            id: id.clone(),
            created,
            request: Some(request),
            answer: Some(answer),
            metadata: None,
            request_id,
            lossy,
        };
        let object = Object { id, created, model, metadata, content: completion.encode_to_vec().into() };
        PutRequest { tenant, kind: CHAT_COMPLETION.to_owned(), object: Some(object) }
    }

    /// A response that was answered.
    pub(crate) fn completed(self, request: GenerateRequest, merged: Merged, now: i64) -> StoredResponse {
        let Merged { answer, lossy, .. } = merged;
        StoredResponse {
            completed: Some(now),
            answer: Some(answer),
            lossy,
            ..self.response(request, ResponseStatus::Completed)
        }
    }

    /// A response without an answer.
    pub(crate) fn response(self, request: GenerateRequest, status: ResponseStatus) -> StoredResponse {
        let Identity { id, created, request_id, .. } = self;
        StoredResponse {
            id,
            created,
            status: status.into(),
            request: Some(request),
            request_id,
            ..StoredResponse::default()
        }
    }
}

/// The object of a response, finished or not.
pub(crate) fn response(tenant: String, kind: &str, response: &StoredResponse) -> PutRequest {
    let model = match (&response.answer, &response.request) {
        (Some(answer), _) => answer.model.clone(),
        (None, Some(request)) => request.model.clone(),
        (None, None) => String::new(),
    };
    let object = Object {
        id: response.id.clone(),
        created: response.created,
        model,
        // A response's never changes: it stays in the request.
        metadata: None,
        content: response.encode_to_vec().into(),
    };
    PutRequest { tenant, kind: kind.to_owned(), object: Some(object) }
}
