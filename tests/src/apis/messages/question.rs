//! A question of chat in Anthropic's words.

use crate::{
    apis::words::{self, object, unsaid},
    exact::Json,
};

const KNOWN: [&str; 13] = [
    "model", "messages", "max_completion_tokens", "max_tokens", "temperature", "top_p", "top_k", "stop", "tools", "tool_choice",
    "parallel_tool_calls", "reasoning_effort", "user",
];

/// What Anthropic's requests are bounded by where chat's are not: it has none without.
pub const MAX_TOKENS: i64 = 4096;

/// A question of chat in Anthropic's words.
pub(in crate::apis) fn question(mut chat: Json) -> Result<Json, String> {
    let mut known = KNOWN.to_vec();
    if chat.get("response_format").get("type").as_text() == Some("json_schema") {
        known.push("response_format");
    }
    unsaid(&chat, &known)?;
    let mut question = object([("model", chat.take("model"))]);
    let max = match (chat.take("max_completion_tokens"), chat.take("max_tokens")) {
        (Json::Null, Json::Null) => Json::int(MAX_TOKENS),
        (Json::Null, max) | (max, _) => max,
    };
    question.set("max_tokens", max);
    let mut turns: Vec<(String, Vec<Json>)> = Vec::new();
    for (at, message) in chat.take("messages").items().iter().enumerate() {
        if at == 0 && message.get("role").as_text() == Some("system") {
            unsaid(message, &["role", "content"])?;
            question.set("system", message.get("content").clone());
        } else {
            let (role, blocks) = turn(message)?;
            match turns.last_mut() {
                // What tools gave belongs into one turn.
                Some((last, known)) if *last == role && message.get("role").as_text() == Some("tool") => {
                    known.extend(blocks);
                }
                _ => turns.push((role, blocks)),
            }
        }
    }
    let turn = |(role, mut blocks): (String, Vec<Json>)| {
        // One text is said as one.
        let content = match &mut blocks[..] {
            [one] if one.get("type").as_text() == Some("text") => one.take("text"),
            _ => Json::List(blocks),
        };
        object([("role", Json::Text(role)), ("content", content)])
    };
    question.set("messages", Json::List(turns.into_iter().map(turn).collect()));
    match chat.take("stop") {
        Json::Null => {}
        Json::List(all) => question.set("stop_sequences", Json::List(all)),
        one => question.set("stop_sequences", Json::List(vec![one])),
    }
    tools(&mut question, &mut chat)?;
    let mut output = object([]);
    let (effort, format) = (chat.take("reasoning_effort"), chat.take("response_format"));
    if effort != Json::Null {
        output.set("effort", effort);
    }
    if format != Json::Null {
        let schema = format.get("json_schema").get("schema").clone();
        output.set("format", object([("type", Json::text("json_schema")), ("schema", schema)]));
    }
    if output.names().next().is_some() {
        question.set("output_config", output);
    }
    let user = chat.take("user");
    if user != Json::Null {
        question.set("metadata", object([("user_id", user)]));
    }
    for (name, value) in std::mem::take(chat.members_mut()) {
        question.set(&name, value);
    }
    Ok(question)
}

fn tools(question: &mut Json, chat: &mut Json) -> Result<(), String> {
    let tools = chat.take("tools");
    if tools != Json::Null {
        let tools = tools.items().iter().map(tool).collect::<Result<_, _>>()?;
        question.set("tools", Json::List(tools));
    }
    let choice = chat.take("tool_choice");
    let mut here = match (choice.as_text(), choice.get("type").as_text()) {
        (None, None) => object([]),
        (Some("required"), _) => object([("type", Json::text("any"))]),
        (Some(word), _) => object([("type", Json::text(word))]),
        (_, Some("function")) => {
            let name = choice.get("function").get("name").clone();
            object([("type", Json::text("tool")), ("name", name)])
        }
        (_, Some(other)) => return Err(format!("tool_choice {other}")),
    };
    if chat.take("parallel_tool_calls") == Json::Bool(false) {
        if !here.has("type") {
            here.set("type", Json::text("auto"));
        }
        here.set("disable_parallel_tool_use", Json::Bool(true));
    }
    if here.has("type") {
        question.set("tool_choice", here);
    }
    Ok(())
}

fn tool(tool: &Json) -> Result<Json, String> {
    let function = tool.get("function");
    unsaid(tool, &["type", "function"])?;
    unsaid(function, &["name", "description", "parameters"])?;
    if !function.has("parameters") {
        return Err("a tool without parameters".into());
    }
    let mut here = object([("name", function.get("name").clone())]);
    if function.has("description") {
        here.set("description", function.get("description").clone());
    }
    here.set("input_schema", function.get("parameters").clone());
    Ok(here)
}

/// A message of chat as blocks of a turn.
fn turn(message: &Json) -> Result<(String, Vec<Json>), String> {
    unsaid(message, &["role", "content", "reasoning_content", "tool_calls", "tool_call_id"])?;
    let role = words::text(message, "role");
    let content = match message.get("content") {
        Json::Null => Vec::new(),
        Json::Text(text) => vec![said(text)],
        parts => parts.items().iter().map(part).collect::<Result<_, _>>()?,
    };
    match role {
        "user" => Ok((role.to_owned(), content)),
        "tool" => {
            let content = match message.get("content") {
                Json::Text(text) => Json::text(text),
                _ => Json::List(content),
            };
            let call = message.get("tool_call_id").clone();
            let result = [("type", Json::text("tool_result")), ("tool_use_id", call), ("content", content)];
            Ok(("user".to_owned(), vec![object(result)]))
        }
        "assistant" => {
            let mut blocks = Vec::new();
            if let Some(text) = message.get("reasoning_content").as_text() {
                let signature = ("signature", Json::text(""));
                blocks.push(object([("type", Json::text("thinking")), ("thinking", Json::text(text)), signature]));
            }
            blocks.extend(content);
            for call in message.get("tool_calls").items() {
                let function = call.get("function");
                if *function == Json::Null {
                    return Err("custom tools".into());
                }
                let input = Json::parse(words::text(function, "arguments"));
                let id = ("id", call.get("id").clone());
                let name = ("name", function.get("name").clone());
                blocks.push(object([("type", Json::text("tool_use")), id, name, ("input", input)]));
            }
            Ok((role.to_owned(), blocks))
        }
        other => Err(format!("role {other}")),
    }
}

fn said(text: &str) -> Json {
    object([("type", Json::text("text")), ("text", Json::text(text))])
}

fn part(part: &Json) -> Result<Json, String> {
    match words::text(part, "type") {
        "text" => {
            unsaid(part, &["type", "text"])?;
            Ok(part.clone())
        }
        "image_url" => {
            let image = part.get("image_url");
            unsaid(image, &["url"])?;
            let url = words::text(image, "url");
            let source = match url.strip_prefix("data:").and_then(|data| data.split_once(";base64,")) {
                Some((kind, data)) => object([
                    ("type", Json::text("base64")),
                    ("media_type", Json::text(kind)),
                    ("data", Json::text(data)),
                ]),
                None => object([("type", Json::text("url")), ("url", Json::text(url))]),
            };
            Ok(object([("type", Json::text("image")), ("source", source)]))
        }
        other => Err(other.to_owned()),
    }
}
