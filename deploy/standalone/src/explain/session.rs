//! Asks the router of a running Penstock. Every refusal becomes a sentence that says what to do.

use std::time::Duration;

use anyhow::anyhow;
use penstock_chassis::{MESSAGE_MAX_BYTES, config::Environment};
use penstock_proto::{
    Error, Reason,
    router::v1::{
        Decision, ExplainRequest, ExplainResponse, GetDecisionRequest, ReloadRequest, ReloadResponse,
        routing_client::RoutingClient,
    },
};
use tonic::{
    Code, Request, Status,
    transport::{Channel, Endpoint},
};

use super::{Steering, Target};
use crate::caller::{self, ADMIN_KEY, API_KEY, Bearer, in_words};

/// How long an answer may take: nothing that it needs takes longer.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// What was asked would be refused, or is not there.
    Refused(anyhow::Error),
    /// Nobody could be asked.
    Unasked(anyhow::Error),
}

/// A Penstock that can be asked.
#[derive(Debug)]
pub(crate) struct Session {
    address: String,
    endpoint: Endpoint,
    bearer: Bearer,
}

impl Session {
    /// # Errors
    /// The address is none, or there is no key.
    pub(crate) fn new(target: &Target, environment: &Environment) -> anyhow::Result<Self> {
        let key = caller::key(target.key_file.as_deref(), environment, &[ADMIN_KEY, API_KEY])?;
        let key = key.ok_or_else(|| {
            anyhow!("no key: set {ADMIN_KEY}, or name a file that holds one by --key-file; it needs the scope `admin`")
        })?;
        let endpoint = caller::endpoint(&target.addr)?.timeout(CALL_TIMEOUT);
        Ok(Self { address: target.addr.clone(), endpoint, bearer: Bearer::new(&key)? })
    }

    /// Where a request would go.
    pub(super) async fn explain(
        &self,
        asked: ExplainRequest,
        steering: Steering,
    ) -> Result<ExplainResponse, Trouble> {
        let mut request = self.call(asked);
        for (name, value) in steering {
            request.metadata_mut().insert(name, value);
        }
        let answer = self.client().await?.explain(request).await;
        Ok(answer.map_err(|status| self.trouble(&status))?.into_inner())
    }

    /// A decision that was made.
    pub(super) async fn decision(&self, id: &str) -> Result<Decision, Trouble> {
        let request = self.call(GetDecisionRequest { id: id.to_owned() });
        let answer = self.client().await?.get_decision(request).await;
        Ok(answer.map_err(|status| self.trouble(&status))?.into_inner().decision.unwrap_or_default())
    }

    /// Has the configuration read again.
    pub(crate) async fn reload(&self) -> Result<ReloadResponse, Trouble> {
        let request = self.call(ReloadRequest {});
        let answer = self.client().await?.reload(request).await;
        Ok(answer.map_err(|status| self.trouble(&status))?.into_inner())
    }

    fn call<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(CALL_TIMEOUT);
        self.bearer.sign(&mut request);
        request
    }

    async fn client(&self) -> Result<RoutingClient<Channel>, Trouble> {
        let channel = caller::connect(&self.endpoint).await.map_err(|error| {
            // The cause that counts is the last: those between say only that it did not connect.
            let remedy = "; is it running there? --addr names another address";
            Trouble::Unasked(anyhow!("{error}: {}{remedy}", error.root_cause()))
        })?;
        Ok(RoutingClient::new(channel).max_decoding_message_size(MESSAGE_MAX_BYTES))
    }

    fn trouble(&self, status: &Status) -> Trouble {
        let at = &self.address;
        let reason = Error::from(status).reason;
        match (status.code(), reason) {
            (Code::Unauthenticated, _) => Trouble::Unasked(anyhow!(
                "Penstock at {at} does not know the key; give another one by --key-file or in {ADMIN_KEY}"
            )),
            (_, Reason::PermissionDenied) => {
                Trouble::Unasked(anyhow!("Penstock at {at} refuses the key: {}", in_words(status)))
            }
            (Code::Unimplemented, _) if status.details().is_empty() => Trouble::Unasked(anyhow!(
                "what listens at {at} does not route (penstock.router.v1): --addr takes the port of the facade or of \
                 a router"
            )),
            (_, reason) if reason.http_status() < 499 => Trouble::Refused(in_words(status)),
            _ => Trouble::Unasked(anyhow!("Penstock at {at} cannot say: {}", in_words(status))),
        }
    }
}
