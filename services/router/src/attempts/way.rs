//! The way of one request from deployment to deployment.

use std::{pin::pin, sync::Arc, time::Duration};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use penstock_chassis::{Class, Pass};
use penstock_proto::{Error, Reason, router::v1::AttemptKind};
use tokio::time::sleep;
use tonic::Status;

use super::{
    Ask, Asking, Attempt, Begun, Caller, Dispatch,
    plan::{Next, Plan},
    verdict::{Verdict, is_unasked},
};
use crate::{
    budget::Withdrawal,
    config::{Hedge, ModelConfig},
    decision::Route,
    service::RETRY_AFTER,
};

pub(super) struct Way<'a, R> {
    dispatch: &'a Dispatch,
    caller: &'a Caller,
    request: R,
    streamed: bool,
    tokens: u64,
    policy: Arc<ModelConfig>,
    plan: Plan,
    verdict: Verdict,
    /// An engine was asked: what comes now is paid for by the budget.
    reached: bool,
    /// A second deployment was asked beside another.
    hedged: bool,
}

/// One that has its first content.
struct Winner<A> {
    next: Next,
    attempt: Attempt,
    answer: A,
}

impl<'a, R: Ask> Way<'a, R> {
    pub(super) fn new(dispatch: &'a Dispatch, caller: &'a Caller, request: R, route: Route) -> Self {
        Self {
            dispatch,
            caller,
            streamed: request.is_streamed(),
            request,
            tokens: route.tokens,
            policy: Arc::clone(&route.policy),
            plan: Plan::new(route, dispatch.most, &dispatch.retrying),
            verdict: Verdict::default(),
            reached: false,
            hedged: false,
        }
    }

    pub(super) async fn go(mut self) -> Result<Begun<R>, (Error, usize)> {
        let hold_back = self.policy.hold_back;
        let holds_back = hold_back.chars > 0 && self.streamed;
        while let Some(next) = self.plan.next(self.caller.context.remaining(), (self.dispatch.chance)()) {
            if !next.after.is_zero() {
                // Nobody waits for what cannot be paid for; it is paid for only after the pause, since the caller may
                // leave in it, and it counts when it is asked.
                if self.reached && !self.dispatch.can_withdraw() {
                    return Err(self.unpaid());
                }
                sleep(next.after).await;
            }
            let paid = if self.reached { self.dispatch.withdraw() } else { None };
            if self.reached && paid.is_none() {
                return Err(self.unpaid());
            }
            let Some(Winner { next, attempt, answer }) = self.ask(next, paid).await else { continue };
            let held = match holds_back {
                true => R::hold_back(answer, hold_back).await,
                false => Ok(answer),
            };
            match held {
                Ok(answer) => return Ok(self.begun(&next, attempt, answer)),
                Err(status) => self.failed(&next, attempt, &status),
            }
        }
        let past_deadline = self.caller.context.remaining().is_some_and(|left| left.is_zero());
        Err((self.verdict.into_error(past_deadline), self.plan.failures(None)))
    }

    /// The budget is used up.
    fn unpaid(self) -> (Error, usize) {
        let mut error = self.verdict.into_error(false);
        error.retry_after.get_or_insert(RETRY_AFTER);
        (error, self.plan.failures(None))
    }

    /// Asks one deployment, and where that is slow to begin another one beside it. `None`: none of them answered.
    async fn ask(&mut self, next: Next, paid: Option<Withdrawal>) -> Option<Winner<R::Answer>> {
        let hedge_after = self.hedge_after(&next);
        let (attempt, call) = self.begin(&next, paid);
        let Some(after) = hedge_after else {
            let (_, result) = call.await;
            return self.heard(next, attempt, result);
        };
        let mut pause = pin!(sleep(after));
        let mut waits = true;
        let mut calls = FuturesUnordered::from_iter([call]);
        let mut attempts = vec![(next, attempt)];
        // Held until one of them has answered.
        let mut passes = Vec::new();
        loop {
            tokio::select! {
                biased;
                Some((index, result)) = calls.next() => {
                    let at = attempts.iter().position(|(next, _)| next.index == index)?;
                    let (next, attempt) = attempts.swap_remove(at);
                    let is_hedge = next.kind == AttemptKind::Hedge;
                    if let Some(winner) = self.heard(next, attempt, result) {
                        if is_hedge {
                            self.dispatch.measures.hedge("won");
                        }
                        // Their calls are dropped with this function: the engines see them end.
                        attempts.into_iter().for_each(|(next, attempt)| self.lost(&next, attempt));
                        return Some(winner);
                    }
                    if is_hedge {
                        self.dispatch.measures.hedge("failed");
                    }
                    if attempts.is_empty() {
                        return None;
                    }
                }
                () = &mut pause, if waits => {
                    waits = false;
                    if let Some((next, paid, pass)) = self.hedge() {
                        passes.push(pass);
                        let (attempt, call) = self.begin(&next, Some(paid));
                        calls.push(call);
                        attempts.push((next, attempt));
                    }
                }
            }
        }
    }

