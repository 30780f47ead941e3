//! Asks a running Penstock for its report. Every refusal becomes a sentence that says what to do.

use std::time::Duration;

use anyhow::anyhow;
use penstock_proto::{
    Error,
    status::v1::{
        Change, GetRequest, ListChangesRequest, Report, WatchRequest, WatchResponse,
        status_client::StatusClient,
    },
};
use tonic::{
    Code, Request, Status, Streaming,
    transport::{Channel, Endpoint},
};

use crate::caller::{self, API_KEY, Bearer};

/// How long an answer may take: reports are made in advance, so that longer means that nobody is at home.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// Largest report: as many components as one may hold, each with some text.
const REPORT_MAX_BYTES: usize = 64 << 20;
/// A frozen process keeps its connections: it is asked for a sign of life so often, and given so long.
const PING: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(5));

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// It may pass.
    #[error("{0:#}")]
    Passing(anyhow::Error),
    /// Asking again would give the same.
    #[error("{0:#}")]
    Lasting(anyhow::Error),
}

/// A process that can be asked.
#[derive(Debug)]
pub(super) struct Source {
    /// As it was given.
    pub(super) address: String,
    endpoint: Endpoint,
    bearer: Option<Bearer>,
    client: Option<StatusClient<Channel>>,
}

/// What was asked for.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) report: Report,
    /// `None`: not asked for, or not for everybody.
    pub(super) changes: Option<Vec<Change>>,
}

impl Source {
    /// # Errors
    /// The address is none.
    pub(super) fn new(address: String, bearer: Option<Bearer>) -> anyhow::Result<Self> {
        let endpoint = caller::endpoint(&address)?
            .http2_keep_alive_interval(PING.0)
            .keep_alive_timeout(PING.1)
            .keep_alive_while_idle(true);
        Ok(Self { address, endpoint, bearer, client: None })
    }

    /// Whether a key goes along.
    pub(super) fn has_key(&self) -> bool {
        self.bearer.is_some()
    }

    /// The report now; with `history`, that many changes as well.
    pub(super) async fn ask(&mut self, history: Option<u32>) -> Result<Answer, Trouble> {
        let mut client = self.client().await?;
        let answer = client.get(self.call(GetRequest {})).await.map_err(|status| self.trouble(&status))?;
        let report = answer.into_inner().report.unwrap_or_default();
        let Some(limit) = history else { return Ok(Answer { report, changes: None }) };
        match client.list_changes(self.call(ListChangesRequest { limit })).await {
            Ok(listed) => Ok(Answer { report, changes: Some(listed.into_inner().changes) }),
            Err(status) => match self.trouble(&status) {
                // The report is for everybody, the past is not: half an answer is better than none.
                Trouble::Lasting(_) if !self.has_key() => Ok(Answer { report, changes: None }),
                trouble => Err(trouble),
            },
        }
    }

    /// The report at once and on every change.
    pub(super) async fn watch(&mut self) -> Result<Streaming<WatchResponse>, Trouble> {
        let mut client = self.client().await?;
        let mut request = Request::new(WatchRequest {});
        if let Some(bearer) = &self.bearer {
            bearer.sign(&mut request);
        }
        // A stream has no deadline; that it begins has one.
        match tokio::time::timeout(CALL_TIMEOUT, client.watch(request)).await {
            Ok(opened) => Ok(opened.map_err(|status| self.trouble(&status))?.into_inner()),
            Err(_) => Err(self.trouble(&Status::deadline_exceeded(""))),
        }
    }

    /// Lets go of a connection that is no good any more.
    pub(super) fn forget(&mut self) {
        self.client = None;
    }

    async fn client(&mut self) -> Result<StatusClient<Channel>, Trouble> {
        if let Some(client) = &self.client {
            return Ok(client.clone());
        }
        let remedy = "; is it running there? --addr names another address";
        let channel = caller::connect(&self.endpoint).await.map_err(|error| {
            // The cause that counts is the last: those between say only that it did not connect.
            Trouble::Passing(anyhow!("{error}: {}{remedy}", error.root_cause()))
        })?;
        let client = StatusClient::new(channel).max_decoding_message_size(REPORT_MAX_BYTES);
        Ok(self.client.insert(client).clone())
    }

    fn call<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(CALL_TIMEOUT);
        if let Some(bearer) = &self.bearer {
            bearer.sign(&mut request);
        }
        request
    }

    /// What a refusal means, and what to do about it.
    pub(super) fn trouble(&self, status: &Status) -> Trouble {
        let at = &self.address;
        let said = Error::from(status).message.into_owned();
        match status.code() {
            Code::Unauthenticated | Code::PermissionDenied if self.has_key() => Trouble::Lasting(anyhow!(
                "Penstock at {at} refuses the key: {said}; give another one by --key-file or in {API_KEY}"
            )),
            Code::Unauthenticated | Code::PermissionDenied => Trouble::Lasting(anyhow!(
                "Penstock at {at} wants a key: give one by --key-file or in {API_KEY}"
            )),
            Code::Unimplemented => Trouble::Lasting(anyhow!(
                "what listens at {at} does not tell how it is (penstock.status.v1): \
                 --addr takes the port of the facade or of a service, not one of metrics"
            )),
            Code::DeadlineExceeded | Code::Cancelled => Trouble::Passing(anyhow!(
                "Penstock at {at} does not answer in time: is it frozen or very busy?"
            )),
            Code::Unavailable if said.is_empty() || status.details().is_empty() => {
                Trouble::Passing(anyhow!("the connection to Penstock at {at} broke; is it still running?"))
            }
            Code::Internal | Code::Unknown if status.details().is_empty() => Trouble::Passing(anyhow!(
                "what listens at {at} does not answer as Penstock does: is --addr right?"
            )),
            _ => Trouble::Passing(anyhow!("Penstock at {at} cannot tell how it is: {said}")),
        }
    }
}
