//! `/v1/responses`: OpenAI's responses over the same calls of the mesh. A response is the answer to a conversation,
//! told in items; kept ones are asked for behind gRPC, where it is decided whose they are.

pub(crate) mod answer;
mod echo;
pub(crate) mod events;
pub(crate) mod items;
mod output;
pub(crate) mod previous;
pub(crate) mod request;
mod stored;

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use axum::{
    extract::{Request, State},
    response::Response,
};
use bytes::{BufMut as _, BytesMut};
use penstock_proto::inference::v1::{CountTokensRequest, GenerateChunk, GenerateRequest, ResponseTerms};

pub(crate) use self::stored::{cancel, delete, get, input_items};
use self::{
    answer::{Shown, Status},
    events::Responses,
    items::RESPONSE,
};
use crate::{
    App,
    completions::{self, Received},
    error::Error,
    json::write::{key, value},
};

/// Answers a conversation.
pub(crate) async fn create(State(app): State<Arc<App>>, request: Request) -> Result<Response, Error> {
    let Received { message: asked, forwarded, context } =
        completions::receive(&app, request, request::read).await?;
    let background = asked.background;
    let mut request = previous::complete(&app, &forwarded, &context, asked).await?;
    if background {
        return stored::start(&app, &forwarded, &context, request).await;
    }
    let terms = request.response.clone().unwrap_or_default();
    if request.store != Some(true) {
        // Nobody needs them behind gRPC.
        request.response = None;
    }
    let events = Responses::new(&terms, &request.model, now);
    let received = Received { message: request, forwarded, context };
    completions::generate(&app, received, || events, |chunk, out| write(chunk, &terms, out)).await
}

/// Writes the response whose whole answer is `chunk`, which has just come.
fn write(chunk: &GenerateChunk, terms: &ResponseTerms, out: &mut BytesMut) -> Result<(), Error> {
    let shown = Shown {
        id: &id(chunk),
        created: chunk.created,
        completed: Some(now()),
        status: Status::Completed,
        model: &chunk.model,
        terms,
        answer: Some(chunk),
        error: None,
        background: false,
    };
    answer::write(&shown, out)
}

/// Counts the tokens of a conversation.
pub(crate) async fn input_tokens(State(app): State<Arc<App>>, request: Request) -> Result<Response, Error> {
    let Received { message, forwarded, context } = completions::receive(&app, request, request::read).await?;
    let asked = previous::complete(&app, &forwarded, &context, message).await?;
    // None is made, so there is nothing to keep.
    let request = GenerateRequest { response: None, store: None, ..asked };
    let mut call = context.request(CountTokensRequest { request: Some(request) });
    forwarded.put(call.metadata_mut());
    let (metadata, counted, _) = app.router.clone().count_tokens(call).await?.into_parts();
    let mut out = BytesMut::from(&b"{\"object\":\"response.input_tokens\""[..]);
    key(&mut out, "\"input_tokens\":");
    value(&mut out, &counted.input_tokens);
    if counted.estimated {
        key(&mut out, "\"estimated\":true");
    }
    out.put_u8(b'}');
    Ok(completions::json(out, &metadata))
}

/// The id of a response: that under which it is kept, or one of no meaning.
fn id(chunk: &GenerateChunk) -> String {
    if chunk.id.starts_with(RESPONSE) {
        return chunk.id.clone();
    }
    format!("{RESPONSE}{}", uuid::Uuid::now_v7().simple())
}

/// Unix seconds.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    i64::try_from(since).unwrap_or_default()
}

/// What a field of the contract is called here.
pub(crate) fn field(field: String) -> String {
    // Its place is another one: several items are one message, and some messages were said before.
    if field == "messages" || field.starts_with("messages[") {
        return "input".to_owned();
    }
    let renamed = [
        ("max_completion_tokens", "max_output_tokens"),
        ("max_tokens", "max_output_tokens"),
        ("response_format.json_schema", "text.format"),
        ("response_format", "text.format"),
        ("reasoning_effort", "reasoning.effort"),
        ("verbosity", "text.verbosity"),
        ("logprobs", "include"),
    ];
    for (ours, theirs) in renamed {
        if let Some(rest) = field.strip_prefix(ours)
            && (rest.is_empty() || rest.starts_with(['.', '[']))
        {
            return format!("{theirs}{rest}");
        }
    }
    if field.starts_with("tools[") || field.starts_with("tool_choice.") {
        // Here a tool is one object, and there one in another.
        let nested = |step: &str| matches!(step, "function" | "custom" | "allowed_tools" | "grammar");
        if let Some((path, last)) = field.rsplit_once('.') {
            let steps: Vec<_> = path.split('.').filter(|step| !nested(step)).chain([last]).collect();
            return steps.join(".");
        }
    }
    field
}

#[cfg(test)]
mod tests;
