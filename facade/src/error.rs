//! What can go wrong on the way through the facade. Each becomes a reason of the one table.

use std::time::Duration;

use penstock_proto::{Reason, Violation, error::INVALID_API_KEY};
use tonic::Status;

/// Violations told at most by a reader: an answer must not grow with the number of mistakes.
pub(crate) const VIOLATIONS_MAX: usize = 100;

/// An error of the facade, or one that the mesh answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The body is not JSON; the text says where and never quotes it.
    #[error("{0}")]
    Malformed(String),
    /// The body is JSON of another shape; every field that is wrong is named.
    #[error("the body is JSON of another shape")]
    Invalid(Vec<Violation>),
    /// The body has more bytes than this.
    #[error("the body is larger than {0} bytes")]
    TooLarge(usize),
    /// The body has more members and items than this.
    #[error("the body has more than {0} members and items")]
    TooMany(usize),
    /// The body stopped coming, or did not come in time.
    #[error("the body could not be read to its end")]
    Incomplete,
    /// The body has another content type, or is compressed.
    #[error("{0}")]
    Unsupported(&'static str),
    /// There is no credential: seen before the body is read, so that nobody without one fills the memory.
    #[error("{INVALID_API_KEY}")]
    NoCredential,
    /// Nobody can say at the moment what the credential is worth.
    #[error("keys cannot be checked at the moment: the router or what it stands on does not answer")]
    KeyUnchecked,
    /// The query is wrong; the text says what it may be.
    #[error("{0}")]
    Query(String),
    /// A header is wrong.
    #[error("{0}")]
    Header(&'static str),
    /// There is too much to do to let the request in.
    #[error("{0}")]
    Overloaded(penstock_proto::Error),
    /// No such path.
    #[error("there is no such URL; only listed routes exist")]
    UnknownRoute,
    /// The path exists for other methods.
    #[error("this URL does not take this method")]
    MethodNotAllowed,
    /// The mesh answered with an error.
    #[error("{0}")]
    Mesh(Box<Status>),
    /// The mesh answered with success what is no whole answer.
    #[error("the answer ended before it was whole")]
    NotWhole,
    /// No model of that name, said with success.
    #[error("no model has that name")]
    NoSuchModel,
    /// A handler panicked.
    #[error("the gateway failed")]
    Panicked,
}

impl Error {
    /// Whether the request's body may not have been read to its end.
    pub(crate) fn leaves_the_body(&self) -> bool {
        match self {
            Error::Malformed(_) | Error::Invalid(_) | Error::TooMany(_) => false,
            Error::Mesh(_) | Error::NotWhole | Error::NoSuchModel => false,
            Error::KeyUnchecked | Error::Query(_) | Error::Overloaded(_) => true,
            Error::TooLarge(_) | Error::Incomplete | Error::Unsupported(_) | Error::NoCredential => true,
            Error::Header(_) | Error::UnknownRoute | Error::MethodNotAllowed | Error::Panicked => true,
        }
    }
}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        Error::Mesh(Box::new(status))
    }
}

impl From<&Error> for penstock_proto::Error {
    fn from(error: &Error) -> Self {
        let reason = match error {
            Error::Mesh(status) => return Self::from(&**status),
            Error::Overloaded(error) => return error.clone(),
            Error::Invalid(violations) => {
                return match violations.as_slice() {
                    [all, ..] if all.field.is_empty() => {
                        Self::new(Reason::InvalidRequest, format!("the body {}", all.message))
                    }
                    _ => Self::invalid(violations.clone()),
                };
            }
            Error::Malformed(_) => Reason::MalformedJson,
            Error::TooLarge(_) | Error::TooMany(_) => Reason::RequestTooLarge,
            Error::Unsupported(_) => Reason::UnsupportedMediaType,
            Error::KeyUnchecked => Reason::ServiceUnavailable,
            Error::Incomplete | Error::Header(_) | Error::Query(_) => Reason::BadRequest,
            Error::NoCredential => Reason::InvalidApiKey,
            Error::UnknownRoute => Reason::UnknownRoute,
            Error::MethodNotAllowed => Reason::MethodNotAllowed,
            Error::NotWhole => Reason::EngineCut,
            Error::NoSuchModel => Reason::ModelNotFound,
            Error::Panicked => Reason::Internal,
        };
        Self::new(reason, error.to_string())
    }
}

/// Whole seconds for `retry-after`, rounded up: too early is an error again.
pub(crate) fn whole_seconds(after: Duration) -> u64 {
    after.as_secs() + u64::from(after.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_rounded_up() {
        assert_eq!(whole_seconds(Duration::from_millis(1)), 1);
        assert_eq!(whole_seconds(Duration::from_secs(2)), 2);
        assert_eq!(whole_seconds(Duration::from_millis(2001)), 3);
    }
}
