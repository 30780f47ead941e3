//! What shapes an answer beside the conversation, in the words of the contract: tools, reasoning, form, ends.

use penstock_proto::inference::v1::{
    Extension, FunctionTool, GenerateRequest, Message, StopSequences, TextList, Tool,
    generate_request::Input, message::Content, stop_sequences::Kind,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    conversation::THINKING_BLOCKS,
    field,
    request::{Choosing, Format, MessagesRequest, Offer, Thinking},
    translate::Found,
};
use crate::json::object::foreign;

/// Fewest tokens to reason within, by the API.
const BUDGET_MIN: i64 = 1024;

/// Refuses what only the provider itself can do.
pub(super) fn refuse_services(body: &MessagesRequest, found: &mut Found) {
    let asked = |json: &Option<String>, nothing: &str| {
        json.as_deref()
            .is_some_and(|json| !json.bytes().filter(|byte| !byte.is_ascii_whitespace()).eq(nothing.bytes()))
    };
    for (field, is_asked, message) in [
        (
            "mcp_servers",
            asked(&body.mcp_servers_json, "[]"),
            "no servers of tools are called here: offer their tools in `tools`, and call them yourself",
        ),
        ("container", asked(&body.container_json, "\"\""), "no code is run here: leave it out"),
        (
            "context_management",
            body.context_management_json.as_deref().is_some_and(edits),
            "no context is edited here: leave it out, and shorten the conversation yourself",
        ),
        (
            "thread",
            asked(&body.thread_json, "{}"),
            "no thread is kept here: leave it out, and send the whole conversation",
        ),
    ] {
        if is_asked {
            found.add(field, message);
        }
    }
}

/// Refuses members of chats: an engine would not get them, or twice beside those that are made here.
pub(super) fn refuse_chats(body: &MessagesRequest, found: &mut Found) {
    for name in foreign::<GenerateRequest>(&body.extensions) {
        let here = field(name.to_owned());
        let message = if here == name {
            "is a member of chat completions, and none here: leave it out".to_owned()
        } else {
            format!("is what {name} is called here")
        };
        found.add(here, message);
    }
}

/// Whether a `context_management` changes the conversation: agents ask for all reasoning to be kept, as it is anyway.
fn edits(json: &str) -> bool {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Management {
        #[serde(default)]
        edits: Vec<Edit>,
    }
    #[derive(Deserialize)]
    struct Edit {
        r#type: String,
        keep: Option<Value>,
    }
    let keeps_all = |edit: &Edit| {
        edit.r#type.starts_with("clear_thinking") && edit.keep.as_ref().is_some_and(|keep| keep == "all")
    };
    !serde_json::from_str::<Management>(json).is_ok_and(|known| known.edits.iter().all(keeps_all))
}

/// The tools. Those that the provider runs, or has its own schema for, are refused.
pub(super) fn tools(offers: &[Offer], found: &mut Found) -> Vec<Tool> {
    let tool = |(index, offer): (usize, &Offer)| {
        if offer.r#type.as_deref().is_some_and(|kind| kind != "custom") {
            let message = "must be custom: the provider's own tools do not exist here; give a tool of yours with an input_schema";
            found.add(format!("tools[{index}].type"), message);
        } else if offer.input_schema_json.is_none() {
            found.add(format!("tools[{index}].input_schema"), "is required");
        }
        let function = FunctionTool {
            name: offer.name.clone(),
            description: offer.description.clone(),
            parameters_json: offer.input_schema_json.clone(),
            strict: offer.strict,
            ..FunctionTool::default()
        };
        Tool {
            r#type: "function".to_owned(),
            function: Some(function),
            extensions: offer.extensions.clone(),
            ..Tool::default()
        }
    };
    offers.iter().enumerate().map(tool).collect()
}

/// Which of them may or must be called.
pub(super) fn tool_choice(choice: Option<&Choosing>, found: &mut Found) -> Option<String> {
    let choice = choice?;
    Some(match (choice.r#type.as_str(), &choice.name) {
        ("auto", _) => json!("auto").to_string(),
        ("any", _) => json!("required").to_string(),
        ("none", _) => json!("none").to_string(),
        ("tool", Some(name)) => json!({"type": "function", "function": {"name": name}}).to_string(),
        ("tool", None) => {
            found.add("tool_choice.name", "is required");
            return None;
        }
        (kind, _) => {
            let message = if kind.is_empty() { "is required" } else { "must be auto, any, tool or none" };
            found.add("tool_choice.type", message);
            return None;
        }
    })
}

/// Whether several may be called at once.
pub(super) fn parallel(choice: Option<&Choosing>) -> Option<bool> {
    choice?.disable_parallel_tool_use.map(|one_at_a_time| !one_at_a_time)
}

/// The ends; an empty list is none.
pub(super) fn stop(sequences: Option<TextList>) -> Option<StopSequences> {
    let list = sequences.filter(|list| !list.values.is_empty())?;
    Some(StopSequences { kind: Some(Kind::List(list)) })
}

