//! Operations of Ollama's API.

use serde_json::{Map, Value, json};

use super::{ASKED_FOR, ENGINE, Operation, cache_control, examples::MODEL, reference};

/// Its paths.
pub(super) fn paths() -> Vec<(&'static str, Value)> {
    let post = |operation: Operation| json!({"post": told(operation)});
    let get = |operation: Operation| json!({"get": told(operation)});
    vec![
        ("/api/chat", post(chat())),
        ("/api/generate", post(generate())),
        ("/api/embed", post(embed())),
        ("/api/embeddings", post(embeddings())),
        ("/api/tags", get(tags())),
        ("/api/show", post(show())),
        ("/api/ps", get(ps())),
        ("/api/version", get(version())),
    ]
}

/// The operation, with refusals as Ollama has them: another body, and 400 for every request that is wrong.
fn told(operation: Operation) -> Value {
    let mut operation = operation.done();
    let Some(responses) = operation.get_mut("responses").and_then(Value::as_object_mut) else {
        return operation;
    };
    let more =
        responses.remove("422").and_then(|wrong| wrong.get("description")?.as_str().map(str::to_owned));
    if let (Some(more), Some(Value::String(said))) =
        (more, responses.get_mut("400").and_then(|one| one.get_mut("description")))
    {
        said.push('\n');
        said.push_str(&more);
    }
    let refusals = responses.values_mut().filter_map(|answer| answer.get_mut("content")?.as_object_mut());
    for content in refusals.filter(|content| content.contains_key("application/problem+json")) {
        *content =
            Map::from_iter([("application/json".to_owned(), json!({"schema": reference("OllamaError")}))]);
    }
    operation
}

const LINES: &str = "The answer comes as lines of JSON as it is made, unless `stream` is false. The last line is \
                     `done`; a stream that fails ends with a line that holds `error` instead. A line that says \
                     nothing keeps the connection open.";

fn end(mut answer: Value) -> Value {
    let end = json!({"model": MODEL, "created_at": "2026-01-01T12:00:00.123456789Z", "done": true, "done_reason": "stop",
        "total_duration": 120_000_000, "load_duration": 0, "prompt_eval_count": 9, "prompt_eval_duration": 80_000_000,
        "eval_count": 2, "eval_duration": 40_000_000});
    if let (Some(answer), Value::Object(end)) = (answer.as_object_mut(), end) {
        answer.extend(end);
    }
    answer
}

fn answered(operation: Operation, schema: &str, answer: Value, line: &str) -> Operation {
    let lines =
        json!({"schema": {"description": format!("Lines, each of them one {schema}.")}, "example": line});
    let content = json!({
        "application/x-ndjson": lines,
        "application/json": {"schema": reference(schema), "example": end(answer)},
    });
    let what = "The answer: lines, or one object if `stream` is false.";
    operation.content("200", what, content).refused(ENGINE)
}

fn chat() -> Operation {
    let hello = json!([{"role": "user", "content": "Say hello."}]);
    let tool = json!({"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object",
        "properties": {"city": {"type": "string"}}}}});
    let schema = json!({"type": "object", "properties": {"greeting": {"type": "string"}}});
    let requests = json!({
        "stream": {"summary": "An answer as it is made", "value": {"model": MODEL, "messages": hello}},
        "plain": {"summary": "An answer at once", "value": {"model": MODEL, "messages": hello, "stream": false,
            "options": {"num_predict": 32, "temperature": 0.5}}},
        "tools": {"summary": "A tool", "value": {"model": MODEL, "messages": hello, "tools": [tool]}},
        "structured": {"summary": "An answer in JSON", "value": {"model": MODEL, "messages": hello, "format": schema}},
    });
    let operation = Operation::new("ollamaChat", "Ollama", "Answer a conversation", LINES)
        .asked()
        .steered()
        .parameter(cache_control())
        .body("OllamaChatRequest", requests);
    let answer = json!({"message": {"role": "assistant", "content": "Hello!"}});
    let line = "{\"model\":\"penstock-simulated\",\"created_at\":\"…\",\"message\":{\"role\":\"assistant\",\"content\":\"Hello\"},\"done\":false}\n";
    answered(operation, "OllamaChat", answer, line)
}

