//! `POST /v1/embeddings`: read, ask the router, write. How vectors are written is decided here alone: as numbers,
//! or as the base64 of their little-endian floats, which OpenAI's SDKs ask for.

use std::{fmt, sync::Arc};

use axum::{
    extract::{Request, State},
    response::Response,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::{BufMut as _, BytesMut};
use penstock_proto::{
    inference::v1::{EmbedRequest, EmbedResponse, Embedding, Extension, Prompt},
    validate,
};
use serde::de::{DeserializeSeed, Deserializer, Visitor};

use crate::{
    App,
    completions::{Received, json, receive},
    error::Error,
    json::{
        object::object,
        read,
        value::{Integer, OrDefault, Text},
        write::{comma, extensions, value},
    },
    text::prompt::Texts,
};

/// Larger answers are written off the threads that serve streams: so many numbers take some milliseconds.
const INLINE_MAX_VALUES: usize = 50_000;
/// Members of an answer that are written anyway.
const ANSWER: [&str; 4] = ["object", "data", "model", "usage"];

/// Handles the route.
pub(crate) async fn create(State(app): State<Arc<App>>, request: Request) -> Result<Response, Error> {
    let Received { message: (message, encoding), forwarded, context } = receive(&app, request, read).await?;
    answer(&app, Received { message, forwarded, context }, move |answer| write(answer, encoding)).await
}

/// Asks for vectors and gives them out in the words of an API.
pub(crate) async fn answer(
    app: &App,
    received: Received<EmbedRequest>,
    write: impl FnOnce(&EmbedResponse) -> BytesMut + Send + 'static,
) -> Result<Response, Error> {
    let Received { message, forwarded, context } = received;
    let mut call = context.request(message);
    forwarded.put(call.metadata_mut());
    let (metadata, answer, _) = app.router.clone().embed(call).await?.into_parts();
    let values: usize = answer.embeddings.iter().map(|one| one.values.len()).sum();
    let out = if values <= INLINE_MAX_VALUES {
        write(&answer)
    } else {
        // Not a task: it is waited for, and if the caller leaves it ends by itself.
        tokio::task::spawn_blocking(move || write(&answer)).await.map_err(|_| Error::Panicked)?
    };
    Ok(json(out, &metadata))
}

/// How vectors are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Encoding {
    #[default]
    Float,
    Base64,
}

/// The members of a request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Embeddings {
    model: String,
    input: Option<Prompt>,
    encoding: Encoding,
    dimensions: Option<i64>,
    user: Option<String>,
    extensions: Vec<Extension>,
}

object!(Embeddings {
    "model" => model: OrDefault(Text),
    "input" => input: Texts,
    "encoding_format" => encoding: OrDefault(Format),
    "dimensions" => dimensions: Integer,
    "user" => user: Text,
});

struct Format;

impl<'de> DeserializeSeed<'de> for Format {
    type Value = Option<Encoding>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for Format {
    type Value = Option<Encoding>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("float or base64")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
        match text {
            "float" => Ok(Some(Encoding::Float)),
            "base64" => Ok(Some(Encoding::Base64)),
            _ => Err(E::custom("must be float or base64")),
        }
    }
}

pub(crate) fn read(body: &[u8]) -> Result<(EmbedRequest, Encoding), Error> {
    let judge = |given: &Embeddings| validate::embed_request(&given.clone().into());
    let given: Embeddings = read::read(body, judge)?;
    let encoding = given.encoding;
    Ok((given.into(), encoding))
}

impl From<Embeddings> for EmbedRequest {
    fn from(given: Embeddings) -> Self {
        let Embeddings { model, input, dimensions, user, extensions, .. } = given;
        EmbedRequest { model, input, dimensions, user, extensions }
    }
}

pub(crate) fn write(answer: &EmbedResponse, encoding: Encoding) -> BytesMut {
    let mut out = BytesMut::from("{\"object\":\"list\",\"data\":[");
    let mut bytes = Vec::new();
    for (index, embedding) in answer.embeddings.iter().enumerate() {
        comma(&mut out);
        out.put_slice(b"{\"object\":\"embedding\",\"index\":");
        value(&mut out, &index);
        out.put_slice(b",\"embedding\":");
        match encoding {
            // Each number as short as it can be without being another one.
            Encoding::Float => value(&mut out, &embedding.values),
            Encoding::Base64 => write_base64(embedding, &mut bytes, &mut out),
        }
        out.put_u8(b'}');
    }
    out.put_slice(b"],\"model\":");
    value(&mut out, &answer.model);
    out.put_slice(b",\"usage\":");
    match &answer.usage {
        Some(usage) => {
            out.put_slice(b"{\"prompt_tokens\":");
            value(&mut out, &usage.prompt_tokens);
            out.put_slice(b",\"total_tokens\":");
            value(&mut out, &usage.total_tokens);
            if usage.estimated {
                out.put_slice(b",\"estimated\":true");
            }
            let ours = ["prompt_tokens", "completion_tokens", "total_tokens", "estimated"];
            extensions(&mut out, &usage.extensions, &ours);
            out.put_u8(b'}');
        }
        None => out.put_slice(b"null"),
    }
    extensions(&mut out, &answer.extensions, &ANSWER);
    out.put_u8(b'}');
    out
}

