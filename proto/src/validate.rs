//! What makes a request valid, in one place behind gRPC, so that callers by REST and by gRPC get the same
//! verdict. Ranges and shapes are those of OpenAI's specification (v2.3.0), no stricter; every violation is
//! reported, each with the path of the field.

use std::ops::RangeInclusive;

use crate::{
    Violation,
    inference::v1::{
        ChatInput, ContentPart, EmbedRequest, GenerateRequest, Message, ModerateRequest, Prompt,
        StopSequences, Tool, generate_request::Input, message::Content, prompt, stop_sequences::Kind,
    },
};

/// Longest model name, in bytes.
const MODEL_MAX_BYTES: usize = 256;
/// Most stop sequences, as OpenAI has it.
const STOP_MAX: usize = 4;
/// Most tools, as OpenAI has it.
const TOOLS_MAX: usize = 128;
/// Most members of a request that the contract does not name: engines know some dozens.
const EXTENSIONS_MAX: usize = 1000;
/// Violations reported at most: an answer must not grow with the number of mistakes.
const VIOLATIONS_MAX: usize = 100;
/// Most choices of one answer: OpenAI's bound of `n`.
const CHOICES_MAX: usize = 128;
/// Most inputs of one request for vectors, as OpenAI has it.
const INPUTS_MAX: usize = 2048;
/// Roles of the chat format.
const ROLES: [&str; 6] = ["developer", "system", "user", "assistant", "tool", "function"];

/// Every violation of `request`, in the order of its fields; empty if it is valid.
pub fn generate_request(request: &GenerateRequest) -> Vec<Violation> {
    let mut found = Found(Vec::new());
    found.model(&request.model);
    match &request.input {
        Some(Input::Chat(chat)) => found.chat(chat),
        Some(Input::Text(text)) => {
            let prompts = found.prompts("prompt", text.prompt.as_ref());
            let n = usize::try_from(request.n.unwrap_or(1)).unwrap_or(0);
            if prompts.saturating_mul(n) > CHOICES_MAX {
                found.add("n", format!("must ask for at most {CHOICES_MAX} choices of all prompts together"));
            }
            found.range("logprobs", text.logprobs, 0..=5);
            found.range("best_of", text.best_of, 0..=20);
            if text.best_of.is_some_and(|best_of| best_of < request.n.unwrap_or(1)) {
                found.add("best_of", "must be at least n");
            }
        }
        None => found.add("messages", "is required"),
    }
    found.range("temperature", request.temperature, 0.0..=2.0);
    found.range("top_p", request.top_p, 0.0..=1.0);
    found.range("presence_penalty", request.presence_penalty, -2.0..=2.0);
    found.range("frequency_penalty", request.frequency_penalty, -2.0..=2.0);
    found.range("n", request.n, 1..=128);
    // A text alone may be asked for without a continuation: its log probabilities are the answer.
    let least = i64::from(!matches!(request.input, Some(Input::Text(_))));
    found.range("max_tokens", request.max_tokens, least..=i64::MAX);
    found.range("max_completion_tokens", request.max_completion_tokens, 1..=i64::MAX);
    found.range("top_logprobs", request.top_logprobs, 0..=20);
    if request.top_logprobs.is_some() && request.logprobs != Some(true) {
        found.add("top_logprobs", "needs logprobs to be true");
    }
    found.stop(request.stop.as_ref());
    if request.stream_options.is_some() && !request.stream {
        found.add("stream_options", "is only allowed when stream is true");
    }
    found.tools(&request.tools);
    if request.tool_choice_json.is_some() && request.tools.is_empty() {
        found.tool_choice_without_tools(request);
    }
    if let Some(first_beyond) = request.extensions.get(EXTENSIONS_MAX) {
        found.add(
            first_beyond.name.chars().take(64).collect::<String>(),
            format!("is one unknown member too many: at most {EXTENSIONS_MAX} are passed on"),
        );
    }
    found.0
}

/// Every violation of `request`; empty if it is valid.
pub fn embed_request(request: &EmbedRequest) -> Vec<Violation> {
    let mut found = Found(Vec::new());
    found.model(&request.model);
    if found.prompts("input", request.input.as_ref()) > INPUTS_MAX {
        found.add("input", format!("must have at most {INPUTS_MAX} inputs"));
    }
    found.range("dimensions", request.dimensions, 1..=i64::MAX);
    found.0
}

/// Every violation of `request`; empty if it is valid.
pub fn moderate_request(request: &ModerateRequest) -> Vec<Violation> {
    let mut found = Found(Vec::new());
    if let Some(model) = &request.model {
        found.model(model);
    }
    if matches!(request.input_json.trim(), "" | "null") {
        found.add("input", "is required");
    }
    found.0
}

