//! A whole configuration: the file with the environment and the command line laid over it.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    path::Path,
    rc::Rc,
};

use toml::de::DeTable;

use super::{
    Mistake, Mistakes, Origin, Section,
    value::{Node, Value, line_of},
};

/// The environment variables of the process, as they were at the start.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl std::fmt::Debug for Environment {
    // Values may be secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Environment {
    /// The environment of this process. Variables that are not UTF-8 are left out.
    pub fn of_process() -> Self {
        Self(
            std::env::vars_os()
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
                .collect(),
        )
    }

    /// An environment with these variables, for tests.
    pub fn of<N: Into<String>, V: Into<String>>(variables: impl IntoIterator<Item = (N, V)>) -> Self {
        Self(variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }

    /// The value of a variable.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

/// A configuration that is being read. Take every section out of it, then call [`Document::finish`].
#[derive(Debug)]
pub struct Document {
    root: Section,
    environment: Rc<Environment>,
    mistakes: Rc<RefCell<Vec<Mistake>>>,
    from_file: bool,
}

impl Document {
    /// The text of a file.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn text_of(file: &Path) -> Result<String, Mistakes> {
        std::fs::read_to_string(file).map_err(|error| Mistakes::unreadable(&error))
    }

    /// Reads the text of a file, if there is one, and lays the environment over it: `PENSTOCK_FACADE__LISTEN` is the
    /// key `facade.listen`, `PENSTOCK_MODELS__0__NAME` the name of the first model. Variables without a double
    /// underscore are not keys.
    ///
    /// # Errors
    /// The text is not TOML.
    pub fn parse(text: Option<&str>, environment: Environment) -> Result<Self, Mistakes> {
        let mut root = match text {
            Some(text) => parse_toml(text)?,
            None => Node::empty_table(),
        };
        let mistakes = Rc::new(RefCell::new(Vec::new()));
        for (name, value) in &environment.0 {
            let Some(path) = name.strip_prefix("PENSTOCK_").filter(|path| path.contains("__")) else {
                continue;
            };
            let path = path.to_ascii_lowercase();
            let path: Vec<&str> = path.split("__").collect();
            let origin = Origin::Environment(name.clone());
            if !root.set(&path, value, &origin) {
                let message = "does not fit what the file has there".to_owned();
                mistakes.borrow_mut().push(Mistake { origin, key: path.join("."), message });
            }
        }
        let environment = Rc::new(environment);
        let root = Section::new(String::new(), root, Rc::clone(&environment), Rc::clone(&mistakes));
        Ok(Self { root, environment, mistakes, from_file: text.is_some() })
    }

    /// Lays a command line option over the key at `path`.
    pub fn set(&mut self, option: &'static str, path: &[&str], value: &str) {
        self.root.set(path, value, &Origin::Option(option));
    }

    /// Says that this process is not the one that uses the secrets named in the file: they need not be set here.
    pub fn without_secrets(&mut self) {
        self.root.without_secrets();
    }

    /// Whether there is a file: with one, nothing is guessed.
    pub fn is_from_file(&self) -> bool {
        self.from_file
    }

    /// The environment.
    pub fn environment(&self) -> &Environment {
        &self.environment
    }

    /// Takes out the table of that name; an empty one if there is none.
    pub fn section(&mut self, name: &str) -> Section {
        self.root.table(name)
    }

    /// Takes out the table of that name, if it is there.
    pub fn optional_section(&mut self, name: &str) -> Option<Section> {
        self.root.optional_table(name)
    }

    /// Takes out the array of tables of that name; empty if there is none.
    pub fn sections(&mut self, name: &str) -> Vec<Section> {
        self.root.tables(name)
    }

    /// Ends the reading: what nobody took out is unknown.
    ///
    /// # Errors
    /// Every mistake that was found, in the order of the file.
    pub fn finish(self) -> Result<(), Mistakes> {
        drop(self.root);
        let mut mistakes = self.mistakes.take();
        mistakes.sort_by(|a, b| a.origin.cmp(&b.origin));
        if mistakes.is_empty() { Ok(()) } else { Err(Mistakes(mistakes)) }
    }
}

/// The top-level keys under which two texts of a file differ, in alphabetical order. Order and layout do not count; a
/// text that is not TOML differs in nothing.
pub fn changed_sections(before: &str, after: &str) -> Vec<String> {
    let (Ok(before), Ok(after)) = (parse_toml(before), parse_toml(after)) else { return Vec::new() };
    let (before, after) = (before.members(), after.members());
    let names: BTreeSet<_> = before.keys().chain(after.keys()).copied().collect();
    names.into_iter().filter(|name| before.get(name) != after.get(name)).map(str::to_owned).collect()
}

fn parse_toml(text: &str) -> Result<Node, Mistakes> {
    let (table, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        return Ok(Node::of_file(&table, text));
    }
    let mistakes = errors.iter().map(|error| Mistake {
        origin: error.span().map_or(Origin::Missing, |span| Origin::Line(line_of(text, span.start))),
        key: String::new(),
        message: format!("not TOML: {}", error.message().replace('\n', ", ")),
    });
    Err(Mistakes(mistakes.collect()))
}

impl Value {
    /// What the value is, for messages.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Value::String(_) | Value::Text(_) => "a string",
            Value::Integer(_) => "an integer",
            Value::Float(_) => "a float",
            Value::Boolean(_) => "a boolean",
            Value::Other => "a date or a number out of range",
            Value::Array(_) => "an array",
            Value::Table(_) => "a table",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_that_say_the_same_have_not_changed() {
        let text = "[a]\nx = 1\ny = [1, 2]\n[[m]]\nname = 'n'\n[b.c]\nd = 1.5\n";
        let same = "# other order\n[b]\nc = { d = 1.5 }\n\n[a]\ny = [ 1, 2 ]\nx = 1\n\n[[m]]\nname = \"n\"\n";
        assert_eq!(changed_sections(text, same), Vec::<String>::new());
        let other = "[a]\nx = 1\ny = [2, 1]\n[[m]]\nname = 'n'\n[[m]]\n[e]\n";
        assert_eq!(changed_sections(text, other), ["a", "b", "e", "m"]);
        assert_eq!(changed_sections("", text), ["a", "b", "m"]);
        assert_eq!(changed_sections(text, "no TOML"), Vec::<String>::new());
    }
}
