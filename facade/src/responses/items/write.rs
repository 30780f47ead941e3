//! Messages as the items of an input, for whoever asks what a response answers.

use std::collections::HashSet;

use bytes::{BufMut as _, BytesMut};
use penstock_proto::inference::v1::{ContentPart, Message, message::Content};

use super::{Item, Kind, RESPONSE, items_of};
use crate::{
    json::write::{comma, extensions, key, optional, value},
    responses::output,
};

/// An item of an input as JSON, with its id.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) id: String,
    pub(crate) json: BytesMut,
}

/// Writes messages as items, in order. Their ids are made of the response that they belong to and their place.
pub(crate) fn write_input(response_id: &str, messages: &[Message]) -> Vec<Written> {
    let hex = response_id.strip_prefix(RESPONSE).unwrap_or(response_id);
    let mut custom = HashSet::new();
    let mut written = Vec::with_capacity(messages.len());
    for item in messages.iter().flat_map(items_of) {
        if let Item::Call(call) = &item
            && Kind::of(call) == Kind::Custom
        {
            custom.extend(call.id.clone());
        }
        let prefix = match &item {
            Item::Message(Message { role, tool_call_id: Some(call), .. }) if role == "tool" => {
                if custom.contains(call) { "ctco_" } else { "fco_" }
            }
            Item::Message(_) => Kind::Message.prefix(),
            Item::Reasoning { .. } => Kind::Reasoning.prefix(),
            Item::Call(call) => Kind::of(call).prefix(),
            Item::Reference(_) => continue,
        };
        let id = format!("{prefix}{hex}_in{}", written.len());
        let mut json = BytesMut::with_capacity(256);
        write_item(&item, &id, prefix == "ctco_", &mut json);
        written.push(Written { id, json });
    }
    written
}

fn write_item(item: &Item, id: &str, custom: bool, out: &mut BytesMut) {
    match item {
        Item::Message(message) if message.role == "tool" => write_tool_output(message, id, custom, out),
        Item::Message(message) => write_message(message, id, out),
        Item::Reasoning { text, .. } => output::write_reasoning(id, text, false, out),
        Item::Call(call) => {
            let whole = output::Call {
                call_id: call.id.as_deref().unwrap_or(id),
                name: output::name(call).unwrap_or_default(),
                input: output::input(call).unwrap_or_default(),
                custom: Kind::of(call) == Kind::Custom,
                extensions: &call.extensions,
            };
            output::write_call(id, &whole, output::COMPLETED, out);
        }
        Item::Reference(_) => {}
    }
}

fn write_tool_output(message: &Message, id: &str, custom: bool, out: &mut BytesMut) {
    out.put_slice(b"{\"id\":");
    value(out, id);
    key(out, "\"type\":");
    value(out, if custom { "custom_tool_call_output" } else { "function_call_output" });
    key(out, "\"call_id\":");
    value(out, message.tool_call_id.as_deref().unwrap_or_default());
    key(out, "\"output\":");
    match &message.content {
        Some(Content::Parts(parts)) => write_parts(&parts.parts, "input_text", out),
        Some(Content::Text(text)) => value(out, text),
        None => value(out, ""),
    }
    key(out, "\"status\":\"completed\"}");
}

fn write_message(message: &Message, id: &str, out: &mut BytesMut) {
    let text = if message.role == "assistant" { "output_text" } else { "input_text" };
    out.put_slice(b"{\"id\":");
    value(out, id);
    key(out, "\"type\":\"message\",\"status\":\"completed\",\"role\":");
    value(out, &message.role);
    key(out, "\"content\":");
    match &message.content {
        Some(Content::Parts(parts)) => write_parts(&parts.parts, text, out),
        Some(Content::Text(said)) => {
            out.put_u8(b'[');
            write_text(said, text, out);
            out.put_u8(b']');
        }
        None => out.put_slice(b"[]"),
    }
    if let Some(refusal) = &message.refusal {
        // Into the list that was just written.
        out.truncate(out.len() - 1);
        comma(out);
        out.put_slice(b"{\"type\":\"refusal\",\"refusal\":");
        value(out, refusal);
        out.put_slice(b"}]");
    }
    extensions(out, &message.extensions, &["id", "type", "status", "role", "content"]);
    out.put_u8(b'}');
}

fn write_text(said: &str, kind: &'static str, out: &mut BytesMut) {
    out.put_slice(b"{\"type\":");
    value(out, kind);
    key(out, "\"text\":");
    value(out, said);
    if kind == "output_text" {
        out.put_slice(b",\"annotations\":[],\"logprobs\":[]");
    }
    out.put_u8(b'}');
}

fn write_parts(parts: &[ContentPart], text: &'static str, out: &mut BytesMut) {
    out.put_u8(b'[');
    for part in parts {
        comma(out);
        write_part(part, text, out);
    }
    out.put_u8(b']');
}

fn write_part(part: &ContentPart, text: &'static str, out: &mut BytesMut) {
    if let Some(said) = &part.text {
        return write_text(said, text, out);
    }
    out.put_u8(b'{');
    if let Some(refusal) = &part.refusal {
        key(out, "\"type\":\"refusal\"");
        optional(out, "\"refusal\":", Some(refusal));
    } else if let Some(image) = &part.image_url {
        key(out, "\"type\":\"input_image\"");
        optional(out, "\"image_url\":", Some(&image.url));
        optional(out, "\"detail\":", Some(image.detail.as_deref().unwrap_or("auto")));
    } else if let Some(audio) = &part.input_audio {
        key(out, "\"type\":\"input_audio\",\"input_audio\":{\"data\":");
        value(out, &audio.data);
        key(out, "\"format\":");
        value(out, &audio.format);
        out.put_u8(b'}');
    } else if let Some(file) = &part.file {
        key(out, "\"type\":\"input_file\"");
        optional(out, "\"file_data\":", file.file_data.as_deref());
        optional(out, "\"file_id\":", file.file_id.as_deref());
        optional(out, "\"filename\":", file.filename.as_deref());
    } else {
        key(out, "\"type\":");
        value(out, &part.r#type);
    }
    extensions(out, &part.extensions, &["type"]);
    out.put_u8(b'}');
}
