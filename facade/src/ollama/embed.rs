//! `POST /api/embed` and the older `POST /api/embeddings`: the same vectors, of several texts and of one.

use std::time::Duration;

use bytes::{BufMut as _, BytesMut};
use penstock_proto::{
    Violation,
    inference::v1::{EmbedRequest, EmbedResponse, Extension, Prompt, prompt::Kind},
    validate,
};

use super::{
    answer::nanos,
    options::{Options, extend},
};
use crate::{
    error::Error,
    json::{
        object::{One, object},
        read,
        value::{Flag, Integer, Json, OrDefault, Text},
        write::{extensions, value},
    },
    text::prompt::Texts,
};

/// Members of an answer that are written anyway.
const ANSWER: [&str; 5] = ["model", "embeddings", "total_duration", "load_duration", "prompt_eval_count"];

/// The members of a request for vectors of several texts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Embed {
    model: String,
    input: Option<Prompt>,
    dimensions: Option<i64>,
    truncate: Option<bool>,
    options: Option<Options>,
    keep_alive: Option<String>,
    extensions: Vec<Extension>,
}

object!(Embed {
    "model" => model: OrDefault(Text),
    "input" => input: Texts,
    "dimensions" => dimensions: Integer,
    "truncate" => truncate: Flag,
    "options" => options: One::new(),
    "keep_alive" => keep_alive: Json::ANY,
});

/// The members of a request for the vector of one text.
#[derive(Clone, Debug, Default)]
pub(crate) struct EmbedOne {
    model: String,
    prompt: Option<String>,
    options: Option<Options>,
    keep_alive: Option<String>,
    extensions: Vec<Extension>,
}

object!(EmbedOne {
    "model" => model: OrDefault(Text),
    "prompt" => prompt: Text,
    "options" => options: One::new(),
    "keep_alive" => keep_alive: Json::ANY,
});

impl From<Embed> for EmbedRequest {
    fn from(given: Embed) -> Self {
        let mut others = Vec::new();
        // How to sample does not matter to a vector.
        extend(&mut others, "options", given.options.and_then(Options::into_house));
        extend(&mut others, "keep_alive", given.keep_alive);
        extend(&mut others, "truncate", given.truncate.map(|flag| flag.to_string()));
        others.extend(given.extensions);
        let Embed { model, input, dimensions, .. } = given;
        EmbedRequest { model, input, dimensions, user: None, extensions: others }
    }
}

impl From<EmbedOne> for Embed {
    fn from(given: EmbedOne) -> Self {
        let EmbedOne { model, prompt, options, keep_alive, extensions } = given;
        let input = prompt.map(|text| Prompt { kind: Some(Kind::Text(text)) });
        Embed { model, input, options, keep_alive, extensions, ..Embed::default() }
    }
}

/// Reads a request for vectors of several texts.
///
/// # Errors
/// Those of [`read::read`], and tokens, which Ollama does not take.
pub(crate) fn read(body: &[u8]) -> Result<EmbedRequest, Error> {
    let judge = |given: &Embed| validate::embed_request(&given.clone().into());
    let request = EmbedRequest::from(read::read::<Embed>(body, judge)?);
    match request.input.as_ref().and_then(|input| input.kind.as_ref()) {
        Some(Kind::Tokens(_) | Kind::TokenLists(_)) => {
            Err(Error::Invalid(vec![Violation::new("input", "must be a string or an array of strings")]))
        }
        _ => Ok(request),
    }
}

/// Reads a request for the vector of one text.
///
/// # Errors
/// Those of [`read::read`], and an empty text.
pub(crate) fn read_one(body: &[u8]) -> Result<EmbedRequest, Error> {
    let judge = |given: &EmbedOne| {
        let found = validate::embed_request(&Embed::from(given.clone()).into());
        let renamed = |field: String| if field == "input" { "prompt".to_owned() } else { field };
        found.into_iter().map(|one| Violation { field: renamed(one.field), ..one }).collect()
    };
    let given: EmbedOne = read::read(body, judge)?;
    // Seen here, since behind gRPC it has another name.
    if given.prompt.as_deref().is_none_or(str::is_empty) {
        return Err(Error::Invalid(judge(&given)));
    }
    Ok(Embed::from(given).into())
}

