//! The registry: which models there are, by which names, and where each runs. Pure: it is built anew from the
//! configuration and what the adapter reports, and then only read.

mod names;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use penstock_proto::{
    adapter::v1::{Breaker, Price},
    inference::v1::Capabilities,
    router::v1::Match,
    status::v1::State,
};
use tokio::time::Instant;

use self::names::Names;
use crate::{
    abilities,
    config::{
        AutoConfig, ModelConfig, Routing, Target,
        pattern::{Pattern, filled},
    },
    hash,
    load::Load,
    needs::Needs,
};

/// How long it takes to load a model where nobody said: some gigabytes from a disk.
const LOAD_TIME: Duration = Duration::from_secs(30);

/// A deployment, as the adapter reports it and this router sees it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Deployment {
    pub(crate) id: String,
    pub(crate) engine: String,
    pub(crate) model: String,
    pub(crate) state: State,
    pub(crate) breaker: Breaker,
    /// When it may be asked again, while its breaker is open.
    pub(crate) retry_at: Option<Instant>,
    pub(crate) capabilities: Option<Capabilities>,
    /// What it is known to be unable to do.
    pub(crate) lacks: Needs,
    /// Found on an engine, all models of which are wanted.
    pub(crate) discovered: bool,
    pub(crate) tags: Vec<String>,
    pub(crate) price: Option<Price>,
    /// The model is in the engine's memory; `None`: the engine does not say.
    pub(crate) loaded: Option<bool>,
    /// How long it takes until it is; `None`: not known.
    pub(crate) load_time: Option<Duration>,
    pub(crate) max_concurrent: u32,
    /// Its engine counts tokens; else its adapter estimates them.
    pub(crate) counts_tokens: bool,
    pub(crate) load: Arc<Load>,
}

impl Deployment {
    /// It is known not to work.
    pub(crate) fn is_down(&self) -> bool {
        self.state == State::Down
    }

    /// What so many tokens of a prompt and of an answer are expected to cost there, in US dollars. `None`: no price is
    /// known.
    #[allow(clippy::cast_precision_loss)] // an estimate
    pub(crate) fn cost(&self, prompt_tokens: u64, completion_tokens: u64) -> Option<f64> {
        let price = self.price?;
        Some((price.input * prompt_tokens as f64 + price.output * completion_tokens as f64) / 1e6)
    }

    /// When it may be asked again, while its breaker is open.
    fn opens_at(&self) -> Option<Instant> {
        self.retry_at.filter(|_| self.breaker == Breaker::Open)
    }

    /// It is let recover: a few requests show whether it is well again.
    pub(crate) fn is_on_probation(&self) -> bool {
        matches!(self.breaker, Breaker::HalfOpen | Breaker::Open)
    }
}

/// A deployment of a model.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) deployment: Arc<Deployment>,
    pub(crate) weight: f64,
    /// 1 divided by the weight: to multiply is quicker.
    pub(crate) lightness: f64,
    pub(crate) priority: u64,
    /// The hash of its id.
    pub(crate) hash: u64,
    // What every choice looks at stands here, side by side, beside what its deployment says.
    /// What the deployment is known to be unable to do.
    pub(crate) lacks: Needs,
    /// Tokens that it holds; as many as there can be, if nobody knows.
    pub(crate) context_tokens: u64,
    /// It is not to be asked before.
    pub(crate) opens_at: Option<Instant>,
    pub(crate) is_down: bool,
    pub(crate) on_probation: bool,
    pub(crate) load: Arc<Load>,
    /// Requests that it works on at once; who says nothing works on one.
    pub(crate) at_once: f64,
    /// Seconds until the model is in its memory.
    pub(crate) load_seconds: f64,
}

/// A model and where it runs.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub(crate) name: Arc<str>,
    pub(crate) owned_by: String,
    /// What at least one of its deployments can do, as far as it is known.
    pub(crate) capabilities: Option<Capabilities>,
    pub(crate) config: Arc<ModelConfig>,
    /// Its deployments by priority, else in the order of the file.
    pub(crate) places: Vec<Place>,
    /// Whose turn it is, where they take turns. It begins anywhere: a registry does not last long.
    pub(crate) turn: Arc<AtomicU64>,
}

impl Model {
    fn new(config: ModelConfig, owned_by: &str) -> Self {
        Self {
            name: config.name.as_str().into(),
            owned_by: owned_by.to_owned(),
            capabilities: None,
            config: Arc::new(config),
            places: Vec::new(),
            turn: Arc::new(AtomicU64::new(u64::from(fastrand::u32(..)))),
        }
    }

