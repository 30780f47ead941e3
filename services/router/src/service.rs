//! The `Inference` service with policy: authenticate → authorise → validate → reserve ∥ look up → ask.

mod reloading;
mod routing;
mod whole;

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwap;
use penstock_chassis::{CallContext, Channel, Chassis, Door, Live, MESSAGE_MAX_BYTES, Reloader};
use penstock_proto::{
    Error, Reason, Violation,
    auth::v1::Principal,
    cache::v1::{Entry, EntryKey, LookupRequest, cache_client::CacheClient},
    fingerprint::fingerprint,
    inference::v1::{
        CountTokensRequest, CountTokensResponse, EmbedRequest, EmbedResponse, GenerateRequest,
        ListModelsRequest, ListModelsResponse, Model as ModelMessage, ModerateRequest, ModerateResponse,
        generate_request::Input, inference_server::Inference,
    },
    metadata,
    ratelimit::v1::{ReserveRequest, ReserveResponse, Subject, rate_limiter_client::RateLimiterClient},
    validate,
};
use prometheus_client::metrics::counter::Counter;
use tokio::time::Instant;
use tonic::{Request, Response, Status, metadata::MetadataMap};

use crate::{
    Channels, abilities,
    accounting::{Account, Accounting, BYPASS, BYTES_PER_TOKEN, MISS, Record},
    admitted::{Admitted, LetIn},
    answer::Answer,
    attempts::{Caller, Dispatch},
    cache_policy::{Directives, Plan},
    choose::{Asked, Decided, authorised, decide},
    config::{Config, LimiterFailure, Routing},
    counting,
    decision::{Decision, Route, Steering},
    decisions::Decisions,
    deployments,
    needs::Needs,
    principals::{Principals, may_use},
    registry::{AUTO, Found, Model, Registry},
    responses::Jobs,
    stored::{Keep, Keeper},
    whole::{texts_of, tokens_of},
};

/// Scope of a key that may call models.
const INFERENCE: &str = "inference";
/// When to come back after a 503 that says nothing better.
pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The router.
#[derive(Debug)]
pub(crate) struct Router {
    pub(crate) config: Config,
    principals: Principals,
    reloader: Reloader,
    registry: Arc<ArcSwap<Registry>>,
    limiter: RateLimiterClient<Channel>,
    cache: CacheClient<Channel>,
    pub(crate) dispatch: Dispatch,
    pub(crate) decisions: Decisions,
    accounting: Accounting,
    pub(crate) keeper: Keeper,
    pub(crate) jobs: Jobs,
    unlimited: Counter,
    since: i64,
}

impl Router {
    pub(crate) fn start(
        config: Config,
        (live, reloader): (Live<Routing>, Reloader),
        door: Door,
        channels: &Channels,
        chassis: &Chassis,
    ) -> Self {
        let unlimited = Counter::default();
        chassis.metrics.register(|registry| {
            let help = "Requests that passed because the rate-limiter could not be asked";
            registry.register("penstock_unlimited", help, unlimited.clone());
        });
        let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Self {
            reloader,
            principals: Principals::start(&channels.auth, config.auth_timeout, &chassis.tasks),
            registry: deployments::follow(&channels.inference_adapter, config.routing.clone(), live, chassis),
            limiter: RateLimiterClient::new(channels.rate_limiter.clone()),
            cache: CacheClient::new(channels.cache.clone()).max_decoding_message_size(MESSAGE_MAX_BYTES),
            dispatch: Dispatch::new(
                &channels.inference_adapter,
                config.attempts,
                config.retrying.clone(),
                door,
                chassis,
            ),
            decisions: Decisions::new(config.decisions_max, config.decisions_ttl),
            accounting: Accounting::start(&channels.rate_limiter, &channels.cache, chassis),
            keeper: Keeper::new(&channels.cache, config.store_timeout, chassis),
            jobs: Jobs::new(config.background_max, chassis),
            unlimited,
            since: i64::try_from(since).unwrap_or_default(),
            config,
        }
    }

