//! Holds the document to the routes, the readers and the writers.

mod ollama;

use axum::http::Request;
use bytes::BytesMut;
use penstock_proto::inference::v1::{
    Capabilities, Choice, ContentPart, ContentParts, CustomCall, CustomTool, Delta, EmbedResponse, Embedding,
    Extension, File, FunctionCall, FunctionTool, GenerateChunk, GenerateRequest, ImageUrl, InputAudio,
    Message, Metadata, MetadataPair, Model, ModerateResponse, ResponseTerms, StoredCompletion, StoredMessage,
    Tool, ToolCall, Usage, message::Content,
};
use penstock_proto::router::v1::{Decision, ExplainResponse};

use super::*;
use crate::{
    chat,
    chat::chunk::{Completions, Shape},
    embeddings,
    embeddings::Encoding,
    metrics::ROUTES,
    models, moderations, problem, responses,
    responses::answer::{Shown, Status},
    stream::Events as _,
    tests::scripted::{Facade, plain_answer},
    text,
};

/// What is wrong with `value`: a structural check of the keywords that the document uses for types. Members that
/// an object's schema does not name are wrong, for here nothing is unknown.
fn wrong(document: &Value, schema: &Value, value: &Value, at: &str) -> Vec<String> {
    if let Some(reference) = schema["$ref"].as_str() {
        let found = document.pointer(&reference[1..]).unwrap_or_else(|| panic!("{reference} at {at}"));
        return wrong(document, found, value, at);
    }
    if let Some(all) = schema["allOf"].as_array() {
        return all.iter().flat_map(|one| wrong(document, one, value, at)).collect();
    }
    if let Some(any) = schema["anyOf"].as_array() {
        let tried: Vec<_> = any.iter().map(|one| wrong(document, one, value, at)).collect();
        return if tried.iter().any(Vec::is_empty) { vec![] } else { tried.concat() };
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::Array(types) => types.iter().filter_map(Value::as_str).collect(),
        one => one.as_str().into_iter().collect(),
    };
    let is = |kind: &&str| match *kind {
        "null" => value.is_null(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("{other}"),
    };
    if !types.is_empty() && !types.iter().any(is) {
        return vec![format!("{at} is {value}, not {types:?}")];
    }
    if let Some(words) = schema["enum"].as_array()
        && !words.contains(value)
    {
        return vec![format!("{at} is {value}, not one of {words:?}")];
    }
    let items = value.as_array().into_iter().flatten().enumerate();
    let mut found: Vec<_> = items
        .flat_map(|(index, item)| wrong(document, &schema["items"], item, &format!("{at}[{index}]")))
        .collect();
    let Some(object) = value.as_object() else { return found };
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if !object.contains_key(name) {
            found.push(format!("{at}.{name} is missing"));
        }
    }
    let Some(properties) = schema["properties"].as_object() else {
        let named = schema["additionalProperties"].is_object().then_some(&schema["additionalProperties"]);
        let each =
            named.into_iter().flat_map(|one| object.iter().map(move |(name, value)| (one, name, value)));
        return each
            .flat_map(|(one, name, value)| wrong(document, one, value, &format!("{at}.{name}")))
            .collect();
    };
    for (name, value) in object {
        match properties.get(name) {
            Some(schema) => found.extend(wrong(document, schema, value, &format!("{at}.{name}"))),
            None => found.push(format!("{at}.{name} is not described")),
        }
    }
    found
}

/// Holds a text that a writer wrote to a schema.
fn conforms(schema: &str, written: &[u8]) {
    let value: Value = serde_json::from_slice(written).unwrap();
    assert_eq!(wrong(&document(), &reference(schema), &value, schema), Vec::<String>::new(), "{value}");
}

#[test]
fn the_routes_are_the_paths() {
    let document = document();
    let described: Vec<&str> = document["paths"].as_object().unwrap().keys().map(String::as_str).collect();
    let mut routes: Vec<String> = ROUTES.iter().map(|route| route.replace("{*", "{")).collect();
    routes.sort();
    assert_eq!(described, routes);
}

