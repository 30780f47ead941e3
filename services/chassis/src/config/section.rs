//! A table of the configuration that is being read: typed getters with defaults, every mistake noted. What
//! was not asked for when the section is dropped is reported as unknown.

use std::{
    cell::RefCell, fmt::Display, net::SocketAddr, ops::RangeInclusive, rc::Rc, str::FromStr, time::Duration,
};

use super::{
    Environment, Mistake, Origin,
    value::{Node, Value},
};

/// A table that is being read.
#[derive(Debug)]
pub struct Section {
    path: String,
    origin: Origin,
    members: Vec<(String, Node)>,
    asked: Vec<String>,
    origins: Vec<(String, Origin)>,
    environment: Rc<Environment>,
    mistakes: Rc<RefCell<Vec<Mistake>>>,
    /// Whether secrets that are not set are mistakes.
    needs_secrets: bool,
}

impl Section {
    pub(super) fn new(
        path: String,
        node: Node,
        environment: Rc<Environment>,
        mistakes: Rc<RefCell<Vec<Mistake>>>,
    ) -> Self {
        let mut section = Self {
            path,
            origin: node.origin,
            members: Vec::new(),
            asked: Vec::new(),
            origins: Vec::new(),
            environment,
            mistakes,
            needs_secrets: true,
        };
        match node.value {
            Value::Table(members) => section.members = members,
            other => section.note(section.origin.clone(), "", format!("is {}, not a table", other.kind())),
        }
        section
    }

    /// Puts `text` at `path` below this section.
    pub(super) fn set(&mut self, path: &[&str], text: &str, origin: &Origin) {
        let members = std::mem::take(&mut self.members);
        let mut node = Node { value: Value::Table(members), origin: self.origin.clone() };
        node.set(path, text, origin);
        if let Value::Table(members) = node.value {
            self.members = members;
        }
    }

    /// The section's own place.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Notes a mistake at `key` of this section, or at the section if it has no such key.
    pub fn mistake(&self, key: &str, message: impl Into<String>) {
        let known = self.origins.iter().find(|(name, _)| name == key).map(|(_, origin)| origin);
        self.note(known.unwrap_or(&self.origin).clone(), key, message.into());
    }

    /// Whether the key is there and has not been read yet.
    pub fn has(&self, key: &str) -> bool {
        self.members.iter().any(|(name, _)| name == key)
    }

    /// A string.
    pub fn string(&mut self, key: &str) -> Option<String> {
        let node = self.take(key)?;
        match node.value {
            Value::String(text) | Value::Text(text) => Some(text),
            other => self.wrong(key, &other, "a string"),
        }
    }

    /// A string that must be there and not be empty; a mistake is noted otherwise.
    pub fn required_string(&mut self, key: &str) -> String {
        let known_mistakes = self.mistakes.borrow().len();
        let text = self.string(key).unwrap_or_default();
        if text.is_empty() && self.mistakes.borrow().len() == known_mistakes {
            self.mistake(key, "is required");
        }
        text
    }

    /// A boolean.
    pub fn boolean(&mut self, key: &str, default: bool) -> bool {
        let Some(node) = self.take(key) else { return default };
        match node.value {
            Value::Boolean(boolean) => Some(boolean),
            Value::Text(text) => self.parsed(key, &text, "true or false"),
            other => self.wrong(key, &other, "true or false"),
        }
        .unwrap_or(default)
    }

    /// A whole number in `range`.
    pub fn integer(&mut self, key: &str, default: u64, range: RangeInclusive<u64>) -> u64 {
        let Some(node) = self.take(key) else { return default };
        let number = match node.value {
            Value::Integer(number) => u64::try_from(number).ok().or_else(|| self.outside(key, &range)),
            Value::Text(text) => self.parsed(key, &text, "a whole number"),
            other => self.wrong(key, &other, "a whole number"),
        };
        number.and_then(|number| self.within(key, number, &range)).unwrap_or(default)
    }

    /// A number in `range`.
    pub fn float(&mut self, key: &str, default: f64, range: RangeInclusive<f64>) -> f64 {
        let Some(node) = self.take(key) else { return default };
        let number = match node.value {
            Value::Float(number) => Some(number),
            #[allow(clippy::cast_precision_loss)] // configuration holds no numbers beyond 2^53
            Value::Integer(number) => Some(number as f64),
            Value::Text(text) => self.parsed(key, &text, "a number"),
            other => self.wrong(key, &other, "a number"),
        };
        number.and_then(|number| self.within(key, number, &range)).unwrap_or(default)
    }

    /// Whether the key's value is this word; then it is read. Else it is still there for another reading.
    pub fn says(&mut self, key: &str, word: &str) -> bool {
        let is_it =
            |node: &Node| matches!(&node.value, Value::String(text) | Value::Text(text) if text == word);
        self.members.iter().any(|(name, node)| name == key && is_it(node)) && self.take(key).is_some()
    }

