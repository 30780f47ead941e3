//! `/api/…`: Ollama's own API over the same calls of the mesh. What would change an engine does not exist.

pub(crate) mod answer;
pub(crate) mod chat;
pub(crate) mod clock;
pub(crate) mod embed;
mod images;
pub(crate) mod models;
pub(crate) mod options;
mod problem;
pub(crate) mod prompt;
mod terms;
pub(crate) mod turns;

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderValue, header::CONTENT_TYPE},
    response::Response,
};
use bytes::BytesMut;
use penstock_proto::inference::v1::{GenerateChunk, GenerateRequest, ListModelsRequest};

pub(crate) use self::problem::write as write_problem;
use self::{
    answer::{Answer, Shape},
    clock::Clock,
};
use crate::{
    App,
    completions::{self, Received, json, receive},
    embeddings,
    error::Error,
};

/// The version of Ollama's API that is spoken here.
const VERSION: &str = "0.12.6";

/// What is said of paths below `/api` that do not exist.
pub(crate) const NO_SUCH_URL: &str = "there is no such URL; models are answered here and not kept: pull, create, \
                                      copy, push and delete them at the engine itself";

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
pub(crate) async fn embed(State(app): State<Arc<App>>, request: Request) -> Result<Response, Error> {
    let received = receive(&app, request, embed::read).await?;
    let clock = Clock::start();
    embeddings::answer(&app, received, move |answer| embed::write(answer, clock.elapsed())).await
}

/// `POST /api/embeddings`: turns one text into a vector.
pub(crate) async fn embed_one(State(app): State<Arc<App>>, request: Request) -> Result<Response, Error> {
    let received = receive(&app, request, embed::read_one).await?;
    embeddings::answer(&app, received, embed::write_one).await
}

/// `GET /api/tags`: lists the models that the caller may use.
pub(crate) async fn tags(State(app): State<Arc<App>>, request: Request) -> Result<Response, Error> {
    let (answer, metadata) = crate::models::ask(&app, &request, None)?.await?;
    Ok(json(models::write_tags(&answer.models), &metadata))
}

/// `POST /api/show`: what is known of a model.
pub(crate) async fn show(State(app): State<Arc<App>>, request: Request) -> Result<Response, Error> {
    let Received { message, forwarded, context } = receive(&app, request, models::read).await?;
    let mut call = context.request(ListModelsRequest { model: Some(message) });
    forwarded.put(call.metadata_mut());
    let (metadata, answer, _) = app.router.clone().list_models(call).await?.into_parts();
    let model = answer.models.first().ok_or(Error::NoSuchModel)?;
    Ok(json(models::write_show(model), &metadata))
}

/// `GET /api/ps`: lists the models that are in an engine's memory.
pub(crate) async fn ps(State(app): State<Arc<App>>, request: Request) -> Result<Response, Error> {
    let (answer, metadata) = crate::models::ask(&app, &request, None)?.await?;
    Ok(json(models::write_running(&answer.models), &metadata))
}

/// `GET /api/version`: of the API, not of the gateway. Clients ask what they may ask for.
pub(crate) async fn version() -> Response {
    let body = format!("{{\"version\":\"{VERSION}\"}}");
    let mut response = Response::new(Body::from(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
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

#[cfg(test)]
mod tests;
