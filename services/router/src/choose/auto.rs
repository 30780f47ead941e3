//! `auto`: which model a request goes to by what it looks like. Simple rules, so that everybody can see why; long
//! prompts are measured, and only the last message is read, so far.

use penstock_proto::{Error, Reason, inference::v1::GenerateRequest, metadata::MAX_COST, router::v1::Match};

use super::{Asked, Decided, weigh};
use crate::{
    accounting::BYTES_PER_TOKEN,
    config::AutoConfig,
    decision::{Classification, Route},
    needs::Needs,
    principals::may_use,
    prompt,
    registry::Registry,
};

/// So many bytes of the last message are read at most.
const READ_MAX_BYTES: usize = 16 * 1024;

/// From the simplest to the most complex.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    Simple,
    Medium,
    Complex,
}

impl Class {
    fn name(self) -> &'static str {
        match self {
            Class::Simple => "simple",
            Class::Medium => "medium",
            Class::Complex => "complex",
        }
    }

    fn model(self, config: &AutoConfig) -> &str {
        match self {
            Class::Simple => &config.simple,
            Class::Medium => &config.medium,
            Class::Complex => &config.complex,
        }
    }

    /// The classes to try one after the other: more able ones first, or cheaper ones.
    fn order(self, cheaper_first: bool) -> [Class; 3] {
        match (self, cheaper_first) {
            (Class::Simple, _) => [Class::Simple, Class::Medium, Class::Complex],
            (Class::Medium, false) => [Class::Medium, Class::Complex, Class::Simple],
            (Class::Medium, true) => [Class::Medium, Class::Simple, Class::Complex],
            (Class::Complex, _) => [Class::Complex, Class::Medium, Class::Simple],
        }
    }
}

/// The model of the request's class; if that cannot be used, of the next class that can.
///
/// # Errors
/// The caller may use none of them, or they are not there.
pub(super) fn decide<'a>(
    registry: &'a Registry,
    asked: &Asked<'_>,
    config: &AutoConfig,
    request: &GenerateRequest,
) -> Result<Decided<'a>, Error> {
    let (class, mut reasons) = classify(config, request, asked.needs);
    let mut passed_over: Option<Decided<'a>> = None;
    let mut unusable = None;
    for class in class.order(asked.steering.max_cost.is_some()) {
        let name = class.model(config);
        let Some(model) = registry.resolve(name) else {
            reasons.push(format!("{}: the model `{name}` is not there", class.name()));
            continue;
        };
        if !may_use(asked.principal, asked.name, &model.name) {
            unusable = Some(Reason::ModelNotAllowed);
            reasons.push(format!("{}: the API key may not use its model", class.name()));
            continue;
        }
        let (route, mut decision) = weigh(registry, model, asked);
        decision.how = Match::Auto;
        let decided = Decided { model, route, decision };
        match why_not(&decided.route) {
            None => return Ok(classified(decided, class, reasons)),
            Some(why) => reasons.push(format!("{}: {why}", class.name())),
        }
        // Of those that all fail the first says best why.
        passed_over.get_or_insert(decided);
    }
    match (passed_over, unusable) {
        (Some(decided), _) => Ok(classified(decided, class, reasons)),
        (None, Some(reason)) => {
            Err(Error::new(reason, format!("the API key may not use the model `{}`", asked.name)))
        }
        (None, None) => {
            Err(Error::new(Reason::ModelNotFound, format!("no model is there for `{}`", asked.name)))
        }
    }
}

fn classified<'a>(mut decided: Decided<'a>, class: Class, reasons: Vec<String>) -> Decided<'a> {
    decided.decision.classification = Some(Classification { class: class.name(), reasons });
    decided
}

/// Why the request goes to another class. `None`: it need not.
fn why_not(route: &Result<Route, Error>) -> Option<&'static str> {
    match route {
        Ok(route) if route.candidates.iter().any(|one| !one.deployment.is_down()) => None,
        Ok(_) => Some("no deployment of its model works"),
        Err(error) => Some(match error.reason {
            Reason::CircuitOpen | Reason::ModelUnavailable => "no deployment of its model works",
            Reason::ContextLengthExceeded => "the prompt is too long for its model",
            _ if error.violations.iter().any(|violation| violation.field == MAX_COST) => {
                "its model costs too much"
            }
            _ => "its model cannot do what is asked",
        }),
    }
}

