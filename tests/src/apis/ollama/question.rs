//! A question of chat in Ollama's words.

use crate::{
    apis::words::{self, object, unsaid},
    exact::Json,
};

const KNOWN: [&str; 15] = [
    "model", "messages", "max_completion_tokens", "max_tokens", "temperature", "top_p", "top_k", "seed", "stop",
    "presence_penalty", "frequency_penalty", "tools", "reasoning_effort", "logprobs", "top_logprobs",
];

/// What stands among the options, and under which name.
const OPTIONS: [(&str, &str); 9] = [
    ("max_tokens", "num_predict"),
    ("max_completion_tokens", "num_predict"),
    ("temperature", "temperature"),
    ("top_p", "top_p"),
    ("top_k", "top_k"),
    ("seed", "seed"),
    ("stop", "stop"),
    ("presence_penalty", "presence_penalty"),
    ("frequency_penalty", "frequency_penalty"),
];

/// A question of chat in Ollama's words.
pub(in crate::apis) fn question(mut chat: Json) -> Result<Json, String> {
    let mut known = KNOWN.to_vec();
    if chat.get("response_format").get("type").as_text().is_some_and(|kind| kind != "text") {
        known.push("response_format");
    }
    unsaid(&chat, &known)?;
    let mut question = object([("model", chat.take("model"))]);
    let messages: Result<_, _> = chat.take("messages").items().iter().map(message).collect();
    question.set("messages", Json::List(messages?));
    let mut options = object([]);
    for (name, here) in OPTIONS {
        if chat.has(name) {
            options.set(here, chat.take(name));
        }
    }
    if options.names().next().is_some() {
        question.set("options", options);
    }
    if chat.has("tools") {
        question.set("tools", chat.take("tools"));
    }
    let format = chat.take("response_format");
    match format.get("type").as_text() {
        Some("json_object") => question.set("format", Json::text("json")),
        Some(_) => question.set("format", format.get("json_schema").get("schema").clone()),
        None => {}
    }
    if chat.has("reasoning_effort") {
        question.set("think", chat.take("reasoning_effort"));
    }
    for (name, value) in std::mem::take(chat.members_mut()) {
        question.set(&name, value);
    }
    Ok(question)
}

fn message(message: &Json) -> Result<Json, String> {
    unsaid(message, &["role", "content", "reasoning_content", "tool_calls", "tool_call_id"])?;
    let role = words::text(message, "role");
    if !["system", "user", "assistant", "tool"].contains(&role) {
        return Err(format!("role {role}"));
    }
    let mut here = object([("role", Json::text(role))]);
    let mut images = Vec::new();
    match message.get("content") {
        Json::List(parts) => {
            // Its images come before its text.
            let [rest @ .., text] = &parts[..] else { return Err("no parts".into()) };
            if words::text(text, "type") != "text" || text.others_than(&["type", "text"]) || rest.is_empty() {
                return Err("parts".into());
            }
            here.set("content", text.get("text").clone());
            for part in rest {
                let url = part.get("image_url");
                unsaid(url, &["url"])?;
                let data = url.get("url").as_text().and_then(|url| url.strip_prefix("data:image/png;base64,"));
                images.push(Json::text(data.ok_or("parts that are no images")?));
            }
        }
        Json::Null => here.set("content", Json::text("")),
        text => here.set("content", text.clone()),
    }
    if !images.is_empty() {
        here.set("images", Json::List(images));
    }
    if message.has("reasoning_content") {
        here.set("thinking", message.get("reasoning_content").clone());
    }
    if message.has("tool_calls") {
        let calls: Result<_, String> = message.get("tool_calls").items().iter().map(call).collect();
        here.set("tool_calls", Json::List(calls?));
    }
    if message.has("tool_call_id") {
        here.set("tool_call_id", message.get("tool_call_id").clone());
    }
    Ok(here)
}

fn call(call: &Json) -> Result<Json, String> {
    unsaid(call, &["id", "type", "function"])?;
    let function = call.get("function");
    if *function == Json::Null {
        return Err("custom tools".into());
    }
    let arguments = Json::parse(words::text(function, "arguments"));
    let function = object([("name", function.get("name").clone()), ("arguments", arguments)]);
    Ok(object([("id", call.get("id").clone()), ("function", function)]))
}
