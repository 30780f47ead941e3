//! A response as JSON, in one pass into a buffer: one that has just been made, one that is kept, one that goes on.

use bytes::{BufMut as _, BytesMut};
use penstock_proto::{
    Reason,
    inference::v1::{GenerateChunk, ResponseTerms, Usage},
};
use serde::Deserialize;

use super::{
    echo::{self, Echo},
    output::{self, COMPLETED, INCOMPLETE},
};
use crate::{
    error::Error,
    json::write::{key, nullable, value},
};

/// How far a response is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Queued,
    InProgress,
    /// Whole; whether a bound cut it short, its finish reason tells.
    Completed,
    Failed,
    Cancelled,
}

/// A response as it is shown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shown<'a> {
    pub(crate) id: &'a str,
    /// Unix seconds.
    pub(crate) created: i64,
    /// Unix seconds. `None`: it goes on, or came to nothing.
    pub(crate) completed: Option<i64>,
    pub(crate) status: Status,
    /// The name of the model, if there is no answer that says it.
    pub(crate) model: &'a str,
    pub(crate) terms: &'a ResponseTerms,
    /// The whole answer.
    pub(crate) answer: Option<&'a GenerateChunk>,
    /// What went wrong: a code of [`failure_code`] and what is told of it.
    pub(crate) error: Option<(&'a str, &'a str)>,
    /// Whether nobody waits for it.
    pub(crate) background: bool,
}

/// Writes a response.
///
/// # Errors
/// The answer has what this API cannot say.
pub(crate) fn write(shown: &Shown<'_>, out: &mut BytesMut) -> Result<(), Error> {
    let request_json = shown.terms.request_json.as_deref();
    let summary = Echo::read(request_json.unwrap_or("{}")).asks_for_summary();
    let echo = echo::written(request_json, shown.terms.previous_response_id.as_deref());
    // No other is asked for.
    let choice = shown.answer.and_then(|answer| answer.choices.iter().find(|choice| choice.index == 0));
    let finish = choice.and_then(|choice| choice.finish_reason.as_deref());
    let items = match choice {
        Some(choice) => output::of_choice(choice, shown.id).ok_or(Error::NotWhole)?,
        None => Vec::new(),
    };
    let head = Head {
        id: shown.id,
        created: shown.created,
        completed: shown.completed,
        status: shown.status,
        model: shown.answer.map_or(shown.model, |answer| &answer.model),
        service_tier: shown.answer.and_then(|answer| answer.service_tier.as_deref()),
        finish,
        error: shown.error,
        background: shown.background,
        echo: &echo,
    };
    head.write(out);
    output::write(&items, if cut(finish).is_some() { INCOMPLETE } else { COMPLETED }, summary, out);
    end(shown.answer.and_then(|answer| answer.usage.as_ref()), out);
    Ok(())
}

/// The members of a response before its output.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head<'a> {
    pub(super) id: &'a str,
    pub(super) created: i64,
    pub(super) completed: Option<i64>,
    pub(super) status: Status,
    pub(super) model: &'a str,
    pub(super) service_tier: Option<&'a str>,
    pub(super) finish: Option<&'a str>,
    pub(super) error: Option<(&'a str, &'a str)>,
    pub(super) background: bool,
    /// As [`echo::written`] writes it.
    pub(super) echo: &'a [u8],
}

impl Head<'_> {
    /// Writes the object up to its output, which must follow, and then [`end`].
    pub(super) fn write(&self, out: &mut BytesMut) {
        let cut = cut(self.finish).filter(|_| self.status == Status::Completed);
        out.put_slice(b"{\"id\":");
        value(out, self.id);
        key(out, "\"object\":\"response\",\"created_at\":");
        value(out, &self.created);
        key(out, "\"status\":");
        value(out, status(self.status, cut.is_some()));
        key(out, "\"background\":");
        value(out, &self.background);
        // One that was cut short did not complete.
        key(out, "\"completed_at\":");
        nullable(out, self.completed.filter(|_| cut.is_none()));
        key(out, "\"error\":");
        match self.error {
            Some((code, message)) => {
                out.put_slice(b"{\"code\":");
                value(out, code);
                key(out, "\"message\":");
                value(out, message);
                out.put_u8(b'}');
            }
            None => out.put_slice(b"null"),
        }
        key(out, "\"incomplete_details\":");
        match cut {
            Some(reason) => {
                out.put_slice(b"{\"reason\":");
                value(out, reason);
                out.put_u8(b'}');
            }
            None => out.put_slice(b"null"),
        }
        key(out, "\"model\":");
        value(out, self.model);
        key(out, "\"service_tier\":");
        nullable(out, self.service_tier);
        out.put_u8(b',');
        out.put_slice(self.echo);
        out.put_slice(b"\"output\":");
    }
}

/// Writes what comes after the output of a response.
pub(super) fn end(usage: Option<&Usage>, out: &mut BytesMut) {
    key(out, "\"usage\":");
    match usage {
        Some(usage) => write_usage(usage, out),
        None => out.put_slice(b"null"),
    }
    out.put_u8(b'}');
}

/// What cut an answer short that ended so.
pub(super) fn cut(finish_reason: Option<&str>) -> Option<&'static str> {
    match finish_reason {
        Some("length") => Some("max_output_tokens"),
        Some("content_filter") => Some("content_filter"),
        _ => None,
    }
}

fn status(status: Status, cut: bool) -> &'static str {
    match status {
        Status::Queued => "queued",
        Status::InProgress => "in_progress",
        Status::Completed if cut => "incomplete",
        Status::Completed => "completed",
        Status::Failed => "failed",
        Status::Cancelled => "cancelled",
    }
}

/// What OpenAI calls a failure of a response: it has two words that fit here.
pub(crate) fn failure_code(reason: Reason) -> &'static str {
    if reason.openai_type() == "rate_limit_error" { "rate_limit_exceeded" } else { "server_error" }
}

fn write_usage(usage: &Usage, out: &mut BytesMut) {
    let detail = |of: &str, name: &str| {
        let of = usage.extensions.iter().find(|extension| extension.name == of);
        of.and_then(|details| detail(&details.json, name)).unwrap_or_default()
    };
    out.put_slice(b"{\"input_tokens\":");
    value(out, &usage.prompt_tokens);
    key(out, "\"input_tokens_details\":{\"cached_tokens\":");
    value(out, &detail("prompt_tokens_details", "cached_tokens"));
    out.put_slice(b"},\"output_tokens\":");
    value(out, &usage.completion_tokens);
    key(out, "\"output_tokens_details\":{\"reasoning_tokens\":");
    value(out, &detail("completion_tokens_details", "reasoning_tokens"));
    out.put_slice(b"},\"total_tokens\":");
    value(out, &usage.total_tokens);
    if usage.estimated {
        out.put_slice(b",\"estimated\":true");
    }
    out.put_u8(b'}');
}

/// A count among the details of usage.
fn detail(json: &str, name: &str) -> Option<i64> {
    #[derive(Deserialize)]
    struct Details {
        #[serde(default)]
        cached_tokens: Option<i64>,
        #[serde(default)]
        reasoning_tokens: Option<i64>,
    }
    let details: Details = serde_json::from_str(json).ok()?;
    if name == "cached_tokens" { details.cached_tokens } else { details.reasoning_tokens }
}
