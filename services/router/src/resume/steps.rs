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
    /// After `current`, `left` may be asked if they are of the same model; so many at most. `None`: none of them could
    /// do anything.
    pub(super) fn new(
        policy: AfterCommit,
        current: &Candidate,
        mut left: Vec<Candidate>,
        spare: usize,
    ) -> Option<Self> {
        // The answer's model is named already: no other one has a word in it.
        left.retain(|candidate| candidate.model == current.model);
        let useful = match policy {
            AfterCommit::Error => false,
            AfterCommit::Continue => left.iter().chain([current]).any(continues),
            AfterCommit::Best | AfterCommit::Replay => true,
        };
        (useful && spare > 0).then(|| Self {
            policy,
            left: left.into(),
            current: Some(current.clone()),
            again: None,
            was_again: false,
            refused: None,
            can_continue: false,
            spare,
        })
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

    /// It was not asked to go on: it may say it again.
    pub(super) fn passed_over(&mut self, candidate: Candidate) {
        self.spare += 1;
        self.refused(candidate);
    }

    /// Nobody else is left to ask: the one that is asked may well be waited for.
    pub(super) fn is_last(&self) -> bool {
        self.left.is_empty()
    }

    fn how(&self, candidate: &Candidate) -> Option<How> {
        let continues = self.can_continue && continues(candidate);
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

/// Whether it is known to go on from what was said.
fn continues(candidate: &Candidate) -> bool {
    candidate.deployment.capabilities.as_ref().and_then(|known| known.prefill) == Some(true)
}

impl Iterator for Steps {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        self.spare = self.spare.checked_sub(1)?;
        self.choose()
    }
}

#[cfg(test)]
mod tests {
    use penstock_proto::inference::v1::Capabilities;

    use super::*;
    use crate::registry::Deployment;

    /// `a+` can go on from what was said.
    fn candidate(id: &str) -> Candidate {
        let (model, id) = id.split_once('/').unwrap_or(("m", id));
        let capabilities =
            id.ends_with('+').then(|| Capabilities { prefill: Some(true), ..Capabilities::default() });
        let deployment = Deployment { id: id.into(), capabilities, ..Deployment::default() };
        Candidate { model: model.into(), deployment: deployment.into() }
    }

    fn steps(policy: AfterCommit, current: &str, left: &[&str], spare: usize) -> Steps {
        let left = left.iter().map(|id| candidate(id)).collect();
        Steps::new(policy, &candidate(current), left, spare).unwrap()
    }

    fn say(step: &Step) -> String {
        format!("{} {}", step.how.name(), step.candidate.id())
    }

    /// All that is tried, if nobody answers.
    fn all(mut steps: Steps, reason: Reason, can_continue: bool) -> Vec<String> {
        steps.broke(reason, can_continue);
        steps.map(|step| say(&step)).collect()
    }

    #[test]
    fn others_of_the_model_come_first_and_the_same_last() {
        let tried = |policy, can_continue| {
            all(steps(policy, "a+", &["b", "c+", "other/d+"], 9), Reason::EngineCut, can_continue)
        };
        assert_eq!(tried(AfterCommit::Best, true), ["replay b", "continue c+", "continue a+"]);
        assert_eq!(tried(AfterCommit::Best, false), ["replay b", "replay c+", "replay a+"]);
        assert_eq!(tried(AfterCommit::Continue, true), ["continue c+", "continue a+"]);
        assert_eq!(tried(AfterCommit::Continue, false), Vec::<String>::new());
        assert_eq!(tried(AfterCommit::Replay, true), ["replay b", "replay c+", "replay a+"]);
        let none = |policy, left| Steps::new(policy, &candidate("a"), vec![candidate(left)], 9).is_none();
        assert!(none(AfterCommit::Error, "b+"));
        assert!(none(AfterCommit::Continue, "b") && none(AfterCommit::Continue, "other/b+"));
        assert!(!none(AfterCommit::Continue, "b+") && !none(AfterCommit::Replay, "other/b"));
    }

    #[test]
    fn who_was_silent_is_not_asked_again_and_there_is_an_end() {
        let tried = |spare| all(steps(AfterCommit::Best, "a", &["b"], spare), Reason::EngineTimeout, true);
        assert_eq!(tried(9), ["replay b"]);
        assert!(Steps::new(AfterCommit::Best, &candidate("a"), vec![], 0).is_none());
        let cut = all(steps(AfterCommit::Best, "a", &["b", "c"], 2), Reason::EngineCut, true);
        assert_eq!(cut, ["replay b", "replay c"]);
    }

    #[test]
    fn who_refuses_a_prefill_says_it_again_if_that_is_allowed() {
        for (policy, then) in [(AfterCommit::Best, "replay b+"), (AfterCommit::Continue, "continue c+")] {
            let mut steps = steps(policy, "a", &["b+", "c+"], 9);
            steps.broke(Reason::EngineCut, true);
            let first = steps.next().unwrap();
            assert_eq!(say(&first), "continue b+");
            steps.refused(first.candidate);
            assert_eq!(say(&steps.next().unwrap()), then);
        }
    }

    /// D5: however often it breaks, the same one is asked once more, not for ever.
    #[test]
    fn the_same_is_asked_once_more_in_all() {
        let mut steps = steps(AfterCommit::Best, "a", &["b"], 9);
        let mut tried = Vec::new();
        for _ in 0..5 {
            steps.broke(Reason::EngineCut, true);
            let Some(step) = steps.next() else { break };
            tried.push(say(&step));
            steps.begun(step.candidate);
        }
        assert_eq!(tried, ["replay b", "replay b"]);
    }
}
