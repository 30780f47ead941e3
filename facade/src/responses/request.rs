//! A client's JSON read into a `GenerateRequest` and the items that it is to answer. What this API says otherwise
//! than chat completions is put into their words; what cannot be said in them is refused by name.

mod format;
mod refused;
mod tools;

use penstock_proto::{
    Violation,
    inference::v1::{
        ChatInput, Extension, GenerateRequest, Message, Metadata, ResponseTerms, StopSequences,
        StreamOptions, generate_request::Input, message::Content,
    },
    validate,
};

pub(crate) use self::{
    format::{ReasoningOptions, TextFormat, TextOptions},
    refused::INCLUDE,
    tools::{CustomFormat, InputTool},
};
use super::{
    echo, field,
    items::{
        Item,
        read::{InputItem, InputSeed, OneOrMany, items},
    },
};
use crate::{
    chat::request::{Pairs, Stop, Texts},
    error::{Error, VIOLATIONS_MAX},
    json::{
        object::{List, One, object},
        read,
        value::{Flag, Integer, Json, Number, OrDefault, Text},
    },
};

/// A request as it came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Body {
    model: String,
    input: Option<OneOrMany<InputItem>>,
    instructions: Option<String>,
    max_output_tokens: Option<i64>,
    temperature: Option<f64>,
    top_p: Option<f64>,
    top_logprobs: Option<i64>,
    include: Option<penstock_proto::inference::v1::TextList>,
    stream: bool,
    stream_options: Option<Obfuscation>,
    store: Option<bool>,
    metadata: Option<Metadata>,
    parallel_tool_calls: Option<bool>,
    tools: Vec<InputTool>,
    tool_choice: Option<String>,
    text: Option<TextOptions>,
    reasoning: Option<ReasoningOptions>,
    truncation: Option<String>,
    user: Option<String>,
    safety_identifier: Option<String>,
    prompt_cache_key: Option<String>,
    prompt_cache_retention: Option<String>,
    service_tier: Option<String>,
    max_tool_calls: Option<i64>,
    background: Option<bool>,
    previous_response_id: Option<String>,
    stop: Option<StopSequences>,
    seed: Option<i64>,
    presence_penalty: Option<f64>,
    frequency_penalty: Option<f64>,
    logit_bias: Option<String>,
    extensions: Vec<Extension>,
}

object!(Body {
    "model" => model: OrDefault(Text),
    "input" => input: InputSeed,
    "instructions" => instructions: Text,
    "max_output_tokens" => max_output_tokens: Integer,
    "temperature" => temperature: Number,
    "top_p" => top_p: Number,
    "top_logprobs" => top_logprobs: Integer,
    "include" => include: Texts,
    "stream" => stream: OrDefault(Flag),
    "stream_options" => stream_options: One::new(),
    "store" => store: Flag,
    "metadata" => metadata: Pairs,
    "parallel_tool_calls" => parallel_tool_calls: Flag,
    "tools" => tools: List::new(),
    "tool_choice" => tool_choice: Json::STRING_OR_OBJECT,
    "text" => text: One::new(),
    "reasoning" => reasoning: One::new(),
    "truncation" => truncation: Text,
    "user" => user: Text,
    "safety_identifier" => safety_identifier: Text,
    "prompt_cache_key" => prompt_cache_key: Text,
    "prompt_cache_retention" => prompt_cache_retention: Text,
    "service_tier" => service_tier: Text,
    "max_tool_calls" => max_tool_calls: Integer,
    "background" => background: Flag,
    "previous_response_id" => previous_response_id: Text,
    "stop" => stop: Stop,
    "seed" => seed: Integer,
    "presence_penalty" => presence_penalty: Number,
    "frequency_penalty" => frequency_penalty: Number,
    "logit_bias" => logit_bias: Json::OBJECT,
});

/// Options of a stream: nothing here pads it, and usage always comes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Obfuscation {
    include_obfuscation: Option<bool>,
    include_usage: Option<bool>,
    extensions: Vec<Extension>,
}

object!(Obfuscation {
    "include_obfuscation" => include_obfuscation: Flag,
    "include_usage" => include_usage: Flag,
});

/// What was asked.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// All but its input.
    pub(crate) request: GenerateRequest,
    /// What holds for this response alone: the first message.
    pub(crate) instructions: Option<Message>,
    /// What it is to answer; references are not found yet.
    pub(crate) items: Vec<Item>,
    pub(crate) previous_response_id: Option<String>,
    pub(crate) background: bool,
}

