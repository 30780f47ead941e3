//! Vectors, by `/api/embed`: any number of texts at once, in order, none of them cut.

use penstock_proto::inference::v1::{EmbedRequest, EmbedResponse, Embedding, Usage, prompt::Kind};
use serde::Deserialize;

use super::options;
use crate::{
    engine::{Target, openai::request::DENIED},
    error::{Error, Fault},
    json::{read::Count, write::Writer},
};

const KNOWN: &[&str] =
    &["model", "input", "truncate", "shift", "dimensions", "options", "keep_alive", "think", "format"];

/// The body of a request.
pub(super) fn encode(request: &EmbedRequest, target: &Target) -> Result<Vec<u8>, Error> {
    let mut writer = Writer::default();
    writer.object(|object| {
        object.member("model", &target.model);
        match request.input.as_ref().and_then(|input| input.kind.as_ref()) {
            Some(Kind::Text(text)) => object.member("input", text),
            Some(Kind::Texts(texts)) => object.member("input", &texts.values),
            Some(Kind::Tokens(_) | Kind::TokenLists(_)) => {
                object.unsupported("input", "must be text for this engine, not tokens");
            }
            None => object.refuse("input", "is required"),
        }
        object.optional("dimensions", &request.dimensions);
        let (ours, theirs) = options::split(&request.extensions);
        ours.options(object, None, None, target);
        ours.keep_alive(object, target);
        ours.whole(object, false);
        object.extensions("", &theirs, KNOWN, DENIED);
    });
    writer.finish()
}

/// Reads the vectors: as many as there were texts, each of the same length.
pub(super) fn read(body: &[u8], request: &EmbedRequest) -> Result<EmbedResponse, Fault> {
    #[derive(Deserialize)]
    struct Vectors {
        embeddings: Vec<Vec<f32>>,
        #[serde(default)]
        prompt_eval_count: Count,
    }
    let vectors: Vectors =
        serde_json::from_slice(body).map_err(|_| Fault::bad_answer("the engine sent what are no vectors"))?;
    let asked = match request.input.as_ref().and_then(|input| input.kind.as_ref()) {
        Some(Kind::Texts(texts)) => texts.values.len(),
        _ => 1,
    };
    let length = vectors.embeddings.first().map_or(0, Vec::len);
    let is_sane = |vector: &Vec<f32>| vector.len() == length && vector.iter().all(|one| one.is_finite());
    if vectors.embeddings.len() != asked || length == 0 || !vectors.embeddings.iter().all(is_sane) {
        return Err(Fault::bad_answer("the engine sent vectors of wrong number or length"));
    }
    let prompt_tokens = vectors.prompt_eval_count.0.unwrap_or_default().max(0);
    Ok(EmbedResponse {
        model: request.model.clone(),
        embeddings: vectors.embeddings.into_iter().map(|values| Embedding { values }).collect(),
        usage: Some(Usage { prompt_tokens, total_tokens: prompt_tokens, ..Usage::default() }),
        extensions: Vec::new(),
    })
}
