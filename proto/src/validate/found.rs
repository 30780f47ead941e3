//! The violations that were found so far, and the checks that many fields share. Paths are written only when
//! there is something to say.

use std::{
    fmt::{Display, Formatter, Result},
    ops::RangeInclusive,
};

use crate::Violation;

/// Longest model name, in bytes.
const MODEL_MAX_BYTES: usize = 256;
/// Longest name of a function or a schema, as OpenAI has it.
const NAME_MAX: usize = 64;
/// Violations reported at most: an answer must not grow with the number of mistakes.
pub(super) const VIOLATIONS_MAX: usize = 100;

#[derive(Default)]
pub(super) struct Found(Vec<Violation>);

impl Found {
    pub(super) fn violations(self) -> Vec<Violation> {
        self.0
    }

    pub(super) fn add(&mut self, field: impl Display, message: impl Into<String>) {
        if self.0.len() < VIOLATIONS_MAX {
            self.0.push(Violation::new(field.to_string(), message));
        }
    }

    pub(super) fn required(&mut self, field: impl Display, is_there: bool) {
        if !is_there {
            self.add(field, "is required");
        }
    }

    pub(super) fn range<T: PartialOrd + Display>(
        &mut self,
        field: impl Display,
        value: Option<T>,
        range: RangeInclusive<T>,
    ) {
        if value.is_some_and(|value| !range.contains(&value)) {
            self.add(field, format!("must be from {} to {}", range.start(), range.end()));
        }
    }

    pub(super) fn at_least(&mut self, field: impl Display, value: Option<i64>, least: i64) {
        if value.is_some_and(|value| value < least) {
            self.add(field, format!("must be at least {least}"));
        }
    }

    pub(super) fn one_of(&mut self, field: impl Display, word: &str, words: &[&str]) {
        if !words.contains(&word) {
            self.add(field, format!("must be one of {}", words.join(", ")));
        }
    }

    pub(super) fn chars(&mut self, field: impl Display, text: &str, most: usize) {
        // No text has more characters than bytes.
        if text.len() > most && text.chars().count() > most {
            self.add(field, format!("must have at most {most} characters"));
        }
    }

    /// The name of a function or a schema: the engine's grammar is made of it.
    pub(super) fn name(&mut self, field: impl Display, name: &str) {
        if name.is_empty() {
            self.add(field, "is required");
        } else if name.len() > NAME_MAX
            || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
        {
            self.add(field, format!("must be letters, digits, _ and -, at most {NAME_MAX} of them"));
        }
    }

    pub(super) fn model(&mut self, model: &str) {
        if model.is_empty() {
            self.add("model", "is required");
        } else if model.len() > MODEL_MAX_BYTES {
            self.add("model", format!("is longer than {MODEL_MAX_BYTES} bytes"));
        } else if model.chars().any(char::is_control) {
            self.add("model", "must not contain control characters");
        }
    }
}

/// A place in a list, such as `messages[3]`, and in what is below it.
#[derive(Clone, Copy)]
pub(super) struct Item<'a>(pub(super) &'a dyn Display, pub(super) usize);

impl Display for Item<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{}[{}]", self.0, self.1)
    }
}
