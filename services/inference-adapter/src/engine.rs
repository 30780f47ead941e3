//! Engines. A dialect says how a request and an answer look on the wire; `Upstream` is the HTTP that every
//! dialect shares. Adding an engine is adding a file and a line in `Kind`.

mod anthropic;
pub(crate) mod deny;
mod house;
mod lacks;
mod llama_cpp;
mod ollama;
mod openai;
pub(crate) mod optional;
mod penstock;
mod simulated;
mod tool_choice;
mod vllm;

use std::{
    borrow::Cow,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::{FutureExt as _, future::BoxFuture, stream::BoxStream};
use http::{HeaderName, HeaderValue, header::AUTHORIZATION};
use penstock_chassis::CallContext;
use penstock_proto::inference::v1::{
    Capabilities, CountTokensResponse, EmbedRequest, EmbedResponse, GenerateChunk, GenerateRequest,
    GenerateResponse, ModerateRequest, ModerateResponse,
};
use reqwest::Url;
use secrecy::{ExposeSecret as _, SecretString};

#[cfg(fuzzing)]
pub(crate) use self::{ollama::Ollama, openai::OpenAi};
pub(crate) use self::{
    ollama::show::{DEFAULT_CONTEXT_TOKENS, Shown},
    penstock::Penstock,
    simulated::{Rates, Settings, Simulated},
};
use crate::{
    capabilities::over,
    error::{Error, Fault},
    frames::Frames,
    upstream::{Http, Upstream},
};

/// An answer as it comes. Dropping it stops the engine.
pub(crate) type AnswerStream = BoxStream<'static, Result<GenerateResponse, Error>>;

/// What can answer.
pub(crate) trait Engine: Send + Sync + fmt::Debug {
    /// Puts a request to the engine. Returns when the engine has begun to answer; dropping the future stops it.
    fn generate<'a>(
        &'a self,
        request: &'a GenerateRequest,
        context: &'a CallContext,
    ) -> BoxFuture<'a, Result<AnswerStream, Error>>;

    /// Turns texts into vectors.
    fn embed<'a>(
        &'a self,
        request: &'a EmbedRequest,
        context: &'a CallContext,
    ) -> BoxFuture<'a, Result<EmbedResponse, Error>>;

    /// Judges texts.
    fn moderate<'a>(
        &'a self,
        request: &'a ModerateRequest,
        context: &'a CallContext,
    ) -> BoxFuture<'a, Result<ModerateResponse, Error>>;

    /// Whether it has a count of its own; else it need not be asked.
    fn counts(&self) -> bool {
        false
    }

    /// Counts the tokens of a request's input. `None`: it cannot count this, or says nothing that makes sense.
    fn count<'a>(
        &'a self,
        _: &'a GenerateRequest,
        _: &'a CallContext,
    ) -> BoxFuture<'a, Result<Option<CountTokensResponse>, Error>> {
        std::future::ready(Ok(None)).boxed()
    }

    /// Whether the engine is there and has the model, and how long it took to say so; generates nothing, loads
    /// nothing.
    fn check(&self, timeout: Duration) -> BoxFuture<'_, Result<Duration, Fault>>;

    /// What the engine says that the model can do, as the last check found it.
    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }

    /// Whether the model is in the engine's memory, as the last check found it. `None`: the engine does not say.
    fn loaded(&self) -> Option<bool> {
        None
    }
}

/// How an engine is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    OpenAi,
    Vllm,
    LlamaCpp,
    Ollama,
    Anthropic,
    Penstock,
    Simulated,
}

impl Kind {
    /// The names in the configuration.
    pub(crate) const NAMES: [(&'static str, Kind); 7] = [
        ("openai", Kind::OpenAi),
        ("vllm", Kind::Vllm),
        ("llama-cpp", Kind::LlamaCpp),
        ("ollama", Kind::Ollama),
        ("anthropic", Kind::Anthropic),
        ("penstock", Kind::Penstock),
        ("simulated", Kind::Simulated),
    ];

    /// The name in the configuration.
    pub(crate) fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }

    /// The engine that answers for `target`; `None` for one that is not spoken to over HTTP.
    pub(crate) fn connect(self, target: Target, http: &Http) -> Option<Arc<dyn Engine>> {
        Some(match self {
            Kind::OpenAi => Arc::new(Upstream::<openai::OpenAi>::new(target, http)),
            Kind::Vllm => Arc::new(Upstream::<vllm::Vllm>::new(target, http)),
            Kind::LlamaCpp => Arc::new(Upstream::<llama_cpp::LlamaCpp>::new(target, http)),
            Kind::Ollama => Arc::new(Upstream::<ollama::Ollama>::new(target, http)),
            Kind::Anthropic => Arc::new(Upstream::<anthropic::Anthropic>::new(target, http)),
            Kind::Penstock | Kind::Simulated => return None,
        })
    }

