//! What can go wrong in this service, and the one place where it becomes a status.

use std::{io, path::PathBuf};

use penstock_proto::{Reason, Violation, error::INVALID_API_KEY};

/// An error of the auth service. Its texts hold no credential.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The credential is no good: one text for every cause, so that nobody learns which.
    #[error("{INVALID_API_KEY}")]
    Unauthenticated,
    /// The caller is known and may not manage keys.
    #[error("managing keys takes a key with the scope admin")]
    NotAdmin,
    /// The request is not valid.
    #[error("the request is not valid")]
    Invalid(Vec<Violation>),
    /// No such key.
    #[error("there is no key with this id")]
    NotFound,
    /// The key, or the set of keys, is in a state that forbids this.
    #[error("{0}")]
    Conflict(&'static str),
    /// Too many changes at once.
    #[error("too many changes of keys are under way")]
    Busy,
    /// The change could not be made durable, so it was not made.
    #[error("the key store cannot be written, nothing was changed")]
    Write(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A change was cut off, by a shutdown or by a bug.
    #[error("the change was cut off")]
    Cut,
    /// The operating system gives no random bytes.
    #[error("the operating system gives no random bytes: {0}")]
    Random(#[source] getrandom::Error),
    /// At the start: the data directory cannot be made.
    #[error(
        "cannot make the data directory {}: {source}. Make it writable, or name another one by `data_dir` in [auth]",
        directory.display()
    )]
    DataDirectory {
        /// Which.
        directory: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// At the start: the pepper cannot be read or written.
    #[error("cannot use the pepper {}: {source}. Make it readable and writable, or restore it from a backup", file.display())]
    Pepper {
        /// Which file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// At the start: the keys in the store were hashed with another pepper.
    #[error(
        "the keys in {} were hashed with another pepper than {}. Restore both from one backup; to start afresh, \
         remove both (every key is lost)",
        store.display(), pepper.display()
    )]
    WrongPepper {
        /// The store.
        store: PathBuf,
        /// The pepper.
        pepper: PathBuf,
    },
    /// At the start: another process has the store open.
    #[error(
        "another process has the key store {} open. Stop it, or give this one another `data_dir` in [auth]",
        file.display()
    )]
    StoreInUse {
        /// The store.
        file: PathBuf,
    },
    /// At the start: the store cannot be opened.
    #[error(
        "cannot open the key store {}: {source}. Make the file and its directory readable and writable, or name \
         another directory by `data_dir` in [auth]",
        file.display()
    )]
    StoreOpen {
        /// The store.
        file: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// At the start: the store holds something else than keys.
    #[error(
        "the key store {} is damaged: {detail}. Restore it from a backup; to start afresh, move it away (every \
         key is lost)",
        file.display()
    )]
    StoreCorrupt {
        /// The store.
        file: PathBuf,
        /// What was found.
        detail: String,
    },
}

impl From<Error> for tonic::Status {
    fn from(error: Error) -> Self {
        let reason = match &error {
            Error::Unauthenticated => Reason::InvalidApiKey,
            Error::NotAdmin => Reason::PermissionDenied,
            Error::Invalid(violations) => return penstock_proto::Error::invalid(violations.clone()).into(),
            Error::NotFound => Reason::NotFound,
            Error::Conflict(_) => Reason::Conflict,
            Error::Busy => Reason::Overloaded,
            Error::Write(_) | Error::Cut => Reason::ServiceUnavailable,
            // Met at the start only, where nobody asks for a status; their texts name files of ours.
            Error::Random(_)
            | Error::DataDirectory { .. }
            | Error::Pepper { .. }
            | Error::WrongPepper { .. }
            | Error::StoreInUse { .. }
            | Error::StoreOpen { .. }
            | Error::StoreCorrupt { .. } => {
                return penstock_proto::Error::new(Reason::Internal, Reason::Internal.title()).into();
            }
        };
        penstock_proto::Error::new(reason, error.to_string()).into()
    }
}
