//! `auth.v1.Auth`: verdicts on credentials, and what makes them stale.

use std::{pin::Pin, sync::Arc, time::Duration};

use futures_util::{Stream, stream};
use penstock_chassis::Tasks;
use penstock_proto::{
    Reason,
    auth::v1::{
        AuthenticateRequest, AuthenticateResponse, WatchRevocationsRequest, WatchRevocationsResponse,
        auth_server::Auth,
    },
};
use secrecy::SecretString;
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tonic::{Request, Response, Status};

use super::{Clock, Verdicts, encode};
use crate::{Error, keyring::Keyring};

/// The service.
#[derive(Debug)]
pub(crate) struct AuthService {
    pub(crate) keyring: Arc<Keyring>,
    pub(crate) memo_ttl: Duration,
    pub(crate) verdicts: Verdicts,
    pub(crate) tasks: Tasks,
    pub(crate) clock: Clock,
}

#[tonic::async_trait]
impl Auth for AuthService {
    async fn authenticate(
        &self,
        request: Request<AuthenticateRequest>,
    ) -> Result<Response<AuthenticateResponse>, Status> {
        let credential = SecretString::from(request.into_inner().credential);
        let now = (self.clock)();
        let verdict = self.keyring.authenticate(credential, now);
        self.verdicts.count(&verdict);
        match verdict {
            Ok(verdict) => Ok(Response::new(encode::verdict(verdict, self.memo_ttl, now))),
            Err(refusal) => {
                tracing::debug!(?refusal, "credential refused");
                Err(Error::Unauthenticated.into())
            }
        }
    }

    type WatchRevocationsStream =
        Pin<Box<dyn Stream<Item = Result<WatchRevocationsResponse, Status>> + Send>>;

    async fn watch_revocations(
        &self,
        _request: Request<WatchRevocationsRequest>,
    ) -> Result<Response<Self::WatchRevocationsStream>, Status> {
        // Before the empty event: whoever has seen that misses nothing that happens afterwards.
        let changes = self.keyring.watch();
        let draining = self.tasks.draining().cancelled_owned();
        let events = stream::unfold(Watch::Begins(changes), Watch::next);
        Ok(Response::new(Box::pin(stream::StreamExt::take_until(events, Box::pin(draining)))))
    }
}

/// A watcher's progress.
enum Watch {
    Begins(Receiver<String>),
    Goes(Receiver<String>),
    Ended,
}

impl Watch {
    async fn next(self) -> Option<(Result<WatchRevocationsResponse, Status>, Watch)> {
        let mut changes = match self {
            Watch::Begins(changes) => {
                return Some((Ok(WatchRevocationsResponse::default()), Watch::Goes(changes)));
            }
            Watch::Goes(changes) => changes,
            Watch::Ended => return None,
        };
        match changes.recv().await {
            Ok(key_id) => Some((Ok(WatchRevocationsResponse { key_id }), Watch::Goes(changes))),
            Err(RecvError::Lagged(missed)) => {
                // Never skipped silently: the watcher must drop all it memoised, and watch anew.
                tracing::warn!(missed, "a watcher of revocations is too slow");
                let error = penstock_proto::Error::new(Reason::Overloaded, "events were lost: watch anew");
                Some((Err(error.into()), Watch::Ended))
            }
            Err(RecvError::Closed) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt as _;
    use tokio::sync::broadcast;

    use super::*;

    #[tokio::test]
    async fn a_watcher_that_lags_is_told_so_and_loses_nothing_silently() {
        let sender = broadcast::Sender::new(2);
        let mut events = Box::pin(stream::unfold(Watch::Begins(sender.subscribe()), Watch::next));
        assert_eq!(events.next().await.unwrap().unwrap().key_id, "");
        sender.send("a".to_owned()).unwrap();
        assert_eq!(events.next().await.unwrap().unwrap().key_id, "a");
        for id in ["b", "c", "d"] {
            sender.send(id.to_owned()).unwrap();
        }
        let status = events.next().await.unwrap().unwrap_err();
        assert_eq!(penstock_proto::Error::from(&status).reason, Reason::Overloaded);
        assert!(events.next().await.is_none());
    }
}
