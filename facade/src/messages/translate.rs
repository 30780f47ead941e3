//! What a request of Anthropic's API means in the words of the contract. What cannot be said in them is refused with
//! its place; what the mesh finds wrong besides is told under the names that the request has.

use penstock_proto::{
    Violation,
    inference::v1::{ChatInput, GenerateRequest, StreamOptions, generate_request::Input},
    validate,
};

use super::{conversation::conversation, field, options, places::Places, request::MessagesRequest};
use crate::{
    error::{Error, VIOLATIONS_MAX},
    json::read,
};

/// What was found wrong so far.
#[derive(Debug, Default)]
pub(super) struct Found(Vec<Violation>);

impl Found {
    pub(super) fn add(&mut self, field: impl Into<String>, message: impl Into<String>) {
        if self.0.len() < VIOLATIONS_MAX {
            self.0.push(Violation::new(field, message));
        }
    }
}

/// A request in the words of the contract, and where its parts stood in the body.
#[derive(Debug)]
pub(crate) struct Translated {
    pub(crate) request: GenerateRequest,
    pub(crate) places: Places,
}

/// Reads a request for an answer.
///
/// # Errors
/// Those of [`read::read`], and all that cannot be said in the words of the contract.
pub(crate) fn read(body: &[u8]) -> Result<Translated, Error> {
    finish(read::read(body, |body: &MessagesRequest| judge(body.clone(), true))?, true)
}

/// Reads a request whose tokens are to be counted: nothing bounds an answer then.
///
/// # Errors
/// As [`read`].
pub(crate) fn read_to_count(body: &[u8]) -> Result<Translated, Error> {
    finish(read::read(body, |body: &MessagesRequest| judge(body.clone(), false))?, false)
}

fn finish(body: MessagesRequest, answered: bool) -> Result<Translated, Error> {
    let mut found = Found::default();
    let translated = translate(body, answered, &mut found);
    if found.0.is_empty() {
        return Ok(translated);
    }
    Err(Error::Invalid(with_the_meshs(found, &translated)))
}

fn judge(body: MessagesRequest, answered: bool) -> Vec<Violation> {
    let mut found = Found::default();
    let translated = translate(body, answered, &mut found);
    with_the_meshs(found, &translated)
}

/// Adds what the mesh will find, less what follows from what was found here.
fn with_the_meshs(found: Found, translated: &Translated) -> Vec<Violation> {
    let mut all = found.0;
    for mut violation in validate::generate_request(&translated.request) {
        violation.field = field(translated.places.of(&violation.field));
        let known = |known: &Violation| {
            violation.field.starts_with(&known.field) || known.field.starts_with(&violation.field)
        };
        if !all.iter().any(known) {
            all.push(violation);
        }
    }
    all
}

fn translate(body: MessagesRequest, answered: bool, found: &mut Found) -> Translated {
    if answered && body.max_tokens.is_none() {
        found.add("max_tokens", "is required");
    }
    if body.temperature.is_some_and(|temperature| !(0.0..=1.0).contains(&temperature)) {
        found.add("temperature", "must be from 0 to 1");
    }
    options::refuse_services(&body, found);
    options::refuse_chats(&body, found);
    let mut request = GenerateRequest {
        tools: options::tools(&body.tools, found),
        tool_choice_json: options::tool_choice(body.tool_choice.as_ref(), found),
        parallel_tool_calls: options::parallel(body.tool_choice.as_ref()),
        response_format_json: options::response_format(&body, found),
        reasoning_effort: options::effort(&body, found),
        service_tier: options::service_tier(body.service_tier.as_deref(), found),
        model: body.model,
        stream: body.stream && answered,
        stream_options: (body.stream && answered)
            .then(|| StreamOptions { include_usage: Some(true), ..StreamOptions::default() }),
        temperature: body.temperature,
        top_p: body.top_p,
        max_completion_tokens: body.max_tokens,
        stop: options::stop(body.stop_sequences),
        user: body.metadata.and_then(|labels| labels.user_id),
        extensions: body.extensions,
        ..GenerateRequest::default()
    };
    request.extensions.extend(body.thinking.as_ref().map(options::thinking));
    let (messages, places) = conversation(body.system, body.messages, found);
    request.input = messages.map(|messages| Input::Chat(ChatInput { messages }));
    request.optional_extensions = options::optional(&request);
    Translated { request, places }
}

#[cfg(test)]
mod tests;