    /// Begins a call: what is noted of it, and the call itself with the index of whom it goes to.
    fn begin(
        &mut self,
        next: &Next,
        paid: Option<Withdrawal>,
    ) -> (Attempt, impl Future<Output = (usize, Result<R::Answer, Status>)> + Send + use<'a, R>) {
        let attempt = Attempt::begin((self.caller, &next.candidate, next.kind), &self.request, paid);
        // The last attempt takes the request: a prompt may be large.
        let request = match self.plan.is_used_up() {
            true => std::mem::take(&mut self.request),
            false => self.request.clone(),
        };
        let (index, candidate, may_queue) = (next.index, next.candidate.clone(), next.may_queue);
        let (caller, tokens, adapter) = (self.caller, self.tokens, self.dispatch.adapter.clone());
        let call = async move {
            let asking = Asking { caller, candidate: &candidate, tokens, may_queue };
            (index, request.ask(adapter, &asking).await)
        };
        (attempt, call)
    }

    /// How long this deployment may take to begin before another one is asked beside it; `None`: as long as it will.
    fn hedge_after(&self, next: &Next) -> Option<Duration> {
        match self.policy.hedge? {
            _ if self.hedged => None,
            Hedge::P95 => next.candidate.deployment.load.times(self.streamed).p95(),
            Hedge::After(time) => Some(time),
        }
    }

    /// Whom to ask beside one that is slow, once for a request, and if the door and the budget allow it.
    fn hedge(&mut self) -> Option<(Next, Withdrawal, Pass)> {
        if !self.plan.can_hedge(self.caller.context.remaining()) {
            return None;
        }
        let pass = self.dispatch.door.enter(Class::Extra).ok()?;
        let paid = self.dispatch.withdraw()?;
        self.hedged = true;
        Some((self.plan.hedge()?, paid, pass))
    }

    fn heard(
        &mut self,
        next: Next,
        attempt: Attempt,
        result: Result<R::Answer, Status>,
    ) -> Option<Winner<R::Answer>> {
        match result {
            Ok(answer) if self.plan.minds_filters() && R::is_filtered(&answer) => {
                let refused = Error::new(Reason::ContentFiltered, "the engine's content filter refused");
                self.failed(&next, attempt, &refused.into());
                None
            }
            Ok(answer) => {
                self.reached = true;
                attempt.has_content();
                Some(Winner { next, attempt, answer })
            }
            Err(status) => {
                self.failed(&next, attempt, &status);
                None
            }
        }
    }

    fn failed(&mut self, next: &Next, attempt: Attempt, status: &Status) {
        let error = attempt.failed(self.dispatch, status);
        self.reached |= !is_unasked(error.reason);
        self.plan.failed(next.index, &error);
        self.verdict.hear(error);
    }

    fn lost(&self, next: &Next, attempt: Attempt) {
        if next.kind == AttemptKind::Hedge {
            self.dispatch.measures.hedge("lost");
        }
        attempt.lost();
    }

    fn begun(self, next: &Next, attempt: Attempt, answer: R::Answer) -> Begun<R> {
        attempt.won();
        let failures = self.plan.failures(Some(next.index));
        let asked = self.plan.reached(next.index);
        let request = (!self.plan.is_used_up()).then_some(self.request);
        let left = Route {
            candidates: self.plan.unasked(),
            policy: self.policy,
            tokens: self.tokens,
            ..Route::default()
        };
        Begun { candidate: next.candidate.clone(), request, answer, failures, asked, left }
    }
}
