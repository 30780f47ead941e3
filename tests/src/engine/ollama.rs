//! What Ollama has beside chats: continuations, vectors, and the description of a model.

use serde_json::{Value, json};

/// A line or an answer of `/api/chat` as `/api/generate` has it: no message, its parts stand by themselves.
pub(super) fn as_generate(line: &mut Value) {
    let Some(members) = line.as_object_mut() else { return };
    let message = members.remove("message").unwrap_or_default();
    members.insert("response".into(), message["content"].clone());
    if !message["thinking"].is_null() {
        members.insert("thinking".into(), message["thinking"].clone());
    }
    if members.contains_key("done_reason") {
        members.insert("context".into(), json!([1, 2, 3]));
    }
}

/// A vector for each text of a request, of `dimensions` or 3: its first member is the length of the text.
pub(super) fn embed(body: &Value, prompt_tokens: u64) -> Value {
    let texts = match &body["input"] {
        Value::Array(texts) => texts.clone(),
        text => vec![text.clone()],
    };
    let length = body["dimensions"].as_u64().unwrap_or(3);
    let vector = |text: &Value| {
        let first = text.as_str().unwrap_or_default().len() as u64;
        (0..length).map(|place| if place == 0 { first } else { place }).collect::<Vec<_>>()
    };
    let embeddings: Vec<_> = texts.iter().map(vector).collect();
    json!({"model": body["model"], "embeddings": embeddings, "prompt_eval_count": prompt_tokens})
}

/// The description of a model that can do everything.
pub(super) fn show() -> Value {
    json!({
        "parameters": "stop    \"<|end|>\"",
        "details": {"family": "llama", "parameter_size": "3.2B"},
        "model_info": {"general.architecture": "llama", "llama.context_length": 131_072},
        "capabilities": ["completion", "tools", "vision", "thinking", "embedding", "insert"],
    })
}
