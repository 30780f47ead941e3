//! Operations on health.

use penstock_proto::Reason;
use serde_json::{Value, json};

use super::{Operation, examples::MODEL};

const MORE: &str = "What a caller without a key sees is `[facade.health] public`, and whether it sees anything \
                    `need_key`; a key sees its models and what they stand on.";
const AT: &str = "2026-01-01T00:00:00.000Z";

/// Their paths.
pub(super) fn paths() -> [(&'static str, Value); 10] {
    [
        ("/health", overview()),
        ("/health/live", live()),
        ("/health/liveliness", liveness("getLiveliness")),
        ("/health/liveness", liveness("getLivenessAsLiteLlm")),
        ("/health/ready", ready("getReadiness")),
        ("/health/readiness", ready("getReadinessAsLiteLlm")),
        ("/health/status", status()),
        ("/health/models", models()),
        ("/health/services", services()),
        ("/health/history", history()),
    ]
}

fn live() -> Value {
    Operation::new("getLiveness", "Health", "Does the process run?", "Looks at nothing but the process.")
        .answers("200", "It does.", "Alive", json!({"status": "alive"}))
        .done()
}

fn liveness(id: &str) -> Value {
    let content = json!({"application/json": {"schema": {"type": "string"}, "example": "I'm alive!"}});
    Operation::new(id, "Health", "Does the process run? As LiteLLM answers it", "A string, always the same.")
        .content("200", "It does.", content)
        .done()
}

/// An operation that says by its status whether requests may come.
fn both(operation: Operation, schema: &str, up: Value, down: Value) -> Value {
    operation
        .answers("200", "Requests may come.", schema, up)
        .answers("503", "No requests, please: something is down, or it starts or ends.", schema, down)
        .done()
}

fn component(status: &str) -> Value {
    json!({"status": status, "required": true})
}

fn ready(id: &str) -> Value {
    let operation =
        Operation::new(id, "Health", "May requests come?", "What a load balancer asks; without a key.");
    let example = |status, state, db| {
        json!({"status": status, "state": state, "db": db, "db_initialized": true, "router_initialized": true,
            "version": env!("CARGO_PKG_VERSION"), "checks": {"router": component(state)}})
    };
    both(
        operation,
        "Readiness",
        example("healthy", "UP", "connected"),
        example("unhealthy", "DOWN", "Not connected"),
    )
}

fn overview() -> Value {
    let about =
        "A body that LiteLLM's pollers read, and the state of each component. No engine is asked for it.";
    let operation = Operation::new("getHealth", "Health", "How is everything?", &format!("{about} {MORE}"))
        .keyed()
        .refused(&[Reason::ModelNotFound, Reason::InvalidRequest])
        .parameter(query("model", "Only this model; needs a key.", MODEL))
        .parameter(query("model_id", "Only this deployment; needs a key.", "simulated"));
    let example = |status, state, healthy: Vec<Value>, unhealthy: Vec<Value>| {
        json!({"status": status, "state": state, "db": "connected", "redis": null,
            "version": env!("CARGO_PKG_VERSION"), "healthy_count": healthy.len(), "unhealthy_count": unhealthy.len(),
            "healthy_endpoints": healthy, "unhealthy_endpoints": unhealthy,
            "components": {"router": component(state)}})
    };
    let endpoint = |state| json!({"model": MODEL, "model_id": "simulated", "state": state});
    both(
        operation,
        "Health",
        example("healthy", "UP", vec![endpoint("UP")], vec![]),
        example("unhealthy", "DOWN", vec![], vec![endpoint("UNKNOWN")]),
    )
}

fn status() -> Value {
    let about = format!("The three states of everything that the caller may see. {MORE}");
    let operation = Operation::new("getHealthStatus", "Health", "How is each component?", &about).keyed();
    let example = |status| json!({"status": status, "components": {"router": component(status)}});
    both(operation, "HealthStatus", example("UP"), example("DOWN"))
}

fn models() -> Value {
    let about = format!("Penstock's own path: LiteLLM has none. {MORE}");
    let deployment =
        json!({"id": "simulated", "status": "UP", "latency_ms": 1.2, "last_check": AT, "error": null});
    let model = json!({"name": MODEL, "status": "UP", "latency_ms": 1.2, "last_check": AT, "error": null,
        "deployments": [deployment], "fallbacks": []});
    let example = json!({"status": "UP", "models": [model],
        "counts": {"up": 1, "degraded": 0, "down": 0, "unknown": 0}});
    Operation::new("getModelHealth", "Health", "How is each model?", &about)
        .keyed()
        .refused(&[Reason::ModelNotFound, Reason::InvalidRequest])
        .parameter(query("model", "Only this one, by its name or an alias.", MODEL))
        .answers("200", "The models.", "ModelHealthList", example)
        .done()
}

fn services() -> Value {
    let about = format!(
        "The services and stores of the mesh: Penstock's own view, where LiteLLM tests what it logs to. {MORE}"
    );
    let example = json!({"services": [{"name": "auth", "kind": "service", "status": "UP", "required": true,
        "latency_ms": 0.4, "last_check": AT, "error": null}]});
    let one = json!({"service": "auth", "status": "healthy", "message": "works", "state": "UP", "latency_ms": 0.4,
        "last_check": AT});
    let reference = super::reference;
    let content = json!({"application/json": {
        "schema": {"anyOf": [reference("ServiceHealthList"), reference("OneServiceHealth")]},
        "examples": {"all": {"value": example}, "one": {"value": one}},
    }});
    Operation::new("getServiceHealth", "Health", "How is what this stands on?", &about)
        .keyed()
        .refused(&[Reason::InvalidRequest])
        .parameter(query("service", "Only this one, in LiteLLM's words.", "auth"))
        .content("200", "The services and stores, or the one that was asked for.", content)
        .done()
}

fn history() -> Value {
    let number = |name: &str, about: &str, least: u32, default: u32| {
        json!({"name": name, "in": "query", "required": false, "description": about,
            "schema": {"type": "integer", "minimum": least, "default": default}})
    };
    let change = json!({"at": AT, "name": "auth", "kind": "service", "from": "UP", "to": "DOWN", "detail": "cannot be asked"});
    let example = json!({"changes": [change], "total_records": 1, "limit": 100, "offset": 0});
    let about = format!("The changes of state that this process has seen, a bounded number. {MORE}");
    Operation::new("getHealthHistory", "Health", "What has changed?", &about)
        .keyed()
        .refused(&[Reason::InvalidRequest])
        .parameter(query("name", "Only changes of this component.", "auth"))
        .parameter(number("limit", "Changes of one page: at most 1000.", 1, 100))
        .parameter(number("offset", "How many to skip.", 0, 0))
        .answers("200", "The newest first.", "HealthHistory", example)
        .done()
}

fn query(name: &str, about: &str, example: &str) -> Value {
    json!({"name": name, "in": "query", "required": false, "description": about,
        "schema": {"type": "string"}, "example": example})
}
