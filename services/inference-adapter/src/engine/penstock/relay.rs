//! An answer of another mesh on its way, and what that mesh's errors are to callers of this one.

use std::sync::Arc;

use penstock_proto::{Reason, inference::v1::GenerateResponse};
use tokio::time::{Duration, Instant, timeout_at};
use tonic::{Status, Streaming};

use crate::{
    answer::Answer,
    error::{Error, Fault},
    upstream::silent,
};

/// An answer on its way. Dropping it cancels the call.
#[derive(Debug)]
pub(super) struct Relay {
    chunks: Streaming<GenerateResponse>,
    answer: Answer,
    deployment: Arc<str>,
    /// The moment after which the mesh counts as silent.
    deadline: Instant,
    stall_timeout: Duration,
    stream: bool,
    ended: bool,
}

impl Relay {
    pub(super) fn new(
        chunks: Streaming<GenerateResponse>,
        answer: Answer,
        deployment: Arc<str>,
        deadline: Instant,
        stall_timeout: Duration,
    ) -> Self {
        let stream = answer.is_streamed();
        Self { chunks, answer, deployment, deadline, stall_timeout, stream, ended: false }
    }

    /// The next message, and what is left.
    pub(super) async fn next(mut self) -> Option<(Result<GenerateResponse, Error>, Self)> {
        if self.ended {
            return None;
        }
        let message = self.read().await.transpose()?;
        self.ended |= message.is_err();
        Some((message, self))
    }

    async fn read(&mut self) -> Result<Option<GenerateResponse>, Error> {
        let mut chunks = Vec::new();
        // A plain answer is one chunk: usage is part of it, wherever it came.
        while !self.ended && (chunks.is_empty() || !self.stream) {
            let message = timeout_at(self.deadline, self.chunks.message()).await;
            let message = message.map_err(|_| silent().of(&self.deployment))?;
            let taken = match message.map_err(|status| error(&status, &self.deployment))? {
                Some(message) => {
                    message.chunks.into_iter().try_for_each(|chunk| self.answer.take(chunk, &mut chunks))
                }
                None => {
                    self.ended = true;
                    self.answer.end(&mut chunks)
                }
            };
            taken.map_err(|fault| fault.of(&self.deployment))?;
            if self.stream && self.answer.has_begun() {
                self.deadline = Instant::now() + self.stall_timeout;
            }
        }
        Ok(Some(GenerateResponse { chunks }).filter(|message| !message.chunks.is_empty()))
    }
}

/// What a status of another mesh is here. What is wrong with the request itself keeps its reason and its fields.
pub(super) fn error(status: &Status, deployment: &Arc<str>) -> Error {
    let theirs = penstock_proto::Error::from(status);
    match theirs.reason {
        Reason::InvalidRequest if !theirs.violations.is_empty() => Error::Request(theirs.violations),
        Reason::Unsupported if !theirs.violations.is_empty() => Error::Unsupported(theirs.violations),
        Reason::NotOffered => Error::NotOffered("the model does not answer this kind of request"),
        _ => fault(status).of(deployment),
    }
}

/// Likewise, of what says something about the mesh.
pub(super) fn fault(status: &Status) -> Fault {
    let theirs = penstock_proto::Error::from(status);
    let reason = match theirs.reason {
        // Our key there, and our name of its model: nothing that the caller could mend.
        Reason::InvalidApiKey | Reason::PermissionDenied | Reason::ModelNotAllowed => {
            Reason::EngineCredentials
        }
        Reason::ModelNotFound | Reason::NotFound => Reason::EngineModelMissing,
        // Its limits and its load are those of an engine.
        Reason::RateLimitExceeded | Reason::RequestExceedsLimit | Reason::Overloaded | Reason::Draining => {
            Reason::EngineOverloaded
        }
        Reason::ServiceUnavailable => Reason::EngineUnreachable,
        Reason::Cancelled => Reason::EngineCut,
        Reason::UnknownRoute | Reason::Unimplemented => Reason::EngineBadAnswer,
        // The request went to it, and what it says of it holds here, too.
        Reason::ContextLengthExceeded
        | Reason::ContentFiltered
        | Reason::DeadlineExceeded
        | Reason::RequestTooLarge
        | Reason::EngineRejected
        | Reason::EngineModelMissing
        | Reason::EngineUnreachable
        | Reason::EngineOverloaded
        | Reason::ModelLoading
        | Reason::EngineBadAnswer
        | Reason::EngineCut
        | Reason::EngineTimeout
        | Reason::ModelUnavailable => theirs.reason,
        Reason::InvalidRequest | Reason::Unsupported | Reason::BadRequest => Reason::EngineRejected,
        _ => Reason::EngineFailed,
    };
    let what = format!("the other mesh answered {}", theirs.reason.as_str());
    Fault { reason, what: what.into(), retry_after: theirs.retry_after }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_another_mesh_are_an_engines() {
        for (theirs, ours) in [
            (Reason::ModelNotFound, Reason::EngineModelMissing),
            (Reason::InvalidApiKey, Reason::EngineCredentials),
            (Reason::EngineCredentials, Reason::EngineFailed),
            (Reason::RateLimitExceeded, Reason::EngineOverloaded),
            (Reason::Draining, Reason::EngineOverloaded),
            (Reason::Internal, Reason::EngineFailed),
            (Reason::ContextLengthExceeded, Reason::ContextLengthExceeded),
            (Reason::ModelUnavailable, Reason::ModelUnavailable),
        ] {
            let pause = Duration::from_secs(7);
            let status = penstock_proto::Error::new(theirs, "canary").with_retry_after(pause).into();
            let fault = fault(&status);
            assert_eq!((fault.reason, fault.retry_after), (ours, Some(pause)), "{theirs:?}");
            assert!(!fault.what.contains("canary"), "another mesh's text goes no further");
        }
    }

    #[test]
    fn what_is_wrong_with_the_request_keeps_its_fields() {
        let violations = vec![penstock_proto::Violation::new("n", "is too large")];
        let status = penstock_proto::Error::unsupported(violations.clone()).into();
        assert!(matches!(error(&status, &"d".into()), Error::Unsupported(found) if found == violations));
        let status = penstock_proto::Error::invalid(violations.clone()).into();
        assert!(matches!(error(&status, &"d".into()), Error::Request(found) if found == violations));
    }
}