struct Found(Vec<Violation>);

impl Found {
    fn add(&mut self, field: impl Into<String>, message: impl Into<String>) {
        if self.0.len() < VIOLATIONS_MAX {
            self.0.push(Violation::new(field, message));
        }
    }

    fn range<T: PartialOrd + std::fmt::Display>(
        &mut self,
        field: &str,
        value: Option<T>,
        range: RangeInclusive<T>,
    ) {
        if value.is_some_and(|value| !range.contains(&value)) {
            self.add(field, format!("must be from {} to {}", range.start(), range.end()));
        }
    }

    fn model(&mut self, model: &str) {
        if model.is_empty() {
            self.add("model", "is required");
        } else if model.len() > MODEL_MAX_BYTES {
            self.add("model", format!("is longer than {MODEL_MAX_BYTES} bytes"));
        } else if model.chars().any(char::is_control) {
            self.add("model", "must not contain control characters");
        }
    }

    /// How many texts a prompt has. No list may be empty.
    fn prompts(&mut self, field: &str, prompt: Option<&Prompt>) -> usize {
        let Some(kind) = prompt.and_then(|prompt| prompt.kind.as_ref()) else {
            self.add(field, "is required");
            return 0;
        };
        let count = match kind {
            prompt::Kind::Text(_) => 1,
            prompt::Kind::Texts(list) => list.values.len(),
            prompt::Kind::Tokens(list) => list.values.len().min(1),
            prompt::Kind::TokenLists(lists) => {
                for (index, _) in lists.values.iter().enumerate().filter(|(_, list)| list.values.is_empty()) {
                    self.add(format!("{field}[{index}]"), "must not be empty");
                }
                lists.values.len()
            }
        };
        if count == 0 {
            self.add(field, "must not be empty");
        }
        count
    }

    fn chat(&mut self, chat: &ChatInput) {
        if chat.messages.is_empty() {
            self.add("messages", "must have at least one message");
        }
        for (index, message) in chat.messages.iter().enumerate() {
            self.message(index, message);
        }
    }

    fn message(&mut self, index: usize, message: &Message) {
        let role = message.role.as_str();
        if !ROLES.contains(&role) {
            self.add(format!("messages[{index}].role"), format!("must be one of {}", ROLES.join(", ")));
        }
        if message.content.is_none() && !matches!(role, "assistant" | "function") {
            self.add(format!("messages[{index}].content"), "is required");
        }
        if let Some(Content::Parts(parts)) = &message.content {
            if parts.parts.is_empty() {
                self.add(format!("messages[{index}].content"), "must have at least one part");
            }
            for (part_index, part) in parts.parts.iter().enumerate() {
                self.part(index, part_index, part);
            }
        }
        if role == "tool" && message.tool_call_id.is_none() {
            self.add(format!("messages[{index}].tool_call_id"), "is required for the role tool");
        }
        for (call_index, call) in message.tool_calls.iter().enumerate() {
            let path = format!("messages[{index}].tool_calls[{call_index}]");
            if call.id.is_none() {
                self.add(format!("{path}.id"), "is required");
            }
            let is_function = call.r#type.as_deref().is_none_or(|kind| kind == "function");
            if is_function && call.function.as_ref().is_none_or(|function| function.name.is_none()) {
                self.add(format!("{path}.function.name"), "is required");
            }
        }
    }