    pub(crate) async fn principal(
        &self,
        context: &CallContext,
        metadata: &MetadataMap,
    ) -> Result<Arc<Principal>, Status> {
        let principal = self.principals.of(context, metadata).await?;
        if principal.scopes.iter().any(|scope| scope == INFERENCE) {
            Ok(principal)
        } else {
            Err(Error::new(Reason::PermissionDenied, "the API key lacks the scope `inference`").into())
        }
    }

    /// Whether the request may be asked at all: who asks, what, and for which model.
    pub(crate) async fn check(
        &self,
        context: &CallContext,
        caller: &MetadataMap,
        request: GenerateRequest,
    ) -> Result<Checked, Status> {
        let principal = self.principal(context, caller).await?;
        self.judge(caller, request, principal, false)
    }

    /// What is to be done about a request of `principal`; with `all`, of every deployment. Nobody is asked, and nothing
    /// is taken.
    fn judge(
        &self,
        caller: &MetadataMap,
        mut request: GenerateRequest,
        principal: Arc<Principal>,
        all: bool,
    ) -> Result<Checked, Status> {
        let violations = validate::generate_request(&request);
        if !violations.is_empty() {
            return Err(Error::invalid(violations).into());
        }
        self.config.caps.check(&request)?;
        let registry = self.registry.load();
        let plan = Directives::of(caller)?.plan(self.config.cache_mode, &request);
        let steering = Steering::of(caller)?;
        let (prompt_tokens, completion_tokens) = estimate(&request, self.config.default_completion_tokens);
        let asked = Asked {
            needs: Needs::of(&request),
            name: &request.model,
            prompt_tokens,
            completion_tokens,
            principal: &principal,
            steering: &steering,
            request: Some(&request),
            counts: false,
            attempts: self.config.attempts,
            all,
        };
        let Decided { model, route, decision } = decide(&registry, &asked)?;
        request.model = model.name.to_string();
        Ok(Checked { model: Arc::clone(&model.name), request, plan, route, decision, principal })
    }

    /// Lets the request in, if the limits allow it, and looks whether its answer is known. The answer is to be stored
    /// by `keep`.
    pub(crate) async fn admit(
        &self,
        context: CallContext,
        checked: Checked,
        keep: Option<Box<Keep>>,
        started: Instant,
    ) -> Result<LetIn, Status> {
        let Checked { principal, model, request, plan, route, decision } = checked;
        let key = plan.is_used().then(|| EntryKey {
            tenant: principal.tenant.clone(),
            fingerprint: fingerprint(&request).to_vec().into(),
        });
        let (prompt_tokens, answer_tokens) = (decision.prompt_tokens, decision.completion_tokens);
        let trail = self.decisions.keep(decision, context.request_id());
        let route = route.map_err(|error| refused(&context, trail.refuse(error)))?;
        // Before anything is taken: whatever becomes of the request, and whenever, its record says so.
        let mut record = self.accounting.record(Account {
            context: context.clone(),
            principal: Arc::clone(&principal),
            model: Arc::clone(&model),
            deployment: String::new(),
            stream: request.stream,
            cache: if plan.look_up { MISS } else { BYPASS },
            fallbacks: 0,
            reservation: String::new(),
            prompt_tokens,
            delivered_bytes: 0,
            usage: None,
            outcome: None,
            trail: trail.clone(),
            key: key.clone().filter(|_| plan.store),
            answer: None,
            started,
            first_content_after: None,
        });
        let tokens = prompt_tokens.saturating_add(answer_tokens);
        let reserve = self.reserve_for(&mut record, &context, &principal, &model, tokens);
        let (reserved, known) = tokio::join!(reserve, self.look_up(&context, key.as_ref(), &plan));
        let limits = reserved.map_err(|status| trail.signed(status))?.limits;
        let options = request.stream_options.as_ref();
        let include_usage = options.and_then(|options| options.include_usage).unwrap_or(false);
        let stream = request.stream;
        let caller = Caller { context, tenant: principal.tenant.clone(), trail };
        let admitted = Admitted { caller, model, stream, include_usage, plan, limits, keep, record };
        Ok(LetIn { admitted, request, route, known })
    }

