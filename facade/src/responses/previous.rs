//! The conversation that a request goes on with: what was asked and answered before, and the items that its input
//! only names. Both are fetched with the caller's own credential, so nobody gets at what is another's.

use std::collections::{HashMap, hash_map::Entry};

use penstock_chassis::CallContext;
use penstock_proto::{
    Reason, Violation,
    inference::v1::{
        ChatInput, GenerateRequest, GetResponseRequest, Message, ResponseStatus, StoredResponse,
        generate_request::Input,
    },
};
use tonic::Status;

use super::{
    items::{self, Item, Reference},
    request::Asked,
};
use crate::{App, error::Error, head::Forwarded};

/// Most responses whose items an input may name: each is fetched.
const RESPONSES_MAX: usize = 32;
/// Most items that it may name: some dozens of each of them.
const REFERENCES_MAX: usize = 1024;
/// Longest id that is repeated in an error, in characters: it is the client's own text.
const ID_MAX_CHARS: usize = 64;
/// The member that names the response to go on from.
const PREVIOUS: &str = "previous_response_id";

/// The request with its whole conversation: instructions, what was said before, and its own input.
///
/// # Errors
/// What it goes on with is not there, did not come to an answer, or is too large together.
pub(crate) async fn complete(
    app: &App,
    forwarded: &Forwarded,
    context: &CallContext,
    asked: Asked,
) -> Result<GenerateRequest, Error> {
    let Asked { mut request, instructions, items, previous_response_id, .. } = asked;
    let fetch = Fetch { app, forwarded, context };
    let before = match &previous_response_id {
        Some(id) => fetch.conversation(id).await?,
        None => Vec::new(),
    };
    let items = fetch.found(items, &before, previous_response_id.as_deref()).await?;
    let messages: Vec<_> = instructions.into_iter().chain(before).chain(items::conversation(items)).collect();
    let input = Input::Chat(ChatInput { messages });
    if input.encoded_len() > app.config.body_max_bytes {
        return Err(too_large());
    }
    request.input = Some(input);
    Ok(request)
}

/// The request of somebody who wants no answer to it: nothing is kept, and nothing that is kept is read.
///
/// # Errors
/// [`Error::Invalid`]: it goes on with what is kept.
pub(crate) fn alone(asked: Asked) -> Result<GenerateRequest, Error> {
    let Asked { mut request, instructions, items, previous_response_id, .. } = asked;
    let kept = |field: &str| Violation::new(field, "is not looked up here: give the conversation itself");
    let mut found: Vec<_> = previous_response_id.iter().map(|_| kept(PREVIOUS)).collect();
    found.extend(items.iter().filter_map(|item| match item {
        Item::Reference(reference) => Some(kept(&reference.field)),
        Item::Message(_) | Item::Reasoning { .. } | Item::Call(_) => None,
    }));
    if !found.is_empty() {
        return Err(Error::Invalid(found));
    }
    let messages = instructions.into_iter().chain(items::conversation(items)).collect();
    request.input = Some(Input::Chat(ChatInput { messages }));
    (request.store, request.response) = (None, None);
    Ok(request)
}

/// Gets responses in the caller's name.
struct Fetch<'a> {
    app: &'a App,
    forwarded: &'a Forwarded,
    context: &'a CallContext,
}

