//! The error that every service returns: a reason of the table, with what the caller needs to mend it.
//! Travels as `google.rpc.Status` with `ErrorInfo`, `BadRequest`, `RetryInfo` and `QuotaFailure`.

use std::{borrow::Cow, collections::HashMap, time::Duration};

use tonic::Status;
use tonic_types::{ErrorDetails, FieldViolation, StatusExt as _};

use crate::Reason;

/// Domain of our reasons in `google.rpc.ErrorInfo`.
pub const DOMAIN: &str = "penstock";

/// The one text for every credential that does not let in: missing, unknown, expired or revoked.
pub const INVALID_API_KEY: &str =
    "the API key is missing or not valid: send it as `Authorization: Bearer <key>` or `X-Api-Key: <key>`";

/// One field that is wrong, and the remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Path of the field as the caller wrote it, such as `messages[0].content`.
    pub field: String,
    /// What is wrong and what would be right.
    pub message: String,
}

impl Violation {
    /// A violation of `field`.
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}

/// An error with a reason. Its texts are ours: never a secret, never an upstream's text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// Why.
    pub reason: Reason,
    /// What happened, for the caller.
    pub message: Cow<'static, str>,
    /// The fields that are wrong.
    pub violations: Vec<Violation>,
    /// When a retry may help.
    pub retry_after: Option<Duration>,
}

impl Error {
    /// An error with this reason.
    pub fn new(reason: Reason, message: impl Into<Cow<'static, str>>) -> Self {
        Self { reason, message: message.into(), violations: Vec::new(), retry_after: None }
    }

    /// INVALID_REQUEST that names every violation.
    pub fn invalid(violations: Vec<Violation>) -> Self {
        Self::of_fields(Reason::InvalidRequest, violations)
    }

    /// UNSUPPORTED that names everything that cannot be done.
    pub fn unsupported(violations: Vec<Violation>) -> Self {
        Self::of_fields(Reason::Unsupported, violations)
    }

    fn of_fields(reason: Reason, violations: Vec<Violation>) -> Self {
        let message = match violations.as_slice() {
            [] => "the request is not valid".to_owned(),
            [only] => format!("{}: {}", only.field, only.message),
            [first, rest @ ..] => format!("{}: {} (and {} more)", first.field, first.message, rest.len()),
        };
        Self { violations, ..Self::new(reason, message) }
    }

    /// The same error, with the time after which a retry may help.
    #[must_use]
    pub fn with_retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Status {
        let mut details = ErrorDetails::with_error_info(error.reason.as_str(), DOMAIN, HashMap::new());
        if !error.violations.is_empty() {
            let violations: Vec<_> =
                error.violations.into_iter().map(|v| FieldViolation::new(v.field, v.message)).collect();
            details.set_bad_request(violations);
        }
        if let Some(after) = error.retry_after {
            details.set_retry_info(Some(after));
        }
        Status::with_error_details(error.reason.code(), error.message, details)
    }
}

impl From<&Status> for Error {
    /// Reads the details back. A status that is not of ours gets the reason of its code, and a text of ours:
    /// what a foreign status says is not for callers.
    fn from(status: &Status) -> Error {
        let details = status.get_error_details();
        let known = details
            .error_info()
            .filter(|info| info.domain == DOMAIN)
            .and_then(|info| Reason::parse(&info.reason));
        let Some(reason) = known else {
            let reason = Reason::from_code(status.code());
            return Error::new(reason, reason.title());
        };
        let violations = details.bad_request().map_or_else(Vec::new, |bad| {
            bad.field_violations
                .iter()
                .map(|v| Violation::new(v.field.as_str(), v.description.as_str()))
                .collect()
        });
        Error {
            reason,
            message: Cow::Owned(status.message().to_owned()),
            violations,
            retry_after: details.retry_info().and_then(|info| info.retry_delay),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_survives_the_wire() {
        for reason in Reason::ALL {
            let error = Error {
                violations: vec![Violation::new("messages[0].role", "unknown role")],
                retry_after: Some(Duration::from_millis(1500)),
                ..Error::new(*reason, "what happened")
            };
            let status = Status::from(error.clone());
            assert_eq!(status.code(), reason.code());
            assert_eq!(Error::from(&status), error);
        }
    }

    #[test]
    fn foreign_text_is_not_passed_on() {
        let error = Error::from(&Status::internal("password=hunter2"));
        assert_eq!(error.reason, Reason::Internal);
        assert!(!error.message.contains("hunter2"));
    }
}
