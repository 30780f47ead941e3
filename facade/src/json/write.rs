//! Writing JSON into a buffer, member by member. What is written is one line: raw line breaks, which free-form
//! JSON may hold between its tokens, would end an event of a stream.

use bytes::{BufMut as _, BytesMut};
use memchr::memchr2;
use penstock_proto::inference::v1::Extension;
use serde::Serialize;

/// Begins a member: a comma unless it is the first of its object, then `key`, which is `"name":`.
pub(crate) fn key(out: &mut BytesMut, key: &'static str) {
    comma(out);
    out.put_slice(key.as_bytes());
}

/// A comma, unless the object or array has just begun.
pub(crate) fn comma(out: &mut BytesMut) {
    if !matches!(out.last(), Some(b'{' | b'[') | None) {
        out.put_u8(b',');
    }
}

/// Text that is JSON already.
pub(crate) fn raw(out: &mut BytesMut, json: &str) {
    if memchr2(b'\n', b'\r', json.as_bytes()).is_none() {
        out.put_slice(json.as_bytes());
    } else {
        // Within JSON these two are white space only: strings have them escaped.
        out.extend(json.bytes().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { byte }));
    }
}

/// A string or a number.
pub(crate) fn value<T: Serialize + ?Sized>(out: &mut BytesMut, value: &T) {
    // Writing into memory cannot fail, nor can a string or a number.
    let _ = serde_json::to_writer(out.writer(), value);
}

/// A string or a number, or `null`.
pub(crate) fn nullable<T: Serialize>(out: &mut BytesMut, value: Option<T>) {
    match value {
        Some(some) => self::value(out, &some),
        None => out.put_slice(b"null"),
    }
}

/// A member, if it has a value.
pub(crate) fn optional(out: &mut BytesMut, name: &'static str, value: Option<&str>) {
    if let Some(text) = value {
        key(out, name);
        self::value(out, text);
    }
}

/// The members that the contract does not name, less `ours`: those that are written anyway.
pub(crate) fn extensions<'a>(
    out: &mut BytesMut,
    extensions: impl IntoIterator<Item = &'a Extension>,
    ours: &[&str],
) {
    for extension in extensions {
        if !ours.contains(&extension.name.as_str()) {
            comma(out);
            value(out, extension.name.as_str());
            out.put_u8(b':');
            raw(out, &extension.json);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_separated_and_raw_json_stays_on_one_line() {
        let mut out = BytesMut::from("{");
        optional(&mut out, "\"a\":", None);
        optional(&mut out, "\"b\":", Some("x\n\"\u{1}"));
        let pretty = Extension { name: "c\"".into(), json: "{\r\n \"d\": \"\\n\"\n}".into() };
        let ours = Extension { name: "b".into(), json: "1".into() };
        extensions(&mut out, &[pretty, ours], &["b"]);
        out.put_u8(b'}');
        assert_eq!(out, r#"{"b":"x\n\"\u0001","c\"":{   "d": "\n" }}"#);
    }
}
