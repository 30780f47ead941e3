//! Reading: a macro that makes a `Deserialize` for a message of the contract, and lenient scalars. There is
//! no intermediate tree.

use std::{borrow::Cow, fmt};

use penstock_proto::inference::v1::Extension;
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

/// Makes a newtype around `$target` that reads a JSON object. The arms name the members; `$message` is the
/// message being filled, `$map` gives the value.
macro_rules! object {
    ($name:ident($target:ty), |$message:ident, $map:ident| { $($($key:literal)|+ => $take:expr,)* } else |$other:ident| $rest:expr) => {
        #[derive(Debug, Default)]
        pub(super) struct $name(pub(super) $target);

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Members;
                impl<'de> serde::de::Visitor<'de> for Members {
                    type Value = $target;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str("an object")
                    }

                    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut $map: A) -> Result<$target, A::Error> {
                        let mut $message = <$target>::default();
                        while let Some($other) = $map.next_key::<$crate::json::read::Key<'de>>()? {
                            match $other.as_str() {
                                $($($key)|+ => $take,)*
                                _ => $rest,
                            }
                        }
                        Ok($message)
                    }
                }
                deserializer.deserialize_map(Members).map($name)
            }
        }
    };
}
pub(crate) use object;

/// Name of a member, borrowed from the text unless it has escapes.
#[derive(Debug)]
pub(crate) struct Key<'a>(Cow<'a, str>);

impl Key<'_> {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// Keeps a member that the contract does not name, unless it is null: that says nothing.
pub(crate) fn extension<'de, A: MapAccess<'de>>(
    extensions: &mut Vec<Extension>,
    name: &Key<'de>,
    map: &mut A,
) -> Result<(), A::Error> {
    if let Some(json) = raw(map)? {
        extensions.push(Extension { name: name.as_str().to_owned(), json: json.to_owned() });
    }
    Ok(())
}

/// The text of a member's value; `None` for null.
pub(crate) fn raw<'de, A: MapAccess<'de>>(map: &mut A) -> Result<Option<&'de str>, A::Error> {
    let json = map.next_value::<&'de RawValue>()?.get();
    Ok((json != "null").then_some(json))
}

/// A text that some engines give in another shape: what is not a non-empty string is left out.
pub(crate) fn text(json: Option<&str>) -> Option<String> {
    serde_json::from_str::<String>(json.filter(|json| json.starts_with('"'))?)
        .ok()
        .filter(|text| !text.is_empty())
}

/// Skips a member.
pub(crate) fn skip<'de, A: MapAccess<'de>>(map: &mut A) -> Result<(), A::Error> {
    map.next_value::<IgnoredAny>().map(drop)
}

/// A whole number that engines write in many ways (D10): a float is rounded down, what is no number is absent.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Count(pub(crate) Option<i64>);

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Count;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number")
            }

            fn visit_i64<E>(self, number: i64) -> Result<Count, E> {
                Ok(Count(Some(number)))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Count, E> {
                Ok(Count(Some(i64::try_from(number).unwrap_or(i64::MAX))))
            }

            #[allow(clippy::cast_possible_truncation)] // saturates, and no count comes near 2^53
            fn visit_f64<E>(self, number: f64) -> Result<Count, E> {
                Ok(Count(number.is_finite().then_some(number as i64)))
            }

            fn visit_bool<E>(self, _: bool) -> Result<Count, E> {
                Ok(Count(None))
            }

            fn visit_unit<E>(self) -> Result<Count, E> {
                Ok(Count(None))
            }

            fn visit_str<E>(self, _: &str) -> Result<Count, E> {
                Ok(Count(None))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Count, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Count(None))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Count, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Count(None))
            }
        }
        deserializer.deserialize_any(Any)
    }
}
