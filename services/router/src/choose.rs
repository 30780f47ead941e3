//! The choice: which deployments are asked for a request, in which order, and why not the others. Pure.

use std::sync::Arc;

use penstock_proto::{Error, auth::v1::Principal, router::v1::Match};

use crate::{
    decision::{Considered, Decision, Route, Vetoes},
    needs::Needs,
    principals::may_use,
    registry::{Model, Registry},
};

/// What is asked, as far as the choice depends on it.
#[derive(Debug)]
pub(crate) struct Asked<'a> {
    /// The name that was asked for.
    pub(crate) name: &'a str,
    pub(crate) needs: Needs,
    /// Estimated.
    pub(crate) prompt_tokens: u64,
    /// What may be generated at most, or what is reserved for it.
    pub(crate) completion_tokens: u64,
    pub(crate) principal: &'a Principal,
}

/// Whom to ask for `model`, in order, and why.
///
/// # Errors
/// There are deployments, and none of them can do what is asked.
pub(crate) fn choose(
    registry: &Registry,
    model: &Model,
    asked: &Asked<'_>,
) -> Result<(Route, Decision), Error> {
    let (route, decision) = weigh(registry, model, asked);
    Ok((route?, decision))
}

/// As [`choose`], with a decision even where nobody can be asked: then it says why not.
pub(crate) fn weigh(
    registry: &Registry,
    model: &Model,
    asked: &Asked<'_>,
) -> (Result<Route, Error>, Decision) {
    let allowed = |model: &Model| may_use(asked.principal, &model.name, &model.name);
    let all = registry.candidates(model, allowed, fastrand::f64);
    let mut considered: Vec<_> = all
        .iter()
        .map(|candidate| Considered {
            candidate: candidate.clone(),
            score: None,
            vetoes: if asked.needs.both(candidate.deployment.lacks).is_empty() {
                Vetoes::default()
            } else {
                Vetoes::LACKS
            },
            weight: 1.0,
            priority: 1,
        })
        .collect();
    considered.sort_by_key(|one| one.vetoes != Vetoes::default());
    let policy = Arc::clone(&model.config);
    let decision = Decision {
        asked: asked.name.to_owned(),
        model: Arc::clone(&model.name),
        how: Match::Name,
        classification: None,
        strategy: policy.strategy,
        needs: asked.needs,
        considered,
        prompt_tokens: asked.prompt_tokens,
        completion_tokens: asked.completion_tokens,
        policy: Arc::clone(&policy),
    };
    let tokens = asked.prompt_tokens.saturating_add(asked.completion_tokens);
    let route =
        asked.needs.sift(all).map(|candidates| Route { candidates, policy, tokens, ..Route::default() });
    (route, decision)
}
