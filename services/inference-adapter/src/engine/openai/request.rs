//! Requests of the dialect, written in one pass. Usage is always asked for on streams: the accounting needs it.

use penstock_proto::inference::v1::{
    ContentPart, FunctionCall, GenerateRequest, Message, StopSequences, StreamOptions, Tool, ToolCall,
    generate_request::Input, message::Content, stop_sequences::Kind,
};

use crate::{
    engine::{house::without_housekeeping, tool_choice::ToolChoice},
    error::Error,
    json::write::{Object, Writer},
};

/// Members of a request that the contract names: no extension may stand for one.
pub(super) const REQUEST: &[&str] = &[
    "model",
    "messages",
    "stream",
    "stream_options",
    "temperature",
    "top_p",
    "n",
    "max_tokens",
    "max_completion_tokens",
    "stop",
    "presence_penalty",
    "frequency_penalty",
    "seed",
    "logprobs",
    "top_logprobs",
    "logit_bias",
    "user",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "response_format",
    "reasoning_effort",
    "service_tier",
    "verbosity",
    "modalities",
    "audio",
    "prediction",
    "web_search_options",
    "prompt_cache_key",
    "safety_identifier",
    "functions",
    "function_call",
    "store",
    "metadata",
];
const MESSAGE: &[&str] = &[
    "role",
    "content",
    "name",
    "tool_calls",
    "tool_call_id",
    "refusal",
    "reasoning_content",
    "reasoning",
    "function_call",
];
const PART: &[&str] = &["type", "text", "image_url", "input_audio", "file", "refusal"];
/// What every dialect refuses, beside what `Upstream` checks for all of them.
pub(crate) use crate::engine::deny::STEERING as DENIED;

/// What servers of the dialect do not agree on.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) struct Habits {
    /// Name of an assistant's reasoning in the history.
    pub(in crate::engine) reasoning: &'static str,
    /// Whether it knows the role `developer`; else it is `system`.
    pub(in crate::engine) developer: bool,
    /// Whether it reads hints for its accounts and caches.
    pub(in crate::engine) hints: bool,
    /// Whether a `tool_choice` may be an object; else it is a word, and only the chosen tools are offered.
    pub(in crate::engine) choice_objects: bool,
    /// Whether it must be told to go on from an assistant's last message.
    pub(in crate::engine) told_to_continue: bool,
}

/// Those of most servers.
pub(super) const HABITS: Habits = Habits {
    reasoning: "reasoning_content",
    developer: true,
    hints: true,
    choice_objects: true,
    told_to_continue: false,
};

/// The body of a request.
pub(in crate::engine) fn encode(
    request: &GenerateRequest,
    model: &str,
    habits: Habits,
) -> Result<Vec<u8>, Error> {
    let mut writer = Writer::default();
    writer.object(|object| {
        object.member("model", model);
        messages(object, request, habits);
        if habits.told_to_continue && is_prefilled(request) {
            object.member("continue_final_message", &true);
            object.member("add_generation_prompt", &false);
        }
        object.member("stream", &request.stream);
        if request.stream {
            stream_options(object.key("stream_options"), request.stream_options.as_ref());
        }
        sampling(object, request);
        if habits.choice_objects {
            if !request.tools.is_empty() {
                object.key("tools").array(&request.tools, tool);
            }
            object.raw("tool_choice", "tool_choice", request.tool_choice_json.as_deref());
        } else {
            chosen_tools(object, request);
        }
        object.optional("parallel_tool_calls", &request.parallel_tool_calls);
        object.raw("response_format", "response_format", request.response_format_json.as_deref());
        object.optional("reasoning_effort", &request.reasoning_effort);
        rare(object, request);
        if habits.hints {
            hints(object, request);
        }
        object.extensions("", &without_housekeeping(&request.extensions), REQUEST, DENIED);
    });
    writer.finish()
}

pub(super) fn messages(object: &mut Object<'_>, request: &GenerateRequest, habits: Habits) {
    match &request.input {
        Some(Input::Chat(chat)) => {
            let messages = object.key("messages");
            messages.array(&chat.messages, |writer, at, one| message(writer, at, one, habits));
        }
        Some(Input::Text(_)) | None => object.refuse("messages", "is required"),
    }
}

