//! Responses that are kept, and those that nobody waits for. Whose they are, and who ends one, is decided behind
//! gRPC.

mod query;

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderValue, header::CONTENT_TYPE},
    response::Response,
};
use bytes::{Buf as _, BufMut as _, BytesMut};
use penstock_chassis::CallContext;
use penstock_proto::{
    Reason, Violation,
    inference::v1::{
        CancelResponseRequest, DeleteResponseRequest, GenerateRequest, GetResponseRequest, ResponseStatus,
        ResponseTerms, StartResponseRequest, StoredResponse, generate_request::Input,
    },
    stored,
};
use tonic::metadata::MetadataMap;

use self::query::{Page, Replay};
use super::{
    answer::{self, Shown, Status, failure_code},
    events::Responses,
    items::write::{Written, write_input},
    previous::told,
};
use crate::{
    App,
    completions::json,
    error::Error,
    head::Forwarded,
    json::write::{comma, value},
    stored::{Id, begin_list, call, end_list, given},
    stream::{EVENT_STREAM, Events as _},
};

/// Begins one that nobody waits for.
pub(super) async fn start(
    app: &App,
    forwarded: &Forwarded,
    context: &CallContext,
    request: GenerateRequest,
) -> Result<Response, Error> {
    let mut found = Vec::new();
    if request.store != Some(true) {
        let message = "needs store: a response that nobody waits for is asked for later, by its id";
        found.push(Violation::new("background", message));
    }
    if request.stream {
        let message = "must be false with background: ask for GET /v1/responses/{id} until it has ended, or leave \
                       background out";
        found.push(Violation::new("stream", message));
    }
    if !found.is_empty() {
        return Err(Error::Invalid(found));
    }
    let mut call = context.request(StartResponseRequest { request: Some(request) });
    forwarded.clone().put(call.metadata_mut());
    let (about, begun, _) = app.responses.clone().start(call).await?.into_parts();
    written(begun.response, &about)
}

/// One of them.
pub(crate) async fn get(State(app): State<Arc<App>>, id: Id, request: Request) -> Result<Response, Error> {
    let (head, _) = request.into_parts();
    let replay = query::of_one(&head.uri)?;
    let message = GetResponseRequest { id: given(id)?, without_input: true };
    let (about, got, _) = app.responses.clone().get(call(&head, message)?).await?.into_parts();
    let Some(Replay { after }) = replay else { return written(got.response, &about) };
    let mut response = json(replayed(&got.response.unwrap_or_default(), after)?, &about);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(EVENT_STREAM));
    Ok(response)
}

/// Deletes one.
pub(crate) async fn delete(State(app): State<Arc<App>>, id: Id, request: Request) -> Result<Response, Error> {
    let (head, _) = request.into_parts();
    let id = given(id)?;
    let message = DeleteResponseRequest { id: id.clone() };
    let (about, _, _) = app.responses.clone().delete(call(&head, message)?).await?.into_parts();
    let mut out = BytesMut::from("{\"id\":");
    value(&mut out, &id);
    out.put_slice(b",\"object\":\"response\",\"deleted\":true}");
    Ok(json(out, &about))
}

/// Ends one that nobody waits for.
pub(crate) async fn cancel(State(app): State<Arc<App>>, id: Id, request: Request) -> Result<Response, Error> {
    let (head, _) = request.into_parts();
    let message = CancelResponseRequest { id: given(id)? };
    let (about, ended, _) = app.responses.clone().cancel(call(&head, message)?).await?.into_parts();
    if ended.response.as_ref().is_some_and(|response| !response.background) {
        // In OpenAI's words.
        let message = "Cannot cancel a synchronous response.";
        return Err(told(penstock_proto::Error::new(Reason::BadRequest, message)));
    }
    written(ended.response, &about)
}

