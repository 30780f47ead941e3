//! `/v1/chat/completions` beyond POST: stored completions are listed, given, labelled and deleted, and so are
//! their messages listed. Whose they are is decided behind gRPC.

mod query;

use std::sync::Arc;

use axum::{
    extract::{Path, Request, State, rejection::PathRejection},
    http::request::Parts,
    response::Response,
};
use bytes::{BufMut as _, BytesMut};
use penstock_proto::{
    Violation,
    inference::v1::{
        DeleteStoredCompletionRequest, Extension, GetStoredCompletionRequest, ListStoredCompletionsRequest,
        ListStoredMessagesRequest, Metadata, StoredCompletion, UpdateStoredCompletionRequest,
    },
};
use tonic::metadata::MetadataMap;

use self::query::Page;
use crate::{
    App,
    chat::{
        request::Pairs,
        stored::{write, write_message},
    },
    completions::{context, json, receive_within},
    error::Error,
    head::Forwarded,
    json::{
        object::{Given, object},
        read,
        write::{comma, nullable, value},
    },
};

/// The id in a path.
pub(crate) type Id = Result<Path<String>, PathRejection>;

/// Lists what the caller's tenant has stored.
pub(crate) async fn list(State(app): State<Arc<App>>, request: Request) -> Result<Response, Error> {
    let (head, _) = request.into_parts();
    let Page { after, limit, newest_first, model, metadata } = query::read(&head.uri, true)?;
    let message = ListStoredCompletionsRequest { after, limit, newest_first, model, metadata };
    let (about, answer, _) = app.stored.clone().list(call(&head, message)?).await?.into_parts();
    let ids = answer.completions.iter().map(|completion| completion.id.as_str());
    let mut out = begin_list();
    for completion in &answer.completions {
        comma(&mut out);
        write(completion, &mut out);
    }
    Ok(end_list(out, ids, answer.has_more, &about))
}

/// One of them.
pub(crate) async fn get(State(app): State<Arc<App>>, id: Id, request: Request) -> Result<Response, Error> {
    let (head, _) = request.into_parts();
    let message = GetStoredCompletionRequest { id: given(id)? };
    let (about, answer, _) = app.stored.clone().get(call(&head, message)?).await?.into_parts();
    Ok(written(answer.completion, &about))
}

/// Replaces its metadata.
pub(crate) async fn update(State(app): State<Arc<App>>, id: Id, request: Request) -> Result<Response, Error> {
    let id = given(id)?;
    let received = receive_within(UPDATE_MAX_BYTES, &app, request, read_update).await?;
    let mut call = received.context.request(UpdateStoredCompletionRequest { id, metadata: received.message });
    received.forwarded.put(call.metadata_mut());
    let (about, answer, _) = app.stored.clone().update(call).await?.into_parts();
    Ok(written(answer.completion, &about))
}

/// The metadata that an update gives; `None` takes all away.
pub(crate) fn read_update(body: &[u8]) -> Result<Option<Metadata>, Error> {
    let update: Update = read::read(body, |_| Vec::new())?;
    if let Some(unknown) = update.extensions.first() {
        let name: String = unknown.name.chars().take(64).collect();
        return Err(Error::Invalid(vec![Violation::new(
            name,
            "is not known here: only metadata can be changed",
        )]));
    }
    update
        .metadata
        .ok_or_else(|| Error::Invalid(vec![Violation::new("metadata", "is required: an object of strings")]))
}

/// Deletes one.
pub(crate) async fn delete(State(app): State<Arc<App>>, id: Id, request: Request) -> Result<Response, Error> {
    let (head, _) = request.into_parts();
    let id = given(id)?;
    let message = DeleteStoredCompletionRequest { id: id.clone() };
    let (about, _, _) = app.stored.clone().delete(call(&head, message)?).await?.into_parts();
    let mut out = BytesMut::from("{\"object\":\"chat.completion.deleted\",\"id\":");
    value(&mut out, &id);
    out.put_slice(b",\"deleted\":true}");
    Ok(json(out, &about))
}

/// Lists the messages that one of them answers.
pub(crate) async fn messages(
    State(app): State<Arc<App>>,
    id: Id,
    request: Request,
) -> Result<Response, Error> {
    let (head, _) = request.into_parts();
    let Page { after, limit, newest_first, .. } = query::read(&head.uri, false)?;
    let message = ListStoredMessagesRequest { id: given(id)?, after, limit, newest_first };
    let (about, answer, _) = app.stored.clone().list_messages(call(&head, message)?).await?.into_parts();
    let ids = answer.messages.iter().map(|message| message.id.as_str());
    let mut out = begin_list();
    for message in &answer.messages {
        comma(&mut out);
        write_message(message, &mut out);
    }
    Ok(end_list(out, ids, answer.has_more, &about))
}

/// Largest body of an update: sixteen pairs of the longest keys and values, all of it escaped, are 110 KB.
const UPDATE_MAX_BYTES: usize = 128 << 10;

/// The body of an update.
#[derive(Debug, Default)]
pub(crate) struct Update {
    /// `None`: not given. `Some(None)`: `null`, which takes all away.
    metadata: Option<Option<Metadata>>,
    extensions: Vec<Extension>,
}

object!(Update {
    "metadata" => metadata: Given(Pairs),
});

/// The id in a path, if it is text.
pub(crate) fn given(id: Id) -> Result<String, Error> {
    id.map(|Path(id)| id).map_err(|_| Error::Header("the path is not UTF-8"))
}

/// A call in the name of the one who sent this head.
pub(crate) fn call<T>(head: &Parts, message: T) -> Result<tonic::Request<T>, Error> {
    let mut call = context(&head.extensions).request(message);
    Forwarded::read(&head.headers)?.put(call.metadata_mut());
    Ok(call)
}

fn written(completion: Option<StoredCompletion>, about: &MetadataMap) -> Response {
    let mut out = BytesMut::with_capacity(1024);
    write(&completion.unwrap_or_default(), &mut out);
    json(out, about)
}

/// The begin of a list, before its entries.
pub(crate) fn begin_list() -> BytesMut {
    BytesMut::from("{\"object\":\"list\",\"data\":[")
}

/// The list with its end, after its entries.
pub(crate) fn end_list<'a>(
    mut out: BytesMut,
    mut ids: impl DoubleEndedIterator<Item = &'a str> + Clone,
    has_more: bool,
    about: &MetadataMap,
) -> Response {
    out.put_slice(b"],\"first_id\":");
    nullable(&mut out, ids.clone().next());
    out.put_slice(b",\"last_id\":");
    nullable(&mut out, ids.next_back());
    out.put_slice(b",\"has_more\":");
    value(&mut out, &has_more);
    out.put_u8(b'}');
    json(out, about)
}
