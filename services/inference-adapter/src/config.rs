//! Configuration of the adapter: its own section, and the deployments. With a file nothing is guessed; without
//! one, and without deployments, the engines on well-known ports are looked for.

mod configured;
mod generation;
mod simulated;
mod terms;

use std::{collections::HashSet, time::Duration};

use penstock_chassis::{
    Channel,
    config::{Document, Section},
};
use penstock_proto::inference::v1::Capabilities;
use reqwest::Url;

pub use self::configured::Configured;
use self::configured::Key;
pub(crate) use self::{generation::GenerationProbe, terms::Terms};
use crate::{
    capabilities,
    engine::{Kind, Settings},
    upstream::Limits,
};

/// Where engines listen by default: Ollama, vLLM, llama.cpp (old and new), LM Studio.
const WELL_KNOWN: [&str; 5] = [
    "http://127.0.0.1:11434",
    "http://127.0.0.1:8000",
    "http://127.0.0.1:8080",
    "http://127.0.0.1:9931",
    "http://127.0.0.1:1234",
];
/// Ollama's port: an endpoint there is spoken to in Ollama's own dialect.
const OLLAMA_PORT: u16 = 11434;
/// Id and model of the simulated engine that is there without configuration.
pub(crate) const SIMULATED: &str = "penstock-simulated";
/// The model of a deployment that stands for every model of its engine.
const EVERY: &str = "*";
/// Longest id of a deployment, in bytes: it travels in metadata and labels.
const ID_MAX_BYTES: usize = 256;

/// More tokens than any model has.
const CONTEXT_TOKENS_MAX: u64 = 100_000_000;

const MILLISECOND: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3600);

/// The adapter's configuration.
#[derive(Debug)]
pub struct Config {
    pub(crate) limits: Limits,
    pub(crate) discovery_interval: Duration,
    pub(crate) probe_timeout: Duration,
    pub(crate) generation_probe: GenerationProbe,
    pub(crate) deployments: Vec<DeploymentConfig>,
    /// Where to look for engines; empty: nowhere.
    pub(crate) discover: Vec<Place>,
}

/// A place where an engine may listen, and where every model that it lists becomes a deployment.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Place {
    /// Id of the deployment that stands for all models; `None`: the place was guessed, or named by its address.
    pub(crate) id: Option<String>,
    /// What the models can do and do not get, as of any deployment.
    pub(crate) declared: Capabilities,
    pub(crate) deny: Vec<String>,
    pub(crate) generation_probe: Option<bool>,
    pub(crate) terms: Terms,
    pub(crate) engine: RemoteConfig,
}

impl Place {
    /// A place that is known by its address alone.
    pub(crate) fn at(kind: Kind, endpoint: Url, usual: &Terms) -> Self {
        let engine = RemoteConfig {
            kind,
            endpoint,
            api_key: None,
            context_tokens: None,
            answer_tokens: None,
            keep_alive_seconds: None,
        };
        let declared = Capabilities::default();
        Self { id: None, declared, deny: Vec::new(), generation_probe: None, terms: usual.of(kind), engine }
    }
}

/// A deployment as configured.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct DeploymentConfig {
    pub(crate) id: String,
    pub(crate) model: String,
    /// What the model can do, as far as the file says.
    pub(crate) declared: Capabilities,
    /// Members of requests that it does not get, beside those that no engine gets.
    pub(crate) deny: Vec<String>,
    /// Whether it is tried from time to time if it generates. `None`: as the adapter's section has it.
    pub(crate) generation_probe: Option<bool>,
    pub(crate) terms: Terms,
    pub(crate) engine: EngineConfig,
}

impl DeploymentConfig {
    /// Whether it stands for every model of its engine.
    fn is_every(&self) -> bool {
        self.model == EVERY && matches!(self.engine, EngineConfig::Remote(_))
    }
}

/// The engine of a deployment.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum EngineConfig {
    Remote(RemoteConfig),
    /// Another mesh, by gRPC: `http://host:port[,host:port…]`.
    Mesh {
        endpoint: String,
        api_key: Option<Key>,
    },
    Simulated(Settings),
}

/// An engine that is spoken to over HTTP.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RemoteConfig {
    pub(crate) kind: Kind,
    pub(crate) endpoint: Url,
    pub(crate) api_key: Option<Key>,
    pub(crate) context_tokens: Option<u64>,
    pub(crate) answer_tokens: Option<u64>,
    pub(crate) keep_alive_seconds: Option<i64>,
}

