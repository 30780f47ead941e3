//! Takes changes off the async threads, a bounded number at once, and checks the store: by a write and a read in
//! the background, and by what becomes of every change.

use std::sync::Arc;

use penstock_chassis::{Chassis, Check, Evidence, Outcome};
use tokio::{sync::Semaphore, task::spawn_blocking};

use crate::{
    Error,
    keyring::{Keyring, StoreState},
};

/// Changes that wait at once. They are made one after the other, a few milliseconds (one fsync) each; more
/// than this and the last one would wait for about a second.
const WAITING_MAX: usize = 128;

/// The way to change keys.
#[derive(Clone, Debug)]
pub(crate) struct Writes {
    keyring: Arc<Keyring>,
    store: Evidence,
    room: Arc<Semaphore>,
}

impl Writes {
    /// Checks the store from now on. Without it auth is not ready; once it was there its loss is never more than a
    /// loss: every key is in memory, so verdicts go on whether the store can be read or not, and only changes
    /// (and a restart) fail. DOWN would take out of service what still serves.
    pub(crate) fn start(keyring: Arc<Keyring>, chassis: &Chassis) -> Self {
        let probed = Arc::clone(&keyring);
        let check = Check::file("auth/store").required(true).only_degrades();
        let store =
            chassis.health.check_blocking(check, &chassis.tasks, move || outcome(probed.probe_store()));
        Self { keyring, store, room: Arc::new(Semaphore::new(WAITING_MAX)) }
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
            match &done {
                Ok(_) => this.store.works(),
                Err(Error::Write(source)) => {
                    tracing::error!(error = source, "the key store cannot be written");
                    this.store.failed(outcome(StoreState::Unwritable));
                }
                // Refused before anything was written: it says nothing about the store.
                Err(_) => {}
            }
            drop(permit);
            done
        });
        // Joining fails if it panicked, or if the runtime is going away.
        running.await.unwrap_or(Err(Error::Cut))
    }
}

/// What the state of the store means for auth.
fn outcome(state: StoreState) -> Outcome {
    let lost =
        |what: &str| Outcome::Degraded(format!("{what}: known keys go on working, none can be changed"));
    match state {
        StoreState::Works => Outcome::Up,
        StoreState::Unwritable => lost("cannot be written"),
        StoreState::Unreadable => lost("cannot be read"),
        StoreState::Lost => lost("can be neither read nor written"),
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::atomic::Ordering, time::Duration};

    use penstock_chassis::Health;
    use penstock_proto::status::v1::State;

    use super::*;
    use crate::{
        keyring::tests::{ADMIN_KEY, MemoryStore, draft, keyring},
        record::tests::at,
    };

    fn start() -> (Writes, Arc<MemoryStore>, Chassis) {
        let (keyring, store) = keyring(Some(ADMIN_KEY));
        let chassis = Chassis::default();
        chassis.health.started();
        (Writes::start(Arc::new(keyring), &chassis), store, chassis)
    }

    fn state(health: &Health) -> State {
        health.report().components[0].state()
    }

    async fn becomes(health: &Health, wanted: State) {
        while state(health) != wanted {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// F12: a full disk is seen in health at once, and so is its end, without a restart.
    #[tokio::test(start_paused = true)]
    async fn a_store_that_cannot_be_written_degrades_until_it_can() {
        let (writes, store, chassis) = start();
        let health = &chassis.health;
        becomes(health, State::Up).await;
        store.broken.store(true, Ordering::Relaxed);
        let failed = writes.run(|keyring| keyring.create(draft(&[]), at(1))).await;
        assert!(matches!(failed, Err(Error::Write(_))));
        assert_eq!(state(health), State::Degraded);
        let other = writes.run(|keyring| keyring.revoke("nobody", at(1))).await;
        assert!(matches!(other, Err(Error::NotFound)));
        let probes = store.probes.load(Ordering::Relaxed);
        while store.probes.load(Ordering::Relaxed) < probes + 3 {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        assert_eq!(state(health), State::Degraded, "probed, and still broken");
        store.broken.store(false, Ordering::Relaxed);
        becomes(health, State::Up).await;
        chassis.tasks.stop(Duration::from_secs(1)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_that_succeeds_shows_at_once_that_the_store_works_again() {
        let (writes, store, chassis) = start();
        becomes(&chassis.health, State::Up).await;
        store.broken.store(true, Ordering::Relaxed);
        writes.run(|keyring| keyring.create(draft(&[]), at(1))).await.unwrap_err();
        store.broken.store(false, Ordering::Relaxed);
        writes.run(|keyring| keyring.create(draft(&[]), at(1))).await.unwrap();
        assert_eq!(state(&chassis.health), State::Up);
    }

    /// Nobody changes a key, and the loss is seen all the same. Verdicts come from memory: auth serves on.
    #[tokio::test(start_paused = true)]
    async fn a_store_that_is_lost_altogether_degrades_too_and_auth_serves_on() {
        let (_writes, store, chassis) = start();
        becomes(&chassis.health, State::Up).await;
        store.broken.store(true, Ordering::Relaxed);
        store.lost.store(true, Ordering::Relaxed);
        becomes(&chassis.health, State::Degraded).await;
        let report = chassis.health.report();
        assert!(report.components[0].detail.contains("neither"), "{report:?}");
        assert!(report.components[0].required);
        assert_eq!(report.state(), State::Degraded);
    }
}
