//! The bodies of `/admin/v1`, written straight from the contract's messages: its names, words for its enums,
//! milliseconds for its spans, `null` for what is not known or does not apply.

use penstock_proto::{
    adapter::v1::Breaker,
    ratelimit::v1::{LimitState, Unit},
    router::v1::{Attempt, AttemptKind, Candidate, Decision, ExplainResponse, Match, ReloadResponse, Veto},
    status::v1::State,
};
use serde::Serialize;

use crate::json::time::{At, millis};

/// What would happen.
#[derive(Serialize)]
pub(super) struct Explanation<'a> {
    decision: Option<Decided<'a>>,
    limits: Vec<Limit<'a>>,
}

impl<'a> From<&'a ExplainResponse> for Explanation<'a> {
    fn from(answer: &'a ExplainResponse) -> Self {
        Self {
            decision: answer.decision.as_ref().map(Decided::from),
            limits: answer.limits.iter().map(Limit::from).collect(),
        }
    }
}

/// A decision.
#[derive(Serialize)]
pub(super) struct Decided<'a> {
    id: Option<&'a str>,
    made_at: Option<At>,
    request_id: &'a str,
    asked: &'a str,
    model: &'a str,
    r#match: &'static str,
    classification: Option<Classified<'a>>,
    strategy: &'a str,
    needs: &'a [String],
    candidates: Vec<Considered<'a>>,
    fallbacks: &'a [String],
    context_fallbacks: &'a [String],
    filter_fallbacks: &'a [String],
    prompt_tokens: u64,
    completion_tokens: u64,
    attempts: Vec<Attempted<'a>>,
    outcome: Option<&'a str>,
}

impl<'a> From<&'a Decision> for Decided<'a> {
    fn from(decision: &'a Decision) -> Self {
        let classified = decision.classification.as_ref();
        Self {
            id: some(&decision.id),
            made_at: decision.made_at.map(At),
            request_id: &decision.request_id,
            asked: &decision.asked,
            model: &decision.model,
            r#match: how(decision.r#match()),
            classification: classified
                .map(|found| Classified { class: &found.class, reasons: &found.reasons }),
            strategy: &decision.strategy,
            needs: &decision.needs,
            candidates: decision.candidates.iter().map(Considered::from).collect(),
            fallbacks: &decision.fallbacks,
            context_fallbacks: &decision.context_fallbacks,
            filter_fallbacks: &decision.filter_fallbacks,
            prompt_tokens: decision.prompt_tokens,
            completion_tokens: decision.completion_tokens,
            attempts: decision.attempts.iter().map(Attempted::from).collect(),
            outcome: some(&decision.outcome),
        }
    }
}

#[derive(Serialize)]
struct Classified<'a> {
    class: &'a str,
    reasons: &'a [String],
}

/// A deployment that was considered.
#[derive(Serialize)]
struct Considered<'a> {
    deployment: &'a str,
    model: &'a str,
    place: Option<u32>,
    score: Option<f64>,
    score_means: Option<&'a str>,
    vetoes: Vec<Vetoed<'a>>,
    state: &'static str,
    breaker: Option<&'static str>,
    weight: f64,
    priority: u32,
    in_flight: u32,
    first_token_ms: Option<f64>,
    loaded: Option<bool>,
    cost_usd: Option<f64>,
    tags: &'a [String],
}

impl<'a> From<&'a Candidate> for Considered<'a> {
    fn from(candidate: &'a Candidate) -> Self {
        let breaker = match candidate.breaker() {
            Breaker::Unspecified => None,
            Breaker::Closed => Some("closed"),
            Breaker::Open => Some("open"),
            Breaker::HalfOpen => Some("half_open"),
        };
        Self {
            deployment: &candidate.deployment,
            model: &candidate.model,
            place: Some(candidate.place).filter(|place| *place > 0),
            score: candidate.score,
            score_means: some(&candidate.score_means),
            vetoes: candidate.vetoes.iter().map(Vetoed::from).collect(),
            state: state(candidate.state()),
            breaker,
            weight: candidate.weight,
            priority: candidate.priority,
            in_flight: candidate.in_flight,
            first_token_ms: millis(candidate.first_token.as_ref()),
            loaded: candidate.loaded,
            cost_usd: candidate.cost_usd,
            tags: &candidate.tags,
        }
    }
}

#[derive(Serialize)]
struct Vetoed<'a> {
    code: &'a str,
    detail: &'a str,
}

impl<'a> From<&'a Veto> for Vetoed<'a> {
    fn from(veto: &'a Veto) -> Self {
        Self { code: &veto.code, detail: &veto.detail }
    }
}

#[derive(Serialize)]
struct Attempted<'a> {
    deployment: &'a str,
    model: &'a str,
    kind: &'static str,
    started_after_ms: Option<f64>,
    took_ms: Option<f64>,
    outcome: Option<&'a str>,
}

impl<'a> From<&'a Attempt> for Attempted<'a> {
    fn from(attempt: &'a Attempt) -> Self {
        Self {
            deployment: &attempt.deployment,
            model: &attempt.model,
            kind: kind(attempt.kind()),
            started_after_ms: millis(attempt.started_after.as_ref()),
            took_ms: millis(attempt.took.as_ref()),
            outcome: some(&attempt.outcome),
        }
    }
}

/// A limit that applies, as it is.
#[derive(Serialize)]
struct Limit<'a> {
    name: &'a str,
    unit: &'static str,
    limit: u64,
    per_ms: Option<f64>,
    remaining: u64,
    reset_after_ms: Option<f64>,
}

impl<'a> From<&'a LimitState> for Limit<'a> {
    fn from(limit: &'a LimitState) -> Self {
        let unit = match limit.unit() {
            Unit::Requests => "requests",
            Unit::Tokens => "tokens",
            Unit::Unspecified => "unknown",
        };
        Self {
            name: &limit.name,
            unit,
            limit: limit.limit,
            per_ms: millis(limit.per.as_ref()),
            remaining: limit.remaining,
            reset_after_ms: millis(limit.reset_after.as_ref()),
        }
    }
}

/// What a reading of the configuration has changed.
#[derive(Serialize)]
pub(super) struct Reloaded<'a> {
    changed: bool,
    needs_restart: &'a [String],
}

impl<'a> From<&'a ReloadResponse> for Reloaded<'a> {
    fn from(answer: &'a ReloadResponse) -> Self {
        Self { changed: answer.changed, needs_restart: &answer.needs_restart }
    }
}

/// How a model was found.
fn how(how: Match) -> &'static str {
    match how {
        Match::Unspecified => "unknown",
        Match::Name => "name",
        Match::Alias => "alias",
        Match::Case => "case",
        Match::Wildcard => "wildcard",
        Match::Auto => "auto",
    }
}

fn kind(kind: AttemptKind) -> &'static str {
    match kind {
        AttemptKind::Unspecified => "unknown",
        AttemptKind::First => "first",
        AttemptKind::Retry => "retry",
        AttemptKind::Failover => "failover",
        AttemptKind::Fallback => "fallback",
        AttemptKind::Hedge => "hedge",
        AttemptKind::Continue => "continue",
        AttemptKind::Replay => "replay",
    }
}

fn state(state: State) -> &'static str {
    match state {
        State::Unspecified => "UNKNOWN",
        State::Up => "UP",
        State::Degraded => "DEGRADED",
        State::Down => "DOWN",
    }
}

fn some(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}
