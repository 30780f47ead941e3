//! Why the cache does not do what it is asked to, and the one place where that becomes a status.

use std::{io, path::PathBuf};

use penstock_proto::{Reason, Violation, stored};
use tonic::Status;

/// An error of the cache. Its texts hold nothing of what is kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The message is wrong, or the answer in it is not whole.
    #[error("the message is not valid")]
    Invalid(Vec<Violation>),
    /// What was stored cannot be read back: a bug of ours.
    #[error("the stored answer cannot be read")]
    Unreadable(#[from] prost::DecodeError),
    /// No such object, not for this tenant, or not any more.
    #[error("there is no object with this id")]
    NotFound,
    /// The cursor of a list is not in it.
    #[error("there is no object with the id to begin after")]
    UnknownCursor,
    /// There is an object with this id.
    #[error("there is an object with this id already")]
    Conflict,
    /// The object alone is larger than one may be.
    #[error("the object is larger than `objects_max_entry_bytes`")]
    TooLarge,
    /// Too many calls at once.
    #[error("too many calls for stored objects are under way")]
    Busy,
    /// A call was cut off, by a shutdown or by a bug.
    #[error("the call was cut off")]
    Cut,
    /// The store could not be read or written; what was to be changed is as it was.
    #[error("the store of objects cannot be used, nothing was changed")]
    Store(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// What is kept makes no sense. The text says why, and nothing of the content.
    #[error("a stored object is damaged: {0}")]
    Damaged(String),
    /// At the start: the data directory cannot be made.
    #[error(
        "cannot make the data directory {}: {source}. Make it writable, name another one by `data_dir` in [cache], \
         or keep objects in memory by `objects = \"memory\"`",
        directory.display()
    )]
    DataDirectory {
        /// Which.
        directory: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// At the start: another process has the store open.
    #[error(
        "another process has the store of objects {} open. Stop it, or give this one another `data_dir` in [cache]",
        file.display()
    )]
    StoreInUse {
        /// The store.
        file: PathBuf,
    },
    /// At the start: the store cannot be opened.
    #[error(
        "cannot open the store of objects {}: {source}. Make the file and its directory readable and writable, name \
         another directory by `data_dir` in [cache], or keep objects in memory by `objects = \"memory\"`",
        file.display()
    )]
    StoreOpen {
        /// The store.
        file: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// At the start: the store holds something else than objects.
    #[error(
        "the store of objects {} is damaged: {detail}. Restore it from a backup; to start afresh, move it away \
         (every stored completion is lost)",
        file.display()
    )]
    StoreCorrupt {
        /// The store.
        file: PathBuf,
        /// What was found.
        detail: String,
    },
}

impl From<Error> for Status {
    fn from(error: Error) -> Status {
        let reason = match &error {
            Error::Invalid(violations) => return penstock_proto::Error::invalid(violations.clone()).into(),
            Error::UnknownCursor => {
                return penstock_proto::Error::invalid(vec![stored::unknown_cursor()]).into();
            }
            Error::NotFound => Reason::NotFound,
            Error::Conflict => Reason::Conflict,
            Error::TooLarge => Reason::RequestTooLarge,
            Error::Busy => Reason::Overloaded,
            Error::Store(_) | Error::Cut => Reason::ServiceUnavailable,
            Error::Unreadable(_) | Error::Damaged(_) => Reason::Internal,
            // Met at the start only, where nobody asks for a status; their texts name files of ours.
            Error::DataDirectory { .. }
            | Error::StoreInUse { .. }
            | Error::StoreOpen { .. }
            | Error::StoreCorrupt { .. } => {
                return penstock_proto::Error::new(Reason::Internal, Reason::Internal.title()).into();
            }
        };
        penstock_proto::Error::new(reason, error.to_string()).into()
    }
}
