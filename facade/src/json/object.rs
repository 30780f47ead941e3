//! Reading an object straight into a message: members that the contract names are typed, all others are kept
//! as text in `extensions`, and no member may come twice. Names are compared exactly, case included.

use std::{borrow::Cow, convert::Infallible, fmt, marker::PhantomData};

use penstock_proto::inference::v1::Extension;
use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::{raw::Names, value::RawText};

/// A message that is a JSON object on the wire. Implemented by [`object!`].
pub(crate) trait Object: Default {
    /// The message's name in the contract, or that of a type of ours.
    const NAME: &'static str;

    /// Each member that the contract names, and the field that holds it: what the OpenAPI document is made of.
    const MEMBERS: &'static [(&'static str, &'static str)];

    /// Reads the value of `name` if the contract names it. False: it does not, and nothing was read.
    fn member<'de, A: MapAccess<'de>>(
        &mut self,
        name: &str,
        seen: &mut u64,
        map: &mut A,
    ) -> Result<bool, A::Error>;

    /// Where the other members go.
    fn extensions(&mut self) -> &mut Vec<Extension>;
}

/// Implements [`Object`]: for each member its name, the field, and the seed that reads it.
macro_rules! object {
    ($type:ident { $($name:literal => $field:ident: $seed:expr,)* }) => {
        impl $crate::json::object::Object for $type {
            const NAME: &'static str = stringify!($type);
            const MEMBERS: &'static [(&'static str, &'static str)] = &[$(($name, stringify!($field)),)*];

            fn member<'de, A: serde::de::MapAccess<'de>>(
                &mut self,
                name: &str,
                seen: &mut u64,
                map: &mut A,
            ) -> Result<bool, A::Error> {
                #[allow(non_camel_case_types)]
                enum Bit { $($field,)* }
                match name {
                    $($name => {
                        self.$field = $crate::json::object::once(seen, Bit::$field as u32, map, $seed)?;
                    })*
                    _ => return Ok(false),
                }
                Ok(true)
            }

            fn extensions(&mut self) -> &mut Vec<penstock_proto::inference::v1::Extension> {
                &mut self.extensions
            }
        }
    };
}
pub(crate) use object;

/// Members that an API does not know and the contract does, under another meaning or name: an engine would not get
/// them. Those that are `null` ask for nothing.
pub(crate) fn foreign<T: Object>(extensions: &[Extension]) -> impl Iterator<Item = &str> {
    let asked = extensions.iter().filter(|extension| extension.json != "null");
    let named = |name: &&str| T::MEMBERS.iter().any(|(member, _)| member == name);
    asked.map(|extension| extension.name.as_str()).filter(named)
}

/// What is said of a member that comes again.
pub(crate) const TWICE: &str = "is given twice";

/// Reads a value, unless the bit of its member is set already.
pub(crate) fn once<'de, A: MapAccess<'de>, S: DeserializeSeed<'de>>(
    seen: &mut u64,
    bit: u32,
    map: &mut A,
    seed: S,
) -> Result<S::Value, A::Error> {
    let mask = 1_u64 << bit;
    if *seen & mask != 0 {
        match map.next_value_seed(Refuse(TWICE))? {}
    }
    *seen |= mask;
    map.next_value_seed(seed)
}

/// Refuses a value whatever it is: as an error *of the value*, so that it carries the value's path.
struct Refuse(&'static str);

impl<'de> DeserializeSeed<'de> for Refuse {
    type Value = Infallible;

    fn deserialize<D: Deserializer<'de>>(self, _: D) -> Result<Infallible, D::Error> {
        Err(D::Error::custom(self.0))
    }
}

/// A name of a member, borrowed unless it has escapes.
struct Name<'de>(Cow<'de, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameVisitor;

        impl<'de> Visitor<'de> for NameVisitor {
            type Value = Name<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }

            fn visit_borrowed_str<E: Error>(self, name: &'de str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Borrowed(name)))
            }

            fn visit_str<E: Error>(self, name: &str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Owned(name.to_owned())))
            }
        }

        deserializer.deserialize_str(NameVisitor)
    }
}

/// Reads a message.
pub(crate) struct Whole<T>(PhantomData<T>);

impl<T> Whole<T> {
    pub(crate) fn new() -> Self {
        Self(PhantomData)
    }
}

impl<'de, T: Object> DeserializeSeed<'de> for Whole<T> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, T: Object> Visitor<'de> for Whole<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<T, A::Error> {
        let mut object = T::default();
        let mut seen = 0;
        let mut others = Names::default();
        while let Some(Name(name)) = map.next_key()? {
            if object.member(&name, &mut seen, &mut map)? {
                continue;
            }
            if !others.insert(name.clone()) {
                match map.next_value_seed(Refuse(TWICE))? {}
            }
            let json = map.next_value_seed(RawText)?.to_owned();
            object.extensions().push(Extension { name: name.into_owned(), json });
        }
        Ok(object)
    }
}

/// Reads a message, or nothing from `null`.
pub(crate) struct One<T>(PhantomData<T>);

impl<T> One<T> {
    pub(crate) fn new() -> Self {
        Self(PhantomData)
    }
}

impl<'de, T: Object> DeserializeSeed<'de> for One<T> {
    type Value = Option<T>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<T>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, T: Object> Visitor<'de> for One<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_unit<E: Error>(self) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Option<T>, A::Error> {
        Whole::new().visit_map(map).map(Some)
    }
}

/// Reads a value and says that it was given, even if it was `null`.
pub(crate) struct Given<S>(pub(crate) S);

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Given<S> {
    type Value = Option<S::Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        self.0.deserialize(deserializer).map(Some)
    }
}

/// Reads a list of messages; an empty one from `null`.
pub(crate) struct List<T>(PhantomData<T>);

impl<T> List<T> {
    pub(crate) fn new() -> Self {
        Self(PhantomData)
    }
}

impl<'de, T: Object> DeserializeSeed<'de> for List<T> {
    type Value = Vec<T>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<T>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, T: Object> Visitor<'de> for List<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of objects")
    }

    fn visit_unit<E: Error>(self) -> Result<Vec<T>, E> {
        Ok(Vec::new())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<T>, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(Whole::new())? {
            list.push(item);
        }
        Ok(list)
    }
}
