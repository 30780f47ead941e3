//! Operations on stored completions.

use penstock_proto::Reason;
use serde_json::{Value, json};

use super::{Operation, examples};

/// The path of one, and that of its messages; the list is a method of `/v1/chat/completions`.
pub(super) fn paths() -> [(&'static str, Value); 2] {
    let methods = json!({"get": get(), "post": update(), "delete": delete()});
    [
        ("/v1/chat/completions/{id}", methods),
        ("/v1/chat/completions/{id}/messages", json!({"get": messages()})),
    ]
}

fn id() -> Value {
    json!({
        "name": "id", "in": "path", "required": true,
        "description": "Id of the answer.",
        "schema": {"type": "string", "minLength": 1},
        "example": "chatcmpl-1",
    })
}

fn page(operation: Operation) -> Operation {
    let query = |name: &str, about: &str, schema: Value| json!({"name": name, "in": "query", "required": false, "description": about, "schema": schema});
    operation
        .parameter(query(
            "after",
            "Id after which to begin. Absent: at the beginning.",
            json!({"type": "string"}),
        ))
        .parameter(query(
            "limit",
            "Entries at most.",
            json!({"type": "integer", "minimum": 1, "maximum": 100, "default": 20}),
        ))
        .parameter(query(
            "order",
            "asc: oldest first.",
            json!({"type": "string", "enum": ["asc", "desc"], "default": "asc"}),
        ))
        .refused(&[Reason::InvalidRequest])
}

/// `GET /v1/chat/completions`.
pub(super) fn list() -> Value {
    let example = json!({"object": "list", "data": [examples::stored()], "first_id": "chatcmpl-1",
        "last_id": "chatcmpl-1", "has_more": false});
    let about = "Answers that were asked for with `store`, of the tenant of the key.";
    page(Operation::new("listChatCompletions", "Stored completions", "List stored answers", about).asked())
        .parameter(json!({"name": "model", "in": "query", "required": false,
            "description": "Only those that this model made (name or alias).", "schema": {"type": "string"}}))
        .parameter(json!({"name": "metadata", "in": "query", "required": false, "style": "deepObject",
            "explode": true, "description": "Only those that have all of these pairs: metadata[key]=value.",
            "schema": {"type": "object"}}))
        .answers("200", "A page of them.", "StoredCompletionList", example)
        .refused(&[Reason::ModelNotFound])
        .done()
}

fn get() -> Value {
    one("getChatCompletion", "Get a stored answer", "The answer beside what was asked.")
        .answers("200", "The answer.", "StoredCompletion", examples::stored())
        .done()
}

fn update() -> Value {
    one(
        "updateChatCompletion",
        "Label a stored answer",
        "Replaces its metadata; nothing else can be changed.",
    )
    .body("StoredCompletionUpdate", json!({"label": {"value": {"metadata": {"project": "demo"}}}}))
    .answers("200", "The answer as it is now.", "StoredCompletion", examples::stored())
    .refused(&[Reason::Conflict])
    .done()
}

fn delete() -> Value {
    let example = json!({"object": "chat.completion.deleted", "id": "chatcmpl-1", "deleted": true});
    one("deleteChatCompletion", "Delete a stored answer", "It cannot be brought back.")
        .answers("200", "It is deleted.", "DeletedCompletion", example)
        .done()
}

fn messages() -> Value {
    let message = json!({"id": "chatcmpl-1-0", "role": "user", "content": "Say hello.", "content_parts": null,
        "name": null, "refusal": null});
    let example = json!({"object": "list", "data": [message], "first_id": "chatcmpl-1-0",
        "last_id": "chatcmpl-1-0", "has_more": false});
    page(one(
        "listChatCompletionMessages",
        "List the messages that it answers",
        "In the order that they had.",
    ))
    .answers("200", "A page of them.", "StoredMessageList", example)
    .done()
}

fn one(id: &str, summary: &str, about: &str) -> Operation {
    Operation::new(id, "Stored completions", summary, about)
        .asked()
        .parameter(self::id())
        .refused(&[Reason::NotFound])
}
