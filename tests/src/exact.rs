//! JSON to the letter: members in their order, numbers in their text. What serde_json's own tree would round
//! or sort is seen here.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Members that hold what the contract types, on every level: among theirs the order does not matter, and null is
/// the same as nothing. Everything below any other member counts to the letter.
const TYPED: [&str; 17] = [
    "messages",
    "content",
    "tool_calls",
    "function",
    "custom",
    "image_url",
    "input_audio",
    "file",
    "tools",
    "stream_options",
    "function_call",
    "choices",
    "delta",
    "message",
    "usage",
    "error",
    "errors",
];

/// Numbers that the contract types: they count by their value.
const NUMBERS: [&str; 14] = [
    "temperature",
    "top_p",
    "n",
    "max_tokens",
    "max_completion_tokens",
    "presence_penalty",
    "frequency_penalty",
    "seed",
    "top_logprobs",
    "index",
    "created",
    "prompt_tokens",
    "completion_tokens",
    "total_tokens",
];

/// A JSON value.
#[derive(Clone, PartialEq, Eq)]
pub enum Json {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number, as it is written.
    Number(String),
    /// A string.
    Text(String),
    /// An array.
    List(Vec<Json>),
    /// An object, in the order of its members.
    Object(Vec<(String, Json)>),
}

impl Json {
    /// Reads a text; it must be JSON.
    pub fn parse(text: &str) -> Json {
        let raw: &RawValue = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
        let text = raw.get().trim();
        match text.as_bytes()[0] {
            b'n' => Json::Null,
            b't' => Json::Bool(true),
            b'f' => Json::Bool(false),
            b'"' => Json::Text(serde_json::from_str(text).unwrap()),
            b'[' => {
                let items: Vec<&RawValue> = serde_json::from_str(text).unwrap();
                Json::List(items.into_iter().map(|item| Json::parse(item.get())).collect())
            }
            b'{' => {
                let Members(members) = serde_json::from_str(text).unwrap();
                Json::Object(members)
            }
            _ => Json::Number(text.to_owned()),
        }
    }

    /// A text.
    pub fn text(text: impl Into<String>) -> Json {
        Json::Text(text.into())
    }

    /// A whole number.
    pub fn int(number: i64) -> Json {
        Json::Number(number.to_string())
    }

    /// The value of a member, or null.
    pub fn get(&self, name: &str) -> &Json {
        match self {
            Json::Object(members) => {
                members.iter().find(|(known, _)| known == name).map_or(&Json::Null, |(_, value)| value)
            }
            _ => &Json::Null,
        }
    }

    /// Whether an object has a member, whatever it is.
    pub fn has(&self, name: &str) -> bool {
        self.names().any(|known| known == name)
    }

