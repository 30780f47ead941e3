//! Answers that callers ask to store: each gets an id of ours, is put into the store of objects when it is whole
//! and before its end is given out, so that it can be asked for at once. One that cannot be stored goes out all
//! the same, is counted and logged (E10); none of this is ever in a log but ids.

mod service;

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use futures_util::{FutureExt as _, future::BoxFuture};
use penstock_chassis::{CallContext, Channel, Chassis, MESSAGE_MAX_BYTES};
use penstock_proto::{
    Error, Reason,
    auth::v1::Principal,
    cache::v1::{Object, PutRequest, objects_client::ObjectsClient},
    inference::v1::{GenerateChunk, GenerateRequest, StoredCompletion, generate_request::Input},
    stored::CHAT_COMPLETION,
};
use prometheus_client::metrics::counter::Counter;
use prost::Message as _;

use crate::merge::Merged;

/// Stores answers. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Keeper {
    objects: ObjectsClient<Channel>,
    timeout: Duration,
    lost: Counter,
}

/// An answer that is to be stored, from before its first chunk.
pub(crate) struct Keep {
    id: String,
    created: i64,
    tenant: String,
    request: GenerateRequest,
    context: CallContext,
    keeper: Keeper,
}

impl fmt::Debug for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keep").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Keeper {
    pub(crate) fn new(objects: &Channel, timeout: Duration, chassis: &Chassis) -> Self {
        let lost = Counter::default();
        chassis.metrics.register(|registry| {
            let help = "Answers that were to be stored and could not be";
            registry.register("penstock_not_stored", help, lost.clone());
        });
        let objects = ObjectsClient::new(objects.clone()).max_decoding_message_size(MESSAGE_MAX_BYTES);
        Self { objects, timeout, lost }
    }

    /// What it takes to store the answer to `request`, if the caller asked for that.
    pub(crate) fn keep(
        &self,
        context: &CallContext,
        principal: &Principal,
        request: &GenerateRequest,
    ) -> Option<Box<Keep>> {
        let asked = request.store == Some(true) && matches!(request.input, Some(Input::Chat(_)));
        let since = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        // A box, since most answers carry none.
        asked.then(|| {
            Box::new(Keep {
                // Ours: the ids of two engines may be the same.
                id: format!("chatcmpl-{}", uuid::Uuid::now_v7().simple()),
                created: i64::try_from(since()).unwrap_or_default(),
                tenant: principal.tenant.clone(),
                request: request.clone(),
                context: context.clone(),
                keeper: self.clone(),
            })
        })
    }
}

impl Keep {
    /// Gives a chunk the identity under which its answer will be found.
    pub(crate) fn name(&self, chunk: &mut GenerateChunk) {
        chunk.id.clone_from(&self.id);
        chunk.created = self.created;
    }

    /// Stores the whole answer. `None`: there is nothing to wait for.
    pub(crate) fn store(self, merged: Option<Merged>) -> Option<Storing> {
        let Some(Merged { answer, lossy, .. }) = merged else {
            self.keeper.lost.inc();
            tracing::warn!(request_id = self.context.request_id(), "not stored: the answer is too large");
            return None;
        };
        if !lossy.is_empty() {
            let request_id = self.context.request_id();
            tracing::info!(request_id, members = lossy.len(), "stored with members that came in pieces");
        }
        let Keep { id, created, tenant, mut request, context, keeper } = self;
        let (model, metadata) = (answer.model.clone(), request.metadata.take());
        let completion = StoredCompletion {
            id: id.clone(),
            created,
            request: Some(request),
            answer: Some(answer),
            metadata: None,
            request_id: context.request_id().to_owned(),
            lossy,
        };
        let object = Object { id, created, model, metadata, content: completion.encode_to_vec().into() };
        let put = PutRequest { tenant, kind: CHAT_COMPLETION.to_owned(), object: Some(object) };
        Some(Storing(keeper.put(context, put).boxed()))
    }
}

impl Keeper {
    async fn put(mut self, context: CallContext, put: PutRequest) {
        // Half of what the caller has left: a whole answer must not become an error because it is stored.
        let left = context.remaining().map_or(self.timeout, |left| left / 2);
        let request = context.with_timeout(self.timeout.min(left)).request(put);
        let Err(status) = self.objects.put(request).await else { return };
        let (reason, request_id) = (Error::from(&status).reason, context.request_id());
        match reason {
            // Nobody else makes this id: the channel asked again because it did not hear that it was stored.
            Reason::Conflict => return,
            Reason::RequestTooLarge => {
                tracing::warn!(request_id, "not stored: request and answer are larger than the store takes");
            }
            _ => tracing::warn!(request_id, reason = reason.as_str(), "not stored"),
        }
        self.lost.inc();
    }
}

/// An answer on its way into the store; ready when it is there, or lost.
pub(crate) struct Storing(BoxFuture<'static, ()>);

impl fmt::Debug for Storing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Storing")
    }
}

impl Future for Storing {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.0.poll_unpin(cx)
    }
}

#[cfg(test)]
mod tests;
