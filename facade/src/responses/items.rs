//! What a conversation is made of in this API, item by item, and the messages in which it is asked behind gRPC:
//! what an assistant thinks, says and calls in a row is one message there.

pub(crate) mod parts;
pub(crate) mod read;
pub(crate) mod write;

use std::collections::HashSet;

use penstock_proto::inference::v1::{
    ContentPart, ContentParts, Delta, Extension, GenerateChunk, Message, ToolCall, message::Content,
};
use prost::Message as _;

/// What an input is made of.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Item {
    /// What somebody said, or what a tool gave back.
    Message(Message),
    /// What the assistant thought.
    Reasoning {
        /// Empty: nothing that can be told.
        text: String,
        /// Members that this API does not name.
        extensions: Vec<Extension>,
    },
    /// What the assistant called.
    Call(ToolCall),
    /// An item that is to be found by its id.
    Reference(Reference),
}

/// What an item of an answer is, as its id begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `msg_`
    Message,
    /// `rs_`
    Reasoning,
    /// `fc_`
    Function,
    /// `ctc_`
    Custom,
}

impl Kind {
    const ALL: [Kind; 4] = [Kind::Message, Kind::Reasoning, Kind::Function, Kind::Custom];

    /// How the ids of such items begin.
    pub(crate) fn prefix(self) -> &'static str {
        match self {
            Kind::Message => "msg_",
            Kind::Reasoning => "rs_",
            Kind::Function => "fc_",
            Kind::Custom => "ctc_",
        }
    }

    /// Whose call it is.
    pub(crate) fn of(call: &ToolCall) -> Self {
        if call.custom.is_some() && call.function.is_none() { Kind::Custom } else { Kind::Function }
    }
}

/// How the ids of responses begin.
pub(crate) const RESPONSE: &str = "resp_";

/// The id of an item of the response with that id: of calls the `index` counts both kinds together.
pub(crate) fn item_id(kind: Kind, response_id: &str, index: usize) -> String {
    let hex = response_id.strip_prefix(RESPONSE).unwrap_or(response_id);
    format!("{}{hex}_{index}", kind.prefix())
}

/// An item of an answer that was kept, by its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reference {
    /// Of the response that it belongs to.
    pub(crate) response_id: String,
    pub(crate) kind: Kind,
    pub(crate) index: usize,
    /// The path of the id in the request, for errors.
    pub(crate) field: String,
}

impl Reference {
    /// Reads an id as [`item_id`] writes them. `None`: it is none.
    pub(crate) fn read(id: &str, field: String) -> Option<Self> {
        let (kind, rest) =
            Kind::ALL.iter().find_map(|kind| Some((*kind, id.strip_prefix(kind.prefix())?)))?;
        let (hex, index) = rest.split_once('_')?;
        let is_hex = hex.len() == 32 && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let is_number =
            !index.is_empty() && index.len() <= 9 && index.bytes().all(|byte| byte.is_ascii_digit());
        let index = index.parse().ok().filter(|_| is_hex && is_number)?;
        Some(Self { response_id: format!("{RESPONSE}{hex}"), kind, index, field })
    }

    /// The item, among those of its response's answer. What came in turns with other items was streamed as several
    /// and is kept as one, the first. `None`: there is no such item.
    pub(crate) fn find<'a>(&self, answer: &'a [Item]) -> Option<&'a Item> {
        let found = match self.kind {
            Kind::Message => answer.iter().find(|item| matches!(item, Item::Message(_))),
            Kind::Reasoning => answer.iter().find(|item| matches!(item, Item::Reasoning { .. })),
            Kind::Function | Kind::Custom => {
                let mut calls = answer.iter().filter(|item| matches!(item, Item::Call(_)));
                return calls
                    .nth(self.index)
                    .filter(|item| matches!(item, Item::Call(call) if Kind::of(call) == self.kind));
            }
        };
        found.map(|item| if self.index == 0 { item } else { &NOTHING })
    }
}

/// What can be told of an item that is part of another one.
static NOTHING: Item = Item::Reasoning { text: String::new(), extensions: Vec::new() };

impl Item {
    /// Its bytes in a request.
    pub(crate) fn encoded_len(&self) -> usize {
        match self {
            Item::Message(message) => message.encoded_len(),
            Item::Reasoning { text, extensions } => {
                text.len() + extensions.iter().map(Extension::encoded_len).sum::<usize>()
            }
            Item::Call(call) => call.encoded_len(),
            Item::Reference(_) => 0,
        }
    }
}

