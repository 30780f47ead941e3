//! Vectors: the request, and the answer as floats or base64, in whatever order. An engine is not trusted to send
//! one for each text, of the same length, of numbers.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use penstock_proto::inference::v1::{EmbedRequest, EmbedResponse, Embedding, Extension, Usage};
use serde::{
    Deserialize, Deserializer,
    de::{Error as _, SeqAccess, Visitor},
};

use super::{chunk::UsageObject, request::DENIED, text::prompt};
use crate::{
    engine::house,
    error::{Error, Fault},
    json::{
        read::{Count, extension, object, raw, skip},
        write::Writer,
    },
    upstream::status::engine_error,
    vectors::texts_in,
};

/// Members of a request that the contract names, or that are settled here: no extension may stand for one.
const REQUEST: &[&str] = &["model", "input", "encoding_format", "dimensions", "user"];

/// The body of a request. Floats are asked for: every server knows them.
pub(in crate::engine) fn encode(request: &EmbedRequest, model: &str) -> Result<Vec<u8>, Error> {
    let mut writer = Writer::default();
    writer.object(|object| {
        object.member("model", model);
        prompt(object, "input", request.input.as_ref());
        object.member("encoding_format", "float");
        object.optional("dimensions", &request.dimensions);
        object.optional("user", &request.user);
        object.extensions("", &house::of_vectors(&request.extensions), REQUEST, DENIED);
    });
    writer.finish()
}

/// Reads the vectors that answer `request`, in the order of its texts.
pub(in crate::engine) fn read(json: &[u8], request: &EmbedRequest) -> Result<EmbedResponse, Fault> {
    let Reading { data, usage, error, extensions } = serde_json::from_slice::<List>(json)
        .map_err(|_| Fault::bad_answer("the engine sent what is no list of embeddings"))?
        .0;
    if let Some(error) = error {
        return Err(engine_error(error.as_bytes()));
    }
    let wanted = request.input.as_ref().map_or(0, texts_in);
    if data.len() != wanted {
        return Err(Fault::bad_answer("the engine sent another number of vectors than there are texts"));
    }
    let embeddings = in_order(data)?;
    let length = embeddings.first().map_or(0, |first| first.values.len());
    if length == 0 || embeddings.iter().any(|one| one.values.len() != length) {
        return Err(Fault::bad_answer("the engine sent vectors of different lengths, or without any number"));
    }
    Ok(EmbedResponse { model: request.model.clone(), embeddings, usage, extensions })
}

/// The vectors by their index; without any in the order that they came in.
fn in_order(data: Vec<Vector>) -> Result<Vec<Embedding>, Fault> {
    let mut places: Vec<Option<Embedding>> = Vec::new();
    places.resize_with(data.len(), || None);
    for (at, Vector { index, values }) in data.into_iter().enumerate() {
        let place = index.map_or(Some(at), |index| usize::try_from(index).ok());
        match place.and_then(|place| places.get_mut(place)) {
            Some(place @ None) => *place = Some(Embedding { values }),
            _ => return Err(Fault::bad_answer("the engine sent vectors with impossible indices")),
        }
    }
    Ok(places.into_iter().flatten().collect())
}

#[derive(Debug, Default)]
pub(super) struct Reading {
    data: Vec<Vector>,
    usage: Option<Usage>,
    error: Option<String>,
    extensions: Vec<Extension>,
}

#[derive(Debug, Default)]
pub(super) struct Vector {
    index: Option<i64>,
    values: Vec<f32>,
}

object!(List(Reading), |reading, map| {
    "data" => {
        let data = map.next_value::<Option<Vec<VectorObject>>>()?.unwrap_or_default();
        reading.data = data.into_iter().map(|vector| vector.0).collect();
    },
    "usage" => reading.usage = map.next_value::<Option<UsageObject>>()?.map(|usage| sane(usage.0)),
    "error" => reading.error = raw(&mut map)?.map(str::to_owned),
    "object" => if raw(&mut map)? == Some(r#""error""#) {
        reading.error.get_or_insert_default();
    },
    "model" => skip(&mut map)?,
} else |other| extension(&mut reading.extensions, &other, &mut map)?);

object!(VectorObject(Vector), |vector, map| {
    "index" => vector.index = map.next_value::<Count>()?.0,
    "embedding" => vector.values = map.next_value::<Values>()?.0,
} else |other| { let _ = other; skip(&mut map)? });

/// Usage with nothing negative in it, and nothing that was generated (D10).
fn sane(usage: Usage) -> Usage {
    let prompt_tokens = usage.prompt_tokens.max(0);
    Usage {
        prompt_tokens,
        completion_tokens: 0,
        total_tokens: usage.total_tokens.max(prompt_tokens),
        ..usage
    }
}

/// Numbers, or the base64 of their little-endian bytes.
struct Values(Vec<f32>);

impl<'de> Deserialize<'de> for Values {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Values;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("numbers or base64")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Values, A::Error> {
                let mut values = Vec::new();
                while let Some(value) = seq.next_element::<f32>()? {
                    // What a double holds and a float does not.
                    if !value.is_finite() {
                        return Err(A::Error::custom("is no number that a float can hold"));
                    }
                    values.push(value);
                }
                Ok(Values(values))
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Values, E> {
                let bytes = STANDARD.decode(text).map_err(|_| E::custom("is not base64"))?;
                let (floats, []) = bytes.as_chunks::<4>() else {
                    return Err(E::custom("is no whole number of floats"));
                };
                let values: Vec<f32> = floats.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
                match values.iter().all(|value| value.is_finite()) {
                    true => Ok(Values(values)),
                    false => Err(E::custom("holds what is no number")),
                }
            }
        }
        deserializer.deserialize_any(Either)
    }
}

