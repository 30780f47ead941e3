//! Decisions in words: what was considered, in which order it is asked, and why the rest is not. Pure; what it
//! reads is as it was when the decision was made.

use std::time::Duration;

use penstock_proto::{
    Reason,
    router::v1::{
        Attempt as AttemptMessage, Candidate as CandidateMessage, Classification as ClassificationMessage,
        Decision as DecisionMessage, Veto,
    },
};
use tokio::time::Instant;

use crate::{
    config::Strategy,
    decision::{Considered, Decision, Vetoes, dollars},
    decisions::{Attempt, Seen, Trail},
    registry::Deployment,
};

/// A decision that nothing came of: it was only asked for. `refused`: why nobody would be asked.
pub(crate) fn dry_run(decision: &Decision, refused: Option<Reason>, now: Instant) -> DecisionMessage {
    let seen: Vec<_> = decision.considered.iter().map(Seen::from).collect();
    DecisionMessage {
        outcome: refused.map(|reason| reason.as_str().to_owned()).unwrap_or_default(),
        ..in_words(decision, &seen, now)
    }
}

/// A decision that was kept, and what came of it.
pub(crate) fn kept(trail: &Trail) -> DecisionMessage {
    let entry = trail.entry();
    let log = trail.so_far();
    DecisionMessage {
        id: entry.id.to_string(),
        made_at: Some(entry.made_at.into()),
        request_id: entry.request_id.clone(),
        attempts: log.attempts.iter().map(attempt).collect(),
        outcome: log.outcome.unwrap_or_default().to_owned(),
        ..in_words(&entry.decision, &entry.seen, entry.made)
    }
}

fn in_words(decision: &Decision, seen: &[Seen], now: Instant) -> DecisionMessage {
    let policy = &decision.policy;
    let mut places = 0;
    let candidates = decision.considered.iter().zip(seen).map(|(considered, seen)| {
        let is_asked = considered.vetoes == Vetoes::default();
        places += u32::from(is_asked);
        let place = if is_asked { places } else { 0 };
        Told { decision, considered, seen, place, now }.candidate()
    });
    DecisionMessage {
        asked: decision.asked.clone(),
        model: decision.model.to_string(),
        r#match: decision.how.into(),
        classification: decision.classification.as_ref().map(|found| ClassificationMessage {
            class: found.class.to_owned(),
            reasons: found.reasons.clone(),
        }),
        strategy: decision.strategy.name().to_owned(),
        needs: decision.needs.words().map(str::to_owned).collect(),
        candidates: candidates.collect(),
        fallbacks: policy.fallbacks.clone(),
        context_fallbacks: policy.context_fallbacks.clone(),
        filter_fallbacks: policy.filter_fallbacks.clone(),
        prompt_tokens: decision.prompt_tokens,
        completion_tokens: decision.completion_tokens,
        ..DecisionMessage::default()
    }
}

/// One that was considered, about to be told of.
#[derive(Clone, Copy)]
struct Told<'a> {
    decision: &'a Decision,
    considered: &'a Considered,
    seen: &'a Seen,
    place: u32,
    now: Instant,
}

