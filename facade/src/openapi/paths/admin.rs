//! Operations for operators: why requests go where they go, and the configuration.

use penstock_proto::Reason;
use serde_json::{Value, json};

use super::{ASKED_FOR, Operation, examples::MODEL};

const SCOPE: &str = "Needs a key with the scope `admin`.";

/// Their paths.
pub(super) fn paths() -> [(&'static str, Value); 3] {
    [
        ("/admin/v1/explain", json!({"post": explain()})),
        ("/admin/v1/decisions/{id}", json!({"get": decision()})),
        ("/admin/v1/reload", json!({"post": reload()})),
    ]
}

fn explain() -> Value {
    let messages = json!([{"role": "user", "content": "Say hello."}]);
    let requests = json!({
        "chat": {"value": {"request": {"model": MODEL, "messages": messages}}},
        "embedding": {"value": {"endpoint": "/v1/embeddings", "request": {"model": MODEL, "input": "a text"}}},
    });
    let limit = json!({"name": "key.requests", "unit": "requests", "limit": 60, "per_ms": 60_000.0, "remaining": 59,
        "reset_after_ms": 1000.0});
    let answer = json!({"decision": made(Value::Null, json!([]), Value::Null), "limits": [limit]});
    let about = format!(
        "Checks and chooses as for a real request, its headers included. No engine is called, and nothing is taken \
         from any limit. What the choice would refuse is explained, too: `outcome` says how. {SCOPE}"
    );
    Operation::new("explainRequest", "Routing", "Where would a request go, and why?", &about)
        .asked()
        .steered()
        .body("ExplainRequest", requests)
        .answers("200", "The decision, and the limits.", "Explanation", answer)
        .refused(ASKED_FOR)
        .done()
}

fn decision() -> Value {
    let attempt = json!({"deployment": "simulated", "model": MODEL, "kind": "first", "started_after_ms": 0.2,
        "took_ms": 340.5, "outcome": "OK"});
    let about = format!(
        "By the id that an answer has in `x-penstock-decision`, for a while after it; each router knows its own. {SCOPE}"
    );
    Operation::new("getDecision", "Routing", "Why did a request go there?", &about)
        .asked()
        .parameter(json!({
            "name": "id", "in": "path", "required": true,
            "description": "Id of the decision.",
            "schema": {"type": "string", "minLength": 1},
            "example": "dec-0af7651916cd43dd",
        }))
        .answers(
            "200",
            "The decision, and what came of it.",
            "Decision",
            made(json!("dec-0af7651916cd43dd"), json!([attempt]), json!("OK")),
        )
        .refused(&[Reason::NotFound])
        .done()
}

fn reload() -> Value {
    let about = format!(
        "Models and deployments are taken from the file without losing a request. A file with a mistake is refused \
         whole, and every mistake is named. {SCOPE}"
    );
    Operation::new("reloadConfiguration", "Routing", "Read the configuration again", &about)
        .asked()
        .answers("200", "It is in force.", "Reloaded", json!({"changed": true, "needs_restart": ["facade"]}))
        .refused(&[Reason::InvalidRequest])
        .done()
}

fn made(id: Value, attempts: Value, outcome: Value) -> Value {
    let candidate = json!({"deployment": "simulated", "model": MODEL, "place": 1, "score": null, "score_means": null,
        "vetoes": [], "state": "UP", "breaker": "closed", "weight": 1.0, "priority": 1, "in_flight": 0,
        "first_token_ms": 340.5, "loaded": null, "cost_usd": null, "tags": ["eu"]});
    let veto = json!({"code": "LACKS", "detail": "it is known to lack tools"});
    let other = json!({"deployment": "old", "model": MODEL, "place": null, "score": null, "score_means": null,
        "vetoes": [veto], "state": "DOWN", "breaker": null, "weight": 1.0, "priority": 2, "in_flight": 0,
        "first_token_ms": null, "loaded": false, "cost_usd": 0.0012, "tags": []});
    json!({"id": id, "made_at": "2026-01-01T00:00:00.000Z", "request_id": "0af7651916cd43dd8448eb211c80319c",
        "asked": "auto", "model": MODEL, "match": "auto",
        "classification": {"class": "simple", "reasons": ["12 tokens"]}, "strategy": "weighted",
        "needs": ["chat", "tools"], "candidates": [candidate, other], "fallbacks": [], "context_fallbacks": [],
        "filter_fallbacks": [], "prompt_tokens": 12, "completion_tokens": 256, "attempts": attempts,
        "outcome": outcome})
}
