//! The embedded store: one redb file, or memory. Every change is one durable transaction (fsync); a process that
//! is killed in the middle of one finds the state before it. redb blocks, so calls run on threads for blocking
//! work, a bounded number at once. The file is locked by the process that has it open.

mod opening;
mod tables;

use std::{
    fmt,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
};

use prometheus_client::metrics::counter::Counter;
use redb::{Database, Durability, ReadableDatabase as _};
use tokio::{sync::Semaphore, task::spawn_blocking};

use super::{Bounds, Held, Object, ObjectStore, Page, Place, Probe, Query};
use crate::Error;
use tables::Tables;

/// Calls that run or wait at once: changes are made one after the other, a few milliseconds each (one fsync);
/// more than this and the last one would wait for about a second.
const WAITING_MAX: usize = 128;

/// Where objects are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Medium {
    /// In a file of this directory.
    Directory(PathBuf),
    /// In memory: they are gone when the process ends.
    Memory,
}

/// A file of objects. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct EmbeddedObjectStore {
    shared: Arc<Shared>,
    room: Arc<Semaphore>,
    /// For the one probe: a disk that hangs costs one thread.
    probing: Arc<Semaphore>,
}

type Opener = Box<dyn Fn(bool) -> Result<Database, Error> + Send + Sync>;

struct Shared {
    bounds: Bounds,
    open: Opener,
    // `None` after an I/O error: redb refuses a database that had one (a full disk, say) until it is reopened.
    database: RwLock<Option<Database>>,
    held: Mutex<Held>,
    evicted: Counter,
    /// Whether the last change failed.
    broken: AtomicBool,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("bounds", &self.bounds).finish_non_exhaustive()
    }
}

/// Why a transaction was not made.
pub(super) enum Failure {
    /// It is not to be made.
    Refused(Error),
    /// The database failed.
    Database(redb::Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Refused(error)
    }
}

impl<E: Into<redb::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Failure::Database(error.into())
    }
}

impl EmbeddedObjectStore {
    /// Opens the store, or makes it. Blocks: the file is checked, about a second per GB. `evicted` counts the
    /// objects that had to go for others.
    ///
    /// # Errors
    /// Another process has it open, it is damaged, or it cannot be read and written.
    pub(crate) fn open(medium: &Medium, bounds: Bounds, evicted: Counter) -> Result<Self, Error> {
        Self::with_opener(opening::opener(medium)?, bounds, evicted)
    }

    fn with_opener(open: Opener, bounds: Bounds, evicted: Counter) -> Result<Self, Error> {
        let database = RwLock::new(Some(open(true)?));
        let (held, broken) = (Mutex::default(), AtomicBool::new(false));
        let shared = Arc::new(Shared { bounds, open, database, held, evicted, broken });
        // Makes the tables if they are missing, so that a fresh file is no special case.
        shared.change(|_| Ok(()))?;
        let (room, probing) = (Semaphore::new(WAITING_MAX), Semaphore::new(1));
        Ok(Self { shared, room: Arc::new(room), probing: Arc::new(probing) })
    }

    /// Runs `work` on a thread for blocking work. Once begun it is done as a whole, even if the caller leaves.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let permit = Arc::clone(&self.room).try_acquire_owned().map_err(|_| Error::Busy)?;
        let shared = Arc::clone(&self.shared);
        let running = spawn_blocking(move || {
            let done = work(&shared);
            drop(permit);
            done
        });
        // Joining fails if it panicked, or if the runtime is going away.
        running.await.unwrap_or(Err(Error::Cut))
    }
}

impl Shared {
    fn with<T>(&self, work: impl FnOnce(&Database) -> Result<T, Failure>) -> Result<T, Error> {
        self.reopen()?;
        let done = {
            let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
            match database.as_ref() {
                Some(database) => work(database),
                None => return Err(Error::Store("it was closed over the failure of another call".into())),
            }
        };
        done.map_err(|failure| match failure {
            Failure::Refused(error) => error,
            Failure::Database(error) => {
                self.database.write().unwrap_or_else(PoisonError::into_inner).take();
                Error::Store(Box::new(error))
            }
        })
    }

