//! Another mesh over gRPC: the same contract, with that mesh's policy behind it. Deadline, trace and request id
//! are carried on, dropping cancels, and a count of meshes ends the way of a request that goes in circles.

mod relay;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::{FutureExt as _, StreamExt as _, future::BoxFuture, stream};
use penstock_chassis::{CallContext, Channel, Chassis, MESSAGE_MAX_BYTES};
use penstock_proto::{
    Reason,
    inference::v1::{
        Capabilities, CountTokensRequest, CountTokensResponse, EmbedRequest, EmbedResponse, GenerateRequest,
        ListModelsRequest, ModerateRequest, ModerateResponse, inference_client::InferenceClient,
    },
    metadata::{AUTHORIZATION, CACHE_CONTROL, HOPS},
};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::{Instant, timeout, timeout_at};
use tonic::{
    Code, Request, Response, Status,
    metadata::{Ascii, MetadataValue},
};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use self::relay::Relay;
use super::{AnswerStream, Engine, deny::denied};
use crate::{
    answer::Answer,
    error::{Error, Fault},
    upstream::{COUNT_TIMEOUT, Limits, silent, unix_now},
};

/// Meshes that a request may go through: an edge, a region, a cluster, and one to spare.
const HOPS_MAX: u8 = 4;

/// A model of another mesh.
#[derive(Debug)]
pub(crate) struct Penstock {
    deployment: Arc<str>,
    model: String,
    credential: Option<MetadataValue<Ascii>>,
    deny: Vec<String>,
    limits: Limits,
    inference: InferenceClient<Channel>,
    health: HealthClient<Channel>,
    learnt: Mutex<Capabilities>,
}

impl Penstock {
    /// The model of that name at `endpoint`; `None`: that is no address, which the configuration has checked.
    pub(crate) fn new(
        deployment: Arc<str>,
        endpoint: &str,
        model: String,
        key: Option<&SecretString>,
        deny: Vec<String>,
        limits: Limits,
        chassis: &Chassis,
    ) -> Option<Self> {
        let channel = Channel::remote(endpoint, chassis).ok()?;
        let credential = key.and_then(|key| {
            let mut value = MetadataValue::try_from(format!("Bearer {}", key.expose_secret())).ok()?;
            value.set_sensitive(true);
            Some(value)
        });
        let inference = InferenceClient::new(channel.clone()).max_decoding_message_size(MESSAGE_MAX_BYTES);
        let health = HealthClient::new(channel);
        let learnt = Mutex::default();
        Some(Self { deployment, model, credential, deny, limits, inference, health, learnt })
    }

    /// A call of the other mesh.
    fn request<T>(&self, message: T, context: &CallContext) -> Result<Request<T>, Fault> {
        let hops = context.hops().saturating_add(1);
        if hops > HOPS_MAX {
            let what = "the request has gone through too many meshes: one is an engine of its own";
            // No word against the deployment: any caller can write such a number.
            return Err(Fault::new(Reason::ModelUnavailable, what));
        }
        let mut request = context.request(message);
        let metadata = request.metadata_mut();
        metadata.insert(HOPS, u16::from(hops).into());
        // There all our callers are one tenant: a cache of theirs would give one the answers of another (B10).
        metadata.insert(CACHE_CONTROL, MetadataValue::from_static("no-cache, no-store"));
        if let Some(credential) = &self.credential {
            metadata.insert(AUTHORIZATION, credential.clone());
        }
        Ok(request)
    }

    async fn answer(&self, request: &GenerateRequest, context: &CallContext) -> Result<AnswerStream, Error> {
        denied(&request.extensions, &[], &self.deny).map_err(Error::Request)?;
        // The caller's own mesh keeps what is to be kept.
        let mut message = GenerateRequest {
            model: self.model.clone(),
            store: None,
            metadata: None,
            response: None,
            ..request.clone()
        };
        if request.stream {
            message.stream_options.get_or_insert_default().include_usage = Some(true);
        }
        let limits = self.limits;
        let patience = if request.stream { limits.first_token_timeout } else { limits.answer_timeout };
        let deadline = Instant::now() + patience;
        let message = self.request(message, context).map_err(|fault| fault.of(&self.deployment))?;
        let mut client = self.inference.clone();
        let asked = timeout_at(deadline, client.generate(message)).await;
        let chunks = self.outcome(asked.map_err(|_| silent()))?;
        let answer = Answer::new(request, unix_now());
        let relay = Relay::new(chunks, answer, Arc::clone(&self.deployment), deadline, limits.stall_timeout);
        Ok(stream::unfold(relay, Relay::next).boxed())
    }

