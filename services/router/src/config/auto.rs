//! What `auto` means: `[auto]`.

use penstock_chassis::config::{Document, Section};

use super::{pattern::Pattern, routing::ModelConfig};

/// Which models requests for `auto` go to, and what makes a request more than a simple one.
#[derive(Clone, Debug, PartialEq)]
pub struct AutoConfig {
    /// For simple requests.
    pub simple: String,
    /// For those in between.
    pub medium: String,
    /// For complex ones.
    pub complex: String,
    /// Tokens of the prompt from which a request is at least medium.
    pub medium_tokens: u64,
    /// Tokens of the prompt from which it is complex.
    pub complex_tokens: u64,
    /// Messages from which it is at least medium.
    pub medium_messages: usize,
    /// Messages from which it is complex.
    pub complex_messages: usize,
    /// Tools from which it is complex; with any it is at least medium.
    pub complex_tools: usize,
    /// Words in the last message of the user that make it complex, in lower case.
    pub complex_keywords: Vec<String>,
    /// Words that make it at least medium.
    pub medium_keywords: Vec<String>,
    /// Words by which it is simple, although it is long.
    pub simple_keywords: Vec<String>,
}

impl Default for AutoConfig {
    fn default() -> Self {
        let words = |words: &[&str]| words.iter().map(ToString::to_string).collect();
        Self {
            simple: String::new(),
            medium: String::new(),
            complex: String::new(),
            // A page or two, and a small book: what small models lose track of.
            medium_tokens: 1000,
            complex_tokens: 8000,
            medium_messages: 8,
            complex_messages: 30,
            complex_tools: 8,
            complex_keywords: words(&[
                "prove",
                "derive",
                "step by step",
                "architecture",
                "refactor",
                "optimize",
                "trade-offs",
                "root cause",
            ]),
            medium_keywords: words(&[
                "explain",
                "compare",
                "analyze",
                "debug",
                "implement",
                "review",
                "plan",
            ]),
            simple_keywords: words(&["translate", "summarize", "spell", "rephrase", "extract"]),
        }
    }
}

/// `None`: there is no `[auto]`. `may_be_found`: its models need not be configured ones.
pub(super) fn read(
    document: &mut Document,
    models: &[ModelConfig],
    may_be_found: bool,
) -> Option<AutoConfig> {
    let mut section = document.optional_section("auto")?;
    let default = AutoConfig::default();
    let is_there = |name: &str| {
        let names = models.iter().flat_map(|model| std::iter::once(&model.name).chain(&model.aliases));
        let mut names = names.filter(|other| !other.is_empty());
        names.any(|other| other == name || Pattern::of(other).is_some_and(|other| other.star(name).is_some()))
    };
    let model = |section: &mut Section, key: &str| {
        let name = section.required_string(key);
        if !name.is_empty() && !may_be_found && !is_there(&name) {
            section.mistake(key, format!("\"{name}\" is not the name of a model"));
        }
        name
    };
    let (simple, medium, complex) =
        (model(&mut section, "simple"), model(&mut section, "medium"), model(&mut section, "complex"));
    let words = |section: &mut Section, key: &str, default: Vec<String>| {
        if !section.has(key) {
            return default;
        }
        let words: Vec<String> = section.strings(key).iter().map(|word| word.trim().to_lowercase()).collect();
        if words.iter().any(String::is_empty) {
            section.mistake(key, "must not have an empty word");
        }
        words
    };
    let config = AutoConfig {
        simple,
        medium,
        complex,
        complex_keywords: words(&mut section, "complex_keywords", default.complex_keywords),
        medium_keywords: words(&mut section, "medium_keywords", default.medium_keywords),
        simple_keywords: words(&mut section, "simple_keywords", default.simple_keywords),
        medium_tokens: section.integer("medium_tokens", default.medium_tokens, 1..=100_000_000),
        complex_tokens: section.integer("complex_tokens", default.complex_tokens, 1..=100_000_000),
        medium_messages: count(&mut section, "medium_messages", default.medium_messages),
        complex_messages: count(&mut section, "complex_messages", default.complex_messages),
        complex_tools: count(&mut section, "complex_tools", default.complex_tools),
    };
    if config.complex_tokens < config.medium_tokens {
        section.mistake("complex_tokens", "must not be less than medium_tokens");
    }
    if config.complex_messages < config.medium_messages {
        section.mistake("complex_messages", "must not be less than medium_messages");
    }
    Some(config)
}

fn count(section: &mut Section, key: &str, default: usize) -> usize {
    usize::try_from(section.integer(key, default as u64, 1..=100_000)).unwrap_or(default)
}
