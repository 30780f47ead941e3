//! Answers that callers ask to store: each gets an id of ours, is put into the store of objects when it is whole
//! and before its end is given out, so that it can be asked for at once. One that cannot be stored goes out all
//! the same, is counted and logged (E10); none of this is ever in a log but ids.

mod call;
mod completions;
mod object;

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
    cache::v1::{PutRequest, objects_client::ObjectsClient},
    inference::v1::{GenerateChunk, GenerateRequest},
};
use prometheus_client::metrics::counter::Counter;

pub(crate) use self::{
    call::{Call, refused},
    object::{Identity, Kind, response},
};
use crate::merge::Merged;

/// Stores answers. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Keeper {
    pub(crate) objects: ObjectsClient<Channel>,
    timeout: Duration,
    lost: Counter,
}

/// An answer that is to be stored, from before its first chunk.
pub(crate) struct Keep {
    kind: Kind,
    identity: Identity,
    request: GenerateRequest,
    context: CallContext,
    keeper: Keeper,
}

impl fmt::Debug for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keep").field("id", &self.identity.id).finish_non_exhaustive()
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
        // A box, since most answers carry none.
        Kind::of(request).map(|kind| {
            Box::new(Keep {
                kind,
                identity: identity(kind, context, principal),
                request: request.clone(),
                context: context.clone(),
                keeper: self.clone(),
            })
        })
    }

    /// Puts an object into the store.
    ///
    /// # Errors
    /// It is there already, it is too large, or the store cannot be asked.
    pub(crate) async fn put(&self, context: &CallContext, put: PutRequest) -> Result<(), Error> {
        let request = context.with_timeout(self.timeout).request(put);
        self.objects.clone().put(request).await.map(drop).map_err(|status| Error::from(&status))
    }

    /// Says that an answer was lost.
    pub(crate) fn lose(&self, request_id: &str, reason: Reason) {
        match reason {
            Reason::RequestTooLarge => {
                tracing::warn!(request_id, "not stored: request and answer are larger than the store takes");
            }
            _ => tracing::warn!(request_id, reason = reason.as_str(), "not stored"),
        }
        self.lost.inc();
    }
}

/// The identity of a new answer.
pub(crate) fn identity(kind: Kind, context: &CallContext, principal: &Principal) -> Identity {
    Identity {
        id: kind.new_id(),
        created: now(),
        tenant: principal.tenant.clone(),
        request_id: context.request_id().to_owned(),
    }
}

/// Unix seconds.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    i64::try_from(since).unwrap_or_default()
}

impl Keep {
    /// Gives a chunk the identity under which its answer will be found.
    pub(crate) fn name(&self, chunk: &mut GenerateChunk) {
        self.identity.name(chunk);
    }

    /// Stores the whole answer. `None`: there is nothing to wait for.
    pub(crate) fn store(self, merged: Option<Merged>) -> Option<Storing> {
        let Keep { kind, identity, request, context, keeper } = self;
        let Some(merged) = merged else {
            keeper.lost.inc();
            tracing::warn!(request_id = context.request_id(), "not stored: the answer is too large");
            return None;
        };
        if !merged.lossy.is_empty() {
            let request_id = context.request_id();
            tracing::info!(
                request_id,
                members = merged.lossy.len(),
                "stored with members that came in pieces"
            );
        }
        let put = identity.put(kind, request, merged, now());
        let storing = async move {
            // Half of what the caller has left: a whole answer must not become an error because it is stored.
            let bounded = context.remaining().map(|left| context.with_timeout(left / 2));
            match keeper.put(bounded.as_ref().unwrap_or(&context), put).await {
                // Nobody else makes this id: the channel asked again because it did not hear that it was stored.
                Ok(()) | Err(Error { reason: Reason::Conflict, .. }) => {}
                Err(error) => keeper.lose(context.request_id(), error.reason),
            }
        };
        Some(Storing(storing.boxed()))
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
