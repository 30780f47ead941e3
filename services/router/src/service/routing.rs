//! `router.v1.Routing`: why requests go where they go, for operators. A dry run takes the very way of a request up
//! to where somebody would be asked; nothing is asked of an engine, taken from a limit, or kept.

use std::sync::Arc;

use penstock_chassis::CallContext;
use penstock_proto::{
    Error, Reason, Violation,
    auth::v1::Principal,
    ratelimit::v1::{LimitState, PeekRequest},
    router::v1::{
        ExplainRequest, ExplainResponse, GetDecisionRequest, GetDecisionResponse, ReloadRequest,
        ReloadResponse, explain_request::Request as Asked, routing_server::Routing,
    },
};
use tokio::time::Instant;
use tonic::{Request, Response, Status, metadata::MetadataMap};

use super::{Router, refused, subject};
use crate::{decision::Decision, explain};

/// Scope of a key that may look into decisions and change what is in force.
const ADMIN: &str = "admin";

impl Router {
    async fn admin(&self, context: &CallContext, metadata: &MetadataMap) -> Result<Arc<Principal>, Status> {
        let principal = self.principals.of(context, metadata).await?;
        if principal.scopes.iter().any(|scope| scope == ADMIN) {
            Ok(principal)
        } else {
            Err(Error::new(Reason::PermissionDenied, "the API key lacks the scope `admin`").into())
        }
    }

    /// What would be decided, and why the request would be refused if it would.
    fn decide(
        &self,
        caller: &MetadataMap,
        asked: Asked,
        principal: &Arc<Principal>,
    ) -> Result<(Decision, Option<Reason>), Status> {
        let (route, decision) = match asked {
            Asked::Generate(request) => {
                let checked = self.judge(caller, request, Arc::clone(principal), true)?;
                (checked.route, checked.decision)
            }
            Asked::Embed(request) => {
                let checked = self.judge_whole(caller, &request, principal, true)?;
                (checked.route, checked.decision)
            }
            Asked::Moderate(request) => {
                let checked = self.judge_whole(caller, &request, principal, true)?;
                (checked.route, checked.decision)
            }
        };
        let refusal = match route {
            Ok(route) if route.candidates.is_empty() => Some(Reason::ModelUnavailable),
            Ok(_) => None,
            Err(error) => Some(error.reason),
        };
        Ok((decision, refusal))
    }

    /// The limits that apply, as they are; none, if the rate-limiter cannot be asked.
    async fn peek(&self, context: &CallContext, principal: &Principal, model: &str) -> Vec<LimitState> {
        let request = PeekRequest { subject: Some(subject(principal, model)) };
        let request = context.with_timeout(self.config.limiter_timeout).request(request);
        match self.limiter.clone().peek(request).await {
            Ok(answer) => answer.into_inner().limits,
            Err(status) => {
                tracing::debug!(code = %status.code(), "the rate-limiter cannot be asked");
                Vec::new()
            }
        }
    }
}

#[tonic::async_trait]
impl Routing for Router {
    async fn explain(&self, request: Request<ExplainRequest>) -> Result<Response<ExplainResponse>, Status> {
        let context = CallContext::of(&request);
        let (caller, _, request) = request.into_parts();
        let principal = self.admin(&context, &caller).await?;
        let asked = request.request.ok_or_else(|| {
            Error::invalid(vec![Violation::new("request", "is required: generate, embed or moderate")])
        })?;
        let (decision, refusal) =
            self.decide(&caller, asked, &principal).map_err(|status| refused(&context, status))?;
        let limits = self.peek(&context, &principal, &decision.model).await;
        let mut told = explain::dry_run(&decision, refusal, Instant::now());
        told.made_at = Some(std::time::SystemTime::now().into());
        context.request_id().clone_into(&mut told.request_id);
        Ok(Response::new(ExplainResponse { decision: Some(told), limits }))
    }

    async fn get_decision(
        &self,
        request: Request<GetDecisionRequest>,
    ) -> Result<Response<GetDecisionResponse>, Status> {
        let context = CallContext::of(&request);
        self.admin(&context, request.metadata()).await?;
        let trail = self.decisions.get(&request.get_ref().id).ok_or_else(|| {
            let message = "no decision of this id is kept here: it was another router's, or is too old";
            Error::new(Reason::NotFound, message)
        })?;
        let decision = Some(explain::kept(&trail));
        Ok(Response::new(GetDecisionResponse { decision }))
    }

    async fn reload(&self, request: Request<ReloadRequest>) -> Result<Response<ReloadResponse>, Status> {
        let context = CallContext::of(&request);
        self.admin(&context, request.metadata()).await?;
        Ok(Response::new(self.read_again().await?))
    }
}