/// A method that is described is answered by its handler, and no other is.
#[tokio::test]
async fn the_methods_are_those_of_the_routes() {
    let facade = Facade::new(plain_answer());
    let document = document();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in ["get", "post", "put", "patch", "delete"] {
            let uri = path.replace("{id}", "x");
            let request = Request::builder().method(method.to_uppercase().as_str()).uri(uri);
            let answer = facade.send(request.body(Body::empty()).unwrap()).await;
            let described = methods.get(method).is_some();
            assert_eq!(
                answer.status == StatusCode::METHOD_NOT_ALLOWED,
                !described,
                "{method} {path}: {answer:?}"
            );
        }
    }
}

#[test]
fn every_member_has_a_type_and_words() {
    let mut silent = Vec::new();
    let document = document();
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        assert!(!schema["description"].as_str().unwrap().is_empty(), "{name}");
        for (member, schema) in schema["properties"].as_object().unwrap() {
            let typed = ["type", "anyOf", "allOf"].iter().any(|keyword| schema.get(keyword).is_some());
            assert!(typed, "{name}.{member}: {schema}");
            let said = schema["description"].as_str().is_some_and(|text| !text.is_empty());
            if !said {
                silent.push(format!("{name}.{member}"));
            }
        }
    }
    assert_eq!(silent, Vec::<String>::new());
}

fn references(value: &Value, found: &mut Vec<String>) {
    if let Some(reference) = value.get("$ref").and_then(Value::as_str) {
        found.push(reference.to_owned());
    }
    let items = value.as_array().into_iter().flatten();
    let members = value.as_object().into_iter().flat_map(|object| object.values());
    items.chain(members).for_each(|value| references(value, found));
}

#[test]
fn references_lead_somewhere() {
    let document = document();
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(found.len() > 100);
    for reference in &found {
        assert!(document.pointer(&reference[1..]).is_some(), "{reference}");
    }
}

