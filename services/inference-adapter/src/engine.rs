//! Engines. A dialect says how a request and an answer look on the wire; `Upstream` is the HTTP that every
//! dialect shares. Adding an engine is adding a file and a line in `Kind`.

mod ollama;
mod openai;
mod simulated;

use std::{fmt, sync::Arc, time::Duration};

use futures_util::{future::BoxFuture, stream::BoxStream};
use penstock_chassis::CallContext;
use penstock_proto::inference::v1::{
    EmbedRequest, EmbedResponse, GenerateChunk, GenerateRequest, GenerateResponse, ModerateRequest,
    ModerateResponse,
};
use reqwest::Url;

pub(crate) use self::simulated::{Pace, Simulated};
#[cfg(fuzzing)]
pub(crate) use self::{ollama::Ollama, openai::OpenAi};
use crate::{
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

    /// Whether the engine is there; generates nothing, loads nothing.
    fn check(&self, timeout: Duration) -> BoxFuture<'_, Result<(), Fault>>;
}

/// How an engine is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    OpenAi,
    Ollama,
    Simulated,
}

impl Kind {
    /// The names in the configuration.
    pub(crate) const NAMES: [(&'static str, Kind); 3] =
        [("openai", Kind::OpenAi), ("ollama", Kind::Ollama), ("simulated", Kind::Simulated)];

    /// The name in the configuration.
    pub(crate) fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }

    /// The engine that answers for `target`; `None` for one that is not spoken to over HTTP.
    pub(crate) fn connect(self, target: Target, http: &Http) -> Option<Arc<dyn Engine>> {
        Some(match self {
            Kind::OpenAi => Arc::new(Upstream::<openai::OpenAi>::new(target, http)),
            Kind::Ollama => Arc::new(Upstream::<ollama::Ollama>::new(target, http)),
            Kind::Simulated => return None,
        })
    }

    /// How the engine at an endpoint lists its models.
    pub(crate) fn listing(self, endpoint: &Url) -> Option<Listing> {
        match self {
            Kind::OpenAi => Some(Listing::of::<openai::OpenAi>(endpoint)),
            Kind::Ollama => Some(Listing::of::<ollama::Ollama>(endpoint)),
            Kind::Simulated => None,
        }
    }
}

/// How an engine lists its models.
#[derive(Debug)]
pub(crate) struct Listing {
    pub(crate) url: Url,
    /// Names of the models in the list; `None`: it is no such list.
    pub(crate) read: fn(&[u8]) -> Option<Vec<String>>,
}

impl Listing {
    fn of<D: Dialect>(endpoint: &Url) -> Self {
        Self { url: url::<D>(endpoint, D::MODELS), read: D::models }
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
    /// `Authorization` header, marked sensitive.
    pub(crate) authorization: Option<http::HeaderValue>,
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

/// How requests and answers look on the wire.
pub(crate) trait Dialect: Send + Sync + fmt::Debug + 'static {
    /// How a streamed answer is cut into frames.
    type Frames: Frames;
    /// How frames are read.
    type Reader: Reader;
    /// Path of an endpoint that is configured without one.
    const ROOT: &'static str;
    /// Paths below the endpoint: to list models, and to see whether the engine is there.
    const MODELS: &'static str;
    const CHECK: &'static str;
    /// Content type of a streamed answer.
    const STREAM_TYPE: &'static str;

    /// The request as the engine wants it.
    fn generate(request: &GenerateRequest, target: &Target) -> Result<Ask, Error>;
    /// Likewise for vectors.
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
    /// Names of the models in the engine's list; `None`: it is no such list.
    fn models(body: &[u8]) -> Option<Vec<String>>;
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
