//! The conversation in the words of the contract: the system speaks first, results of tools are messages of their
//! own before the rest of their turn, and reasoning goes back with its signatures.

mod sources;

use penstock_proto::inference::v1::{
    ContentPart, ContentParts, Extension, FunctionCall, Message, ToolCall, message::Content as Said,
};
use serde_json::json;

use super::{
    places::{Place, Places},
    request::{Block, Content, Turn},
    translate::Found,
};
use crate::json::object::foreign;

/// The extension of a message that holds signed reasoning, block by block: an engine of this API gets it back.
pub(super) const THINKING_BLOCKS: &str = "thinking_blocks";

/// The messages, and where each stood. `None`: there is no conversation.
pub(super) fn conversation(
    system: Option<Content>,
    turns: Option<Vec<Turn>>,
    found: &mut Found,
) -> (Option<Vec<Message>>, Places) {
    let mut said = Conversation { messages: Vec::new(), places: Vec::new(), found };
    if let Some(system) = system {
        said.system(system);
    }
    let Some(turns) = turns else { return (None, Places(said.places)) };
    if turns.is_empty() {
        said.found.add("messages", "must have at least one message");
    }
    for (index, turn) in turns.into_iter().enumerate() {
        said.turn(&format!("messages[{index}]"), turn);
    }
    (Some(said.messages), Places(said.places))
}

/// What was said so far.
struct Conversation<'a> {
    messages: Vec<Message>,
    places: Vec<Place>,
    found: &'a mut Found,
}

/// Parts of a message's content, and where each stood.
#[derive(Default)]
struct Parts {
    parts: Vec<ContentPart>,
    places: Vec<String>,
}

impl Parts {
    fn push(&mut self, at: String, part: ContentPart) {
        self.parts.push(part);
        self.places.push(at);
    }

    /// As the content of a message: one plain text as a string, which every engine takes.
    fn said(self) -> (Option<Said>, Vec<String>) {
        let said = match self.parts.as_slice() {
            [] => Said::Text(String::new()),
            [ContentPart { text: Some(text), extensions, .. }] if extensions.is_empty() => {
                Said::Text(text.clone())
            }
            _ => Said::Parts(ContentParts { parts: self.parts }),
        };
        (Some(said), self.places)
    }
}

