//! `/v1/responses`: OpenAI's responses over the same calls of the mesh. A response is the answer to a conversation,
//! told in items; kept ones are asked for behind gRPC, where it is decided whose they are.

mod stored;

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    response::Response,
};

pub(crate) use self::stored::{cancel, delete, get, input_items};
use crate::{App, error::Error};

/// Answers a conversation.
pub(crate) async fn create(State(_app): State<Arc<App>>, _request: Request) -> Result<Response, Error> {
    Err(Error::UnknownRoute)
}

/// Counts the tokens of a conversation.
pub(crate) async fn input_tokens(State(_app): State<Arc<App>>, _request: Request) -> Result<Response, Error> {
    Err(Error::UnknownRoute)
}

/// What a field of the contract is called here.
pub(crate) fn field(field: String) -> String {
    field
}