impl Told<'_> {
    fn candidate(self) -> CandidateMessage {
        let Considered { candidate, score, weight, priority, .. } = self.considered;
        let deployment = &candidate.deployment;
        // A fallback may have another strategy, and its deployments stand behind those of the model anyway.
        let score = score.filter(|score| score.is_finite() && candidate.model == self.decision.model);
        CandidateMessage {
            deployment: deployment.id.clone(),
            model: candidate.model.to_string(),
            place: self.place,
            score,
            score_means: score.map(|_| score_means(self.decision.strategy).to_owned()).unwrap_or_default(),
            vetoes: self.vetoes(),
            state: deployment.state.into(),
            breaker: deployment.breaker.into(),
            weight: *weight,
            priority: u32::try_from(*priority).unwrap_or(u32::MAX),
            in_flight: self.seen.in_flight,
            first_token: self.seen.expected.and_then(|span| span.try_into().ok()),
            loaded: deployment.loaded,
            cost_usd: cost(deployment, self.decision),
            tags: deployment.tags.clone(),
        }
    }

    fn vetoes(self) -> Vec<Veto> {
        let set = self.considered.vetoes;
        let vetoes = VETOES.iter().filter(|(veto, _)| set.0 & veto.0 != 0);
        vetoes.map(|(veto, code)| Veto { code: (*code).to_owned(), detail: self.why(*veto) }).collect()
    }

    /// A reason not to ask it, in words.
    fn why(self, veto: Vetoes) -> String {
        let deployment = &self.considered.candidate.deployment;
        match veto {
            Vetoes::CIRCUIT_OPEN => {
                let left = deployment.retry_at.map(|at| at.saturating_duration_since(self.now));
                let left = left.map(|left| format!(" for another {}", span(left))).unwrap_or_default();
                format!("it failed too often and is left alone{left}")
            }
            Vetoes::LACKS => {
                let lacks = self.decision.needs.both(deployment.lacks).words();
                format!("it is known to lack {}", lacks.collect::<Vec<_>>().join(", "))
            }
            Vetoes::CONTEXT => {
                let tokens = self.decision.prompt_tokens;
                let holds = deployment.capabilities.and_then(|known| known.context_tokens);
                let holds = holds.map(|holds| format!("; it holds {holds}")).unwrap_or_default();
                format!("a prompt of about {tokens} tokens does not fit into its context{holds}")
            }
            Vetoes::TAG if deployment.tags.is_empty() => {
                "it has no tags, and x-penstock-tags asks for some".to_owned()
            }
            Vetoes::TAG => {
                format!("it lacks a tag that x-penstock-tags asks for; it has {}", deployment.tags.join(", "))
            }
            Vetoes::COST => match cost(deployment, self.decision) {
                Some(cost) => {
                    let cost = dollars(cost);
                    format!("{cost} US dollars are more than x-penstock-max-cost allows")
                }
                None => "nobody knows what it costs, and x-penstock-max-cost sets a ceiling".to_owned(),
            },
            Vetoes::LATENCY => {
                let expected =
                    self.seen.expected.map(|expected| format!(", expected after {},", span(expected)));
                let loading = deployment.loaded == Some(false);
                let loading = if loading { " (the model would have to be loaded first)" } else { "" };
                let expected = expected.unwrap_or_default();
                format!("its first token{expected} comes later than x-penstock-max-latency allows{loading}")
            }
            Vetoes::WEIGHT => "its weight is 0".to_owned(),
            Vetoes::NOT_ALLOWED => {
                format!("the API key may not use the model `{}`", self.considered.candidate.model)
            }
            _ => "enough others come before it".to_owned(),
        }
    }
}

/// Every veto with its name, in the order in which they are told.
const VETOES: [(Vetoes, &str); 9] = [
    (Vetoes::NOT_ALLOWED, "NOT_ALLOWED"),
    (Vetoes::LACKS, "LACKS"),
    (Vetoes::CONTEXT, "CONTEXT"),
    (Vetoes::TAG, "TAG"),
    (Vetoes::COST, "COST"),
    (Vetoes::LATENCY, "LATENCY"),
    (Vetoes::CIRCUIT_OPEN, "CIRCUIT_OPEN"),
    (Vetoes::WEIGHT, "WEIGHT"),
    (Vetoes::ATTEMPTS, "ATTEMPTS"),
];

/// What a strategy's number means; lower is better with each.
fn score_means(strategy: Strategy) -> &'static str {
    match strategy {
        Strategy::Weighted => "a draw, by weight",
        Strategy::LeastLatency => "seconds to the first token, expected, for each request in progress",
        Strategy::LeastBusy => "requests in progress, by weight",
        Strategy::Cheapest => "US dollars, expected",
        Strategy::RoundRobin => "its turn, by weight",
        Strategy::Affinity => "rank by the session or the beginning of the prompt",
        Strategy::LoadedFirst => "seconds to the first token, expected, with the loading of the model",
        Strategy::Priority => "place in the configuration",
    }
}

/// What the request is expected to cost there, in US dollars.
fn cost(deployment: &Deployment, decision: &Decision) -> Option<f64> {
    deployment.cost(decision.prompt_tokens, decision.completion_tokens)
}

/// `340 ms` or `2.5 s`.
fn span(span: Duration) -> String {
    if span < Duration::from_secs(1) {
        format!("{} ms", span.as_millis())
    } else {
        format!("{:.1} s", span.as_secs_f64())
    }
}

fn attempt(attempt: &Attempt) -> AttemptMessage {
    AttemptMessage {
        deployment: attempt.candidate.id().to_owned(),
        model: attempt.candidate.model.to_string(),
        kind: attempt.kind.into(),
        started_after: attempt.started_after.try_into().ok(),
        took: attempt.took.and_then(|took| took.try_into().ok()),
        outcome: attempt.outcome.unwrap_or_default().to_owned(),
    }
}

#[cfg(test)]
mod tests;
