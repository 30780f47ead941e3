//! The reading of `[[models]]`: every mistake is named with its line.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use penstock_chassis::config::{Document, Section};

use super::{
    pattern::Pattern,
    routing::{Affinity, AfterCommit, Hedge, HoldBack, ModelConfig, STRATEGIES, Strategy, Target},
};

/// A chain of models that are asked instead, and how to read it off a model.
type Chain = (&'static str, fn(&ModelConfig) -> &[String]);

const CHAINS: [Chain; 3] = [
    ("fallbacks", |model| &model.fallbacks),
    ("context_fallbacks", |model| &model.context_fallbacks),
    ("filter_fallbacks", |model| &model.filter_fallbacks),
];

pub(super) fn read(document: &mut Document, deployments: &[String]) -> Vec<ModelConfig> {
    let mut sections = document.sections("models");
    let models: Vec<_> = sections.iter_mut().map(|section| read_model(section, deployments)).collect();
    let mut names = HashSet::new();
    for (section, model) in sections.iter().zip(&models) {
        for (key, name) in names_of(model) {
            if !name.is_empty() && !names.insert(name) {
                section.mistake(key, format!("\"{name}\" is the name of another model already"));
            }
        }
    }
    let book = Book(models.iter().map(|model| (model.name.as_str(), model)).collect());
    for (section, model) in sections.iter().zip(&models) {
        for chain in CHAINS {
            book.check(section, model, chain);
        }
    }
    models
}

/// The name and the aliases, each with its key.
fn names_of(model: &ModelConfig) -> impl Iterator<Item = (&'static str, &str)> {
    let aliases = model.aliases.iter().map(|alias| ("aliases", alias.as_str()));
    std::iter::once(("name", model.name.as_str())).chain(aliases)
}

fn read_model(section: &mut Section, deployments: &[String]) -> ModelConfig {
    let name = section.required_string("name");
    let has_star = name.contains('*');
    let targets = read_targets(section, deployments, has_star);
    let strategy = section.choice("strategy", &STRATEGIES, Strategy::Weighted);
    let model = ModelConfig {
        name,
        aliases: section.strings("aliases"),
        deployments: targets,
        strategy,
        affinity: read_affinity(section, strategy),
        fallbacks: section.strings("fallbacks"),
        context_fallbacks: section.strings("context_fallbacks"),
        filter_fallbacks: section.strings("filter_fallbacks"),
        hedge: read_hedge(section),
        hold_back: read_hold_back(section),
        after_commit: section.choice(
            "after_commit",
            &[
                ("best", AfterCommit::Best),
                ("continue", AfterCommit::Continue),
                ("replay", AfterCommit::Replay),
                ("error", AfterCommit::Error),
            ],
            AfterCommit::Best,
        ),
    };
    for (key, name) in names_of(&model) {
        if name.contains('*') && Pattern::of(name).is_none() {
            section.mistake(key, format!("\"{name}\" has more than one *"));
        } else if has_star && !name.contains('*') {
            section.mistake(key, format!("\"{name}\" must have a *, as the model's name has one"));
        }
    }
    model
}

fn read_targets(section: &mut Section, deployments: &[String], has_star: bool) -> Vec<Target> {
    let mut targets: Vec<Target> = Vec::new();
    for mut target in section.tables_or_strings("deployments", "id") {
        let id = target.required_string("id");
        if id.contains('*') && !has_star {
            target.mistake("id", format!("\"{id}\" has a *, and the model's name has none"));
        } else if !id.is_empty() && has_star && Pattern::of(&id).is_none() {
            target.mistake("id", format!("\"{id}\" must have one *, as the model's name has one"));
        } else if !id.is_empty() && !deployments.iter().any(|known| stands_for(known, &id)) {
            target.mistake("id", format!("\"{id}\" is not the id of a deployment"));
        } else if targets.iter().any(|other| other.id == id) {
            target.mistake("id", format!("\"{id}\" is a deployment of the model already"));
        }
        let weight = target.float("weight", 1.0, 0.0..=1e6);
        let priority = target.integer("priority", 1, 0..=1000);
        targets.push(Target { id, weight, priority });
    }
    if targets.is_empty() {
        section.mistake("deployments", "must name at least one deployment");
    }
    targets
}

fn read_affinity(section: &mut Section, strategy: Strategy) -> Affinity {
    let default = Affinity::default();
    let Some(mut affinity) = section.optional_table("affinity") else { return default };
    if strategy != Strategy::Affinity {
        section.mistake("affinity", "means nothing without strategy = \"affinity\"");
    }
    let default_bytes = default.prefix_bytes as u64;
    Affinity {
        prefix_bytes: usize::try_from(affinity.bytes("prefix_bytes", default_bytes, 1..=1 << 20))
            .unwrap_or(default.prefix_bytes),
        // At 1 a deployment that has its share already is passed over; below, all would be.
        load_factor: affinity.float("load_factor", default.load_factor, 1.0..=100.0),
    }
}

fn read_hedge(section: &mut Section) -> Option<Hedge> {
    if section.says("hedge", "p95") {
        return Some(Hedge::P95);
    }
    let times = Duration::from_millis(1)..=Duration::from_secs(600);
    section.has("hedge").then(|| Hedge::After(section.duration("hedge", *times.end(), times)))
}

fn read_hold_back(section: &mut Section) -> HoldBack {
    let Some(mut table) = section.optional_table("hold_back") else { return HoldBack::default() };
    if !table.has("chars") {
        table.mistake("chars", "is required");
    }
    let chars = table.integer("chars", 0, 1..=100_000);
    // A quarter of a second is hardly seen before a text begins.
    let times = Duration::from_millis(1)..=Duration::from_secs(10);
    let time = table.duration("time", Duration::from_millis(250), times);
    HoldBack { chars: usize::try_from(chars).unwrap_or_default(), time }
}

/// Whether a deployment is that one, or one of those that `known`, ending with `/`, stands for; `id` may have a
/// star itself.
fn stands_for(known: &str, id: &str) -> bool {
    let of_many = known.ends_with('/');
    match Pattern::of(id) {
        Some(pattern) => pattern.star(known).is_some() || (of_many && pattern.overlaps(known)),
        None => known == id || (of_many && id.starts_with(known)),
    }
}

/// The configured models by their names.
struct Book<'a>(HashMap<&'a str, &'a ModelConfig>);

impl<'a> Book<'a> {
    /// The model that a name in a chain stands for: of that very name, or with a star that stands for some of it.
    fn find(&self, name: &str) -> Option<&'a ModelConfig> {
        let by_star = || {
            let models = self.0.values().filter_map(|model| Some((Pattern::of(&model.name)?, *model)));
            let matching = models.filter(|(pattern, _)| pattern.star(name).is_some());
            matching.max_by_key(|(pattern, _)| pattern.weight()).map(|(_, model)| model)
        };
        self.0.get(name).copied().or_else(by_star)
    }

    fn check(&self, section: &Section, model: &ModelConfig, (key, chain): Chain) {
        let mut seen = HashSet::new();
        for name in chain(model) {
            if !seen.insert(name) {
                section.mistake(key, format!("\"{name}\" is named twice"));
            } else if name.contains('*') && !model.name.contains('*') {
                section.mistake(key, format!("\"{name}\" has a *, and the model's name has none"));
            } else {
                match self.find(name) {
                    None => section.mistake(key, format!("\"{name}\" is not the name of a model")),
                    Some(other) if other.name == model.name => {
                        section.mistake(key, format!("\"{name}\" is the model itself"));
                    }
                    Some(other) if self.reaches(other, &model.name, chain, &mut HashSet::new()) => {
                        section.mistake(key, format!("\"{name}\" falls back to \"{}\" itself", model.name));
                    }
                    Some(_) => {}
                }
            }
        }
    }

    fn reaches(
        &self,
        from: &'a ModelConfig,
        to: &str,
        chain: fn(&ModelConfig) -> &[String],
        seen: &mut HashSet<&'a str>,
    ) -> bool {
        from.name == to
            || seen.insert(&from.name)
                && chain(from)
                    .iter()
                    .filter_map(|next| self.find(next))
                    .any(|next| self.reaches(next, to, chain, seen))
    }
}
