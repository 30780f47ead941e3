//! What callers may ask for, and which way their requests go: `[[models]]` and `[auto]`. It may change while the
//! process runs.

use std::time::Duration;

use penstock_chassis::config::Document;

pub use super::auto::AutoConfig;
use super::{auto, models};

/// Which models there are, and how their deployments are chosen.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Routing {
    /// The models; without any, every deployment is offered under the name of its model.
    pub models: Vec<ModelConfig>,
    /// What `auto` and `dynamic` mean; `None`: nothing, they are names like any other.
    pub auto: Option<AutoConfig>,
}

/// How a model's deployments of one priority are put in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strategy {
    /// At random, by their weights.
    #[default]
    Weighted,
    /// The better of two by peak EWMA of the time to the first token.
    LeastLatency,
    /// The one with the fewest requests, by weight.
    LeastBusy,
    /// The one where the request is expected to cost least.
    Cheapest,
    /// One after the other, by their weights.
    RoundRobin,
    /// Always the same for a session or the beginning of a prompt, unless it has too much to do.
    Affinity,
    /// The one that is expected to begin first, where loading a model costs its time.
    LoadedFirst,
    /// In the order of the file.
    Priority,
}

/// What requests have in common that are to go to one deployment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Affinity {
    /// Bytes of the beginning of the prompt that count where the request names no session.
    pub prefix_bytes: usize,
    /// A deployment that has more than so many times its share is passed over.
    pub load_factor: f64,
}

impl Default for Affinity {
    fn default() -> Self {
        // A system prompt and the beginning of a conversation; as Google's paper on bounded loads has it.
        Self { prefix_bytes: 1024, load_factor: 1.25 }
    }
}

/// When a second deployment is asked beside one that is slow to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hedge {
    /// After the time within which 95 of 100 of its requests had their first token.
    P95,
    /// After this time.
    After(Duration),
}

/// How much of an answer is held back, so that a failover stays unseen for longer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HoldBack {
    /// Until there are so many characters of it. 0: its first content goes out at once.
    pub chars: usize,
    /// But no longer than this after its first content.
    pub time: Duration,
}

/// What is done about an answer that breaks after some of it was passed on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AfterCommit {
    /// The next deployment goes on where it can, else says it again, else it is an error.
    #[default]
    Best,
    /// The next deployment that can go on from what was said does, else it is an error.
    Continue,
    /// The next deployment says it again; what is the same is skipped.
    Replay,
    /// It ends with an error.
    Error,
}

/// A model that callers may ask for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ModelConfig {
    /// Its name; with one `*` in it, all models of such names.
    pub name: String,
    /// Other names that it answers to; they may have a `*`, too.
    pub aliases: Vec<String>,
    /// Where it runs.
    pub deployments: Vec<Target>,
    /// How its deployments are put in order.
    pub strategy: Strategy,
    /// For the strategy of that name.
    pub affinity: Affinity,
    /// Models asked instead, in this order, if no deployment of this one gives an answer.
    pub fallbacks: Vec<String>,
    /// Models asked instead if the prompt is too long for this one.
    pub context_fallbacks: Vec<String>,
    /// Models asked instead if an engine's content filter refuses. Empty: a refusal is an answer.
    pub filter_fallbacks: Vec<String>,
    /// When a second deployment is asked beside a slow one. `None`: never.
    pub hedge: Option<Hedge>,
    /// How much of an answer is held back.
    pub hold_back: HoldBack,
    /// What is done about an answer that breaks.
    pub after_commit: AfterCommit,
}

/// A deployment of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// Id of the deployment; for a model with a `*`, one with a `*` that stands for the same text.
    pub id: String,
    /// Share of the traffic among targets of the same priority.
    pub weight: f64,
    /// Lower is asked first.
    pub priority: u64,
}

/// The strategies by their names.
pub(super) const STRATEGIES: [(&str, Strategy); 8] = [
    ("weighted", Strategy::Weighted),
    ("least-latency", Strategy::LeastLatency),
    ("least-busy", Strategy::LeastBusy),
    ("cheapest", Strategy::Cheapest),
    ("round-robin", Strategy::RoundRobin),
    ("affinity", Strategy::Affinity),
    ("loaded-first", Strategy::LoadedFirst),
    ("priority", Strategy::Priority),
];

impl Strategy {
    /// Its name in the configuration.
    pub fn name(self) -> &'static str {
        STRATEGIES.iter().find(|(_, strategy)| *strategy == self).map_or("", |(name, _)| name)
    }
}

impl Routing {
    /// Reads `[[models]]` and `[auto]`. `deployments`: see [`super::Config::read`].
    pub fn read(document: &mut Document, deployments: &[String]) -> Self {
        let models = models::read(document, deployments);
        // Where models are found on engines their names are not known yet.
        let may_be_found = models.is_empty() || deployments.iter().any(|known| known.ends_with('/'));
        let auto = auto::read(document, &models, may_be_found);
        Self { models, auto }
    }
}
