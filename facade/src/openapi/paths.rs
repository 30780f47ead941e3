//! The operations of the document: what each path takes and answers, by which reasons it is refused, and headers.

mod admin;
mod examples;
mod health;
mod messages;
mod ollama;
mod responses;
mod stored;
mod texts;

use std::collections::BTreeMap;

use penstock_proto::{Reason, metadata::ANSWER};
use serde_json::{Map, Value, json};

use super::reference;

/// Reasons that any request may meet, whatever it asks for.
const ANY: &[Reason] = &[Reason::BadRequest, Reason::Internal];
/// Those of what is asked behind gRPC.
const ASKED: &[Reason] = &[
    Reason::InvalidApiKey,
    Reason::PermissionDenied,
    Reason::RateLimitExceeded,
    Reason::Overloaded,
    Reason::Draining,
    Reason::ServiceUnavailable,
    Reason::DeadlineExceeded,
    Reason::Unimplemented,
];
/// Those of a key that is only looked at.
const KEYED: &[Reason] = &[Reason::InvalidApiKey, Reason::ServiceUnavailable];
/// Those of a body.
const BODY: &[Reason] =
    &[Reason::MalformedJson, Reason::InvalidRequest, Reason::UnsupportedMediaType, Reason::RequestTooLarge];
/// Those of what an engine answers.
const ENGINE: &[Reason] = &[
    Reason::Unsupported,
    Reason::NotOffered,
    Reason::ModelNotAllowed,
    Reason::ModelNotFound,
    Reason::RequestExceedsLimit,
    Reason::NotCached,
    Reason::ContextLengthExceeded,
    Reason::ContentFiltered,
    Reason::EngineRejected,
    Reason::EngineModelMissing,
    Reason::EngineCredentials,
    Reason::EngineUnreachable,
    Reason::EngineOverloaded,
    Reason::ModelLoading,
    Reason::EngineFailed,
    Reason::EngineBadAnswer,
    Reason::EngineCut,
    Reason::EngineTimeout,
    Reason::ModelUnavailable,
];

/// Those of what is asked about and never put to an engine.
const ASKED_FOR: &[Reason] = &[Reason::ModelNotAllowed, Reason::ModelNotFound, Reason::NotOffered];

/// Groups of operations, in the order in which they are shown.
pub(super) fn tags() -> Value {
    json!([
        {"name": "Chat", "description": "Answers to conversations, whole or as they are made."},
        {"name": "Messages", "description": "Anthropic's API: the same answers in its words."},
        {"name": "Responses", "description": "Answers in items, kept and gone on from by their ids."},
        {"name": "Stored completions", "description": "Answers that were asked for with `store`."},
        {"name": "Texts", "description": "Texts to continue, to turn into vectors, to judge."},
        {"name": "Ollama", "description": "The same answers in the words of Ollama's own API."},
        {"name": "Models", "description": "What the key may use."},
        {"name": "Routing", "description": "For operators: why requests go where they go, and the configuration."},
        {"name": "Health", "description": "For load balancers, monitors and people; which need a key is configuration."},
        {"name": "About", "description": "What this is; without a key."},
    ])
}

/// An operation, begun with what all have.
struct Operation {
    about: Map<String, Value>,
    parameters: Vec<Value>,
    responses: Map<String, Value>,
    reasons: Vec<Reason>,
    /// Asked behind gRPC, with a key.
    asked: bool,
    /// Answers without a key, too, if the configuration says so; with one it tells more.
    keyed: bool,
}

impl Operation {
    fn new(id: &str, tag: &str, summary: &str, description: &str) -> Self {
        let about = [
            ("operationId", json!(id)),
            ("tags", json!([tag])),
            ("summary", json!(summary)),
            ("description", json!(description)),
        ];
        let parameter = |name: &str| json!({"$ref": format!("#/components/parameters/{name}")});
        Self {
            about: about.map(|(name, value)| (name.to_owned(), value)).into_iter().collect(),
            parameters: ["RequestTimeout", "RequestId"].map(parameter).into(),
            responses: Map::new(),
            reasons: ANY.to_vec(),
            asked: false,
            keyed: false,
        }
    }

    fn asked(mut self) -> Self {
        self.asked = true;
        self.refused(ASKED)
    }

    fn keyed(mut self) -> Self {
        self.keyed = true;
        self.refused(KEYED)
    }

    fn refused(mut self, reasons: &[Reason]) -> Self {
        self.reasons.extend(reasons);
        self
    }

    /// Its headers say something about its way.
    fn steered(mut self) -> Self {
        let parameter = |name: &str| json!({"$ref": format!("#/components/parameters/{name}")});
        self.parameters.extend(["Session", "Tags", "MaxCost", "MaxLatency"].map(parameter));
        self
    }

    fn parameter(mut self, parameter: Value) -> Self {
        self.parameters.push(parameter);
        self
    }