    /// A span of time such as `"250ms"`, `"30s"`, `"1h 30m"`, in `range`.
    pub fn duration(&mut self, key: &str, default: Duration, range: RangeInclusive<Duration>) -> Duration {
        let Some(node) = self.take(key) else { return default };
        let text = match node.value {
            Value::String(text) | Value::Text(text) => text,
            other => {
                return self.wrong(key, &other, "a duration such as \"30s\"").unwrap_or(default);
            }
        };
        match humantime::parse_duration(&text) {
            Ok(span) if range.contains(&span) => span,
            Ok(_) => {
                let (from, to) = (*range.start(), *range.end());
                let (from, to) = (humantime::format_duration(from), humantime::format_duration(to));
                self.mistake(key, format!("must be from {from} to {to}"));
                default
            }
            Err(error) => {
                self.mistake(key, format!("is not a duration such as \"30s\": {error}"));
                default
            }
        }
    }

    /// A number of bytes, plain or with a unit: `33554432`, `"32 MiB"`, `"10 MB"`.
    pub fn bytes(&mut self, key: &str, default: u64, range: RangeInclusive<u64>) -> u64 {
        let Some(node) = self.take(key) else { return default };
        let bytes = match node.value {
            Value::Integer(number) => u64::try_from(number).ok(),
            Value::String(text) | Value::Text(text) => parse_bytes(&text),
            _ => None,
        };
        let Some(bytes) = bytes else {
            self.mistake(key, "is not a number of bytes such as 1024 or \"32 MiB\"");
            return default;
        };
        self.within(key, bytes, &range).unwrap_or(default)
    }

    /// An address to listen on, such as `"127.0.0.1:4000"`.
    pub fn address(&mut self, key: &str, default: SocketAddr) -> SocketAddr {
        let Some(text) = self.string(key) else { return default };
        self.parsed(key, &text, "an address such as \"127.0.0.1:4000\"").unwrap_or(default)
    }

    /// A list of strings. From the environment: separated by commas.
    pub fn strings(&mut self, key: &str) -> Vec<String> {
        let Some(node) = self.take(key) else { return Vec::new() };
        let items = match node.value {
            Value::Text(text) => {
                return text
                    .split(',')
                    .map(|item| item.trim().to_owned())
                    .filter(|i| !i.is_empty())
                    .collect();
            }
            Value::Array(items) => items,
            other => return self.wrong(key, &other, "an array of strings").unwrap_or_default(),
        };
        let mut strings = Vec::with_capacity(items.len());
        for item in items {
            match item.value {
                Value::String(text) => strings.push(text),
                other => self.note(item.origin, key, format!("holds {}, not only strings", other.kind())),
            }
        }
        strings
    }

    /// One of a few words.
    pub fn choice<T: Copy>(&mut self, key: &str, choices: &[(&str, T)], default: T) -> T {
        let Some(text) = self.string(key) else { return default };
        if let Some((_, value)) = choices.iter().find(|(word, _)| *word == text) {
            return *value;
        }
        let words: Vec<_> = choices.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        self.mistake(key, format!("is \"{text}\"; must be one of {}", words.join(", ")));
        default
    }

    /// The value of the environment variable that the key names: a secret never stands in the file itself.
    pub fn secret_from_env(&mut self, key: &str) -> Option<String> {
        let variable = self.string(key)?;
        match self.environment.get(&variable) {
            Some(secret) if !secret.is_empty() => Some(secret.to_owned()),
            _ if !self.needs_secrets => None,
            _ if !is_plain_name(&variable) => {
                // Mistakes are logged, and told to whoever has the file read again.
                let message =
                    "must name an environment variable that is set, and is perhaps the secret itself";
                self.mistake(key, message);
                None
            }
            Some(_) => {
                self.mistake(key, format!("names the environment variable {variable}, which is empty"));
                None
            }
            None => {
                self.mistake(key, format!("names the environment variable {variable}, which is not set"));
                None
            }
        }
    }

    /// A table inside; an empty one if there is none.
    pub fn table(&mut self, key: &str) -> Section {
        let node = self.take(key).unwrap_or_else(Node::empty_table);
        self.child(self.path_of(key), node)
    }

    /// A table inside, if it is there.
    pub fn optional_table(&mut self, key: &str) -> Option<Section> {
        self.has(key).then(|| self.table(key))
    }

    /// An array of tables inside. A string in it stands for a table with only the member `shorthand`.
    pub fn tables_or_strings(&mut self, key: &str, shorthand: &str) -> Vec<Section> {
        self.children(key, |node| match node.value {
            Value::String(text) => {
                let member = Node { value: Value::String(text), origin: node.origin.clone() };
                Node { value: Value::Table(vec![(shorthand.to_owned(), member)]), origin: node.origin }
            }
            _ => node,
        })
    }

