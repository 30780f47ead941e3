//! The way of a request whose answer comes in one piece and is never kept.

use std::sync::Arc;

use penstock_chassis::CallContext;
use penstock_proto::{Error, auth::v1::Principal};
use tokio::time::Instant;
use tonic::{Request, Response, Status, metadata::MetadataMap};

use super::{Router, authorised, refused};
use crate::{
    accounting::{Account, BYPASS},
    admitted::Admitted,
    cache_policy::{Directives, Plan},
    principals::may_use,
    registry::{Candidate, Model},
    whole::Whole,
};

impl Router {
    /// The answer to a request whose answer comes in one piece.
    pub(super) async fn whole<R: Whole>(&self, request: Request<R>) -> Result<Response<R::Answer>, Status> {
        let started = Instant::now();
        let context = CallContext::of(&request);
        let (caller, _, request) = request.into_parts();
        let (principal, model, candidates, plan) = match self.check_whole(&context, &caller, &request).await {
            Ok(checked) => checked,
            Err(status) => return Err(refused(&context, status)),
        };
        let prompt_tokens = request.estimate();
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
            key: None,
            answer: None,
            started,
            first_content_after: None,
        });
        let limits = self.reserve_for(&mut record, &context, &principal, &model, prompt_tokens).await?.limits;
        let admitted = Admitted { context, model, stream: false, include_usage: true, plan, limits, record };
        admitted.ask_whole(&self.adapter, request, candidates, self.config.attempts).await
    }

    /// Whether such a request may be asked at all, of which model, and whom to ask.
    async fn check_whole<R: Whole>(
        &self,
        context: &CallContext,
        caller: &MetadataMap,
        request: &R,
    ) -> Result<(Arc<Principal>, Arc<str>, Vec<Candidate>, Plan), Status> {
        let principal = self.principal(context, caller).await?;
        let violations = request.violations();
        if !violations.is_empty() {
            return Err(Error::invalid(violations).into());
        }
        let registry = self.registry.load();
        let model = authorised(&registry, &principal, request.asked_model(&registry, &principal)?)?;
        let plan = Directives::of(caller)?.without_cache();
        let allowed = |model: &Model| may_use(&principal, &model.name, &model.name);
        // Here those are to be left out that are known to be unable to do it.
        let candidates = registry.candidates(model, allowed, fastrand::f64);
        Ok((Arc::clone(&principal), Arc::clone(&model.name), candidates, plan))
    }
}
