//! Free-form JSON that is passed on as text. It must mean the same to whoever parses it next: no member
//! given twice, and no nesting that a recursive parser could break on.

use std::{borrow::Cow, collections::HashSet};

use memchr::memchr2;

/// Deepest nesting, as `serde_json` has it: far beyond any real schema, far from any stack's end.
pub(crate) const DEPTH_MAX: usize = 128;

/// Up to here a list is quicker than a set; beyond it a list would be quadratic in what a client sends.
const FEW: usize = 16;

/// What is wrong with a text that is JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nested deeper than [`DEPTH_MAX`].
    TooDeep,
    /// An object has a member twice.
    Duplicate,
}

/// Names of members that were seen in one object.
#[derive(Debug, Default)]
pub(crate) struct Names<'a> {
    few: Vec<Cow<'a, str>>,
    many: HashSet<Cow<'a, str>>,
}

impl<'a> Names<'a> {
    /// Notes a name. False: it was there.
    pub(crate) fn insert(&mut self, name: Cow<'a, str>) -> bool {
        if !self.many.is_empty() {
            return self.many.insert(name);
        }
        if self.few.contains(&name) {
            return false;
        }
        self.few.push(name);
        if self.few.len() > FEW {
            self.many.extend(self.few.drain(..));
        }
        true
    }
}

/// Checks `json`, which is known to be JSON.
pub(crate) fn check(json: &str) -> Result<(), Fault> {
    let bytes = json.as_bytes();
    // One entry for each open bracket: the names of an object, nothing for an array.
    let mut open: Vec<Option<Names<'_>>> = Vec::new();
    let mut key_next = false;
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        at += 1;
        match byte {
            b'{' | b'[' => {
                if open.len() == DEPTH_MAX {
                    return Err(Fault::TooDeep);
                }
                key_next = *byte == b'{';
                open.push(key_next.then(Names::default));
            }
            b'}' | b']' => {
                open.pop();
                key_next = false;
            }
            b',' => key_next = matches!(open.last(), Some(Some(_))),
            b'"' => {
                let start = at;
                at = end_of_string(bytes, start);
                if key_next {
                    key_next = false;
                    let name = json.get(start..at - 1).unwrap_or_default();
                    if let Some(Some(names)) = open.last_mut()
                        && !names.insert(unescaped(name))
                    {
                        return Err(Fault::Duplicate);
                    }
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// How many values `json` has, roughly: its brackets and commas, strings left out. It need not be JSON.
pub(crate) fn nodes(json: &[u8]) -> usize {
    let (mut nodes, mut at) = (0, 0);
    while let Some(byte) = json.get(at) {
        at += 1;
        match byte {
            b'{' | b'[' | b',' => nodes += 1,
            b'"' => at = end_of_string(json, at),
            _ => {}
        }
    }
    nodes
}

/// The place after the quote that ends the string which begins at `at`.
fn end_of_string(bytes: &[u8], mut at: usize) -> usize {
    while let Some(rest) = bytes.get(at..) {
        match memchr2(b'"', b'\\', rest) {
            Some(offset) if rest.get(offset) == Some(&b'\\') => at += offset + 2,
            Some(offset) => return at + offset + 1,
            None => break,
        }
    }
    bytes.len() + 1
}

fn unescaped(name: &str) -> Cow<'_, str> {
    if memchr::memchr(b'\\', name.as_bytes()).is_none() {
        return Cow::Borrowed(name);
    }
    // A name that does not unescape (half a surrogate pair) stands for itself.
    serde_json::from_str(&format!("\"{name}\"")).map_or(Cow::Borrowed(name), Cow::Owned)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn duplicates_are_found_at_every_level_and_in_every_spelling() {
        for json in [
            r#"{"a":1,"a":2}"#,
            r#"[0,{"x":{"a":[],"b":{},"a":0}}]"#,
            r#"{"model":1,"\u006dodel":2}"#,
            r#"{ "a\"b" : "}" , "a\u0022b" : 1 }"#,
        ] {
            assert_eq!(check(json), Err(Fault::Duplicate), "{json}");
        }
        for json in [
            r#"{"a":{"a":{"a":["a","a"]}},"A":"a","":"a"}"#,
            r#"[{"a":1},{"a":1}]"#,
            r#"{"a":"b","b":"{\"a\":1,\"a\":2}"}"#,
            r#"{"a":"\\","b":"\\\""}"#,
            "1e400",
            r#""text""#,
        ] {
            assert_eq!(check(json), Ok(()), "{json}");
        }
    }

    #[test]
    fn many_members_are_no_quadratic_work() {
        let members: Vec<String> = (0..100_000).map(|n| format!("\"k{n}\":{n}")).collect();
        assert_eq!(check(&format!("{{{}}}", members.join(","))), Ok(()));
        assert_eq!(check(&format!("{{{},\"k7\":0}}", members.join(","))), Err(Fault::Duplicate));
    }

    #[test]
    fn nodes_are_counted_outside_strings() {
        assert_eq!(nodes(br#"{"a,\"{[":[1,2],"b":{}}"#), 5);
        assert_eq!(nodes(b"\"unterminated,,,"), 0);
    }

    /// A2.
    #[test]
    fn depth_is_bounded() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert_eq!(check(&nested(DEPTH_MAX)), Ok(()));
        assert_eq!(check(&nested(DEPTH_MAX + 1)), Err(Fault::TooDeep));
        assert_eq!(check(&"{\"a\":".repeat(100_000)), Err(Fault::TooDeep));
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in ".{0,64}") {
            let _ = check(&text);
        }

        #[test]
        fn what_a_map_holds_has_no_duplicates(map in prop::collection::btree_map(".{0,6}", ".{0,6}", 0..40)) {
            let json = serde_json::to_string(&map).unwrap();
            prop_assert_eq!(check(&json), Ok(()));
        }
    }
}
