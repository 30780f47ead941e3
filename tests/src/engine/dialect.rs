//! How OpenAI-compatible servers, Ollama and Anthropic say the same thing: events and lines, whole answers, lists.

use serde_json::{Map, Value, json};

use super::{
    Call, Script, Step,
    anthropic::{self, Blocks},
    ollama,
    texts::{self, Texts, Vectors},
};

/// Unix seconds that every scripted answer says it was made at.
pub const CREATED: i64 = 1_750_000_000;

/// The ways to speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    OpenAi,
    Ollama,
    Anthropic,
    /// OpenAI's legacy completions.
    Texts,
    Embeddings,
    Moderations,
    /// Tokens of prompts, by vLLM, llama.cpp and Anthropic.
    Counts,
}

/// What one answer needs to know of its request.
pub(super) struct Voice {
    dialect: Dialect,
    model: String,
    id: String,
    pub(super) stream: bool,
    include_usage: bool,
    usage: (u64, u64),
    extra: Option<(String, Value)>,
    blocks: Blocks,
    path: String,
    vectors: Vectors,
    body: Value,
}

impl Voice {
    pub(super) fn new(dialect: Dialect, call: &Call, number: usize, script: &Script) -> Voice {
        let body: Value = serde_json::from_slice(&call.body).unwrap_or_default();
        Voice {
            dialect,
            model: body["model"].as_str().unwrap_or_default().to_owned(),
            id: format!("chatcmpl-scripted-{number}"),
            stream: body["stream"]
                .as_bool()
                .unwrap_or(dialect == Dialect::Ollama && call.path != "/api/embed"),
            include_usage: body["stream_options"]["include_usage"].as_bool().unwrap_or(false),
            usage: script.usage,
            extra: script.extra.clone(),
            blocks: Blocks::default(),
            path: call.path.clone(),
            vectors: script.vectors,
            body,
        }
    }

