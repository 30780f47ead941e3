//! Operations on responses.

use penstock_proto::Reason;
use serde_json::{Value, json};

use super::{ENGINE, Operation, cache_control, examples::MODEL, reference};

/// Its paths.
pub(super) fn paths() -> Vec<(&'static str, Value)> {
    vec![
        ("/v1/responses", json!({"post": create()})),
        ("/v1/responses/input_tokens", json!({"post": input_tokens()})),
        ("/v1/responses/{id}", json!({"get": get(), "delete": delete()})),
        ("/v1/responses/{id}/cancel", json!({"post": cancel()})),
        ("/v1/responses/{id}/input_items", json!({"get": input_items()})),
    ]
}

const TAG: &str = "Responses";
/// An id of an example.
const ID: &str = "resp_019a0000000070008000000000000000";

fn create() -> Value {
    let stream = "event: response.created\ndata: {\"type\":\"response.created\",\"sequence_number\":0,…}\n\n\
        event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",…,\"delta\":\"Hello!\"}\n\n\
        event: response.completed\ndata: {\"type\":\"response.completed\",…}\n\n";
    let about = "Answers a conversation in OpenAI's newer words: items instead of messages, kept unless `store` is \
        false, and gone on from by `previous_response_id`. With `stream` the answer comes as events as it is made; \
        an error after the first is an event, too. What is thought, said and called comes as items; tools that a \
        platform runs by itself are not offered.";
    Operation::new("createResponse", TAG, "Answer a conversation, in items", about)
        .asked()
        .steered()
        .parameter(cache_control())
        .body("ResponseRequest", requests())
        .content("200", "The response: JSON, or events if `stream` is true.", json!({
            "application/json": {"schema": reference("Response"), "example": answer()},
            "text/event-stream": {"schema": {"description": "Events, each with its type as its name, too."}, "example": stream},
        }))
        .refused(ENGINE)
        .refused(&[Reason::NotFound])
        .done()
}

fn input_tokens() -> Value {
    let example = json!({"object": "response.input_tokens", "input_tokens": 9});
    let about =
        "Counts what a request's input would be, what it goes on from included. Nothing is generated.";
    Operation::new("countResponseInputTokens", TAG, "Count the tokens of an input", about)
        .asked()
        .steered()
        .body("ResponseRequest", json!({"plain": {"value": {"model": MODEL, "input": "Say hello."}}}))
        .answers("200", "The number.", "ResponseInputTokens", example)
        .refused(ENGINE)
        .refused(&[Reason::NotFound])
        .done()
}

fn get() -> Value {
    one("getResponse", "Get a response", "As it is now: one that nobody waits for may go on.")
        .parameter(json!({"name": "stream", "in": "query", "required": false,
            "description": "true: a whole response as its events.", "schema": {"type": "boolean", "default": false}}))
        .parameter(json!({"name": "starting_after", "in": "query", "required": false,
            "description": "Number of the last event that is known.", "schema": {"type": "integer", "minimum": 0, "maximum": u32::MAX}}))
        .content("200", "The response: JSON, or events if `stream` is true.", json!({
            "application/json": {"schema": reference("Response"), "example": answer()},
            "text/event-stream": {"schema": {"description": "Events, each with its type as its name, too."}},
        }))
        .refused(&[Reason::InvalidRequest])
        .done()
}

fn delete() -> Value {
    let example = json!({"id": ID, "object": "response", "deleted": true});
    one("deleteResponse", "Delete a response", "It cannot be brought back. One that goes on is ended.")
        .answers("200", "It is deleted.", "DeletedResponse", example)
        .done()
}

fn cancel() -> Value {
    one("cancelResponse", "End a response that nobody waits for", "One that has ended stays as it is.")
        .answers("200", "The response as it is now.", "Response", answer())
        .done()
}

