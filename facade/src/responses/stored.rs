//! Responses that are kept, and those that nobody waits for.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    response::Response,
};

use penstock_chassis::CallContext;
use penstock_proto::inference::v1::GenerateRequest;

use crate::{App, error::Error, head::Forwarded};

/// Begins one that nobody waits for.
pub(super) async fn start(
    _app: &App,
    _forwarded: &Forwarded,
    _context: &CallContext,
    _request: GenerateRequest,
) -> Result<Response, Error> {
    Err(Error::UnknownRoute)
}

/// One of them.
pub(crate) async fn get(State(_app): State<Arc<App>>, _request: Request) -> Result<Response, Error> {
    Err(Error::UnknownRoute)
}

/// Deletes one.
pub(crate) async fn delete(State(_app): State<Arc<App>>, _request: Request) -> Result<Response, Error> {
    Err(Error::UnknownRoute)
}

/// Ends one that nobody waits for.
pub(crate) async fn cancel(State(_app): State<Arc<App>>, _request: Request) -> Result<Response, Error> {
    Err(Error::UnknownRoute)
}

/// Lists what one of them answers.
pub(crate) async fn input_items(State(_app): State<Arc<App>>, _request: Request) -> Result<Response, Error> {
    Err(Error::UnknownRoute)
}