    /// Takes the request's share out of every limit that applies, and notes it in the record.
    async fn reserve_for(
        &self,
        record: &mut Record,
        context: &CallContext,
        principal: &Principal,
        model: &str,
        tokens: u64,
    ) -> Result<ReserveResponse, Status> {
        let reserved = self.reserve(context, principal, model, tokens).await;
        // At once: the caller may leave while the cache is still being asked.
        match (&reserved, record.account()) {
            (Ok(reserved), Some(account)) => account.reservation.clone_from(&reserved.reservation_id),
            (Err(status), Some(account)) => account.outcome = Some(Err(Error::from(status).reason)),
            _ => {}
        }
        reserved
    }

    /// Takes the request's share out of every limit that applies.
    async fn reserve(
        &self,
        context: &CallContext,
        principal: &Principal,
        model: &str,
        tokens: u64,
    ) -> Result<ReserveResponse, Status> {
        let request = ReserveRequest { subject: Some(subject(principal, model)), tokens };
        let request = context.with_timeout(self.config.limiter_timeout).request(request);
        let status = match self.limiter.clone().reserve(request).await {
            Ok(answer) => return Ok(answer.into_inner()),
            Err(status) => status,
        };
        let reason = Error::from(&status).reason;
        match (reason, self.config.limiter_failure) {
            (Reason::RateLimitExceeded | Reason::RequestExceedsLimit, _) => Err(status),
            (_, LimiterFailure::Open) => {
                self.unlimited.inc();
                tracing::warn!(
                    reason = reason.as_str(),
                    "the rate-limiter cannot be asked: the request passes"
                );
                Ok(ReserveResponse::default())
            }
            (_, LimiterFailure::Closed) => {
                Err(Error::new(Reason::ServiceUnavailable, "the rate-limiter cannot be asked")
                    .with_retry_after(RETRY_AFTER)
                    .into())
            }
        }
    }

    /// The answer that is known already. A cache that cannot be asked is a cache that does not know.
    async fn look_up(&self, context: &CallContext, key: Option<&EntryKey>, plan: &Plan) -> Option<Entry> {
        let key = key.filter(|_| plan.look_up)?.clone();
        let max_age = plan.max_age.and_then(|age| age.try_into().ok());
        let request = LookupRequest { key: Some(key), max_age };
        let request = context.with_timeout(self.config.cache_timeout).request(request);
        match self.cache.clone().lookup(request).await {
            Ok(answer) => answer.into_inner().entry,
            Err(status) => {
                tracing::debug!(code = %status.code(), "the cache cannot be asked");
                None
            }
        }
    }

    /// The registered name of a model, of one that is not known the name itself.
    pub(crate) fn model_name(&self, asked: String) -> String {
        self.registry.load().resolve(&asked).map_or(asked, |model| model.name.to_string())
    }

    fn list(&self, principal: &Principal) -> Vec<ModelMessage> {
        let registry = self.registry.load();
        let models = registry.models().filter_map(|model| self.describe(principal, model));
        models.chain(self.describe_auto(&registry, principal)).collect()
    }

    /// `auto`, if it means something and the caller may use it: by its own name, or by that of one of its models.
    fn describe_auto(&self, registry: &Registry, principal: &Principal) -> Option<ModelMessage> {
        let auto = registry.auto()?;
        let names = [&auto.simple, &auto.medium, &auto.complex];
        let models = names.into_iter().filter_map(|name| registry.resolve(name));
        let mut usable = models.filter(|model| may_use(principal, AUTO[0], &model.name)).peekable();
        usable.peek()?;
        Some(ModelMessage {
            id: AUTO[0].to_owned(),
            aliases: Vec::new(),
            created: self.since,
            owned_by: "penstock".to_owned(),
            capabilities: abilities::of_all(usable.map(|model| model.capabilities)),
            loaded: None,
        })
    }

