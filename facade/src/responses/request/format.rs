//! How the answer is to be: the form of its text, and how much thought goes before it.

use bytes::{BufMut as _, BytesMut};
use penstock_proto::{Violation, inference::v1::Extension};

use super::unknown;
use crate::json::{
    object::{One, object},
    value::{Flag, Json, Text},
    write::{extensions, key, optional, raw, value},
};

/// The member `text`.
#[derive(Clone, Debug, Default)]
pub(crate) struct TextOptions {
    format: Option<TextFormat>,
    verbosity: Option<String>,
    extensions: Vec<Extension>,
}

object!(TextOptions {
    "format" => format: One::new(),
    "verbosity" => verbosity: Text,
});

/// The form of the text.
#[derive(Clone, Debug, Default)]
pub(crate) struct TextFormat {
    r#type: Option<String>,
    name: Option<String>,
    description: Option<String>,
    schema: Option<String>,
    strict: Option<bool>,
    extensions: Vec<Extension>,
}

object!(TextFormat {
    "type" => r#type: Text,
    "name" => name: Text,
    "description" => description: Text,
    "schema" => schema: Json::OBJECT,
    "strict" => strict: Flag,
});

/// The member `reasoning`.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReasoningOptions {
    effort: Option<String>,
    summary: Option<String>,
    generate_summary: Option<String>,
    extensions: Vec<Extension>,
}

object!(ReasoningOptions {
    "effort" => effort: Text,
    "summary" => summary: Text,
    "generate_summary" => generate_summary: Text,
});

impl TextOptions {
    /// As chat's `response_format` and verbosity.
    pub(super) fn told(self, found: &mut Vec<Violation>) -> (Option<String>, Option<String>) {
        unknown("text", &self.extensions, found);
        (self.format.and_then(TextFormat::told), self.verbosity)
    }
}

impl TextFormat {
    /// As chat's `response_format`: there the schema stands in an object of its own. Text is what comes anyway.
    fn told(self) -> Option<String> {
        let kind = self.r#type.as_deref();
        if kind == Some("text") {
            return None;
        }
        let mut out = BytesMut::from("{");
        optional(&mut out, "\"type\":", kind);
        if kind == Some("json_schema") {
            key(&mut out, "\"json_schema\":{");
        }
        optional(&mut out, "\"name\":", self.name.as_deref());
        optional(&mut out, "\"description\":", self.description.as_deref());
        if let Some(schema) = &self.schema {
            key(&mut out, "\"schema\":");
            raw(&mut out, schema);
        }
        if let Some(strict) = self.strict {
            key(&mut out, "\"strict\":");
            value(&mut out, &strict);
        }
        extensions(&mut out, &self.extensions, &[]);
        out.put_slice(if kind == Some("json_schema") { b"}}" } else { b"}" });
        Some(String::from_utf8_lossy(&out).into_owned())
    }
}

impl ReasoningOptions {
    /// As chat's `reasoning_effort`. A summary is what the engine tells of its reasoning, however long.
    pub(super) fn told(self, found: &mut Vec<Violation>) -> Option<String> {
        unknown("reasoning", &self.extensions, found);
        for (field, word) in
            [("reasoning.summary", &self.summary), ("reasoning.generate_summary", &self.generate_summary)]
        {
            if word.as_deref().is_some_and(|word| !matches!(word, "auto" | "concise" | "detailed")) {
                found.push(Violation::new(field, "must be one of auto, concise, detailed"));
            }
        }
        self.effort
    }
}
