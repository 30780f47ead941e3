//! Puts a refused value of a body aside, in its text, so that what comes after it can be read as well. No tree
//! of values: numbers that no double holds, and members that are given twice, would be lost in one.

use std::{fmt, ops::Range};

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_path_to_error::Segment;

/// A step from an object or an array to what is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Name(String),
    Index(usize),
}

/// The way from the body to a value.
pub(super) type Path = Vec<Step>;

/// The steps of a path.
pub(super) fn segments(path: &serde_path_to_error::Path) -> Path {
    let step = |segment: &Segment| match segment {
        Segment::Seq { index } => Some(Step::Index(*index)),
        Segment::Map { key } => Some(Step::Name(key.clone())),
        Segment::Enum { .. } | Segment::Unknown => None,
    };
    path.iter().filter_map(step).collect()
}

/// Puts `substitute` in the place of the value at `path`; a member that is there `twice` goes away instead.
/// False: there is no such place.
pub(super) fn mend(text: &mut String, path: &[Step], twice: bool, substitute: &str) -> bool {
    let Some((last, parents)) = path.split_last() else { return false };
    let mut within = 0..text.len();
    for step in parents {
        match place(text, &within, step, false) {
            Some((_, value)) => within = value,
            None => return false,
        }
    }
    match place(text, &within, last, twice) {
        // With the comma and the name before it.
        Some((before, value)) if twice => text.replace_range(before..value.end, ""),
        Some((_, value)) => text.replace_range(value, substitute),
        None => return false,
    }
    true
}

/// Where the value is that `step` leads to from the value at `within`, and where the one before it ends. Of
/// several members of that name: the first, or the `last`.
fn place(text: &str, within: &Range<usize>, step: &Step, last: bool) -> Option<(usize, Range<usize>)> {
    let Entries(entries) = serde_json::from_str(text.get(within.clone())?).ok()?;
    let is_it = |(index, (name, _)): &(usize, &(Option<String>, &RawValue))| match step {
        Step::Name(wanted) => name.as_deref() == Some(wanted),
        Step::Index(wanted) => name.is_none() && index == wanted,
    };
    let mut numbered = entries.iter().enumerate();
    let (index, (_, value)) = if last { numbered.rfind(is_it)? } else { numbered.find(is_it)? };
    let range = |raw: &RawValue| {
        // The raw text is a part of `text`.
        let start = raw.get().as_ptr().addr().checked_sub(text.as_ptr().addr())?;
        Some(start..start + raw.get().len())
    };
    let before = index.checked_sub(1).and_then(|index| entries.get(index));
    let end_before = before.and_then(|(_, raw)| range(raw)).map_or(within.start, |range| range.end);
    Some((end_before, range(value)?))
}

/// What is in an object or an array, in order, by its text.
struct Entries<'a>(Vec<(Option<String>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Entries<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntriesVisitor;

        impl<'de> Visitor<'de> for EntriesVisitor {
            type Value = Vec<(Option<String>, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object or an array")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some((name, value)) = map.next_entry()? {
                    entries.push((Some(name), value));
                }
                Ok(entries)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(value) = items.next_element()? {
                    entries.push((None, value));
                }
                Ok(entries)
            }
        }

        deserializer.deserialize_any(EntriesVisitor).map(Entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_replaced_where_it_stands() {
        let name = |name: &str| Step::Name(name.into());
        let cases: [(&str, &[Step], bool, &str, &str); 6] = [
            (r#"{"a": 1 , "b":2}"#, &[name("a")], false, "null", r#"{"a": null , "b":2}"#),
            (
                r#"{"a":[1, [true, "]"]]}"#,
                &[name("a"), Step::Index(1), Step::Index(1)],
                false,
                "{}",
                r#"{"a":[1, [true, {}]]}"#,
            ),
            (r#"{"a":1,"\u0061" : 2}"#, &[name("a")], true, "", r#"{"a":1}"#),
            (r#"{"a":1,"b":0,"a":2, "c":3}"#, &[name("a")], true, "", r#"{"a":1,"b":0, "c":3}"#),
            (r#"{"a":1,"a":2}"#, &[name("a")], false, "null", r#"{"a":null,"a":2}"#),
            (r#"[{"x":1e999}]"#, &[Step::Index(0), name("x")], false, "null", r#"[{"x":null}]"#),
        ];
        for (text, path, twice, substitute, expected) in cases {
            let mut mended = text.to_owned();
            assert!(mend(&mut mended, path, twice, substitute), "{text}");
            assert_eq!(mended, expected);
        }
        for path in [&[][..], &[name("b")], &[Step::Index(0)], &[name("a"), name("b")]] {
            assert!(!mend(&mut r#"{"a":1}"#.to_owned(), path, false, "null"), "{path:?}");
        }
    }
}
