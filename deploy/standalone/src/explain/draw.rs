//! Draws a decision as text: what was asked and what it means, then who is asked in which order and why the rest is
//! not, then what was attempted and what the limits are. Pure.

use std::fmt::Write as _;

use penstock_proto::{
    adapter::v1::Breaker,
    ratelimit::v1::{LimitState, Unit},
    router::v1::{Attempt, AttemptKind, Candidate, Decision, ExplainResponse, Match},
};
use std::time::Duration;

use crate::{
    caller::moment,
    status::{latency, plain, state},
    table::table,
};

/// What would happen.
pub(super) fn explanation(answer: &ExplainResponse) -> String {
    let decision = answer.decision.clone().unwrap_or_default();
    let fate = match decision.outcome.as_str() {
        "" => "it would be asked as follows; nothing was".to_owned(),
        reason => format!("it would be refused: {}", plain(reason)),
    };
    let mut text = drawn(&decision, &fate);
    if !answer.limits.is_empty() {
        text.push_str("\nlimits, of which nothing was taken\n");
        text.push_str(&indented(&table(&answer.limits.iter().map(limit).collect::<Vec<_>>())));
    }
    text
}

/// What was decided, and what came of it.
pub(super) fn decision(decision: &Decision) -> String {
    let fate = match decision.outcome.as_str() {
        "" => "it has not ended yet".to_owned(),
        "OK" => "it was answered".to_owned(),
        reason => format!("it ended with {}", plain(reason)),
    };
    let mut text = drawn(decision, &fate);
    let made = moment(decision.made_at).unwrap_or_default();
    let _ = writeln!(text, "\n{} of request {}, {made}", plain(&decision.id), plain(&decision.request_id));
    if decision.attempts.is_empty() {
        text.push_str("nothing was attempted\n");
    } else {
        let mut rows =
            vec![["DEPLOYMENT", "MODEL", "WHAT FOR", "BEGAN AFTER", "TOOK", "OUTCOME"].map(str::to_owned)];
        rows.extend(decision.attempts.iter().map(attempt));
        text.push_str("attempts\n");
        text.push_str(&indented(&table(&rows)));
    }
    text
}