    /// An array of tables inside.
    pub fn tables(&mut self, key: &str) -> Vec<Section> {
        self.children(key, |node| node)
    }

    fn children(&mut self, key: &str, shape: impl Fn(Node) -> Node) -> Vec<Section> {
        let Some(node) = self.take(key) else { return Vec::new() };
        let path = self.path_of(key);
        match node.value {
            Value::Array(items) => items
                .into_iter()
                .enumerate()
                .map(|(index, item)| self.child(format!("{path}[{index}]"), shape(item)))
                .collect(),
            // `PENSTOCK_MODELS__0__NAME` without a file: a table whose keys are indices.
            Value::Table(members) => members
                .into_iter()
                .map(|(index, item)| self.child(format!("{path}[{index}]"), shape(item)))
                .collect(),
            other => self.wrong(key, &other, "an array of tables").unwrap_or_default(),
        }
    }

    fn child(&self, path: String, node: Node) -> Section {
        let mut child = Section::new(path, node, Rc::clone(&self.environment), Rc::clone(&self.mistakes));
        child.needs_secrets = self.needs_secrets;
        child
    }

    pub(super) fn without_secrets(&mut self) {
        self.needs_secrets(false);
    }

    /// Says whether this process uses the secrets named in this section: if not, they need not be set here.
    pub fn needs_secrets(&mut self, needed: bool) {
        self.needs_secrets = needed;
    }

    fn take(&mut self, key: &str) -> Option<Node> {
        self.asked.push(key.to_owned());
        let index = self.members.iter().position(|(name, _)| name == key)?;
        let (name, node) = self.members.remove(index);
        self.origins.push((name, node.origin.clone()));
        Some(node)
    }

    fn wrong<T>(&self, key: &str, value: &Value, wanted: &str) -> Option<T> {
        self.mistake(key, format!("is {}, not {wanted}", value.kind()));
        None
    }

    fn parsed<T: FromStr>(&self, key: &str, text: &str, wanted: &str) -> Option<T> {
        let parsed = text.trim().parse().ok();
        if parsed.is_none() {
            self.mistake(key, format!("is \"{text}\", not {wanted}"));
        }
        parsed
    }

    fn within<T: PartialOrd + Display>(&self, key: &str, value: T, range: &RangeInclusive<T>) -> Option<T> {
        if range.contains(&value) { Some(value) } else { self.outside(key, range) }
    }

    fn outside<T, R: Display>(&self, key: &str, range: &RangeInclusive<R>) -> Option<T> {
        self.mistake(key, format!("must be from {} to {}", range.start(), range.end()));
        None
    }

    fn path_of(&self, key: &str) -> String {
        match (self.path.is_empty(), key.is_empty()) {
            (true, _) => key.to_owned(),
            (false, true) => self.path.clone(),
            (false, false) => format!("{}.{key}", self.path),
        }
    }

    fn note(&self, origin: Origin, key: &str, message: String) {
        self.mistakes.borrow_mut().push(Mistake { origin, key: self.path_of(key), message });
    }
}

impl Drop for Section {
    fn drop(&mut self) {
        for (name, node) in std::mem::take(&mut self.members) {
            let nearest = self
                .asked
                .iter()
                .map(|asked| (distance(asked, &name), asked))
                .filter(|(distance, asked)| *distance <= asked.len() / 3 + 1)
                .min();
            let message = match nearest {
                Some((_, asked)) => format!("is not a known key; did you mean `{asked}`?"),
                None => "is not a known key".to_owned(),
            };
            self.note(node.origin, &name, message);
        }
    }
}

/// Bytes of `"32 MiB"` and the like; `None` if it is not of that form or does not fit.
fn parse_bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '_').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = match unit.trim() {
        "" | "B" => 1,
        "kB" | "KB" => 1000,
        "KiB" => 1 << 10,
        "MB" => 1_000_000,
        "MiB" => 1 << 20,
        "GB" => 1_000_000_000,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.replace('_', "").parse::<u64>().ok()?.checked_mul(unit)
}

/// Levenshtein distance: how many letters to change, add or drop.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, y) in row.iter_mut().skip(1).zip(b.chars()) {
            let changed = diagonal + usize::from(x != y);
            diagonal = *cell;
            left = changed.min(diagonal + 1).min(left + 1);
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

