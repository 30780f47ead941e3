//! An answer as one neutral thing, whichever API it came by.

use std::fmt;

use crate::{exact::Json, golden};

/// A whole answer, or what was heard of one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// The model that answers.
    pub model: String,
    /// The text.
    pub text: String,
    /// The text of a refusal.
    pub refusal: String,
    /// What it tells of its reasoning.
    pub reasoning: String,
    /// The calls of tools, in their order.
    pub calls: Vec<Called>,
    /// Why it ended.
    pub finish: Finish,
    /// What it used.
    pub usage: Option<Usage>,
}

/// A call of a tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Called {
    /// Its id, where the API has one.
    pub id: Option<String>,
    /// The tool.
    pub name: String,
    /// The arguments, read; of a custom tool, and where they are no JSON, a text.
    pub input: Json,
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Finish {
    /// It did not.
    #[default]
    Not,
    /// It was at its end.
    Stop,
    /// It was as long as it may be.
    Length,
    /// Tools are to be called.
    Calls,
    /// A filter ended it, or the model refused.
    Filter,
}

/// Tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Of the question, cached ones among them.
    pub input: i64,
    /// Of the answer.
    pub output: i64,
    /// Of the question, from a cache.
    pub cached: i64,
    /// Of the answer, for reasoning.
    pub reasoning: i64,
    /// Whether these are estimates.
    pub estimated: bool,
}

/// An error.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trouble {
    /// HTTP status; 200 in mid-stream.
    pub status: u16,
    /// The code of OpenAI's error, where the API has it.
    pub code: Option<String>,
    /// The type, where the API has one.
    pub kind: Option<String>,
    /// The message.
    pub message: String,
    /// Every field that is wrong, and why.
    pub fields: Vec<(String, String)>,
}

/// What a caller got: one of the three, or the reader panics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The whole answer.
    Whole(Said),
    /// An error with a status.
    Refused(Trouble),
    /// An answer that says that it broke, and how.
    Broken(Said, Trouble),
}

impl Said {
    /// The same without ids of calls that were made on the way, which differ each time.
    #[must_use]
    pub fn settled(mut self) -> Said {
        let ids = self.calls.iter_mut().filter_map(|call| call.id.as_mut());
        ids.filter(|id| golden::is_made(id)).for_each(|id| *id = "…".into());
        self
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Whole(said) => write!(f, "whole ({:?})", said.finish),
            Outcome::Refused(trouble) => write!(f, "{} {:?}", trouble.status, trouble.code),
            Outcome::Broken(_, trouble) => write!(f, "broken {:?} {:?}", trouble.kind, trouble.code),
        }
    }
}
