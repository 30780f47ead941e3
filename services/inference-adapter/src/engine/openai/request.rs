//! Requests of the dialect, written in one pass. Usage is always asked for on streams: the accounting needs it.

use penstock_proto::inference::v1::{
    ContentPart, FunctionCall, GenerateRequest, Message, StopSequences, StreamOptions, Tool, ToolCall,
    generate_request::Input, message::Content, stop_sequences::Kind,
};

use crate::{
    error::Error,
    json::write::{Object, Writer},
};

/// Members of a request that the contract names: no extension may stand for one.
const REQUEST: &[&str] = &[
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
/// Names that steer a gateway or reach into an engine (A7, A8): an upstream's address and credential, and
/// fields that are known to corrupt memory or to take another caller's slot or cache.
pub(crate) const DENIED: &[&str] = &[
    "api_base",
    "base_url",
    "api_key",
    "api_type",
    "api_version",
    "organization",
    "custom_llm_provider",
    "headers",
    "extra_headers",
    "default_headers",
    "proxy",
    "proxies",
    "n_discard",
    "id_slot",
    "slot_id",
    "kv_transfer_params",
];

/// The body of a request.
pub(super) fn encode(request: &GenerateRequest, model: &str) -> Result<Vec<u8>, Error> {
    let mut writer = Writer::default();
    writer.object(|object| {
        object.member("model", model);
        messages(object, request);
        object.member("stream", &request.stream);
        if request.stream {
            stream_options(object.key("stream_options"), request.stream_options.as_ref());
        }
        sampling(object, request);
        if !request.tools.is_empty() {
            object.key("tools").array(&request.tools, tool);
        }
        object.raw("tool_choice", "tool_choice", request.tool_choice_json.as_deref());
        object.optional("parallel_tool_calls", &request.parallel_tool_calls);
        object.raw("response_format", "response_format", request.response_format_json.as_deref());
        object.optional("reasoning_effort", &request.reasoning_effort);
        rare(object, request);
        object.extensions("", &request.extensions, REQUEST, DENIED);
    });
    writer.finish()
}

fn messages(object: &mut Object<'_>, request: &GenerateRequest) {
    match &request.input {
        Some(Input::Chat(chat)) => object.key("messages").array(&chat.messages, message),
        Some(Input::Text(_)) | None => object.refuse("messages", "is required"),
    }
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

/// What few requests have. `store` and `metadata` are not for engines: the gateway keeps what is to be kept.
fn rare(object: &mut Object<'_>, request: &GenerateRequest) {
    object.optional("service_tier", &request.service_tier);
    object.optional("verbosity", &request.verbosity);
    object.optional("modalities", &request.modalities.as_ref().map(|list| &list.values));
    object.raw("audio", "audio", request.audio_json.as_deref());
    object.raw("prediction", "prediction", request.prediction_json.as_deref());
    object.raw("web_search_options", "web_search_options", request.web_search_options_json.as_deref());
    object.optional("prompt_cache_key", &request.prompt_cache_key);
    object.optional("safety_identifier", &request.safety_identifier);
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

fn message(writer: &mut Writer, index: usize, message: &Message) {
    let path = || format!("messages[{index}].");
    writer.object(|object| {
        object.member("role", &message.role);
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
        object.optional("reasoning_content", &message.reasoning);
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
