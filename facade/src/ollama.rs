//! `/api/…`: Ollama's own API over the same calls of the mesh. What would change an engine does not exist.

mod answer;
mod chat;
mod clock;
mod images;
mod options;
mod problem;
mod prompt;
mod terms;
mod turns;

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    response::Response,
};
use bytes::BytesMut;
use penstock_proto::inference::v1::{GenerateChunk, GenerateRequest};

use self::{
    answer::{Answer, Shape},
    clock::Clock,
};
pub(crate) use self::problem::write as write_problem;
use crate::{
    App,
    completions::{self, Received, receive},
    error::Error,
};

/// `POST /api/chat`: answers a conversation.
pub(crate) async fn chat(State(app): State<Arc<App>>, request: Request) -> Result<Response, Error> {
    let received = receive(&app, request, chat::read).await?;
    respond(&app, received, Shape::Chat).await
}

/// `POST /api/generate`: answers a prompt.
pub(crate) async fn generate(State(app): State<Arc<App>>, request: Request) -> Result<Response, Error> {
    let received = receive(&app, request, prompt::read).await?;
    respond(&app, received, Shape::Prompt).await
}

async fn respond(app: &App, received: Received<GenerateRequest>, shape: Shape) -> Result<Response, Error> {
    let (model, clock) = (received.message.model.clone(), Clock::start());
    let answer = || Answer::new(shape, model, clock);
    let whole = |chunk: &GenerateChunk, out: &mut BytesMut| {
        // The name that was asked for does not matter: the chunk has the one that answered.
        Answer::new(shape, String::new(), clock).whole(chunk, out)
    };
    completions::generate(app, received, answer, whole).await
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
    let (name, rest) = field.split_at(field.find(['.', '[']).unwrap_or(field.len()));
    match name {
        "temperature" | "top_p" | "seed" | "stop" | "presence_penalty" | "frequency_penalty" => {
            format!("options.{field}")
        }
        "max_tokens" | "max_completion_tokens" => "options.num_predict".to_owned(),
        "reasoning_effort" => "think".to_owned(),
        "response_format" => "format".to_owned(),
        "messages" if rest.contains("].content[") => {
            // Images come first among the parts, so they have the same numbers.
            let image = rest.replacen("].content[", "].images[", 1);
            let end = image.match_indices(']').nth(1).map_or(image.len(), |(at, _)| at + 1);
            format!("messages{}", image.get(..end).unwrap_or(&image))
        }
        "messages" => format!("messages{}", rest.replacen("].reasoning_content", "].thinking", 1)),
        _ => field,
    }
}
