//! `GET /v1/models` and `GET /v1/models/{id}`, as OpenAI has them, or Anthropic for its clients. An id may hold
//! slashes and colons.

use std::sync::Arc;

use axum::{
    extract::{Path, Request, State, rejection::PathRejection},
    response::Response,
};
use bytes::{BufMut as _, BytesMut};
use penstock_proto::inference::v1::{Capabilities, ListModelsRequest, ListModelsResponse, Model};
use tonic::metadata::MetadataMap;

use crate::{
    App,
    completions::{context, json},
    error::Error,
    head::Forwarded,
    json::write::{comma, value},
    messages,
};

/// Lists the models that the caller may use.
pub(crate) async fn list(State(app): State<Arc<App>>, request: Request) -> Result<Response, Error> {
    let page = match is_anthropics(&request)? {
        true => Some(messages::models::read_page(request.uri())?),
        false => None,
    };
    let (answer, metadata) = ask(&app, &request, None)?.await?;
    if let Some(page) = page {
        let mut out = BytesMut::new();
        messages::models::write_page(&answer.models, &page, &mut out);
        return Ok(json(out, &metadata));
    }
    let mut out = BytesMut::from("{\"object\":\"list\",\"data\":[");
    for model in &answer.models {
        comma(&mut out);
        write(model, &mut out);
    }
    out.put_slice(b"]}");
    Ok(json(out, &metadata))
}

/// One model, by its name or an alias.
pub(crate) async fn get(
    State(app): State<Arc<App>>,
    id: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, Error> {
    let Ok(Path(id)) = id else { return Err(Error::Header("the path is not UTF-8")) };
    let write = if is_anthropics(&request)? { messages::models::write } else { write };
    let (answer, metadata) = ask(&app, &request, Some(id))?.await?;
    let model = answer.models.first().ok_or(Error::NoSuchModel)?;
    let mut out = BytesMut::new();
    write(model, &mut out);
    Ok(json(out, &metadata))
}

pub(crate) type Answer = (ListModelsResponse, MetadataMap);

/// Whether the client speaks Anthropic's API, which has the same paths for models.
fn is_anthropics(request: &Request) -> Result<bool, Error> {
    messages::expect_version(request.headers())?;
    Ok(request.headers().contains_key(messages::VERSION))
}

/// The call, made here and awaited by the caller: it must not hold the request, whose body is not `Sync`.
pub(crate) fn ask(
    app: &App,
    request: &Request,
    model: Option<String>,
) -> Result<impl Future<Output = Result<Answer, Error>> + use<>, Error> {
    let mut call = context(request.extensions()).request(ListModelsRequest { model });
    Forwarded::read(request.headers())?.put(call.metadata_mut());
    let mut router = app.router.clone();
    Ok(async move {
        let (metadata, answer, _) = router.list_models(call).await?.into_parts();
        Ok((answer, metadata))
    })
}

pub(crate) fn write(model: &Model, out: &mut BytesMut) {
    out.put_slice(b"{\"id\":");
    value(out, &model.id);
    out.put_slice(b",\"object\":\"model\",\"created\":");
    value(out, &model.created);
    out.put_slice(b",\"owned_by\":");
    value(out, &model.owned_by);
    if !model.aliases.is_empty() {
        out.put_slice(b",\"aliases\":");
        value(out, &model.aliases);
    }
    if let Some(known) = &model.capabilities {
        write_capabilities(known, out);
    }
    out.put_u8(b'}');
}

/// What is known of a model. Clients read the length of the context under two names: vLLM's, and the one of
/// gateways.
fn write_capabilities(known: &Capabilities, out: &mut BytesMut) {
    if let Some(tokens) = known.context_tokens {
        out.put_slice(b",\"context_length\":");
        value(out, &tokens);
        out.put_slice(b",\"max_model_len\":");
        value(out, &tokens);
    }
    let all = [
        ("chat", known.chat),
        ("completions", known.completions),
        ("embeddings", known.embeddings),
        ("moderations", known.moderations),
        ("tools", known.tools),
        ("vision", known.vision),
        ("audio", known.audio),
        ("json_schema", known.json_schema),
        ("prefill", known.prefill),
        ("logprobs", known.logprobs),
        ("multiple_choices", known.multiple_choices),
        ("reasoning", known.reasoning),
    ];
    // An empty list would read as "can do nothing", where only some of it is known to be impossible.
    if !all.iter().any(|(_, can)| *can == Some(true)) {
        return;
    }
    out.put_slice(b",\"capabilities\":[");
    for (word, _) in all.iter().filter(|(_, can)| *can == Some(true)) {
        comma(out);
        value(out, word);
    }
    out.put_u8(b']');
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn what_is_known_is_told_and_nothing_else() {
        let written = |capabilities| {
            let model =
                Model { id: "m".into(), created: 7, owned_by: "o".into(), capabilities, ..Model::default() };
            let mut out = BytesMut::new();
            write(&model, &mut out);
            serde_json::from_slice::<Value>(&out).unwrap()
        };
        let plain = json!({"id": "m", "object": "model", "created": 7, "owned_by": "o"});
        assert_eq!(written(None), plain);
        let length = Capabilities { context_tokens: Some(8192), ..Capabilities::default() };
        let mut expected = plain;
        (expected["context_length"], expected["max_model_len"]) = (json!(8192), json!(8192));
        assert_eq!(written(Some(length)), expected);
        let known = Capabilities { chat: Some(true), vision: Some(false), tools: Some(true), ..length };
        expected["capabilities"] = json!(["chat", "tools"]);
        assert_eq!(written(Some(known)), expected);
        let only_not = Capabilities { moderations: Some(false), ..Capabilities::default() };
        assert_eq!(written(Some(only_not)).get("capabilities"), None);
    }
}
