//! The way of a request whose answer comes in one piece and is never kept.

use std::sync::Arc;

use penstock_chassis::CallContext;
use penstock_proto::{Error, auth::v1::Principal};
use tokio::time::Instant;
use tonic::{Request, Response, Status, metadata::MetadataMap};

use super::{Router, refused};
use crate::{
    accounting::{Account, BYPASS},
    admitted::Admitted,
    attempts::Caller,
    cache_policy::{Directives, Plan},
    choose::{Asked, Decided, decide},
    decision::{Decision, Route, Steering},
    whole::Whole,
};

impl Router {
    /// The answer to a request whose answer comes in one piece.
    pub(super) async fn whole<R: Whole>(&self, request: Request<R>) -> Result<Response<R::Answer>, Status> {
        let started = Instant::now();
        let context = CallContext::of(&request);
        let (caller, _, request) = request.into_parts();
        let principal =
            self.principal(&context, &caller).await.map_err(|status| refused(&context, status))?;
        let Checked { model, route, decision, plan } = self
            .judge_whole(&caller, &request, &principal, false)
            .map_err(|status| refused(&context, status))?;
        let prompt_tokens = decision.prompt_tokens;
        let trail = self.decisions.keep(decision, context.request_id());
        let route = route.map_err(|error| refused(&context, trail.refuse(error)))?;
        // Before anything is taken, as in `answer`.
        let mut record = self.accounting.record(Account {
            context: context.clone(),
            principal: Arc::clone(&principal),
            model: Arc::clone(&model),
            deployment: String::new(),
            stream: false,
            cache: BYPASS,
            fallbacks: 0,
            reservation: String::new(),
            prompt_tokens,
            delivered_bytes: 0,
            usage: None,
            outcome: None,
            trail: trail.clone(),
            key: None,
            answer: None,
            started,
            first_content_after: None,
        });
        let reserved = self.reserve_for(&mut record, &context, &principal, &model, prompt_tokens).await;
        let limits = reserved.map_err(|status| trail.signed(status))?.limits;
        let (stream, include_usage, keep) = (false, true, None);
        let caller = Caller { context, tenant: principal.tenant.clone(), trail };
        let admitted = Admitted { caller, model, stream, include_usage, plan, limits, record, keep };
        admitted.ask_whole(&self.dispatch, request, route).await
    }

    /// What is to be done about such a request of `principal`; with `all`, of every deployment. Nobody is asked, and
    /// nothing is taken.
    pub(super) fn judge_whole<R: Whole>(
        &self,
        caller: &MetadataMap,
        request: &R,
        principal: &Principal,
        all: bool,
    ) -> Result<Checked, Status> {
        let violations = request.violations();
        if !violations.is_empty() {
            return Err(Error::invalid(violations).into());
        }
        let registry = self.registry.load();
        let name = request.asked_model(&registry, principal)?;
        let plan = Directives::of(caller)?.without_cache();
        let asked = Asked {
            needs: request.needs(),
            name,
            prompt_tokens: request.estimate(),
            completion_tokens: 0,
            principal,
            steering: &Steering::of(caller)?,
            request: request.counted(),
            counts: request.counted().is_some(),
            attempts: self.config.attempts,
            all,
        };
        let Decided { model, route, decision } = decide(&registry, &asked)?;
        Ok(Checked { model: Arc::clone(&model.name), route, decision, plan })
    }
}

/// Such a request that may be asked, if the limits allow it.
pub(super) struct Checked {
    /// The registered name of the model.
    model: Arc<str>,
    /// Whom to ask, in order, and why; or why nobody can be asked.
    pub(super) route: Result<Route, Error>,
    pub(super) decision: Decision,
    plan: Plan,
}
