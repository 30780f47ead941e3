//! `StoredCompletions`: what callers see of the store of objects, each its own tenant's.

use penstock_proto::{
    Error, Reason, Violation,
    cache::v1::{DeleteRequest, GetRequest, ListRequest, Object, UpdateRequest},
    inference::v1::{
        DeleteStoredCompletionRequest, DeleteStoredCompletionResponse, GetStoredCompletionRequest,
        GetStoredCompletionResponse, ListStoredCompletionsRequest, ListStoredCompletionsResponse,
        ListStoredMessagesRequest, ListStoredMessagesResponse, StoredCompletion, StoredMessage,
        UpdateStoredCompletionRequest, UpdateStoredCompletionResponse, generate_request::Input,
        stored_completions_server::StoredCompletions,
    },
    stored::{self, CHAT_COMPLETION},
    validate,
};
use prost::Message as _;
use tonic::{Request, Response, Status};

use super::{Call, refused};
use crate::service::Router;

/// What is said of what is not there, or another tenant's.
const MISSING: &str = "there is no stored completion with this id";

impl Router {
    async fn stored<T>(&self, call: &Call<T>, id: &str) -> Result<StoredCompletion, Status> {
        let get = GetRequest { key: call.key(CHAT_COMPLETION, id) };
        let got = self.keeper.objects.clone().get(call.context.request(get)).await;
        completion(got.map_err(|status| refused(&status, MISSING))?.into_inner().object)
    }
}

#[tonic::async_trait]
impl StoredCompletions for Router {
    async fn list(
        &self,
        request: Request<ListStoredCompletionsRequest>,
    ) -> Result<Response<ListStoredCompletionsResponse>, Status> {
        let call = self.call(request).await?;
        let ListStoredCompletionsRequest { after, limit, newest_first, model, metadata } = call.message;
        let mut violations: Vec<Violation> = metadata.as_ref().map(validate::metadata).unwrap_or_default();
        violations.extend(stored::limit(limit).err());
        none(violations)?;
        let list = ListRequest {
            tenant: call.tenant,
            kind: CHAT_COMPLETION.to_owned(),
            after,
            limit,
            newest_first,
            model: model.map(|model| self.model_name(model)),
            metadata,
        };
        let page = self.keeper.objects.clone().list(call.context.request(list)).await;
        let page = page.map_err(|status| refused(&status, MISSING))?.into_inner();
        let completions = page.objects.into_iter().map(|object| completion(Some(object)).map(without_input));
        let completions = completions.collect::<Result<_, _>>()?;
        Ok(Response::new(ListStoredCompletionsResponse { completions, has_more: page.has_more }))
    }

    async fn get(
        &self,
        request: Request<GetStoredCompletionRequest>,
    ) -> Result<Response<GetStoredCompletionResponse>, Status> {
        let call = self.call(request).await?;
        let completion = Some(without_input(self.stored(&call, &call.message.id).await?));
        Ok(Response::new(GetStoredCompletionResponse { completion }))
    }

    async fn update(
        &self,
        request: Request<UpdateStoredCompletionRequest>,
    ) -> Result<Response<UpdateStoredCompletionResponse>, Status> {
        let call = self.call(request).await?;
        none(call.message.metadata.as_ref().map(validate::metadata).unwrap_or_default())?;
        let update = UpdateRequest {
            key: call.key(CHAT_COMPLETION, &call.message.id),
            metadata: call.message.metadata.clone(),
        };
        let updated = self.keeper.objects.clone().update(call.context.request(update)).await;
        let object = updated.map_err(|status| refused(&status, MISSING))?.into_inner().object;
        let completion = Some(without_input(completion(object)?));
        Ok(Response::new(UpdateStoredCompletionResponse { completion }))
    }

    async fn delete(
        &self,
        request: Request<DeleteStoredCompletionRequest>,
    ) -> Result<Response<DeleteStoredCompletionResponse>, Status> {
        let call = self.call(request).await?;
        let delete = DeleteRequest { key: call.key(CHAT_COMPLETION, &call.message.id) };
        let deleted = self.keeper.objects.clone().delete(call.context.request(delete)).await;
        deleted.map_err(|status| refused(&status, MISSING))?;
        Ok(Response::new(DeleteStoredCompletionResponse {}))
    }

    async fn list_messages(
        &self,
        request: Request<ListStoredMessagesRequest>,
    ) -> Result<Response<ListStoredMessagesResponse>, Status> {
        let call = self.call(request).await?;
        let limit = match stored::limit(call.message.limit) {
            Ok(limit) => limit,
            Err(violation) => return Err(Error::invalid(vec![violation]).into()),
        };
        let completion = self.stored(&call, &call.message.id).await?;
        let messages = messages(completion);
        let ListStoredMessagesRequest { after, newest_first, .. } = call.message;
        page(messages, after.as_deref(), limit, newest_first).map(Response::new).map_err(Status::from)
    }
}

fn none(violations: Vec<Violation>) -> Result<(), Error> {
    if violations.is_empty() { Ok(()) } else { Err(Error::invalid(violations)) }
}

fn completion(object: Option<Object>) -> Result<StoredCompletion, Status> {
    let Object { metadata, content, .. } = object.unwrap_or_default();
    // The decoder's error would say what it met.
    let completion = StoredCompletion::decode(content)
        .map_err(|_| Error::new(Reason::Internal, "the stored completion cannot be read"))?;
    Ok(StoredCompletion { metadata, ..completion })
}

fn without_input(mut completion: StoredCompletion) -> StoredCompletion {
    if let Some(request) = &mut completion.request {
        request.input = None;
    }
    completion
}

fn messages(completion: StoredCompletion) -> Vec<StoredMessage> {
    let StoredCompletion { id, request, .. } = completion;
    let Some(Input::Chat(chat)) = request.and_then(|request| request.input) else { return Vec::new() };
    let numbered = chat.messages.into_iter().enumerate();
    numbered
        .map(|(index, message)| StoredMessage { id: format!("{id}-{index}"), message: Some(message) })
        .collect()
}

fn page(
    mut messages: Vec<StoredMessage>,
    after: Option<&str>,
    limit: usize,
    newest_first: bool,
) -> Result<ListStoredMessagesResponse, Error> {
    if newest_first {
        messages.reverse();
    }
    if let Some(after) = after {
        let at = messages.iter().position(|message| message.id == after);
        let at = at.ok_or_else(|| Error::invalid(vec![stored::unknown_cursor()]))?;
        messages.drain(..=at);
    }
    let has_more = messages.len() > limit;
    messages.truncate(limit);
    Ok(ListStoredMessagesResponse { messages, has_more })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(after: Option<&str>, limit: usize, newest_first: bool) -> Option<(Vec<String>, bool)> {
        let messages = (0..3).map(|n| StoredMessage { id: format!("c-{n}"), message: None }).collect();
        let page = page(messages, after, limit, newest_first).ok()?;
        Some((page.messages.into_iter().map(|message| message.id).collect(), page.has_more))
    }

    #[test]
    fn messages_come_in_pages_of_either_order() {
        let expected =
            |ids: &[&str], has_more| Some((ids.iter().map(ToString::to_string).collect(), has_more));
        assert_eq!(ids(None, 3, false), expected(&["c-0", "c-1", "c-2"], false));
        assert_eq!(ids(None, 2, true), expected(&["c-2", "c-1"], true));
        assert_eq!(ids(Some("c-1"), 2, true), expected(&["c-0"], false));
        assert_eq!(ids(Some("c-2"), 2, false), expected(&[], false));
        assert_eq!(ids(Some("d-0"), 2, false), None);
    }
}