/// The service tier, in the words that this API has for it.
pub(super) fn service_tier(tier: Option<&str>, found: &mut Found) -> Option<String> {
    match tier? {
        "auto" => Some("auto".to_owned()),
        "standard_only" => Some("default".to_owned()),
        _ => {
            found.add("service_tier", "must be auto or standard_only");
            None
        }
    }
}

/// How hard to reason. What is asked for in tokens becomes the word that an engine of this API makes as many of.
pub(super) fn effort(body: &MessagesRequest, found: &mut Found) -> Option<String> {
    let effort = body.output_config.as_ref().and_then(|config| config.effort.clone());
    let Some(thinking) = &body.thinking else { return effort };
    match (thinking.r#type.as_str(), thinking.budget_tokens) {
        // Which is what this API does if nobody names an effort.
        ("adaptive", _) => effort.or(Some("high".to_owned())),
        ("disabled", _) => Some("none".to_owned()),
        ("enabled", Some(budget)) => {
            if budget < BUDGET_MIN {
                found.add("thinking.budget_tokens", format!("must be at least {BUDGET_MIN}"));
            } else if body.max_tokens.is_some_and(|max_tokens| budget >= max_tokens) {
                found.add("thinking.budget_tokens", "must be below max_tokens");
            }
            let word = match budget {
                ..=2048 => "low",
                2049..=8192 => "medium",
                8193..=16_384 => "high",
                _ => "xhigh",
            };
            effort.or(Some(word.to_owned()))
        }
        ("enabled", None) => {
            found.add("thinking.budget_tokens", "is required");
            None
        }
        (kind, _) => {
            let message =
                if kind.is_empty() { "is required" } else { "must be enabled, adaptive or disabled" };
            found.add("thinking.type", message);
            None
        }
    }
}

/// The extension that says in this API's words how to reason.
const THINKING: &str = "thinking";
/// Extensions that engines of other APIs do without.
const OPTIONAL: [&str; 4] = ["cache_control", "eager_input_streaming", THINKING, THINKING_BLOCKS];

/// Those of them that the request has: marks for a cache, and reasoning, which has fields for all engines.
pub(super) fn optional(request: &GenerateRequest) -> Vec<String> {
    let messages = match &request.input {
        Some(Input::Chat(chat)) => chat.messages.as_slice(),
        _ => &[],
    };
    let of_message = |message: &Message, name: &str| {
        let parts = match &message.content {
            Some(Content::Parts(parts)) => parts.parts.as_slice(),
            _ => &[],
        };
        has(&message.extensions, name)
            || parts.iter().any(|part| has(&part.extensions, name))
            || message.tool_calls.iter().any(|call| has(&call.extensions, name))
    };
    let is_there = |name: &&str| {
        has(&request.extensions, name)
            || request.tools.iter().any(|tool| has(&tool.extensions, name))
            || messages.iter().any(|message| of_message(message, name))
    };
    OPTIONAL.into_iter().filter(is_there).map(str::to_owned).collect()
}

fn has(extensions: &[Extension], name: &str) -> bool {
    extensions.iter().any(|extension| extension.name == name)
}

/// `thinking` as it came: engines of this API take it to the letter.
pub(super) fn thinking(thinking: &Thinking) -> Extension {
    let mut json = format!("{{\"type\":{}", json!(thinking.r#type));
    if let Some(budget) = thinking.budget_tokens {
        json.push_str(&format!(",\"budget_tokens\":{budget}"));
    }
    for extension in &thinking.extensions {
        json.push_str(&format!(",{}:{}", json!(extension.name), extension.json));
    }
    json.push('}');
    Extension { name: THINKING.to_owned(), json }
}

/// The form of the answer, under its name of today or under the earlier one.
pub(super) fn response_format(body: &MessagesRequest, found: &mut Found) -> Option<String> {
    let config = body.output_config.as_ref();
    for extension in config.iter().flat_map(|config| &config.extensions) {
        found.add(format!("output_config.{}", shown(extension)), "is not known here: leave it out");
    }
    let today = config.and_then(|config| config.format.as_ref());
    match (today, body.output_format.as_ref()) {
        (Some(_), Some(_)) => {
            found.add("output_format", "is the earlier name of output_config.format: give one of them");
            None
        }
        (Some(format), None) => form("output_config.format", format, found),
        (None, Some(format)) => form("output_format", format, found),
        (None, None) => None,
    }
}

/// The name of a member, which is the caller's own text, as people may read it.
fn shown(extension: &Extension) -> String {
    extension.name.chars().filter(|c| !c.is_control()).take(64).collect()
}

fn form(at: &str, format: &Format, found: &mut Found) -> Option<String> {
    for extension in &format.extensions {
        found.add(format!("{at}.{}", shown(extension)), "is not known here: leave it out");
    }
    match (format.r#type.as_str(), &format.schema_json) {
        ("json_schema", Some(schema)) => Some(format!(
            r#"{{"type":"json_schema","json_schema":{{"name":"answer","schema":{schema},"strict":true}}}}"#
        )),
        ("json_schema", None) => {
            found.add(format!("{at}.schema"), "is required");
            None
        }
        ("", _) => {
            found.add(format!("{at}.type"), "is required");
            None
        }
        _ => {
            found.add(format!("{at}.type"), "must be json_schema");
            None
        }
    }
}
