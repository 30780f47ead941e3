//! Prompts as Ollama has them, read into a `GenerateRequest`: a conversation of one question, or, if the prompt is
//! `raw` or has a suffix, a text to continue.

use penstock_proto::{
    Violation,
    inference::v1::{
        ChatInput, Extension, GenerateRequest, Message, Prompt as Texts_, TextInput, TextList,
        generate_request::Input, message::Content, prompt::Kind,
    },
};

use super::{
    images,
    options::Options,
    terms::{Terms, judge},
    turns,
};
use crate::{
    chat::request::Texts,
    error::Error,
    json::{
        object::{One, object},
        read,
        value::{Flag, Integer, Json, OrDefault, Text},
    },
};

/// What is said of nothing to answer: Ollama only loads the model then.
const NOTHING_ASKED: &str =
    "must not be empty: a model is loaded by its engine when it is asked, not by a request of its own";

/// The members of a request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Prompt {
    model: String,
    prompt: Option<String>,
    suffix: Option<String>,
    system: Option<String>,
    images: Option<TextList>,
    raw: Option<bool>,
    template: Option<String>,
    context: Option<String>,
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

object!(Prompt {
    "model" => model: OrDefault(Text),
    "prompt" => prompt: Text,
    "suffix" => suffix: Text,
    "system" => system: Text,
    "images" => images: Texts,
    "raw" => raw: Flag,
    "template" => template: Text,
    "context" => context: Json::ARRAY,
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

impl Prompt {
    /// The request, and what is wrong with it.
    fn ask(mut self) -> (GenerateRequest, Vec<Violation>) {
        let mut found = Vec::new();
        // Empty is what clients send for none.
        for text in [&mut self.prompt, &mut self.suffix, &mut self.system, &mut self.template] {
            *text = text.take().filter(|text| !text.is_empty());
        }
        if self.prompt.is_none() {
            found.push(Violation::new("prompt", NOTHING_ASKED));
        }
        self.refuse_what_is_the_engines(&mut found);
        let input = if self.raw == Some(true) || self.suffix.is_some() {
            Input::Text(self.text(&mut found))
        } else {
            Input::Chat(self.question(&mut found))
        };
        let mut request = GenerateRequest {
            model: self.model,
            input: Some(input),
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

    fn refuse_what_is_the_engines(&self, found: &mut Vec<Violation>) {
        if self.template.is_some() {
            let message = "is the engine's: send messages to /api/chat, or the whole text with `raw`";
            found.push(Violation::new("template", message));
        }
        let is_empty = |json: &String| json.bytes().filter(|byte| !byte.is_ascii_whitespace()).eq(*b"[]");
        if self.context.as_ref().is_some_and(|json| !is_empty(json)) {
            let message = "is of one engine and one model alone: send the conversation to /api/chat";
            found.push(Violation::new("context", message));
        }
    }

    /// A text to continue: nobody speaks in it.
    fn text(&mut self, found: &mut Vec<Violation>) -> TextInput {
        let has_images = self.images.as_ref().is_some_and(|images| !images.values.is_empty());
        for (name, is_given) in [
            ("system", self.system.is_some()),
            ("images", has_images),
            ("think", self.think.as_deref().is_some_and(|json| json != "false")),
            ("logprobs", self.logprobs == Some(true)),
        ] {
            if is_given {
                let message =
                    "does not go with `raw` or `suffix`: leave it out, or send messages to /api/chat";
                found.push(Violation::new(name, message));
            }
        }
        (self.think, self.logprobs, self.top_logprobs) = (None, None, None);
        self.options.get_or_insert_default().unbounded_unless_said();
        let prompt = self.prompt.take().map(|text| Texts_ { kind: Some(Kind::Text(text)) });
        TextInput { prompt, suffix: self.suffix.take(), ..TextInput::default() }
    }

    /// A conversation of one question.
    fn question(&mut self, found: &mut Vec<Violation>) -> ChatInput {
        let mut parts = Vec::new();
        for (index, image) in self.images.take().unwrap_or_default().values.iter().enumerate() {
            match images::part(image) {
                Some(part) => parts.push(part),
                None => found.push(Violation::new(format!("images[{index}]"), images::REMEDY)),
            }
        }
        let says = |role: &str, content| Message { role: role.to_owned(), content, ..Message::default() };
        let system = self.system.take().map(|text| says("system", Some(Content::Text(text))));
        let text = Some(self.prompt.take().unwrap_or_default());
        let messages = system.into_iter().chain([says("user", turns::content(text, parts))]);
        ChatInput { messages: messages.collect() }
    }
}

/// Reads a prompt.
///
/// # Errors
/// Those of [`read::read`], and what cannot be expressed behind gRPC, by name.
pub(crate) fn read(body: &[u8]) -> Result<GenerateRequest, Error> {
    let all = |prompt: &Prompt| {
        let (request, found) = prompt.clone().ask();
        judge(&request, found)
    };
    let (request, found) = read::read(body, all)?.ask();
    if found.is_empty() { Ok(request) } else { Err(Error::Invalid(judge(&request, found))) }
}
