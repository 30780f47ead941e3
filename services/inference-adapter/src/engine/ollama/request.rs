//! Chats for Ollama, written in one pass. What it cannot do and would silently ignore is refused by name.

use penstock_proto::inference::v1::{
    FunctionCall, GenerateRequest, Message, Tool, generate_request::Input, message::Content,
};
use serde::Deserialize;

use super::options;
use crate::{
    engine::{
        Target,
        openai::request::{DENIED, tool},
    },
    error::Error,
    json::write::{Object, Writer},
};

/// Members that we write ourselves: no extension may stand for one, whatever its case (Ollama ignores case).
const KNOWN: &[&str] = &[
    "model",
    "messages",
    "stream",
    "tools",
    "options",
    "think",
    "format",
    "keep_alive",
    "truncate",
    "shift",
    "logprobs",
    "top_logprobs",
];
const MESSAGE: &[&str] =
    &["role", "content", "images", "thinking", "tool_calls", "tool_name", "tool_call_id", "name", "refusal"];

/// The body of a request.
pub(super) fn encode(request: &GenerateRequest, target: &Target) -> Result<Vec<u8>, Error> {
    let mut writer = Writer::default();
    writer.object(|object| {
        object.member("model", &target.model);
        unsupported(object, request);
        match &request.input {
            Some(Input::Chat(chat)) => {
                let earlier = chat.messages.as_slice();
                object.key("messages").array(earlier, |writer, at, one| message(writer, at, one, earlier));
            }
            Some(Input::Text(_)) | None => object.refuse("messages", "is required"),
        }
        object.member("stream", &request.stream);
        let tools = offered(object, request);
        if !tools.is_empty() {
            object.key("tools").array(tools, |writer, _, (at, one)| tool(writer, at, one));
            // Ollama calls as many at once as the model wants, and says nothing of it.
            if request.parallel_tool_calls == Some(false) {
                object.unsupported(
                    "parallel_tool_calls",
                    "this engine cannot keep a model to one call at a time",
                );
            }
        }
        let (ours, theirs) = options::split(&request.extensions);
        ours.options(object, Some(request), request.max_completion_tokens.or(request.max_tokens), target);
        ours.think(object, request, target);
        ours.format(object, request);
        ours.keep_alive(object, target);
        ours.whole(object, true);
        object.optional("logprobs", &request.logprobs);
        object.optional("top_logprobs", &request.top_logprobs);
        object.extensions("", &theirs, KNOWN, DENIED);
    });
    writer.finish()
}

/// What would change the answer and cannot be met. Labels and hints are left out: `user`, `service_tier`,
/// `prompt_cache_key`, `safety_identifier`, `prediction`.
pub(super) fn unsupported(object: &mut Object<'_>, request: &GenerateRequest) {
    let audio = request.modalities.as_ref().is_some_and(|list| list.values.iter().any(|word| word != "text"));
    for (is_asked, field, message) in [
        (request.n.is_some_and(|n| n > 1), "n", "this engine gives one choice at a time"),
        (
            request.logit_bias_json.as_deref().is_some_and(|bias| bias.trim() != "{}"),
            "logit_bias",
            "this engine has no logit bias",
        ),
        (audio, "modalities", "this engine answers in text alone"),
        (request.audio_json.is_some() && !audio, "audio", "this engine answers in text alone"),
        (request.web_search_options_json.is_some(), "web_search_options", "this engine does not search"),
        (request.verbosity.is_some(), "verbosity", "this engine has no such setting"),
        (request.functions_json.is_some(), "functions", "this engine takes `tools` instead"),
        (request.function_call_json.is_some(), "function_call", "this engine takes `tool_choice` instead"),
    ] {
        if is_asked {
            object.unsupported(field, message);
        }
    }
}

fn message(writer: &mut Writer, index: usize, message: &Message, all: &[Message]) {
    writer.object(|object| {
        let role = match message.role.as_str() {
            "developer" => "system",
            "function" => "tool",
            role => role,
        };
        object.member("role", role);
        let (text, images) = content(object, index, message);
        object.member("content", &text);
        if !images.is_empty() {
            object.member("images", &images);
        }
        object.optional("thinking", &message.reasoning);
        let path = format!("messages[{index}].");
        if !message.tool_calls.is_empty() {
            object.key("tool_calls").array(&message.tool_calls, |writer, at, call| {
                let path = format!("{path}tool_calls[{at}].");
                match &call.function {
                    Some(called) => function_call(writer, &format!("{path}function."), called),
                    None => writer.unsupported(format!("{path}type"), "this engine has functions only"),
                }
            });
        } else if let Some(called) = &message.function_call {
            let path = format!("{path}function_call.");
            object
                .key("tool_calls")
                .array([called], |writer, _, called| function_call(writer, &path, called));
        }
        if role == "tool" {
            let by_id = message.tool_call_id.as_ref().and_then(|id| called(all, id));
            object.optional("tool_name", &by_id.or(message.name.as_deref()));
        }
        object.extensions(&path, &message.extensions, MESSAGE, &[]);
    });
}

