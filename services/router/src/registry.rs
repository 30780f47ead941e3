//! The registry: which models there are, where each runs, and the order in which deployments are asked.
//! Pure: it is built anew from the configuration and what the adapter reports, and then only read.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use penstock_proto::{
    adapter::v1::{Breaker, Price},
    inference::v1::Capabilities,
    status::v1::State,
};
use tokio::time::Instant;

use crate::{
    abilities,
    config::{ModelConfig, Routing, Target},
    decision::Candidate,
    load::Load,
    needs::Needs,
};

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
    pub(crate) load: Arc<Load>,
}

impl Deployment {
    /// It is known not to work.
    pub(crate) fn is_down(&self) -> bool {
        self.state == State::Down
    }
}

/// A model and where it runs.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub(crate) name: Arc<str>,
    pub(crate) owned_by: String,
    /// What at least one of its deployments can do, as far as it is known.
    pub(crate) capabilities: Option<Capabilities>,
    pub(crate) config: Arc<ModelConfig>,
}

impl Model {
    /// The ids of the deployments that are asked for it.
    pub(crate) fn deployments(&self) -> impl Iterator<Item = &str> {
        self.asked().map(|target| target.id.as_str())
    }

    /// Where weight 0 says that nobody is to be asked, nobody is, unless there is nobody else.
    fn asked(&self) -> impl Iterator<Item = &Target> {
        let alone = self.config.deployments.len() == 1;
        self.config.deployments.iter().filter(move |target| target.weight > 0.0 || alone)
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Registry {
    models: BTreeMap<Arc<str>, Model>,
    aliases: HashMap<String, Arc<str>>,
    known: HashMap<String, Arc<Deployment>>,
}

impl Registry {
    /// The configured models, and every deployment that was found on an engine under the name of its model, unless
    /// a configured one has that name; if none are configured, every reported deployment.
    pub(crate) fn new(routing: &Routing, reported: &[Arc<Deployment>]) -> Self {
        let configured = &routing.models;
        let known = reported.iter().map(|deployment| (deployment.id.clone(), Arc::clone(deployment)));
        let mut registry = Self { known: known.collect(), ..Self::default() };
        for config in configured {
            registry.add(Model {
                name: config.name.as_str().into(),
                owned_by: "penstock".to_owned(),
                capabilities: None,
                config: Arc::new(config.clone()),
            });
        }
        let taken: HashSet<Arc<str>> = registry.models.keys().cloned().collect();
        let found = reported.iter().filter(|one| configured.is_empty() || one.discovered);
        for one in found {
            if !taken.contains(one.model.as_str()) && !registry.aliases.contains_key(&one.model) {
                registry.add_reported(one);
            }
        }
        let Self { models, known, .. } = &mut registry;
        for model in models.values_mut() {
            let of_targets =
                model.config.deployments.iter().map(|target| known.get(&target.id)?.capabilities);
            model.capabilities = abilities::of_all(of_targets);
        }
        registry
    }

    fn add(&mut self, model: Model) {
        for alias in &model.config.aliases {
            self.aliases.insert(alias.clone(), Arc::clone(&model.name));
        }
        self.models.insert(Arc::clone(&model.name), model);
    }

    /// Offers a deployment under the name of its model.
    fn add_reported(&mut self, deployment: &Deployment) {
        let name: Arc<str> = deployment.model.as_str().into();
        let target = Target { id: deployment.id.clone(), weight: 1.0, priority: 1 };
        let model = self.models.entry(Arc::clone(&name)).or_insert_with(|| Model {
            name,
            owned_by: deployment.engine.clone(),
            capabilities: None,
            config: Arc::new(ModelConfig { name: deployment.model.clone(), ..ModelConfig::default() }),
        });
        Arc::make_mut(&mut model.config).deployments.push(target);
    }

    /// The model of that name or alias.
    pub(crate) fn resolve(&self, name: &str) -> Option<&Model> {
        let name = self.aliases.get(name).map_or(name, |name| name);
        self.models.get(name)
    }

    /// All models, by name.
    pub(crate) fn models(&self) -> impl Iterator<Item = &Model> {
        self.models.values()
    }

    /// The models that are asked instead of `model`, in order.
    pub(crate) fn fallbacks<'a>(&'a self, model: &'a Model) -> impl Iterator<Item = &'a Model> {
        model.config.fallbacks.iter().filter_map(|name| self.resolve(name))
    }

    /// The deployments to ask for `model`, in order: its own by priority and weight, those known to be down
    /// last, then those of its fallbacks that `allowed` admits. `random` gives numbers from 0 to 1.
    pub(crate) fn candidates(
        &self,
        model: &Model,
        allowed: impl Fn(&Model) -> bool,
        mut random: impl FnMut() -> f64,
    ) -> Vec<Candidate> {
        let mut candidates = self.of_model(model, &mut random);
        for fallback in self.fallbacks(model) {
            if allowed(fallback) {
                candidates.extend(self.of_model(fallback, &mut random));
            }
        }
        candidates
    }

    fn of_model(&self, model: &Model, random: &mut impl FnMut() -> f64) -> Vec<Candidate> {
        // A weighted order without replacement: the largest of random^(1/weight) comes first
        // (Efraimidis and Spirakis, 2006).
        let mut keyed: Vec<_> = model
            .asked()
            .map(|target| (self.deployment(&target.id), random().powf(1.0 / target.weight), target))
            .collect();
        keyed.sort_by(|(a, a_share, a_target), (b, b_share, b_target)| {
            let order = (a.is_down(), a_target.priority).cmp(&(b.is_down(), b_target.priority));
            order.then(b_share.total_cmp(a_share))
        });
        keyed
            .into_iter()
            .map(|(deployment, _, _)| Candidate { model: Arc::clone(&model.name), deployment })
            .collect()
    }

    /// The deployment of that id; one of which nothing is known, if nobody reported it.
    fn deployment(&self, id: &str) -> Arc<Deployment> {
        let unknown = || Arc::new(Deployment { id: id.to_owned(), ..Deployment::default() });
        self.known.get(id).map_or_else(unknown, Arc::clone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(id: &str, weight: f64, priority: u64) -> Target {
        Target { id: id.into(), weight, priority }
    }

    fn model(name: &str, targets: Vec<Target>, fallbacks: &[&str]) -> ModelConfig {
        ModelConfig {
            name: name.into(),
            aliases: vec![format!("{name}-alias")],
            deployments: targets,
            fallbacks: fallbacks.iter().map(ToString::to_string).collect(),
            ..ModelConfig::default()
        }
    }

    fn reported(id: &str, down: bool) -> Deployment {
        let model = format!("{id}-model");
        let state = if down { State::Down } else { State::Up };
        Deployment { id: id.into(), engine: "openai".into(), model, state, ..Deployment::default() }
    }

    fn built(models: &[ModelConfig], reported: &[Deployment]) -> Registry {
        let reported: Vec<_> = reported.iter().cloned().map(Arc::new).collect();
        Registry::new(&Routing { models: models.to_vec(), auto: None }, &reported)
    }

    fn order(registry: &Registry, name: &str, allowed: impl Fn(&Model) -> bool) -> Vec<String> {
        let model = registry.resolve(name).unwrap();
        let mut random = fastrand::Rng::with_seed(1);
        registry.candidates(model, allowed, || random.f64()).into_iter().map(|c| c.id().to_owned()).collect()
    }

    #[test]
    fn names_and_aliases_resolve_to_one_model() {
        let registry = built(&[model("m", vec![target("a", 1.0, 1)], &[])], &[]);
        assert_eq!(registry.resolve("m").unwrap().name, registry.resolve("m-alias").unwrap().name);
        assert!(registry.resolve("M").is_none());
    }

    #[test]
    fn without_configured_models_deployments_are_offered_under_their_models_names() {
        let registry = built(&[], &[reported("a", false), reported("b", false)]);
        let names: Vec<_> = registry.models().map(|model| model.name.to_string()).collect();
        assert_eq!(names, ["a-model", "b-model"]);
        let configured = built(&[model("m", vec![target("a", 1.0, 1)], &[])], &[reported("a", false)]);
        assert!(configured.resolve("a-model").is_none(), "with configured models nothing is guessed");
    }

    #[test]
    fn what_was_found_is_offered_beside_configured_models_and_never_in_their_place() {
        let found = |id: &str, model: &str| Deployment {
            model: model.into(),
            discovered: true,
            ..reported(id, false)
        };
        let reported =
            [found("gpu/x", "x"), found("lab/x", "x"), found("gpu/m", "m"), found("gpu/a", "m-alias")];
        let registry = built(&[model("m", vec![target("a", 1.0, 1)], &[])], &reported);
        let names: Vec<_> = registry.models().map(|model| model.name.to_string()).collect();
        assert_eq!(names, ["m", "x"]);
        assert_eq!(order(&registry, "m", |_| true), ["a"]);
        assert_eq!(order(&registry, "m-alias", |_| true), ["a"]);
        assert_eq!(order(&registry, "x", |_| true).len(), 2);
    }

    #[test]
    fn lower_priority_first_those_that_are_down_last_fallbacks_after_all() {
        let models = [
            model(
                "m",
                vec![target("later", 1.0, 2), target("down", 1.0, 1), target("first", 1.0, 1)],
                &["n"],
            ),
            model("n", vec![target("fallback", 1.0, 1)], &[]),
        ];
        let registry = built(&models, &[reported("down", true)]);
        assert_eq!(order(&registry, "m", |_| true), ["first", "later", "down", "fallback"]);
    }

    #[test]
    fn a_model_judges_if_one_of_its_deployments_does() {
        let judging = |id: &str, judges| {
            let capabilities = Some(Capabilities { moderations: Some(judges), ..Capabilities::default() });
            Deployment { capabilities, ..reported(id, false) }
        };
        let models = [
            model("chat", vec![target("a", 1.0, 1)], &[]),
            model("judge", vec![target("a", 1.0, 1), target("b", 1.0, 1)], &[]),
        ];
        let deployments = [judging("a", false), judging("b", true)];
        for (registry, judge) in
            [(built(&models, &deployments), "judge"), (built(&[], &deployments), "b-model")]
        {
            let judges = |model: &&Model| model.capabilities.is_some_and(|can| can.moderations == Some(true));
            let judges: Vec<_> =
                registry.models().filter(judges).map(|model| model.name.to_string()).collect();
            assert_eq!(judges, [judge]);
        }
    }

    /// B7: a fallback never widens rights.
    #[test]
    fn a_fallback_that_is_not_allowed_is_not_asked() {
        let models = [
            model("m", vec![target("a", 1.0, 1)], &["secret"]),
            model("secret", vec![target("b", 1.0, 1)], &[]),
        ];
        let registry = built(&models, &[]);
        assert_eq!(order(&registry, "m", |model| &*model.name != "secret"), ["a"]);
    }

    #[test]
    fn weights_are_shares_and_weight_zero_gets_nothing() {
        let targets = vec![target("a", 3.0, 1), target("b", 1.0, 1), target("none", 0.0, 1)];
        let registry = built(&[model("m", targets, &[])], &[]);
        let model = registry.resolve("m").unwrap();
        let mut random = fastrand::Rng::with_seed(7);
        let mut first_is_a = 0;
        for _ in 0..10_000 {
            let candidates = registry.candidates(model, |_| true, || random.f64());
            assert_eq!(candidates.len(), 2);
            first_is_a += u32::from(candidates[0].id() == "a");
        }
        assert!((7300..7700).contains(&first_is_a), "{first_is_a}");
    }

    #[test]
    fn a_model_can_what_one_of_its_deployments_can_configured_or_found() {
        let able = |id: &str, tools| {
            let capabilities = Some(Capabilities { tools: Some(tools), ..Capabilities::default() });
            Deployment { model: "x".into(), capabilities, ..reported(id, false) }
        };
        let deployments = [able("a", false), able("b", true)];
        let configured = [model("x", vec![target("a", 1.0, 1)], &[])];
        for (registry, tools) in [(built(&configured, &deployments), false), (built(&[], &deployments), true)]
        {
            assert_eq!(registry.resolve("x").unwrap().capabilities.unwrap().tools, Some(tools));
        }
    }
}