impl Config {
    /// Reads `[inference_adapter]` and `[[deployments]]`; mistakes are noted in the document.
    pub fn read(section: &mut Section, document: &mut Document) -> Self {
        let usual = Terms::usual(section);
        // Often enough that a model that was just started is soon there, and cheap: a handful of GETs.
        let second = Duration::from_secs(1);
        let discovery_interval = section.duration("discovery_interval", 5 * second, 100 * MILLISECOND..=HOUR);
        // An engine that computes may be slow to answer, but not slower than this.
        let probe_timeout = section.duration("probe_timeout", second, 10 * MILLISECOND..=60 * second);
        let generation_probe = GenerationProbe::read(section);
        let places_given = section.has("discover");
        let places = places(section, &usual);
        let (every, mut deployments): (Vec<_>, Vec<_>) =
            read_deployments(document, &usual).into_iter().partition(DeploymentConfig::is_every);
        let nothing_configured = !document.is_from_file() && deployments.is_empty() && every.is_empty();
        // With a file nothing is guessed: only places that it names are looked at.
        let mut discover = if nothing_configured || places_given { places } else { Vec::new() };
        discover.extend(every.into_iter().filter_map(|one| match one.engine {
            EngineConfig::Remote(engine) => Some(Place {
                id: Some(one.id),
                declared: one.declared,
                deny: one.deny,
                generation_probe: one.generation_probe,
                terms: one.terms,
                engine,
            }),
            EngineConfig::Mesh { .. } | EngineConfig::Simulated(_) => None,
        }));
        if nothing_configured {
            deployments.push(DeploymentConfig {
                id: SIMULATED.to_owned(),
                model: SIMULATED.to_owned(),
                declared: Capabilities::default(),
                deny: Vec::new(),
                generation_probe: None,
                terms: usual.clone(),
                engine: EngineConfig::Simulated(Settings::default()),
            });
        }
        Self {
            limits: usual.limits,
            discovery_interval,
            probe_timeout,
            generation_probe,
            deployments,
            discover,
        }
    }
}

impl Config {
    /// Ids of the configured deployments, for what refers to them; `id/` for one that stands for all models of its
    /// engine, whose ids begin so.
    pub fn deployment_ids(&self) -> impl Iterator<Item = String> {
        let every = self.discover.iter().filter_map(|place| place.id.as_ref()).map(|id| format!("{id}/"));
        self.deployments.iter().map(|deployment| deployment.id.clone()).chain(every)
    }

    /// What may change while the adapter runs.
    pub fn configured(&self) -> Configured {
        Configured { deployments: self.deployments.clone(), discover: self.discover.clone() }
    }
}

/// `discover`: endpoints, such as `http://127.0.0.1:8000` or `ollama+http://127.0.0.1:9999`.
fn places(section: &mut Section, usual: &Terms) -> Vec<Place> {
    let given = section.has("discover");
    let mut texts = section.strings("discover");
    if !given {
        texts = WELL_KNOWN.map(str::to_owned).to_vec();
    }
    let place = |text: &String| {
        let (kind, address) = match text.split_once('+') {
            Some((name, address)) if Kind::NAMES.iter().any(|(known, _)| *known == name) => {
                (Kind::NAMES.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind), address)
            }
            _ => (None, text.as_str()),
        };
        match endpoint(address) {
            Ok(endpoint) if kind.is_some_and(|kind| kind.listing(&endpoint).is_none()) => {
                section.mistake("discover", "names an engine that cannot be looked for; use [[deployments]]");
                None
            }
            Ok(endpoint) => {
                let by_port = if endpoint.port() == Some(OLLAMA_PORT) { Kind::Ollama } else { Kind::OpenAi };
                Some(Place::at(kind.unwrap_or(by_port), endpoint, usual))
            }
            Err(message) => {
                section.mistake("discover", message);
                None
            }
        }
    };
    texts.iter().filter_map(place).collect()
}

fn read_deployments(document: &mut Document, usual: &Terms) -> Vec<DeploymentConfig> {
    let mut ids = HashSet::new();
    let sections = document.sections("deployments");
    sections
        .into_iter()
        .map(|mut section| {
            let deployment = read_deployment(&mut section, usual);
            if !ids.insert(deployment.id.clone()) {
                section
                    .mistake("id", format!("is \"{}\", which another deployment has already", deployment.id));
            }
            deployment
        })
        .collect()
}

fn read_deployment(section: &mut Section, usual: &Terms) -> DeploymentConfig {
    let id = section.required_string("id");
    if id.len() > ID_MAX_BYTES || !id.bytes().all(|byte| byte.is_ascii_graphic()) {
        section.mistake("id", format!("must be at most {ID_MAX_BYTES} ASCII characters without spaces"));
    }
    if !section.has("engine") {
        section.mistake("engine", "is required");
    }
    let kind = section.choice("engine", &Kind::NAMES, Kind::OpenAi);
    let declared = declared(section, kind);
    // The simulated engine reads no member that the contract does not name.
    let deny = if kind == Kind::Simulated { Vec::new() } else { section.strings("deny") };
    if deny.iter().any(|name| matches!(name.as_str(), "" | "model" | "messages")) {
        section.mistake("deny", "must name members of requests that the gateway does not need itself");
    }
    let (model, engine) = match kind {
        Kind::Simulated => simulated::read(section, &id),
        Kind::Penstock => mesh(section),
        Kind::OpenAi | Kind::Vllm | Kind::LlamaCpp | Kind::Ollama | Kind::Anthropic => {
            remote(section, kind, &declared)
        }
    };
    let generation_probe =
        section.has("generation_probe").then(|| section.boolean("generation_probe", false));
    let terms = usual.read(section, kind);
    DeploymentConfig { id, model, declared, deny, generation_probe, terms, engine }
}