    fn reopen(&self) -> Result<(), Error> {
        if self.database.read().unwrap_or_else(PoisonError::into_inner).is_some() {
            return Ok(());
        }
        let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
        if database.is_none() {
            *database = Some((self.open)(false).map_err(|error| Error::Store(Box::new(error)))?);
        }
        Ok(())
    }

    /// Makes a change, durably and as a whole.
    fn change<T>(&self, work: impl FnOnce(&mut Tables<'_>) -> Result<T, Failure>) -> Result<T, Error> {
        let done = self.with(|database| {
            let mut transaction = database.begin_write()?;
            transaction.set_durability(Durability::Immediate)?;
            let mut tables = Tables::open(&transaction)?;
            let done = work(&mut tables)?;
            let held = tables.held()?;
            drop(tables);
            transaction.commit()?;
            *self.held.lock().unwrap_or_else(PoisonError::into_inner) = held;
            Ok(done)
        });
        match &done {
            Ok(_) => self.broken.store(false, Ordering::Relaxed),
            Err(Error::Store(_)) => self.broken.store(true, Ordering::Relaxed),
            Err(_) => {}
        }
        done
    }

    fn probe(&self) -> Probe {
        let written = self.change(|tables| tables.write_probe());
        let read = self.with(|database| tables::read_probe(&database.begin_read()?));
        match (written, read) {
            (Ok(()), Ok(true)) => Probe::Works,
            (Err(_), Ok(_)) => Probe::Unwritable,
            (_, Err(_)) | (Ok(()), Ok(false)) => Probe::Unreadable,
        }
    }
}

#[tonic::async_trait]
impl ObjectStore for EmbeddedObjectStore {
    async fn put(&self, tenant: String, kind: String, object: Object, now: u64) -> Result<(), Error> {
        if object.content.len() as u64 > self.shared.bounds.max_entry_bytes {
            return Err(Error::TooLarge);
        }
        self.run(move |shared| {
            let place = Place { tenant, kind, id: object.id };
            let gone = shared
                .change(|tables| tables.put(&place, &object.head, &object.content, &shared.bounds, now))?;
            shared.evicted.inc_by(gone);
            Ok(())
        })
        .await
    }

    async fn get(&self, place: Place, now: u64) -> Result<Object, Error> {
        self.run(move |shared| {
            shared.with(|database| tables::get(&database.begin_read()?, &place, &shared.bounds, now))
        })
        .await
    }

    async fn list(&self, query: Query, now: u64) -> Result<Page, Error> {
        self.run(move |shared| {
            shared.with(|database| tables::list(&database.begin_read()?, &query, &shared.bounds, now))
        })
        .await
    }

    async fn update(&self, place: Place, metadata: Vec<(String, String)>, now: u64) -> Result<Object, Error> {
        self.run(move |shared| shared.change(|tables| tables.update(&place, metadata, &shared.bounds, now)))
            .await
    }

    async fn delete(&self, place: Place, now: u64) -> Result<(), Error> {
        self.run(move |shared| shared.change(|tables| tables.delete(&place, &shared.bounds, now))).await
    }

    async fn sweep(&self, now: u64) -> Result<(), Error> {
        loop {
            let more = self.run(move |shared| {
                let bounds = &shared.bounds;
                let needed = shared.broken.load(Ordering::Relaxed)
                    || shared.with(|database| tables::has_too_old(&database.begin_read()?, bounds, now))?;
                if needed { shared.change(|tables| tables.sweep(bounds, now)) } else { Ok(false) }
            });
            if !more.await? {
                return Ok(());
            }
        }
    }

    async fn probe(&self) -> Probe {
        let Ok(place) = Arc::clone(&self.probing).try_acquire_owned() else { return Probe::Hangs };
        let shared = Arc::clone(&self.shared);
        let probing = spawn_blocking(move || {
            let found = shared.probe();
            drop(place);
            found
        });
        // Joining fails if it panicked, or if the runtime is going away.
        probing.await.unwrap_or(Probe::Unreadable)
    }

    fn held(&self) -> Held {
        *self.shared.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
