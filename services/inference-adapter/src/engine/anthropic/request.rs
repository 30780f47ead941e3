//! Requests as the Messages API wants them, written in one pass.

use penstock_proto::inference::v1::{
    Extension, GenerateRequest, Message, StopSequences, Tool, generate_request::Input, stop_sequences::Kind,
};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::content;
use crate::{
    engine::{
        Target,
        house::without_housekeeping,
        lacks::{Lack, refuse},
        tool_choice::ToolChoice,
    },
    error::Error,
    json::write::{Object, Writer},
};

/// What the API has no words for.
const LACKS: &[Lack] = &[
    Lack::Choices,
    Lack::Logprobs,
    Lack::LogitBias,
    Lack::Seed,
    Lack::Penalties,
    Lack::HighTemperature,
    Lack::AudioAnswers,
    Lack::Prediction,
    Lack::WebSearch,
    Lack::Functions,
    Lack::CustomTools,
    Lack::Verbosity,
    Lack::Names,
];
/// Members that we write ourselves: no extension may stand for one.
const KNOWN: &[&str] = &[
    "model",
    "max_tokens",
    "system",
    "messages",
    "stream",
    "temperature",
    "top_p",
    "stop_sequences",
    "tools",
    "tool_choice",
    "metadata",
    "service_tier",
];
/// Bound of an answer where nobody names one and the engine says none: every model allows so many.
const ANSWER_TOKENS: u64 = 4096;
/// Fewest tokens to reason within, by the API.
const BUDGET_MIN: u64 = 1024;

/// Members beyond the contract that counting knows, too.
const COUNTED: [&str; 3] = ["cache_control", "output_config", "thinking"];

/// The body of a request.
pub(super) fn encode(request: &GenerateRequest, target: &Target) -> Result<Vec<u8>, Error> {
    let messages = messages(request)?;
    refuse(request, LACKS)?;
    let mut writer = Writer::default();
    writer.object(|object| {
        object.member("model", &target.model);
        let max_tokens = max_tokens(request, target);
        object.member("max_tokens", &max_tokens);
        content::system(object, messages);
        content::messages(object, messages);
        object.member("stream", &request.stream);
        object.optional("temperature", &request.temperature);
        object.optional("top_p", &request.top_p);
        match &request.stop {
            Some(StopSequences { kind: Some(Kind::Text(text)) }) => object.member("stop_sequences", &[text]),
            Some(StopSequences { kind: Some(Kind::List(list)) }) => {
                object.member("stop_sequences", &list.values);
            }
            _ => {}
        }
        tools(object, request);
        if let Some(user) = request.safety_identifier.as_ref().or(request.user.as_ref()) {
            object.key("metadata").object(|object| object.member("user_id", user));
        }
        service_tier(object, request.service_tier.as_deref());
        let mut known = KNOWN.to_vec();
        known.extend(effort(object, request, target, max_tokens));
        object.extensions("", &without_housekeeping(&request.extensions), &known, &[]);
    });
    writer.finish()
}

/// The body of a question for the tokens of a request: it takes no member that bounds or shapes the answer alone.
pub(super) fn encode_count(request: &GenerateRequest, target: &Target) -> Result<Vec<u8>, Error> {
    let messages = messages(request)?;
    refuse(request, LACKS)?;
    let counted = |extension: &&Extension| COUNTED.contains(&extension.name.as_str());
    let extensions: Vec<_> = request.extensions.iter().filter(counted).cloned().collect();
    let mut writer = Writer::default();
    writer.object(|object| {
        object.member("model", &target.model);
        content::system(object, messages);
        content::messages(object, messages);
        tools(object, request);
        let mut known = KNOWN.to_vec();
        // There is no answer that reasoning would have to fit into.
        known.extend(effort(object, request, target, u64::MAX));
        object.extensions("", &extensions, &known, &[]);
    });
    writer.finish()
}

fn messages(request: &GenerateRequest) -> Result<&[Message], Error> {
    match &request.input {
        Some(Input::Chat(chat)) => Ok(&chat.messages),
        Some(Input::Text(_)) => Err(Error::NotOffered("this engine answers conversations only")),
        None => Ok(&[]),
    }
}

fn max_tokens(request: &GenerateRequest, target: &Target) -> u64 {
    let asked = request.max_completion_tokens.or(request.max_tokens);
    let asked = asked.and_then(|tokens| u64::try_from(tokens).ok());
    asked.or(target.answer_tokens).or_else(|| target.learnt().answer_tokens).unwrap_or(ANSWER_TOKENS)
}

fn service_tier(object: &mut Object<'_>, tier: Option<&str>) {
    match tier {
        None => {}
        Some("auto") => object.member("service_tier", "auto"),
        Some("default") => object.member("service_tier", "standard_only"),
        Some(_) => object.unsupported("service_tier", "this engine knows auto and default"),
    }
}

