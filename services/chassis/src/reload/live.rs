//! A part of the configuration on its way to the service that takes it over while it runs.

use tokio::sync::{mpsc, oneshot};

use crate::config::Mistakes;

/// A part of the configuration that may change: where changes are put, and where they are taken. `first` is in force
/// already.
pub fn live<T>(first: T) -> (Source<T>, Live<T>) {
    let (updates, taken) = mpsc::channel(1);
    (Source { in_force: first, updates }, Live(Some(taken)))
}

/// Where changes are put.
#[derive(Debug)]
pub struct Source<T> {
    in_force: T,
    updates: mpsc::Sender<Update<T>>,
}

impl<T: Clone + PartialEq> Source<T> {
    /// Puts `next` in force and waits until it is. False: it was already.
    ///
    /// # Errors
    /// The service cannot take it over; what was in force stays.
    pub async fn put(&mut self, next: T) -> Result<bool, Mistakes> {
        if next == self.in_force {
            return Ok(false);
        }
        let (refuse, refused) = oneshot::channel();
        let update = Update { next: next.clone(), refuse };
        // Without a service there is nobody to use it.
        if self.updates.send(update).await.is_ok()
            && let Ok(mistakes) = refused.await
        {
            return Err(mistakes);
        }
        self.in_force = next;
        Ok(true)
    }
}

/// Where a service takes changes. The default one never has any.
#[derive(Debug)]
pub struct Live<T>(Option<mpsc::Receiver<Update<T>>>);

impl<T> Default for Live<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> Live<T> {
    /// The next change. Never ready where there will be none.
    pub async fn next(&mut self) -> Update<T> {
        if let Some(updates) = &mut self.0
            && let Some(update) = updates.recv().await
        {
            return update;
        }
        std::future::pending().await
    }
}

/// A change. It is in force when this is dropped.
#[derive(Debug)]
pub struct Update<T> {
    /// What is to be in force.
    pub next: T,
    refuse: oneshot::Sender<Mistakes>,
}

impl<T> Update<T> {
    /// Says that what was in force stays.
    pub fn refuse(self, mistakes: Mistakes) {
        // Whoever put it may be gone.
        let _ = self.refuse.send(mistakes);
    }
}