    /// Takes a body of that schema.
    fn body(mut self, schema: &str, examples: Value) -> Self {
        let content = json!({"application/json": {"schema": reference(schema), "examples": examples}});
        self.about.insert("requestBody".to_owned(), json!({"required": true, "content": content}));
        self.refused(BODY)
    }

    /// Answers with a body of that schema.
    fn answers(self, status: &str, what: &str, schema: &str, example: Value) -> Self {
        let content = json!({"application/json": {"schema": reference(schema), "example": example}});
        self.content(status, what, content)
    }

    fn content(mut self, status: &str, what: &str, content: Value) -> Self {
        let mut headers = header_list(&["x-request-id"]);
        if self.asked {
            headers.extend(header_list(&ANSWER));
        }
        let answer = json!({"description": what, "headers": headers, "content": content});
        self.responses.insert(status.to_owned(), answer);
        self
    }

    /// The operation, with an answer for each status of its reasons.
    fn done(mut self) -> Value {
        let mut by_status: BTreeMap<u16, Vec<&Reason>> = BTreeMap::new();
        for reason in &self.reasons {
            by_status.entry(reason.http_status()).or_default().push(reason);
        }
        for (status, reasons) in by_status {
            // A status that has an answer of its own, such as a 503 of health, keeps it.
            self.responses.entry(status.to_string()).or_insert_with(|| refusal(status, &reasons));
        }
        let security = match (self.asked, self.keyed) {
            (true, _) => json!([{"key": []}]),
            (_, true) => json!([{}, {"key": []}]),
            _ => json!([]),
        };
        let rest = [
            ("parameters", self.parameters.into()),
            ("responses", self.responses.into()),
            ("security", security),
        ];
        self.about.extend(rest.map(|(name, value)| (name.to_owned(), value)));
        self.about.into()
    }
}

/// The answer of a status that says why something is refused.
fn refusal(status: u16, reasons: &[&Reason]) -> Value {
    let codes = reasons
        .iter()
        .map(|reason| format!("- `{}`: {}.", reason.openai_code().unwrap_or("null"), reason.title()));
    let mut headers = header_list(&["x-request-id", "x-should-retry"]);
    if matches!(status, 429 | 503) {
        headers.extend(header_list(&["retry-after", "retry-after-ms"]));
    }
    if status == 401 {
        headers.extend(header_list(&["www-authenticate"]));
    }
    json!({
        "description": codes.collect::<Vec<_>>().join("\n"),
        "headers": headers,
        "content": {"application/problem+json": {"schema": reference("Problem")}},
    })
}

fn header_list(names: &[&str]) -> Map<String, Value> {
    let one = |name: &&str| ((*name).to_owned(), json!({"$ref": format!("#/components/headers/{name}")}));
    names.iter().map(one).collect()
}

/// Every header that an answer may have and that says something.
pub(super) fn headers() -> Value {
    let text = |about: &str| json!({"description": about, "schema": {"type": "string"}});
    let whole = |about: &str| json!({"description": about, "schema": {"type": "integer"}});
    let id = "Identity of the request: the caller's own if it sent a sane one.";
    json!({
        "x-request-id": {"description": id, "required": true, "schema": {"type": "string"}},
        "x-should-retry": {"description": "Whether the same request may be sent again.",
            "schema": {"type": "string", "enum": ["true", "false"]}},
        "retry-after": whole("Whole seconds to wait before trying again."),
        "retry-after-ms": whole("The same in milliseconds."),
        "www-authenticate": text("Bearer."),
        "x-penstock-model": text("The model that answered, after aliases and fallbacks."),
        "x-penstock-fallbacks": whole("How many deployments failed before this one."),
        "x-penstock-decision": text("By which decision the answer came about, for /admin/v1/decisions/{id}."),
        "x-penstock-usage": text("estimated: the engine did not count the tokens, Penstock did."),
        "x-penstock-cache": text("hit, miss or bypass."),
        "age": whole("On a cache hit: age of the answer in whole seconds."),
        "x-ratelimit-limit-requests": whole("Requests per period of the tightest limit."),
        "x-ratelimit-remaining-requests": whole("Requests left of it."),
        "x-ratelimit-reset-requests": text("Time until it is whole again, such as 1.2s."),
        "x-ratelimit-limit-tokens": whole("Tokens per period of the tightest limit."),
        "x-ratelimit-remaining-tokens": whole("Tokens left of it."),
        "x-ratelimit-reset-tokens": text("Time until it is whole again, such as 1.2s."),
    })
}

