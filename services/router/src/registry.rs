//! The registry: which models there are, where each runs, and the order in which deployments are asked.
//! Pure: it is built anew from the configuration and what the adapter reports, and then only read.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use crate::config::{ModelConfig, Target};

/// What the adapter reports of a deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Deployment {
    pub(crate) id: String,
    pub(crate) engine: String,
    pub(crate) model: String,
    pub(crate) down: bool,
    /// It is said to answer moderations.
    pub(crate) judges: bool,
}

/// A model and where it runs.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Model {
    pub(crate) name: Arc<str>,
    pub(crate) aliases: Vec<String>,
    pub(crate) owned_by: String,
    /// One of its deployments is said to answer moderations.
    pub(crate) judges: bool,
    targets: Vec<Target>,
    fallbacks: Vec<String>,
}

/// One deployment to ask for one model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) model: Arc<str>,
    pub(crate) deployment: String,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Registry {
    models: BTreeMap<Arc<str>, Model>,
    aliases: HashMap<String, Arc<str>>,
    down: HashMap<String, bool>,
}

impl Registry {
    /// The configured models; if there are none, every reported deployment under the name of its model.
    pub(crate) fn new(configured: &[ModelConfig], reported: &[Deployment]) -> Self {
        let mut registry = Self {
            down: reported.iter().map(|deployment| (deployment.id.clone(), deployment.down)).collect(),
            ..Self::default()
        };
        let judging: Vec<&str> =
            reported.iter().filter(|one| one.judges).map(|one| one.id.as_str()).collect();
        for config in configured {
            registry.add(Model {
                name: config.name.as_str().into(),
                aliases: config.aliases.clone(),
                owned_by: "penstock".to_owned(),
                judges: config.deployments.iter().any(|target| judging.contains(&target.id.as_str())),
                targets: config.deployments.clone(),
                fallbacks: config.fallbacks.clone(),
            });
        }
        if configured.is_empty() {
            registry.add_reported(reported);
        }
        registry
    }

    fn add(&mut self, model: Model) {
        for alias in &model.aliases {
            self.aliases.insert(alias.clone(), Arc::clone(&model.name));
        }
        self.models.insert(Arc::clone(&model.name), model);
    }

    fn add_reported(&mut self, reported: &[Deployment]) {
        for deployment in reported {
            let name: Arc<str> = deployment.model.as_str().into();
            let target = Target { id: deployment.id.clone(), weight: 1.0, priority: 1 };
            let model = self.models.entry(Arc::clone(&name)).or_insert_with(|| Model {
                name,
                aliases: Vec::new(),
                owned_by: deployment.engine.clone(),
                judges: false,
                targets: Vec::new(),
                fallbacks: Vec::new(),
            });
            model.judges |= deployment.judges;
            model.targets.push(target);
        }
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

    /// The deployments to ask for `model`, in order: its own by priority and weight, those known to be down
    /// last, then those of its fallbacks that `allowed` admits. `random` gives numbers from 0 to 1.
    pub(crate) fn candidates(
        &self,
        model: &Model,
        allowed: impl Fn(&Model) -> bool,
        mut random: impl FnMut() -> f64,
    ) -> Vec<Candidate> {
        let mut candidates = self.of_model(model, &mut random);
        for fallback in model.fallbacks.iter().filter_map(|name| self.resolve(name)) {
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
            .targets
            .iter()
            .map(|target| {
                let down = self.down.get(&target.id).copied().unwrap_or(false);
                (down, target.priority, random().powf(1.0 / target.weight), target)
            })
            .collect();
        keyed.sort_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)).then(b.2.total_cmp(&a.2)));
        keyed
            .into_iter()
            .filter(|(_, _, _, target)| target.weight > 0.0 || model.targets.len() == 1)
            .map(|(_, _, _, target)| Candidate {
                model: Arc::clone(&model.name),
                deployment: target.id.clone(),
            })
            .collect()
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
        }
    }

    fn reported(id: &str, down: bool) -> Deployment {
        Deployment {
            id: id.into(),
            engine: "openai".into(),
            model: format!("{id}-model"),
            down,
            judges: false,
        }
    }

    fn order(registry: &Registry, name: &str, allowed: impl Fn(&Model) -> bool) -> Vec<String> {
        let model = registry.resolve(name).unwrap();
        let mut random = fastrand::Rng::with_seed(1);
        registry.candidates(model, allowed, || random.f64()).into_iter().map(|c| c.deployment).collect()
    }

    #[test]
    fn names_and_aliases_resolve_to_one_model() {
        let registry = Registry::new(&[model("m", vec![target("a", 1.0, 1)], &[])], &[]);
        assert_eq!(registry.resolve("m").unwrap().name, registry.resolve("m-alias").unwrap().name);
        assert!(registry.resolve("M").is_none());
    }

    #[test]
    fn without_configured_models_deployments_are_offered_under_their_models_names() {
        let registry = Registry::new(&[], &[reported("a", false), reported("b", false)]);
        let names: Vec<_> = registry.models().map(|model| model.name.to_string()).collect();
        assert_eq!(names, ["a-model", "b-model"]);
        let configured =
            Registry::new(&[model("m", vec![target("a", 1.0, 1)], &[])], &[reported("a", false)]);
        assert!(configured.resolve("a-model").is_none(), "with configured models nothing is guessed");
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
        let registry = Registry::new(&models, &[reported("down", true)]);
        assert_eq!(order(&registry, "m", |_| true), ["first", "later", "down", "fallback"]);
    }

    #[test]
    fn a_model_judges_if_one_of_its_deployments_does() {
        let judging = |id: &str, judges| Deployment { judges, ..reported(id, false) };
        let models = [
            model("chat", vec![target("a", 1.0, 1)], &[]),
            model("judge", vec![target("a", 1.0, 1), target("b", 1.0, 1)], &[]),
        ];
        let deployments = [judging("a", false), judging("b", true)];
        for (registry, judge) in
            [(Registry::new(&models, &deployments), "judge"), (Registry::new(&[], &deployments), "b-model")]
        {
            let judges: Vec<_> =
                registry.models().filter(|model| model.judges).map(|model| model.name.to_string()).collect();
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
        let registry = Registry::new(&models, &[]);
        assert_eq!(order(&registry, "m", |model| &*model.name != "secret"), ["a"]);
    }

    #[test]
    fn weights_are_shares_and_weight_zero_gets_nothing() {
        let targets = vec![target("a", 3.0, 1), target("b", 1.0, 1), target("none", 0.0, 1)];
        let registry = Registry::new(&[model("m", targets, &[])], &[]);
        let model = registry.resolve("m").unwrap();
        let mut random = fastrand::Rng::with_seed(7);
        let mut first_is_a = 0;
        for _ in 0..10_000 {
            let candidates = registry.candidates(model, |_| true, || random.f64());
            assert_eq!(candidates.len(), 2);
            first_is_a += u32::from(candidates[0].deployment == "a");
        }
        assert!((7300..7700).contains(&first_is_a), "{first_is_a}");
    }
}
