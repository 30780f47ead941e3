//! Takes changes off the async threads, a bounded number at once, and shows in health whether they succeed.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use penstock_chassis::{Component, Tasks};
use tokio::{sync::Semaphore, task::spawn_blocking};

use crate::{Error, keyring::Keyring};

/// Changes that wait at once. They are made one after the other, a few milliseconds (one fsync) each; more
/// than this and the last one would wait for about a second.
const WAITING_MAX: usize = 128;
/// How long after a failed write the store is tried again: soon enough for whoever has just made room.
const PROBE_AFTER: Duration = Duration::from_secs(10);

/// The way to change keys.
#[derive(Clone, Debug)]
pub(crate) struct Writes {
    keyring: Arc<Keyring>,
    store: Arc<Mutex<Component>>,
    room: Arc<Semaphore>,
    tasks: Tasks,
    /// Whether a probe is on its way.
    probing: Arc<AtomicBool>,
}

impl Writes {
    /// `store`: the component that stands for the store in health.
    pub(crate) fn new(keyring: Arc<Keyring>, store: Component, tasks: Tasks) -> Self {
        store.up(None);
        let room = Arc::new(Semaphore::new(WAITING_MAX));
        Self { keyring, store: Arc::new(Mutex::new(store)), room, tasks, probing: Arc::default() }
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
        let running = spawn_blocking(move || {
            let done = change(&this.keyring);
            if let Err(Error::Write(source)) = &done {
                tracing::error!(error = source, "the key store cannot be written");
            }
            this.report();
            drop(permit);
            done
        });
        // Joining fails if it panicked, or if the runtime is going away.
        running.await.unwrap_or(Err(Error::Cut))
    }

    fn report(&self) {
        {
            let store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
            if self.keyring.store_works() {
                store.up(None);
                return;
            }
            store.degraded("cannot be written: known keys go on working, none can be changed", None);
        }
        // Else it would stay degraded until somebody happens to change a key.
        if !self.probing.swap(true, Ordering::Relaxed) {
            self.tasks.spawn("auth store probe", self.clone().probe());
        }
    }

    async fn probe(self) {
        let stopping = self.tasks.stopping();
        if stopping.run_until_cancelled(tokio::time::sleep(PROBE_AFTER)).await.is_none() {
            return;
        }
        self.probing.store(false, Ordering::Relaxed);
        let probing = spawn_blocking(move || {
            if self.keyring.probe_store().is_ok() {
                tracing::info!("the key store can be written again");
            }
            self.report();
        });
        if probing.await.is_err() {
            tracing::error!("the probe of the key store panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use penstock_chassis::Health;
    use penstock_proto::status::v1::{Kind, State};

    use super::*;
    use crate::{
        keyring::tests::{ADMIN_KEY, draft, keyring},
        record::tests::at,
    };

    fn state(health: &Health) -> State {
        health.report().components[0].state()
    }

    /// F12: a full disk is seen in health, and so is its end, without a restart.
    #[tokio::test(start_paused = true)]
    async fn a_store_that_cannot_be_written_degrades_until_it_can() {
        let (keyring, store) = keyring(Some(ADMIN_KEY));
        let (health, tasks) = (Health::default(), Tasks::default());
        let writes = Writes::new(Arc::new(keyring), health.component("auth/store", Kind::Store, true), tasks);
        assert_eq!(state(&health), State::Up);
        store.broken.store(true, Ordering::Relaxed);
        let failed = writes.run(|keyring| keyring.create(draft(&[]), at(1))).await;
        assert!(matches!(failed, Err(Error::Write(_))));
        assert_eq!(state(&health), State::Degraded);
        let other = writes.run(|keyring| keyring.revoke("nobody", at(1))).await;
        assert!(matches!(other, Err(Error::NotFound)));
        tokio::time::sleep(PROBE_AFTER * 3).await;
        assert_eq!(state(&health), State::Degraded, "probed, and still broken");
        store.broken.store(false, Ordering::Relaxed);
        while state(&health) != State::Up {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
}
