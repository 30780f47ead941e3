//! The gRPC face: finds the deployment, puts the request to its engine, and watches the answer go by. No
//! policy here: that is the router's.

mod call;

use std::{
    pin::Pin,
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures_util::{Stream, StreamExt as _};
use penstock_chassis::{CallContext, Reloader, Tasks};
use penstock_proto::{
    adapter::v1::{
        Breaker, Deployment as DeploymentReport, ListRequest, ListResponse, ReloadRequest, ReloadResponse,
        WatchRequest, WatchResponse, deployments_server::Deployments,
    },
    inference::v1::{
        Capabilities, CountTokensRequest, CountTokensResponse, EmbedRequest, EmbedResponse, GenerateRequest,
        ListModelsRequest, ListModelsResponse, Model, ModerateRequest, ModerateResponse,
        inference_server::Inference,
    },
    metadata::{DEPLOYMENT, QUEUE, TENANT, TOKENS},
};
use tokio::time::{Instant, timeout};
use tokio_stream::wrappers::WatchStream;
use tonic::{Request, Response, Status};

use self::call::{Call, Observed};
use crate::{
    admission::Claim,
    breaker::Phase,
    deployment::Deployment,
    error::Error,
    fleet::{Fleet, Table},
    metrics::EngineMetrics,
    tally::Tally,
    tokens,
    upstream::silent,
};

/// Both services of the adapter.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    pub(crate) fleet: Fleet,
    pub(crate) metrics: EngineMetrics,
    pub(crate) tasks: Tasks,
    pub(crate) reloader: Reloader,
    /// Unix seconds of the start: when the gateway first knew its models.
    pub(crate) created: i64,
}

#[tonic::async_trait]
impl Inference for Service {
    type GenerateStream = Observed;

    async fn generate(&self, request: Request<GenerateRequest>) -> Result<Response<Observed>, Status> {
        let (context, message, deployment, claim) = self.begin(request, |message| &message.model)?;
        let mut call = Call::begin(&deployment, claim, &self.fleet, &self.metrics).await?;
        // A plain answer has its own bound.
        let total = message.stream.then_some(deployment.terms.limits.total_timeout);
        let begun = timeout(total.unwrap_or(Duration::MAX), deployment.engine.generate(&message, &context));
        match begun.await.unwrap_or_else(|_| Err(silent().of(&deployment.id))) {
            Ok(answer) => Ok(Response::new(Observed::new(answer, call, Tally::new(message), total))),
            Err(error) => {
                call.end(Err(error.reason()));
                Err(error.into())
            }
        }
    }

    async fn embed(&self, request: Request<EmbedRequest>) -> Result<Response<EmbedResponse>, Status> {
        let (context, message, deployment, claim) = self.begin(request, |message| &message.model)?;
        let call = Call::begin(&deployment, claim, &self.fleet, &self.metrics).await?;
        let mut outcome = deployment.engine.embed(&message, &context).await;
        if let Ok(answer) = &mut outcome {
            let usage = answer.usage.get_or_insert_default();
            if usage.prompt_tokens <= 0 {
                call.estimated();
                usage.prompt_tokens = tokens::of_prompt(message.input).await;
                usage.total_tokens = usage.prompt_tokens;
                usage.estimated = true;
            }
        }
        call.whole(outcome)
    }

    async fn moderate(
        &self,
        request: Request<ModerateRequest>,
    ) -> Result<Response<ModerateResponse>, Status> {
        let (context, message, deployment, claim) =
            self.begin(request, |message| message.model.as_deref().unwrap_or_default())?;
        let call = Call::begin(&deployment, claim, &self.fleet, &self.metrics).await?;
        call.whole(deployment.engine.moderate(&message, &context).await)
    }

    async fn count_tokens(
        &self,
        request: Request<CountTokensRequest>,
    ) -> Result<Response<CountTokensResponse>, Status> {
        let (context, message, deployment, claim) =
            self.begin(request, |message| message.request.as_ref().map_or("", |asked| asked.model.as_str()))?;
        let asked = message.request.unwrap_or_default();
        let mut counted = None;
        // Whoever cannot count is not asked: an estimate waits for no place, and nobody has to be there.
        if deployment.engine.counts() {
            let call = Call::begin(&deployment, claim, &self.fleet, &self.metrics).await?;
            counted = call.counted(deployment.engine.count(&asked, &context).await)?;
        }
        let counted = match counted {
            Some(counted) => counted,
            None => CountTokensResponse { input_tokens: Tally::new(asked).prompt().await, estimated: true },
        };
        Ok(Response::new(counted))
    }

