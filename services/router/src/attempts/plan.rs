//! Who is asked next, for what reason, and after which pause: decided by what those said that were asked so far.
//! Pure: chance and the time that is left are arguments.

use std::{sync::Arc, time::Duration};

use penstock_proto::{Error, Reason, router::v1::AttemptKind};

use super::verdict::is_unasked;
use crate::{
    budget::back_off,
    config::Retrying,
    decision::{Candidate, Route},
};

/// An attempt that has less time than this before the caller's deadline is not begun: it could only fail.
const WORTH_WHILE: Duration = Duration::from_millis(50);
/// Most deployments that are made up for by others because they had no place or are left alone: no engine was asked.
const SPARE: usize = 4;

/// The way of one request through its candidates.
#[derive(Debug)]
pub(super) struct Plan {
    stops: Vec<Stop>,
    /// Those before are over: the request turned to others for a reason of its own.
    from: usize,
    /// `None`: it has turned to them.
    on_context: Option<Vec<Candidate>>,
    on_filter: Option<Vec<Candidate>>,
    /// The model that was asked for, and the one whose deployments are being asked.
    asked_for: Option<Arc<str>>,
    current: Option<Arc<str>>,
    /// It closed the connection: it is asked once more, at once.
    once_more: Option<usize>,
    /// Deployments that may be asked.
    most: usize,
    /// Attempts that are left.
    left: usize,
    /// How many more may be made up for by others.
    spare: usize,
    retried: u32,
    retrying: Retrying,
    over: bool,
}

#[derive(Debug)]
struct Stop {
    candidate: Candidate,
    asked: u32,
    /// There are enough before it, unless one of them is not asked after all.
    is_spare: bool,
    /// It was asked, and could have waited for a place.
    could_queue: bool,
    /// It closed a connection before.
    reset: bool,
    failure: Option<(Reason, Option<Duration>)>,
}

impl Stop {
    fn new(candidate: Candidate) -> Self {
        Self { candidate, asked: 0, is_spare: false, could_queue: false, reset: false, failure: None }
    }

    fn is_untried(&self) -> bool {
        self.asked == 0 && !self.is_spare
    }
}

/// An attempt to make.
#[derive(Debug)]
pub(super) struct Next {
    /// Which one, for [`Plan::failed`].
    pub(super) index: usize,
    pub(super) candidate: Candidate,
    pub(super) kind: AttemptKind,
    pub(super) may_queue: bool,
    /// The pause before it.
    pub(super) after: Duration,
}

impl Plan {
    /// At most `most` deployments of `route`, and what `retrying` allows beyond that.
    pub(super) fn new(route: Route, most: usize, retrying: &Retrying) -> Self {
        let asked_for = route.candidates.first().map(|first| Arc::clone(&first.model));
        let mut enough = Vec::new();
        if route.candidates.len() > most {
            enough.clone_from(&route.candidates);
            leave_out(&mut enough, most);
        }
        let stop = |candidate: Candidate| Stop {
            is_spare: !enough.is_empty() && !enough.contains(&candidate),
            ..Stop::new(candidate)
        };
        Self {
            stops: route.candidates.into_iter().map(stop).collect(),
            from: 0,
            on_context: Some(route.on_context),
            on_filter: Some(route.on_filter),
            current: asked_for.clone(),
            asked_for,
            once_more: None,
            most,
            left: most.saturating_add(retrying.retries as usize),
            spare: SPARE,
            retried: 0,
            retrying: retrying.clone(),
            over: false,
        }
    }

    /// Whom to ask now. `left`: the time until the caller's deadline.
    pub(super) fn next(&mut self, left: Option<Duration>, chance: f64) -> Option<Next> {
        let least = if self.asked() == 0 { Duration::from_nanos(1) } else { WORTH_WHILE };
        if self.over || self.left == 0 || left.is_some_and(|left| left < least) {
            return None;
        }
        let at_once = self.once_more.take().or_else(|| self.untried_here()).or_else(|| self.never_queued());
        let (index, after) = match at_once {
            Some(index) => (index, Duration::ZERO),
            None => self.retry(left, chance).or_else(|| Some((self.untried()?, Duration::ZERO)))?,
        };
        let stop = self.stops.get(index)?;
        let kind = match stop.asked {
            0 if self.asked() == 0 => AttemptKind::First,
            0 if Some(&stop.candidate.model) == self.asked_for.as_ref() => AttemptKind::Failover,
            0 => AttemptKind::Fallback,
            _ => AttemptKind::Retry,
        };
        self.current = Some(Arc::clone(&stop.candidate.model));
        let may_queue = !self.has_other(index);
        self.ask(index, kind, may_queue, after)
    }

