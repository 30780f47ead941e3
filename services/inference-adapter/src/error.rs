//! Why a call failed, and what that is to callers. The texts are ours: what an engine says is never part of
//! them, nor is anything of a prompt or an answer.

use std::{borrow::Cow, sync::Arc, time::Duration};

use penstock_proto::{Reason, Violation};
use tonic::Status;

use crate::frames::TooLong;

/// Why a call failed, or the start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The HTTP client cannot be built.
    #[error("the HTTP client for engines cannot be built")]
    Client(#[from] reqwest::Error),
    /// No deployment, or more than one, has that name.
    #[error("no single deployment is named {0:?}")]
    NoDeployment(String),
    /// The deployment that the router chose is gone: another may be asked.
    #[error("deployment {0:?} is not there any more")]
    Gone(String),
    /// The request cannot be put to this engine.
    #[error("the request cannot be put to the engine")]
    Request(Vec<Violation>),
    /// This engine cannot do what the request needs: another may.
    #[error("the engine cannot do what the request needs")]
    Unsupported(Vec<Violation>),
    /// This engine does not answer such requests at all.
    #[error("{0}")]
    NotOffered(&'static str),
    /// The engine did not give a whole answer.
    #[error("{} (deployment {deployment}: {fault})", .fault.reason.title())]
    Engine {
        /// The deployment's id.
        deployment: Arc<str>,
        /// What is wrong.
        #[source]
        fault: Fault,
    },
}

/// What is wrong with an engine or its answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct Fault {
    /// The reason, which decides what may be done about it.
    pub reason: Reason,
    /// What happened, in our words.
    pub what: Cow<'static, str>,
    /// When the engine wants to be asked again.
    pub retry_after: Option<Duration>,
}

impl Fault {
    pub(crate) fn new(reason: Reason, what: impl Into<Cow<'static, str>>) -> Self {
        Self { reason, what: what.into(), retry_after: None }
    }

    pub(crate) fn bad_answer(what: &'static str) -> Self {
        Self::new(Reason::EngineBadAnswer, what)
    }

    pub(crate) fn of(self, deployment: &Arc<str>) -> Error {
        Error::Engine { deployment: Arc::clone(deployment), fault: self }
    }
}

impl From<TooLong> for Fault {
    fn from(_: TooLong) -> Self {
        Fault::bad_answer("the engine sent a frame over the size limit")
    }
}

impl Error {
    /// The reason of the table.
    pub fn reason(&self) -> Reason {
        match self {
            Error::Client(_) => Reason::Internal,
            Error::NoDeployment(_) => Reason::ModelNotFound,
            Error::Gone(_) => Reason::EngineModelMissing,
            Error::Request(_) => Reason::InvalidRequest,
            Error::Unsupported(_) => Reason::Unsupported,
            Error::NotOffered(_) => Reason::NotOffered,
            Error::Engine { fault, .. } => fault.reason,
        }
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Status {
        let reason = error.reason();
        let message = error.to_string();
        match error {
            Error::Request(violations) => penstock_proto::Error::invalid(violations).into(),
            Error::Unsupported(violations) => penstock_proto::Error::unsupported(violations).into(),
            Error::Engine { fault: Fault { retry_after: Some(after), .. }, .. } => {
                penstock_proto::Error::new(reason, message).with_retry_after(after).into()
            }
            _ => penstock_proto::Error::new(reason, message).into(),
        }
    }
}
