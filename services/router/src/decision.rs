//! A decision: which deployments are asked for a request, in which order, and why not the others. Made by
//! `choose`, kept by `decisions`, put into words by `explain`.

use std::sync::Arc;

use penstock_proto::router::v1::Match;

use crate::{
    config::{ModelConfig, Strategy},
    needs::Needs,
    registry::Deployment,
};

/// One deployment to ask for one model.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    /// The registered name.
    pub(crate) model: Arc<str>,
    pub(crate) deployment: Arc<Deployment>,
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Self) -> bool {
        (&self.model, self.id()) == (&other.model, other.id())
    }
}

impl Candidate {
    /// The deployment's id.
    pub(crate) fn id(&self) -> &str {
        &self.deployment.id
    }
}

/// Where a request may go, in order, and what holds on its way.
#[derive(Clone, Debug, Default)]
pub(crate) struct Route {
    /// The model's own deployments first, then those of its fallbacks.
    pub(crate) candidates: Vec<Candidate>,
    /// Those to ask instead if the prompt is too long for the one that was asked: only larger contexts, or unknown.
    pub(crate) on_context: Vec<Candidate>,
    /// Those to ask instead if a content filter refuses. Empty: the refusal is the answer.
    pub(crate) on_filter: Vec<Candidate>,
    /// The configuration of the model.
    pub(crate) policy: Arc<ModelConfig>,
    /// Estimated tokens, prompt and answer together: what it weighs in an adapter's queue.
    pub(crate) tokens: u64,
}

/// Why a deployment is not asked: a set, a bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Vetoes(pub(crate) u16);

impl Vetoes {
    /// Its circuit breaker is open.
    pub(crate) const CIRCUIT_OPEN: Vetoes = Vetoes(1);
    /// It is known to be unable to do something that the request needs.
    pub(crate) const LACKS: Vetoes = Vetoes(1 << 1);
    /// The prompt does not fit into its context.
    pub(crate) const CONTEXT: Vetoes = Vetoes(1 << 2);
    /// It lacks a tag that the caller wants.
    pub(crate) const TAG: Vetoes = Vetoes(1 << 3);
    /// It would cost more than the caller wants to pay.
    pub(crate) const COST: Vetoes = Vetoes(1 << 4);
    /// Its first token would come later than the caller wants.
    pub(crate) const LATENCY: Vetoes = Vetoes(1 << 5);
    /// Its weight is 0, and there are others.
    pub(crate) const WEIGHT: Vetoes = Vetoes(1 << 6);
    /// The caller may not use its model.
    pub(crate) const NOT_ALLOWED: Vetoes = Vetoes(1 << 7);
    /// There are enough before it.
    pub(crate) const ATTEMPTS: Vetoes = Vetoes(1 << 8);

    /// These and those.
    pub(crate) const fn and(self, other: Vetoes) -> Vetoes {
        Vetoes(self.0 | other.0)
    }

    /// Whether there is one of `others` among them.
    pub(crate) const fn meets(self, others: Vetoes) -> bool {
        self.0 & others.0 != 0
    }

    /// Whether this one is among them.
    pub(crate) const fn has(self, veto: Vetoes) -> bool {
        self.meets(veto)
    }

    /// Nothing is in the way.
    pub(crate) const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// A deployment that was considered.
#[derive(Clone, Debug)]
pub(crate) struct Considered {
    pub(crate) candidate: Candidate,
    /// What the strategy gives it, lower is better; `None`: the strategy gives none.
    pub(crate) score: Option<f64>,
    /// Empty: it is asked.
    pub(crate) vetoes: Vetoes,
    pub(crate) weight: f64,
    pub(crate) priority: u64,
}

/// What a request for `auto` was taken for.
#[derive(Clone, Debug)]
pub(crate) struct Classification {
    /// simple, medium or complex.
    pub(crate) class: &'static str,
    pub(crate) reasons: Vec<String>,
}

/// A decision.
#[derive(Clone, Debug, Default)]
pub(crate) struct Decision {
    /// The name that was asked for.
    pub(crate) asked: String,
    /// The registered name of the model.
    pub(crate) model: Arc<str>,
    pub(crate) how: Match,
    pub(crate) classification: Option<Classification>,
    pub(crate) strategy: Strategy,
    pub(crate) needs: Needs,
    /// First those that are asked, in order; then the others.
    pub(crate) considered: Vec<Considered>,
    pub(crate) prompt_tokens: u64,
    pub(crate) completion_tokens: u64,
    pub(crate) policy: Arc<ModelConfig>,
}

/// US dollars, to the millionth, and of less at least two digits: what a short text costs is not nothing.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // bounded
pub(crate) fn dollars(cost: f64) -> String {
    let digits = if cost > 0.0 { (1.0 - cost.log10().floor()).clamp(6.0, 12.0) as usize } else { 6 };
    format!("{cost:.digits$}")
}

/// What a caller says about the way of a request, by metadata.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Steering {
    /// Requests of one session go to one deployment.
    pub(crate) session: Option<String>,
    /// Only deployments that have all of these.
    pub(crate) tags: Vec<String>,
    /// Most US dollars.
    pub(crate) max_cost: Option<f64>,
    /// Longest time to the first token that may be expected.
    pub(crate) max_latency: Option<std::time::Duration>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_costs_are_not_called_nothing() {
        for (cost, told) in [
            (0.0, "0.000000"),
            (1.5, "1.500000"),
            (0.000_517, "0.000517"),
            (0.000_000_1, "0.00000010"),
            (0.000_000_052, "0.000000052"),
        ] {
            assert_eq!(dollars(cost), told);
        }
    }
}
