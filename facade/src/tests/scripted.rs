//! A router that answers as it is told and keeps what reached it, and a client for the facade before it.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, Method, Request, StatusCode},
};
use futures_util::{Stream, stream};
use http_body_util::BodyExt as _;
use penstock_chassis::{CallContext, Channel, Chassis};
use penstock_proto::{
    Error, Reason,
    inference::v1::{
        Choice, CountTokensRequest, CountTokensResponse, Delta, EmbedRequest, EmbedResponse, GenerateChunk,
        GenerateRequest, GenerateResponse, ListModelsRequest, ListModelsResponse, Model, ModerateRequest,
        ModerateResponse,
        inference_server::{Inference, InferenceServer},
    },
    router::v1::{
        ExplainRequest, ExplainResponse, GetDecisionRequest, GetDecisionResponse, ReloadRequest,
        ReloadResponse,
        routing_server::{Routing, RoutingServer},
    },
};
use serde_json::Value;
use tonic::{Response, Status, service::Routes};
use tower::ServiceExt as _;

use crate::{Config, start};

pub(crate) const SERVICE: &str = "penstock.inference.v1.Inference";

/// What the scripted router is to do.
#[derive(Clone, Debug)]
pub(crate) enum Script {
    Answer(Vec<GenerateResponse>),
    /// Messages, then this status.
    Break(Vec<GenerateResponse>, Status),
    Refuse(Status),
    Panic,
    /// No answer; counts when it is dropped.
    Hang,
}

#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) generate: Mutex<Vec<(GenerateRequest, HeaderMap)>>,
    pub(crate) remaining: Mutex<Option<Duration>>,
    pub(crate) dropped: AtomicUsize,
    /// Metadata of the calls of operators.
    pub(crate) routing: Mutex<Vec<HeaderMap>>,
    /// Calls that list models.
    pub(crate) lists: AtomicUsize,
}

#[derive(Clone, Debug)]
struct Scripted {
    script: Script,
    seen: Arc<Seen>,
}