/// The class of a request, and what spoke for it.
fn classify(config: &AutoConfig, request: &GenerateRequest, needs: Needs) -> (Class, Vec<String>) {
    let mut found = Found { class: Class::Simple, reasons: Vec::new() };
    let tokens = (prompt::text_bytes(request) / BYTES_PER_TOKEN) as u64;
    let messages = prompt::messages(request);
    found.measure(tokens, config.medium_tokens, config.complex_tokens, "tokens");
    let count = messages.len() as u64;
    found.measure(count, config.medium_messages as u64, config.complex_messages as u64, "messages");
    let is_only_long = found.class > Class::Simple;

    let said = last_said(request);
    let is_read = |words: &[String]| words.iter().find(|word| has_word(&said, word)).cloned();
    let mut speaks = false;
    for (words, class) in
        [(&config.complex_keywords, Class::Complex), (&config.medium_keywords, Class::Medium)]
    {
        if let Some(word) = is_read(words) {
            found.raise(class, format!("the word `{word}`"));
            speaks = true;
        }
    }
    let tools = request.tools.len();
    if tools >= config.complex_tools {
        found.raise(Class::Complex, format!("{tools} tools"));
    }
    for (is_there, what) in [
        (tools > 0 && tools < config.complex_tools, format!("{tools} tools")),
        (needs.has(Needs::IMAGES), "an image".to_owned()),
        (needs.has(Needs::AUDIO), "sound".to_owned()),
        (needs.has(Needs::JSON_SCHEMA), "a JSON Schema".to_owned()),
        (said.contains("```"), "code".to_owned()),
    ] {
        if is_there {
            found.raise(Class::Medium, what);
            speaks = true;
        }
    }
    speaks |= tools >= config.complex_tools;
    // A long text that is only to be translated is no harder than a short one.
    if is_only_long
        && !speaks
        && let Some(word) = is_read(&config.simple_keywords)
    {
        found.class = if found.class == Class::Complex { Class::Medium } else { Class::Simple };
        found.reasons.push(format!("one class less for the word `{word}`"));
    }
    if found.reasons.is_empty() {
        found.reasons.push("short and plain".to_owned());
    }
    (found.class, found.reasons)
}

struct Found {
    class: Class,
    reasons: Vec<String>,
}

impl Found {
    fn raise(&mut self, class: Class, reason: String) {
        self.class = self.class.max(class);
        self.reasons.push(reason);
    }

    fn measure(&mut self, number: u64, medium: u64, complex: u64, what: &str) {
        if number >= complex {
            self.raise(Class::Complex, format!("{number} {what}"));
        } else if number >= medium {
            self.raise(Class::Medium, format!("{number} {what}"));
        }
    }
}

/// What the user said last, in lower case, so far as it is read; of a text to continue its beginning.
fn last_said(request: &GenerateRequest) -> String {
    let last = prompt::messages(request).iter().rev().find(|message| message.role == "user");
    let mut said = String::new();
    for text in last.into_iter().flat_map(prompt::texts_of).chain(prompt::to_continue(request)) {
        let left = READ_MAX_BYTES.saturating_sub(said.len());
        if left == 0 {
            break;
        }
        let end =
            (0..=left.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
        said.push_str(&text.get(..end).unwrap_or_default().to_lowercase());
        said.push('\n');
    }
    said
}

/// Whether a text has a word, or several, that is not a part of another.
fn has_word(text: &str, word: &str) -> bool {
    let is_edge = |next: Option<char>| !next.is_some_and(char::is_alphanumeric);
    text.match_indices(word).any(|(at, _)| {
        let (before, rest) = text.split_at(at);
        let after = rest.get(word.len()..).unwrap_or_default();
        is_edge(before.chars().next_back()) && is_edge(after.chars().next())
    })
}

#[cfg(test)]
mod tests;
