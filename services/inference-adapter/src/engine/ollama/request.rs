//! Requests for Ollama, written in one pass. What it cannot do and would silently ignore is refused by name.

use penstock_proto::inference::v1::{
    Extension, GenerateRequest, Message, StopSequences, ToolCall, generate_request::Input, message::Content,
    stop_sequences::Kind,
};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    engine::{
        Target,
        openai::request::{DENIED, tool},
    },
    error::Error,
    json::write::{Object, Writer},
};

/// Members that we write ourselves: no extension may stand for one, whatever its case (Ollama ignores case).
const KNOWN: &[&str] = &["model", "messages", "stream", "tools"];

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
        // Ollama has no tool_choice: "none" is kept by not offering the tools.
        if !request.tools.is_empty() && request.tool_choice_json.as_deref() != Some(r#""none""#) {
            object.key("tools").array(&request.tools, tool);
        }
        let (ours, theirs) = split(&request.extensions);
        options(object, request, target, ours.options);
        think(object, request, ours.think);
        format(object, request, ours.format);
        object.extensions("", &theirs, KNOWN, DENIED);
    });
    writer.finish()
}

/// Extensions that have a counterpart among the fields of the contract.
#[derive(Debug, Default)]
struct Ours<'a> {
    options: Option<&'a str>,
    think: Option<&'a str>,
    format: Option<&'a str>,
}

fn split(extensions: &[Extension]) -> (Ours<'_>, Vec<Extension>) {
    let mut ours = Ours::default();
    let mut theirs = Vec::new();
    for extension in extensions {
        let slot = match extension.name.as_str() {
            "options" => &mut ours.options,
            "think" => &mut ours.think,
            "format" => &mut ours.format,
            _ => {
                theirs.push(extension.clone());
                continue;
            }
        };
        // A second one of the same name goes to the others, where it is refused.
        if slot.replace(&extension.json).is_some() {
            theirs.extend([extension.clone(), extension.clone()]);
        }
    }
    (ours, theirs)
}

fn unsupported(object: &mut Object<'_>, request: &GenerateRequest) {
    if request.n.is_some_and(|n| n > 1) {
        object.unsupported("n", "this engine gives one choice at a time");
    }
    if request.logprobs == Some(true) {
        object.unsupported("logprobs", "this engine gives no log probabilities");
    }
    if request.logit_bias_json.as_deref().is_some_and(|bias| bias.trim() != "{}") {
        object.unsupported("logit_bias", "this engine has no logit bias");
    }
}

fn options(object: &mut Object<'_>, request: &GenerateRequest, target: &Target, theirs: Option<&str>) {
    let mut named: Vec<&str> = Vec::new();
    let max_tokens = request.max_completion_tokens.or(request.max_tokens);
    let stop = match &request.stop {
        Some(StopSequences { kind: Some(Kind::Text(text)) }) => vec![text.as_str()],
        Some(StopSequences { kind: Some(Kind::List(list)) }) => {
            list.values.iter().map(String::as_str).collect()
        }
        _ => Vec::new(),
    };
    let theirs = theirs.map(|json| members(json).ok_or(()));
    if let Some(Err(())) = theirs {
        object.refuse("options", "must be an object");
    }
    let theirs = theirs.and_then(Result::ok).unwrap_or_default();
    let chooses_context = theirs.iter().any(|(name, _)| name == "num_ctx");
    object.key("options").object(|object| {
        let mut write = |name: &'static str, value: Option<serde_json::Number>| {
            if let Some(value) = value {
                object.member(name, &value);
                named.push(name);
            }
        };
        write("temperature", request.temperature.and_then(serde_json::Number::from_f64));
        write("top_p", request.top_p.and_then(serde_json::Number::from_f64));
        write("presence_penalty", request.presence_penalty.and_then(serde_json::Number::from_f64));
        write("frequency_penalty", request.frequency_penalty.and_then(serde_json::Number::from_f64));
        write("seed", request.seed.map(Into::into));
        write("num_predict", max_tokens.map(Into::into));
        write("num_ctx", target.context_tokens.filter(|_| !chooses_context).map(Into::into));
        if !stop.is_empty() {
            object.member("stop", &stop);
            named.push("stop");
        }
        for (name, json) in theirs.iter().filter(|(name, _)| !named.contains(&name.as_str())) {
            object.member(name, json);
        }
    });
}