impl Fetch<'_> {
    /// What was asked and answered up to the end of this response, without its instructions.
    async fn conversation(&self, id: &str) -> Result<Vec<Message>, Error> {
        let StoredResponse { request, answer, .. } = self.whole(id, PREVIOUS, false).await?;
        let GenerateRequest { input, response, .. } = request.unwrap_or_default();
        let Some(Input::Chat(ChatInput { mut messages })) = input else { return Err(Error::NotWhole) };
        if response.is_some_and(|terms| terms.has_instructions) && !messages.is_empty() {
            messages.remove(0);
        }
        messages.push(items::spoken(&answer.ok_or(Error::NotWhole)?));
        Ok(messages)
    }

    /// The items with those that were only named. What the conversation `before` has already is not said twice.
    async fn found(
        &self,
        items: Vec<Item>,
        before: &[Message],
        previous: Option<&str>,
    ) -> Result<Vec<Item>, Error> {
        let mut answers = HashMap::new();
        let mut known: Option<Vec<Item>> = None;
        let (mut references, mut bytes) = (0, 0);
        let mut all = Vec::with_capacity(items.len());
        for item in items {
            let Item::Reference(reference) = item else {
                all.push(item);
                continue;
            };
            references += 1;
            if references > REFERENCES_MAX {
                let message = format!("is one more than the {REFERENCES_MAX} items that may be named");
                return Err(Error::Invalid(vec![Violation::new(reference.field, message)]));
            }
            let item = self.item(&reference, &mut answers).await?;
            let known = known.get_or_insert_with(|| before.iter().flat_map(items::items_of).collect());
            if previous != Some(reference.response_id.as_str()) && !known.contains(item) {
                // An id is short and what it names may be long: each time that it is named it is there once more.
                bytes += item.encoded_len();
                if bytes > self.app.config.body_max_bytes {
                    return Err(too_large());
                }
                all.push(item.clone());
            }
        }
        Ok(all)
    }

    /// The item, from the items of its response's answer, which is fetched once.
    async fn item<'a>(
        &self,
        reference: &Reference,
        answers: &'a mut HashMap<String, Vec<Item>>,
    ) -> Result<&'a Item, Error> {
        let so_many = answers.len();
        let answer = match answers.entry(reference.response_id.clone()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(_) if so_many == RESPONSES_MAX => {
                let message = format!("is of one more response than the {RESPONSES_MAX} that may be named");
                return Err(Error::Invalid(vec![Violation::new(&reference.field, message)]));
            }
            Entry::Vacant(unknown) => {
                let response = self.whole(&reference.response_id, &reference.field, true).await?;
                let answer = items::spoken(&response.answer.ok_or(Error::NotWhole)?);
                unknown.insert(items::items_of(&answer))
            }
        };
        reference.find(answer).ok_or_else(|| {
            let Reference { response_id, kind, index, field } = reference;
            missing(
                format!("Item with id '{}' not found.", items::item_id(*kind, response_id, *index)),
                field,
            )
        })
    }

    /// A response that was answered; `field` names it.
    async fn whole(&self, id: &str, field: &str, without_input: bool) -> Result<StoredResponse, Error> {
        let mut call = self.context.request(GetResponseRequest { id: id.to_owned(), without_input });
        self.forwarded.clone().put(call.metadata_mut());
        let got = self.app.responses.clone().get(call).await.map_err(|status| {
            let shown: String = id.chars().filter(|c| !c.is_control()).take(ID_MAX_CHARS).collect();
            match penstock_proto::Error::from(&status).reason {
                Reason::NotFound if field == PREVIOUS => {
                    missing(format!("Previous response with id '{shown}' not found."), field)
                }
                Reason::NotFound => missing(format!("Response with id '{shown}' not found."), field),
                _ => status.into(),
            }
        })?;
        let response = got.into_inner().response.unwrap_or_default();
        let so_far = match response.status() {
            ResponseStatus::Completed => return Ok(response),
            ResponseStatus::Failed => "failed",
            ResponseStatus::Cancelled => "was cancelled",
            _ => "has not been answered yet",
        };
        let message = format!("is of a response that {so_far}: only an answered one can be gone on from");
        Err(Error::Invalid(vec![Violation::new(field, message)]))
    }
}

fn too_large() -> Error {
    let message = "the conversation has become larger than a request may be: begin a new one";
    told(penstock_proto::Error::new(Reason::RequestTooLarge, message))
}

fn missing(message: String, field: &str) -> Error {
    let violations = vec![Violation::new(field, &message)];
    told(penstock_proto::Error { violations, ..penstock_proto::Error::new(Reason::NotFound, message) })
}

/// An error as the mesh would have said it.
pub(super) fn told(error: penstock_proto::Error) -> Error {
    Status::from(error).into()
}