/// What the file says that the model can do.
fn declared(section: &mut Section, kind: Kind) -> Capabilities {
    let said = capabilities::read(section);
    // 0: as the engine says. Ollama is also asked for so much.
    let context_tokens = match kind {
        Kind::Simulated => 0,
        _ => section.integer("context_tokens", 0, 0..=CONTEXT_TOKENS_MAX),
    };
    let context_tokens = i64::try_from(context_tokens).ok().filter(|tokens| *tokens > 0);
    Capabilities { context_tokens, ..said }
}

/// Another mesh: an address of its router, or of a facade, which passes gRPC on.
fn mesh(section: &mut Section) -> (String, EngineConfig) {
    let model = section.required_string("model");
    let known = section.has("endpoint");
    let endpoint = section.required_string("endpoint");
    if known && !endpoint.is_empty() && Channel::check(&endpoint).is_err() {
        section.mistake("endpoint", "must be of the form \"http://host:port[,host:port…]\" for another mesh");
    }
    let api_key = engine_key(section);
    (model, EngineConfig::Mesh { endpoint, api_key })
}

/// The engine's key: it must fit into a header.
fn engine_key(section: &mut Section) -> Option<Key> {
    let key = section.secret_from_env("api_key_env")?;
    // Spaces: the first key of a mesh may be a sentence.
    if !key.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ') {
        section.mistake("api_key_env", "names a key with characters that no header may have");
    }
    Some(Key::new(key))
}

fn remote(section: &mut Section, kind: Kind, declared: &Capabilities) -> (String, EngineConfig) {
    // Without a list of models there is nothing that the star could stand for.
    let lists = kind != Kind::Anthropic;
    let model = if lists { section.string("model") } else { Some(section.required_string("model")) };
    let model = model.unwrap_or_else(|| EVERY.to_owned());
    if model.is_empty() && lists {
        section.mistake("model", "must not be empty; without it every model of the engine is offered");
    }
    let known = section.has("endpoint");
    let text = section.required_string("endpoint");
    let parsed = if known && !text.is_empty() { endpoint(&text) } else { Err(String::new()) };
    let api_key = engine_key(section);
    let context_tokens = declared
        .context_tokens
        .filter(|_| kind == Kind::Ollama)
        .and_then(|tokens| u64::try_from(tokens).ok());
    // 0: the model's own maximum, as the engine's list of models has it.
    let answer_tokens = match kind {
        Kind::Anthropic => section.integer("answer_tokens", 0, 0..=CONTEXT_TOKENS_MAX),
        _ => 0,
    };
    let answer_tokens = Some(answer_tokens).filter(|tokens| *tokens > 0);
    let keep_alive_seconds = if kind == Kind::Ollama { keep_alive(section) } else { None };
    match parsed {
        Ok(endpoint) => {
            let remote =
                RemoteConfig { kind, endpoint, api_key, context_tokens, answer_tokens, keep_alive_seconds };
            (model, EngineConfig::Remote(remote))
        }
        Err(message) => {
            if !message.is_empty() {
                section.mistake("endpoint", message);
            }
            // Never used, since the mistake is noted; the id must be known to what refers to it.
            (model, EngineConfig::Simulated(Settings::default()))
        }
    }
}

/// How long a model stays loaded after a request: a span, or `forever`. Absent: Ollama's own five minutes.
fn keep_alive(section: &mut Section) -> Option<i64> {
    let text = section.string("keep_alive")?;
    if text == "forever" {
        return Some(-1);
    }
    let span = humantime::parse_duration(&text).ok();
    let seconds = span.and_then(|span| i64::try_from(span.as_secs()).ok());
    if seconds.is_none() {
        section.mistake("keep_alive", "must be a duration such as \"30m\", or \"forever\"");
    }
    seconds
}

/// An endpoint: http or https, with a host, and nothing in it that is secret or means something only to us.
fn endpoint(text: &str) -> Result<Url, String> {
    let wanted = "must be a URL such as \"http://gpu-a:8000/v1\"";
    // The URL itself is not repeated: it may hold a password.
    let url = Url::parse(text).map_err(|error| format!("is not a URL: {error}; {wanted}"))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        Err(wanted.to_owned())
    } else if !url.username().is_empty() || url.password().is_some() {
        Err("must not hold a user or a password; use api_key_env".to_owned())
    } else if url.query().is_some() || url.fragment().is_some() {
        Err("must not have a query or a fragment".to_owned())
    } else {
        Ok(url)
    }
}

#[cfg(test)]
mod tests;
