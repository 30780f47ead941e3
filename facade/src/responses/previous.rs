//! The conversation that a request goes on with.

use penstock_chassis::CallContext;
use penstock_proto::inference::v1::{ChatInput, GenerateRequest, generate_request::Input};

use super::{items, request::Asked};
use crate::{App, error::Error, head::Forwarded};

/// The request with its whole conversation: instructions, what was said before, and its own input.
///
/// # Errors
/// What it goes on with is not there.
pub(crate) async fn complete(
    _app: &App,
    _forwarded: &Forwarded,
    _context: &CallContext,
    asked: Asked,
) -> Result<GenerateRequest, Error> {
    let Asked { mut request, instructions, items, .. } = asked;
    let own = items::conversation(items);
    if let Some(terms) = &mut request.response {
        terms.own_messages = i64::try_from(own.len()).unwrap_or(i64::MAX);
    }
    let messages = instructions.into_iter().chain(own).collect();
    request.input = Some(Input::Chat(ChatInput { messages }));
    Ok(request)
}