/// Whether it is written as names of environment variables are, and not as keys are.
fn is_plain_name(variable: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    !variable.is_empty() && variable.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Document;

    fn read(text: &str, environment: &[(&str, &str)]) -> (Option<String>, Duration, Vec<String>) {
        let environment = Environment::of(environment.iter().copied());
        let mut document = Document::parse(Some(text), environment).unwrap();
        let mut section = document.section("facade");
        let name = section.string("name");
        let timeout =
            section.duration("timeout", Duration::from_secs(1), Duration::ZERO..=Duration::from_secs(60));
        drop(section);
        let mistakes = document.finish().err().map_or_else(Vec::new, |mistakes| mistakes.0);
        (name, timeout, mistakes.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn defaults_then_file_then_environment() {
        assert_eq!(read("", &[]).1, Duration::from_secs(1));
        assert_eq!(read("[facade]\ntimeout='2s'", &[]).1, Duration::from_secs(2));
        let environment = [("PENSTOCK_FACADE__TIMEOUT", "3s"), ("PENSTOCK_ROUTER_PORT", "tcp://10.0.0.1:1")];
        let (_, timeout, mistakes) = read("[facade]\ntimeout='2s'", &environment);
        assert_eq!((timeout, mistakes), (Duration::from_secs(3), vec![]));
    }

    #[test]
    fn every_mistake_is_reported_with_its_line() {
        let text = "[facade]\nname = 1\ntimout = '2s'\n\n[facad]\nx = 1\n";
        let (_, _, mistakes) = read(text, &[("PENSTOCK_FACADE__TIMEOUT", "long")]);
        assert_eq!(
            mistakes,
            [
                "line 2: facade.name: is an integer, not a string",
                "line 3: facade.timout: is not a known key; did you mean `timeout`?",
                "line 5: facad: is not a known key; did you mean `facade`?",
                "environment variable PENSTOCK_FACADE__TIMEOUT: facade.timeout: is not a duration such as \"30s\": expected number at 0",
            ]
        );
    }

    #[test]
    fn what_is_not_toml_is_reported_with_its_line() {
        let mistakes = Document::parse(Some("a = 1\nb = \n"), Environment::default()).unwrap_err();
        assert_eq!(mistakes.0.first().map(|mistake| mistake.origin.clone()), Some(Origin::Line(2)));
    }

    #[test]
    fn arrays_of_tables_take_overrides_by_index() {
        let environment =
            Environment::of([("PENSTOCK_MODELS__1__NAME", "b"), ("PENSTOCK_MODELS__0__NAME", "z")]);
        let mut document = Document::parse(Some("[[models]]\nname = 'a'"), environment).unwrap();
        let names: Vec<_> =
            document.sections("models").into_iter().map(|mut model| model.required_string("name")).collect();
        assert_eq!(names, ["z", "b"]);
    }

    #[test]
    fn a_missing_secret_names_the_variable_and_never_the_value() {
        let mut document = Document::parse(
            Some("[x]\na = 'SET'\nb = 'UNSET'"),
            Environment::of([("SET", "hunter2"), ("OTHER", "x")]),
        )
        .unwrap();
        let mut section = document.section("x");
        assert_eq!(section.secret_from_env("a").as_deref(), Some("hunter2"));
        assert_eq!(section.secret_from_env("b"), None);
        drop(section);
        assert!(!format!("{document:?}").contains("hunter2"));
        let mistakes = document.finish().unwrap_err().to_string();
        assert_eq!(mistakes, "line 3: x.b: names the environment variable UNSET, which is not set");
    }

    #[test]
    fn a_secret_in_the_place_of_its_variable_is_not_repeated() {
        for secret in ["sk-Hunter2", "hf_hunter2", "HUNTER 2", ""] {
            let text = format!("[x]\na = '{secret}'");
            let mut document = Document::parse(Some(&text), Environment::default()).unwrap();
            assert_eq!(document.section("x").secret_from_env("a"), None);
            let mistakes = document.finish().unwrap_err().to_string();
            assert!(!mistakes.to_lowercase().contains("hunter"), "{mistakes}");
        }
        let environment = Environment::of([("lower", "hunter2")]);
        let mut document = Document::parse(Some("[x]\na = 'lower'"), environment).unwrap();
        assert_eq!(document.section("x").secret_from_env("a").as_deref(), Some("hunter2"));
    }

    #[test]
    fn a_process_that_does_not_use_the_secrets_does_not_need_them() {
        let mut document = Document::parse(Some("[x]\na = 'UNSET'"), Environment::default()).unwrap();
        document.without_secrets();
        assert_eq!(document.section("x").secret_from_env("a"), None);
        assert_eq!(document.finish(), Ok(()));
    }

    #[test]
    fn bytes_have_units() {
        assert_eq!(parse_bytes("32 MiB"), Some(32 << 20));
        assert_eq!(parse_bytes("1_000"), Some(1000));
        assert_eq!(parse_bytes("18446744073709551615 GiB"), None);
        assert_eq!(parse_bytes("many"), None);
    }
}