    /// The model under the names that the caller may use, the registered one first. `None`: there are none.
    fn describe(&self, principal: &Principal, model: &Model) -> Option<ModelMessage> {
        // What has a star is no name to ask for.
        let aliases = model.config.aliases.iter().map(String::as_str).filter(|alias| !alias.contains('*'));
        let names = std::iter::once(&*model.name).chain(aliases);
        let mut usable = names.filter(|name| may_use(principal, name, &model.name)).map(str::to_owned);
        Some(ModelMessage {
            id: usable.next()?,
            aliases: usable.collect(),
            created: self.since,
            owned_by: model.owned_by.clone(),
            capabilities: model.capabilities,
            loaded: model.loaded(),
        })
    }
}

/// A request that may be asked, if the limits allow it.
pub(crate) struct Checked {
    pub(crate) principal: Arc<Principal>,
    /// The registered name of the model.
    model: Arc<str>,
    pub(crate) request: GenerateRequest,
    plan: Plan,
    /// Whom to ask, in order, and why; or why nobody can be asked.
    route: Result<Route, Error>,
    decision: Decision,
}

/// Whose limits apply to a request.
fn subject(principal: &Principal, model: &str) -> Subject {
    Subject {
        key_id: principal.key_id.clone(),
        tenant: principal.tenant.clone(),
        model: model.to_owned(),
        key_limits: principal.limits.clone(),
    }
}

/// Tokens to reserve: the prompt by its size, the answers by what they may hold at most.
fn estimate(request: &GenerateRequest, default_completion_tokens: u64) -> (u64, u64) {
    let (prompt, texts, best_of) = match &request.input {
        Some(Input::Text(text)) => {
            let (tokens, texts) =
                text.prompt.as_ref().map_or((0, 1), |prompt| (tokens_of(prompt), texts_of(prompt)));
            let suffix = text.suffix.as_ref().map_or(0, String::len).div_ceil(BYTES_PER_TOKEN) as u64;
            (tokens + suffix, texts, text.best_of)
        }
        Some(chat @ Input::Chat(_)) => {
            // The model reads what it may call, too.
            let tools: usize = request.tools.iter().map(prost::Message::encoded_len).sum();
            let functions = request.functions_json.as_ref().map_or(0, String::len);
            let bytes = chat.encoded_len() + tools + functions;
            (bytes.div_ceil(BYTES_PER_TOKEN) as u64, 1, None)
        }
        None => (0, 1, None),
    };
    let most = request.max_completion_tokens.or(request.max_tokens);
    let each = most.and_then(|most| u64::try_from(most).ok()).unwrap_or(default_completion_tokens);
    // The best of several costs what all of them cost.
    let choices = request.n.max(best_of).and_then(|n| u64::try_from(n).ok()).unwrap_or(1);
    (prompt, each.saturating_mul(choices).saturating_mul(texts))
}

/// Notes in the log that a request was not let in.
pub(crate) fn refused(context: &CallContext, status: Status) -> Status {
    let reason = Error::from(&status).reason;
    let decision = status.metadata().get(metadata::DECISION).and_then(|id| id.to_str().ok());
    tracing::info!(request_id = context.request_id(), decision, reason = reason.as_str(), "refused");
    status
}

#[tonic::async_trait]
impl Inference for Router {
    type GenerateStream = Answer;

    async fn generate(&self, request: Request<GenerateRequest>) -> Result<Response<Answer>, Status> {
        let started = Instant::now();
        let context = CallContext::of(&request);
        let (caller, _, request) = request.into_parts();
        let checked =
            self.check(&context, &caller, request).await.map_err(|status| refused(&context, status))?;
        let keep = self.keeper.keep(&context, &checked.principal, &checked.request);
        self.admit(context, checked, keep, started).await?.answer(&self.dispatch).await
    }

    async fn embed(&self, request: Request<EmbedRequest>) -> Result<Response<EmbedResponse>, Status> {
        self.whole(request).await
    }

