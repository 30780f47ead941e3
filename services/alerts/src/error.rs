//! What may go wrong with a target. Never its address, nor what it answered: both may hold secrets.

use std::time::Duration;

/// A notice was not delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// What happened, for operators.
    pub(crate) what: String,
    /// Whether to try again. Otherwise the target has understood, and refuses.
    pub(crate) again: bool,
    /// When, if the target said so.
    pub(crate) retry_after: Option<Duration>,
}

impl Failure {
    pub(crate) fn passing(what: impl Into<String>) -> Self {
        Self { what: what.into(), again: true, retry_after: None }
    }

    pub(crate) fn lasting(what: impl Into<String>) -> Self {
        Self { what: what.into(), again: false, retry_after: None }
    }
}

/// Why alerts cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The HTTP client cannot be built: usually the system's certificates cannot be read.
    #[error("cannot build the HTTP client of alerts: are the system's certificates there?")]
    Http(#[source] reqwest::Error),
    /// The mail client cannot be built.
    #[error("cannot build the mail client of the alert target {0}: are the system's certificates there?")]
    Email(String, #[source] lettre::transport::smtp::Error),
}
