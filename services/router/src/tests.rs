//! The router by its generated client, before an adapter that says what its deployments can do: who is asked,
//! and what is said when nobody can.

use std::{
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use penstock_chassis::{
    CallContext, Channel, Chassis, Live, Reloader,
    config::{Document, Environment},
};
use penstock_proto::{
    Error, Reason,
    adapter::v1::{
        Deployment, ListRequest, ListResponse, ReloadRequest, ReloadResponse, WatchRequest, WatchResponse,
        deployments_server::{Deployments, DeploymentsServer},
    },
    auth::v1::{
        AuthenticateRequest, AuthenticateResponse, Principal, WatchRevocationsRequest,
        WatchRevocationsResponse,
        auth_server::{Auth, AuthServer},
    },
    inference::v1::{
        Capabilities, ChatInput, Choice, CountTokensRequest, CountTokensResponse, EmbedRequest,
        EmbedResponse, GenerateChunk, GenerateRequest, GenerateResponse, ListModelsRequest,
        ListModelsResponse, Message, ModerateRequest, ModerateResponse, Prompt, TextInput,
        generate_request::Input,
        inference_client::InferenceClient,
        inference_server::{Inference, InferenceServer},
        message::Content,
        prompt,
    },
    metadata::{AUTHORIZATION, DEPLOYMENT},
    status::v1::State,
};
use tokio_stream::{Stream, StreamExt as _, iter, pending};
use tonic::{Request, Response, Status, service::Routes};

use crate::{Channels, Config, start};

type Streamed<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Everybody may do everything.
struct Anybody;

#[tonic::async_trait]
impl Auth for Anybody {
    type WatchRevocationsStream = Streamed<WatchRevocationsResponse>;

    async fn authenticate(
        &self,
        _: Request<AuthenticateRequest>,
    ) -> Result<Response<AuthenticateResponse>, Status> {
        let scopes = vec!["inference".to_owned()];
        let principal =
            Some(Principal { key_id: "k".into(), tenant: "t".into(), scopes, ..Principal::default() });
        Ok(Response::new(AuthenticateResponse { principal, valid_for: None }))
    }

    async fn watch_revocations(
        &self,
        _: Request<WatchRevocationsRequest>,
    ) -> Result<Response<Self::WatchRevocationsStream>, Status> {
        Ok(Response::new(Box::pin(pending())))
    }
}

/// Deployments with these capabilities, which answer everything, and note who was asked.
#[derive(Clone)]
struct Adapter {
    deployments: Vec<Deployment>,
    asked: Arc<Mutex<Vec<String>>>,
}

#[tonic::async_trait]
impl Deployments for Adapter {
    type WatchStream = Streamed<WatchResponse>;

    async fn list(&self, _: Request<ListRequest>) -> Result<Response<ListResponse>, Status> {
        Ok(Response::new(ListResponse { deployments: self.deployments.clone() }))
    }

    async fn watch(&self, _: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let now = WatchResponse { deployments: self.deployments.clone() };
        Ok(Response::new(Box::pin(iter([Ok(now)]).chain(pending()))))
    }

    async fn reload(&self, _: Request<ReloadRequest>) -> Result<Response<ReloadResponse>, Status> {
        Err(Status::unimplemented("not asked here"))
    }
}

#[tonic::async_trait]
impl Inference for Adapter {
    type GenerateStream = Streamed<GenerateResponse>;

    async fn generate(
        &self,
        request: Request<GenerateRequest>,
    ) -> Result<Response<Self::GenerateStream>, Status> {
        let deployment = request.metadata().get(DEPLOYMENT).unwrap().to_str().unwrap().to_owned();
        self.asked.lock().unwrap().push(deployment);
        let choice = Choice { finish_reason: Some("stop".into()), ..Choice::default() };
        let chunk = GenerateChunk { choices: vec![choice], ..GenerateChunk::default() };
        Ok(Response::new(Box::pin(iter([Ok(GenerateResponse { chunks: vec![chunk] })]))))
    }

    async fn embed(&self, _: Request<EmbedRequest>) -> Result<Response<EmbedResponse>, Status> {
        Err(Status::unimplemented("not asked here"))
    }

    async fn moderate(&self, _: Request<ModerateRequest>) -> Result<Response<ModerateResponse>, Status> {
        Err(Status::unimplemented("not asked here"))
    }

    async fn count_tokens(
        &self,
        _: Request<CountTokensRequest>,
    ) -> Result<Response<CountTokensResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn list_models(
        &self,
        _: Request<ListModelsRequest>,
    ) -> Result<Response<ListModelsResponse>, Status> {
        Err(Status::unimplemented("not asked here"))
    }
}

struct Mesh {
    router: InferenceClient<Channel>,
    asked: Arc<Mutex<Vec<String>>>,
    /// Its tasks end with it.
    _chassis: Chassis,
}

impl Mesh {
    /// A router over deployments `a`, `b`, … of the model `m`, asked in this order.
    async fn new(capabilities: &[Option<Capabilities>]) -> Self {
        let chassis = Chassis::default();
        let deployment = |(capabilities, id): (&Option<Capabilities>, char)| Deployment {
            id: id.into(),
            engine: "openai".into(),
            model: "m".into(),
            capabilities: *capabilities,
            ..Deployment::default()
        };
        let deployments: Vec<_> = capabilities.iter().zip('a'..).map(deployment).collect();
        let ids: Vec<_> = deployments.iter().map(|deployment| deployment.id.clone()).collect();
        let targets: Vec<_> =
            ids.iter().zip(1..).map(|(id, n)| format!("{{id='{id}', priority={n}}}")).collect();
        let text = format!("[[models]]\nname='m'\ndeployments=[{}]", targets.join(","));
        let mut document = Document::parse(Some(&text), Environment::default()).unwrap();
        let mut section = document.section("router");
        let config = Config::read(&mut section, &mut document, &ids);
        drop(section);
        document.finish().unwrap();
        let adapter = Adapter { deployments, asked: Arc::default() };
        let asked = Arc::clone(&adapter.asked);
        let routes =
            Routes::new(DeploymentsServer::new(adapter.clone())).add_service(InferenceServer::new(adapter));
        let nobody = Channel::local(Routes::default(), &chassis);
        let channels = Channels {
            auth: Channel::local(Routes::new(AuthServer::new(Anybody)), &chassis),
            rate_limiter: nobody.clone(),
            cache: nobody,
            inference_adapter: Channel::local(routes, &chassis),
        };
        let router = Channel::local(
            start(config, Live::default(), Reloader::default(), &channels, &chassis),
            &chassis,
        );
        // Until the first report nothing is known of anybody.
        while !is_up(&chassis, "models") {
            tokio::task::yield_now().await;
        }
        Self { router: InferenceClient::new(router), asked, _chassis: chassis }
    }

    async fn list(&self) -> Option<Capabilities> {
        let answer =
            self.router.clone().list_models(request(ListModelsRequest { model: None })).await.unwrap();
        answer.into_inner().models[0].capabilities
    }

    /// Who answered, or why nobody was asked.
    async fn ask(&self, message: GenerateRequest) -> Result<String, Error> {
        self.asked.lock().unwrap().clear();
        let result = self.router.clone().generate(request(message)).await;
        let asked = self.asked.lock().unwrap().clone();
        match result {
            Ok(_) => Ok(asked.join(",")),
            Err(status) => {
                assert_eq!(asked, Vec::<String>::new(), "nobody is asked for what nobody can do");
                Err(Error::from(&status))
            }
        }
    }
}

fn is_up(chassis: &Chassis, component: &str) -> bool {
    let report = chassis.health.report();
    report.components.iter().any(|known| known.name == component && known.state() == State::Up)
}

fn request<T>(message: T) -> Request<T> {
    let mut request = CallContext::background(Duration::from_secs(10)).request(message);
    request.metadata_mut().insert(AUTHORIZATION, "Bearer k".parse().unwrap());
    request
}

fn chat() -> GenerateRequest {
    let message =
        Message { role: "user".into(), content: Some(Content::Text("x".into())), ..Message::default() };
    let input = Some(Input::Chat(ChatInput { messages: vec![message] }));
    GenerateRequest { model: "m".into(), input, ..GenerateRequest::default() }
}

fn text() -> GenerateRequest {
    let prompt = Some(Prompt { kind: Some(prompt::Kind::Text("x".into())) });
    let input = Some(Input::Text(TextInput { prompt, ..TextInput::default() }));
    GenerateRequest { input, ..chat() }
}

#[tokio::test]
async fn who_cannot_is_passed_over_and_what_is_unknown_is_tried() {
    let cannot =
        Capabilities { multiple_choices: Some(false), logprobs: Some(false), ..Capabilities::default() };
    let mesh = Mesh::new(&[Some(cannot), None]).await;
    assert_eq!(mesh.ask(chat()).await.unwrap(), "a");
    assert_eq!(mesh.ask(GenerateRequest { n: Some(2), ..chat() }).await.unwrap(), "b");
    assert_eq!(mesh.ask(GenerateRequest { logprobs: Some(true), ..chat() }).await.unwrap(), "b");
    assert_eq!(mesh.ask(text()).await.unwrap(), "a");
}

#[tokio::test]
async fn what_nobody_can_do_is_refused_by_name_and_nobody_is_asked() {
    let cannot = Capabilities {
        completions: Some(false),
        multiple_choices: Some(false),
        logprobs: Some(false),
        ..Capabilities::default()
    };
    let mesh = Mesh::new(&[Some(cannot), Some(Capabilities { logprobs: Some(true), ..cannot })]).await;
    let asked = GenerateRequest { n: Some(2), logprobs: Some(true), ..chat() };
    let error = mesh.ask(asked).await.unwrap_err();
    assert_eq!(error.reason, Reason::Unsupported);
    let fields: Vec<_> = error.violations.iter().map(|violation| violation.field.as_str()).collect();
    assert_eq!(fields, ["n"], "the other one could give log probabilities");
    let error = mesh.ask(text()).await.unwrap_err();
    assert_eq!(error.reason, Reason::NotOffered);
    assert!(error.message.contains("completions"), "{error:?}");
}

#[tokio::test]
async fn a_model_can_what_one_of_its_deployments_can() {
    let one = Capabilities {
        tools: Some(true),
        vision: Some(false),
        context_tokens: Some(4096),
        ..Capabilities::default()
    };
    let other = Capabilities {
        tools: Some(false),
        vision: Some(false),
        context_tokens: Some(8192),
        ..Capabilities::default()
    };
    let mesh = Mesh::new(&[Some(one), Some(other)]).await;
    assert_eq!(mesh.list().await, Some(Capabilities { context_tokens: Some(8192), ..one }));
    assert_eq!(Mesh::new(&[None]).await.list().await, None);
}