    async fn moderate(
        &self,
        request: Request<ModerateRequest>,
    ) -> Result<Response<ModerateResponse>, Status> {
        self.whole(request).await
    }

    async fn count_tokens(
        &self,
        request: Request<CountTokensRequest>,
    ) -> Result<Response<CountTokensResponse>, Status> {
        self.whole(request.map(counting::of_input)).await
    }

    async fn list_models(
        &self,
        request: Request<ListModelsRequest>,
    ) -> Result<Response<ListModelsResponse>, Status> {
        let context = CallContext::of(&request);
        let (caller, _, request) = request.into_parts();
        let principal = self.principal(&context, &caller).await?;
        let Some(asked) = request.model else {
            return Ok(Response::new(ListModelsResponse { models: self.list(&principal) }));
        };
        // One and the same answer for a model that is not there and one that is not for this caller.
        let registry = self.registry.load();
        let asked: String = asked.chars().take(256).collect();
        let model = match registry.find(&asked) {
            Found::Auto(_) => self.describe_auto(&registry, &principal),
            _ => {
                let model = authorised(&registry, &principal, &asked).ok();
                model.and_then(|(model, _)| self.describe(&principal, model))
            }
        };
        let model = model.ok_or_else(|| {
            Error::new(Reason::ModelNotFound, format!("the model `{asked}` does not exist"))
        })?;
        Ok(Response::new(ListModelsResponse { models: vec![model] }))
    }
}

impl Directives {
    /// The cache directives of a call.
    fn of(caller: &MetadataMap) -> Result<Self, Status> {
        let Some(value) = caller.get(metadata::CACHE_CONTROL) else { return Ok(Self::default()) };
        let parsed = value.to_str().ok().and_then(Self::parse);
        parsed.ok_or_else(|| {
            let message = "must be directives such as `no-store` or `max-age=60`";
            Error::invalid(vec![Violation::new(metadata::CACHE_CONTROL, message)]).into()
        })
    }
}

#[cfg(test)]
mod tests {
    use penstock_proto::inference::v1::{
        ChatInput, FunctionTool, Message, Prompt, TextInput, TextList, Tool, message::Content, prompt::Kind,
    };

    use super::*;

    #[test]
    fn the_estimate_is_the_prompts_size_and_what_the_answers_may_hold() {
        let message = Message {
            role: "user".into(),
            content: Some(Content::Text("x".repeat(4000))),
            ..Message::default()
        };
        let request = GenerateRequest {
            input: Some(Input::Chat(ChatInput { messages: vec![message] })),
            ..GenerateRequest::default()
        };
        let (prompt, answer) = estimate(&request, 256);
        assert!((1000..1020).contains(&prompt), "{prompt}");
        assert_eq!(answer, 256);
        let function = FunctionTool { parameters_json: Some("x".repeat(4000)), ..FunctionTool::default() };
        let tool = Tool { function: Some(function), ..Tool::default() };
        let (prompt, _) = estimate(&GenerateRequest { tools: vec![tool], ..request.clone() }, 256);
        assert!((2000..2030).contains(&prompt), "{prompt}");
        let bounded = GenerateRequest { max_tokens: Some(10), n: Some(3), ..request.clone() };
        assert_eq!(estimate(&bounded, 256).1, 30);
        let prompt = Prompt { kind: Some(Kind::Texts(TextList { values: vec!["x".repeat(40); 3] })) };
        let suffix = Some("x".repeat(40));
        let text = TextInput { prompt: Some(prompt), suffix, best_of: Some(5), ..TextInput::default() };
        let continued = GenerateRequest { input: Some(Input::Text(text)), ..bounded };
        let (prompt, answer) = estimate(&continued, 256);
        assert!((40..50).contains(&prompt), "{prompt}");
        assert_eq!(answer, 10 * 5 * 3, "of each prompt five are made");
        let absurd = GenerateRequest { max_completion_tokens: Some(i64::MAX), n: Some(128), ..request };
        assert_eq!(estimate(&absurd, 256).1, u64::MAX);
    }
}
