//! What the simulated engine says to a request: words that come one by one. Its own words are its tokens, so that
//! its usage is exact. It says what it is wherever there is room for it.

use penstock_proto::{
    Violation,
    inference::v1::{
        Choice, Delta, FunctionCall, GenerateChunk, GenerateRequest, Message, Prompt, StopSequences, Tool,
        ToolCall, Usage, generate_request::Input, message::Content, prompt, stop_sequences::Kind,
    },
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{WHAT_IT_IS, luck::Numbers, schema};
use crate::error::Error;

/// Characters of the last message that are repeated: enough to see that it came through.
const REPEATED_MAX_CHARS: usize = 500;
/// Choices that are made at most, as many as a request may ask for.
const CHOICES_MAX: i64 = 128;
/// Bytes of a fragment of a call's arguments.
const FRAGMENT_BYTES: usize = 8;
/// What an answer goes on with until it is as long as it is to be.
const FILLER: [&str; 8] = ["the ", "gate ", "lets ", "water ", "through ", "to ", "every ", "wheel "];

/// What is to be said: for each prompt, `n` times the same.
#[derive(Debug, PartialEq)]
pub(super) struct Script {
    parts: Vec<Part>,
    n: i64,
    prompt_tokens: i64,
}

/// What is said to one prompt.
#[derive(Debug, PartialEq)]
struct Part {
    words: Vec<String>,
    /// The words are the arguments of a call of this function.
    calls: Option<String>,
    finish_reason: &'static str,
}

impl Script {
    /// `length`: words of a text, if it is not to end by itself.
    pub(super) fn of(
        request: &GenerateRequest,
        length: Option<(u64, u64)>,
        numbers: &mut Numbers,
    ) -> Result<Self, Error> {
        refuse(request)?;
        let parts = match &request.input {
            Some(Input::Text(text)) => {
                let prompts = text.prompt.as_ref().map(prompts).unwrap_or_default();
                let echo = text.echo.unwrap_or(false);
                let part = |(prompt, _): (String, usize)| {
                    let before = if echo { prompt.as_str() } else { "" };
                    spoken(request, before, &prompt, length, numbers)
                };
                prompts.into_iter().map(part).collect()
            }
            Some(Input::Chat(chat)) => vec![answer(request, &chat.messages, length, numbers)],
            None => Vec::new(),
        };
        Ok(Self {
            parts,
            n: request.n.unwrap_or(1).clamp(1, CHOICES_MAX),
            prompt_tokens: prompt_tokens(request),
        })
    }

    /// Words of the longest choice.
    pub(super) fn len(&self) -> usize {
        self.parts.iter().map(|part| part.words.len()).max().unwrap_or(0)
    }

    /// The word of that number of every choice that has it.
    pub(super) fn word(&self, at: usize) -> Vec<GenerateChunk> {
        self.each(|part| {
            let delta = part.delta(at, part.words.get(at)?.clone());
            Some((delta, None))
        })
    }

    /// The ends of choices that have so many words.
    pub(super) fn ends(&self, words: usize) -> Vec<GenerateChunk> {
        self.each(|part| (part.words.len() == words).then(|| (Delta::default(), Some(part.finish_reason))))
    }

    /// All of it, in one chunk.
    pub(super) fn whole(&self) -> GenerateChunk {
        let chunks = self.each(|part| Some((part.delta(0, part.words.concat()), Some(part.finish_reason))));
        let choices = chunks.into_iter().flat_map(|chunk| chunk.choices).collect();
        GenerateChunk { choices, ..said() }
    }

    /// The usage, in a chunk of its own.
    pub(super) fn usage(&self) -> GenerateChunk {
        let count = |words: usize| i64::try_from(words).unwrap_or(i64::MAX);
        let words = self.parts.iter().map(|part| part.words.len()).sum();
        let (prompt_tokens, completion_tokens) = (self.prompt_tokens, count(words).saturating_mul(self.n));
        let total_tokens = prompt_tokens.saturating_add(completion_tokens);
        let usage = Usage { prompt_tokens, completion_tokens, total_tokens, ..Usage::default() };
        GenerateChunk { usage: Some(usage), ..said() }
    }

    fn each(&self, say: impl Fn(&Part) -> Option<(Delta, Option<&'static str>)>) -> Vec<GenerateChunk> {
        let mut chunks = Vec::new();
        for (at, part) in (0_i64..).zip(&self.parts) {
            let Some((delta, finish_reason)) = say(part) else { continue };
            for index in at * self.n..(at + 1) * self.n {
                let finish_reason = finish_reason.map(str::to_owned);
                let choice = Choice { index, delta: Some(delta.clone()), finish_reason, ..Choice::default() };
                chunks.push(GenerateChunk { choices: vec![choice], ..said() });
            }
        }
        chunks
    }
}

impl Part {
    fn delta(&self, at: usize, text: String) -> Delta {
        let Some(name) = &self.calls else { return Delta { content: Some(text), ..Delta::default() } };
        let name = (at == 0).then(|| name.clone());
        let function = FunctionCall { name, arguments: Some(text), ..FunctionCall::default() };
        let call = ToolCall { index: Some(0), function: Some(function), ..ToolCall::default() };
        Delta { tool_calls: vec![call], ..Delta::default() }
    }
}

/// A chunk that says who made it.
fn said() -> GenerateChunk {
    GenerateChunk { system_fingerprint: Some("penstock-simulated".to_owned()), ..GenerateChunk::default() }
}

/// Tokens of what is read.
pub(super) fn prompt_tokens(request: &GenerateRequest) -> i64 {
    let words = match &request.input {
        Some(Input::Text(text)) => {
            text.prompt.as_ref().map(prompts).unwrap_or_default().iter().map(|(_, tokens)| tokens).sum()
        }
        Some(Input::Chat(chat)) => chat.messages.iter().map(words_of).sum(),
        None => 0,
    };
    // A prompt without a word is something that was read all the same.
    i64::try_from(words.max(1)).unwrap_or(i64::MAX)
}

/// It makes no probabilities up.
fn refuse(request: &GenerateRequest) -> Result<(), Error> {
    let of_text = matches!(&request.input, Some(Input::Text(text)) if text.logprobs.is_some());
    if request.logprobs == Some(true) || of_text {
        return Err(Error::Unsupported(vec![Violation::new("logprobs", "the simulated engine has none")]));
    }
    Ok(())
}

/// Texts to continue, and the tokens of each.
fn prompts(prompt: &Prompt) -> Vec<(String, usize)> {
    let text = |text: &String| (text.clone(), text.split_whitespace().count());
    let tokens = |count: usize| (format!("{count} tokens"), count);
    match &prompt.kind {
        Some(prompt::Kind::Text(one)) => vec![text(one)],
        Some(prompt::Kind::Texts(texts)) => texts.values.iter().map(text).collect(),
        Some(prompt::Kind::Tokens(list)) => vec![tokens(list.values.len())],
        Some(prompt::Kind::TokenLists(lists)) => {
            lists.values.iter().map(|list| tokens(list.values.len())).collect()
        }
        None => Vec::new(),
    }
}

fn answer(
    request: &GenerateRequest,
    messages: &[Message],
    length: Option<(u64, u64)>,
    numbers: &mut Numbers,
) -> Part {
    if let Some((name, arguments)) = call(request) {
        return Part { words: fragments(&arguments), calls: Some(name), finish_reason: "tool_calls" };
    }
    if let Some(json) = format(request) {
        return cut(request, Part { words: fragments(&json), calls: None, finish_reason: "stop" });
    }
    let last = messages.iter().rev().find(|message| message.role == "user");
    spoken(request, "", &last.map(text_of).unwrap_or_default(), length, numbers)
}

/// `before`, then what it is and what it was told, or as many words as there are to be.
fn spoken(
    request: &GenerateRequest,
    before: &str,
    told: &str,
    length: Option<(u64, u64)>,
    numbers: &mut Numbers,
) -> Part {
    let told: String = told.chars().take(REPEATED_MAX_CHARS).collect();
    let text = format!("{before}{WHAT_IT_IS} You said: {told}");
    let mut words: Vec<String> = text.split_inclusive(' ').map(str::to_owned).collect();
    if let Some((from, to)) = length {
        let length = usize::try_from(numbers.within(from, to)).unwrap_or(usize::MAX);
        if let Some(last) = words.last_mut().filter(|word| !word.ends_with(' ')) {
            last.push(' ');
        }
        let filler = FILLER.into_iter().cycle().map(str::to_owned);
        words = words.into_iter().chain(filler).take(length).collect();
    }
    stopped(&mut words, request.stop.as_ref());
    cut(request, Part { words, calls: None, finish_reason: "stop" })
}

/// A part with as many words as the request allows.
fn cut(request: &GenerateRequest, mut part: Part) -> Part {
    let most = request.max_completion_tokens.or(request.max_tokens).unwrap_or(i64::MAX);
    let most = usize::try_from(most).unwrap_or(0);
    if part.words.len() > most {
        part.words.truncate(most);
        part.finish_reason = "length";
    }
    part
}

/// Words up to the first stop sequence.
fn stopped(words: &mut Vec<String>, stop: Option<&StopSequences>) {
    let stops = match stop.and_then(|stop| stop.kind.as_ref()) {
        Some(Kind::Text(text)) => std::slice::from_ref(text),
        Some(Kind::List(list)) => list.values.as_slice(),
        None => return,
    };
    let mut text = words.concat();
    let first =
        stops.iter().filter(|stop| !stop.is_empty()).filter_map(|stop| text.find(stop.as_str())).min();
    if let Some(at) = first {
        text.truncate(at);
        *words = text.split_inclusive(' ').map(str::to_owned).collect();
    }
}

/// The call that a request demands: the function's name and arguments that its schema allows.
fn call(request: &GenerateRequest) -> Option<(String, String)> {
    #[derive(Deserialize)]
    struct Named {
        name: String,
    }
    #[derive(Deserialize)]
    struct Allowed {
        mode: String,
        tools: Vec<Choice>,
    }
    #[derive(Deserialize)]
    struct Choice {
        function: Option<Named>,
        allowed_tools: Option<Allowed>,
    }
    let json = request.tool_choice_json.as_deref()?;
    let functions = || request.tools.iter().filter_map(|tool: &Tool| tool.function.as_ref());
    let function = if json.trim() == r#""required""# {
        functions().next()?
    } else {
        let choice: Choice = serde_json::from_str(json).ok()?;
        let allowed = choice.allowed_tools.filter(|allowed| allowed.mode == "required");
        let allowed = allowed.and_then(|allowed| allowed.tools.into_iter().find_map(|tool| tool.function));
        let name = choice.function.or(allowed)?.name;
        functions().find(|function| function.name == name)?
    };
    let schema =
        function.parameters_json.as_deref().and_then(|json| serde_json::from_str::<Value>(json).ok());
    let arguments = schema.map_or_else(|| json!({}), |schema| schema::instance(&schema));
    let arguments = if arguments.is_object() { arguments } else { json!({}) };
    Some((function.name.clone(), arguments.to_string()))
}

/// The JSON that a request demands.
fn format(request: &GenerateRequest) -> Option<String> {
    let format: Value = serde_json::from_str(request.response_format_json.as_deref()?).ok()?;
    match format.get("type")?.as_str()? {
        "json_object" => Some(json!({ "simulated": WHAT_IT_IS }).to_string()),
        "json_schema" => {
            let schema = format.pointer("/json_schema/schema").cloned().unwrap_or_else(|| json!({}));
            Some(schema::instance(&schema).to_string())
        }
        _ => None,
    }
}

/// A text in pieces of some bytes.
fn fragments(text: &str) -> Vec<String> {
    let mut fragments: Vec<String> = Vec::new();
    for character in text.chars() {
        match fragments.last_mut() {
            Some(last) if last.len() < FRAGMENT_BYTES => last.push(character),
            _ => fragments.push(character.to_string()),
        }
    }
    fragments
}

fn text_of(message: &Message) -> String {
    match &message.content {
        Some(Content::Text(text)) => text.clone(),
        Some(Content::Parts(parts)) => {
            parts.parts.iter().filter_map(|part| part.text.as_deref()).collect::<Vec<_>>().join(" ")
        }
        None => String::new(),
    }
}

fn words_of(message: &Message) -> usize {
    text_of(message).split_whitespace().count()
}
