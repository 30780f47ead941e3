//! A question of chat in the words of responses.

use crate::{
    apis::words::{self, object, unsaid},
    exact::Json,
};

const KNOWN: [&str; 21] = [
    "model", "messages", "max_completion_tokens", "max_tokens", "temperature", "top_p", "top_k", "top_logprobs", "logprobs",
    "metadata", "parallel_tool_calls", "tool_choice", "tools", "response_format", "verbosity", "reasoning_effort",
    "user", "safety_identifier", "prompt_cache_key", "service_tier", "store",
];

/// A question of chat in the words of responses.
pub(in crate::apis) fn question(mut chat: Json) -> Result<Json, String> {
    unsaid(&chat, &KNOWN)?;
    let mut question = object([("model", chat.take("model"))]);
    let mut items = Vec::new();
    for (at, message) in chat.take("messages").items().iter().enumerate() {
        let content = message.get("content");
        match content.as_text() {
            Some(text) if at == 0 && message.get("role").as_text() == Some("system") => {
                question.set("instructions", Json::text(text));
            }
            _ => add(&mut items, message)?,
        }
    }
    question.set("input", Json::List(items));
    for name in ["max_tokens", "max_completion_tokens"] {
        set(&mut question, "max_output_tokens", chat.take(name));
    }
    if chat.take("logprobs") == Json::Bool(true) {
        question.set("include", Json::parse(r#"["message.output_text.logprobs"]"#));
    }
    let effort = chat.take("reasoning_effort");
    if effort != Json::Null {
        question.set("reasoning", object([("effort", effort)]));
    }
    let mut text = object([]);
    set(&mut text, "format", chat.take("response_format"));
    if text.has("format") {
        text = object([("format", flat(text.get("format"), "json_schema"))]);
    }
    set(&mut text, "verbosity", chat.take("verbosity"));
    if text.names().next().is_some() {
        question.set("text", text);
    }
    let tools = chat.take("tools");
    if tools != Json::Null {
        question.set("tools", Json::List(tools.items().iter().map(tool).collect()));
    }
    let choice = chat.take("tool_choice");
    set(&mut question, "tool_choice", self::choice(&choice));
    for (name, value) in std::mem::take(chat.members_mut()) {
        question.set(&name, value);
    }
    Ok(question)
}

fn set(json: &mut Json, name: &str, value: Json) {
    if value != Json::Null {
        json.set(name, value);
    }
}

/// `{"type": t, t: {…}}` with the inner members beside the type, as responses have it.
fn flat(json: &Json, of: &str) -> Json {
    let mut flat = object([("type", json.get("type").clone())]);
    let mut inner = json.get(of).clone();
    if let Json::Object(members) = &mut inner {
        for (name, value) in std::mem::take(members) {
            flat.set(&name, value);
        }
    }
    flat
}

fn tool(tool: &Json) -> Json {
    let kind = words::text(tool, "type");
    let mut tool = flat(tool, kind);
    if kind == "custom" {
        let format = tool.take("format");
        set(&mut tool, "format", flat(&format, "grammar"));
    }
    tool
}

fn choice(choice: &Json) -> Json {
    match choice.get("type").as_text() {
        None => choice.clone(),
        Some("allowed_tools") => {
            let mut allowed = flat(choice, "allowed_tools");
            let tools = allowed.take("tools");
            let flat = |one: &Json| flat(one, words::text(one, "type"));
            allowed.set("tools", Json::List(tools.items().iter().map(flat).collect()));
            allowed
        }
        Some(kind) => flat(choice, kind),
    }
}

/// A message of chat as items.
fn add(items: &mut Vec<Json>, message: &Json) -> Result<(), String> {
    unsaid(message, &["role", "content", "refusal", "reasoning_content", "tool_calls", "tool_call_id"])?;
    let kind = |kind: &str| Json::text(kind);
    let role = words::text(message, "role");
    if role == "tool" {
        let output = match message.get("content") {
            Json::List(parts) => Json::List(parts.iter().map(|one| part(one, role)).collect::<Result<_, _>>()?),
            text => text.clone(),
        };
        let call = message.get("tool_call_id").clone();
        // A custom tool's call says so; whose result this is tells its id.
        let custom = items.iter().any(|item| {
            item.get("type").as_text() == Some("custom_tool_call") && *item.get("call_id") == call
        });
        let name = if custom { "custom_tool_call_output" } else { "function_call_output" };
        items.push(object([("type", kind(name)), ("call_id", call), ("output", output)]));
        return Ok(());
    }
    if let Some(text) = message.get("reasoning_content").as_text() {
        let part = object([("type", kind("reasoning_text")), ("text", Json::text(text))]);
        let summary = ("summary", Json::List(Vec::new()));
        items.push(object([("type", kind("reasoning")), summary, ("content", Json::List(vec![part]))]));
    }
    let mut content = match message.get("content") {
        Json::Null => Vec::new(),
        Json::Text(text) if role != "assistant" => {
            items.push(object([("role", kind(role)), ("content", Json::text(text))]));
            return Ok(());
        }
        Json::Text(text) => vec![said(text)],
        parts => parts.items().iter().map(|one| part(one, role)).collect::<Result<_, _>>()?,
    };
    if let Some(refusal) = message.get("refusal").as_text() {
        content.push(object([("type", kind("refusal")), ("refusal", Json::text(refusal))]));
    }
    if !content.is_empty() {
        let role = ("role", kind(role));
        items.push(object([("type", kind("message")), role, ("content", Json::List(content))]));
    }
    for call in message.get("tool_calls").items() {
        let flat = flat(call, words::text(call, "type"));
        let mut item = object([("type", kind("function_call")), ("call_id", call.get("id").clone())]);
        if words::text(call, "type") == "custom" {
            item.set("type", kind("custom_tool_call"));
        }
        for name in ["name", "arguments", "input"] {
            set(&mut item, name, flat.get(name).clone());
        }
        items.push(item);
    }
    Ok(())
}

fn said(text: &str) -> Json {
    let annotations = ("annotations", Json::List(Vec::new()));
    object([("type", Json::text("output_text")), ("text", Json::text(text)), annotations])
}

fn part(part: &Json, role: &str) -> Result<Json, String> {
    match words::text(part, "type") {
        "text" if role == "assistant" => {
            unsaid(part, &["type", "text"])?;
            Ok(said(words::text(part, "text")))
        }
        "text" => {
            unsaid(part, &["type", "text"])?;
            Ok(object([("type", Json::text("input_text")), ("text", part.get("text").clone())]))
        }
        "refusal" => Ok(part.clone()),
        "image_url" => {
            let image = part.get("image_url");
            unsaid(image, &["url", "detail"])?;
            let mut item = object([("type", Json::text("input_image")), ("image_url", image.get("url").clone())]);
            set(&mut item, "detail", image.get("detail").clone());
            Ok(item)
        }
        "file" => {
            let file = part.get("file");
            unsaid(file, &["file_data", "file_id", "filename"])?;
            Ok(flat(&object([("type", Json::text("file")), ("file", file.clone())]), "file")).map(|mut item| {
                item.set("type", Json::text("input_file"));
                item
            })
        }
        other => Err(other.to_owned()),
    }
}
