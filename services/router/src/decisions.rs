//! Decisions that were made, kept for a while so that they can be looked up, with what was attempted and how it
//! ended. Bounded; the oldest go first.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use penstock_proto::router::v1::AttemptKind;
use tokio::time::Instant;

use crate::decision::{Candidate, Decision};

/// Decisions that are kept: some minutes of light traffic, seconds of heavy traffic, a few megabytes.
const KEPT_MAX: usize = 1000;

/// Decisions that were made. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Decisions(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    by_id: HashMap<Arc<str>, Trail>,
    oldest_first: VecDeque<Arc<str>>,
}

/// One decision and what came of it. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Trail(Arc<Entry>);

#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) id: Arc<str>,
    pub(crate) request_id: String,
    pub(crate) made_at: SystemTime,
    pub(crate) made: Instant,
    pub(crate) decision: Decision,
    pub(crate) log: Mutex<Log>,
}

/// What came of a decision.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log {
    pub(crate) attempts: Vec<Attempt>,
    /// `OK` or a reason's name; `None`: it has not ended yet.
    pub(crate) outcome: Option<&'static str>,
}

/// One request to a deployment.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    pub(crate) candidate: Candidate,
    pub(crate) kind: AttemptKind,
    pub(crate) started_after: Duration,
    pub(crate) took: Option<Duration>,
    /// `OK`, a reason's name, `LOST` or `CANCELLED`; `None`: it has not ended yet.
    pub(crate) outcome: Option<&'static str>,
}

impl Decisions {
    /// Keeps a decision for the request of that id.
    pub(crate) fn keep(&self, decision: Decision, request_id: &str) -> Trail {
        let id: Arc<str> = format!("dec-{:016x}", fastrand::u64(..)).into();
        let trail = Trail(Arc::new(Entry {
            id: Arc::clone(&id),
            request_id: request_id.to_owned(),
            made_at: SystemTime::now(),
            made: Instant::now(),
            decision,
            log: Mutex::default(),
        }));
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.oldest_first.len() >= KEPT_MAX
            && let Some(oldest) = kept.oldest_first.pop_front()
        {
            kept.by_id.remove(&oldest);
        }
        kept.oldest_first.push_back(Arc::clone(&id));
        kept.by_id.insert(id, trail.clone());
        trail
    }

    /// The decision of that id, if it is still kept.
    pub(crate) fn get(&self, id: &str) -> Option<Trail> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).by_id.get(id).cloned()
    }
}

impl Trail {
    /// Identity of the decision.
    pub(crate) fn id(&self) -> &str {
        &self.0.id
    }

    /// All of it.
    pub(crate) fn entry(&self) -> &Entry {
        &self.0
    }

    /// Notes that an attempt begins.
    pub(crate) fn begin(&self, candidate: &Candidate, kind: AttemptKind) -> Noted {
        let mut log = self.log();
        log.attempts.push(Attempt {
            candidate: candidate.clone(),
            kind,
            started_after: self.0.made.elapsed(),
            took: None,
            outcome: None,
        });
        Noted { trail: self.clone(), index: log.attempts.len() - 1, began: Instant::now(), ended: false }
    }

    /// Shows every attempt, in order of time.
    pub(crate) fn each_attempt(&self, show: impl FnMut(&Attempt)) {
        self.log().attempts.iter().for_each(show);
    }

    /// Notes how the request ended: `OK` or a reason's name.
    pub(crate) fn end(&self, outcome: &'static str) {
        self.log().outcome = Some(outcome);
    }

    fn log(&self) -> std::sync::MutexGuard<'_, Log> {
        self.0.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An attempt that is noted; dropped before it ended, it was cancelled.
#[derive(Debug)]
pub(crate) struct Noted {
    trail: Trail,
    index: usize,
    began: Instant,
    ended: bool,
}

impl Noted {
    /// Notes that it had its first content (`OK`), failed (a reason's name), or came second (`LOST`).
    pub(crate) fn end(mut self, outcome: &'static str) {
        self.note(outcome);
    }

    fn note(&mut self, outcome: &'static str) {
        self.ended = true;
        if let Some(attempt) = self.trail.log().attempts.get_mut(self.index) {
            attempt.took = Some(self.began.elapsed());
            attempt.outcome = Some(outcome);
        }
    }
}

impl Drop for Noted {
    fn drop(&mut self) {
        if !self.ended {
            self.note("CANCELLED");
        }
    }
}
