//! Texts in the four shapes that OpenAI takes: a string, strings, the tokens of one text, the tokens of several.

use std::fmt;

use penstock_proto::inference::v1::{Prompt, TextList, TokenList, TokenLists, prompt::Kind};
use serde::de::{DeserializeSeed, Deserializer, Error, SeqAccess, Visitor};

/// What is said of a value of another shape.
const SHAPES: &str = "a string, an array of strings, an array of tokens or an array of arrays of tokens";
/// What is said of an array whose items differ.
const MIXED: &str = "must be an array of one kind: strings, tokens or arrays of tokens";

/// Reads texts.
pub(crate) struct Texts;

impl<'de> DeserializeSeed<'de> for Texts {
    type Value = Option<Prompt>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Texts {
    type Value = Option<Prompt>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(SHAPES)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Some(Prompt { kind: Some(Kind::Text(text.to_owned())) }))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        // The first item tells what all are; an empty list is judged where all of a request is.
        let mut kind = match items.next_element_seed(Item)? {
            None => Kind::Texts(TextList::default()),
            Some(One::Text(text)) => Kind::Texts(TextList { values: vec![text] }),
            Some(One::Token(token)) => Kind::Tokens(TokenList { values: vec![token] }),
            Some(One::Tokens(tokens)) => Kind::TokenLists(TokenLists { values: vec![tokens] }),
        };
        while let Some(item) = items.next_element_seed(Item)? {
            match (&mut kind, item) {
                (Kind::Texts(list), One::Text(text)) => list.values.push(text),
                (Kind::Tokens(list), One::Token(token)) => list.values.push(token),
                (Kind::TokenLists(lists), One::Tokens(tokens)) => lists.values.push(tokens),
                _ => return Err(A::Error::custom(MIXED)),
            }
        }
        Ok(Some(Prompt { kind: Some(kind) }))
    }
}

/// One item of a list.
enum One {
    Text(String),
    Token(i64),
    Tokens(TokenList),
}

struct Item;

impl<'de> DeserializeSeed<'de> for Item {
    type Value = One;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<One, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Item {
    type Value = One;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string, a token or an array of tokens")
    }

    fn visit_str<E>(self, text: &str) -> Result<One, E> {
        Ok(One::Text(text.to_owned()))
    }

    fn visit_i64<E: Error>(self, token: i64) -> Result<One, E> {
        Token.visit_i64(token).map(One::Token)
    }

    fn visit_u64<E: Error>(self, token: u64) -> Result<One, E> {
        Token.visit_u64(token).map(One::Token)
    }

    fn visit_f64<E: Error>(self, token: f64) -> Result<One, E> {
        Token.visit_f64(token).map(One::Token)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<One, A::Error> {
        let mut values = Vec::new();
        while let Some(token) = items.next_element_seed(Token)? {
            values.push(token);
        }
        Ok(One::Tokens(TokenList { values }))
    }
}

/// One token: engines number them from zero, and some have extra ones below.
struct Token;

impl<'de> DeserializeSeed<'de> for Token {
    type Value = i64;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<i64, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for Token {
    type Value = i64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a token: a whole number")
    }

    fn visit_i64<E>(self, token: i64) -> Result<i64, E> {
        Ok(token)
    }

    fn visit_u64<E: Error>(self, token: u64) -> Result<i64, E> {
        i64::try_from(token).map_err(|_| E::custom("must be a whole number that 64 bits can hold"))
    }

    /// `1.0` is a whole number to JSON Schema.
    #[allow(clippy::cast_possible_truncation)] // checked: below 2^53 nothing is lost
    fn visit_f64<E: Error>(self, token: f64) -> Result<i64, E> {
        if token.fract() == 0.0 && token.abs() < 9_007_199_254_740_992.0 {
            Ok(token as i64)
        } else {
            Err(E::custom("must be a whole number"))
        }
    }
}
