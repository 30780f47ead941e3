//! `POST /v1/moderations`: read, ask the router, write. The judgements come back as the engine gave them.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    response::Response,
};
use bytes::{BufMut as _, BytesMut};
use penstock_proto::{
    inference::v1::{Extension, ModerateRequest, ModerateResponse},
    validate,
};

use crate::{
    App,
    completions::{Received, json, receive},
    error::Error,
    json::{
        object::object,
        read,
        value::{Json, Text},
        write::{extensions, raw, value},
    },
};

/// Handles the route.
pub(crate) async fn create(State(app): State<Arc<App>>, request: Request) -> Result<Response, Error> {
    let Received { message, forwarded, context } = receive(&app, request, read).await?;
    let mut call = context.request(message);
    forwarded.put(call.metadata_mut());
    let (metadata, answer, _) = app.router.clone().moderate(call).await?.into_parts();
    Ok(json(write(&answer), &metadata))
}

/// The members of a request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Moderation {
    model: Option<String>,
    input: Option<String>,
    extensions: Vec<Extension>,
}

object!(Moderation {
    "model" => model: Text,
    "input" => input: Json::STRING_OR_ARRAY,
});

pub(crate) fn read(body: &[u8]) -> Result<ModerateRequest, Error> {
    let judge = |given: &Moderation| validate::moderate_request(&given.clone().into());
    read::read(body, judge).map(ModerateRequest::from)
}

impl From<Moderation> for ModerateRequest {
    fn from(given: Moderation) -> Self {
        let Moderation { model, input, extensions } = given;
        ModerateRequest { model, input_json: input.unwrap_or_default(), extensions }
    }
}

pub(crate) fn write(answer: &ModerateResponse) -> BytesMut {
    let mut out = BytesMut::from("{\"id\":");
    value(&mut out, &answer.id);
    out.put_slice(b",\"model\":");
    value(&mut out, &answer.model);
    out.put_slice(b",\"results\":");
    raw(&mut out, &answer.results_json);
    extensions(&mut out, &answer.extensions, &["id", "model", "results"]);
    out.put_u8(b'}');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_input_is_taken_as_it_is() {
        for input in [r#""a""#, r#"[ "a" ]"#, r#"[{"type":"text","text":"a"}]"#] {
            let request = read(format!(r#"{{"input":{input},"x":1}}"#).as_bytes()).unwrap();
            assert_eq!((request.model, request.input_json.as_str()), (None, input));
            assert_eq!(request.extensions.len(), 1);
        }
        assert_eq!(read(br#"{"model":"m"}"#).unwrap().input_json, "");
        let error = penstock_proto::Error::from(&read(br#"{"input":7}"#).unwrap_err());
        assert_eq!(error.violations[0].field, "input");
        assert_eq!(error.violations[0].message, "must be a string or an array");
    }

    #[test]
    fn the_results_are_written_as_they_are() {
        let answer = ModerateResponse {
            id: "modr-1".into(),
            model: "m".into(),
            results_json: "[{\"flagged\": true}]".into(),
            extensions: vec![Extension { name: "x".into(), json: "1".into() }],
        };
        assert_eq!(write(&answer), r#"{"id":"modr-1","model":"m","results":[{"flagged": true}],"x":1}"#);
    }
}
