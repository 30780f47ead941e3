//! `POST /v1/messages` and `POST /v1/messages/count_tokens`: Anthropic's API over the same calls of the mesh. A
//! translation and nothing else: what the contract has no words for is refused by name.

mod answer;
mod blocks;
mod conversation;
mod events;
pub(crate) mod models;
mod options;
mod places;
mod problem;
pub(crate) mod request;
mod translate;

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName},
    response::Response,
};
use bytes::{BufMut as _, BytesMut};
use penstock_proto::inference::v1::{CountTokensRequest, stop_sequences::Kind};

#[cfg(test)]
pub(crate) use self::answer::write;
use self::{events::MessageEvents, translate::Translated};
pub(crate) use self::{
    problem::write as write_problem,
    translate::{read, read_to_count},
};
use crate::{
    App,
    completions::{self, Received, json},
    error::Error,
    json::write::value,
};

/// Which version of the API a client speaks.
pub(crate) const VERSION: HeaderName = HeaderName::from_static("anthropic-version");
/// The newer one takes away what need not be sent, and says nothing anew that an answer must have.
const SPOKEN: [&str; 2] = ["2023-06-01", "2026-10-21"];

/// Answers a conversation.
pub(crate) async fn create(State(app): State<Arc<App>>, request: Request) -> Result<Response, Error> {
    expect_version(request.headers())?;
    let Received { message, forwarded, context } = completions::receive(&app, request, read).await?;
    let Translated { request: message, places } = message;
    let ends = match message.stop.as_ref().and_then(|stop| stop.kind.as_ref()) {
        Some(Kind::List(list)) => list.values.clone(),
        Some(Kind::Text(_)) | None => Vec::new(),
    };
    let places = Arc::new(places);
    let events = || MessageEvents::new(ends.clone(), Arc::clone(&places));
    let received = Received { message, forwarded, context };
    let answer = completions::generate(&app, received, events, |chunk, out| answer::write(chunk, &ends, out));
    answer.await.map_err(|error| places.told(error))
}

/// Counts the tokens of a conversation.
pub(crate) async fn count_tokens(State(app): State<Arc<App>>, request: Request) -> Result<Response, Error> {
    expect_version(request.headers())?;
    let Received { message, forwarded, context } = completions::receive(&app, request, read_to_count).await?;
    let Translated { request, places } = message;
    let mut call = context.request(CountTokensRequest { request: Some(request) });
    forwarded.put(call.metadata_mut());
    let counted = app.router.clone().count_tokens(call).await;
    let (metadata, counted, _) = counted.map_err(|status| places.told(Error::from(status)))?.into_parts();
    let mut out = BytesMut::from("{\"input_tokens\":");
    value(&mut out, &counted.input_tokens);
    if counted.estimated {
        out.put_slice(b",\"estimated\":true");
    }
    out.put_u8(b'}');
    Ok(json(out, &metadata))
}

pub(crate) fn expect_version(headers: &HeaderMap) -> Result<(), Error> {
    if headers.get_all(VERSION).iter().all(|version| SPOKEN.iter().any(|spoken| version == spoken)) {
        return Ok(());
    }
    Err(Error::Header(
        "anthropic-version must be 2023-06-01 or 2026-10-21, or left out: no other version is spoken here",
    ))
}

/// What a field of the contract is called here. Fields of the conversation have their places, see [`places`].
pub(crate) fn field(field: String) -> String {
    let renamed = match field.as_str() {
        "max_completion_tokens" => "max_tokens",
        "stop" => "stop_sequences",
        "user" => "metadata.user_id",
        "parallel_tool_calls" => "tool_choice.disable_parallel_tool_use",
        "tool_choice.function" | "tool_choice.function.name" => "tool_choice.name",
        "response_format.json_schema.schema" => "output_config.format.schema",
        field if field.starts_with("response_format") => "output_config.format",
        "reasoning_effort" => "output_config.effort",
        _ => return within_tools(field),
    };
    renamed.to_owned()
}

/// The function of a tool is the tool itself here.
fn within_tools(field: String) -> String {
    let Some((at, member)) = field.split_once("].function.").filter(|_| field.starts_with("tools[")) else {
        return field;
    };
    let member = if member == "parameters" { "input_schema" } else { member };
    format!("{at}].{member}")
}

#[cfg(test)]
mod tests;
