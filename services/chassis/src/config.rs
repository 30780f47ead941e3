//! Configuration: defaults in code, then one TOML file, then the environment, then the command line. Every
//! service reads its own sections through [`Section`], which collects *every* mistake with its place instead
//! of stopping at the first. Nothing else in Penstock reads the environment.

mod document;
mod section;
mod told;
mod value;

use std::{fmt, io};

pub use document::{Document, Environment, changed_sections};
pub use section::Section;

/// A mistake in the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Where the value stands.
    pub origin: Origin,
    /// Dotted path of the key, such as `models[0].name`; empty if the file as a whole is meant.
    pub key: String,
    /// What is wrong and what would be right.
    pub message: String,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// This line of the file, counted from 1.
    Line(usize),
    /// This environment variable.
    Environment(String),
    /// This command line option.
    Option(&'static str),
    /// Nowhere: it is missing.
    Missing,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Line(line) => write!(f, "line {line}"),
            Origin::Environment(name) => write!(f, "environment variable {name}"),
            Origin::Option(name) => write!(f, "option {name}"),
            Origin::Missing => f.write_str("not in the file"),
        }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.key.is_empty() {
            write!(f, "{}: {}", self.origin, self.message)
        } else {
            write!(f, "{}: {}: {}", self.origin, self.key, self.message)
        }
    }
}

/// Every mistake that was found, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Mistakes(pub Vec<Mistake>);

impl Mistakes {
    /// One mistake of the whole, not of a key.
    pub fn one(message: impl Into<String>) -> Self {
        Self(vec![Mistake { origin: Origin::Missing, key: String::new(), message: message.into() }])
    }

    pub(crate) fn unreadable(error: &io::Error) -> Self {
        Self::one(format!("cannot read the file: {error}"))
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{mistake}")?;
        }
        Ok(())
    }
}
