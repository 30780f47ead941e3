//! Operations of Anthropic's API. Its errors have a shape of their own.

use penstock_proto::Reason;
use serde_json::{Value, json};

use super::{ENGINE, Operation, cache_control, examples, reference};

/// Its paths.
pub(super) fn paths() -> Vec<(&'static str, Value)> {
    vec![
        ("/v1/messages", json!({"post": create()})),
        ("/v1/messages/count_tokens", json!({"post": count_tokens()})),
    ]
}

/// The header that tells its clients.
fn version() -> Value {
    json!({
        "name": "anthropic-version", "in": "header", "required": false,
        "description": "The version of Anthropic's API that the client speaks.",
        "schema": {"type": "string", "enum": ["2023-06-01", "2026-10-21"]},
    })
}

fn create() -> Value {
    let stream = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{…}}\n\n\
                  event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";
    let operation = Operation::new(
        "createMessage",
        "Messages",
        "Answer a conversation",
        "With `stream` the answer comes as server-sent events as it is made: message_start, for each block \
         content_block_start, content_block_delta and content_block_stop, then message_delta with the tokens and \
         message_stop. A stream that fails ends with an event `error`, and without message_stop. Events `ping` and \
         lines that begin with a colon keep the connection open and say nothing.",
    )
    .asked()
    .steered()
    .parameter(cache_control())
    .parameter(version())
    .body("MessagesRequest", requests())
    .content("200", "The answer: JSON, or events if `stream` is true.", json!({
        "application/json": {"schema": reference("MessagesMessage"), "example": answer()},
        "text/event-stream": {"schema": {"description": "Events, each with its type."}, "example": stream},
    }))
    .refused(ENGINE);
    in_its_shape(operation.done())
}

fn count_tokens() -> Value {
    let hello = json!([{"role": "user", "content": "Say hello."}]);
    let request = json!({"plain": {"value": {"model": examples::MODEL, "messages": hello}}});
    let about = "Nothing is generated. Where the engine cannot count, Penstock does, and says so.";
    let operation =
        Operation::new("countMessageTokens", "Messages", "Count the tokens of a conversation", about)
            .asked()
            .steered()
            .parameter(version())
            .body("MessagesCountRequest", request)
            .answers("200", "How many there are.", "MessagesCount", json!({"input_tokens": 10}))
            .refused(ENGINE);
    in_its_shape(operation.done())
}

/// The operation with errors as this API has them: all that is wrong with a request is a 400.
fn in_its_shape(mut operation: Value) -> Value {
    let Some(members) = operation.as_object_mut() else { return operation };
    members.insert("security".to_owned(), json!([{"key": []}, {"apiKey": []}]));
    let Some(responses) = members.get_mut("responses").and_then(Value::as_object_mut) else {
        return operation;
    };
    let invalid = responses.remove(&Reason::InvalidRequest.http_status().to_string());
    let invalid = invalid.as_ref().and_then(|one| one.get("description")?.as_str());
    for (status, response) in responses.iter_mut() {
        if let Some(headers) = response.get_mut("headers").and_then(Value::as_object_mut) {
            headers.insert("request-id".to_owned(), json!({"$ref": "#/components/headers/x-request-id"}));
        }
        let Some(response) = response.as_object_mut().filter(|_| !status.starts_with('2')) else { continue };
        let shape = json!({"application/json": {"schema": reference("MessagesError")}});
        response.insert("content".to_owned(), shape);
        if let (Some(Value::String(known)), Some(more), "400") =
            (response.get_mut("description"), invalid, status.as_str())
        {
            known.push('\n');
            known.push_str(more);
        }
    }
    operation
}

fn requests() -> Value {
    let hello = json!([{"role": "user", "content": "Say hello."}]);
    let tool = json!({
        "name": "get_weather",
        "description": "The weather of a city.",
        "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    });
    let (model, max_tokens) = (examples::MODEL, 32);
    json!({
        "plain": {"summary": "A question", "value": {"model": model, "max_tokens": max_tokens, "messages": hello}},
        "stream": {"summary": "An answer as it is made", "value": {
            "model": model, "max_tokens": max_tokens, "messages": hello, "stream": true}},
        "tools": {"summary": "A tool", "value": {
            "model": model, "max_tokens": max_tokens, "messages": hello, "tools": [tool]}},
        "structured": {"summary": "An answer in JSON", "value": {
            "model": model, "max_tokens": max_tokens, "messages": hello, "output_config": {"format": {
                "type": "json_schema", "schema": {"type": "object", "properties": {"greeting": {"type": "string"}}}}}}},
    })
}

fn answer() -> Value {
    json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": examples::MODEL,
        "content": [{"type": "text", "text": "Hello!"}], "stop_reason": "end_turn", "stop_sequence": null,
        "usage": {"input_tokens": 9, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 2},
    })
}