fn drawn(decision: &Decision, fate: &str) -> String {
    let mut rows = vec![("outcome", fate.to_owned())];
    if let Some(found) = &decision.classification {
        let reasons = found.reasons.iter().map(|reason| plain(reason)).collect::<Vec<_>>().join(", ");
        rows.push(("class", format!("{}: {reasons}", plain(&found.class))));
    }
    if !decision.needs.is_empty() {
        rows.push(("needs", listed(&decision.needs, ", ")));
    }
    let Decision { prompt_tokens, completion_tokens, .. } = decision;
    rows.push((
        "tokens",
        format!("{prompt_tokens} of the prompt, {completion_tokens} of the answer, estimated"),
    ));
    for (name, models) in [
        ("fallbacks", &decision.fallbacks),
        ("too long", &decision.context_fallbacks),
        ("filtered", &decision.filter_fallbacks),
    ] {
        if !models.is_empty() {
            rows.push((name, listed(models, " → ")));
        }
    }
    let mut text = format!(
        "{} → {} {}, by {}\n",
        plain(&decision.asked),
        plain(&decision.model),
        how(decision.r#match()),
        plain(&decision.strategy)
    );
    for (name, value) in rows {
        let _ = writeln!(text, "  {name:<9}  {value}");
    }
    text.push('\n');
    if decision.candidates.is_empty() {
        text.push_str("no deployment is known that could answer\n");
        return text;
    }
    let titles = [
        "",
        "DEPLOYMENT",
        "MODEL",
        "STATE",
        "PRIORITY",
        "WEIGHT",
        "SCORE",
        "FIRST TOKEN",
        "IN FLIGHT",
        "COST",
        "WHY NOT",
    ];
    let mut cells = vec![titles.map(str::to_owned)];
    cells.extend(decision.candidates.iter().map(candidate));
    text.push_str(&table(&without_empty(cells)));
    let mut meanings: Vec<_> = decision.candidates.iter().map(|one| one.score_means.as_str()).collect();
    meanings.retain(|means| !means.is_empty());
    meanings.dedup();
    if let Some(means) = meanings.first() {
        let _ = writeln!(text, "score: {}; lower is better", plain(means));
    }
    text
}

/// Takes away the titles of columns that nobody has anything for.
fn without_empty<const N: usize>(mut rows: Vec<[String; N]>) -> Vec<[String; N]> {
    let (titles, rest) = match rows.split_first_mut() {
        Some(split) => split,
        None => return rows,
    };
    for (column, title) in titles.iter_mut().enumerate() {
        if rest.iter().all(|row| row.get(column).is_none_or(String::is_empty)) {
            title.clear();
        }
    }
    rows
}

fn candidate(candidate: &Candidate) -> [String; 11] {
    let place = if candidate.place == 0 { "-".to_owned() } else { candidate.place.to_string() };
    let breaker = match candidate.breaker() {
        Breaker::Unspecified | Breaker::Closed => "",
        Breaker::Open => ", circuit open",
        Breaker::HalfOpen => ", circuit half open",
    };
    let vetoes: Vec<_> = candidate
        .vetoes
        .iter()
        .map(|veto| format!("{}: {}", plain(&veto.code), plain(&veto.detail)))
        .collect();
    [
        place,
        plain(&candidate.deployment),
        plain(&candidate.model),
        format!("{}{breaker}", state(candidate.state())),
        candidate.priority.to_string(),
        format!("{}", candidate.weight),
        candidate.score.map(number).unwrap_or_default(),
        latency(candidate.first_token).unwrap_or_default(),
        candidate.in_flight.to_string(),
        candidate.cost_usd.map(|cost| format!("{} USD", number(cost))).unwrap_or_default(),
        vetoes.join("; "),
    ]
}

fn attempt(attempt: &Attempt) -> [String; 6] {
    let kind = match attempt.kind() {
        AttemptKind::Unspecified => "?",
        AttemptKind::First => "the first",
        AttemptKind::Retry => "the same again",
        AttemptKind::Failover => "another deployment",
        AttemptKind::Fallback => "another model",
        AttemptKind::Hedge => "beside a slow one",
        AttemptKind::Continue => "goes on",
        AttemptKind::Replay => "says it again",
    };
    let outcome =
        if attempt.outcome.is_empty() { "not ended yet".to_owned() } else { plain(&attempt.outcome) };
    [
        plain(&attempt.deployment),
        plain(&attempt.model),
        kind.to_owned(),
        latency(attempt.started_after).unwrap_or_default(),
        latency(attempt.took).unwrap_or_default(),
        outcome,
    ]
}

fn limit(limit: &LimitState) -> [String; 3] {
    let unit = match limit.unit() {
        Unit::Requests => "requests",
        Unit::Tokens => "tokens",
        Unit::Unspecified => "",
    };
    let span = |span: Option<prost_types::Duration>| {
        let span = span.and_then(|span| Duration::try_from(span).ok()).unwrap_or_default();
        humantime::format_duration(Duration::from_millis(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)))
    };
    [
        plain(&limit.name),
        format!("{} of {} {unit} left per {}", limit.remaining, limit.limit, span(limit.per)),
        format!("whole again in {}", span(limit.reset_after)),
    ]
}

fn how(how: Match) -> &'static str {
    match how {
        Match::Unspecified => "",
        Match::Name => "(its name)",
        Match::Alias => "(an alias)",
        Match::Case => "(but for upper and lower case)",
        Match::Wildcard => "(a wildcard)",
        Match::Auto => "(by what the request looks like)",
    }
}

/// Four digits that say something.
fn number(number: f64) -> String {
    if number == 0.0 || number.abs() >= 1000.0 {
        return format!("{number:.0}");
    }
    let digits = 3.0 - number.abs().log10().floor();
    // Between 0 and a bound: the cast cannot lose anything.
    let digits = digits.clamp(0.0, 12.0) as usize;
    let text = format!("{number:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

fn listed(texts: &[String], between: &str) -> String {
    texts.iter().map(|text| plain(text)).collect::<Vec<_>>().join(between)
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}

#[cfg(test)]
mod tests;