/// Writes the vectors of several texts, which took so long.
pub(crate) fn write(answer: &EmbedResponse, took: Duration) -> BytesMut {
    let mut out = BytesMut::from("{\"model\":");
    value(&mut out, &answer.model);
    out.put_slice(b",\"embeddings\":[");
    for (index, embedding) in answer.embeddings.iter().enumerate() {
        if index > 0 {
            out.put_u8(b',');
        }
        value(&mut out, &embedding.values);
    }
    out.put_slice(b"],\"total_duration\":");
    value(&mut out, &nanos(took));
    out.put_slice(b",\"load_duration\":0");
    if let Some(usage) = &answer.usage {
        out.put_slice(b",\"prompt_eval_count\":");
        value(&mut out, &usage.prompt_tokens);
    }
    extensions(&mut out, &answer.extensions, &ANSWER);
    out.put_u8(b'}');
    out
}

/// Writes the vector of one text.
pub(crate) fn write_one(answer: &EmbedResponse) -> BytesMut {
    let mut out = BytesMut::from("{\"embedding\":");
    let values = answer.embeddings.first().map(|embedding| embedding.values.as_slice());
    value(&mut out, values.unwrap_or_default());
    out.put_u8(b'}');
    out
}

#[cfg(test)]
mod tests {
    use penstock_proto::inference::v1::{Embedding, TextList, Usage};

    use super::*;

    fn fields(error: &Error) -> Vec<String> {
        penstock_proto::Error::from(error).violations.into_iter().map(|found| found.field).collect()
    }

    #[test]
    fn texts_are_read_with_how_the_engine_keeps_house() {
        let request = read(
            br#"{"model":"m","input":["a","b"],"dimensions":2,"truncate":true,"keep_alive":"5m","x":[ 1 ],
                "options":{"num_ctx":512,"temperature":0.5,"num_batch":null}}"#,
        )
        .unwrap();
        let texts = TextList { values: vec!["a".into(), "b".into()] };
        assert_eq!(request.input.unwrap().kind, Some(Kind::Texts(texts)));
        assert_eq!(request.dimensions, Some(2));
        let others: Vec<_> =
            request.extensions.iter().map(|other| (other.name.as_str(), other.json.as_str())).collect();
        let expected = [
            ("options", r#"{"num_ctx":512}"#),
            ("keep_alive", r#""5m""#),
            ("truncate", "true"),
            ("x", "[ 1 ]"),
        ];
        assert_eq!(others, expected);
        let one = read_one(br#"{"model":"m","prompt":"a"}"#).unwrap();
        assert_eq!((one.input.unwrap().kind, one.extensions), (Some(Kind::Text("a".into())), vec![]));
    }

    #[test]
    fn what_is_wrong_has_the_name_that_it_came_under() {
        for (body, expected) in [
            (r#"{"model":"m","input":[1,2]}"#, &["input"][..]),
            (r#"{"model":"m","input":[[1]]}"#, &["input"]),
            (r#"{"model":7,"input":{}}"#, &["model", "input"]),
        ] {
            assert_eq!(fields(&read(body.as_bytes()).unwrap_err()), expected, "{body}");
        }
        for (body, expected) in [
            (r#"{"model":"m","prompt":""}"#, &["prompt"][..]),
            (r#"{"model":"m"}"#, &["prompt"]),
            (r#"{"model":"m","prompt":["a"]}"#, &["prompt"]),
            (r#"{"prompt":""}"#, &["model", "prompt"]),
        ] {
            assert_eq!(fields(&read_one(body.as_bytes()).unwrap_err()), expected, "{body}");
        }
    }

    #[test]
    fn vectors_are_written_in_two_ways() {
        let answer = EmbedResponse {
            model: "m".into(),
            embeddings: vec![Embedding { values: vec![0.1, -2.0] }, Embedding { values: vec![1e-7] }],
            usage: Some(Usage { prompt_tokens: 3, ..Usage::default() }),
            extensions: vec![],
        };
        assert_eq!(
            write(&answer, Duration::from_nanos(7)),
            r#"{"model":"m","embeddings":[[0.1,-2.0],[1e-7]],"total_duration":7,"load_duration":0,"prompt_eval_count":3}"#
        );
        assert_eq!(write_one(&answer), r#"{"embedding":[0.1,-2.0]}"#);
    }
}