    fn part(&mut self, message: usize, index: usize, part: &ContentPart) {
        let missing = match part.r#type.as_str() {
            "text" if part.text.is_none() => "text",
            "image_url" if part.image_url.as_ref().is_none_or(|image| image.url.is_empty()) => {
                "image_url.url"
            }
            "" => "type",
            _ => return,
        };
        self.add(format!("messages[{message}].content[{index}].{missing}"), "is required");
    }

    fn stop(&mut self, stop: Option<&StopSequences>) {
        if let Some(StopSequences { kind: Some(Kind::List(list)) }) = stop
            && list.values.len() > STOP_MAX
        {
            self.add("stop", format!("must have at most {STOP_MAX} sequences"));
        }
    }

    fn tools(&mut self, tools: &[Tool]) {
        if tools.len() > TOOLS_MAX {
            self.add("tools", format!("must have at most {TOOLS_MAX} tools"));
        }
        for (index, tool) in tools.iter().enumerate() {
            if tool.r#type.is_empty() {
                self.add(format!("tools[{index}].type"), "is required");
            }
            if tool.r#type == "function"
                && tool.function.as_ref().is_none_or(|function| function.name.is_empty())
            {
                self.add(format!("tools[{index}].function.name"), "is required");
            }
        }
    }

    fn tool_choice_without_tools(&mut self, request: &GenerateRequest) {
        let harmless = matches!(request.tool_choice_json.as_deref(), Some(r#""none""# | r#""auto""#));
        let has_functions = request.extensions.iter().any(|extension| extension.name == "functions");
        if !harmless && !has_functions {
            self.add("tool_choice", "is only allowed when tools are given");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inference::v1::TextList;

    fn valid() -> GenerateRequest {
        GenerateRequest {
            model: "m".into(),
            input: Some(Input::Chat(ChatInput {
                messages: vec![Message {
                    role: "user".into(),
                    content: Some(Content::Text("hello".into())),
                    ..Message::default()
                }],
            })),
            ..GenerateRequest::default()
        }
    }

    fn fields(request: &GenerateRequest) -> Vec<String> {
        generate_request(request).into_iter().map(|violation| violation.field).collect()
    }

    #[test]
    fn a_plain_request_is_valid() {
        assert_eq!(fields(&valid()), Vec::<String>::new());
    }

    #[test]
    fn every_violation_is_reported_not_just_the_first() {
        let request = GenerateRequest {
            model: String::new(),
            temperature: Some(2.1),
            top_p: Some(f64::NAN),
            n: Some(0),
            max_tokens: Some(-1),
            stop: Some(StopSequences { kind: Some(Kind::List(TextList { values: vec![String::new(); 5] })) }),
            ..valid()
        };
        assert_eq!(fields(&request), ["model", "temperature", "top_p", "n", "max_tokens", "stop"]);
    }

    #[test]
    fn texts_are_given_and_not_too_many() {
        let texts = |count: usize| {
            Some(Prompt { kind: Some(prompt::Kind::Texts(TextList { values: vec!["x".into(); count] })) })
        };
        let fields = |found: Vec<Violation>| found.into_iter().map(|found| found.field).collect::<Vec<_>>();
        let embed = |input, dimensions| {
            fields(embed_request(&EmbedRequest {
                model: "m".into(),
                input,
                dimensions,
                ..EmbedRequest::default()
            }))
        };
        assert!(embed(texts(INPUTS_MAX), Some(1)).is_empty());
        assert_eq!(embed(texts(INPUTS_MAX + 1), Some(0)), ["input", "dimensions"]);
        assert_eq!(embed(None, None), ["input"]);
        assert_eq!(embed(texts(0), None), ["input"]);
        let continued = |count, n| {
            let text = crate::inference::v1::TextInput {
                prompt: texts(count),
                logprobs: Some(6),
                best_of: Some(1),
                ..Default::default()
            };
            fields(generate_request(&GenerateRequest {
                input: Some(Input::Text(text)),
                n: Some(n),
                max_tokens: Some(0),
                ..valid()
            }))
        };
        assert_eq!(continued(64, 2), ["logprobs", "best_of"]);
        assert_eq!(continued(65, 2), ["n", "logprobs", "best_of"]);
        let judge = |input: &str| {
            fields(moderate_request(&ModerateRequest {
                input_json: input.into(),
                model: Some(String::new()),
                ..Default::default()
            }))
        };
        assert_eq!(judge(" null "), ["model", "input"]);
    }

    #[test]
    fn messages_are_named_by_their_place() {
        let mut request = valid();
        if let Some(Input::Chat(chat)) = &mut request.input {
            chat.messages.push(Message { role: "robot".into(), ..Message::default() });
            chat.messages.push(Message {
                role: "tool".into(),
                content: Some(Content::Text("42".into())),
                ..Message::default()
            });
        }
        assert_eq!(fields(&request), ["messages[1].role", "messages[1].content", "messages[2].tool_call_id"]);
    }

    #[test]
    fn unknown_members_are_bounded() {
        let mut request = valid();
        request.extensions = vec![crate::inference::v1::Extension::default(); EXTENSIONS_MAX];
        assert!(fields(&request).is_empty());
        request.extensions.push(crate::inference::v1::Extension { name: "x".repeat(100), json: "1".into() });
        assert_eq!(fields(&request), ["x".repeat(64)]);
    }

    #[test]
    fn reports_are_bounded() {
        let mut request = valid();
        request.input = Some(Input::Chat(ChatInput { messages: vec![Message::default(); 10_000] }));
        assert_eq!(fields(&request).len(), VIOLATIONS_MAX);
    }
}