/// Puts items into messages: what an assistant says, thinks and calls in a row is one message. References must
/// have been found before: they say nothing.
pub(crate) fn conversation(items: Vec<Item>) -> Vec<Message> {
    let mut messages = Vec::with_capacity(items.len());
    for item in items {
        match item {
            Item::Message(said) if said.role == ASSISTANT => {
                go_on(&mut messages, can_think, |message| say(message, said));
            }
            Item::Message(message) => messages.push(message),
            Item::Reasoning { text, extensions } => {
                if !text.is_empty() {
                    go_on(&mut messages, can_think, |message| {
                        append(&mut message.reasoning, &text);
                        message.extensions.extend(extensions);
                    });
                }
            }
            Item::Call(call) => go_on(&mut messages, |_| true, |message| message.tool_calls.push(call)),
            Item::Reference(_) => {}
        }
    }
    messages.iter_mut().for_each(|message: &mut Message| keep_once(&mut message.extensions));
    messages
}

const ASSISTANT: &str = "assistant";

/// Whether thoughts and texts still belong to this message of the assistant. Two texts in a row stay two messages,
/// unless calls stand between them: nothing may come between calls and what they gave back.
fn can_think(message: &Message) -> bool {
    (message.content.is_none() && message.refusal.is_none()) || !message.tool_calls.is_empty()
}

/// Adds to the assistant's message, if it is the last one and `fits`, or to a new one.
fn go_on(messages: &mut Vec<Message>, fits: fn(&Message) -> bool, add: impl FnOnce(&mut Message)) {
    match messages.last_mut() {
        Some(last) if last.role == ASSISTANT && fits(last) => add(last),
        _ => {
            let mut message = Message { role: ASSISTANT.to_owned(), ..Message::default() };
            add(&mut message);
            messages.push(message);
        }
    }
}

fn say(message: &mut Message, said: Message) {
    message.content = match (message.content.take(), said.content) {
        (None, content) | (content, None) => content,
        (Some(Content::Text(before)), Some(Content::Text(text))) => Some(Content::Text(before + &text)),
        (Some(before), Some(after)) => {
            let mut all = parts(before);
            all.extend(parts(after));
            Some(Content::Parts(ContentParts { parts: all }))
        }
    };
    if let Some(refusal) = said.refusal {
        append(&mut message.refusal, &refusal);
    }
    if let Some(reasoning) = said.reasoning {
        append(&mut message.reasoning, &reasoning);
    }
    message.name = message.name.take().or(said.name);
    message.tool_calls.extend(said.tool_calls);
    message.extensions.extend(said.extensions);
}

fn parts(content: Content) -> Vec<ContentPart> {
    match content {
        Content::Text(text) => vec![text_part(text)],
        Content::Parts(parts) => parts.parts,
    }
}

fn text_part(text: String) -> ContentPart {
    ContentPart { r#type: "text".to_owned(), text: Some(text), ..ContentPart::default() }
}

/// Leaves each name once: an engine gets one object of what were several.
fn keep_once(extensions: &mut Vec<Extension>) {
    if extensions.len() > 1 {
        let mut names = HashSet::new();
        extensions.retain(|extension| names.insert(extension.name.clone()));
    }
}

fn append(to: &mut Option<String>, text: &str) {
    to.get_or_insert_default().push_str(text);
}

/// The answer as the assistant's message, to go on from.
pub(crate) fn spoken(answer: &GenerateChunk) -> Message {
    let delta = answer.choices.first().and_then(|choice| choice.delta.clone()).unwrap_or_default();
    let Delta { content, refusal, reasoning, tool_calls, .. } = delta;
    let some = |text: Option<String>| text.filter(|text| !text.is_empty());
    let (content, refusal) = (some(content), some(refusal));
    // An answer of nothing is said as such: a message must have something.
    let nothing = content.is_none() && refusal.is_none() && tool_calls.is_empty();
    let tool_calls = tool_calls.into_iter().map(|call| ToolCall { index: None, ..call }).collect();
    Message {
        role: ASSISTANT.to_owned(),
        content: content.or(nothing.then(String::new)).map(Content::Text),
        refusal,
        reasoning: some(reasoning),
        tool_calls,
        ..Message::default()
    }
}

/// A message as items: what an assistant thought, said and called; any other message is one item.
pub(crate) fn items_of(message: &Message) -> Vec<Item> {
    let mut message = message.clone();
    if message.role != ASSISTANT {
        return vec![Item::Message(message)];
    }
    let calls = std::mem::take(&mut message.tool_calls);
    let reasoning = message.reasoning.take().filter(|text| !text.is_empty());
    let mut items = Vec::with_capacity(calls.len() + 2);
    items.extend(reasoning.map(|text| Item::Reasoning { text, extensions: Vec::new() }));
    let silent = match &message.content {
        None => message.refusal.is_none(),
        Some(Content::Text(text)) => text.is_empty() && message.refusal.is_none(),
        Some(Content::Parts(_)) => false,
    };
    if !silent {
        items.push(Item::Message(message));
    }
    items.extend(calls.into_iter().map(Item::Call));
    items
}

#[cfg(test)]
mod tests;