impl Conversation<'_> {
    fn push(&mut self, message: Message, place: Place) {
        self.messages.push(message);
        self.places.push(place);
    }

    fn system(&mut self, system: Content) {
        let mut parts = Parts::default();
        match system {
            Content::Text(text) => parts.push("system".to_owned(), text_part(text, Vec::new())),
            Content::Blocks(blocks) => {
                for (index, block) in blocks.into_iter().enumerate() {
                    let at = format!("system[{index}]");
                    match block.r#type.as_str() {
                        "text" => self.text(at, block, &mut parts),
                        _ => self.strange(&at, &block.r#type, "must be text in system"),
                    }
                }
            }
        }
        if parts.parts.is_empty() {
            return;
        }
        let (content, parts) = parts.said();
        let message = Message { role: "system".to_owned(), content, ..Message::default() };
        self.push(message, Place { at: "system".to_owned(), parts, ..Place::default() });
    }

    fn turn(&mut self, at: &str, turn: Turn) {
        let known = matches!(turn.role.as_str(), "user" | "assistant");
        if !known {
            self.found.add(
                format!("{at}.role"),
                "must be user or assistant: what the system says stands in `system`",
            );
        }
        for name in foreign::<Message>(&turn.extensions) {
            self.found.add(format!("{at}.{name}"), "is not known to this API: leave it out");
        }
        let blocks = match turn.content {
            None => return self.found.add(format!("{at}.content"), "is required"),
            Some(Content::Text(text)) => {
                let message = Message {
                    role: turn.role,
                    content: Some(Said::Text(text)),
                    extensions: turn.extensions,
                    ..Message::default()
                };
                return self.push(message, Place { at: at.to_owned(), ..Place::default() });
            }
            Some(Content::Blocks(blocks)) => blocks,
        };
        if turn.role == "assistant" {
            self.assistant(at, blocks, turn.extensions);
        } else if known {
            self.user(at, blocks, turn.extensions);
        }
    }

    fn user(&mut self, at: &str, blocks: Vec<Block>, extensions: Vec<Extension>) {
        if blocks.is_empty() {
            self.found.add(format!("{at}.content"), "must have at least one block");
        }
        let (mut shown, mut parts) = (Parts::default(), Parts::default());
        for (index, block) in blocks.into_iter().enumerate() {
            let at = format!("{at}.content[{index}]");
            if block.r#type == "tool_result" {
                self.result(at, block, &mut shown);
            } else {
                self.part(at, block, &mut parts);
            }
        }
        // Results say text only in the contract: their images follow them, with the id of whose they are.
        shown.parts.append(&mut parts.parts);
        shown.places.append(&mut parts.places);
        if shown.parts.is_empty() {
            return;
        }
        let (content, parts) = shown.said();
        let message = Message { role: "user".to_owned(), content, extensions, ..Message::default() };
        self.push(message, Place { at: at.to_owned(), parts, ..Place::default() });
    }

    /// What a tool answered. What it says of its failure is text: the contract has no other place for it.
    fn result(&mut self, at: String, block: Block, shown: &mut Parts) {
        if block.tool_use_id.is_none() {
            self.found.add(format!("{at}.tool_use_id"), "is required");
        }
        let id = block.tool_use_id.unwrap_or_default();
        let mut parts = Parts::default();
        match block.content {
            None => {}
            Some(Content::Text(text)) => parts.push(format!("{at}.content"), text_part(text, Vec::new())),
            Some(Content::Blocks(blocks)) => {
                let mut others = Parts::default();
                for (index, block) in blocks.into_iter().enumerate() {
                    let at = format!("{at}.content[{index}]");
                    match block.r#type.as_str() {
                        "text" => self.text(at, block, &mut parts),
                        "image" | "document" => self.part(at, block, &mut others),
                        kind => {
                            let message = "must be text, image or document in the result of a tool";
                            self.strange(&at, kind, message);
                        }
                    }
                }
                if !others.parts.is_empty() {
                    let whose = text_part(format!("From the result of {id}:"), Vec::new());
                    shown.push(format!("{at}.content"), whose);
                    shown.parts.append(&mut others.parts);
                    shown.places.append(&mut others.places);
                }
            }
        }
        if block.is_error == Some(true) {
            say_that_it_failed(&mut parts, &at);
        }
        let (content, parts) = parts.said();
        let message = Message {
            role: "tool".to_owned(),
            content,
            tool_call_id: Some(id),
            extensions: block.extensions,
            ..Message::default()
        };
        self.push(message, Place { at, parts, ..Place::default() });
    }

    fn assistant(&mut self, at: &str, blocks: Vec<Block>, mut extensions: Vec<Extension>) {
        let (mut parts, mut calls, mut places) = (Parts::default(), Vec::new(), Vec::new());
        let (mut reasoning, mut signed) = (None::<String>, Vec::new());
        for (index, block) in blocks.into_iter().enumerate() {
            let at = format!("{at}.content[{index}]");
            match block.r#type.as_str() {
                "text" => self.text(at, block, &mut parts),
                "tool_use" => {
                    calls.push(self.call(&at, block));
                    places.push(at);
                }
                "thinking" => {
                    let thought = block.thinking.unwrap_or_default();
                    // Without a signature it is another engine's, which has no use for the block.
                    if let Some(signature) = block.signature.filter(|signature| !signature.is_empty()) {
                        let block = json!({"type": "thinking", "thinking": thought, "signature": signature});
                        signed.push(block.to_string());
                    }
                    reasoning.get_or_insert_default().push_str(&thought);
                }
                "redacted_thinking" => match block.data {
                    Some(data) => signed.push(json!({"type": "redacted_thinking", "data": data}).to_string()),
                    None => self.found.add(format!("{at}.data"), "is required"),
                },
                kind => {
                    let message = "must be text, thinking, redacted_thinking or tool_use of the assistant: \
                                   what the provider's own tools did cannot be given back";
                    self.strange(&at, kind, message);
                }
            }
        }
        if !signed.is_empty() {
            let json = format!("[{}]", signed.join(","));
            extensions.push(Extension { name: THINKING_BLOCKS.to_owned(), json });
        }
        let silent = parts.parts.is_empty() && !calls.is_empty();
        let (content, parts) = parts.said();
        let message = Message {
            role: "assistant".to_owned(),
            content: content.filter(|_| !silent),
            tool_calls: calls,
            reasoning: reasoning.filter(|text| !text.is_empty()),
            extensions,
            ..Message::default()
        };
        self.push(message, Place { at: at.to_owned(), parts, calls: places });
    }

    fn call(&mut self, at: &str, block: Block) -> ToolCall {
        for (member, is_there) in [
            ("id", block.id.is_some()),
            ("name", block.name.is_some()),
            ("input", block.input_json.is_some()),
        ] {
            if !is_there {
                self.found.add(format!("{at}.{member}"), "is required");
            }
        }
        let function =
            FunctionCall { name: block.name, arguments: block.input_json, ..FunctionCall::default() };
        ToolCall {
            id: block.id,
            r#type: Some("function".to_owned()),
            function: Some(function),
            extensions: block.extensions,
            ..ToolCall::default()
        }
    }

    fn text(&mut self, at: String, block: Block, parts: &mut Parts) {
        match block.text {
            Some(text) => parts.push(at, text_part(text, block.extensions)),
            None => self.found.add(format!("{at}.text"), "is required"),
        }
    }

    /// A text, an image or a document.
    fn part(&mut self, at: String, block: Block, parts: &mut Parts) {
        match block.r#type.as_str() {
            "text" => self.text(at, block, parts),
            "image" => match block.source {
                Some(source) => self.image(at, source, block.extensions, parts),
                None => self.found.add(format!("{at}.source"), "is required"),
            },
            "document" => self.document(at, block, parts),
            kind => {
                self.strange(&at, kind, "must be text, image, document or tool_result of the user");
            }
        }
    }

    fn strange(&mut self, at: &str, kind: &str, message: &str) {
        self.found.add(format!("{at}.type"), if kind.is_empty() { "is required" } else { message });
    }
}

fn text_part(text: String, extensions: Vec<Extension>) -> ContentPart {
    ContentPart { r#type: "text".to_owned(), text: Some(text), extensions, ..ContentPart::default() }
}

/// Puts `Error: ` before what a tool said that failed, unless it says so itself.
fn say_that_it_failed(parts: &mut Parts, at: &str) {
    const FAILED: &str = "Error: ";
    match parts.parts.first_mut().and_then(|part| part.text.as_mut()) {
        Some(text) if text.get(..5).is_some_and(|word| word.eq_ignore_ascii_case("error")) => {}
        Some(text) => text.insert_str(0, FAILED),
        None => parts.push(format!("{at}.content"), text_part("Error".to_owned(), Vec::new())),
    }
}
