//! The conversation: what the system says stands apart, tools' results are said by the user, and everything is
//! blocks.

use penstock_proto::inference::v1::{ContentPart, Extension, File, Message, ToolCall, message::Content};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    engine::openai::request::is_prefill,
    json::write::{Object, Writer},
};

/// The extension of a message that holds the signed reasoning of an earlier answer.
pub(super) const THINKING_BLOCKS: &str = "thinking_blocks";
/// Blocks of the engine's own that may stand in a conversation as they are.
const NATIVE: &[&str] = &["image", "document", "search_result", "container_upload"];

/// Something in a message.
enum Block<'a> {
    Text(&'a str),
    Part(String, &'a ContentPart),
    Thought(String, &'a RawValue),
    Use(String, &'a ToolCall),
    Result(usize, &'a Message),
}

/// Writes `system`: what system and developer say, wherever it stands.
pub(super) fn system(object: &mut Object<'_>, messages: &[Message]) {
    let mut blocks = Vec::new();
    for (at, message) in messages.iter().enumerate().filter(|(_, message)| is_system(message)) {
        if let Some(Content::Parts(parts)) = &message.content {
            let strange = parts.parts.iter().position(|part| part.r#type != "text");
            if let Some(strange) = strange {
                let field = format!("messages[{at}].content[{strange}]");
                object.unsupported(field, "this engine takes only text from the system");
            }
        }
        said(&mut blocks, at, message);
    }
    if !blocks.is_empty() {
        object.key("system").array(blocks, |writer, _, one| block(writer, one));
    }
}

fn is_system(message: &Message) -> bool {
    matches!(message.role.as_str(), "system" | "developer")
}

/// Writes `messages`.
pub(super) fn messages(object: &mut Object<'_>, messages: &[Message]) {
    let mut numbered: Vec<_> =
        messages.iter().enumerate().filter(|(_, message)| !is_system(message)).collect();
    let trimmed = numbered.last().and_then(|(_, last)| trimmed_prefill(last));
    if let (Some((_, last)), Some(trimmed)) = (numbered.last_mut(), &trimmed) {
        *last = trimmed;
    }
    let is_result = |message: &Message| message.role == "tool";
    // Results of calls that were made together come back together.
    let turns = numbered.chunk_by(|(_, a), (_, b)| is_result(a) && is_result(b));
    object.key("messages").array(turns, |writer, _, turn| match turn {
        [(at, message)] if !is_result(message) => one_message(writer, *at, message),
        results => writer.object(|object| {
            object.member("role", "user");
            let blocks = results.iter().map(|(at, message)| Block::Result(*at, message));
            object.key("content").array(blocks, |writer, _, one| block(writer, one));
        }),
    });
}

/// A message that the engine is to go on from, without white space at its end, which it refuses there. `None`: it
/// has none, or is no such message.
fn trimmed_prefill(message: &Message) -> Option<Message> {
    let Some(Content::Text(text)) = message.content.as_ref().filter(|_| is_prefill(message)) else {
        return None;
    };
    let trimmed = Some(text.trim_end()).filter(|trimmed| trimmed.len() < text.len())?;
    Some(Message { content: Some(Content::Text(trimmed.to_owned())), ..message.clone() })
}

fn one_message(writer: &mut Writer, at: usize, message: &Message) {
    let mut blocks = Vec::new();
    let mut rest = Vec::new();
    for extension in &message.extensions {
        if extension.name == THINKING_BLOCKS {
            thoughts(writer, &mut blocks, at, &extension.json);
        } else {
            rest.push(extension.clone());
        }
    }
    if !matches!(message.role.as_str(), "user" | "assistant") {
        writer.unsupported(format!("messages[{at}].role"), "this engine does not know it");
    }
    let plain = blocks.is_empty() && message.tool_calls.is_empty() && message.refusal.is_none();
    writer.object(|object| {
        object.member("role", &message.role);
        match &message.content {
            Some(Content::Text(text)) if plain => object.member("content", text),
            _ => {
                said(&mut blocks, at, message);
                blocks.extend(message.refusal.as_deref().map(Block::Text));
                let calls = message.tool_calls.iter().enumerate();
                blocks.extend(calls.map(|(call_at, call)| {
                    Block::Use(format!("messages[{at}].tool_calls[{call_at}]"), call)
                }));
                if blocks.is_empty() {
                    object
                        .unsupported(format!("messages[{at}].content"), "this engine takes no empty message");
                }
                object.key("content").array(blocks, |writer, _, one| block(writer, one));
            }
        }
        object.extensions(&format!("messages[{at}]."), &rest, &["role", "content"], &[]);
    });
}

/// The content of a message, as blocks. The engine takes no empty texts.
fn said<'a>(blocks: &mut Vec<Block<'a>>, at: usize, message: &'a Message) {
    match &message.content {
        Some(Content::Text(text)) if !text.is_empty() => blocks.push(Block::Text(text)),
        Some(Content::Parts(parts)) => {
            let parts = parts.parts.iter().enumerate();
            let parts = parts.filter(|(_, part)| part.text.as_deref() != Some(""));
            blocks.extend(
                parts.map(|(part_at, part)| Block::Part(format!("messages[{at}].content[{part_at}]"), part)),
            );
        }
        _ => {}
    }
}

/// Signed reasoning goes back to the very byte, or the signature does not hold.
fn thoughts<'a>(writer: &mut Writer, blocks: &mut Vec<Block<'a>>, at: usize, json: &'a str) {
    #[derive(Deserialize)]
    struct Kind {
        r#type: String,
    }
    let path = format!("messages[{at}].{THINKING_BLOCKS}");
    let is_thought = |block: &&RawValue| {
        let kind = serde_json::from_str::<Kind>(block.get()).map(|kind| kind.r#type);
        kind.is_ok_and(|kind| matches!(kind.as_str(), "thinking" | "redacted_thinking"))
    };
    match serde_json::from_str::<Vec<&RawValue>>(json) {
        Ok(thoughts) if thoughts.iter().all(is_thought) => {
            let numbered = thoughts.into_iter().enumerate();
            blocks.extend(numbered.map(|(index, raw)| Block::Thought(format!("{path}[{index}]"), raw)));
        }
        _ => writer.refuse(path, "must be the array of an earlier answer, unchanged"),
    }
}

fn block(writer: &mut Writer, block: Block<'_>) {
    match block {
        Block::Text(text) => text_block(writer, text, "", &[]),
        Block::Part(path, part) => content_part(writer, &path, part),
        Block::Thought(path, raw) => writer.raw(&path, raw.get()),
        Block::Use(path, call) => tool_use(writer, &path, call),
        Block::Result(at, message) => tool_result(writer, at, message),
    }
}

fn text_block(writer: &mut Writer, text: &str, path: &str, extensions: &[Extension]) {
    writer.object(|object| {
        object.member("type", "text");
        object.member("text", text);
        object.extensions(path, extensions, &["type", "text"], &[]);
    });
}

fn content_part(writer: &mut Writer, path: &str, part: &ContentPart) {
    let below = format!("{path}.");
    let text = part.text.as_ref().or(part.refusal.as_ref());
    if let (Some(text), "text" | "refusal") = (text, part.r#type.as_str()) {
        return text_block(writer, text, &below, &part.extensions);
    }
    writer.object(|object| {
        if let Some(image) = &part.image_url {
            object.member("type", "image");
            let field = format!("{below}image_url.url");
            object.key("source").object(|object| source(object, &image.url, &field));
        } else if let Some(file) = &part.file {
            document(object, &below, file);
        } else if NATIVE.contains(&part.r#type.as_str()) {
            object.member("type", &part.r#type);
        } else {
            object.unsupported(path, "is of a type that this engine does not take");
        }
        object.extensions(&below, &part.extensions, &["type", "source", "title"], &[]);
    });
}

/// A data URL as base64, any other as it is: the engine fetches it.
fn source(object: &mut Object<'_>, url: &str, field: &str) {
    match url.strip_prefix("data:").map(|data| data.split_once(";base64,")) {
        Some(Some((media_type, data))) => {
            object.member("type", "base64");
            object.member("media_type", media_type);
            object.member("data", data);
        }
        None if url.starts_with("https://") || url.starts_with("http://") => {
            object.member("type", "url");
            object.member("url", url);
        }
        _ => object.unsupported(field, "must be a base64 data URL or an http(s) URL for this engine"),
    }
}

/// A file: PDF by its data. An id is one of OpenAI's, which no other engine knows.
fn document(object: &mut Object<'_>, below: &str, file: &File) {
    let field = format!("{below}file");
    object.member("type", "document");
    let Some(data) = file.file_data.as_deref().filter(|_| file.file_id.is_none()) else {
        return object.unsupported(field, "must be given by file_data for this engine");
    };
    let is_pdf = match data.strip_prefix("data:") {
        Some(url) => url.starts_with("application/pdf;base64,"),
        // As base64 has "%PDF".
        None => data.starts_with("JVBERi"),
    };
    if !is_pdf {
        return object.unsupported(format!("{field}.file_data"), "must be a PDF for this engine");
    }
    let base64 = data.split_once(";base64,").map_or(data, |(_, base64)| base64);
    object.key("source").object(|object| {
        object.member("type", "base64");
        object.member("media_type", "application/pdf");
        object.member("data", base64);
    });
    object.optional("title", &file.filename);
}

/// A call that the assistant made: its arguments are an object here, not a string.
fn tool_use(writer: &mut Writer, path: &str, call: &ToolCall) {
    let Some(function) = &call.function else {
        return writer.unsupported(format!("{path}.function"), "is required for this engine");
    };
    if call.id.is_none() || function.name.is_none() {
        writer.refuse(path, "must have an id and a name");
    }
    let arguments = function.arguments.as_deref().map(str::trim).filter(|json| !json.is_empty());
    let arguments = arguments.unwrap_or("{}");
    writer.object(|object| {
        object.member("type", "tool_use");
        object.optional("id", &call.id);
        object.optional("name", &function.name);
        let field = format!("{path}.function.arguments");
        if arguments.starts_with('{') {
            object.raw("input", &field, Some(arguments));
        } else {
            object.refuse(field, "must be a JSON object");
        }
        let known = ["type", "id", "name", "input"];
        object.extensions(&format!("{path}."), &call.extensions, &known, &[]);
    });
}

fn tool_result(writer: &mut Writer, at: usize, message: &Message) {
    let path = format!("messages[{at}].");
    writer.object(|object| {
        object.member("type", "tool_result");
        match &message.tool_call_id {
            Some(id) => object.member("tool_use_id", id),
            None => object.refuse(format!("{path}tool_call_id"), "is required"),
        }
        match &message.content {
            Some(Content::Text(text)) => object.member("content", text),
            Some(Content::Parts(_)) => {
                let mut blocks = Vec::new();
                said(&mut blocks, at, message);
                object.key("content").array(blocks, |writer, _, one| block(writer, one));
            }
            None => {}
        }
        object.extensions(&path, &message.extensions, &["type", "tool_use_id", "content"], &[]);
    });
}