    fn outcome<T>(&self, outcome: Result<Result<Response<T>, Status>, Fault>) -> Result<T, Error> {
        match outcome {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(relay::error(&status, &self.deployment)),
            Err(fault) => Err(fault.of(&self.deployment)),
        }
    }

    /// Whether the mesh serves and has the model.
    async fn look(&self, at_most: Duration) -> Result<Duration, Fault> {
        let began = Instant::now();
        let context = CallContext::background(at_most);
        let health = context.request(HealthCheckRequest::default());
        let list = self.request(ListModelsRequest { model: Some(self.model.clone()) }, &context)?;
        let (mut health_client, mut client) = (self.health.clone(), self.inference.clone());
        let both = futures_util::future::join(health_client.check(health), client.list_models(list));
        let (health, list) = timeout(at_most, both).await.map_err(|_| silent())?;
        let latency = began.elapsed();
        match health.map(|health| health.into_inner().status()) {
            Ok(ServingStatus::Serving) => {}
            Ok(_) => {
                return Err(Fault::new(Reason::EngineUnreachable, "the mesh says that it does not serve"));
            }
            // It does not speak of health.
            Err(status) if status.code() == Code::Unimplemented => {}
            Err(status) => return Err(relay::fault(&status)),
        }
        let models = list.map_err(|status| relay::fault(&status))?.into_inner().models;
        let said = models.first().and_then(|model| model.capabilities).unwrap_or_default();
        *self.learnt.lock().unwrap_or_else(PoisonError::into_inner) = said;
        Ok(latency)
    }
}

impl Engine for Penstock {
    fn generate<'a>(
        &'a self,
        request: &'a GenerateRequest,
        context: &'a CallContext,
    ) -> BoxFuture<'a, Result<AnswerStream, Error>> {
        self.answer(request, context).boxed()
    }

    fn embed<'a>(
        &'a self,
        request: &'a EmbedRequest,
        context: &'a CallContext,
    ) -> BoxFuture<'a, Result<EmbedResponse, Error>> {
        async move {
            denied(&request.extensions, &[], &self.deny).map_err(Error::Request)?;
            let message = EmbedRequest { model: self.model.clone(), ..request.clone() };
            let message = self.request(message, context).map_err(|fault| fault.of(&self.deployment))?;
            let mut client = self.inference.clone();
            let asked = timeout(self.limits.answer_timeout, client.embed(message)).await;
            let answer = self.outcome(asked.map_err(|_| silent()))?;
            Ok(EmbedResponse { model: request.model.clone(), ..answer })
        }
        .boxed()
    }

    fn moderate<'a>(
        &'a self,
        request: &'a ModerateRequest,
        context: &'a CallContext,
    ) -> BoxFuture<'a, Result<ModerateResponse, Error>> {
        async move {
            denied(&request.extensions, &[], &self.deny).map_err(Error::Request)?;
            let message = ModerateRequest { model: Some(self.model.clone()), ..request.clone() };
            let message = self.request(message, context).map_err(|fault| fault.of(&self.deployment))?;
            let mut client = self.inference.clone();
            let asked = timeout(self.limits.answer_timeout, client.moderate(message)).await;
            let answer = self.outcome(asked.map_err(|_| silent()))?;
            Ok(ModerateResponse { model: request.model.clone().unwrap_or_default(), ..answer })
        }
        .boxed()
    }

    fn counts(&self) -> bool {
        true
    }

    fn count<'a>(
        &'a self,
        request: &'a GenerateRequest,
        context: &'a CallContext,
    ) -> BoxFuture<'a, Result<Option<CountTokensResponse>, Error>> {
        async move {
            denied(&request.extensions, &[], &self.deny).map_err(Error::Request)?;
            let request = Some(GenerateRequest { model: self.model.clone(), ..request.clone() });
            let message = self
                .request(CountTokensRequest { request }, context)
                .map_err(|fault| fault.of(&self.deployment))?;
            let mut client = self.inference.clone();
            match timeout(COUNT_TIMEOUT, client.count_tokens(message)).await {
                // One of before there was such a call.
                Ok(Err(status)) if status.code() == Code::Unimplemented => Ok(None),
                asked => {
                    let counted = self.outcome(asked.map_err(|_| silent()))?;
                    Ok(Some(counted).filter(|counted| counted.input_tokens > 0))
                }
            }
        }
        .boxed()
    }

    fn check(&self, timeout: Duration) -> BoxFuture<'_, Result<Duration, Fault>> {
        self.look(timeout).boxed()
    }

    fn capabilities(&self) -> Capabilities {
        *self.learnt.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