/// Reads a request.
///
/// # Errors
/// Those of [`read::read`], and [`Error::Invalid`] for what cannot be asked.
pub(crate) fn read(body: &[u8]) -> Result<Asked, Error> {
    let judge = |body: &Body| asked(body.clone()).err().unwrap_or_default();
    let mut asked = read::read(body, judge).and_then(|body| asked(body).map_err(Error::Invalid))?;
    if let Some(terms) = &mut asked.request.response {
        terms.request_json = echo::of_body(body);
    }
    Ok(asked)
}

fn asked(mut body: Body) -> Result<Asked, Vec<Violation>> {
    let mut found = refused::of(&mut body);
    let stream_options = stream_options(&body);
    let logprobs = asks_for_logprobs(&body);
    let instructions = body.instructions.map(|text| said("system", text));
    let items = match body.input {
        Some(input) => items(input, &mut found),
        None => {
            found.push(Violation::new("input", "is required"));
            Vec::new()
        }
    };
    let tools = tools::tools(body.tools, &mut found);
    let tool_choice_json = body.tool_choice.and_then(|json| tools::choice(&json, &mut found));
    let (response_format_json, verbosity) = body.text.map(|text| text.told(&mut found)).unwrap_or_default();
    let reasoning_effort = body.reasoning.and_then(|reasoning| reasoning.told(&mut found));
    let terms = ResponseTerms {
        previous_response_id: body.previous_response_id.clone(),
        has_instructions: instructions.is_some(),
        ..ResponseTerms::default()
    };
    let mut request = GenerateRequest {
        model: body.model,
        stream: body.stream,
        stream_options,
        temperature: body.temperature,
        top_p: body.top_p,
        max_completion_tokens: body.max_output_tokens,
        stop: body.stop,
        presence_penalty: body.presence_penalty,
        frequency_penalty: body.frequency_penalty,
        seed: body.seed,
        logprobs: logprobs.then_some(true),
        top_logprobs: body.top_logprobs.filter(|_| logprobs),
        logit_bias_json: body.logit_bias,
        user: body.user,
        // Responses are kept unless they are not to be.
        store: Some(body.store.unwrap_or(true)),
        metadata: body.metadata,
        tools,
        tool_choice_json,
        parallel_tool_calls: body.parallel_tool_calls,
        response_format_json,
        reasoning_effort,
        service_tier: body.service_tier,
        verbosity,
        prompt_cache_key: body.prompt_cache_key,
        safety_identifier: body.safety_identifier,
        response: Some(terms),
        extensions: body.extensions,
        ..GenerateRequest::default()
    };
    found.extend(judged(&mut request));
    if !found.is_empty() {
        found.truncate(VIOLATIONS_MAX);
        return Err(found);
    }
    let background = body.background == Some(true);
    Ok(Asked { request, instructions, items, previous_response_id: body.previous_response_id, background })
}

fn said(role: &str, text: String) -> Message {
    Message { role: role.to_owned(), content: Some(Content::Text(text)), ..Message::default() }
}

/// Usage always comes: the last event has it.
fn stream_options(body: &Body) -> Option<StreamOptions> {
    let extensions = body.stream_options.as_ref().map(|options| options.extensions.clone());
    let include_usage = body.stream.then_some(true);
    (body.stream || extensions.is_some())
        .then(|| StreamOptions { include_usage, extensions: extensions.unwrap_or_default() })
}

fn asks_for_logprobs(body: &Body) -> bool {
    let mut included = body.include.iter().flat_map(|list| &list.values);
    included.any(|word| word == "message.output_text.logprobs")
        || body.top_logprobs.is_some_and(|top| top != 0)
}

/// What the mesh says of a request, its input left out: that was judged item by item.
fn judged(request: &mut GenerateRequest) -> Vec<Violation> {
    request.input = Some(Input::Chat(ChatInput { messages: vec![said("user", String::new())] }));
    let mut violations = validate::generate_request(request);
    request.input = None;
    for violation in &mut violations {
        violation.field = field(std::mem::take(&mut violation.field));
    }
    violations
}

/// A member that does not exist: nothing here knows what it means, so it is not dropped in silence.
fn unknown(at: &str, extensions: &[Extension], found: &mut Vec<Violation>) {
    for extension in extensions.iter().take(VIOLATIONS_MAX) {
        let name: String = extension.name.chars().filter(|c| !c.is_control()).take(64).collect();
        found.push(Violation::new(format!("{at}.{name}"), "is not known here"));
    }
}

#[cfg(test)]
mod tests;