    /// How the engine at an endpoint lists its models.
    pub(crate) fn listing(self, endpoint: &Url) -> Option<Listing> {
        match self {
            Kind::OpenAi => Some(Listing::of::<openai::OpenAi>(endpoint)),
            Kind::Vllm => Some(Listing::of::<vllm::Vllm>(endpoint)),
            Kind::LlamaCpp => Some(Listing::of::<llama_cpp::LlamaCpp>(endpoint)),
            Kind::Ollama => Some(Listing::of::<ollama::Ollama>(endpoint)),
            Kind::Anthropic | Kind::Penstock | Kind::Simulated => None,
        }
    }

    /// The headers of every request to an engine of this kind; the credential is marked sensitive, which no
    /// log shows.
    pub(crate) fn headers(self, key: Option<&SecretString>) -> Headers {
        let (name, prefix) = match self {
            Kind::Anthropic => (HeaderName::from_static("x-api-key"), ""),
            _ => (AUTHORIZATION, "Bearer "),
        };
        let credential = key.and_then(|key| {
            let mut value = HeaderValue::try_from(format!("{prefix}{}", key.expose_secret())).ok()?;
            value.set_sensitive(true);
            Some((name, value))
        });
        let version = (self == Kind::Anthropic).then(|| anthropic::VERSION.clone());
        credential.into_iter().chain(version).collect()
    }
}

/// Headers that go to an engine with every request.
pub(crate) type Headers = Arc<[(HeaderName, HeaderValue)]>;

/// How an engine lists its models.
#[derive(Debug)]
pub(crate) struct Listing {
    pub(crate) url: Url,
    /// Names of the models in the list; `None`: it is no such list.
    pub(crate) read: fn(&[u8]) -> Option<Vec<String>>,
    /// Where the models that are in memory are listed, in the same way.
    pub(crate) running: Option<Url>,
}

impl Listing {
    fn of<D: Dialect>(endpoint: &Url) -> Self {
        let running = D::RUNNING.map(|path| url::<D>(endpoint, path));
        Self { url: url::<D>(endpoint, D::MODELS), read: D::models, running }
    }
}

/// One model on one engine, as configured or found.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// Id of the deployment.
    pub(crate) deployment: Arc<str>,
    /// Where the engine is.
    pub(crate) endpoint: Url,
    /// The name that the engine knows the model by.
    pub(crate) model: String,
    /// Tokens of context to ask for, where the engine lets its callers choose.
    pub(crate) context_tokens: Option<u64>,
    /// Bound of an answer whose request names none, where the engine wants one.
    pub(crate) answer_tokens: Option<u64>,
    /// Seconds that the model stays loaded after a request, -1: for ever; `None`: the engine's default.
    pub(crate) keep_alive_seconds: Option<i64>,
    /// What the file says that the model can do.
    pub(crate) declared: Capabilities,
    /// Members of requests that this deployment does not get, beside those that no engine gets.
    pub(crate) deny: Arc<[String]>,
    /// Credential and the like.
    pub(crate) headers: Headers,
    /// What the engine says of the model.
    pub(crate) learnt: Arc<Mutex<Learnt>>,
}

impl Target {
    /// A model of which no more is known than where it is.
    pub(crate) fn of(deployment: Arc<str>, endpoint: Url, model: String) -> Self {
        Self {
            deployment,
            endpoint,
            model,
            context_tokens: None,
            answer_tokens: None,
            keep_alive_seconds: None,
            declared: Capabilities::default(),
            deny: Arc::default(),
            headers: Arc::default(),
            learnt: Arc::default(),
        }
    }

    /// What the engine says of the model.
    pub(crate) fn learnt(&self) -> Learnt {
        self.learnt.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Tokens of context to ask for: as configured, else as the model has it, else a default.
    pub(crate) fn context_tokens(&self) -> u64 {
        let shown = || self.learnt().shown.map(|shown| shown.context_tokens);
        self.context_tokens.or_else(shown).unwrap_or(DEFAULT_CONTEXT_TOKENS)
    }
}

/// What an engine says of a model.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Learnt {
    pub(crate) capabilities: Capabilities,
    /// Most tokens of an answer.
    pub(crate) answer_tokens: Option<u64>,
    /// It reasons within a number of tokens that the request names, and knows no other way.
    pub(crate) thinks_by_budget: bool,
    /// What Ollama says beyond that.
    pub(crate) shown: Option<Shown>,
    /// It is in the engine's memory.
    pub(crate) loaded: Option<bool>,
}

impl Learnt {
    /// This, and where it says nothing, the other.
    pub(crate) fn over(self, other: &Learnt) -> Learnt {
        Learnt {
            capabilities: over(&self.capabilities, &other.capabilities),
            answer_tokens: self.answer_tokens.or(other.answer_tokens),
            thinks_by_budget: self.thinks_by_budget || other.thinks_by_budget,
            shown: self.shown.or(other.shown),
            loaded: self.loaded.or(other.loaded),
        }
    }
}

