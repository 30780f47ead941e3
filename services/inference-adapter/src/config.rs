//! Configuration of the adapter: its own section, and the deployments. With a file nothing is guessed; without
//! one, and without deployments, the engines on well-known ports are looked for.

use std::{collections::HashSet, ops::RangeInclusive, time::Duration};

use penstock_chassis::config::{Document, Section};
use reqwest::Url;
use secrecy::SecretString;

use crate::{
    engine::{Kind, Pace},
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
/// Longest id of a deployment, in bytes: it travels in metadata and labels.
const ID_MAX_BYTES: usize = 256;

const MILLISECOND: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3600);

/// The adapter's configuration.
#[derive(Debug)]
pub struct Config {
    pub(crate) limits: Limits,
    pub(crate) discovery_interval: Duration,
    pub(crate) probe_timeout: Duration,
    pub(crate) max_streams_per_deployment: u32,
    pub(crate) deployments: Vec<DeploymentConfig>,
    /// Where to look for engines; empty: nowhere.
    pub(crate) discover: Vec<Place>,
}

/// A place where an engine may listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) kind: Kind,
    pub(crate) endpoint: Url,
}

/// A deployment as configured.
#[derive(Debug)]
pub(crate) struct DeploymentConfig {
    pub(crate) id: String,
    pub(crate) model: String,
    pub(crate) engine: EngineConfig,
}

/// The engine of a deployment.
#[derive(Debug)]
pub(crate) enum EngineConfig {
    Remote { kind: Kind, endpoint: Url, api_key: Option<SecretString>, context_tokens: Option<u64> },
    Simulated(Pace),
}

impl Config {
    /// Reads `[inference_adapter]` and `[[deployments]]`; mistakes are noted in the document.
    pub fn read(section: &mut Section, document: &mut Document) -> Self {
        let limits = limits(section);
        // Often enough that a model that was just started is soon there, and cheap: a handful of GETs.
        let second = Duration::from_secs(1);
        let discovery_interval = section.duration("discovery_interval", 5 * second, 100 * MILLISECOND..=HOUR);
        // An engine that computes may be slow to answer, but not slower than this.
        let probe_timeout = section.duration("probe_timeout", second, 10 * MILLISECOND..=60 * second);
        // More streams than any engine batches; keeps one engine from taking the adapter's memory.
        let max_streams = section.integer("max_streams_per_deployment", 1024, 1..=1_000_000);
        let places_given = section.has("discover");
        let places = places(section);
        let mut deployments = read_deployments(document);
        let nothing_configured = !document.is_from_file() && deployments.is_empty();
        // With a file nothing is guessed: only places that it names are looked at.
        let discover = if nothing_configured || places_given { places } else { Vec::new() };
        if nothing_configured {
            deployments.push(DeploymentConfig {
                id: SIMULATED.to_owned(),
                model: SIMULATED.to_owned(),
                engine: EngineConfig::Simulated(Pace { delay: Duration::ZERO, tokens_per_second: 50.0 }),
            });
        }
        Self {
            limits,
            discovery_interval,
            probe_timeout,
            max_streams_per_deployment: u32::try_from(max_streams).unwrap_or(u32::MAX),
            deployments,
            discover,
        }
    }
}

impl Config {
    /// Ids of the configured deployments, for what refers to them.
    pub fn deployment_ids(&self) -> impl Iterator<Item = &str> {
        self.deployments.iter().map(|deployment| deployment.id.as_str())
    }

    /// Whether any engine is reached over TLS.
    pub(crate) fn needs_tls(&self) -> bool {
        let configured = self.deployments.iter().filter_map(|deployment| match &deployment.engine {
            EngineConfig::Remote { endpoint, .. } => Some(endpoint),
            EngineConfig::Simulated(_) => None,
        });
        configured.chain(self.discover.iter().map(|place| &place.endpoint)).any(|url| url.scheme() == "https")
    }
}

fn limits(section: &mut Section) -> Limits {
    let second = Duration::from_secs(1);
    let range: RangeInclusive<Duration> = 10 * MILLISECOND..=HOUR;
    let bytes = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    Limits {
        // A host that is there takes a connection in milliseconds, over an ocean in a second.
        connect_timeout: section.duration("connect_timeout", 2 * second, range.clone()),
        // Loading a large model from disk takes a minute or two.
        first_token_timeout: section.duration("first_token_timeout", 120 * second, range.clone()),
        // A loaded engine that says nothing for so long is stuck.
        stall_timeout: section.duration("stall_timeout", 60 * second, range.clone()),
        // A plain answer says nothing until all of it is generated: the facade's default deadline.
        answer_timeout: section.duration("answer_timeout", 600 * second, range),
        // A frame is a token, or a whole tool call; a log-probability list takes some kilobytes.
        frame_max_bytes: bytes(section.bytes("frame_max_bytes", 1 << 20, 1 << 10..=256 << 20)),
        // As large as the largest request that the facade takes; at most half of a gRPC message.
        answer_max_bytes: bytes(section.bytes("answer_max_bytes", 32 << 20, 1 << 10..=64 << 20)),
        // So many vectors of 4096 numbers, 22 bytes each at most, are 23 MB: they fit into the default above.
        // At most as many as OpenAI takes.
        embedding_batch_max: bytes(section.integer("embedding_batch_max", 256, 1..=2048)),
    }
}

