//! Operations on texts: to continue, to turn into vectors, to judge.

use serde_json::{Value, json};

use super::{ENGINE, Operation, cache_control, examples, reference};

/// Their paths.
pub(super) fn paths() -> [(&'static str, Value); 3] {
    [
        ("/v1/completions", json!({"post": completions()})),
        ("/v1/embeddings", json!({"post": embeddings()})),
        ("/v1/moderations", json!({"post": moderations()})),
    ]
}

fn completions() -> Value {
    let request = json!({"plain": {"value": {"model": examples::MODEL, "prompt": "Once upon a time", "max_tokens": 16}}});
    let answer = json!({"id": "cmpl-1", "object": "text_completion", "created": 1_760_000_000, "model": examples::MODEL,
        "choices": [{"text": " there was", "index": 0, "logprobs": null, "finish_reason": "length"}],
        "usage": {"prompt_tokens": 4, "completion_tokens": 2, "total_tokens": 6}});
    let stream = "data: {\"id\":\"cmpl-1\",\"object\":\"text_completion\",…}\n\ndata: [DONE]\n\n";
    let about = "The legacy completions. With `stream` the answer comes as server-sent events as it is made.";
    Operation::new("createCompletion", "Texts", "Continue a text", about)
        .asked()
        .steered()
        .parameter(cache_control())
        .body("CompletionRequest", request)
        .content("200", "The continuation: JSON, or events if `stream` is true.", json!({
            "application/json": {"schema": reference("Completion"), "example": answer},
            "text/event-stream": {"schema": {"description": "Events, each a Completion."}, "example": stream},
        }))
        .refused(ENGINE)
        .done()
}

fn embeddings() -> Value {
    let request = json!({"texts": {"value": {"model": examples::MODEL, "input": ["a text", "another one"]}}});
    let answer = json!({"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": [0.25, -0.5]}],
        "model": examples::MODEL, "usage": {"prompt_tokens": 4, "total_tokens": 4}});
    Operation::new("createEmbedding", "Texts", "Turn texts into vectors", "In the order of the texts.")
        .asked()
        .steered()
        .body("EmbeddingsRequest", request)
        .answers("200", "The vectors.", "EmbeddingList", answer)
        .refused(ENGINE)
        .done()
}

fn moderations() -> Value {
    let request = json!({"text": {"value": {"input": "a text"}}});
    let answer = json!({"id": "modr-1", "model": "judge", "results": [{"flagged": false}]});
    Operation::new("createModeration", "Texts", "Judge texts and images", "By an engine that can.")
        .asked()
        .steered()
        .body("ModerationRequest", request)
        .answers("200", "The judgements, as the engine gave them.", "Moderation", answer)
        .refused(ENGINE)
        .done()
}