/// How hard to think and what form to answer in; the names of the members written.
fn effort(
    object: &mut Object<'_>,
    request: &GenerateRequest,
    target: &Target,
    max_tokens: u64,
) -> Vec<&'static str> {
    let mut written = Vec::new();
    let (level, budget) = match request.reasoning_effort.as_deref() {
        None | Some("none") => (None, 0),
        Some("minimal" | "low") => (Some("low"), 2048),
        Some("medium") => (Some("medium"), 8192),
        Some("high") => (Some("high"), 16_384),
        Some("xhigh") => (Some("xhigh"), 24_576),
        Some("max") => (Some("max"), 32_768),
        Some(_) => {
            object.unsupported(
                "reasoning_effort",
                "this engine knows none, minimal, low, medium, high, xhigh, max",
            );
            (None, 0)
        }
    };
    let by_budget = level.is_some() && target.learnt().thinks_by_budget;
    // The caller's own words are written with the other extensions; the effort is their translation.
    let by_caller = own_thinking(request);
    if by_caller.is_none() && request.reasoning_effort.is_some() {
        written.push("thinking");
        object.key("thinking").object(|object| match level {
            None => object.member("type", "disabled"),
            Some(_) if !by_budget => object.member("type", "adaptive"),
            Some(_) => {
                object.member("type", "enabled");
                object.member("budget_tokens", &budget.min(max_tokens / 2).max(BUDGET_MIN));
                if max_tokens <= BUDGET_MIN {
                    let message = "must be above 1024 for this engine to reason: raise it, or leave reasoning_effort out";
                    object.unsupported("max_completion_tokens", message);
                }
                if request.temperature.is_some_and(|temperature| temperature < 1.0) {
                    object.unsupported("temperature", "must be 1 for this engine to reason");
                }
            }
        });
    }
    let level = level.filter(|_| by_caller.map_or(!by_budget, is_adaptive));
    let schema = schema(object, request.response_format_json.as_deref());
    if level.is_some() || schema.is_some() {
        written.push("output_config");
        object.key("output_config").object(|object| {
            object.optional("effort", &level);
            if let Some(schema) = schema {
                object.key("format").object(|object| {
                    object.member("type", "json_schema");
                    object.member("schema", schema);
                });
            }
        });
    }
    written
}

/// The caller's own `thinking`, if the effort says the same to other engines.
fn own_thinking(request: &GenerateRequest) -> Option<&str> {
    let is_thinking = |name: &str| name == "thinking";
    request.optional_extensions.iter().find(|name| is_thinking(name))?;
    let found = request.extensions.iter().find(|extension| is_thinking(&extension.name));
    found.map(|extension| extension.json.as_str())
}

/// Whether `thinking` leaves it to an effort how much to reason.
fn is_adaptive(thinking: &str) -> bool {
    #[derive(Deserialize)]
    struct Thinking {
        r#type: String,
    }
    serde_json::from_str::<Thinking>(thinking).is_ok_and(|thinking| thinking.r#type == "adaptive")
}

/// The schema of `response_format`.
fn schema<'a>(object: &mut Object<'_>, json: Option<&'a str>) -> Option<&'a RawValue> {
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
    let Ok(format) = serde_json::from_str::<Format<'a>>(json?) else {
        object.refuse("response_format", "must be an object with a type");
        return None;
    };
    match (format.r#type.as_str(), format.json_schema.and_then(|schema| schema.schema)) {
        ("text", _) => None,
        ("json_schema", Some(schema)) => Some(schema),
        ("json_schema", None) => {
            object.refuse("response_format.json_schema.schema", "is required");
            None
        }
        _ => {
            object.unsupported("response_format.type", "this engine knows text and json_schema");
            None
        }
    }
}

fn tools(object: &mut Object<'_>, request: &GenerateRequest) {
    let choice = match ToolChoice::read(request.tool_choice_json.as_deref()) {
        Ok(choice) => choice,
        Err((field, message)) => return object.unsupported(field, message),
    };
    // One that is named is chosen by name; a choice among several is kept by offering no others.
    let offers = |tool: &&Tool| match &choice {
        Some(choice @ ToolChoice::Allowed(..)) => choice.offers(tool),
        _ => true,
    };
    let offered: Vec<_> = request.tools.iter().filter(offers).collect();
    if offered.is_empty() {
        return;
    }
    object.key("tools").array(offered, tool);
    let one_at_a_time = request.parallel_tool_calls == Some(false);
    let (kind, name) = match &choice {
        None if !one_at_a_time => return,
        None | Some(ToolChoice::Auto | ToolChoice::Allowed(_, false)) => ("auto", None),
        Some(ToolChoice::None) => ("none", None),
        Some(ToolChoice::Required | ToolChoice::Allowed(_, true)) => ("any", None),
        Some(ToolChoice::Function(name)) => ("tool", Some(name)),
    };
    object.key("tool_choice").object(|object| {
        object.member("type", kind);
        object.optional("name", &name);
        if one_at_a_time && kind != "none" {
            object.member("disable_parallel_tool_use", &true);
        }
    });
}

fn tool(writer: &mut Writer, index: usize, tool: &Tool) {
    let path = format!("tools[{index}].");
    writer.object(|object| match &tool.function {
        Some(function) => {
            object.member("name", &function.name);
            object.optional("description", &function.description);
            let schema = function.parameters_json.as_deref().unwrap_or(r#"{"type":"object"}"#);
            object.raw("input_schema", &format!("{path}function.parameters"), Some(schema));
            object.optional("strict", &function.strict);
            let extensions: Vec<Extension> = [&function.extensions[..], &tool.extensions[..]].concat();
            let known = ["name", "description", "input_schema", "strict", "type"];
            object.extensions(&path, &extensions, &known, &[]);
        }
        // A tool of the engine's own, such as its web search.
        None => {
            object.member("type", &tool.r#type);
            object.extensions(&path, &tool.extensions, &["type"], &[]);
        }
    });
}
