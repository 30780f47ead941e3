//! Who goes on with an answer that broke, in which order, and how. Pure.

use std::collections::VecDeque;

use penstock_proto::Reason;

use crate::{config::AfterCommit, decision::Candidate};

/// How an answer is gone on with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// From what was said.
    Continue,
    /// By saying it again.
    Replay,
}

impl How {
    pub(super) fn name(self) -> &'static str {
        match self {
            How::Continue => "continue",
            How::Replay => "replay",
        }
    }
}

/// One attempt to make.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Step {
    pub(super) how: How,
    pub(super) candidate: Candidate,
}

/// What is left to do.
#[derive(Debug)]
pub(super) struct Steps {
    policy: AfterCommit,
    left: VecDeque<Candidate>,
    /// Who gives the answer.
    current: Option<Candidate>,
    /// Who broke it, and may be asked once more when nobody else is left.
    again: Option<Candidate>,
    /// That was done: once is enough for all that may yet break.
    was_again: bool,
    /// It would not go on from what was said; it may say it again.
    refused: Option<Candidate>,
    /// What was said can be gone on from.
    can_continue: bool,
    /// Attempts that may still be made.
    spare: usize,
}

impl Steps {
    /// After `current`, `left` may be asked if they are of the same model; so many at most.
    pub(super) fn new(
        policy: AfterCommit,
        current: &Candidate,
        left: Vec<Candidate>,
        spare: usize,
    ) -> Self {
        // The answer's model is named already: no other one has a word in it.
        let left = left.into_iter().filter(|candidate| candidate.model == current.model);
        Self {
            policy,
            left: left.collect(),
            current: Some(current.clone()),
            again: None,
            was_again: false,
            refused: None,
            can_continue: false,
            spare,
        }
    }

    /// The answer broke.
    pub(super) fn broke(&mut self, reason: Reason, can_continue: bool) {
        // Who was silent for so long would be so again.
        let may_again = reason != Reason::EngineTimeout && !self.was_again;
        self.again = self.current.take().filter(|_| may_again);
        self.can_continue = can_continue;
    }

    /// Somebody else goes on.
    pub(super) fn begun(&mut self, candidate: Candidate) {
        self.current = Some(candidate);
    }

    /// It would not go on from what was said.
    pub(super) fn refused(&mut self, candidate: Candidate) {
        self.refused = Some(candidate);
    }

    fn how(&self, candidate: &Candidate) -> Option<How> {
        let known = candidate.deployment.capabilities.as_ref();
        let continues = self.can_continue && known.and_then(|known| known.prefill) == Some(true);
        match self.policy {
            AfterCommit::Error => None,
            AfterCommit::Replay => Some(How::Replay),
            AfterCommit::Continue => continues.then_some(How::Continue),
            AfterCommit::Best => Some(if continues { How::Continue } else { How::Replay }),
        }
    }

    fn choose(&mut self) -> Option<Step> {
        let refused = self.refused.take().filter(|_| self.policy == AfterCommit::Best);
        if let Some(candidate) = refused {
            return Some(Step { how: How::Replay, candidate });
        }
        while let Some(candidate) = self.left.pop_front() {
            if let Some(how) = self.how(&candidate) {
                return Some(Step { how, candidate });
            }
        }
        let candidate = self.again.take()?;
        self.was_again = true;
        Some(Step { how: self.how(&candidate)?, candidate })
    }
}

impl Iterator for Steps {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        self.spare = self.spare.checked_sub(1)?;
        self.choose()
    }
}
