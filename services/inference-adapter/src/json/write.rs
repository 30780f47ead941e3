//! Writing: an object whose members are written as they are named. Extensions are written as they came, after
//! it is certain that each is one JSON text and that none can stand for a member of ours (A5): some engines
//! take the last of two equal names, some take names in any case.

use std::{borrow::Cow, collections::HashSet};

use penstock_proto::{Violation, inference::v1::Extension};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::error::Error;

/// A JSON text that is being written, and what of the request cannot be written.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    out: Vec<u8>,
    violations: Vec<Violation>,
    /// One of them holds for every engine, not just for this one.
    wrong: bool,
}

impl Writer {
    /// The text.
    ///
    /// # Errors
    /// The request cannot be written; every reason is named.
    pub(crate) fn finish(self) -> Result<Vec<u8>, Error> {
        match (self.violations.is_empty(), self.wrong) {
            (true, _) => Ok(self.out),
            (false, true) => Err(Error::Request(self.violations)),
            (false, false) => Err(Error::Unsupported(self.violations)),
        }
    }

    /// Notes what cannot be written to any engine.
    pub(crate) fn refuse(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.wrong = true;
        self.violations.push(Violation::new(field, message));
    }

    /// Notes what this engine cannot do.
    pub(crate) fn unsupported(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.violations.push(Violation::new(field, message));
    }

    /// Writes a scalar, a string or a list.
    pub(crate) fn value<T: Serialize + ?Sized>(&mut self, value: &T) {
        // Writing to memory fails only for maps with strange keys; there are none.
        if serde_json::to_writer(&mut self.out, value).is_err() {
            self.out.extend_from_slice(b"null");
        }
    }

    /// Writes JSON text as it is.
    pub(crate) fn raw(&mut self, path: &str, json: &str) {
        if serde_json::from_str::<&RawValue>(json).is_ok() {
            self.out.extend_from_slice(json.as_bytes());
        } else {
            self.refuse(path, "is not valid JSON");
        }
    }

    /// Writes an object.
    pub(crate) fn object(&mut self, write: impl FnOnce(&mut Object<'_>)) {
        self.out.push(b'{');
        write(&mut Object { writer: self, empty: true });
        self.out.push(b'}');
    }

    /// Writes an array.
    pub(crate) fn array<T>(
        &mut self,
        items: impl IntoIterator<Item = T>,
        mut write: impl FnMut(&mut Writer, usize, T),
    ) {
        self.out.push(b'[');
        for (index, item) in items.into_iter().enumerate() {
            if index > 0 {
                self.out.push(b',');
            }
            write(self, index, item);
        }
        self.out.push(b']');
    }
}

/// An object that is being written.
#[derive(Debug)]
pub(crate) struct Object<'a> {
    writer: &'a mut Writer,
    empty: bool,
}

impl Object<'_> {
    /// Writes a member's name; its value is next.
    pub(crate) fn key(&mut self, name: &str) -> &mut Writer {
        if !std::mem::take(&mut self.empty) {
            self.writer.out.push(b',');
        }
        self.writer.value(name);
        self.writer.out.push(b':');
        self.writer
    }

    /// Writes a member.
    pub(crate) fn member<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) {
        self.key(name).value(value);
    }

    /// Writes a member if it has a value.
    pub(crate) fn optional<T: Serialize>(&mut self, name: &str, value: &Option<T>) {
        if let Some(value) = value {
            self.member(name, value);
        }
    }

    /// Writes a member that is JSON text, if it is there. `path`: its field in the request.
    pub(crate) fn raw(&mut self, name: &str, path: &str, json: Option<&str>) {
        if let Some(json) = json {
            self.key(name).raw(path, json);
        }
    }

    /// Writes extensions. `known`: the members that the contract names here, `denied`: names that no caller
    /// may use; `path` ends where the extension's name is to follow.
    pub(crate) fn extensions(
        &mut self,
        path: &str,
        extensions: &[Extension],
        known: &[&str],
        denied: &[&str],
    ) {
        let mut given = HashSet::with_capacity(extensions.len());
        for Extension { name, json } in extensions {
            let folded = fold(name);
            if denied.contains(&&*folded) {
                self.refuse(format!("{path}{name}"), "is not allowed through this gateway");
            } else if known.contains(&&*folded) || !given.insert(folded) {
                self.refuse(
                    format!("{path}{name}"),
                    "is given twice, or differs from a known field only by case",
                );
            } else if serde_json::from_str::<&RawValue>(json).is_ok() {
                self.key(name).out.extend_from_slice(json.as_bytes());
            } else {
                self.refuse(format!("{path}{name}"), "is not valid JSON");
            }
        }
    }

    /// Notes what cannot be written to any engine.
    pub(crate) fn refuse(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.writer.refuse(field, message);
    }

    /// Notes what this engine cannot do.
    pub(crate) fn unsupported(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.writer.unsupported(field, message);
    }
}

/// A name as engines that ignore case see it; both ways, because `ſ` and `K` fold to ASCII only one way each.
pub(crate) fn fold(name: &str) -> Cow<'_, str> {
    if name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') {
        return Cow::Borrowed(name);
    }
    Cow::Owned(name.to_uppercase().to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extensions(names: &[(&str, &str)]) -> Result<String, Vec<String>> {
        let extensions: Vec<_> = names
            .iter()
            .map(|(name, json)| Extension { name: (*name).into(), json: (*json).into() })
            .collect();
        let mut writer = Writer::default();
        writer.object(|object| {
            object.member("model", "m");
            object.extensions("x.", &extensions, &["model", "stream"], &["api_base"]);
        });
        writer.finish().map(|json| String::from_utf8(json).unwrap()).map_err(|error| match error {
            Error::Request(found) => found.into_iter().map(|violation| violation.field).collect(),
            other => panic!("{other}"),
        })
    }

    #[test]
    fn extensions_keep_their_text_and_order() {
        let written = extensions(&[("b", "{ \"x\" : 1.0 }"), ("a\"", "1e2")]);
        assert_eq!(written.unwrap(), r#"{"model":"m","b":{ "x" : 1.0 },"a\"":1e2}"#);
    }

    #[test]
    fn a5_no_extension_can_stand_for_a_member_of_ours() {
        for name in ["model", "Model", "MODEL", "ſtream", "STREAM", "api_base", "API_Base"] {
            assert_eq!(extensions(&[(name, "1")]).unwrap_err(), [format!("x.{name}")]);
        }
        assert_eq!(extensions(&[("a", "1"), ("A", "2")]).unwrap_err(), ["x.A"]);
        assert_eq!(extensions(&[("a", "1,\"model\":\"other\"")]).unwrap_err(), ["x.a"]);
        assert_eq!(extensions(&[("a", "")]).unwrap_err(), ["x.a"]);
    }

    /// Compared pair by pair this many would take minutes, in one poll.
    #[test]
    fn a_hundred_thousand_extensions_are_written_in_one_pass() {
        let mut names: Vec<_> = (0..100_000).map(|number| format!("Member{number}")).collect();
        let given = |names: &[String]| {
            let given: Vec<_> = names.iter().map(|name| (name.as_str(), "1")).collect();
            extensions(&given)
        };
        assert!(given(&names).unwrap().ends_with("\"Member99999\":1}"));
        names.push("member0".into());
        assert_eq!(given(&names).unwrap_err(), ["x.member0"]);
    }
}
