//! Items as they come in, and what is wrong with them.

use penstock_proto::{
    Violation,
    inference::v1::{CustomCall, Extension, FunctionCall, Message, ToolCall, message::Content},
};
use serde::de::{DeserializeSeed, Deserializer, SeqAccess, Visitor};

use super::{
    Item, Reference,
    parts::{InputPart, content},
};
use crate::{
    error::VIOLATIONS_MAX,
    json::{
        object::{List, object},
        value::Text,
    },
};

/// The members of an item of any type.
#[derive(Clone, Debug, Default)]
pub(crate) struct InputItem {
    r#type: Option<String>,
    role: Option<String>,
    content: Option<Said>,
    id: Option<String>,
    call_id: Option<String>,
    name: Option<String>,
    arguments: Option<String>,
    input: Option<String>,
    output: Option<Said>,
    summary: Vec<InputPart>,
    encrypted_content: Option<String>,
    status: Option<String>,
    phase: Option<String>,
    extensions: Vec<Extension>,
}

object!(InputItem {
    "type" => r#type: Text,
    "role" => role: Text,
    "content" => content: SaidSeed,
    "id" => id: Text,
    "call_id" => call_id: Text,
    "name" => name: Text,
    "arguments" => arguments: Text,
    "input" => input: Text,
    "output" => output: SaidSeed,
    "summary" => summary: List::new(),
    "encrypted_content" => encrypted_content: Text,
    "status" => status: Text,
    "phase" => phase: Text,
});

/// A text, or a list of things said.
#[derive(Clone, Debug)]
pub(crate) enum OneOrMany<T> {
    Text(String),
    Many(Vec<T>),
}

/// What is said, as a text or in parts.
pub(crate) type Said = OneOrMany<InputPart>;

/// Reads a text or an array of objects.
pub(crate) struct OneOrManySeed<T>(std::marker::PhantomData<T>, &'static str);

/// Reads what is said.
#[allow(non_upper_case_globals, reason = "stands for a unit struct among the seeds of a table")]
const SaidSeed: OneOrManySeed<InputPart> =
    OneOrManySeed(std::marker::PhantomData, "a string or an array of content parts");
/// Reads an input.
#[allow(non_upper_case_globals, reason = "stands for a unit struct among the seeds of a table")]
pub(crate) const InputSeed: OneOrManySeed<InputItem> =
    OneOrManySeed(std::marker::PhantomData, "a string or an array of items");

impl<'de, T: crate::json::object::Object> DeserializeSeed<'de> for OneOrManySeed<T> {
    type Value = Option<OneOrMany<T>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, T: crate::json::object::Object> Visitor<'de> for OneOrManySeed<T> {
    type Value = Option<OneOrMany<T>>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.1)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Some(OneOrMany::Text(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Self::Value, A::Error> {
        List::new().visit_seq(items).map(|many| Some(OneOrMany::Many(many)))
    }
}

/// An input as items.
pub(crate) fn items(input: OneOrMany<InputItem>, found: &mut Vec<Violation>) -> Vec<Item> {
    let many = match input {
        OneOrMany::Text(text) => {
            let message =
                Message { role: "user".to_owned(), content: Some(Content::Text(text)), ..Message::default() };
            return vec![Item::Message(message)];
        }
        OneOrMany::Many(many) => many,
    };
    if many.is_empty() {
        found.push(Violation::new("input", "must have at least one item"));
    }
    let numbered = many.into_iter().enumerate();
    numbered.filter_map(|(index, item)| read(item, &mut Found { index, violations: found })).collect()
}

/// What is wrong with an item, and where that stands.
pub(super) struct Found<'a> {
    index: usize,
    violations: &'a mut Vec<Violation>,
}

impl Found<'_> {
    fn path(&self, member: &str) -> String {
        format!("input[{}].{member}", self.index)
    }

    pub(super) fn add(&mut self, member: &str, message: impl Into<String>) {
        if self.violations.len() < VIOLATIONS_MAX {
            self.violations.push(Violation::new(self.path(member), message));
        }
    }

    pub(super) fn required<T>(&mut self, member: &str, value: Option<T>) -> Option<T> {
        if value.is_none() {
            self.add(member, "is required");
        }
        value
    }
}

/// Members of a chat's message or call: beside those that are made here an engine would get them twice.
const OF_CHATS: [&str; 9] = [
    "tool_calls",
    "tool_call_id",
    "function_call",
    "reasoning_content",
    "reasoning",
    "refusal",
    "function",
    "custom",
    "index",
];

