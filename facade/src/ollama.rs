//! `/api/…`: Ollama's own API over the same calls of the mesh. What would change an engine does not exist.

mod problem;

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    response::Response,
};

pub(crate) use self::problem::write as write_problem;
use crate::{App, error::Error};

/// `POST /api/chat`: answers a conversation.
pub(crate) async fn chat(State(_app): State<Arc<App>>, _request: Request) -> Result<Response, Error> {
    Err(Error::UnknownRoute)
}

/// `POST /api/generate`: answers a prompt.
pub(crate) async fn generate(State(_app): State<Arc<App>>, _request: Request) -> Result<Response, Error> {
    Err(Error::UnknownRoute)
}

/// `POST /api/embed`: turns texts into vectors.
pub(crate) async fn embed(State(_app): State<Arc<App>>, _request: Request) -> Result<Response, Error> {
    Err(Error::UnknownRoute)
}

/// `POST /api/embeddings`: turns one text into a vector.
pub(crate) async fn embeddings(State(_app): State<Arc<App>>, _request: Request) -> Result<Response, Error> {
    Err(Error::UnknownRoute)
}

/// `GET /api/tags`: lists the models that the caller may use.
pub(crate) async fn tags(State(_app): State<Arc<App>>, _request: Request) -> Result<Response, Error> {
    Err(Error::UnknownRoute)
}

/// `POST /api/show`: what is known of a model.
pub(crate) async fn show(State(_app): State<Arc<App>>, _request: Request) -> Result<Response, Error> {
    Err(Error::UnknownRoute)
}

/// `GET /api/ps`: lists the models that are in an engine's memory.
pub(crate) async fn ps(State(_app): State<Arc<App>>, _request: Request) -> Result<Response, Error> {
    Err(Error::UnknownRoute)
}

/// `GET /api/version`.
pub(crate) async fn version() -> Result<Response, Error> {
    Err(Error::UnknownRoute)
}

/// What a field of the contract is called here.
pub(crate) fn field(field: String) -> String {
    field
}
