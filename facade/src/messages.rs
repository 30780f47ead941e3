//! `POST /v1/messages` and `POST /v1/messages/count_tokens`: Anthropic's API over the same calls of the mesh.

mod problem;

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    response::Response,
};

pub(crate) use self::problem::write as write_problem;
use crate::{App, error::Error};

/// Answers a conversation.
pub(crate) async fn create(State(_app): State<Arc<App>>, _request: Request) -> Result<Response, Error> {
    Err(Error::UnknownRoute)
}

/// Counts the tokens of a conversation.
pub(crate) async fn count_tokens(State(_app): State<Arc<App>>, _request: Request) -> Result<Response, Error> {
    Err(Error::UnknownRoute)
}

/// What a field of the contract is called here.
pub(crate) fn field(field: String) -> String {
    field
}