/// Whether the assistant spoke last and is to go on from there, and the caller does not say itself how.
pub(super) fn is_prefilled(request: &GenerateRequest) -> bool {
    let Some(Input::Chat(chat)) = &request.input else { return false };
    let says_itself = |name: &str| matches!(name, "continue_final_message" | "add_generation_prompt");
    chat.messages.last().is_some_and(is_prefill)
        && !request.extensions.iter().any(|extension| says_itself(&extension.name))
}

/// Whether an engine is to go on from this message, if it is the last one.
pub(in crate::engine) fn is_prefill(message: &Message) -> bool {
    message.role == "assistant" && message.tool_calls.is_empty() && message.function_call.is_none()
}

pub(super) fn sampling(object: &mut Object<'_>, request: &GenerateRequest) {
    object.optional("temperature", &request.temperature);
    object.optional("top_p", &request.top_p);
    object.optional("n", &request.n);
    object.optional("max_tokens", &request.max_tokens);
    object.optional("max_completion_tokens", &request.max_completion_tokens);
    match &request.stop {
        Some(StopSequences { kind: Some(Kind::Text(text)) }) => object.member("stop", text),
        Some(StopSequences { kind: Some(Kind::List(list)) }) => object.member("stop", &list.values),
        _ => {}
    }
    object.optional("presence_penalty", &request.presence_penalty);
    object.optional("frequency_penalty", &request.frequency_penalty);
    object.optional("seed", &request.seed);
    object.optional("logprobs", &request.logprobs);
    object.optional("top_logprobs", &request.top_logprobs);
    object.raw("logit_bias", "logit_bias", request.logit_bias_json.as_deref());
    object.optional("user", &request.user);
}

/// What helps a provider with its accounts and caches: nothing in the answer depends on it.
fn hints(object: &mut Object<'_>, request: &GenerateRequest) {
    object.optional("service_tier", &request.service_tier);
    object.optional("prompt_cache_key", &request.prompt_cache_key);
    object.optional("safety_identifier", &request.safety_identifier);
}

/// Tools for a server that takes a word as the choice: a choice among them is kept by offering no others.
fn chosen_tools(object: &mut Object<'_>, request: &GenerateRequest) {
    let choice = match ToolChoice::read(request.tool_choice_json.as_deref()) {
        Ok(choice) => choice,
        Err((field, message)) => return object.unsupported(field, message),
    };
    let word = choice.as_ref().map(|choice| match choice {
        ToolChoice::Auto | ToolChoice::Allowed(_, false) => "auto",
        ToolChoice::None => "none",
        ToolChoice::Required | ToolChoice::Function(_) | ToolChoice::Allowed(_, true) => "required",
    });
    let offered: Vec<_> = request
        .tools
        .iter()
        .filter(|tool| choice.as_ref().is_none_or(|choice| choice.offers(tool)))
        .collect();
    if !offered.is_empty() {
        object.key("tools").array(offered, tool);
    }
    object.optional("tool_choice", &word);
}

/// What few requests have. `store` and `metadata` are not for engines: the gateway keeps what is to be kept.
fn rare(object: &mut Object<'_>, request: &GenerateRequest) {
    object.optional("verbosity", &request.verbosity);
    object.optional("modalities", &request.modalities.as_ref().map(|list| &list.values));
    object.raw("audio", "audio", request.audio_json.as_deref());
    object.raw("prediction", "prediction", request.prediction_json.as_deref());
    object.raw("web_search_options", "web_search_options", request.web_search_options_json.as_deref());
    object.raw("functions", "functions", request.functions_json.as_deref());
    object.raw("function_call", "function_call", request.function_call_json.as_deref());
}

pub(super) fn stream_options(writer: &mut Writer, options: Option<&StreamOptions>) {
    writer.object(|object| {
        object.member("include_usage", &true);
        if let Some(options) = options {
            object.extensions("stream_options.", &options.extensions, &["include_usage"], &[]);
        }
    });
}

