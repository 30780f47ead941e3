//! Schemas of what `/admin/v1` answers.

use super::{
    Answer,
    Shape::{Flag, List, Number, One, Text, Texts, Whole, Words},
    When::{Always, OrNull},
};

const STATES: &[&str] = &["UP", "DEGRADED", "DOWN", "UNKNOWN"];
const BREAKERS: &[&str] = &["closed", "open", "half_open"];
const MATCHES: &[&str] = &["name", "alias", "case", "wildcard", "auto", "unknown"];
const KINDS: &[&str] = &["first", "retry", "failover", "fallback", "hedge", "continue", "replay", "unknown"];
const UNITS: &[&str] = &["requests", "tokens", "unknown"];

// One line for each member, as the table that it is.
#[rustfmt::skip]
pub(super) const ANSWERS: &[Answer] = &[
    Answer("Explanation", "", "What would happen to a request.", &[
        ("decision", One("Decision"), OrNull, "The decision; nothing was attempted."),
        ("limits", List("LimitState"), Always, "Limits that would apply, as they are now. Empty: none, or they cannot be asked for."),
    ]),
    Answer("Decision", "", "Which deployment answers a request, and why.", &[
        ("id", Text, OrNull, "As x-penstock-decision has it. null: of a dry run."),
        ("made_at", Text, OrNull, "When it was made."),
        ("request_id", Text, Always, "Identity of the request."),
        ("asked", Text, Always, "The name that was asked for."),
        ("model", Text, Always, "The registered model that it means."),
        ("match", Words(MATCHES), Always, "How it was found."),
        ("classification", One("Classification"), OrNull, "For auto: what the request was taken for."),
        ("strategy", Text, Always, "The strategy of the model, such as least-latency."),
        ("needs", Texts, Always, "What the request needs of a deployment, such as tools."),
        ("candidates", List("Candidate"), Always, "First those that would be asked, in order; then the others. Of a real request at most 10."),
        ("fallbacks", Texts, Always, "Models asked instead, in order."),
        ("context_fallbacks", Texts, Always, "Models asked where the prompt is too long."),
        ("filter_fallbacks", Texts, Always, "Models asked where an engine's content filter refuses."),
        ("prompt_tokens", Whole, Always, "Tokens of the prompt, estimated."),
        ("completion_tokens", Whole, Always, "Tokens of the answer: what was asked for at most, else what is reserved for one."),
        ("attempts", List("Attempt"), Always, "What was attempted, in order of time. Empty: nothing yet, or the cache answered."),
        ("outcome", Text, OrNull, "OK or a reason, such as ENGINE_TIMEOUT. null: not ended yet; of a dry run: it would be let through."),
    ]),
    Answer("Classification", "", "What a request for auto was taken for.", &[
        ("class", Text, Always, "simple, medium or complex."),
        ("reasons", Texts, Always, "What speaks for it, such as 3 tools."),
    ]),
    Answer("Candidate", "", "A deployment that could answer.", &[
        ("deployment", Text, Always, "Its id."),
        ("model", Text, Always, "The model that it would answer for: another one than was asked for is a fallback."),
        ("place", Whole, OrNull, "Its place, from 1. null: it is not asked."),
        ("score", Number, OrNull, "What the strategy gives it; lower is better."),
        ("score_means", Text, OrNull, "What the score means."),
        ("vetoes", List("Veto"), Always, "Why it is not asked. Empty: it would be, or nobody would."),
        ("state", Words(STATES), Always, "How it is."),
        ("breaker", Words(BREAKERS), OrNull, "Its circuit breaker."),
        ("weight", Number, Always, "Share among those of the same priority."),
        ("priority", Whole, Always, "Lower is asked first."),
        ("in_flight", Whole, Always, "Requests of this router that it is working on."),
        ("first_token_ms", Number, OrNull, "Milliseconds to the first token, as this router has seen it."),
        ("loaded", Flag, OrNull, "Whether the model is in its memory."),
        ("cost_usd", Number, OrNull, "Expected cost in US dollars."),
        ("tags", Texts, Always, "Its tags."),
    ]),
    Answer("Veto", "", "Why a deployment is not asked.", &[
        ("code", Text, Always, "CIRCUIT_OPEN, LACKS, CONTEXT, TAG, COST, LATENCY, WEIGHT, NOT_ALLOWED or ATTEMPTS."),
        ("detail", Text, Always, "The same in words."),
    ]),
    Answer("Attempt", "", "One request to a deployment.", &[
        ("deployment", Text, Always, "The deployment."),
        ("model", Text, Always, "The model that it was asked for."),
        ("kind", Words(KINDS), Always, "What it was for."),
        ("started_after_ms", Number, OrNull, "Milliseconds from the decision to its beginning."),
        ("took_ms", Number, OrNull, "Milliseconds to its first content, or its failure. null: neither yet."),
        ("outcome", Text, OrNull, "OK, a reason (also where it broke after its first content), LOST where another one beside it came first, CANCELLED where the caller left before. null: not ended yet."),
    ]),
    Answer("LimitState", "", "A limit, as it is.", &[
        ("name", Text, Always, "Where it comes from and what it counts, such as key.requests."),
        ("unit", Words(UNITS), Always, "What it counts."),
        ("limit", Whole, Always, "How many per period."),
        ("per_ms", Number, OrNull, "The period in milliseconds."),
        ("remaining", Whole, Always, "How many could be taken now."),
        ("reset_after_ms", Number, OrNull, "Milliseconds until it is whole again."),
    ]),
    Answer("Reloaded", "", "The configuration was read and is in force.", &[
        ("changed", Flag, Always, "false: nothing that can change while the process runs was changed."),
        ("needs_restart", Texts, Always, "Sections that changed and are read only at a start."),
    ]),
];
