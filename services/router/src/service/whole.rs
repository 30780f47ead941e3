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
        let (principal, model, route, decision, plan) =
            match self.check_whole(&context, &caller, &request).await {
                Ok(checked) => checked,
                Err(status) => return Err(refused(&context, status)),
            };
        let prompt_tokens = decision.prompt_tokens;
        let trail = self.decisions.keep(decision, context.request_id());
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
        let limits = self.reserve_for(&mut record, &context, &principal, &model, prompt_tokens).await?.limits;
        let (stream, include_usage, keep) = (false, true, None);
        let caller = Caller { context, tenant: principal.tenant.clone(), trail };
        let admitted = Admitted { caller, model, stream, include_usage, plan, limits, record, keep };
        admitted.ask_whole(&self.dispatch, request, route).await
    }

    /// Whether such a request may be asked at all, of which model, and whom to ask.
    async fn check_whole<R: Whole>(
        &self,
        context: &CallContext,
        caller: &MetadataMap,
        request: &R,
    ) -> Result<(Arc<Principal>, Arc<str>, Route, Decision, Plan), Status> {
        let principal = self.principal(context, caller).await?;
        let violations = request.violations();
        if !violations.is_empty() {
            return Err(Error::invalid(violations).into());
        }
        let registry = self.registry.load();
        let name = request.asked_model(&registry, &principal)?;
        let plan = Directives::of(caller)?.without_cache();
        let asked = Asked {
            needs: R::NEEDS,
            name,
            prompt_tokens: request.estimate(),
            completion_tokens: 0,
            principal: &principal,
            steering: &Steering::of(caller)?,
            request: None,
            attempts: self.config.attempts,
            all: false,
        };
        let Decided { model, route, decision } = decide(&registry, &asked)?;
        let route = route?;
        Ok((Arc::clone(&principal), Arc::clone(&model.name), route, decision, plan))
    }
}