/// `discover`: endpoints, such as `http://127.0.0.1:8000` or `ollama+http://127.0.0.1:9999`.
fn places(section: &mut Section) -> Vec<Place> {
    let given = section.has("discover");
    let mut texts = section.strings("discover");
    if !given {
        texts = WELL_KNOWN.map(str::to_owned).to_vec();
    }
    let place = |text: &String| {
        let (kind, address) = match text.split_once('+') {
            Some(("ollama", address)) => (Some(Kind::Ollama), address),
            Some(("openai", address)) => (Some(Kind::OpenAi), address),
            _ => (None, text.as_str()),
        };
        match endpoint(address) {
            Ok(endpoint) => {
                let by_port = if endpoint.port() == Some(OLLAMA_PORT) { Kind::Ollama } else { Kind::OpenAi };
                Some(Place { kind: kind.unwrap_or(by_port), endpoint })
            }
            Err(message) => {
                section.mistake("discover", message);
                None
            }
        }
    };
    texts.iter().filter_map(place).collect()
}

fn read_deployments(document: &mut Document) -> Vec<DeploymentConfig> {
    let mut ids = HashSet::new();
    let sections = document.sections("deployments");
    sections
        .into_iter()
        .map(|mut section| {
            let deployment = read_deployment(&mut section);
            if !ids.insert(deployment.id.clone()) {
                section
                    .mistake("id", format!("is \"{}\", which another deployment has already", deployment.id));
            }
            deployment
        })
        .collect()
}

fn read_deployment(section: &mut Section) -> DeploymentConfig {
    let id = section.required_string("id");
    if id.len() > ID_MAX_BYTES || !id.bytes().all(|byte| byte.is_ascii_graphic()) {
        section.mistake("id", format!("must be at most {ID_MAX_BYTES} ASCII characters without spaces"));
    }
    if !section.has("engine") {
        section.mistake("engine", "is required");
    }
    let kind = section.choice("engine", &Kind::NAMES, Kind::OpenAi);
    let (model, engine) = match kind {
        Kind::Simulated => simulated(section, &id),
        Kind::OpenAi | Kind::Ollama => remote(section, kind),
    };
    DeploymentConfig { id, model, engine }
}

fn simulated(section: &mut Section, id: &str) -> (String, EngineConfig) {
    for key in ["endpoint", "api_key_env"] {
        if section.string(key).is_some() {
            section.mistake(key, "is not for the simulated engine");
        }
    }
    let model = section.string("model").unwrap_or_else(|| id.to_owned());
    let delay = section.duration("delay", Duration::ZERO, Duration::ZERO..=HOUR);
    let tokens_per_second = section.float("tokens_per_second", 50.0, 0.1..=1_000_000.0);
    (model, EngineConfig::Simulated(Pace { delay, tokens_per_second }))
}

fn remote(section: &mut Section, kind: Kind) -> (String, EngineConfig) {
    let model = section.required_string("model");
    let known = section.has("endpoint");
    let text = section.required_string("endpoint");
    let parsed = if known && !text.is_empty() { endpoint(&text) } else { Err(String::new()) };
    let api_key = section.secret_from_env("api_key_env");
    if api_key.as_ref().is_some_and(|key| !key.bytes().all(|byte| byte.is_ascii_graphic())) {
        section.mistake("api_key_env", "names a key with characters that no header may have");
    }
    // 0: the engine's own default. Only Ollama lets its callers choose.
    let context_tokens = match kind {
        Kind::Ollama => section.integer("context_tokens", 0, 0..=100_000_000),
        Kind::OpenAi | Kind::Simulated => 0,
    };
    match parsed {
        Ok(endpoint) => {
            let context_tokens = Some(context_tokens).filter(|tokens| *tokens > 0);
            let api_key = api_key.map(Into::into);
            (model, EngineConfig::Remote { kind, endpoint, api_key, context_tokens })
        }
        Err(message) => {
            if !message.is_empty() {
                section.mistake("endpoint", message);
            }
            // Never used, since the mistake is noted; the id must be known to what refers to it.
            (model, EngineConfig::Simulated(Pace { delay: Duration::ZERO, tokens_per_second: 1.0 }))
        }
    }
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
