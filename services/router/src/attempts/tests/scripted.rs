//! The adapter in this process that does as it is told, and what is asked of it.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use penstock_chassis::DoorConfig;
use penstock_proto::inference::v1::{
    Choice, CountTokensRequest, CountTokensResponse, Delta, EmbedRequest, EmbedResponse, GenerateChunk,
    GenerateRequest, GenerateResponse, ListModelsRequest, ListModelsResponse, ModerateRequest,
    ModerateResponse,
    inference_server::{Inference, InferenceServer},
};
use tonic::{Response, service::Routes};

use super::*;
use crate::{decision::Decision, decisions::Decisions, registry::Deployment};

/// What a deployment does about one call.
#[derive(Clone)]
pub(super) enum Step {
    Wait(u64),
    Say(&'static str),
    Finish(&'static str),
    Fail(Error),
    /// Nothing more, ever.
    Silence,
}
pub(super) use Step::*;

pub(super) fn fail(reason: Reason) -> Vec<Step> {
    vec![Fail(Error::new(reason, "x"))]
}

pub(super) fn fail_until(reason: Reason, milliseconds: u64) -> Vec<Step> {
    vec![Fail(Error::new(reason, "x").with_retry_after(Duration::from_millis(milliseconds)))]
}

pub(super) fn late(milliseconds: u64) -> Vec<Step> {
    vec![Wait(milliseconds), Say("late"), Finish("stop")]
}

/// An adapter: what each deployment is to do, call after call, then `Hello`; and who was asked, and who was left.
#[derive(Clone)]
pub(super) struct Adapter {
    pub(super) plays: Arc<Mutex<HashMap<String, VecDeque<Vec<Step>>>>>,
    pub(super) asked: Arc<Mutex<Vec<String>>>,
    pub(super) left: Arc<Mutex<Vec<String>>>,
    pub(super) began: Instant,
}

/// Says that a call was left before its end.
struct Leaving(Adapter, Option<String>);

impl Drop for Leaving {
    fn drop(&mut self) {
        self.0.left.lock().unwrap().extend(self.1.take());
    }
}

impl Adapter {
    pub(super) fn asked(&self) -> String {
        self.asked.lock().unwrap().join(" ")
    }

    pub(super) fn left(&self) -> String {
        self.left.lock().unwrap().join(" ")
    }

    /// Notes a call and says what to do about it.
    fn take<T>(&self, request: &Request<T>) -> (VecDeque<Step>, Leaving) {
        let key = |name| request.metadata().get(name).map(|value| value.to_str().unwrap().to_owned());
        let id = key(DEPLOYMENT).unwrap();
        let queue = if key(QUEUE).as_deref() == Some("no") { "!" } else { "" };
        self.asked.lock().unwrap().push(format!("{id}{queue}@{}", self.began.elapsed().as_millis()));
        let play = self.plays.lock().unwrap().get_mut(&id).and_then(VecDeque::pop_front);
        let play = play.unwrap_or_else(|| vec![Say("Hello"), Finish("stop")]);
        (play.into(), Leaving(self.clone(), Some(id)))
    }
}

pub(super) fn said(delta: &str, finish_reason: Option<&str>) -> GenerateResponse {
    let delta = Delta { content: Some(delta.into()), ..Delta::default() };
    let finish_reason = finish_reason.map(Into::into);
    let choice = Choice { delta: Some(delta), finish_reason, ..Choice::default() };
    GenerateResponse { chunks: vec![GenerateChunk { choices: vec![choice], ..GenerateChunk::default() }] }
}

#[tonic::async_trait]
impl Inference for Adapter {
    type GenerateStream = stream::BoxStream<'static, Result<GenerateResponse, Status>>;

    async fn generate(
        &self,
        request: Request<GenerateRequest>,
    ) -> Result<Response<Self::GenerateStream>, Status> {
        let (mut play, leaving) = self.take(&request);
        if let Some(Fail(error)) = play.front() {
            let status = Status::from(error.clone());
            play.clear();
            let _ = leaving;
            return Err(status);
        }
        let answer = stream::unfold((play, leaving), async |(mut play, mut leaving)| {
            loop {
                let message = match play.pop_front() {
                    None => {
                        leaving.1 = None;
                        return None;
                    }
                    Some(Wait(milliseconds)) => {
                        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
                        continue;
                    }
                    Some(Silence) => std::future::pending().await,
                    Some(Say(text)) => Ok(said(text, None)),
                    Some(Finish(reason)) => Ok(said("", Some(reason))),
                    Some(Fail(error)) => Err(error.into()),
                };
                return Some((message, (play, leaving)));
            }
        });
        Ok(Response::new(answer.boxed()))
    }

    async fn embed(&self, request: Request<EmbedRequest>) -> Result<Response<EmbedResponse>, Status> {
        let (play, mut leaving) = self.take(&request);
        for step in play {
            match step {
                Wait(milliseconds) => tokio::time::sleep(Duration::from_millis(milliseconds)).await,
                Silence => std::future::pending().await,
                Fail(error) => return Err(error.into()),
                Say(_) | Finish(_) => {}
            }
        }
        leaving.1 = None;
        Ok(Response::new(EmbedResponse::default()))
    }

    async fn moderate(&self, _: Request<ModerateRequest>) -> Result<Response<ModerateResponse>, Status> {
        Err(Status::unimplemented("not asked here"))
    }

    async fn count_tokens(
        &self,
        _: Request<CountTokensRequest>,
    ) -> Result<Response<CountTokensResponse>, Status> {
        Ok(Response::new(CountTokensResponse { input_tokens: 7, estimated: false }))
    }

    async fn list_models(
        &self,
        _: Request<ListModelsRequest>,
    ) -> Result<Response<ListModelsResponse>, Status> {
        Err(Status::unimplemented("not asked here"))
    }
}

/// A dispatch over an adapter, a caller, and a route `a`, `b`, `c` of the model `m`, then `z` of `n`.
pub(super) struct Bench {
    pub(super) dispatch: Dispatch,
    pub(super) adapter: Adapter,
    pub(super) caller: Caller,
    pub(super) route: Route,
    pub(super) chassis: Chassis,
}

pub(super) fn candidate(model: &str, id: &str) -> Candidate {
    let deployment = Deployment { id: id.into(), ..Deployment::default() };
    Candidate { model: model.into(), deployment: deployment.into() }
}

impl Bench {
    pub(super) fn new(ids: &[&str]) -> Self {
        let model = |id: &str| if id == "z" { "n" } else { "m" };
        let chassis = Chassis::default();
        let adapter = Adapter {
            plays: Arc::default(),
            asked: Arc::default(),
            left: Arc::default(),
            began: Instant::now(),
        };
        let channel = Channel::local(Routes::new(InferenceServer::new(adapter.clone())), &chassis);
        let retrying =
            Retrying { retries: 2, retry_after_max: Duration::from_secs(2), budget: 0.2, budget_min: 10 };
        let door = Door::new("router", DoorConfig::default(), &chassis);
        let mut dispatch = Dispatch::new(&channel, 4, retrying, door, &chassis);
        dispatch.chance = || 1.0;
        let candidates = ids.iter().map(|id| candidate(model(id), id)).collect();
        let caller = Caller {
            context: CallContext::background(Duration::from_secs(60)),
            tenant: "t".into(),
            trail: Decisions::new(1, Duration::from_secs(60)).keep(Decision::default(), "r"),
        };
        let route = Route { candidates, tokens: 7, ..Route::default() };
        Self { dispatch, adapter, caller, route, chassis }
    }

    /// With nothing to spare.
    pub(super) fn without_budget(mut self) -> Self {
        self.dispatch.budget = Arc::new(Mutex::new(Budget::new(0.0, 0, Instant::now())));
        self
    }

    pub(super) fn policy(mut self, policy: ModelConfig) -> Self {
        self.route.policy = Arc::new(policy);
        self
    }

    pub(super) fn hedging(self, milliseconds: u64) -> Self {
        let hedge = Some(Hedge::After(Duration::from_millis(milliseconds)));
        self.policy(ModelConfig { hedge, ..ModelConfig::default() })
    }

    pub(super) fn holding_back(self, chars: usize, milliseconds: u64) -> Self {
        let hold_back = HoldBack { chars, time: Duration::from_millis(milliseconds) };
        self.policy(ModelConfig { hold_back, ..ModelConfig::default() })
    }

    /// The next call to `id` goes so.
    pub(super) fn plays(self, id: &str, play: Vec<Step>) -> Self {
        self.adapter.plays.lock().unwrap().entry(id.into()).or_default().push_back(play);
        self
    }

    pub(super) async fn begin(&self) -> Result<Begun<GenerateRequest>, (Error, usize)> {
        let request = GenerateRequest { stream: true, ..GenerateRequest::default() };
        self.dispatch.begin(&self.caller, request, self.route.clone()).await
    }

    /// Who answered, what, and how many failed before; or why nobody did.
    pub(super) async fn ask(&self) -> Result<(String, String, usize), (Reason, usize)> {
        let begun = self.begin().await.map_err(|(error, failures)| (error.reason, failures))?;
        let (held_back, rest) = begun.answer;
        let messages = stream::iter(held_back).map(Ok).chain(rest);
        let text =
            messages.map(|message| message.map_or_else(|_| "<broken>".into(), |message| text(&[message])));
        Ok((begun.candidate.id().to_owned(), text.collect().await, begun.failures))
    }

    /// The attempts as they are noted.
    pub(super) fn noted(&self) -> String {
        let log = self.caller.trail.so_far();
        let noted = log.attempts.iter().map(|attempt| {
            let kind = attempt.kind.as_str_name().trim_start_matches("ATTEMPT_KIND_").to_lowercase();
            format!("{kind}:{}={}", attempt.candidate.id(), attempt.outcome.unwrap_or("?"))
        });
        noted.collect::<Vec<_>>().join(" ")
    }

    pub(super) fn measure(&self, line: &str) -> bool {
        self.chassis.metrics.encode().unwrap().lines().any(|known| known == line)
    }

    pub(super) fn load(&self, index: usize) -> &crate::load::Load {
        &self.route.candidates[index].deployment.load
    }
}

pub(super) fn text(messages: &[GenerateResponse]) -> String {
    let choices = messages.iter().flat_map(|message| &message.chunks).flat_map(|chunk| &chunk.choices);
    choices.filter_map(|choice| choice.delta.as_ref()?.content.as_deref()).collect()
}

pub(super) fn answered(
    id: &str,
    text: &str,
    failures: usize,
) -> Result<(String, String, usize), (Reason, usize)> {
    Ok((id.to_owned(), text.to_owned(), failures))
}