    /// The names of an object's members; of anything else none.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let members = if let Json::Object(members) = self { &members[..] } else { &[] };
        members.iter().map(|(name, _)| name.as_str())
    }

    /// Whether an object has members beside these.
    pub fn others_than(&self, known: &[&str]) -> bool {
        self.names().any(|name| !known.contains(&name))
    }

    /// The items of an array; of anything else none.
    pub fn items(&self) -> &[Json] {
        if let Json::List(items) = self { items } else { &[] }
    }

    /// The text of a string.
    pub fn as_text(&self) -> Option<&str> {
        if let Json::Text(text) = self { Some(text) } else { None }
    }

    /// The number, if it is a whole one of 64 bits.
    pub fn as_int(&self) -> Option<i64> {
        if let Json::Number(text) = self { text.parse().ok() } else { None }
    }

    /// The members of an object; it must be one.
    pub fn members_mut(&mut self) -> &mut Vec<(String, Json)> {
        match self {
            Json::Object(members) => members,
            other => panic!("not an object: {other}"),
        }
    }

    /// Sets a member, in its place or at the end.
    pub fn set(&mut self, name: &str, value: Json) {
        let members = self.members_mut();
        match members.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => *known = value,
            None => members.push((name.to_owned(), value)),
        }
    }

    /// Takes a member out; null if it is not there.
    pub fn take(&mut self, name: &str) -> Json {
        let members = self.members_mut();
        let at = members.iter().position(|(known, _)| known == name);
        at.map_or(Json::Null, |at| members.remove(at).1)
    }

    /// Whether both say the same to whoever knows the contract, as [`TYPED`] and [`NUMBERS`] have it.
    pub fn says_the_same(&self, other: &Json) -> bool {
        match (self, other) {
            (Json::List(one), Json::List(two)) => {
                one.len() == two.len() && one.iter().zip(two).all(|(one, two)| one.says_the_same(two))
            }
            (Json::Object(one), Json::Object(two)) => {
                let given = |(_, value): &&(String, Json)| *value != Json::Null;
                one.iter().filter(given).count() == two.iter().filter(given).count()
                    && one.iter().filter(given).all(|(name, value)| {
                        let twin = other.get(name);
                        match name.as_str() {
                            name if TYPED.contains(&name) => value.says_the_same(twin),
                            name if NUMBERS.contains(&name) => value.has_the_value_of(twin),
                            _ => value == twin,
                        }
                    })
            }
            (one, two) => one == two,
        }
    }

    fn has_the_value_of(&self, other: &Json) -> bool {
        let (Json::Number(one), Json::Number(two)) = (self, other) else { return self == other };
        match (one.parse::<i64>(), two.parse::<i64>()) {
            (Ok(one), Ok(two)) => one == two,
            _ => matches!((one.parse::<f64>(), two.parse::<f64>()), (Ok(one), Ok(two)) if one == two),
        }
    }
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |text: &String| serde_json::to_string(text).unwrap();
        match self {
            Json::Null => f.write_str("null"),
            Json::Bool(flag) => write!(f, "{flag}"),
            Json::Number(number) => f.write_str(number),
            Json::Text(string) => f.write_str(&text(string)),
            Json::List(items) => {
                f.write_str("[")?;
                for (at, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if at == 0 { "" } else { "," })?;
                }
                f.write_str("]")
            }
            Json::Object(members) => {
                f.write_str("{")?;
                for (at, (name, value)) in members.iter().enumerate() {
                    write!(f, "{}{}:{value}", if at == 0 { "" } else { "," }, text(name))?;
                }
                f.write_str("}")
            }
        }
    }
}

// A failed comparison is read by people: JSON, not a tree of Rust.
impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

struct Members(Vec<(String, Json)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, &'de RawValue>()? {
                    members.push((name, Json::parse(value.get())));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(All)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_come_back_to_the_letter() {
        for text in
            [r#"{"z":1.50,"a":[9007199254740993,1e2,{"b":null}],"":"\"é\n"}"#, "[]", "{}", "-0", "true"]
        {
            assert_eq!(Json::parse(text).to_string(), text);
        }
    }

    #[test]
    fn what_is_typed_counts_by_its_meaning_and_what_is_not_to_the_letter() {
        let same = |one: &str, two: &str| Json::parse(one).says_the_same(&Json::parse(two));
        assert!(same(r#"{"n":1.0,"b":null,"c":"x"}"#, r#"{"c":"x","n":1}"#));
        assert!(same(r#"{"tools":[{"x":1,"y":2}]}"#, r#"{"tools":[{"y":2,"x":1}]}"#));
        assert!(!same(r#"{"other":[{"x":1,"y":2}]}"#, r#"{"other":[{"y":2,"x":1}]}"#));
        assert!(!same(r#"{"other":9007199254740993}"#, r#"{"other":9007199254740992}"#));
        assert!(!same(r#"{"seed":9223372036854775807}"#, r#"{"seed":9223372036854775806}"#));
        assert!(!same(r#"{"other":[1.0]}"#, r#"{"other":[1]}"#));
        assert!(!same(r#"{"tools":[]}"#, r#"{"tools":[{}]}"#));
        assert!(!same(r#"{"a":"1"}"#, r#"{"a":1}"#));
        assert!(!same(r#"{"a":1}"#, r#"{"a":1,"b":2}"#));
    }
}
