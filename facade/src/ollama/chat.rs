//! Conversations as Ollama has them, read into a `GenerateRequest`.

use penstock_proto::{
    Violation,
    inference::v1::{ChatInput, Extension, GenerateRequest, Tool, generate_request::Input},
};

use super::{
    options::Options,
    terms::{Terms, judge},
    turns::{Turn, messages},
};
use crate::{
    error::Error,
    json::{
        object::{List, One, object},
        read,
        value::{Flag, Integer, Json, OrDefault, Text},
    },
};

/// What is said of a conversation in which nobody says anything: Ollama only loads the model then.
const NOTHING_ASKED: &str = "must have at least one message: a model is loaded by its engine when it is asked, not by a request of its own";

/// The members of a request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Chat {
    model: String,
    messages: Vec<Turn>,
    tools: Vec<Tool>,
    stream: Option<bool>,
    format: Option<String>,
    think: Option<String>,
    options: Option<Options>,
    keep_alive: Option<String>,
    truncate: Option<bool>,
    shift: Option<bool>,
    logprobs: Option<bool>,
    top_logprobs: Option<i64>,
    extensions: Vec<Extension>,
}

object!(Chat {
    "model" => model: OrDefault(Text),
    "messages" => messages: List::new(),
    "tools" => tools: List::new(),
    "stream" => stream: Flag,
    "format" => format: Json::STRING_OR_OBJECT,
    "think" => think: Json::ANY,
    "options" => options: One::new(),
    "keep_alive" => keep_alive: Json::ANY,
    "truncate" => truncate: Flag,
    "shift" => shift: Flag,
    "logprobs" => logprobs: Flag,
    "top_logprobs" => top_logprobs: Integer,
});

impl Chat {
    /// The request, and what is wrong with it.
    fn ask(self) -> (GenerateRequest, Vec<Violation>) {
        let mut found = Vec::new();
        if self.messages.is_empty() {
            found.push(Violation::new("messages", NOTHING_ASKED));
        }
        let chat = ChatInput { messages: messages(self.messages, &mut found) };
        let mut request = GenerateRequest {
            model: self.model,
            input: Some(Input::Chat(chat)),
            tools: tools(self.tools, &mut found),
            logprobs: self.logprobs,
            top_logprobs: self.top_logprobs,
            extensions: self.extensions,
            ..GenerateRequest::default()
        };
        let terms = Terms {
            stream: self.stream,
            options: self.options,
            format: self.format,
            think: self.think,
            keep_alive: self.keep_alive,
            truncate: self.truncate,
            shift: self.shift,
        };
        terms.put(&mut request, &mut found);
        (request, found)
    }
}

/// Functions, and nothing else. That they are, few clients of Ollama say.
fn tools(mut tools: Vec<Tool>, found: &mut Vec<Violation>) -> Vec<Tool> {
    for (at, tool) in tools.iter_mut().enumerate() {
        if tool.r#type.is_empty() && tool.function.is_some() {
            "function".clone_into(&mut tool.r#type);
        }
        if tool.r#type != "function" {
            found.push(Violation::new(format!("tools[{at}].type"), "must be function"));
        }
    }
    tools
}

/// Reads a conversation.
///
/// # Errors
/// Those of [`read::read`], and what cannot be expressed behind gRPC, by name.
pub(crate) fn read(body: &[u8]) -> Result<GenerateRequest, Error> {
    let all = |chat: &Chat| {
        let (request, found) = chat.clone().ask();
        judge(&request, found)
    };
    let (request, found) = read::read(body, all)?.ask();
    if found.is_empty() { Ok(request) } else { Err(Error::Invalid(judge(&request, found))) }
}
