//! Seeds that read one value each. `null` is the absence of a value. Numbers are read from their text, so
//! that what cannot be held is refused by name instead of being rounded, wrapped or called a syntax error.

use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, Visitor};
use serde_json::value::RawValue;

use super::raw::{self, DEPTH_MAX, Fault};

/// How the message of a value begins that is nested too deep: not a matter of its type, so it is told apart.
pub(crate) const TOO_DEEP: &str = "is nested too deep";

/// Text of any JSON value, checked by [`raw::check`].
pub(crate) struct RawText;

impl<'de> DeserializeSeed<'de> for RawText {
    type Value = &'de str;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<&'de str, D::Error> {
        let json = <&RawValue>::deserialize(deserializer)?.get();
        match raw::check(json) {
            Ok(()) => Ok(json),
            Err(Fault::Duplicate) => Err(D::Error::custom("has a member that is given twice")),
            Err(Fault::TooDeep) => {
                Err(D::Error::custom(format_args!("{TOO_DEEP}: {DEPTH_MAX} levels are allowed")))
            }
        }
    }
}

/// Text of a JSON value that begins with one of `first`.
pub(crate) struct Json {
    first: &'static [u8],
    what: &'static str,
}

impl Json {
    /// Any value.
    pub(crate) const ANY: Json = Json { first: b"", what: "" };
    /// An object.
    pub(crate) const OBJECT: Json = Json { first: b"{", what: "an object" };
    /// An array.
    pub(crate) const ARRAY: Json = Json { first: b"[", what: "an array" };
    /// A number, in the digits in which it came.
    pub(crate) const NUMBER: Json = Json { first: b"-0123456789", what: "a number" };
    /// A string or an array.
    pub(crate) const STRING_OR_ARRAY: Json = Json { first: b"\"[", what: "a string or an array" };
    /// A string or an object.
    pub(crate) const STRING_OR_OBJECT: Json = Json { first: b"\"{", what: "a string or an object" };
}

impl<'de> DeserializeSeed<'de> for Json {
    type Value = Option<String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<String>, D::Error> {
        let json = RawText.deserialize(deserializer)?;
        match json.as_bytes().first() {
            Some(b'n') => Ok(None),
            Some(first) if !self.first.is_empty() && !self.first.contains(first) => {
                Err(D::Error::custom(format_args!("must be {}", self.what)))
            }
            _ => Ok(Some(json.to_owned())),
        }
    }
}

/// A number that a double holds.
pub(crate) struct Number;

impl<'de> DeserializeSeed<'de> for Number {
    type Value = Option<f64>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<f64>, D::Error> {
        match <&RawValue>::deserialize(deserializer)?.get() {
            "null" => Ok(None),
            json => parse_number(json).map(Some).map_err(D::Error::custom),
        }
    }
}

fn parse_number(json: &str) -> Result<f64, &'static str> {
    if !is_number(json) {
        return Err("must be a number");
    }
    match json.parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(number),
        _ => Err("must be a number that a double can hold"),
    }
}

/// A whole number that 64 bits hold.
pub(crate) struct Integer;

impl<'de> DeserializeSeed<'de> for Integer {
    type Value = Option<i64>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<i64>, D::Error> {
        match <&RawValue>::deserialize(deserializer)?.get() {
            "null" => Ok(None),
            json => parse_integer(json).map(Some).map_err(D::Error::custom),
        }
    }
}

fn parse_integer(json: &str) -> Result<i64, &'static str> {
    if !is_number(json) {
        return Err("must be a whole number");
    }
    // `100.0` is a whole number to JSON Schema, and some clients write it so.
    let digits = match json.split_once('.') {
        Some((whole, fraction)) if fraction.bytes().all(|byte| byte == b'0') => whole,
        Some(_) => return Err("must be a whole number"),
        None if json.contains(['e', 'E']) => return Err("must be a whole number without an exponent"),
        None => json,
    };
    digits.parse().map_err(|_| "must be a whole number that 64 bits can hold")
}

/// Whether a text that is JSON is a number.
fn is_number(json: &str) -> bool {
    matches!(json.as_bytes().first(), Some(b'-' | b'0'..=b'9'))
}

macro_rules! scalar {
    ($(#[doc = $doc:literal])* $name:ident -> $type:ty, $what:literal, $visit:ident($from:ty), $convert:expr) => {
        $(#[doc = $doc])*
        pub(crate) struct $name;

        impl<'de> DeserializeSeed<'de> for $name {
            type Value = Option<$type>;

            fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
                deserializer.deserialize_any(self)
            }
        }

        impl<'de> Visitor<'de> for $name {
            type Value = Option<$type>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str($what)
            }

            fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
                Ok(None)
            }

            fn $visit<E: Error>(self, value: $from) -> Result<Self::Value, E> {
                Ok(Some($convert(value)))
            }
        }
    };
}

scalar!(/** A string. */ Text -> String, "a string", visit_str(&str), str::to_owned);
scalar!(/** A boolean. */ Flag -> bool, "true or false", visit_bool(bool), std::convert::identity);

/// A value whose absence is its default.
pub(crate) struct OrDefault<S>(pub(crate) S);

impl<'de, T: Default, S: DeserializeSeed<'de, Value = Option<T>>> DeserializeSeed<'de> for OrDefault<S> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        self.0.deserialize(deserializer).map(Option::unwrap_or_default)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A6.
    #[test]
    fn integers_are_exact_or_refused() {
        for (json, number) in [
            ("0", 0),
            ("-0", 0),
            ("100.0", 100),
            ("9223372036854775807", i64::MAX),
            ("-9223372036854775808", i64::MIN),
            ("-9007199254740991", -9_007_199_254_740_991),
        ] {
            assert_eq!(parse_integer(json), Ok(number), "{json}");
        }
        for json in ["1.5", "9223372036854775808", "1e3", "1.0e3", "\"1\"", "true", "[1]", "{}"] {
            assert!(parse_integer(json).is_err(), "{json}");
        }
    }

    /// A6.
    #[test]
    fn doubles_are_finite_or_refused() {
        assert_eq!(parse_number("-0").map(f64::is_sign_negative), Ok(true));
        assert_eq!(parse_number("1e-400"), Ok(0.0));
        for json in ["1e400", "-1e400", "\"0.5\"", "false", "[]"] {
            assert!(parse_number(json).is_err(), "{json}");
        }
    }

    proptest! {
        #[test]
        fn every_double_survives(number in any::<f64>().prop_filter("finite", |number| number.is_finite())) {
            let json = serde_json::to_string(&number).unwrap();
            prop_assert_eq!(parse_number(&json).map(f64::to_bits), Ok(number.to_bits()));
        }

        #[test]
        fn every_integer_survives(number in any::<i64>()) {
            prop_assert_eq!(parse_integer(&number.to_string()), Ok(number));
        }
    }
}