    /// Whether an engine that is not known to be down has it in memory. `None`: none of them says.
    pub(crate) fn loaded(&self) -> Option<bool> {
        let up = self.places.iter().filter(|place| !place.deployment.is_down());
        up.filter_map(|place| place.deployment.loaded).reduce(|one, other| one || other)
    }

    /// The ids of the deployments that are asked for it.
    pub(crate) fn deployments(&self) -> impl Iterator<Item = &str> {
        self.asked().map(|target| target.id.as_str())
    }

    /// Where weight 0 says that nobody is to be asked, nobody is, unless there is nobody else.
    fn asked(&self) -> impl Iterator<Item = &Target> {
        let alone = self.config.deployments.len() == 1;
        self.config.deployments.iter().filter(move |target| target.weight > 0.0 || alone)
    }

    /// Looks its deployments up; one of which nothing is known stands for one that nobody reported.
    fn place(&mut self, known: &HashMap<&str, &Arc<Deployment>>) {
        let place = |target: &Target| {
            let deployment = known.get(target.id.as_str()).map_or_else(
                || Arc::new(Deployment { id: target.id.clone(), ..Deployment::default() }),
                |known| Arc::clone(known),
            );
            let context = deployment.capabilities.and_then(|known| known.context_tokens);
            Place {
                weight: target.weight,
                lightness: if target.weight > 0.0 { 1.0 / target.weight } else { 1.0 },
                priority: target.priority,
                hash: hash::bytes(0, target.id.as_bytes()),
                lacks: deployment.lacks,
                context_tokens: context.and_then(|tokens| tokens.try_into().ok()).unwrap_or(u64::MAX),
                opens_at: deployment.opens_at(),
                is_down: deployment.is_down(),
                on_probation: deployment.is_on_probation(),
                load: Arc::clone(&deployment.load),
                at_once: f64::from(deployment.max_concurrent.max(1)),
                load_seconds: match deployment.loaded {
                    Some(false) => deployment.load_time.unwrap_or(LOAD_TIME).as_secs_f64(),
                    _ => 0.0,
                },
                deployment,
            }
        };
        self.places = self.config.deployments.iter().map(place).collect();
        self.places.sort_by_key(|place| place.priority);
        self.capabilities = abilities::of_all(self.places.iter().map(|place| place.deployment.capabilities));
    }
}

