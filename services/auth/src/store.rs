//! Where keys are kept. Only whole records go in, and all of them come out at the start: what is asked on the
//! way of a request is answered from memory.

mod embedded;
mod encoding;

pub(crate) use embedded::EmbeddedKeyStore;

use crate::{Error, pepper::Digest, record::Record};

/// Everything that a store holds.
#[derive(Debug)]
pub(crate) struct Contents {
    /// The keys, in no order.
    pub(crate) records: Vec<Record>,
    /// Fingerprint of the pepper that the keys were hashed with; `None` before the first start.
    pub(crate) pepper: Option<Digest>,
}

/// A durable place for keys. Its calls block: they belong on threads for blocking work.
pub(crate) trait KeyStore: std::fmt::Debug + Send + Sync + 'static {
    /// Everything that is kept.
    ///
    /// # Errors
    /// Something cannot be read or understood: nothing is left out silently.
    fn load(&self) -> Result<Contents, Error>;

    /// Remembers with which pepper the keys are hashed.
    ///
    /// # Errors
    /// It is not durable.
    fn set_pepper(&self, fingerprint: &Digest) -> Result<(), Error>;

    /// Keeps the record, in place of one with the same id. Durable when it returns.
    ///
    /// # Errors
    /// It is not durable.
    fn put(&self, record: &Record) -> Result<(), Error>;

    /// Writes something that is no key, for the sake of writing. Durable when it returns.
    ///
    /// # Errors
    /// It is not durable.
    fn probe_write(&self) -> Result<(), Error>;

    /// Reads it back, or finds that there is nothing to read yet.
    ///
    /// # Errors
    /// The store cannot be read.
    fn probe_read(&self) -> Result<(), Error>;
}

#[cfg(test)]
pub(crate) mod contract;