fn generate() -> Operation {
    let requests = json!({
        "question": {"summary": "A question", "value": {"model": MODEL, "prompt": "Say hello.", "system": "Be kind."}},
        "raw": {"summary": "A text to continue", "value": {"model": MODEL, "prompt": "Once upon", "raw": true,
            "stream": false, "options": {"num_predict": 8}}},
    });
    let operation = Operation::new("ollamaGenerate", "Ollama", "Answer a prompt", LINES)
        .asked()
        .steered()
        .parameter(cache_control())
        .body("OllamaGenerateRequest", requests);
    let line =
        "{\"model\":\"penstock-simulated\",\"created_at\":\"…\",\"response\":\"Hello\",\"done\":false}\n";
    answered(operation, "OllamaGenerate", json!({"response": "Hello!"}), line)
}

fn embed() -> Operation {
    let request = json!({"texts": {"value": {"model": MODEL, "input": ["a text", "another one"]}}});
    let answer = json!({"model": MODEL, "embeddings": [[0.25, -0.5], [0.5, 1.0]], "total_duration": 9_000_000,
        "load_duration": 0, "prompt_eval_count": 4});
    Operation::new("ollamaEmbed", "Ollama", "Turn texts into vectors", "In the order of the texts.")
        .asked()
        .steered()
        .body("OllamaEmbedRequest", request)
        .answers("200", "The vectors.", "OllamaVectors", answer)
        .refused(ENGINE)
}

fn embeddings() -> Operation {
    let request = json!({"text": {"value": {"model": MODEL, "prompt": "a text"}}});
    Operation::new(
        "ollamaEmbeddings",
        "Ollama",
        "Turn one text into a vector",
        "The older form of /api/embed.",
    )
    .asked()
    .steered()
    .body("OllamaEmbeddingsRequest", request)
    .answers("200", "The vector.", "OllamaVector", json!({"embedding": [0.25, -0.5]}))
    .refused(ENGINE)
}

fn details() -> Value {
    json!({"parent_model": "", "format": "", "family": "", "families": [], "parameter_size": "", "quantization_level": ""})
}

/// A model, with what stands beside what every list has.
fn model(more: Value) -> Value {
    let digest = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    let mut model = json!({"name": MODEL, "model": MODEL, "size": 0, "digest": digest, "details": details()});
    if let (Some(model), Value::Object(more)) = (model.as_object_mut(), more) {
        model.extend(more);
    }
    model
}

fn tags() -> Operation {
    let example =
        model(json!({"modified_at": "2026-01-01T12:00:00Z", "capabilities": ["completion", "tools"]}));
    Operation::new("ollamaTags", "Ollama", "List models", "The models that the key may use.").asked().answers(
        "200",
        "The models.",
        "OllamaTags",
        json!({"models": [example]}),
    )
}

fn show() -> Operation {
    let example = json!({"modelfile": "", "parameters": "", "template": "", "details": details(),
        "model_info": {"general.architecture": "penstock", "penstock.context_length": 8192},
        "capabilities": ["completion", "tools"], "modified_at": "2026-01-01T12:00:00Z"});
    Operation::new("ollamaShow", "Ollama", "Show a model", "By its name or an alias.")
        .asked()
        .body("OllamaShowRequest", json!({"model": {"value": {"model": MODEL}}}))
        .answers("200", "What is known of it.", "OllamaShown", example)
        .refused(ASKED_FOR)
}

fn ps() -> Operation {
    let example = model(json!({"size_vram": 0, "context_length": 8192}));
    Operation::new("ollamaPs", "Ollama", "List models in memory", "Those of which an engine says so.")
        .asked()
        .answers("200", "The models.", "OllamaRunning", json!({"models": [example]}))
}

fn version() -> Operation {
    Operation::new("ollamaVersion", "Ollama", "Which API is this?", "Without a key.").answers(
        "200",
        "The version of the API.",
        "OllamaVersion",
        json!({"version": "0.12.6"}),
    )
}
