//! Items as they come in, and what is wrong with them.

use penstock_proto::{
    Violation,
    inference::v1::{
        ContentPart, ContentParts, CustomCall, Extension, File, FunctionCall, ImageUrl, InputAudio, Message,
        ToolCall, message::Content,
    },
};
use serde::de::{DeserializeSeed, Deserializer, SeqAccess, Visitor};

use super::{Item, Reference, text_part};
use crate::json::{
    object::{List, One, object},
    value::{Json, OrDefault, Text},
};

/// Violations reported at most: an answer must not grow with the number of mistakes.
const VIOLATIONS_MAX: usize = 100;

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

/// A part of what is said.
#[derive(Clone, Debug, Default)]
pub(crate) struct InputPart {
    r#type: String,
    text: Option<String>,
    refusal: Option<String>,
    image_url: Option<String>,
    detail: Option<String>,
    file_id: Option<String>,
    file_data: Option<String>,
    file_url: Option<String>,
    filename: Option<String>,
    input_audio: Option<InputAudio>,
    annotations: Option<String>,
    logprobs: Option<String>,
    extensions: Vec<Extension>,
}

object!(InputPart {
    "type" => r#type: OrDefault(Text),
    "text" => text: Text,
    "refusal" => refusal: Text,
    "image_url" => image_url: Text,
    "detail" => detail: Text,
    "file_id" => file_id: Text,
    "file_data" => file_data: Text,
    "file_url" => file_url: Text,
    "filename" => filename: Text,
    "input_audio" => input_audio: One::new(),
    "annotations" => annotations: Json::ANY,
    "logprobs" => logprobs: Json::ANY,
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

/// What is wrong with an item.
struct Found<'a> {
    index: usize,
    violations: &'a mut Vec<Violation>,
}

impl Found<'_> {
    fn path(&self, member: &str) -> String {
        format!("input[{}].{member}", self.index)
    }

    fn add(&mut self, member: &str, message: impl Into<String>) {
        if self.violations.len() < VIOLATIONS_MAX {
            self.violations.push(Violation::new(self.path(member), message));
        }
    }

    fn required<T>(&mut self, member: &str, value: Option<T>) -> Option<T> {
        if value.is_none() {
            self.add(member, "is required");
        }
        value
    }
}

fn read(item: InputItem, found: &mut Found<'_>) -> Option<Item> {
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
                found.add("id", "must be the id of an item of a response that was kept here");
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

/// The parts of what somebody of this role, or a tool, said. A single text is said as such: so every engine
/// understands it.
fn content(parts: Vec<InputPart>, member: &str, role: &str, found: &mut Found<'_>) -> Option<Content> {
    if parts.is_empty() && !matches!(role, "assistant" | "tool") {
        found.add(member, "must have at least one part");
    }
    let numbered = parts.into_iter().enumerate();
    let mut parts: Vec<_> =
        numbered.filter_map(|(n, part)| self::part(part, &format!("{member}[{n}]"), role, found)).collect();
    match parts.as_mut_slice() {
        [] => None,
        [ContentPart { text: text @ Some(_), extensions, .. }] if extensions.is_empty() => {
            text.take().map(Content::Text)
        }
        _ => Some(Content::Parts(ContentParts { parts })),
    }
}

fn part(part: InputPart, at: &str, role: &str, found: &mut Found<'_>) -> Option<ContentPart> {
    let kind = part.r#type.as_str();
    if matches!(kind, "input_image" | "input_file" | "input_audio") && role != "user" {
        let message = "cannot be said to an engine here: it goes into a message of the role user";
        found.add(&format!("{at}.type"), message);
        return None;
    }
    match kind {
        "input_text" | "output_text" | "text" => {
            let text = found.required(&format!("{at}.text"), part.text)?;
            Some(ContentPart { extensions: part.extensions, ..text_part(text) })
        }
        // It was put beside the content.
        "refusal" if role == "assistant" => {
            found.required(&format!("{at}.refusal"), part.refusal)?;
            None
        }
        "input_image" => image(part, at, found),
        "input_file" => file(part, at, found),
        "input_audio" => audio(part, at, found),
        _ => {
            let message = match role {
                "user" => "must be input_text, input_image, input_file or input_audio",
                "assistant" => "must be output_text or refusal",
                _ => "must be input_text",
            };
            found.add(&format!("{at}.type"), message);
            None
        }
    }
}

fn image(part: InputPart, at: &str, found: &mut Found<'_>) -> Option<ContentPart> {
    if part.file_id.is_some() {
        let message = "is not known here: give the image itself, or where it is, as image_url";
        found.add(&format!("{at}.file_id"), message);
        return None;
    }
    let url = part.image_url.filter(|url| !url.is_empty());
    let url = found.required(&format!("{at}.image_url"), url)?;
    if part.detail.as_deref().is_some_and(|word| !matches!(word, "auto" | "low" | "high")) {
        found.add(&format!("{at}.detail"), "must be one of auto, low, high");
    }
    let image_url = Some(ImageUrl { url, detail: part.detail, extensions: Vec::new() });
    let (r#type, extensions) = ("image_url".to_owned(), part.extensions);
    Some(ContentPart { r#type, image_url, extensions, ..ContentPart::default() })
}

fn file(part: InputPart, at: &str, found: &mut Found<'_>) -> Option<ContentPart> {
    if part.file_url.is_some() {
        found.add(&format!("{at}.file_url"), "is not fetched here: give the file itself as file_data");
        return None;
    }
    if part.file_data.is_none() && part.file_id.is_none() {
        found.add(&format!("{at}.file_data"), "is required");
        return None;
    }
    let InputPart { file_data, file_id, filename, extensions, .. } = part;
    let file = Some(File { file_data, file_id, filename, extensions: Vec::new() });
    Some(ContentPart { r#type: "file".to_owned(), file, extensions, ..ContentPart::default() })
}

fn audio(part: InputPart, at: &str, found: &mut Found<'_>) -> Option<ContentPart> {
    let audio = found.required(&format!("{at}.input_audio"), part.input_audio)?;
    let some = |text: &String| (!text.is_empty()).then_some(());
    let data = found.required(&format!("{at}.input_audio.data"), some(&audio.data));
    let format = found.required(&format!("{at}.input_audio.format"), some(&audio.format));
    data.and(format)?;
    let (r#type, extensions) = ("input_audio".to_owned(), part.extensions);
    Some(ContentPart { r#type, input_audio: Some(audio), extensions, ..ContentPart::default() })
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