/// Headers that any request may have.
pub(super) fn parameters() -> Value {
    json!({
        "RequestTimeout": {
            "name": "X-Request-Timeout", "in": "header", "required": false,
            "description": "Asks for an earlier deadline: seconds, or a number with s or ms.",
            "schema": {"type": "string", "pattern": "^(?=.*[1-9])([0-9]+[.]?[0-9]*|[.][0-9]+)(s|ms)?$"},
            "example": "30s",
        },
        "RequestId": {
            "name": "X-Request-Id", "in": "header", "required": false,
            "description": "Identity of the request, for logs. One that is not sane is replaced.",
            "schema": {"type": "string"},
        },
        "Session": {
            "name": "X-Penstock-Session", "in": "header", "required": false,
            "description": "Requests of one session go to one deployment where the model's strategy is affinity.",
            "schema": {"type": "string"},
        },
        "Tags": {
            "name": "X-Penstock-Tags", "in": "header", "required": false,
            "description": "Only deployments that have all of these tags, separated by commas; at most 16.",
            "schema": {"type": "string"},
        },
        "MaxCost": {
            "name": "X-Penstock-Max-Cost", "in": "header", "required": false,
            "description": "Only deployments where the request is expected to cost at most so many US dollars.",
            "schema": {"type": "string"}, "example": "0.05",
        },
        "MaxLatency": {
            "name": "X-Penstock-Max-Latency", "in": "header", "required": false,
            "description": "Only deployments whose first token is expected within so many milliseconds, 1 to 3600000.",
            "schema": {"type": "string"}, "example": "2000",
        },
    })
}

/// Every path, as OpenAPI writes it.
pub(super) fn paths() -> Value {
    let mut all = Map::new();
    let mut add = |path: &str, methods: Value| all.insert(path.to_owned(), methods);
    add("/v1/chat/completions", json!({"get": stored::list(), "post": chat()}));
    for (path, methods) in stored::paths().into_iter().chain(texts::paths()).chain(admin::paths()) {
        add(path, methods);
    }
    for (path, methods) in responses::paths().into_iter().chain(messages::paths()).chain(ollama::paths()) {
        add(path, methods);
    }
    add("/v1/models", json!({"get": models()}));
    add("/v1/models/{id}", json!({"get": model()}));
    for (path, methods) in health::paths().into_iter().chain(about()) {
        add(path, json!({"get": methods}));
    }
    all.into()
}

fn cache_control() -> Value {
    json!({
        "name": "Cache-Control", "in": "header", "required": false,
        "description": "no-cache, no-store, max-age=N or only-if-cached, as RFC 9111 has them.",
        "schema": {"type": "string"},
    })
}

fn chat() -> Value {
    let stream = "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",…}\n\ndata: [DONE]\n\n";
    Operation::new(
        "createChatCompletion",
        "Chat",
        "Answer a conversation",
        "With `stream` the answer comes as server-sent events as it is made: each `data` is a \
         ChatCompletionChunk, the last one is `[DONE]`. A stream that fails ends with an event that holds `error` \
         instead, and without `[DONE]`. Lines that begin with a colon keep the connection open and say nothing.",
    )
    .asked()
    .steered()
    .parameter(cache_control())
    .body("ChatCompletionRequest", examples::chat_requests())
    .content("200", "The answer: JSON, or events if `stream` is true.", json!({
        "application/json": {"schema": reference("ChatCompletion"), "example": examples::chat_answer()},
        "text/event-stream": {"schema": {"description": "Events, each a ChatCompletionChunk."}, "example": stream},
    }))
    .refused(ENGINE)
    .done()
}

fn models() -> Value {
    let example = json!({"object": "list", "data": [examples::model()]});
    // The other form stands in no schema of the answer: generated clients would have to look which one they got.
    let about = "The models that the key may use. With the header anthropic-version in pages, as Anthropic has them: \
                 a MessagesModelList.";
    Operation::new("listModels", "Models", "List models", about)
        .asked()
        .answers("200", "The models.", "ModelList", example)
        .done()
}

fn model() -> Value {
    let about =
        "By its name or an alias. With the header anthropic-version as Anthropic has it: a MessagesModel.";
    Operation::new("getModel", "Models", "Get a model", about)
        .asked()
        .parameter(json!({
            "name": "id", "in": "path", "required": true,
            "description": "Name or alias. Slashes and colons may stand in it as they are.",
            "schema": {"type": "string", "minLength": 1},
            "example": "penstock-simulated",
        }))
        .answers("200", "The model.", "Model", examples::model())
        .refused(&[Reason::ModelNotFound])
        .done()
}

fn about() -> [(&'static str, Value); 3] {
    let root = Operation::new("getAbout", "About", "What is this?", "Name, version and where things are.")
        .answers("200", "What this is.", "About", examples::about())
        .done();
    let unchanged = "It is what `if-none-match` names.";
    let document = Operation::new("getOpenApi", "About", "This document", "The document that you read.")
        .content("200", "OpenAPI 3.1.", json!({"application/json": {"schema": {"type": "object"}}}))
        .content("304", unchanged, json!({}))
        .done();
    let page = Operation::new("getDocs", "About", "This document as a page", "Works without any other host.")
        .content("200", "HTML.", json!({"text/html": {"schema": {"type": "string"}}}))
        .content("304", unchanged, json!({}))
        .done();
    [("/", root), ("/openapi.json", document), ("/docs", page)]
}