#[cfg(test)]
mod tests {
    use penstock_proto::{
        Reason,
        inference::v1::{Prompt, TextList, TokenList, TokenLists, prompt::Kind},
    };
    use proptest::prelude::*;

    use super::*;

    fn request(kind: Kind) -> EmbedRequest {
        EmbedRequest {
            model: "asked".into(),
            input: Some(Prompt { kind: Some(kind) }),
            ..EmbedRequest::default()
        }
    }

    fn texts(count: usize) -> EmbedRequest {
        request(Kind::Texts(TextList { values: vec!["x".into(); count] }))
    }

    #[test]
    fn every_shape_of_input_is_written_as_it_came() {
        let list = |values: &[i64]| TokenList { values: values.to_vec() };
        for (kind, input) in [
            (Kind::Text("é\n".into()), r#""é\n""#),
            (Kind::Texts(TextList { values: vec!["a".into(), "b".into()] }), r#"["a","b"]"#),
            (Kind::Tokens(list(&[1, 2])), "[1,2]"),
            (Kind::TokenLists(TokenLists { values: vec![list(&[1]), list(&[2, 3])] }), "[[1],[2,3]]"),
        ] {
            let mut request = request(kind);
            request.dimensions = Some(8);
            request.extensions = vec![Extension { name: "truncate".into(), json: "true".into() }];
            let body = String::from_utf8(encode(&request, "engine/model").unwrap()).unwrap();
            let rest = r#""encoding_format":"float","dimensions":8,"truncate":true}"#;
            assert_eq!(body, format!(r#"{{"model":"engine/model","input":{input},{rest}"#));
        }
    }

    /// A5, A8.
    #[test]
    fn no_extension_stands_for_a_member_or_steers() {
        for name in ["Input", "encoding_format", "api_base"] {
            let mut request = texts(1);
            request.extensions = vec![Extension { name: name.into(), json: "1".into() }];
            assert!(matches!(encode(&request, "m"), Err(Error::Request(_))), "{name}");
        }
    }

    #[test]
    fn vectors_are_put_in_the_order_of_their_texts() {
        let json = r#"{"object":"list","model":"path","data":[{"index":1,"embedding":[1.5,-2e-1]},
            {"index":0,"object":"embedding","embedding":"AACAPwAAAEA="}],"usage":{"prompt_tokens":3,"total_tokens":3},"x":1}"#;
        let answer = read(json.as_bytes(), &texts(2)).unwrap();
        let values: Vec<_> = answer.embeddings.iter().map(|one| one.values.clone()).collect();
        assert_eq!(values, [vec![1.0, 2.0], vec![1.5, -0.2]]);
        assert_eq!((answer.model.as_str(), answer.usage.unwrap().total_tokens), ("asked", 3));
        assert_eq!(answer.extensions, [Extension { name: "x".into(), json: "1".into() }]);
        let unnumbered = r#"{"data":[{"embedding":[1]},{"embedding":[2]}]}"#;
        let answer = read(unnumbered.as_bytes(), &texts(2)).unwrap();
        assert_eq!((answer.embeddings[1].values.clone(), answer.usage), (vec![2.0], None));
    }

    #[test]
    fn c6_nonsense_is_a_bad_answer() {
        let one = |vector: &str| format!(r#"{{"data":[{{"index":0,"embedding":{vector}}}]}}"#);
        let two = |vectors: &str| format!(r#"{{"data":[{vectors}]}}"#);
        for (json, count) in [
            (one("[]"), 1),
            (one("null"), 1),
            (one("[1,null]"), 1),
            (one("[1e39]"), 1),
            (one("[[1]]"), 1),
            (one(r#""AAA""#), 1),
            (one(r#""AAAA""#), 1),
            // A NaN.
            (one(r#""AADAfw==""#), 1),
            (one("[1]"), 2),
            (two(r#"{"index":0,"embedding":[1]},{"index":0,"embedding":[1]}"#), 2),
            (two(r#"{"index":0,"embedding":[1]},{"index":2,"embedding":[1]}"#), 2),
            (two(r#"{"index":-1,"embedding":[1]}"#), 1),
            (two(r#"{"embedding":[1]},{"embedding":[1,2]}"#), 2),
            (two(r#"{"embedding":[1]},{"embedding":[2]}"#), 1),
            ("<html>".to_owned(), 1),
            ("{}".to_owned(), 1),
        ] {
            assert_eq!(
                read(json.as_bytes(), &texts(count)).unwrap_err().reason,
                Reason::EngineBadAnswer,
                "{json}"
            );
        }
        let error = r#"{"error":{"message":"boom"}}"#;
        assert_eq!(read(error.as_bytes(), &texts(1)).unwrap_err().reason, Reason::EngineFailed);
    }

    proptest! {
        #[test]
        fn floats_survive_both_ways_of_writing_them(values in prop::collection::vec(any::<f32>().prop_filter("finite", |v| v.is_finite()), 1..8)) {
            let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            for written in [serde_json::to_string(&values).unwrap(), format!("\"{}\"", STANDARD.encode(bytes))] {
                let json = format!(r#"{{"data":[{{"embedding":{written}}}]}}"#);
                let answer = read(json.as_bytes(), &texts(1)).unwrap();
                let read: Vec<_> = answer.embeddings[0].values.iter().map(|value| value.to_bits()).collect();
                prop_assert_eq!(read, values.iter().map(|value| value.to_bits()).collect::<Vec<_>>());
            }
        }
    }
}