    pub(super) fn stream_content_type(&self) -> &'static str {
        match self.dialect {
            Dialect::Ollama => "application/x-ndjson",
            _ => "text/event-stream; charset=utf-8",
        }
    }

    /// The event or line for `step`; `None`: the dialect says nothing.
    pub(super) fn event(&self, step: &Step) -> Option<String> {
        if self.dialect == Dialect::Anthropic {
            return self.blocks.events(step, &self.message_head(), self.usage.1);
        }
        let data = match step {
            Step::Event(text) => text.clone(),
            Step::Done if self.dialect != Dialect::Ollama => "[DONE]".to_owned(),
            _ => self.chunk(step)?.to_string(),
        };
        Some(match self.dialect {
            Dialect::Ollama | Dialect::Anthropic => format!("{data}\n"),
            _ => format!("data: {data}\n\n"),
        })
    }

    fn chunk(&self, step: &Step) -> Option<Value> {
        match self.dialect {
            Dialect::OpenAi => self.openai_chunk(step),
            Dialect::Ollama => self.ollama_line(step),
            Dialect::Anthropic => None,
            Dialect::Texts => self.text_chunk(step),
            Dialect::Embeddings | Dialect::Moderations | Dialect::Counts => None,
        }
    }

    fn message_head(&self) -> Value {
        let mut head = json!({
            "id": self.id, "type": "message", "role": "assistant", "model": self.model, "content": [],
            "stop_reason": null, "stop_sequence": null,
            "usage": {"input_tokens": self.usage.0, "output_tokens": 1},
        });
        self.add_extra(&mut head);
        head
    }

    fn openai_chunk(&self, step: &Step) -> Option<Value> {
        let choice = |delta: Value, finish: Option<&str>| json!([{"index": 0, "delta": delta, "finish_reason": finish, "logprobs": null}]);
        let (choices, usage) = match step {
            Step::Text(text) => (choice(json!({"content": text}), None), None),
            Step::Delta(delta) => (choice(delta.clone(), None), None),
            Step::Finish(reason) => (choice(json!({}), Some(reason)), None),
            Step::FinishWithUsage(reason) => (choice(json!({}), Some(reason)), Some(self.openai_usage())),
            Step::Usage if self.include_usage => (json!([]), Some(self.openai_usage())),
            _ => return None,
        };
        let mut chunk = json!({
            "id": self.id, "object": "chat.completion.chunk", "created": CREATED, "model": self.model,
            "system_fingerprint": "fp_scripted", "choices": choices,
        });
        if let Some(usage) = usage {
            chunk["usage"] = usage;
        }
        self.add_extra(&mut chunk);
        Some(chunk)
    }

    fn text_chunk(&self, step: &Step) -> Option<Value> {
        let (choices, usage) = match step {
            Step::Finish(_) | Step::Text(_) | Step::Delta(_) => (Texts::of(&self.body).pieces(step)?, None),
            Step::FinishWithUsage(_) => (Texts::of(&self.body).pieces(step)?, Some(self.openai_usage())),
            Step::Usage if self.include_usage => (json!([]), Some(self.openai_usage())),
            _ => return None,
        };
        let mut chunk = json!({
            "id": self.id.replace("chatcmpl", "cmpl"), "object": "text_completion", "created": CREATED,
            "model": self.model, "choices": choices,
        });
        if let Some(usage) = usage {
            chunk["usage"] = usage;
        }
        self.add_extra(&mut chunk);
        Some(chunk)
    }

    fn ollama_line(&self, step: &Step) -> Option<Value> {
        let mut message = json!({"role": "assistant", "content": ""});
        let mut finish = None;
        match step {
            Step::Text(text) => message["content"] = json!(text),
            Step::Delta(delta) => merge(&mut message, delta),
            Step::Finish(reason) | Step::FinishWithUsage(reason) => finish = Some(*reason),
            _ => return None,
        }
        let mut line = json!({
            "model": self.model, "created_at": "2026-06-15T12:00:00.000000Z", "message": message,
            "done": finish.is_some(),
        });
        if let Some(reason) = finish {
            merge(&mut line, &self.ollama_end(reason));
        }
        self.add_extra(&mut line);
        if self.path == "/api/generate" {
            ollama::as_generate(&mut line);
        }
        Some(line)
    }

    /// All of `steps` as one plain answer.
    pub(super) fn plain(&self, steps: &[Step]) -> Vec<u8> {
        let mut message = json!({"role": "assistant", "content": ""});
        let mut finish = "stop";
        let mut verbatim = Vec::new();
        for step in steps {
            match step {
                Step::Text(text) => {
                    let so_far = message["content"].as_str().unwrap_or_default().to_owned();
                    message["content"] = json!(so_far + text);
                }
                Step::Delta(delta) if delta.get("role").is_none() => merge(&mut message, delta),
                Step::Finish(reason) | Step::FinishWithUsage(reason) => finish = reason,
                Step::Event(text) => verbatim.extend_from_slice(text.as_bytes()),
                Step::Raw(bytes) => verbatim.extend_from_slice(bytes),
                _ => {}
            }
        }
        if !verbatim.is_empty() {
            return verbatim;
        }
        if self.path == "/api/embed" {
            return ollama::embed(&self.body, self.usage.0).to_string().into_bytes();
        }
        if self.dialect == Dialect::OpenAi && message["content"] == "" {
            // As OpenAI has it beside tool calls.
            message["content"] = Value::Null;
        }
        let mut answer = match self.dialect {
            Dialect::Anthropic => anthropic::plain(self.message_head(), &message, finish, self.usage.1),
            Dialect::Texts => json!({
                "id": self.id.replace("chatcmpl", "cmpl"), "object": "text_completion", "created": CREATED,
                "model": self.model, "usage": self.openai_usage(),
                "choices": Texts::of(&self.body).whole(message["content"].as_str().unwrap_or_default(), finish),
            }),
            Dialect::Embeddings => texts::embeddings(&self.body, self.vectors),
            Dialect::Moderations => texts::moderations(&self.body, &self.id.replace("chatcmpl", "modr")),
            Dialect::Counts => self.count(),
            Dialect::OpenAi => json!({
                "id": self.id, "object": "chat.completion", "created": CREATED, "model": self.model,
                "system_fingerprint": "fp_scripted", "usage": self.openai_usage(),
                "choices": [{"index": 0, "message": message, "finish_reason": finish, "logprobs": null}],
            }),
            Dialect::Ollama => {
                let mut answer = json!({"model": self.model, "created_at": "2026-06-15T12:00:00.000000Z"});
                answer["message"] = message;
                merge(&mut answer, &self.ollama_end(finish));
                answer
            }
        };
        self.add_extra(&mut answer);
        if self.path == "/api/generate" {
            ollama::as_generate(&mut answer);
        }
        answer.to_string().into_bytes()
    }

    /// The prompt's tokens: vLLM's `/tokenize` gives them and their number, llama.cpp's them alone.
    fn count(&self) -> Value {
        let count = self.usage.0;
        let tokens = vec![1; count as usize];
        match self.path.as_str() {
            "/tokenize" if self.body.get("content").is_some() => json!({"tokens": tokens}),
            "/tokenize" => json!({"count": count, "max_model_len": 4096, "tokens": tokens}),
            _ => json!({"input_tokens": count}),
        }
    }

    fn openai_usage(&self) -> Value {
        let (prompt, completion) = self.usage;
        json!({
            "prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion,
            "prompt_tokens_details": {"cached_tokens": 0},
        })
    }

    fn ollama_end(&self, reason: &str) -> Value {
        let (prompt, completion) = self.usage;
        json!({
            "done": true, "done_reason": reason, "total_duration": 5_000_000, "load_duration": 1_000_000,
            "prompt_eval_count": prompt, "prompt_eval_duration": 1_000_000,
            "eval_count": completion, "eval_duration": 2_000_000,
        })
    }

    fn add_extra(&self, value: &mut Value) {
        if let Some((name, extra)) = &self.extra {
            value[name.as_str()] = extra.clone();
        }
    }
}

/// The lists of models, and what else is asked for free.
pub(super) fn free(path: &str, models: &[String]) -> Option<Value> {
    let entries = |entry: fn(&String) -> Value| models.iter().map(entry).collect::<Vec<_>>();
    match path {
        "/v1/models" | "/models" => {
            let entry =
                |m: &String| json!({"id": m, "object": "model", "created": CREATED, "owned_by": "scripted"});
            Some(json!({"object": "list", "data": entries(entry)}))
        }
        "/api/tags" => {
            let entry = |m: &String| json!({"name": m, "model": m, "size": 1, "digest": "d", "details": {}});
            Some(json!({"models": entries(entry)}))
        }
        "/api/ps" => Some(json!({"models": []})),
        "/api/version" | "/version" => Some(json!({"version": "0.12.0"})),
        "/health" => Some(json!({"status": "ok"})),
        _ => None,
    }
}

fn merge(into: &mut Value, from: &Value) {
    if let (Some(into), Some(from)) = (into.as_object_mut(), from.as_object()) {
        let from: Map<String, Value> = from.clone();
        into.extend(from);
    }
}