/// Lists what one of them answers.
pub(crate) async fn input_items(
    State(app): State<Arc<App>>,
    id: Id,
    request: Request,
) -> Result<Response, Error> {
    let (head, _) = request.into_parts();
    let page = query::of_items(&head.uri)?;
    let message = GetResponseRequest { id: given(id)?, without_input: false };
    let (about, got, _) = app.responses.clone().get(call(&head, message)?).await?.into_parts();
    let (items, has_more) = cut(of(got.response.unwrap_or_default()), &page)?;
    let mut out = begin_list();
    for item in &items {
        comma(&mut out);
        out.put_slice(&item.json);
    }
    Ok(end_list(out, items.iter().map(|item| item.id.as_str()), has_more, &about))
}

/// The items that a response answers, oldest first.
fn of(response: StoredResponse) -> Vec<Written> {
    let GenerateRequest { input, response: terms, .. } = response.request.unwrap_or_default();
    let Some(Input::Chat(chat)) = input else { return Vec::new() };
    let instructions = usize::from(terms.is_some_and(|terms| terms.has_instructions));
    write_input(&response.id, chat.messages.get(instructions..).unwrap_or_default())
}

/// A page of them, and whether there are more.
fn cut(mut items: Vec<Written>, page: &Page) -> Result<(Vec<Written>, bool), Error> {
    if page.newest_first {
        items.reverse();
    }
    if let Some(after) = &page.after {
        let at = items.iter().position(|item| item.id == *after);
        let at = at.ok_or_else(|| Error::Invalid(vec![stored::unknown_cursor()]))?;
        items.drain(..=at);
    }
    let has_more = items.len() > page.limit;
    items.truncate(page.limit);
    Ok((items, has_more))
}

/// The events by which a response would have come, but those up to the number `after`.
fn replayed(response: &StoredResponse, after: Option<usize>) -> Result<BytesMut, Error> {
    let (Some(answer), ResponseStatus::Completed) = (&response.answer, response.status()) else {
        let message = "must be false for this one: only a response that was answered is given as events";
        return Err(Error::Invalid(vec![Violation::new("stream", message)]));
    };
    let terms = response.request.as_ref().and_then(|request| request.response.clone()).unwrap_or_default();
    let mut events =
        Responses::new(&terms, &answer.model, super::now).kept(response.completed, response.background);
    let mut out = BytesMut::with_capacity(4096);
    events.write(answer, &mut out);
    if !events.end(&mut out) {
        return Err(Error::NotWhole);
    }
    // They are numbered from 0, one after the other.
    for _ in 0..after.map_or(0, |after| after.saturating_add(1)) {
        let Some(end) = out.windows(2).position(|pair| pair == b"\n\n") else { break };
        out.advance(end + 2);
    }
    Ok(out)
}

fn written(response: Option<StoredResponse>, about: &MetadataMap) -> Result<Response, Error> {
    let mut out = BytesMut::with_capacity(1024);
    write(&response.unwrap_or_default(), &mut out)?;
    Ok(json(out, about))
}

/// Writes a response as it stands.
///
/// # Errors
/// It is none.
pub(crate) fn write(response: &StoredResponse, out: &mut BytesMut) -> Result<(), Error> {
    let status = match response.status() {
        ResponseStatus::Queued => Status::Queued,
        ResponseStatus::InProgress => Status::InProgress,
        ResponseStatus::Completed if response.answer.is_some() => Status::Completed,
        ResponseStatus::Failed => Status::Failed,
        ResponseStatus::Cancelled => Status::Cancelled,
        ResponseStatus::Completed | ResponseStatus::Unspecified => return Err(Error::NotWhole),
    };
    let nothing = ResponseTerms::default();
    let request = response.request.as_ref();
    let code = response
        .failure
        .as_deref()
        .map(|reason| failure_code(Reason::parse(reason).unwrap_or(Reason::Internal)));
    let shown = Shown {
        id: &response.id,
        created: response.created,
        completed: response.completed,
        status,
        model: request.map_or("", |request| &request.model),
        terms: request.and_then(|request| request.response.as_ref()).unwrap_or(&nothing),
        answer: response.answer.as_ref(),
        error: code.zip(response.failure_message.as_deref()),
        background: response.background,
    };
    answer::write(&shown, out)
}

#[cfg(test)]
mod tests;
