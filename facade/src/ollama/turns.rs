//! Messages as Ollama has them: images beside the text, arguments as objects, and calls that may have no ids. Whose
//! call a tool answers is then told by its name, or by the order.

use std::collections::{HashMap, VecDeque};

use penstock_proto::{
    Violation,
    inference::v1::{
        ContentPart, ContentParts, Extension, FunctionCall, Message, TextList, ToolCall, message::Content,
    },
};

use super::images;
use crate::{
    chat::request::Texts,
    json::{
        object::{List, One, foreign, object},
        value::{Integer, Json, OrDefault, Text},
    },
};

/// A message.
#[derive(Clone, Debug, Default)]
pub(crate) struct Turn {
    role: String,
    content: Option<String>,
    thinking: Option<String>,
    images: Option<TextList>,
    tool_calls: Vec<Call>,
    tool_name: Option<String>,
    tool_call_id: Option<String>,
    extensions: Vec<Extension>,
}

object!(Turn {
    "role" => role: OrDefault(Text),
    "content" => content: Text,
    "thinking" => thinking: Text,
    "images" => images: Texts,
    "tool_calls" => tool_calls: List::new(),
    "tool_name" => tool_name: Text,
    "tool_call_id" => tool_call_id: Text,
});

/// A call that the assistant made.
#[derive(Clone, Debug, Default)]
pub(crate) struct Call {
    id: Option<String>,
    kind: Option<String>,
    function: Option<Called>,
    extensions: Vec<Extension>,
}

object!(Call {
    "id" => id: Text,
    "type" => kind: Text,
    "function" => function: One::new(),
});

/// What it called.
#[derive(Clone, Debug, Default)]
pub(crate) struct Called {
    index: Option<i64>,
    name: Option<String>,
    arguments: Option<String>,
    extensions: Vec<Extension>,
}

object!(Called {
    "index" => index: Integer,
    "name" => name: Text,
    "arguments" => arguments: Json::OBJECT,
});

/// The conversation. What is wrong with it is added to `found`.
pub(super) fn messages(turns: Vec<Turn>, found: &mut Vec<Violation>) -> Vec<Message> {
    let mut open = Open::default();
    turns.into_iter().enumerate().map(|(at, turn)| message(at, turn, &mut open, found)).collect()
}

/// Calls that no tool has answered yet. A body holds a hundred thousand of them: none is looked for one by one.
#[derive(Debug, Default)]
struct Open {
    /// Their ids, oldest first; `None`: it was answered.
    ids: Vec<Option<String>>,
    /// All before this one were answered.
    oldest: usize,
    by_id: HashMap<String, Vec<usize>>,
    by_name: HashMap<String, VecDeque<usize>>,
}

impl Open {
    fn add(&mut self, id: String, name: String) {
        let at = self.ids.len();
        self.by_id.entry(id.clone()).or_default().push(at);
        self.by_name.entry(name).or_default().push_back(at);
        self.ids.push(Some(id));
    }

    /// Takes note that the calls of this id were answered.
    fn close(&mut self, id: &str) {
        for at in self.by_id.remove(id).unwrap_or_default() {
            self.take(at);
        }
    }

    /// The id of the call that is answered, by the name of the function if there is one.
    fn answer(&mut self, name: Option<&str>) -> Option<String> {
        loop {
            let at = match name {
                Some(name) => self.by_name.get_mut(name)?.pop_front()?,
                None => self.oldest,
            };
            if at == self.ids.len() {
                return None;
            }
            self.oldest += usize::from(at == self.oldest);
            if let Some(id) = self.take(at) {
                return Some(id);
            }
        }
    }

    fn take(&mut self, at: usize) -> Option<String> {
        self.ids.get_mut(at)?.take()
    }
}

fn message(at: usize, turn: Turn, open: &mut Open, found: &mut Vec<Violation>) -> Message {
    let mut add =
        |field: String, message: &str| found.push(Violation::new(format!("messages[{at}].{field}"), message));
    for name in foreign::<Message>(&turn.extensions) {
        add(name.to_owned(), "is not known to this API: leave it out");
    }
    if turn.role == "function" {
        add("role".to_owned(), "must be system, user, assistant or tool");
    }
    let mut parts = Vec::new();
    for (index, image) in turn.images.unwrap_or_default().values.iter().enumerate() {
        match images::part(image) {
            Some(part) => parts.push(part),
            None => add(format!("images[{index}]"), images::REMEDY),
        }
    }
    let mut tool_calls = Vec::new();
    for (index, call) in turn.tool_calls.into_iter().enumerate() {
        let is_function = call.kind.as_deref().is_none_or(|kind| kind == "function");
        let Some(function) = call.function.filter(|_| is_function) else {
            add(format!("tool_calls[{index}].function"), "is required: tools are functions here");
            continue;
        };
        let id = call.id.filter(|id| !id.is_empty()).unwrap_or_else(|| format!("call_{at}_{index}"));
        open.add(id.clone(), function.name.clone().unwrap_or_default());
        tool_calls.push(tool_call(id, function, call.extensions));
    }
    let mut tool_call_id = turn.tool_call_id.filter(|id| !id.is_empty());
    if turn.role == "tool" {
        match &tool_call_id {
            Some(id) => open.close(id),
            None => {
                let name = turn.tool_name.as_deref().filter(|name| !name.is_empty());
                tool_call_id = open.answer(name);
                if tool_call_id.is_none() {
                    let message =
                        "answers no call before it: put the assistant's message with the call before it";
                    add(if name.is_some() { "tool_name" } else { "tool_call_id" }.to_owned(), message);
                    // Said once: it is not missing as well.
                    tool_call_id = Some(String::new());
                }
            }
        }
    }
    // An assistant that calls need not say anything; all others do, if only nothing.
    let text = match turn.content {
        None if !tool_calls.is_empty() => None,
        content => Some(content.unwrap_or_default()),
    };
    Message {
        // That one has no name is said by its role: once is enough.
        name: (turn.role == "function").then(String::new),
        role: turn.role,
        content: content(text, parts),
        reasoning: turn.thinking,
        tool_calls,
        tool_call_id,
        extensions: turn.extensions,
        ..Message::default()
    }
}

fn tool_call(id: String, function: Called, extensions: Vec<Extension>) -> ToolCall {
    let function = FunctionCall {
        name: function.name,
        arguments: Some(function.arguments.unwrap_or_else(|| "{}".to_owned())),
        extensions: function.extensions,
    };
    ToolCall {
        id: Some(id),
        r#type: Some("function".to_owned()),
        function: Some(function),
        extensions,
        ..ToolCall::default()
    }
}

/// A text, after the images if there are any: that is where Ollama puts them.
pub(super) fn content(text: Option<String>, mut images: Vec<ContentPart>) -> Option<Content> {
    if images.is_empty() {
        return text.map(Content::Text);
    }
    let text = text.filter(|text| !text.is_empty());
    let part = |text| ContentPart { r#type: "text".to_owned(), text: Some(text), ..ContentPart::default() };
    images.extend(text.map(part));
    Some(Content::Parts(ContentParts { parts: images }))
}