fn input_items() -> Value {
    let query = |name: &str, about: &str, schema: Value| json!({"name": name, "in": "query", "required": false, "description": about, "schema": schema});
    let id = "msg_019a0000000070008000000000000000_in0";
    let item = json!({"id": id, "type": "message", "status": "completed", "role": "user",
        "content": [{"type": "input_text", "text": "Say hello."}]});
    let example = json!({"object": "list", "data": [item], "first_id": id, "last_id": id, "has_more": false});
    let limit = json!({"type": "integer", "minimum": 1, "maximum": 100, "default": 20});
    let order = json!({"type": "string", "enum": ["asc", "desc"], "default": "desc"});
    one("listResponseInputItems", "List what a response answers", "Instructions are not among it.")
        .parameter(query(
            "after",
            "Id after which to begin. Absent: at the beginning.",
            json!({"type": "string"}),
        ))
        .parameter(query("limit", "Entries at most.", limit))
        .parameter(query("order", "desc: newest first.", order))
        .answers("200", "A page of items.", "ResponseItemList", example)
        .refused(&[Reason::InvalidRequest])
        .done()
}

fn one(id: &str, summary: &str, about: &str) -> Operation {
    let parameter = json!({
        "name": "id", "in": "path", "required": true, "description": "Id of the response.",
        "schema": {"type": "string", "minLength": 1}, "example": ID,
    });
    let about = format!("{about} Those of other tenants are not found.");
    Operation::new(id, TAG, summary, &about).asked().parameter(parameter).refused(&[Reason::NotFound])
}

fn requests() -> Value {
    let tool = json!({
        "type": "function", "name": "get_weather", "description": "The weather of a city.", "strict": true,
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"],
            "additionalProperties": false},
    });
    let schema =
        json!({"type": "object", "properties": {"greeting": {"type": "string"}}, "required": ["greeting"]});
    let called = json!([
        {"role": "user", "content": [{"type": "input_text", "text": "How is the weather in Paris?"}]},
        {"type": "function_call", "call_id": "call_1", "name": "get_weather", "arguments": "{\"city\":\"Paris\"}"},
        {"type": "function_call_output", "call_id": "call_1", "output": "sunny"},
    ]);
    json!({
        "plain": {"summary": "A question", "value": {
            "model": MODEL, "input": "Say hello.", "instructions": "Be short.", "max_output_tokens": 32}},
        "stream": {"summary": "An answer as it is made", "value": {
            "model": MODEL, "input": "Say hello.", "stream": true, "store": false}},
        "tools": {"summary": "A tool and what it gave back", "value": {
            "model": MODEL, "input": called, "tools": [tool]}},
        "structured": {"summary": "An answer in JSON", "value": {"model": MODEL, "input": "Say hello.", "text": {
            "format": {"type": "json_schema", "name": "greeting", "schema": schema}}}},
    })
}

fn answer() -> Value {
    let mut answer = json!({
        "id": ID, "object": "response", "created_at": 1_760_000_000, "status": "completed", "background": false,
        "completed_at": 1_760_000_001, "error": null, "incomplete_details": null, "model": MODEL, "service_tier": null,
        "output": [{"id": "msg_019a0000000070008000000000000000_0", "type": "message", "status": "completed",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "Hello!", "annotations": [], "logprobs": []}]}],
        "usage": {"input_tokens": 9, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": 2,
            "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 11},
    });
    let asked = json!({
        "instructions": "Be short.", "max_output_tokens": 32, "max_tool_calls": null, "metadata": {},
        "parallel_tool_calls": true, "prompt_cache_key": null, "prompt_cache_retention": null,
        "reasoning": {"effort": null, "summary": null}, "safety_identifier": null, "store": true, "temperature": null,
        "text": {"format": {"type": "text"}}, "tool_choice": "auto", "tools": [], "top_logprobs": null, "top_p": null,
        "truncation": "disabled", "user": null, "previous_response_id": null,
    });
    if let (Some(answer), Value::Object(asked)) = (answer.as_object_mut(), asked) {
        answer.extend(asked);
    }
    answer
}