#[test]
fn examples_are_what_they_are_examples_of() {
    let document = document();
    let mut seen = 0;
    for operation in
        document["paths"].as_object().unwrap().values().flat_map(|path| path.as_object().unwrap().values())
    {
        let asked = &operation["requestBody"]["content"]["application/json"];
        for example in asked["examples"].as_object().into_iter().flat_map(|all| all.values()) {
            assert_eq!(
                wrong(&document, &asked["schema"], &example["value"], "request"),
                Vec::<String>::new()
            );
            let body = example["value"].to_string();
            let read = match asked["schema"]["$ref"].as_str().unwrap().rsplit('/').next().unwrap() {
                "ChatCompletionRequest" => chat::request::read(body.as_bytes()).map(drop),
                "CompletionRequest" => text::request::read(body.as_bytes()).map(drop),
                "MessagesRequest" => crate::messages::read(body.as_bytes()).map(drop),
                "MessagesCountRequest" => crate::messages::read_to_count(body.as_bytes()).map(drop),
                "ResponseRequest" => crate::responses::request::read(body.as_bytes()).map(drop),
                "EmbeddingsRequest" => embeddings::read(body.as_bytes()).map(drop),
                "ModerationRequest" => moderations::read(body.as_bytes()).map(drop),
                "ExplainRequest" => crate::admin::read(body.as_bytes()).map(drop),
                "StoredCompletionUpdate" => crate::stored::read_update(body.as_bytes()).map(drop),
                "OllamaChatRequest" => crate::ollama::chat::read(body.as_bytes()).map(drop),
                "OllamaGenerateRequest" => crate::ollama::prompt::read(body.as_bytes()).map(drop),
                "OllamaEmbedRequest" => crate::ollama::embed::read(body.as_bytes()).map(drop),
                "OllamaEmbeddingsRequest" => crate::ollama::embed::read_one(body.as_bytes()).map(drop),
                "OllamaShowRequest" => crate::ollama::models::read(body.as_bytes()).map(drop),
                other => panic!("say how {other} is read"),
            };
            read.unwrap();
            seen += 1;
        }
        for answer in operation["responses"].as_object().unwrap().values() {
            let content = &answer["content"]["application/json"];
            if let Some(example) = content.get("example") {
                assert_eq!(wrong(&document, &content["schema"], example, "answer"), Vec::<String>::new());
                seen += 1;
            }
        }
    }
    assert!(seen > 10, "{seen}");
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn call() -> ToolCall {
    ToolCall {
        index: Some(0),
        id: some("c"),
        r#type: some("function"),
        function: Some(function()),
        custom: Some(CustomCall { name: some("f"), input: some("i"), ..CustomCall::default() }),
        ..ToolCall::default()
    }
}

fn function() -> FunctionCall {
    FunctionCall { name: some("f"), arguments: some("{}"), ..FunctionCall::default() }
}

/// Chunks with nothing in them, and with everything.
fn chunks() -> [GenerateChunk; 2] {
    let delta = Delta {
        role: some("assistant"),
        content: some("x"),
        refusal: some("x"),
        reasoning: some("x"),
        tool_calls: vec![call(), ToolCall::default()],
        function_call: Some(function()),
        ..Delta::default()
    };
    let choice = Choice {
        delta: Some(delta),
        finish_reason: some("stop"),
        logprobs_json: some(r#"{"content":[]}"#),
        ..Choice::default()
    };
    let full = GenerateChunk {
        choices: vec![choice],
        usage: Some(Usage { estimated: true, ..Usage::default() }),
        system_fingerprint: some("x"),
        service_tier: some("x"),
        ..GenerateChunk::default()
    };
    [GenerateChunk { choices: vec![Choice::default()], ..GenerateChunk::default() }, full]
}

fn written(write: impl FnOnce(&mut BytesMut)) -> BytesMut {
    let mut out = BytesMut::new();
    write(&mut out);
    out
}

#[test]
fn answers_are_as_they_are_described() {
    for chunk in chunks() {
        conforms("ChatCompletion", &written(|out| chat::answer::write(&chunk, out)));
        conforms("Completion", &written(|out| text::answer::write(&chunk, out)));
        for (shape, schema) in [(Shape::Chat, "ChatCompletionChunk"), (Shape::Text, "Completion")] {
            for include_usage in [true, false] {
                let event = written(|out| Completions::new(shape, include_usage).write(&chunk, out));
                conforms(schema, event.strip_prefix(b"data: ").unwrap());
            }
        }
    }
}

#[test]
fn vectors_and_judgements_are_as_they_are_described() {
    let embedding = Embedding { values: vec![0.5] };
    let full = EmbedResponse {
        embeddings: vec![embedding],
        usage: Some(Usage { estimated: true, ..Usage::default() }),
        ..EmbedResponse::default()
    };
    for answer in [EmbedResponse::default(), full] {
        for encoding in [Encoding::Float, Encoding::Base64] {
            conforms("EmbeddingList", &embeddings::write(&answer, encoding));
        }
    }
    let answer = ModerateResponse { results_json: "[{}]".into(), ..ModerateResponse::default() };
    conforms("Moderation", &moderations::write(&answer));
}

#[test]
fn stored_answers_are_as_they_are_described() {
    let message = Message { role: "user".into(), ..Message::default() };
    let part = ContentPart {
        r#type: "text".into(),
        text: some("x"),
        image_url: Some(ImageUrl { detail: some("low"), ..ImageUrl::default() }),
        input_audio: Some(InputAudio::default()),
        file: Some(File { file_data: some("x"), file_id: some("x"), filename: some("x"), ..File::default() }),
        refusal: some("x"),
        ..ContentPart::default()
    };
    let full = Message {
        content: Some(Content::Parts(ContentParts { parts: vec![part] })),
        name: some("x"),
        refusal: some("x"),
        tool_calls: vec![call()],
        tool_call_id: some("x"),
        reasoning: some("x"),
        function_call: Some(function()),
        ..message.clone()
    };
    for message in [message.clone(), full, Message { content: Some(Content::Text("x".into())), ..message }] {
        let stored = StoredMessage { id: "x".into(), message: Some(message) };
        conforms("StoredMessage", &written(|out| chat::stored::write_message(&stored, out)));
    }
    let tool = Tool {
        r#type: "function".into(),
        function: Some(FunctionTool {
            description: some("x"),
            parameters_json: some("{}"),
            strict: Some(true),
            ..FunctionTool::default()
        }),
        custom: Some(CustomTool { description: some("x"), format_json: some("{}"), ..CustomTool::default() }),
        ..Tool::default()
    };
    let request = GenerateRequest {
        tool_choice_json: some("\"auto\""),
        seed: Some(1),
        top_p: Some(1.0),
        temperature: Some(1.0),
        presence_penalty: Some(1.0),
        frequency_penalty: Some(1.0),
        user: some("x"),
        service_tier: some("x"),
        tools: vec![tool],
        response_format_json: some("{}"),
        ..GenerateRequest::default()
    };
    let [empty, full] = chunks();
    let pairs = vec![MetadataPair { key: "k".into(), value: "v".into() }];
    for (answer, request, metadata) in [(empty, None, None), (full, Some(request), Some(Metadata { pairs }))]
    {
        let stored =
            StoredCompletion { answer: Some(answer), request, metadata, ..StoredCompletion::default() };
        conforms("StoredCompletion", &written(|out| chat::stored::write(&stored, out)));
    }
}

#[test]
fn decisions_are_as_they_are_described() {
    let full = crate::admin::tests::full();
    for decision in [Decision::default(), full.decision.clone().unwrap()] {
        conforms("Decision", &crate::admin::decision(&decision));
    }
    for answer in [ExplainResponse::default(), full] {
        conforms("Explanation", &crate::admin::explanation(&answer));
    }
}

#[test]
fn anthropics_answers_are_as_they_are_described() {
    let [mut empty, mut full] = chunks();
    let delta = full.choices[0].delta.as_mut().unwrap();
    delta.tool_calls.pop();
    let blocks =
        r#"[{"type":"thinking","thinking":"y","signature":"s"},{"type":"redacted_thinking","data":"d"}]"#;
    let extension = |name: &str, json: &str| Extension { name: name.into(), json: json.into() };
    delta.extensions.push(extension("thinking_blocks", blocks));
    let usage = full.usage.as_mut().unwrap();
    usage.extensions.push(extension("completion_tokens_details", r#"{"reasoning_tokens":1}"#));
    empty.choices[0].finish_reason = some("stop");
    for chunk in [empty, full] {
        conforms("MessagesMessage", &written(|out| crate::messages::write(&chunk, &[], out).unwrap()));
    }
    let page = crate::messages::models::read_page(&"/".parse().unwrap()).unwrap();
    for models in [vec![], vec![Model { id: "m".into(), ..Model::default() }]] {
        conforms(
            "MessagesModelList",
            &written(|out| crate::messages::models::write_page(&models, &page, out)),
        );
    }
    let error = penstock_proto::Error::invalid(vec![penstock_proto::Violation::new("a", "b")]);
    conforms("MessagesError", &written(|out| crate::messages::write_problem(&error, "r", out)));
}

#[test]
fn responses_are_as_they_are_described() {
    let [empty, mut full] = chunks();
    let delta = full.choices[0].delta.as_mut().unwrap();
    delta.tool_calls = vec![call(), ToolCall { function: None, ..call() }];
    let request = r#"{"reasoning":{"summary":"auto"},"tools":[{}],"tool_choice":{},"metadata":{"k":"v"},"top_p":1,
        "temperature":1,"top_logprobs":1,"max_output_tokens":1,"max_tool_calls":1,"instructions":"x","user":"x"}"#;
    let plain = ResponseTerms::default();
    let rich = ResponseTerms {
        request_json: some(request),
        previous_response_id: some("x"),
        ..ResponseTerms::default()
    };
    for (answer, terms) in [(None, &plain), (Some(&empty), &plain), (Some(&full), &rich)] {
        let shown = Shown {
            id: "resp_1",
            created: 1,
            completed: answer.map(|_| 2),
            status: if answer.is_some() { Status::Completed } else { Status::Failed },
            model: "m",
            terms,
            answer,
            error: answer.is_none().then_some(("server_error", "x")),
            background: false,
        };
        conforms("Response", &written(|out| responses::answer::write(&shown, out).unwrap()));
    }
    let message =
        Message { role: "user".into(), content: Some(Content::Text("x".into())), ..Message::default() };
    let answered = Message { tool_calls: vec![call()], ..responses::items::spoken(&full) };
    let tool = Message { role: "tool".into(), tool_call_id: some("c"), ..message.clone() };
    for item in responses::items::write::write_input("resp_1", &[message, answered, tool]) {
        conforms("ResponseItem", &item.json);
    }
}

#[test]
fn models_and_problems_are_as_they_are_described() {
    let capabilities = Capabilities { chat: Some(true), context_tokens: Some(1), ..Capabilities::default() };
    let full = Model { aliases: vec!["x".into()], capabilities: Some(capabilities), ..Model::default() };
    for model in [Model::default(), full] {
        conforms("Model", &written(|out| models::write(&model, out)));
    }
    for reason in penstock_proto::Reason::ALL {
        let error = penstock_proto::Error::new(*reason, "x");
        conforms("Problem", &written(|out| problem::write(&error, "/", "r", Some("dec-1"), out)));
    }
    let error = penstock_proto::Error::invalid(vec![penstock_proto::Violation::new("a", "b")]);
    conforms("Problem", &written(|out| problem::write(&error, "/", "r", Some("dec-1"), out)));
}

#[tokio::test]
async fn what_is_served_without_a_key_is_as_it_is_described() {
    let facade = Facade::new(plain_answer());
    for (path, schema) in [
        ("/", "About"),
        ("/health", "Health"),
        ("/health/live", "Alive"),
        ("/health/ready", "Readiness"),
        ("/health/status", "HealthStatus"),
    ] {
        conforms(schema, facade.get(path).await.body.as_bytes());
    }
    conforms("ModelList", facade.get("/v1/models").await.body.as_bytes());
}

#[tokio::test]
async fn the_document_is_sent_once_per_release() {
    let facade = Facade::new(plain_answer());
    for (path, kind) in [("/openapi.json", "application/json"), ("/docs", "text/html; charset=utf-8")] {
        let answer = facade.get(path).await;
        assert_eq!((answer.status, answer.header("content-type")), (StatusCode::OK, kind));
        let etag = answer.header("etag").to_owned();
        for known in [etag.clone(), format!("\"x\", W/{etag}"), "*".to_owned()] {
            let request = Request::get(path).header("if-none-match", &known).body(Body::empty()).unwrap();
            let again = facade.send(request).await;
            assert_eq!((again.status, again.body.as_str()), (StatusCode::NOT_MODIFIED, ""), "{known}");
            assert_eq!(again.header("etag"), etag);
        }
        let request = Request::get(path).header("if-none-match", "\"other\"").body(Body::empty()).unwrap();
        assert_eq!(facade.send(request).await.status, StatusCode::OK);
    }
    let policy = facade.get("/docs").await;
    assert!(policy.header("content-security-policy").starts_with("default-src 'none'"), "{policy:?}");
}

/// The page shows operations by these methods and tags.
#[test]
fn the_page_shows_every_operation() {
    let document = document();
    let shown = include_str!("docs.html").contains(r#"["get", "post", "delete"]"#);
    let tags: Vec<_> = document["tags"].as_array().unwrap().iter().map(|tag| &tag["name"]).collect();
    for (method, operation) in
        document["paths"].as_object().unwrap().values().flat_map(|path| path.as_object().unwrap())
    {
        assert!(shown && ["get", "post", "delete"].contains(&method.as_str()), "{method}");
        assert!(tags.contains(&&operation["tags"][0]), "{operation}");
    }
}

/// The page needs no other host.
#[test]
fn the_page_names_no_other_host() {
    let page = include_str!("docs.html");
    for foreign in ["http://", "https://", "src=", "@import", " url(", ":url("] {
        assert!(!page.contains(foreign), "{foreign}");
    }
}
