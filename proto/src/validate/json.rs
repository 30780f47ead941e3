//! Looks into free-form JSON, one level at a time and only as far as it is asked: what is below keeps its text.
//! Only requests with such members come here.

use std::{collections::HashSet, fmt};

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::found::Found;

/// A value at a place. Absent and `null` are the same.
pub(super) struct At<'a> {
    pub(super) path: String,
    json: Option<&'a str>,
}

/// The members of an object.
pub(super) struct Members<'a> {
    path: String,
    members: Vec<(String, &'a RawValue)>,
}

impl<'a> At<'a> {
    /// The value of a field that holds JSON text. What is no JSON is reported, and then counts as absent.
    pub(super) fn field(found: &mut Found, path: &str, json: &'a str) -> Self {
        let parsed = serde_json::from_str::<&RawValue>(json);
        if parsed.is_err() {
            found.add(path, "is not valid JSON");
        }
        Self::new(path.to_owned(), parsed.ok())
    }

    fn new(path: String, raw: Option<&'a RawValue>) -> Self {
        Self { path, json: raw.map(RawValue::get).filter(|json| *json != "null") }
    }

    /// The same; that there is none is reported.
    pub(super) fn required(self, found: &mut Found) -> Self {
        found.required(&self.path, self.json.is_some());
        self
    }

    /// Whether it is a string.
    pub(super) fn is_string(&self) -> bool {
        self.begins_with(b"\"")
    }

    /// Whether it is an object.
    pub(super) fn is_object(&self) -> bool {
        self.begins_with(b"{")
    }

    fn begins_with(&self, first: &[u8]) -> bool {
        self.json.and_then(|json| json.as_bytes().first()).is_some_and(|byte| first.contains(byte))
    }

    /// Reads the value; one of another kind is reported.
    fn read<T: Deserialize<'a>>(&self, found: &mut Found, first: &[u8], what: &str) -> Option<T> {
        let json = self.json?;
        let read = self.begins_with(first).then(|| serde_json::from_str(json).ok()).flatten();
        if read.is_none() {
            found.add(&self.path, format!("must be {what}"));
        }
        read
    }

    pub(super) fn string(&self, found: &mut Found) -> Option<String> {
        self.read(found, b"\"", "a string")
    }

    pub(super) fn boolean(&self, found: &mut Found) -> Option<bool> {
        self.read(found, b"tf", "true or false")
    }

    pub(super) fn number(&self, found: &mut Found) -> Option<f64> {
        self.read(found, b"-0123456789", "a number that a double can hold")
    }

    pub(super) fn object(&self, found: &mut Found) -> Option<Members<'a>> {
        let members = self.read::<Entries<'a>>(found, b"{", "an object")?.0;
        // Whoever reads it next might take the other one.
        let mut seen = HashSet::with_capacity(members.len());
        if !members.iter().all(|(name, _)| seen.insert(name.as_str())) {
            found.add(&self.path, "has a member that is given twice");
        }
        Some(Members { path: self.path.clone(), members })
    }

    pub(super) fn array(&self, found: &mut Found) -> Option<Vec<At<'a>>> {
        let items = self.read::<Vec<&RawValue>>(found, b"[", "an array")?;
        let at = |(index, item)| At::new(format!("{}[{index}]", self.path), Some(item));
        Some(items.into_iter().enumerate().map(at).collect())
    }

    /// A string that is one of `words`.
    pub(super) fn word(&self, found: &mut Found, words: &[&str]) {
        if let Some(word) = self.string(found) {
            found.one_of(&self.path, &word, words);
        }
    }

    /// The name of a function or a schema, which must be there.
    pub(super) fn name(self, found: &mut Found) -> Option<String> {
        let at = self.required(found);
        let name = at.string(found)?;
        found.name(&at.path, &name);
        Some(name)
    }
}

impl<'a> Members<'a> {
    pub(super) fn at(&self, name: &str) -> At<'a> {
        let member = self.members.iter().find(|(known, _)| known == name);
        At::new(format!("{}.{name}", self.path), member.map(|(_, raw)| *raw))
    }

    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = At<'a>> {
        // Names are the caller's own text, in a path that is shown to people.
        let shown = |name: &str| name.chars().filter(|c| !c.is_control()).take(64).collect::<String>();
        self.members.iter().map(move |(name, raw)| {
            let path = format!("{}.{}", self.path, shown(name));
            At { path, json: Some(raw.get()) }
        })
    }
}

struct Entries<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Entries<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntriesVisitor;

        impl<'de> Visitor<'de> for EntriesVisitor {
            type Value = Vec<(String, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(entries)
            }
        }

        deserializer.deserialize_map(EntriesVisitor).map(Entries)
    }
}
