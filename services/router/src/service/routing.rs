//! `router.v1.Routing`, for operators.

use std::sync::Arc;

use penstock_chassis::CallContext;
use penstock_proto::{
    Error, Reason,
    auth::v1::Principal,
    router::v1::{
        ExplainRequest, ExplainResponse, GetDecisionRequest, GetDecisionResponse, ReloadRequest,
        ReloadResponse, routing_server::Routing,
    },
};
use tonic::{Request, Response, Status, metadata::MetadataMap};

use super::Router;

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
}

#[tonic::async_trait]
impl Routing for Router {
    async fn explain(&self, _: Request<ExplainRequest>) -> Result<Response<ExplainResponse>, Status> {
        Err(Error::new(Reason::Unimplemented, "not yet").into())
    }

    async fn get_decision(
        &self,
        _: Request<GetDecisionRequest>,
    ) -> Result<Response<GetDecisionResponse>, Status> {
        Err(Error::new(Reason::Unimplemented, "not yet").into())
    }

    async fn reload(&self, request: Request<ReloadRequest>) -> Result<Response<ReloadResponse>, Status> {
        let context = CallContext::of(&request);
        self.admin(&context, request.metadata()).await?;
        Ok(Response::new(self.read_again().await?))
    }
}
