//! A response as a stream of events: what it is at first, each item as it is said, and the whole response at last.
//! Nothing is written before an engine has begun to answer, so that a failure until then is still an HTTP error.

mod kept;
mod said;
mod sequence;

use bytes::{BufMut as _, BytesMut};
use penstock_proto::{
    Error,
    inference::v1::{Choice, GenerateChunk, ResponseTerms, Usage},
};
use prost::Message as _;

use self::{said::Said, sequence::Sequence};
use super::{
    answer::{self, Head, Status},
    echo::{self, Echo},
    id,
    output::{self, COMPLETED, INCOMPLETE},
};
use crate::{
    api::Api,
    json::write::{key, nullable, optional, value},
    stream::{EVENT_STREAM, Events, PING},
};

/// Bytes of an answer that are kept for its last event, which has all of it; one that has more is none.
const HELD_MAX_BYTES: usize = 64 << 20;

/// Writes the events of one response.
#[derive(Debug)]
pub(crate) struct Responses {
    /// What is said of the request in each object of the response.
    echo: BytesMut,
    /// Whether a summary of the reasoning was asked for.
    summary: bool,
    /// Gives Unix seconds.
    now: fn() -> i64,
    /// When it was whole, if that was before now.
    completed: Option<i64>,
    background: bool,
    sequence: Sequence,
    id: String,
    created: i64,
    model: String,
    service_tier: Option<String>,
    begun: bool,
    said: Said,
    held_bytes: usize,
    finish: Option<String>,
    usage: Option<Usage>,
}

impl Responses {
    /// For an answer of which nothing was written yet. `model`: its name, until the answer says one.
    pub(crate) fn new(terms: &ResponseTerms, model: &str, now: fn() -> i64) -> Self {
        let request_json = terms.request_json.as_deref();
        let summary = Echo::read(request_json.unwrap_or("{}")).asks_for_summary();
        Self {
            echo: echo::written(request_json, terms.previous_response_id.as_deref()),
            summary,
            now,
            completed: None,
            background: false,
            sequence: Sequence::default(),
            id: String::new(),
            created: 0,
            model: model.to_owned(),
            service_tier: None,
            begun: false,
            said: Said::default(),
            held_bytes: 0,
            finish: None,
            usage: None,
        }
    }

    /// The same for one that is kept: it was whole then, and perhaps nobody waited for it.
    pub(super) fn kept(self, completed: Option<i64>, background: bool) -> Self {
        Self { completed, background, ..self }
    }

    fn begin(&mut self, chunk: &GenerateChunk, out: &mut BytesMut) {
        self.begun = true;
        self.id = id(chunk);
        self.created = chunk.created;
        self.model.clone_from(&chunk.model);
        self.service_tier.clone_from(&chunk.service_tier);
        self.said = Said::new(&self.id, self.summary);
        for kind in ["response.created", "response.in_progress"] {
            self.lifecycle(kind, Status::InProgress, None, out);
        }
    }

    /// Writes an event that has the response as it is now.
    fn lifecycle(&mut self, kind: &str, status: Status, error: Option<(&str, &str)>, out: &mut BytesMut) {
        let whole = status == Status::Completed;
        let finish = self.finish.as_deref().filter(|_| whole);
        let head = Head {
            id: &self.id,
            created: self.created,
            completed: whole.then(|| self.completed.unwrap_or_else(self.now)),
            status,
            model: &self.model,
            service_tier: self.service_tier.as_deref(),
            finish,
            error,
            background: self.background,
            echo: &self.echo,
        };
        // What broke off is not shown: nobody is to take a piece for an item.
        let items = if whole { self.said.items() } else { Vec::new() };
        let last = last(finish);
        let usage = self.usage.as_ref().filter(|_| whole);
        self.sequence.event(kind, out, |out| {
            key(out, "\"response\":");
            head.write(out);
            output::write(&items, last, self.summary, out);
            answer::end(usage, out);
        });
    }

    fn choice(&mut self, choice: &Choice, out: &mut BytesMut) {
        let logprobs = choice.logprobs_json.as_deref().map(output::logprobs).unwrap_or_default();
        let (said, sequence) = (&mut self.said, &mut self.sequence);
        if let Some(delta) = &choice.delta {
            said.reasoning(delta.reasoning.as_deref().unwrap_or_default(), sequence, out);
            said.text(delta.content.as_deref().unwrap_or_default(), logprobs, sequence, out);
            said.refusal(delta.refusal.as_deref().unwrap_or_default(), sequence, out);
            for call in &delta.tool_calls {
                said.call(call, sequence, out);
            }
        } else {
            said.text("", logprobs, sequence, out);
        }
        if choice.finish_reason.is_some() {
            self.finish.clone_from(&choice.finish_reason);
        }
    }
}

/// The status of the last item of an answer that ended so.
fn last(finish: Option<&str>) -> &'static str {
    if answer::cut(finish).is_some() { INCOMPLETE } else { COMPLETED }
}

impl Events for Responses {
    const API: Api = Api::Responses;
    const CONTENT_TYPE: &'static str = EVENT_STREAM;

    fn write(&mut self, chunk: &GenerateChunk, out: &mut BytesMut) {
        if !self.begun {
            self.begin(chunk, out);
        }
        // No other is asked for.
        for choice in chunk.choices.iter().filter(|choice| choice.index == 0) {
            self.held_bytes += choice.encoded_len();
            if self.held_bytes > HELD_MAX_BYTES {
                self.said = Said::default();
                return;
            }
            self.choice(choice, out);
        }
        if chunk.usage.is_some() {
            self.usage.clone_from(&chunk.usage);
        }
        if chunk.service_tier.is_some() {
            self.service_tier.clone_from(&chunk.service_tier);
        }
    }

    fn end(&mut self, out: &mut BytesMut) -> bool {
        let fits = self.held_bytes <= HELD_MAX_BYTES;
        if !self.begun || self.finish.is_none() || !self.said.can_be_told() || !fits {
            return false;
        }
        let finish = self.finish.as_deref();
        self.said.close(last(finish), &mut self.sequence, out);
        let cut = answer::cut(finish).is_some();
        let kind = if cut { "response.incomplete" } else { "response.completed" };
        self.lifecycle(kind, Status::Completed, None, out);
        true
    }

    /// Writes the error as an event of its own, with which SDKs throw, and the response that failed.
    fn fail(&mut self, error: &Error, request_id: &str, out: &mut BytesMut) {
        let code = error.reason.openai_code().unwrap_or(error.reason.openai_type());
        let param = error.violations.first().map(|violation| &violation.field);
        let members = |out: &mut BytesMut| {
            key(out, "\"code\":");
            value(out, code);
            key(out, "\"message\":");
            value(out, &*error.message);
            key(out, "\"param\":");
            nullable(out, param);
        };
        self.sequence.event("error", out, |out| {
            members(out);
            // Once more as an object: Python's SDK looks for that.
            key(out, "\"error\":{\"type\":");
            value(out, error.reason.openai_type());
            members(out);
            optional(out, "\"request_id\":", Some(request_id));
            out.put_u8(b'}');
        });
        if !self.begun {
            self.id = id(&GenerateChunk::default());
            self.created = (self.now)();
        }
        let told = (answer::failure_code(error.reason), &*error.message);
        self.lifecycle("response.failed", Status::Failed, Some(told), out);
    }

    fn ping(&mut self, out: &mut BytesMut) {
        out.put_slice(PING);
    }
}

#[cfg(test)]
mod tests;