struct OnDrop(Arc<Seen>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

#[tonic::async_trait]
impl Inference for Scripted {
    type GenerateStream = Pin<Box<dyn Stream<Item = Result<GenerateResponse, Status>> + Send>>;

    async fn generate(
        &self,
        request: tonic::Request<GenerateRequest>,
    ) -> Result<Response<Self::GenerateStream>, Status> {
        let guard = OnDrop(Arc::clone(&self.seen));
        *self.seen.remaining.lock().unwrap() = CallContext::of(&request).remaining();
        let (metadata, _, message) = request.into_parts();
        self.seen.generate.lock().unwrap().push((message, metadata.into_headers()));
        let (messages, end) = match self.script.clone() {
            Script::Answer(messages) => (messages, None),
            Script::Break(messages, status) => (messages, Some(status)),
            Script::Refuse(status) => return Err(status),
            Script::Panic => panic!("scripted"),
            Script::Hang => {
                std::future::pending::<()>().await;
                drop(guard);
                (vec![], None)
            }
        };
        let messages = messages.into_iter().map(Ok).chain(end.map(Err));
        let mut response = Response::new(Box::pin(stream::iter(messages)) as Self::GenerateStream);
        let metadata = response.metadata_mut();
        metadata.insert("x-penstock-model", "m-real".parse().unwrap());
        metadata.insert("x-ratelimit-remaining-requests", "59".parse().unwrap());
        metadata.insert("x-internal", "secret".parse().unwrap());
        Ok(response)
    }

    async fn embed(&self, _: tonic::Request<EmbedRequest>) -> Result<Response<EmbedResponse>, Status> {
        Err(Error::new(Reason::NotOffered, "no vectors here").into())
    }

    async fn moderate(
        &self,
        _: tonic::Request<ModerateRequest>,
    ) -> Result<Response<ModerateResponse>, Status> {
        Err(Error::new(Reason::NotOffered, "no judgements here").into())
    }

    async fn count_tokens(
        &self,
        _: tonic::Request<CountTokensRequest>,
    ) -> Result<Response<CountTokensResponse>, Status> {
        Ok(Response::new(CountTokensResponse { input_tokens: 7, estimated: true }))
    }

    async fn list_models(
        &self,
        request: tonic::Request<ListModelsRequest>,
    ) -> Result<Response<ListModelsResponse>, Status> {
        let is_first = self.seen.lists.fetch_add(1, Ordering::Relaxed) == 0;
        let key = request.metadata().get("authorization").and_then(|key| key.to_str().ok());
        let of_one = match key {
            Some("Bearer wrong") => return Err(Error::new(Reason::InvalidApiKey, "no such key").into()),
            Some("Bearer revoked-soon") if !is_first => {
                return Err(Error::new(Reason::InvalidApiKey, "no such key").into());
            }
            Some("Bearer good-soon") if is_first => {
                return Err(Error::new(Reason::InvalidApiKey, "no such key").into());
            }
            Some("Bearer unchecked") => return Err(Error::new(Reason::ServiceUnavailable, "no auth").into()),
            Some("Bearer hanging") => std::future::pending().await,
            key => key == Some("Bearer of-one"),
        };
        let model = |id: &str| Model {
            id: id.into(),
            created: 7,
            owned_by: "penstock".into(),
            aliases: vec![],
            capabilities: None,
            loaded: None,
        };
        let models = match request.into_inner().model {
            None if of_one => vec![Model { aliases: vec!["gpt".into()], ..model("m") }],
            None => vec![model("a/b:c"), Model { aliases: vec!["gpt".into()], ..model("m") }],
            Some(id) if id == "a/b:c" => vec![model(&id)],
            Some(_) => return Err(Error::new(Reason::ModelNotFound, "no model has that name").into()),
        };
        Ok(Response::new(ListModelsResponse { models }))
    }
}

impl Scripted {
    fn note<T>(&self, request: tonic::Request<T>) -> T {
        let (metadata, _, message) = request.into_parts();
        self.seen.routing.lock().unwrap().push(metadata.into_headers());
        message
    }
}

#[tonic::async_trait]
impl Routing for Scripted {
    async fn explain(
        &self,
        request: tonic::Request<ExplainRequest>,
    ) -> Result<Response<ExplainResponse>, Status> {
        self.note(request);
        Ok(Response::new(crate::admin::tests::full()))
    }

    async fn get_decision(
        &self,
        request: tonic::Request<GetDecisionRequest>,
    ) -> Result<Response<GetDecisionResponse>, Status> {
        let decision = crate::admin::tests::full().decision.filter(|one| one.id == self.note(request).id);
        let decision = decision.ok_or_else(|| Error::new(Reason::NotFound, "no such decision"))?;
        Ok(Response::new(GetDecisionResponse { decision: Some(decision) }))
    }

    async fn reload(
        &self,
        request: tonic::Request<ReloadRequest>,
    ) -> Result<Response<ReloadResponse>, Status> {
        self.note(request);
        Ok(Response::new(ReloadResponse { changed: true, needs_restart: vec!["facade".into()] }))
    }
}

/// The facade before the scripted router.
pub(crate) struct Facade {
    pub(crate) routes: Router,
    pub(crate) seen: Arc<Seen>,
    pub(crate) chassis: Chassis,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

impl Facade {
    pub(crate) fn new(script: Script) -> Self {
        Self::with(script, Config { body_max_bytes: 4096, ..Config::default() })
    }

    pub(crate) fn with(script: Script, config: Config) -> Self {
        let chassis = Chassis::default();
        let seen = Arc::new(Seen::default());
        let router = Scripted { script, seen: Arc::clone(&seen) };
        let routes =
            Routes::new(InferenceServer::new(router.clone())).add_service(RoutingServer::new(router));
        let channel = Channel::local(routes, &chassis);
        let routes = start(config, channel.clone(), vec![(SERVICE, channel)], &chassis);
        Self { routes, seen, chassis }
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let (head, body) = self.routes.clone().oneshot(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let body = String::from_utf8(body.to_vec()).unwrap();
        Answer { status: head.status, headers: head.headers, body }
    }

    pub(crate) async fn ask(&self, method: Method, path: &str) -> Answer {
        self.send(Request::builder().method(method).uri(path).body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path).await
    }

    pub(crate) async fn chat(&self, body: impl Into<Body>, headers: &[(&str, &str)]) -> Answer {
        self.send(chat(body, headers)).await
    }
}

/// A request with a credential, unless the headers say otherwise.
pub(crate) fn chat(body: impl Into<Body>, headers: &[(&str, &str)]) -> Request<Body> {
    let mut request = Request::post("/v1/chat/completions");
    if headers.iter().all(|(name, _)| *name != "authorization") {
        request = request.header("authorization", "Bearer k");
    }
    headers
        .iter()
        .fold(request, |request, (name, value)| request.header(*name, *value))
        .body(body.into())
        .unwrap()
}

/// A chunk with one choice.
pub(crate) fn chunk(content: &str, finish_reason: Option<&str>) -> GenerateChunk {
    let delta = Delta { content: Some(content.into()), ..Delta::default() };
    let choice =
        Choice { delta: Some(delta), finish_reason: finish_reason.map(Into::into), ..Choice::default() };
    GenerateChunk {
        id: "c".into(),
        created: 7,
        model: "m".into(),
        choices: vec![choice],
        ..GenerateChunk::default()
    }
}

pub(crate) fn message(chunks: Vec<GenerateChunk>) -> GenerateResponse {
    GenerateResponse { chunks }
}

/// An answer in two pieces.
pub(crate) fn answer() -> Script {
    Script::Answer(vec![message(vec![chunk("a", None)]), message(vec![chunk("b", Some("stop"))])])
}

/// An answer in one piece.
pub(crate) fn plain_answer() -> Script {
    Script::Answer(vec![message(vec![chunk("ab", Some("stop"))])])
}
