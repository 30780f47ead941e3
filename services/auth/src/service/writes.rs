//! Takes changes off the async threads, a bounded number at once, and shows in health whether they succeed.

use std::sync::{Arc, Mutex, PoisonError};

use penstock_chassis::Component;
use tokio::sync::Semaphore;

use crate::{Error, keyring::Keyring};

/// Changes that wait at once. They are made one after the other, a few milliseconds (one fsync) each; more
/// than this and the last one would wait for about a second.
const WAITING_MAX: usize = 128;

/// The way to change keys.
#[derive(Clone, Debug)]
pub(crate) struct Writes {
    keyring: Arc<Keyring>,
    store: Arc<Mutex<Component>>,
    room: Arc<Semaphore>,
}

impl Writes {
    /// `store`: the component that stands for the store in health.
    pub(crate) fn new(keyring: Arc<Keyring>, store: Component) -> Self {
        store.up(None);
        Self { keyring, store: Arc::new(Mutex::new(store)), room: Arc::new(Semaphore::new(WAITING_MAX)) }
    }

    pub(crate) fn keyring(&self) -> &Arc<Keyring> {
        &self.keyring
    }

    /// Makes a change. Once begun it is made as a whole, even if the caller goes away meanwhile: what is
    /// durable must become visible, too.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        change: impl FnOnce(&Keyring) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let permit = Arc::clone(&self.room).try_acquire_owned().map_err(|_| Error::Busy)?;
        let this = self.clone();
        tokio::task::spawn_blocking(move || {
            let done = change(&this.keyring);
            this.report(&done);
            drop(permit);
            done
        })
        .await
        // It panicked, or the runtime is going away.
        .unwrap_or(Err(Error::Cut))
    }

    fn report<T>(&self, done: &Result<T, Error>) {
        if let Err(Error::Write(source)) = done {
            tracing::error!(error = source, "the key store cannot be written");
        }
        let store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        if self.keyring.store_works() {
            store.up(None);
        } else {
            store.degraded("cannot be written: known keys go on working, none can be changed", None);
        }
    }
}