/// What a name means.
#[derive(Debug)]
pub(crate) enum Found<'a> {
    Model(&'a Model, Match),
    /// But for upper and lower case it is the name of each of these.
    Ambiguous(Vec<&'a Model>),
    /// What the request looks like says which model it is.
    Auto(&'a AutoConfig),
    Nothing,
}

/// The names of `auto`, where no model has them.
pub(crate) const AUTO: [&str; 2] = ["auto", "dynamic"];

#[derive(Clone, Debug, Default)]
pub(crate) struct Registry {
    models: BTreeMap<Arc<str>, Model>,
    names: Names,
    auto: Option<AutoConfig>,
}

impl Registry {
    /// The configured models, those that the ones with a star stand for, and every deployment that was found on an
    /// engine under the name of its model, unless a configured one has that name; if none are configured, every
    /// reported deployment.
    pub(crate) fn new(routing: &Routing, reported: &[Arc<Deployment>]) -> Self {
        let configured = &routing.models;
        let mut models = BTreeMap::new();
        let mut wild = Vec::new();
        for config in configured {
            match Pattern::of(&config.name) {
                Some(pattern) => wild.push((pattern, config)),
                None => {
                    let model = Model::new(config.clone(), "penstock");
                    models.insert(Arc::clone(&model.name), model);
                }
            }
        }
        let named: HashSet<Arc<str>> = models.keys().cloned().collect();
        // Of two that stand for a name the one that says more of it is meant.
        wild.sort_by_key(|(pattern, _)| std::cmp::Reverse(pattern.weight()));
        let mut expanded = HashSet::new();
        for (_, config) in wild {
            for model in expand(config, reported) {
                if !models.contains_key(&model.name) {
                    expanded.insert(Arc::clone(&model.name));
                    models.insert(Arc::clone(&model.name), model);
                }
            }
        }
        let mut names = Names::of(&models, &named, &expanded);
        let found = reported.iter().filter(|one| configured.is_empty() || one.discovered);
        let mut added = BTreeMap::new();
        for one in found {
            if !names.has(&one.model) {
                add_reported(&mut added, one);
            }
        }
        for name in added.keys() {
            names.add(name, name, Match::Name);
        }
        // Ollama lists `m:latest`, and its callers ask for `m`.
        for name in added.keys() {
            if let Some(untagged) = name.strip_suffix(":latest")
                && !untagged.is_empty()
                && names.by_star(untagged).is_none()
            {
                names.add(untagged, name, Match::Alias);
            }
        }
        models.append(&mut added);
        let known: HashMap<_, _> = reported.iter().map(|one| (one.id.as_str(), one)).collect();
        models.values_mut().for_each(|model| model.place(&known));
        Self { models, names, auto: routing.auto.clone() }
    }

    /// What a name means: a name or an alias, one but for upper and lower case, `auto`, one with a star.
    pub(crate) fn find(&self, name: &str) -> Found<'_> {
        let model = |name: &Arc<str>| self.models.get(name);
        if let Some((name, how)) = self.names.exactly(name)
            && let Some(model) = model(name)
        {
            return Found::Model(model, how);
        }
        match self.names.folded(name) {
            [] => {}
            [one] => {
                if let Some(model) = model(one) {
                    return Found::Model(model, Match::Case);
                }
            }
            several => return Found::Ambiguous(several.iter().filter_map(model).collect()),
        }
        let is_auto = || AUTO.iter().any(|auto| auto.eq_ignore_ascii_case(name));
        if let Some(auto) = self.auto.as_ref().filter(|_| is_auto()) {
            return Found::Auto(auto);
        }
        match self.names.by_star(name).and_then(model) {
            Some(model) => Found::Model(model, Match::Wildcard),
            None => Found::Nothing,
        }
    }

    /// The one model that a name means.
    pub(crate) fn resolve(&self, name: &str) -> Option<&Model> {
        match self.find(name) {
            Found::Model(model, _) => Some(model),
            _ => None,
        }
    }

    /// What `auto` means; `None`: nothing, or it is the name of a model.
    pub(crate) fn auto(&self) -> Option<&AutoConfig> {
        self.auto.as_ref().filter(|_| matches!(self.find(AUTO[0]), Found::Auto(_)))
    }

    /// The names that upper and lower case alone tell apart, in lower case, with the models that have them.
    pub(crate) fn ambiguous(&self) -> BTreeMap<String, Vec<Arc<str>>> {
        self.names.ambiguous()
    }

    /// All models, by name.
    pub(crate) fn models(&self) -> impl Iterator<Item = &Model> {
        self.models.values()
    }

    /// The models that are asked instead of `model`, in order.
    pub(crate) fn fallbacks<'a>(&'a self, model: &'a Model) -> impl Iterator<Item = &'a Model> {
        self.chain(&model.config.fallbacks)
    }

    /// The models of these names, as far as they are there.
    pub(crate) fn chain<'a>(&'a self, names: &'a [String]) -> impl Iterator<Item = &'a Model> {
        names.iter().filter_map(|name| self.resolve(name))
    }
}

/// Offers a deployment under the name of its model.
fn add_reported(models: &mut BTreeMap<Arc<str>, Model>, deployment: &Deployment) {
    let target = Target { id: deployment.id.clone(), weight: 1.0, priority: 1 };
    let model = models.entry(deployment.model.as_str().into()).or_insert_with(|| {
        let config = ModelConfig { name: deployment.model.clone(), ..ModelConfig::default() };
        Model::new(config, &deployment.engine)
    });
    Arc::make_mut(&mut model.config).deployments.push(target);
}

/// The models that one with a star stands for: one for every text that gives ids of reported deployments.
fn expand(config: &ModelConfig, reported: &[Arc<Deployment>]) -> Vec<Model> {
    let mut by_star: BTreeMap<&str, Vec<Target>> = BTreeMap::new();
    for target in &config.deployments {
        let Some(pattern) = Pattern::of(&target.id) else { continue };
        for id in reported.iter().map(|one| one.id.as_str()) {
            if let Some(star) = pattern.star(id) {
                let target = Target { id: id.to_owned(), ..target.clone() };
                by_star.entry(star).or_default().push(target);
            }
        }
    }
    let models = by_star.into_iter().map(|(star, deployments)| {
        let all = |names: &[String]| names.iter().map(|name| filled(name, star)).collect();
        let config = ModelConfig {
            name: filled(&config.name, star),
            aliases: all(&config.aliases),
            fallbacks: all(&config.fallbacks),
            context_fallbacks: all(&config.context_fallbacks),
            filter_fallbacks: all(&config.filter_fallbacks),
            deployments,
            ..config.clone()
        };
        Model::new(config, "penstock")
    });
    models.collect()
}

#[cfg(test)]
mod tests;
