//! A conversation: its messages, what each role must and may have, and the parts of their content.

use std::fmt::Display;

use super::found::{Found, Item};
use crate::inference::v1::{
    ChatInput, ContentPart, ContentParts, InputAudio, Message, ToolCall, message::Content,
};

/// Roles of the chat format.
const ROLES: [&str; 6] = ["developer", "system", "user", "assistant", "tool", "function"];
/// Types of parts that the specification knows. Engines have more of their own (`video_url`, …).
const PARTS: [&str; 5] = ["text", "image_url", "input_audio", "file", "refusal"];

pub(super) fn check(found: &mut Found, chat: &ChatInput) {
    if chat.messages.is_empty() {
        found.add("messages", "must have at least one message");
    }
    for (index, message) in chat.messages.iter().enumerate() {
        check_message(found, Item(&"messages", index), message);
    }
}

fn check_message(found: &mut Found, at: Item<'_>, message: &Message) {
    let role = message.role.as_str();
    found.one_of(format_args!("{at}.role"), role, &ROLES);
    match &message.content {
        None => found.required(format_args!("{at}.content"), matches!(role, "assistant" | "function")),
        Some(Content::Text(_)) => {}
        Some(Content::Parts(parts)) => check_parts(found, &format_args!("{at}.content"), role, parts),
    }
    if role == "tool" && message.tool_call_id.is_none() {
        found.add(format_args!("{at}.tool_call_id"), "is required for the role tool");
    }
    if role == "function" && message.name.is_none() {
        found.add(format_args!("{at}.name"), "is required for the role function");
    }
    for (index, call) in message.tool_calls.iter().enumerate() {
        check_call(found, Item(&format_args!("{at}.tool_calls"), index), call);
    }
    if let Some(call) = &message.function_call {
        found.required(format_args!("{at}.function_call.name"), call.name.is_some());
        found.required(format_args!("{at}.function_call.arguments"), call.arguments.is_some());
    }
}

fn check_parts(found: &mut Found, at: &dyn Display, role: &str, parts: &ContentParts) {
    if parts.parts.is_empty() {
        found.add(at, "must have at least one part");
    }
    for (index, part) in parts.parts.iter().enumerate() {
        check_part(found, Item(at, index), role, part);
    }
}

fn check_part(found: &mut Found, at: Item<'_>, role: &str, part: &ContentPart) {
    let kind = part.r#type.as_str();
    let allowed: &[&str] = match role {
        "user" => &["text", "image_url", "input_audio", "file"],
        "assistant" => &["text", "refusal"],
        role if ROLES.contains(&role) => &["text"],
        _ => &PARTS,
    };
    if PARTS.contains(&kind) && !allowed.contains(&kind) {
        let message = format!("must be {} in a message of the role {role}", allowed.join(" or "));
        return found.add(format_args!("{at}.type"), message);
    }
    match kind {
        "" => found.add(format_args!("{at}.type"), "is required"),
        "text" => found.required(format_args!("{at}.text"), part.text.is_some()),
        "refusal" => found.required(format_args!("{at}.refusal"), part.refusal.is_some()),
        "image_url" => {
            let image = part.image_url.as_ref();
            found.required(
                format_args!("{at}.image_url.url"),
                image.is_some_and(|image| !image.url.is_empty()),
            );
            if let Some(detail) = image.and_then(|image| image.detail.as_deref()) {
                found.one_of(format_args!("{at}.image_url.detail"), detail, &["auto", "low", "high"]);
            }
        }
        "input_audio" => {
            let audio = part.input_audio.as_ref();
            let has = |text: fn(&InputAudio) -> &String| audio.is_some_and(|audio| !text(audio).is_empty());
            found.required(format_args!("{at}.input_audio.data"), has(|audio| &audio.data));
            found.required(format_args!("{at}.input_audio.format"), has(|audio| &audio.format));
        }
        "file" => found.required(format_args!("{at}.file"), part.file.is_some()),
        _ => {}
    }
}

/// A call that the assistant made. Without a type it is a function's: many histories leave it out.
fn check_call(found: &mut Found, at: Item<'_>, call: &ToolCall) {
    found.required(format_args!("{at}.id"), call.id.is_some());
    match call.r#type.as_deref().unwrap_or("function") {
        "function" => {
            let function = call.function.as_ref();
            let named = function.is_some_and(|function| function.name.is_some());
            found.required(format_args!("{at}.function.name"), named);
            let given = function.is_some_and(|function| function.arguments.is_some());
            found.required(format_args!("{at}.function.arguments"), given);
        }
        "custom" => {
            let custom = call.custom.as_ref();
            let named = custom.is_some_and(|custom| custom.name.is_some());
            found.required(format_args!("{at}.custom.name"), named);
            found.required(
                format_args!("{at}.custom.input"),
                custom.is_some_and(|custom| custom.input.is_some()),
            );
        }
        _ => {}
    }
}
