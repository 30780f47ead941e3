//! Examples of the document. Requests name the simulated model, which a new installation has; a test reads each
//! with the real reader and holds each answer to its schema.

use serde_json::{Value, json};

/// The model that a new installation has.
pub(super) const MODEL: &str = "penstock-simulated";

/// Requests for an answer to a conversation.
pub(super) fn chat_requests() -> Value {
    let hello = json!([{"role": "user", "content": "Say hello."}]);
    let tool = json!({"type": "function", "function": {
        "name": "get_weather",
        "description": "The weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    }});
    let schema =
        json!({"type": "object", "properties": {"greeting": {"type": "string"}}, "required": ["greeting"]});
    json!({
        "plain": {"summary": "A question", "value": {"model": MODEL, "messages": hello, "max_tokens": 32}},
        "stream": {"summary": "An answer as it is made", "value": {
            "model": MODEL, "messages": hello, "stream": true, "stream_options": {"include_usage": true}}},
        "tools": {"summary": "A tool", "value": {"model": MODEL, "messages": hello, "tools": [tool]}},
        "structured": {"summary": "An answer in JSON", "value": {"model": MODEL, "messages": hello, "response_format": {
            "type": "json_schema", "json_schema": {"name": "greeting", "schema": schema}}}},
    })
}

/// An answer to the first of them.
pub(super) fn chat_answer() -> Value {
    json!({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1_760_000_000, "model": MODEL,
        "system_fingerprint": null,
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello!", "refusal": null},
            "logprobs": null, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11},
    })
}

/// A model.
pub(super) fn model() -> Value {
    json!({
        "id": MODEL, "object": "model", "created": 1_760_000_000, "owned_by": "penstock",
        "context_length": 8192, "max_model_len": 8192, "capabilities": ["chat", "tools"],
    })
}

/// What `GET /` says.
pub(super) fn about() -> Value {
    json!({
        "name": "penstock", "version": env!("CARGO_PKG_VERSION"),
        "links": {"chat": "/v1/chat/completions", "responses": "/v1/responses", "messages": "/v1/messages", "ollama": "/api/tags", "models": "/v1/models", "health": "/health", "docs": "/docs", "openapi": "/openapi.json"},
    })
}

/// A stored answer.
pub(super) fn stored() -> Value {
    let mut stored = chat_answer();
    let beside = json!({
        "request_id": "0af7651916cd43dd8448eb211c80319c", "tool_choice": null, "seed": null, "top_p": null,
        "temperature": null, "presence_penalty": null, "frequency_penalty": null, "input_user": null,
        "service_tier": null, "tools": null, "metadata": {"project": "demo"}, "response_format": null,
    });
    if let (Some(stored), Value::Object(beside)) = (stored.as_object_mut(), beside) {
        stored.extend(beside);
    }
    stored
}