fn message(writer: &mut Writer, index: usize, message: &Message, habits: Habits) {
    let path = || format!("messages[{index}].");
    writer.object(|object| {
        let role = if habits.developer || message.role != "developer" { &*message.role } else { "system" };
        object.member("role", role);
        match &message.content {
            Some(Content::Text(text)) => object.member("content", text),
            Some(Content::Parts(parts)) => {
                let content = object.key("content");
                content.array(&parts.parts, |writer, at, part| content_part(writer, &path(), at, part));
            }
            None => object.member("content", &None::<()>),
        }
        object.optional("name", &message.name);
        if !message.tool_calls.is_empty() {
            let calls = object.key("tool_calls");
            calls.array(&message.tool_calls, |writer, at, call| tool_call(writer, &path(), at, call));
        }
        object.optional("tool_call_id", &message.tool_call_id);
        object.optional("refusal", &message.refusal);
        object.optional(habits.reasoning, &message.reasoning);
        if let Some(call) = &message.function_call {
            function_call(object.key("function_call"), &format!("{}function_call.", path()), call);
        }
        if !message.extensions.is_empty() {
            object.extensions(&path(), &message.extensions, MESSAGE, &[]);
        }
    });
}

fn content_part(writer: &mut Writer, path: &str, index: usize, part: &ContentPart) {
    writer.object(|object| {
        object.member("type", &part.r#type);
        object.optional("text", &part.text);
        if let Some(image) = &part.image_url {
            object.key("image_url").object(|object| {
                object.member("url", &image.url);
                object.optional("detail", &image.detail);
                let path = format!("{path}content[{index}].image_url.");
                object.extensions(&path, &image.extensions, &["url", "detail"], &[]);
            });
        }
        let path = format!("{path}content[{index}].");
        if let Some(audio) = &part.input_audio {
            object.key("input_audio").object(|object| {
                object.member("data", &audio.data);
                object.member("format", &audio.format);
                let path = format!("{path}input_audio.");
                object.extensions(&path, &audio.extensions, &["data", "format"], &[]);
            });
        }
        if let Some(file) = &part.file {
            object.key("file").object(|object| {
                object.optional("file_data", &file.file_data);
                object.optional("file_id", &file.file_id);
                object.optional("filename", &file.filename);
                let known = ["file_data", "file_id", "filename"];
                object.extensions(&format!("{path}file."), &file.extensions, &known, &[]);
            });
        }
        object.optional("refusal", &part.refusal);
        object.extensions(&path, &part.extensions, PART, &[]);
    });
}

fn tool_call(writer: &mut Writer, path: &str, index: usize, call: &ToolCall) {
    let path = format!("{path}tool_calls[{index}].");
    writer.object(|object| {
        object.optional("id", &call.id);
        object.optional("type", &call.r#type);
        if let Some(function) = &call.function {
            function_call(object.key("function"), &format!("{path}function."), function);
        }
        if let Some(custom) = &call.custom {
            object.key("custom").object(|object| {
                object.optional("name", &custom.name);
                object.optional("input", &custom.input);
                object.extensions(&format!("{path}custom."), &custom.extensions, &["name", "input"], &[]);
            });
        }
        object.extensions(&path, &call.extensions, &["id", "type", "function", "custom", "index"], &[]);
    });
}

fn function_call(writer: &mut Writer, path: &str, function: &FunctionCall) {
    writer.object(|object| {
        object.optional("name", &function.name);
        object.optional("arguments", &function.arguments);
        object.extensions(path, &function.extensions, &["name", "arguments"], &[]);
    });
}

/// Writes a tool. Ollama takes the same shape.
pub(crate) fn tool(writer: &mut Writer, index: usize, tool: &Tool) {
    let path = format!("tools[{index}].");
    writer.object(|object| {
        object.member("type", &tool.r#type);
        if let Some(function) = &tool.function {
            object.key("function").object(|object| {
                let path = format!("{path}function.");
                object.member("name", &function.name);
                object.optional("description", &function.description);
                object.raw("parameters", &format!("{path}parameters"), function.parameters_json.as_deref());
                object.optional("strict", &function.strict);
                let known = ["name", "description", "parameters", "strict"];
                object.extensions(&path, &function.extensions, &known, &[]);
            });
        }
        if let Some(custom) = &tool.custom {
            object.key("custom").object(|object| {
                let path = format!("{path}custom.");
                object.member("name", &custom.name);
                object.optional("description", &custom.description);
                object.raw("format", &format!("{path}format"), custom.format_json.as_deref());
                let known = ["name", "description", "format"];
                object.extensions(&path, &custom.extensions, &known, &[]);
            });
        }
        object.extensions(&path, &tool.extensions, &["type", "function", "custom"], &[]);
    });
}