    /// Whether there is somebody to ask beside one that is being asked: another deployment of the same model that is
    /// known to work.
    pub(super) fn can_hedge(&self, left: Option<Duration>) -> bool {
        let works =
            |index: usize| self.stops.get(index).is_some_and(|stop| !stop.candidate.deployment.is_down());
        !self.over
            && self.left > 0
            && left.is_none_or(|left| left >= WORTH_WHILE)
            && self.untried_here().is_some_and(works)
    }

    /// That one.
    pub(super) fn hedge(&mut self) -> Option<Next> {
        let index = self.untried_here()?;
        self.ask(index, AttemptKind::Hedge, false, Duration::ZERO)
    }

    /// Nobody can be asked any more after those who were.
    pub(super) fn is_used_up(&self) -> bool {
        self.left == 0
    }

    /// One who was asked failed.
    pub(super) fn failed(&mut self, index: usize, error: &Error) {
        let Some(stop) = self.stops.get_mut(index) else { return };
        stop.failure = Some((error.reason, error.retry_after));
        if is_unasked(error.reason) && stop.asked == 1 {
            self.make_up();
        }
        let Some(stop) = self.stops.get_mut(index) else { return };
        match error.reason {
            // All others of the same context would say the same.
            Reason::ContextLengthExceeded => {
                if let Some(larger) = self.on_context.take() {
                    self.turn_to(larger);
                }
            }
            Reason::ContentFiltered => match self.on_filter.take() {
                Some(others) if others.is_empty() => self.over = true,
                Some(others) => self.turn_to(others),
                None => {}
            },
            Reason::EngineReset if !stop.reset && self.retried < self.retrying.retries => {
                stop.reset = true;
                self.retried += 1;
                self.once_more = Some(index).filter(|index| *index >= self.from);
            }
            reason if !reason.remedy().fallback => self.over = true,
            _ => {}
        }
    }

    /// Another one takes the place of one that was not asked after all.
    fn make_up(&mut self) {
        let from = self.from;
        let spare = self.stops.iter_mut().skip(from).find(|stop| stop.is_spare).filter(|_| self.spare > 0);
        if let Some(stop) = spare {
            stop.is_spare = false;
            self.spare -= 1;
            self.left += 1;
        }
    }

    /// A refusal by a content filter is not the answer yet.
    pub(super) fn minds_filters(&self) -> bool {
        self.on_filter.as_ref().is_none_or(|others| !others.is_empty())
    }

    /// How many deployments failed, but for that one.
    pub(super) fn failures(&self, but: Option<usize>) -> usize {
        let failed = |(index, stop): &(usize, &Stop)| stop.failure.is_some() && Some(*index) != but;
        self.stops.iter().enumerate().filter(failed).count()
    }

    /// How many engines were asked, that one's with them.
    pub(super) fn reached(&self, winner: usize) -> usize {
        let is_unasked = |stop: &Stop| stop.failure.is_some_and(|(reason, _)| is_unasked(reason));
        let reached =
            |(index, stop): &(usize, &Stop)| *index == winner || (stop.asked > 0 && !is_unasked(stop));
        self.stops.iter().enumerate().filter(reached).count()
    }

    /// Those who were not asked.
    pub(super) fn unasked(self) -> Vec<Candidate> {
        let left = self.stops.into_iter().skip(self.from).filter(Stop::is_untried);
        left.map(|stop| stop.candidate).collect()
    }

    fn ask(&mut self, index: usize, kind: AttemptKind, may_queue: bool, after: Duration) -> Option<Next> {
        let stop = self.stops.get_mut(index)?;
        stop.asked += 1;
        stop.could_queue |= may_queue;
        self.left -= 1;
        Some(Next { index, candidate: stop.candidate.clone(), kind, may_queue, after })
    }

