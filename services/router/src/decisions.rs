//! Decisions that were made, kept for a while so that they can be looked up, with what was attempted and how it
//! ended. Bounded by number and by age; the oldest go first. A request pays one short lock for it: nothing is copied
//! but the load of the deployments that were looked at, and what is forgotten is dropped outside of the lock.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use penstock_proto::{Error, metadata, router::v1::AttemptKind};
use tokio::time::Instant;
use tonic::{Status, metadata::MetadataMap};

use crate::decision::{Candidate, Considered, Decision};

/// Most deployments that a real request's decision shows: who may be asked, and some of the others. To show one is
/// to hold on to it, which costs more than to weigh it.
pub(crate) const CONSIDERED_MAX: usize = 10;
/// Most that are forgotten for one that is new: whatever was kept in a busy hour does not go all at once.
const FORGOTTEN_MAX: usize = 2;

/// The outcome of what went well.
pub(crate) const OK: &str = "OK";

/// Decisions that were made. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Decisions {
    kept: Arc<Mutex<Kept>>,
    /// Most that are kept.
    most: usize,
    /// How long.
    ttl: Duration,
}

#[derive(Debug, Default)]
struct Kept {
    by_id: HashMap<Arc<str>, Trail>,
    oldest_first: VecDeque<Trail>,
}

/// What this router saw of a deployment when it decided.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Seen {
    pub(crate) in_flight: u32,
    /// Time to the first content to expect; `None`: nothing was seen yet.
    pub(crate) expected: Option<Duration>,
}

impl From<&Considered> for Seen {
    fn from(considered: &Considered) -> Self {
        let load = &considered.candidate.deployment.load;
        Self { in_flight: load.in_flight(), expected: load.expected() }
    }
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
    /// One for each that was considered.
    pub(crate) seen: Vec<Seen>,
    log: Mutex<Log>,
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
    /// Keeps at most `most` of them, each for `ttl`.
    pub(crate) fn new(most: usize, ttl: Duration) -> Self {
        Self { kept: Arc::default(), most, ttl }
    }

    /// Keeps a decision for the request of that id.
    pub(crate) fn keep(&self, mut decision: Decision, request_id: &str) -> Trail {
        decision.considered.truncate(CONSIDERED_MAX);
        let now = Instant::now();
        let trail = Trail(Arc::new(Entry {
            id: format!("dec-{:016x}", fastrand::u64(..)).into(),
            request_id: request_id.to_owned(),
            made_at: SystemTime::now(),
            made: now,
            seen: decision.considered.iter().map(Seen::from).collect(),
            decision,
            log: Mutex::default(),
        }));
        if self.most > 0 {
            // Bound to a name: the last one who holds a decision drops it, and that is not to be inside of the lock.
            let _forgotten = self.kept().add(trail.clone(), self.most, self.ttl, now);
        }
        trail
    }

    /// The decision of that id, if it is still kept.
    pub(crate) fn get(&self, id: &str) -> Option<Trail> {
        let trail = self.kept().by_id.get(id).cloned()?;
        (trail.0.made.elapsed() < self.ttl).then_some(trail)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    /// Adds one and gives back what is forgotten for it.
    fn add(
        &mut self,
        trail: Trail,
        most: usize,
        ttl: Duration,
        now: Instant,
    ) -> [Option<Trail>; FORGOTTEN_MAX] {
        let forgotten = [(); FORGOTTEN_MAX].map(|()| {
            let oldest = self.oldest_first.front()?;
            if self.oldest_first.len() < most && now.duration_since(oldest.0.made) < ttl {
                return None;
            }
            let oldest = self.oldest_first.pop_front()?;
            self.by_id.remove(&oldest.0.id);
            Some(oldest)
        });
        self.by_id.insert(Arc::clone(&trail.0.id), trail.clone());
        self.oldest_first.push_back(trail);
        forgotten
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

    /// Notes that the attempt that gave the answer broke after its first content, for a reason of that name.
    pub(crate) fn broke(&self, reason: &'static str) {
        let mut log = self.log();
        // No more than one gives an answer at a time: the last of those that began well.
        if let Some(attempt) = log.attempts.iter_mut().rev().find(|attempt| attempt.outcome == Some(OK)) {
            attempt.outcome = Some(reason);
        }
    }

    /// Notes how the request ended: `OK` or a reason's name.
    pub(crate) fn end(&self, outcome: &'static str) {
        self.log().outcome = Some(outcome);
    }

    /// Puts the identity of the decision into what the caller is told.
    pub(crate) fn sign(&self, head: &mut MetadataMap) {
        // Hexadecimal digits and a dash: metadata holds them.
        if let Ok(id) = self.id().parse() {
            head.insert(metadata::DECISION, id);
        }
    }

    /// A refusal that names the decision.
    pub(crate) fn signed(&self, mut status: Status) -> Status {
        self.sign(status.metadata_mut());
        status
    }

    /// Notes that the request was refused before anybody was asked, and says so.
    pub(crate) fn refuse(&self, error: Error) -> Status {
        self.end(error.reason.as_str());
        self.signed(error.into())
    }

    /// What came of it so far.
    pub(crate) fn so_far(&self) -> Log {
        self.log().clone()
    }

    fn log(&self) -> MutexGuard<'_, Log> {
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

#[cfg(test)]
mod tests;
