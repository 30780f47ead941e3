//! What a chat and a prompt have in common: how to sample, to think and to write, and how long the model stays.

use penstock_proto::{
    Violation,
    inference::v1::{GenerateRequest, StreamOptions},
    validate,
};
use serde_json::Value;

use super::{
    field,
    options::{Options, extend},
};
use crate::{error::VIOLATIONS_MAX, json::object::foreign};

/// Members of a request, as they came.
#[derive(Debug, Default)]
pub(super) struct Terms {
    pub(super) stream: Option<bool>,
    pub(super) options: Option<Options>,
    pub(super) format: Option<String>,
    pub(super) think: Option<String>,
    pub(super) keep_alive: Option<String>,
    pub(super) truncate: Option<bool>,
    pub(super) shift: Option<bool>,
}

impl Terms {
    /// Puts them into a request, whose extensions are those members that nobody knows.
    pub(super) fn put(self, request: &mut GenerateRequest, found: &mut Vec<Violation>) {
        let unknown = std::mem::take(&mut request.extensions);
        for name in foreign::<GenerateRequest>(&unknown) {
            let message = format!("was given as `{name}`, which is no member of a request in this API");
            found.push(Violation::new(field(name.to_owned()), message));
        }
        request.stream = self.stream.unwrap_or(true);
        // The last line has the counts.
        request.stream_options =
            request.stream.then(|| StreamOptions { include_usage: Some(true), ..StreamOptions::default() });
        self.options.unwrap_or_default().put(request);
        match self.format.as_deref().map(response_format).transpose() {
            Ok(format) => request.response_format_json = format.flatten(),
            Err(message) => found.push(Violation::new("format", message)),
        }
        match self.think.as_deref().map(effort).transpose() {
            Ok(effort) => request.reasoning_effort = effort.map(str::to_owned),
            Err(message) => found.push(Violation::new("think", message)),
        }
        extend(&mut request.extensions, "keep_alive", self.keep_alive);
        extend(&mut request.extensions, "truncate", self.truncate.map(|flag| flag.to_string()));
        extend(&mut request.extensions, "shift", self.shift.map(|flag| flag.to_string()));
        request.extensions.extend(unknown);
    }
}

/// `format` as OpenAI has it. An empty string, which clients send for none, is none.
fn response_format(json: &str) -> Result<Option<String>, &'static str> {
    match serde_json::from_str(json) {
        Ok(Value::String(word)) if word.is_empty() => Ok(None),
        Ok(Value::String(word)) if word == "json" => Ok(Some(r#"{"type":"json_object"}"#.to_owned())),
        Ok(Value::Object(_)) => {
            Ok(Some(format!(r#"{{"type":"json_schema","json_schema":{{"name":"format","schema":{json}}}}}"#)))
        }
        _ => Err("must be \"json\" or a JSON schema"),
    }
}

/// `think` as an effort.
fn effort(json: &str) -> Result<&'static str, &'static str> {
    match json {
        "false" => Ok("none"),
        "true" | r#""medium""# => Ok("medium"),
        r#""low""# => Ok("low"),
        r#""high""# => Ok("high"),
        _ => Err("must be true, false, \"low\", \"medium\" or \"high\""),
    }
}

/// What was found wrong with a request, and what the whole mesh will say of the rest of it.
pub(super) fn judge(request: &GenerateRequest, mut found: Vec<Violation>) -> Vec<Violation> {
    found.truncate(VIOLATIONS_MAX);
    for violation in validate::generate_request(request) {
        let violation = Violation { field: field(violation.field), ..violation };
        if !found.iter().any(|known| violation.field.starts_with(&known.field)) {
            found.push(violation);
        }
    }
    found
}
