//! What callers asked to keep: objects by tenant, kind and id, bounded by age and size. Time is an argument, in
//! Unix seconds. An implementation of [`ObjectStore`] keeps the contract in `objects/contract.rs`.

mod embedded;
mod encoding;
mod measures;
mod service;

use std::{fmt, time::Duration};

use bytes::Bytes;

pub(crate) use embedded::{EmbeddedObjectStore, Medium};
pub(crate) use measures::Measures;
pub(crate) use service::{ObjectsService, clock};

use crate::Error;

/// Largest page of a list, in bytes of content: what is written out at once must not hold a thread for long.
const PAGE_MAX_BYTES: usize = 4 << 20;

/// Where an object is. The tenant is a hard boundary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) tenant: String,
    pub(crate) kind: String,
    pub(crate) id: String,
}

/// What is known of an object beside its content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Head {
    /// Unix seconds: its age counts from here.
    pub(crate) created: u64,
    pub(crate) model: String,
    /// In order; each key once.
    pub(crate) metadata: Vec<(String, String)>,
}

/// An object.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Object {
    pub(crate) id: String,
    pub(crate) head: Head,
    pub(crate) content: Bytes,
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Object").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Which objects to list.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query {
    pub(crate) tenant: String,
    pub(crate) kind: String,
    /// Id after which to begin.
    pub(crate) after: Option<String>,
    pub(crate) limit: usize,
    pub(crate) newest_first: bool,
    pub(crate) model: Option<String>,
    /// Pairs that must all be there.
    pub(crate) metadata: Vec<(String, String)>,
}

impl Query {
    fn matches(&self, head: &Head) -> bool {
        self.model.as_ref().is_none_or(|model| *model == head.model)
            && self.metadata.iter().all(|pair| head.metadata.contains(pair))
    }
}

/// A page of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) objects: Vec<Object>,
    pub(crate) has_more: bool,
}

/// Bounds of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// All objects together.
    pub(crate) max_bytes: u64,
    /// All objects of a tenant.
    pub(crate) max_bytes_per_tenant: u64,
    /// One object.
    pub(crate) max_entry_bytes: u64,
    /// Longest time that an object is kept.
    pub(crate) ttl: Duration,
}

impl Bounds {
    /// Whether something made then is too old now.
    fn too_old(&self, created: u64, now: u64) -> bool {
        created.saturating_add(self.ttl.as_secs()) <= now
    }
}

/// How much a store holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) objects: u64,
    pub(crate) bytes: u64,
}

/// How a store is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Probe {
    /// It can be written and read.
    Works,
    /// It can be read.
    Unwritable,
    /// What was written cannot be read back.
    Unreadable,
    /// An earlier probe has not come back yet.
    Hangs,
}

/// A durable place for objects. What is too old is not found any more, swept or not.
#[tonic::async_trait]
pub(crate) trait ObjectStore: fmt::Debug + Send + Sync + 'static {
    /// Keeps a new object; the oldest ones make room for it: those of its tenant if the tenant's share is used up,
    /// else those of all. Durable when it returns.
    ///
    /// # Errors
    /// There is one with this id, it is too large, or it is not durable; nothing has changed then.
    async fn put(&self, tenant: String, kind: String, object: Object, now: u64) -> Result<(), Error>;

    /// One object.
    ///
    /// # Errors
    /// There is none, or it cannot be read.
    async fn get(&self, place: Place, now: u64) -> Result<Object, Error>;

    /// A page of objects by `created`, then by id. Never empty if there are more.
    ///
    /// # Errors
    /// The cursor is not there, or something cannot be read: nothing is left out silently.
    async fn list(&self, query: Query, now: u64) -> Result<Page, Error>;

    /// Replaces the metadata, at once and whole; returns the object as it is then. Durable when it returns.
    ///
    /// # Errors
    /// There is no such object, or the change is not durable; nothing has changed then.
    async fn update(&self, place: Place, metadata: Vec<(String, String)>, now: u64) -> Result<Object, Error>;

    /// Deletes one object. Durable when it returns.
    ///
    /// # Errors
    /// There is no such object, or the change is not durable; nothing has changed then.
    async fn delete(&self, place: Place, now: u64) -> Result<(), Error>;

    /// Frees what is too old. If the last change failed, something is written, so that the result says whether
    /// the store works.
    ///
    /// # Errors
    /// The store cannot be written.
    async fn sweep(&self, now: u64) -> Result<(), Error>;

    /// How it is, by a write and a read of something that is no object; at most one at a time.
    async fn probe(&self) -> Probe;

    /// How much it holds now.
    fn held(&self) -> Held;
}

#[cfg(test)]
mod contract;