    async fn list_models(
        &self,
        request: Request<ListModelsRequest>,
    ) -> Result<Response<ListModelsResponse>, Status> {
        let table = self.fleet.table();
        let asked = request.into_inner().model;
        let mut models: Vec<Model> =
            table.all().iter().map(|deployment| self.model(deployment, &table)).collect();
        if let Some(name) = asked {
            models.retain(|model| model.id == name || model.aliases.contains(&name));
            if models.is_empty() {
                return Err(Error::NoDeployment(name).into());
            }
        }
        models.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(Response::new(ListModelsResponse { models }))
    }
}

impl Service {
    /// What a request says, the deployment that is to answer it, and who wants that.
    fn begin<T>(
        &self,
        request: Request<T>,
        model: impl Fn(&T) -> &str,
    ) -> Result<(CallContext, T, Arc<Deployment>, Claim), Status> {
        let context = CallContext::of(&request);
        let (metadata, _, message) = request.into_parts();
        let said = |key| metadata.get(key).and_then(|value| value.to_str().ok());
        let deployment = self.fleet.find(said(DEPLOYMENT), model(&message))?;
        let claim = Claim {
            tenant: said(TENANT).unwrap_or_default().to_owned(),
            tokens: said(TOKENS).and_then(|tokens| tokens.parse().ok()).unwrap_or(1),
            may_wait: said(QUEUE) != Some("no"),
            deadline: context.deadline(),
        };
        Ok((context, message, deployment, claim))
    }

    /// A deployment as a model: under its model's name where that is enough to name it, else under its id.
    fn model(&self, deployment: &Deployment, table: &Table) -> Model {
        let (id, model) = (deployment.id.to_string(), deployment.model.clone());
        let (id, aliases) = match table.is_only(deployment) {
            true if id != model => (model, vec![id]),
            _ => (id, Vec::new()),
        };
        Model {
            id,
            created: self.created,
            owned_by: deployment.dialect.to_owned(),
            aliases,
            capabilities: said(deployment),
            loaded: None,
        }
    }
}

/// What a deployment can do; `None`: nobody said anything.
fn said(deployment: &Deployment) -> Option<Capabilities> {
    Some(deployment.capabilities()).filter(|said| *said != Capabilities::default())
}

#[tonic::async_trait]
impl Deployments for Service {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<WatchResponse, Status>> + Send>>;

    async fn list(&self, _: Request<ListRequest>) -> Result<Response<ListResponse>, Status> {
        Ok(Response::new(ListResponse { deployments: reports(&self.fleet.table()) }))
    }

    async fn watch(&self, _: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        // An open watch would hold the server at shutdown for ever.
        let draining = self.tasks.draining().cancelled_owned();
        let changes = WatchStream::new(self.fleet.subscribe());
        let stream =
            changes.map(|table| Ok(WatchResponse { deployments: reports(&table) })).take_until(draining);
        Ok(Response::new(stream.boxed()))
    }

    async fn reload(&self, _: Request<ReloadRequest>) -> Result<Response<ReloadResponse>, Status> {
        let changed = self.reloader.reload().await?.changed;
        Ok(Response::new(ReloadResponse { changed }))
    }
}

fn reports(table: &Table) -> Vec<DeploymentReport> {
    table.all().iter().map(|deployment| report(deployment)).collect()
}

fn report(deployment: &Deployment) -> DeploymentReport {
    let (seen, shown) = (deployment.seen(), deployment.admission.shown());
    let retry_after = shown.open_until.map(|until| until.saturating_duration_since(Instant::now()));
    let breaker = match shown.phase {
        Phase::Closed => Breaker::Closed,
        Phase::HalfOpen => Breaker::HalfOpen,
        Phase::Open => Breaker::Open,
    };
    DeploymentReport {
        id: deployment.id.to_string(),
        engine: deployment.dialect.to_owned(),
        model: deployment.model.clone(),
        discovered: deployment.discovered,
        state: seen.state.into(),
        checked_at: seen.checked_at.map(SystemTime::into),
        in_flight: shown.in_flight,
        capabilities: said(deployment),
        detail: seen.detail,
        latency: seen.latency.and_then(|latency| latency.try_into().ok()),
        last_success_at: seen.last_success_at.map(SystemTime::into),
        loaded: deployment.loaded(),
        tags: deployment.terms.tags.clone(),
        price: deployment.terms.price,
        breaker: breaker.into(),
        retry_after: retry_after.and_then(|span| span.try_into().ok()),
        max_concurrent: deployment.admission.max_concurrent(),
        queued: u32::try_from(shown.queued).unwrap_or(u32::MAX),
        load_time: deployment.load_time().and_then(|span| span.try_into().ok()),
        counts_tokens: deployment.engine.counts(),
    }
}

#[cfg(test)]
mod tests;