/// Members of an object, in order; `None`: it is none.
fn members(json: &str) -> Option<Vec<(String, &RawValue)>> {
    struct Members<'a>(Vec<(String, &'a RawValue)>);
    impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct Map;
            impl<'de> serde::de::Visitor<'de> for Map {
                type Value = Vec<(String, &'de RawValue)>;

                fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str("an object")
                }

                fn visit_map<A: serde::de::MapAccess<'de>>(
                    self,
                    mut map: A,
                ) -> Result<Self::Value, A::Error> {
                    let mut members = Vec::new();
                    while let Some(member) = map.next_entry()? {
                        members.push(member);
                    }
                    Ok(members)
                }
            }
            deserializer.deserialize_map(Map).map(Members)
        }
    }
    serde_json::from_str::<Members<'_>>(json).ok().map(|members| members.0)
}

fn think(object: &mut Object<'_>, request: &GenerateRequest, theirs: Option<&str>) {
    if theirs.is_some() {
        return object.raw("think", "think", theirs);
    }
    match request.reasoning_effort.as_deref() {
        Some("none") => object.member("think", &false),
        Some("minimal" | "low") => object.member("think", "low"),
        Some("medium") => object.member("think", "medium"),
        Some(_) => object.member("think", "high"),
        None => {}
    }
}

/// `response_format` as Ollama's `format`: `"json"`, or the schema itself.
fn format(object: &mut Object<'_>, request: &GenerateRequest, theirs: Option<&str>) {
    #[derive(Deserialize)]
    struct Format<'a> {
        r#type: String,
        #[serde(borrow)]
        json_schema: Option<Schema<'a>>,
    }
    #[derive(Deserialize)]
    struct Schema<'a> {
        #[serde(borrow)]
        schema: Option<&'a RawValue>,
    }
    if theirs.is_some() {
        return object.raw("format", "format", theirs);
    }
    let Some(json) = request.response_format_json.as_deref() else { return };
    let Ok(format) = serde_json::from_str::<Format<'_>>(json) else {
        return object.refuse("response_format", "must be an object with a type");
    };
    match (format.r#type.as_str(), format.json_schema.and_then(|schema| schema.schema)) {
        ("text", _) => {}
        ("json_object", _) => object.member("format", "json"),
        ("json_schema", Some(schema)) => object.member("format", schema),
        ("json_schema", None) => object.refuse("response_format.json_schema.schema", "is required"),
        _ => object.unsupported("response_format.type", "is not known to this engine"),
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
        if !message.tool_calls.is_empty() {
            object.key("tool_calls").array(&message.tool_calls, |writer, at, call| {
                tool_call(writer, &format!("messages[{index}].tool_calls[{at}]"), call);
            });
        }
        if role == "tool" {
            let by_id = message.tool_call_id.as_ref().and_then(|id| called(all, id));
            object.optional("tool_name", &by_id.or(message.name.as_deref()));
        }
    });
}

/// The texts of a message joined, and its images as base64.
fn content<'a>(object: &mut Object<'_>, index: usize, message: &'a Message) -> (String, Vec<&'a str>) {
    let parts = match &message.content {
        Some(Content::Text(text)) => return (text.clone(), Vec::new()),
        Some(Content::Parts(parts)) => parts.parts.as_slice(),
        None => return (String::new(), Vec::new()),
    };
    let (mut text, mut images) = (String::new(), Vec::new());
    for (at, part) in parts.iter().enumerate() {
        let path = || format!("messages[{index}].content[{at}]");
        match (part.r#type.as_str(), &part.text, &part.image_url) {
            ("text" | "refusal", Some(one), _) => {
                if !text.is_empty() {
                    text.push('\n');
                }
                text.push_str(one);
            }
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
fn tool_call(writer: &mut Writer, path: &str, call: &ToolCall) {
    let Some(function) = &call.function else {
        return writer.refuse(format!("{path}.function"), "is required for this engine");
    };
    let arguments =
        function.arguments.as_deref().map(str::trim).filter(|json| !json.is_empty()).unwrap_or("{}");
    writer.object(|object| {
        object.key("function").object(|object| {
            object.optional("name", &function.name);
            if arguments.starts_with('{') {
                object.raw("arguments", &format!("{path}.function.arguments"), Some(arguments));
            } else {
                object.refuse(format!("{path}.function.arguments"), "must be a JSON object");
            }
        });
    });
}