/// Writes a vector as a string; `bytes` is used again and again.
fn write_base64(embedding: &Embedding, bytes: &mut Vec<u8>, out: &mut BytesMut) {
    bytes.clear();
    bytes.extend(embedding.values.iter().flat_map(|value| value.to_le_bytes()));
    out.put_u8(b'"');
    out.put_slice(STANDARD.encode(bytes).as_bytes());
    out.put_u8(b'"');
}

#[cfg(test)]
mod tests {
    use penstock_proto::inference::v1::{Usage, prompt::Kind};
    use proptest::prelude::*;

    use super::*;

    fn answer(vectors: Vec<Vec<f32>>) -> EmbedResponse {
        EmbedResponse {
            model: "m".into(),
            embeddings: vectors.into_iter().map(|values| Embedding { values }).collect(),
            usage: Some(Usage { prompt_tokens: 3, total_tokens: 3, ..Usage::default() }),
            extensions: vec![Extension { name: "x".into(), json: "[ 1 ]".into() }],
        }
    }

    #[test]
    fn vectors_are_written_as_numbers_or_as_base64() {
        let answer = answer(vec![vec![1.0, 0.1], vec![-1e-7, 2.0]]);
        let rest = r#"],"model":"m","usage":{"prompt_tokens":3,"total_tokens":3},"x":[ 1 ]}"#;
        for (encoding, first, second) in [
            (Encoding::Float, "[1.0,0.1]", "[-1e-7,2.0]"),
            (Encoding::Base64, "\"AACAP83MzD0=\"", "\"lb/WswAAAEA=\""),
        ] {
            let first = format!(r#"{{"object":"embedding","index":0,"embedding":{first}}}"#);
            let second = format!(r#"{{"object":"embedding","index":1,"embedding":{second}}}"#);
            let expected = format!(r#"{{"object":"list","data":[{first},{second}{rest}"#);
            assert_eq!(write(&answer, encoding), expected);
        }
    }

    #[test]
    fn a_request_is_read_with_its_encoding() {
        let body = br#"{"model":"m","input":["a"],"encoding_format":"base64","dimensions":8,"user":"u","truncate":true}"#;
        let (request, encoding) = read(body).unwrap();
        assert_eq!(encoding, Encoding::Base64);
        assert!(matches!(request.input.unwrap().kind, Some(Kind::Texts(_))));
        assert_eq!((request.dimensions, request.user.as_deref()), (Some(8), Some("u")));
        assert_eq!(request.extensions[0].name, "truncate");
        for (format, expected) in [("null", Encoding::Float), (r#""float""#, Encoding::Float)] {
            let body = format!(r#"{{"model":"m","input":"a","encoding_format":{format}}}"#);
            assert_eq!(read(body.as_bytes()).unwrap().1, expected);
        }
        for format in [r#""int8""#, "7"] {
            let body = format!(r#"{{"model":"m","input":"a","encoding_format":{format}}}"#);
            let error = penstock_proto::Error::from(&read(body.as_bytes()).unwrap_err());
            assert_eq!(error.violations[0].field, "encoding_format");
            assert_eq!(error.violations[0].message, "must be float or base64");
        }
    }

    proptest! {
        #[test]
        fn no_number_becomes_another_one(values in prop::collection::vec(any::<f32>().prop_filter("finite", |v| v.is_finite()), 1..8)) {
            let expected: Vec<u32> = values.iter().map(|value| value.to_bits()).collect();
            let read = |encoding| {
                let json: serde_json::Value = serde_json::from_slice(&write(&answer(vec![values.clone()]), encoding)).unwrap();
                json["data"][0]["embedding"].clone()
            };
            let floats: Vec<f32> = serde_json::from_value(read(Encoding::Float)).unwrap();
            prop_assert_eq!(floats.iter().map(|value| value.to_bits()).collect::<Vec<_>>(), expected.clone());
            let bytes = STANDARD.decode(read(Encoding::Base64).as_str().unwrap()).unwrap();
            let floats: Vec<u32> = bytes.chunks(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
            prop_assert_eq!(floats, expected);
        }
    }
}
