//! What every name means: exactly, but for upper and lower case, or by an alias with a star.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use penstock_proto::router::v1::Match;

use super::Model;
use crate::config::pattern::Pattern;

/// Names to the registered names of models.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    exact: HashMap<String, (Arc<str>, Match)>,
    /// By the name in lower case.
    folded: HashMap<String, Vec<Arc<str>>>,
    /// Aliases with a star; those that say most of a name come first.
    starred: Vec<(String, Arc<str>)>,
}

impl Names {
    /// The names of the configured models: `named` ones by their very names, `expanded` ones by a star. A name goes
    /// before an alias, and what is written before what a star stands for.
    pub(super) fn of(
        models: &BTreeMap<Arc<str>, Model>,
        named: &HashSet<Arc<str>>,
        expanded: &HashSet<Arc<str>>,
    ) -> Self {
        let mut names = Self::default();
        for (of, name_is, alias_is) in
            [(named, Match::Name, Match::Alias), (expanded, Match::Wildcard, Match::Wildcard)]
        {
            let of = || models.values().filter(|model| of.contains(&model.name));
            for model in of() {
                names.add(&model.name, &model.name, name_is);
            }
            for (alias, model) in of().flat_map(|model| model.config.aliases.iter().map(move |a| (a, model)))
            {
                if alias.contains('*') {
                    names.starred.push((alias.clone(), Arc::clone(&model.name)));
                } else {
                    names.add(alias, &model.name, alias_is);
                }
            }
        }
        let weight = |alias: &str| Pattern::of(alias).map(|pattern| pattern.weight());
        names.starred.sort_by_key(|(alias, _)| std::cmp::Reverse(weight(alias)));
        names
    }

    /// Adds a name, unless it means something already.
    pub(super) fn add(&mut self, name: &str, model: &Arc<str>, how: Match) {
        if self.has(name) {
            return;
        }
        self.exact.insert(name.to_owned(), (Arc::clone(model), how));
        let alike = self.folded.entry(name.to_lowercase()).or_default();
        if !alike.contains(model) {
            alike.push(Arc::clone(model));
        }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.exact.contains_key(name)
    }

    pub(super) fn exactly(&self, name: &str) -> Option<(&Arc<str>, Match)> {
        self.exact.get(name).map(|(model, how)| (model, *how))
    }

    /// Those that have the name, but for upper and lower case.
    pub(super) fn folded(&self, name: &str) -> &[Arc<str>] {
        self.folded.get(&name.to_lowercase()).map_or(&[], Vec::as_slice)
    }

    /// The one with an alias whose star can stand for the rest of the name; else, if there is only one, that of
    /// which this is so but for upper and lower case.
    pub(super) fn by_star(&self, name: &str) -> Option<&Arc<str>> {
        let is_of = |alias: &str, name: &str| Pattern::of(alias).is_some_and(|one| one.star(name).is_some());
        if let Some((_, model)) = self.starred.iter().find(|(alias, _)| is_of(alias, name)) {
            return Some(model);
        }
        let name = name.to_lowercase();
        let folded = self.starred.iter().map(|(alias, model)| (alias.to_lowercase(), model));
        let mut folded = folded.filter(|(alias, _)| is_of(alias, &name));
        let (first, model) = folded.next()?;
        (!folded.any(|(alias, other)| alias == first && other != model)).then_some(model)
    }

    /// The names, in lower case, that are those of several models, each written otherwise.
    pub(super) fn ambiguous(&self) -> BTreeMap<String, Vec<Arc<str>>> {
        let ambiguous = self.folded.iter().filter(|(_, models)| models.len() > 1);
        ambiguous.map(|(name, models)| (name.clone(), models.clone())).collect()
    }
}
