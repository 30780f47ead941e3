//! Why nobody can be asked: what is said to the caller, the most telling reason first.

use penstock_proto::{
    Error, Reason, Violation,
    metadata::{MAX_COST, MAX_LATENCY, TAGS},
};

use super::Chooser;
use crate::{
    decision::{Vetoes, dollars},
    registry::{Deployment, Place},
    service::RETRY_AFTER,
};

/// What a caller can say, with the veto that it causes.
const STEERED: [(Vetoes, &str); 3] =
    [(Vetoes::TAG, TAGS), (Vetoes::COST, MAX_COST), (Vetoes::LATENCY, MAX_LATENCY)];

impl<R> Chooser<'_, R> {
    /// Why none of these can be asked. `None`: there is nobody, and nothing to be said of it.
    pub(super) fn refusal(&self, vetoed: &[(&Place, Vetoes)]) -> Option<Error> {
        let left = vetoed.iter().filter(|(_, vetoes)| !vetoes.has(Vetoes::WEIGHT));
        let left: Vec<_> = left.map(|(place, vetoes)| (&*place.deployment, *vetoes)).collect();
        if left.is_empty() {
            return None;
        }
        let able = without(&left, Vetoes::LACKS);
        if able.is_empty() {
            let lacks = left.iter().map(|(deployment, _)| deployment.lacks);
            return Some(self.asked.needs.refusal(lacks));
        }
        let roomy = without(&able, Vetoes::CONTEXT);
        if roomy.is_empty() {
            return Some(self.too_long(&able));
        }
        let steered = Vetoes::TAG.and(Vetoes::COST).and(Vetoes::LATENCY);
        let wanted: Vec<_> = roomy.iter().copied().filter(|(_, vetoes)| !vetoes.meets(steered)).collect();
        if wanted.is_empty() {
            return Some(self.steered_away(&roomy));
        }
        let opens = wanted.iter().filter_map(|(deployment, _)| deployment.retry_at).min();
        let after = opens.map_or(RETRY_AFTER, |at| at.saturating_duration_since(self.now));
        let message =
            "no deployment of the model is available: each failed too often and is left alone for now";
        Some(Error::new(Reason::CircuitOpen, message).with_retry_after(after))
    }

    fn too_long(&self, all: &[(&Deployment, Vetoes)]) -> Error {
        let contexts = all.iter().filter_map(|(deployment, _)| deployment.capabilities?.context_tokens);
        let context = contexts.max().unwrap_or_default();
        let prompt = self.least_tokens;
        let message =
            format!("a prompt of at least {prompt} tokens does not fit into a context of {context} tokens");
        Error::new(Reason::ContextLengthExceeded, message)
    }

    fn steered_away(&self, all: &[(&Deployment, Vetoes)]) -> Error {
        let by_all = |veto| all.iter().all(|(_, vetoes)| vetoes.has(veto));
        let by_some = |veto| all.iter().any(|(_, vetoes)| vetoes.has(veto));
        let one_is_enough = STEERED.iter().any(|(veto, _)| by_all(*veto));
        let named = STEERED.iter().filter(|(veto, _)| by_all(*veto) || (!one_is_enough && by_some(*veto)));
        let violations = named.map(|(veto, key)| {
            let mut message = self.steered_by(*veto, all);
            if !one_is_enough {
                message.push_str(", together with what else is said");
            }
            Violation::new(*key, message)
        });
        Error::unsupported(violations.collect())
    }

    fn steered_by(&self, veto: Vetoes, all: &[(&Deployment, Vetoes)]) -> String {
        let steering = self.asked.steering;
        match veto {
            Vetoes::TAG => {
                format!(
                    "no deployment of the model has all of `{}`: leave some out",
                    steering.tags.join("`, `")
                )
            }
            Vetoes::COST => {
                let costs = all.iter().filter_map(|(deployment, _)| self.cost(deployment));
                let least = costs.min_by(f64::total_cmp);
                let least = least.map_or("no price is known".to_owned(), |cost| {
                    format!("the least that is expected is {} US dollars", dollars(cost))
                });
                format!("no deployment of the model costs so little ({least}): raise it or leave it out")
            }
            _ => {
                "no deployment of the model is expected to begin so soon: raise it or leave it out".to_owned()
            }
        }
    }
}

fn without<'a>(all: &[(&'a Deployment, Vetoes)], veto: Vetoes) -> Vec<(&'a Deployment, Vetoes)> {
    all.iter().copied().filter(|(_, vetoes)| !vetoes.has(veto)).collect()
}