/// The texts of a message joined, and its images as base64.
fn content<'a>(object: &mut Object<'_>, index: usize, message: &'a Message) -> (String, Vec<&'a str>) {
    let parts = match &message.content {
        Some(Content::Text(text)) => return (text.clone(), Vec::new()),
        Some(Content::Parts(parts)) => parts.parts.as_slice(),
        None => return (message.refusal.clone().unwrap_or_default(), Vec::new()),
    };
    let (mut text, mut images) = (String::new(), Vec::new());
    for (at, part) in parts.iter().enumerate() {
        let path = || format!("messages[{index}].content[{at}]");
        match (part.r#type.as_str(), &part.text, &part.image_url) {
            ("text", Some(one), _) => append(&mut text, one),
            ("refusal", _, _) => append(&mut text, part.refusal.as_deref().unwrap_or_default()),
            ("image_url", _, Some(image)) => match base64_of(&image.url) {
                Some(base64) => images.push(base64),
                None => object.unsupported(
                    format!("{}.image_url.url", path()),
                    "must be a base64 data URL for this engine",
                ),
            },
            _ => object.unsupported(path(), "is of a type that this engine does not take"),
        }
    }
    (text, images)
}

fn base64_of(url: &str) -> Option<&str> {
    url.strip_prefix("data:")?.split_once(";base64,").map(|(_, base64)| base64)
}

/// The name of the function whose call has that id.
fn called<'a>(all: &'a [Message], id: &str) -> Option<&'a str> {
    let call =
        all.iter().flat_map(|message| &message.tool_calls).find(|call| call.id.as_deref() == Some(id))?;
    call.function.as_ref()?.name.as_deref()
}

/// A call that the assistant made: its arguments are an object here, not a string.
fn function_call(writer: &mut Writer, path: &str, function: &FunctionCall) {
    let arguments =
        function.arguments.as_deref().map(str::trim).filter(|json| !json.is_empty()).unwrap_or("{}");
    writer.object(|object| {
        object.key("function").object(|object| {
            object.optional("name", &function.name);
            let path = format!("{path}arguments");
            if arguments.starts_with('{') {
                object.raw("arguments", &path, Some(arguments));
            } else {
                object.unsupported(path, "must be a JSON object for this engine");
            }
        });
    });
}

/// Tools that may be called, with their places; none if none may be.
fn offered<'a>(object: &mut Object<'_>, request: &'a GenerateRequest) -> Vec<(usize, &'a Tool)> {
    for (at, tool) in request.tools.iter().enumerate().filter(|(_, tool)| tool.function.is_none()) {
        let kind = if tool.r#type.is_empty() { "this" } else { &tool.r#type };
        object.unsupported(format!("tools[{at}].type"), format!("this engine has no tools of type {kind}"));
    }
    let all = || request.tools.iter().enumerate().collect::<Vec<_>>();
    let Some(json) = request.tool_choice_json.as_deref() else { return all() };
    match serde_json::from_str::<ToolChoice>(json) {
        Ok(ToolChoice::Word(word)) if word == "none" => Vec::new(),
        Ok(ToolChoice::Word(word)) if word == "auto" => all(),
        Ok(ToolChoice::Allowed { allowed_tools }) if allowed_tools.mode == "auto" => {
            // Not offered is not called.
            let names: Vec<_> = allowed_tools.tools.iter().filter_map(|one| one.function.as_ref()).collect();
            let is_allowed = |tool: &Tool| {
                tool.function.as_ref().is_some_and(|one| names.iter().any(|name| name.name == one.name))
            };
            all().into_iter().filter(|(_, tool)| is_allowed(tool)).collect()
        }
        _ => {
            object.unsupported(
                "tool_choice",
                "this engine cannot be made to call a tool; only `auto` and `none`",
            );
            Vec::new()
        }
    }
}

/// The forms of `tool_choice` that can be met.
#[derive(Deserialize)]
#[serde(untagged)]
enum ToolChoice {
    Word(String),
    Allowed { allowed_tools: Allowed },
}

#[derive(Deserialize)]
struct Allowed {
    mode: String,
    tools: Vec<Reference>,
}

#[derive(Deserialize)]
struct Reference {
    function: Option<Named>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

fn append(text: &mut String, more: &str) {
    if !text.is_empty() {
        text.push('\n');
    }
    text.push_str(more);
}
