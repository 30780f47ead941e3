//! Why the cache does not do what it is asked to.

use penstock_proto::{Reason, Violation};
use tonic::Status;

/// An answer other than a hit or a miss.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The message is wrong, or the answer in it is not whole: a bug of the service that sent it.
    #[error("the message is not valid")]
    Invalid(Vec<Violation>),
    /// What was stored cannot be read back: a bug of ours.
    #[error("the stored answer cannot be read")]
    Unreadable(#[from] prost::DecodeError),
}

impl From<Error> for Status {
    fn from(error: Error) -> Status {
        match &error {
            Error::Invalid(violations) => penstock_proto::Error::invalid(violations.clone()).into(),
            Error::Unreadable(_) => penstock_proto::Error::new(Reason::Internal, error.to_string()).into(),
        }
    }
}