/// Refuses members of chats, at `at`, and takes away those that are null.
pub(super) fn refuse_chats(extensions: &mut Vec<Extension>, names: &[&str], at: &str, found: &mut Found<'_>) {
    extensions.retain(|extension| {
        let theirs = names.contains(&extension.name.as_str());
        if theirs && extension.json != "null" {
            let message = "is a member of chat completions: here it is an item, or a part, of its own";
            found.add(&format!("{at}{}", extension.name), message);
        }
        !theirs
    });
}

fn read(mut item: InputItem, found: &mut Found<'_>) -> Option<Item> {
    refuse_chats(&mut item.extensions, &OF_CHATS, "", found);
    let kind = item.r#type.clone().unwrap_or_else(|| {
        // An item that has a role is a message, and one that has only an id is a reference.
        let is_reference = item.role.is_none() && item.id.is_some();
        if is_reference { "item_reference" } else { "message" }.to_owned()
    });
    match kind.as_str() {
        "message" => message(item, found).map(Item::Message),
        "reasoning" => Some(reasoning(item)),
        "function_call" | "custom_tool_call" => call(item, kind == "custom_tool_call", found).map(Item::Call),
        "function_call_output" | "custom_tool_call_output" => tool_output(item, found).map(Item::Message),
        "item_reference" => {
            let id = found.required("id", item.id)?;
            let reference = Reference::read(&id, found.path("id"));
            if reference.is_none() {
                let message = "must be the id of an item that a response kept here answered with: give any other item \
                    itself";
                found.add("id", message);
            }
            reference.map(Item::Reference)
        }
        _ => {
            let message = "must be message, reasoning, function_call, function_call_output, custom_tool_call, \
                custom_tool_call_output or item_reference: only function and custom tools are offered here";
            found.add("type", message);
            None
        }
    }
}

fn message(item: InputItem, found: &mut Found<'_>) -> Option<Message> {
    let role = found.required("role", item.role)?;
    if !matches!(role.as_str(), "user" | "assistant" | "system" | "developer") {
        let message = "must be user, assistant, system or developer; what a tool gave back is an item of the \
            type function_call_output";
        found.add("role", message);
        return None;
    }
    let mut message = Message { role, name: item.name, extensions: item.extensions, ..Message::default() };
    match found.required("content", item.content)? {
        OneOrMany::Text(text) => message.content = Some(Content::Text(text)),
        OneOrMany::Many(parts) => {
            let refused: Vec<_> = parts.iter().filter_map(|part| part.refusal.as_deref()).collect();
            message.refusal = (message.role == "assistant" && !refused.is_empty()).then(|| refused.concat());
            message.content = content(parts, "content", &message.role, found);
            if message.content.is_none() && message.refusal.is_none() && message.role == "assistant" {
                message.content = Some(Content::Text(String::new()));
            }
        }
    }
    Some(message)
}

/// What the assistant thought: in full if it is there, else what was told of it. What is encrypted is somebody
/// else's.
fn reasoning(item: InputItem) -> Item {
    let texts = |parts: Vec<InputPart>| parts.into_iter().filter_map(|part| part.text).collect::<Vec<_>>();
    let full = match item.content {
        Some(OneOrMany::Text(text)) => vec![text],
        Some(OneOrMany::Many(parts)) => texts(parts),
        None => Vec::new(),
    };
    let told = if full.iter().all(String::is_empty) { texts(item.summary) } else { full };
    Item::Reasoning { text: told.concat(), extensions: item.extensions }
}

fn call(item: InputItem, custom: bool, found: &mut Found<'_>) -> Option<ToolCall> {
    let id = found.required("call_id", item.call_id);
    let name = found.required("name", item.name);
    let given = if custom { ("input", item.input) } else { ("arguments", item.arguments) };
    let given = found.required(given.0, given.1);
    let (id, name, given) = (Some(id?), Some(name?), Some(given?));
    let kind = if custom { "custom" } else { "function" };
    let call =
        ToolCall { id, r#type: Some(kind.to_owned()), extensions: item.extensions, ..ToolCall::default() };
    Some(if custom {
        ToolCall { custom: Some(CustomCall { name, input: given, extensions: Vec::new() }), ..call }
    } else {
        let function = FunctionCall { name, arguments: given, extensions: Vec::new() };
        ToolCall { function: Some(function), ..call }
    })
}

fn tool_output(item: InputItem, found: &mut Found<'_>) -> Option<Message> {
    let call_id = found.required("call_id", item.call_id);
    let output = found.required("output", item.output)?;
    let content = match output {
        OneOrMany::Text(text) => Some(Content::Text(text)),
        OneOrMany::Many(parts) => content(parts, "output", "tool", found),
    };
    Some(Message {
        role: "tool".to_owned(),
        content: Some(content.unwrap_or_else(|| Content::Text(String::new()))),
        tool_call_id: Some(call_id?),
        extensions: item.extensions,
        ..Message::default()
    })
}