    fn turn_to(&mut self, mut others: Vec<Candidate>) {
        self.from = self.stops.len();
        self.once_more = None;
        others.retain(|other| !self.stops.iter().any(|stop| stop.asked > 0 && stop.candidate == *other));
        leave_out(&mut others, self.most.saturating_sub(self.asked()));
        if let Some(first) = others.first() {
            self.current = Some(Arc::clone(&first.model));
        }
        self.stops.extend(others.into_iter().map(Stop::new));
    }

    fn asked(&self) -> usize {
        self.stops.iter().filter(|stop| stop.asked > 0).count()
    }

    /// Those that still count, with their indices.
    fn open(&self) -> impl Iterator<Item = (usize, &Stop)> {
        self.stops.iter().enumerate().skip(self.from)
    }

    /// Those of the model whose deployments are being asked.
    fn here(&self) -> impl Iterator<Item = (usize, &Stop)> {
        self.open().filter(|(_, stop)| Some(&stop.candidate.model) == self.current.as_ref())
    }

    fn untried_here(&self) -> Option<usize> {
        self.here().find(|(_, stop)| stop.is_untried()).map(|(index, _)| index)
    }

    fn untried(&self) -> Option<usize> {
        self.open().find(|(_, stop)| stop.is_untried()).map(|(index, _)| index)
    }

    /// Of the same model another one is left that works: nobody needs to wait here.
    fn has_other(&self, than: usize) -> bool {
        let is_there = |stop: &Stop| stop.is_untried() || (stop.is_spare && self.spare > 0);
        self.here()
            .any(|(index, stop)| index != than && is_there(stop) && !stop.candidate.deployment.is_down())
    }

    /// The first that had no place at once, and was not to be waited for: now there is nobody else.
    fn never_queued(&self) -> Option<usize> {
        let busy = |stop: &Stop| matches!(stop.failure, Some((Reason::EngineBusy, _))) && !stop.could_queue;
        self.here().find(|(_, stop)| busy(stop)).map(|(index, _)| index)
    }

    /// One that may well answer when it is asked again, and when: of several the one that was asked least.
    fn retry(&mut self, left: Option<Duration>, chance: f64) -> Option<(usize, Duration)> {
        if self.retried >= self.retrying.retries {
            return None;
        }
        let pause = back_off(self.retried, chance);
        let wait = |stop: &Stop| {
            let (reason, retry_after) = stop.failure?;
            // A connection that was closed is asked again at once, or not at all; a full queue is a full queue.
            let again = reason.remedy().again && !matches!(reason, Reason::EngineReset | Reason::EngineBusy);
            let asked_for = retry_after.unwrap_or_default();
            let wait = asked_for + pause;
            let in_time = left.is_none_or(|left| left >= wait + WORTH_WHILE);
            (again && asked_for <= self.retrying.retry_after_max && in_time).then_some(wait)
        };
        let (index, _, wait) = self
            .here()
            .filter_map(|(index, stop)| Some((index, stop.asked, wait(stop)?)))
            .min_by_key(|(_, asked, _)| *asked)?;
        self.retried += 1;
        Some((index, wait))
    }
}

/// Keeps `most` candidates in their order; where some have to go, those that are known not to work go first, so
/// that they do not take the place of a fallback that works. Of three and more the last place is for another model, if
/// there is one: many deployments that fail for one reason must not keep the request from where it can be answered.
fn leave_out(candidates: &mut Vec<Candidate>, most: usize) {
    let mut spare = candidates.len().saturating_sub(most);
    let mut index = candidates.len();
    while spare > 0 && index > 0 {
        index -= 1;
        if candidates.get(index).is_some_and(|candidate| candidate.deployment.is_down()) {
            candidates.remove(index);
            spare -= 1;
        }
    }
    let enough = most.min(candidates.len());
    let (kept, rest) = candidates.split_at_mut(enough);
    if let [first, _, .., last] = kept
        && last.model == first.model
        && let Some(other) = rest.iter_mut().find(|one| one.model != first.model)
    {
        std::mem::swap(last, other);
    }
    candidates.truncate(most);
}

#[cfg(test)]
mod tests;
