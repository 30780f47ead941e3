//! Stored completions as OpenAI's JSON: the answer beside what was asked, and the messages that it answers.

use bytes::{BufMut as _, BytesMut};
use penstock_proto::inference::v1::{
    ContentPart, ContentParts, CustomTool, File, FunctionTool, GenerateRequest, ImageUrl, InputAudio,
    Message, Metadata, StoredCompletion, StoredMessage, Tool, message::Content,
};

use super::{
    answer::{write_call, write_members},
    chunk::write_function,
};
use crate::json::write::{comma, extensions, key, nullable, optional, raw, value};

/// Members of a stored completion that are written beside those of its answer.
const BESIDE: [&str; 13] = [
    "request_id",
    "tool_choice",
    "seed",
    "top_p",
    "temperature",
    "presence_penalty",
    "frequency_penalty",
    "input_user",
    "service_tier",
    "tools",
    "metadata",
    "response_format",
    "messages",
];

/// Writes a stored completion: a `chat.completion` with what was asked, `null` where nothing was.
pub(crate) fn write(completion: &StoredCompletion, out: &mut BytesMut) {
    let (answer, request) = (completion.answer.clone().unwrap_or_default(), completion.request.as_ref());
    let nothing = GenerateRequest::default();
    let request = request.unwrap_or(&nothing);
    out.put_u8(b'{');
    write_members(&answer, &BESIDE, out);
    key(out, "\"request_id\":");
    value(out, &completion.request_id);
    key(out, "\"tool_choice\":");
    raw(out, request.tool_choice_json.as_deref().unwrap_or("null"));
    key(out, "\"seed\":");
    nullable(out, request.seed);
    for (name, number) in [
        ("\"top_p\":", request.top_p),
        ("\"temperature\":", request.temperature),
        ("\"presence_penalty\":", request.presence_penalty),
        ("\"frequency_penalty\":", request.frequency_penalty),
    ] {
        key(out, name);
        nullable(out, number);
    }
    key(out, "\"input_user\":");
    nullable(out, request.user.as_deref());
    if answer.service_tier.is_none() {
        key(out, "\"service_tier\":");
        nullable(out, request.service_tier.as_deref());
    }
    key(out, "\"tools\":");
    if request.tools.is_empty() {
        out.put_slice(b"null");
    } else {
        write_tools(&request.tools, out);
    }
    key(out, "\"metadata\":");
    write_metadata(completion.metadata.as_ref(), out);
    key(out, "\"response_format\":");
    raw(out, request.response_format_json.as_deref().unwrap_or("null"));
    out.put_u8(b'}');
}

/// Writes a stored message: with its id, and its parts apart from its text.
pub(crate) fn write_message(stored: &StoredMessage, out: &mut BytesMut) {
    let nothing = Message::default();
    let message = stored.message.as_ref().unwrap_or(&nothing);
    out.put_slice(b"{\"id\":");
    value(out, &stored.id);
    out.put_slice(b",\"role\":");
    value(out, &message.role);
    out.put_slice(b",\"content\":");
    match &message.content {
        Some(Content::Text(text)) => value(out, text),
        Some(Content::Parts(_)) | None => out.put_slice(b"null"),
    }
    out.put_slice(b",\"content_parts\":");
    match &message.content {
        Some(Content::Parts(parts)) => write_parts(parts, out),
        Some(Content::Text(_)) | None => out.put_slice(b"null"),
    }
    out.put_slice(b",\"name\":");
    nullable(out, message.name.as_deref());
    out.put_slice(b",\"refusal\":");
    nullable(out, message.refusal.as_deref());
    write_rest(message, &["id", "content_parts"], out);
    out.put_u8(b'}');
}

/// Writes what a stored message and one of a request have in common.
fn write_rest(message: &Message, ours: &[&str], out: &mut BytesMut) {
    optional(out, "\"tool_call_id\":", message.tool_call_id.as_deref());
    optional(out, "\"reasoning_content\":", message.reasoning.as_deref());
    if !message.tool_calls.is_empty() {
        key(out, "\"tool_calls\":[");
        for call in &message.tool_calls {
            comma(out);
            write_call(call, out);
        }
        out.put_u8(b']');
    }
    if let Some(call) = &message.function_call {
        key(out, "\"function_call\":");
        write_function(call, call.arguments.as_deref(), out);
    }
    extensions(out, &message.extensions, ours);
}

fn write_parts(parts: &ContentParts, out: &mut BytesMut) {
    out.put_u8(b'[');
    for part in &parts.parts {
        comma(out);
        write_part(part, out);
    }
    out.put_u8(b']');
}

fn write_part(part: &ContentPart, out: &mut BytesMut) {
    out.put_slice(b"{\"type\":");
    value(out, &part.r#type);
    optional(out, "\"text\":", part.text.as_deref());
    optional(out, "\"refusal\":", part.refusal.as_deref());
    if let Some(ImageUrl { url, detail, extensions: others }) = &part.image_url {
        key(out, "\"image_url\":{\"url\":");
        value(out, url);
        optional(out, "\"detail\":", detail.as_deref());
        end(others, out);
    }
    if let Some(InputAudio { data, format, extensions: others }) = &part.input_audio {
        key(out, "\"input_audio\":{\"data\":");
        value(out, data);
        key(out, "\"format\":");
        value(out, format);
        end(others, out);
    }
    if let Some(File { file_data, file_id, filename, extensions: others }) = &part.file {
        key(out, "\"file\":{");
        optional(out, "\"file_data\":", file_data.as_deref());
        optional(out, "\"file_id\":", file_id.as_deref());
        optional(out, "\"filename\":", filename.as_deref());
        end(others, out);
    }
    end(&part.extensions, out);
}

/// Writes the members that the contract does not name, and the end of the object.
fn end(others: &[penstock_proto::inference::v1::Extension], out: &mut BytesMut) {
    extensions(out, others, &[]);
    out.put_u8(b'}');
}

fn write_tools(tools: &[Tool], out: &mut BytesMut) {
    out.put_u8(b'[');
    for tool in tools {
        comma(out);
        write_tool(tool, out);
    }
    out.put_u8(b']');
}

fn write_tool(tool: &Tool, out: &mut BytesMut) {
    out.put_slice(b"{\"type\":");
    value(out, &tool.r#type);
    if let Some(FunctionTool { name, description, parameters_json, strict, extensions: others }) =
        &tool.function
    {
        key(out, "\"function\":{\"name\":");
        value(out, name);
        optional(out, "\"description\":", description.as_deref());
        if let Some(parameters) = parameters_json {
            key(out, "\"parameters\":");
            raw(out, parameters);
        }
        if let Some(strict) = strict {
            key(out, "\"strict\":");
            value(out, strict);
        }
        end(others, out);
    }
    if let Some(CustomTool { name, description, format_json, extensions: others }) = &tool.custom {
        key(out, "\"custom\":{\"name\":");
        value(out, name);
        optional(out, "\"description\":", description.as_deref());
        if let Some(format) = format_json {
            key(out, "\"format\":");
            raw(out, format);
        }
        end(others, out);
    }
    end(&tool.extensions, out);
}

fn write_metadata(metadata: Option<&Metadata>, out: &mut BytesMut) {
    out.put_u8(b'{');
    for pair in metadata.map(|metadata| metadata.pairs.as_slice()).unwrap_or_default() {
        comma(out);
        value(out, &pair.key);
        out.put_u8(b':');
        value(out, &pair.value);
    }
    out.put_u8(b'}');
}

#[cfg(test)]
mod tests;