/// What a frame of an answer says.
#[derive(Debug)]
pub(crate) enum Frame {
    /// A piece.
    Piece(GenerateChunk),
    /// The last piece.
    Last(GenerateChunk),
    /// Nothing more comes.
    Done,
}

/// A request as it goes to an engine.
#[derive(Debug)]
pub(crate) struct Ask {
    /// Below the endpoint.
    pub(crate) path: &'static str,
    /// JSON.
    pub(crate) body: Vec<u8>,
}

/// A question about one model, beside the list of all.
#[derive(Debug)]
pub(crate) struct Detail {
    /// Below the endpoint.
    pub(crate) path: Cow<'static, str>,
    /// JSON to post. `None`: it is a GET.
    pub(crate) body: Option<Vec<u8>>,
}

/// How requests and answers look on the wire.
pub(crate) trait Dialect: Send + Sync + fmt::Debug + 'static {
    /// How a streamed answer is cut into frames.
    type Frames: Frames;
    /// How frames are read.
    type Reader: Reader;
    /// Path of an endpoint that is configured without one.
    const ROOT: &'static str;
    /// Paths below the endpoint: to list models, and to see whether the engine is there. `/..` leaves `ROOT`.
    const MODELS: &'static str;
    const CHECK: &'static str;
    /// Path of the list of models that are in memory, of the same shape as the list of all.
    const RUNNING: Option<&'static str> = None;
    /// Members of requests that reach into the engine and that no caller may use, in lower case (A7).
    const DENIED: &'static [&'static str] = &[];
    /// Extensions that a request names as optional and that this engine knows: all others are left out.
    const OPTIONAL: &'static [&'static str] = &[];
    /// Content type of a streamed answer.
    const STREAM_TYPE: &'static str;
    /// Requests depend on what the engine says of the model: it is asked before the first one.
    const DETAIL_FIRST: bool = false;
    /// Its engines count tokens.
    const COUNTS: bool = false;

    /// The request as the engine wants it.
    fn generate(request: &GenerateRequest, target: &Target) -> Result<Ask, Error>;
    /// Tokens that a prompt must stay below; one that has as many was cut by the engine. `None`: engines of
    /// this dialect cut nothing.
    fn prompt_max(_: &GenerateRequest, _: &Target) -> Option<u64> {
        None
    }
    /// A request for vectors as the engine wants it.
    fn embed(request: &EmbedRequest, target: &Target) -> Result<Ask, Error>;
    /// Reads vectors.
    fn embedded(body: &[u8], request: &EmbedRequest) -> Result<EmbedResponse, Fault>;
    /// Likewise for judgements.
    fn moderate(_: &ModerateRequest, _: &Target) -> Result<Ask, Error> {
        Err(Error::NotOffered("this engine judges nothing"))
    }
    /// Reads judgements.
    fn moderated(_: &[u8], _: &ModerateRequest) -> Result<ModerateResponse, Fault> {
        Err(Fault::bad_answer("this engine judges nothing"))
    }
    /// A question for the tokens of a request's input, as the engine wants it. `None`: it cannot count such a one.
    fn count(_: &GenerateRequest, _: &Target) -> Result<Option<Ask>, Error> {
        Ok(None)
    }
    /// Reads the answer to that. `None`: it makes no sense.
    fn counted(_: &[u8]) -> Option<i64> {
        None
    }
    /// Names of the models in the engine's list; `None`: it is no such list.
    fn models(body: &[u8]) -> Option<Vec<String>>;
    /// Whether the list shows that the engine does not have the model. A list that says nothing shows nothing.
    fn lacks(list: &[u8], model: &str) -> bool {
        Self::models(list)
            .is_some_and(|models| !models.is_empty() && !models.iter().any(|one| Self::is_it(one, model)))
    }
    /// Whether a name in a list is that of the model.
    fn is_it(listed: &str, model: &str) -> bool {
        listed == model
    }
    /// What the list says of the model.
    fn listed(_: &[u8], _: &Target) -> Learnt {
        Learnt::default()
    }
    /// What else to ask about the model; free, and asked rarely.
    fn detail(_: &Target) -> Option<Detail> {
        None
    }
    /// Reads the answer to that.
    fn detailed(_: &[u8]) -> Learnt {
        Learnt::default()
    }
}

/// Reads one answer, frame by frame; what frames refer to is kept in it.
pub(crate) trait Reader: Default + Send + Unpin + 'static {
    /// Reads one frame of a streamed answer.
    fn frame(&mut self, frame: &[u8]) -> Result<Frame, Fault>;
    /// Reads an answer that is not streamed.
    fn plain(&mut self, body: &[u8]) -> Result<GenerateChunk, Fault>;
}

/// The URL of `path` at an endpoint.
pub(crate) fn url<D: Dialect>(endpoint: &Url, path: &str) -> Url {
    let base = endpoint.path().trim_end_matches('/');
    let base = if base.is_empty() { D::ROOT } else { base };
    let mut url = endpoint.clone();
    url.set_path(&format!("{base}{path}"));
    url
}
