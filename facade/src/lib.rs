//! The facade: the APIs of OpenAI, Anthropic and Ollama on one side, the mesh's gRPC on the other. It translates only:
//! who may ask, for what and how often is decided behind gRPC, the same for every caller. It parses a request
//! once, and what it hands on is that one value. Listening, TLS and draining are the chassis'.

mod admin;
mod api;
mod body;
mod chat;
mod completions;
mod config;
mod edge;
mod embeddings;
mod error;
#[cfg(fuzzing)]
pub mod fuzzing;
mod head;
mod health;
mod json;
mod messages;
mod metrics;
mod models;
mod moderations;
mod ollama;
mod openapi;
mod passthrough;
mod problem;
mod responses;
mod stored;
mod stream;
mod text;

use std::{fmt, sync::Arc};

pub use admin::{decision, explain_request, explanation};
use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderValue, header::CONTENT_TYPE},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
pub use config::Config;
pub use health::{Face, HealthConfig, Public};
use penstock_chassis::{Channel, Chassis, Door, Health, MESSAGE_MAX_BYTES};
use penstock_proto::{
    inference::v1::{
        inference_client::InferenceClient, responses_client::ResponsesClient,
        stored_completions_client::StoredCompletionsClient,
    },
    router::v1::routing_client::RoutingClient,
};

use crate::{
    edge::EdgeLayer,
    error::Error,
    health::Access,
    metrics::{Metrics, ROUTES},
    passthrough::Passthrough,
};

/// What `GET /` says.
const ABOUT: &str = concat!(
    r#"{"name":"penstock","version":""#,
    env!("CARGO_PKG_VERSION"),
    r#"","links":{"chat":"/v1/chat/completions","responses":"/v1/responses","messages":"/v1/messages","#,
    r#""ollama":"/api/tags","completions":"/v1/completions","embeddings":"/v1/embeddings","#,
    r#""moderations":"/v1/moderations","models":"/v1/models","health":"/health","openapi":"/openapi.json","#,
    r#""docs":"/docs"}}"#
);

/// What the handlers share.
struct App {
    config: Config,
    router: InferenceClient<Channel>,
    stored: StoredCompletionsClient<Channel>,
    responses: ResponsesClient<Channel>,
    routing: RoutingClient<Channel>,
    passthrough: Passthrough,
    health: Health,
    access: Access,
    metrics: Metrics,
    door: Door,
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App").field("config", &self.config).finish_non_exhaustive()
    }
}

/// The facade's routes. `router` answers the requests; `passthrough` are the gRPC services that are reachable on
/// the same port, by their full names, beside those of health. The result has a fallback: merge no router into it that has one too.
pub fn start(
    config: Config,
    router: Channel,
    passthrough: Vec<(&'static str, Channel)>,
    chassis: &Chassis,
) -> Router {
    let app = app(config, router, passthrough, chassis);
    let [
        chat,
        stored,
        stored_messages,
        response_list,
        input_tokens,
        response,
        cancel,
        input_items,
        messages,
        count_tokens,
        ollama_chat,
        ollama_generate,
        ollama_embed,
        ollama_embeddings,
        ollama_tags,
        ollama_show,
        ollama_ps,
        ollama_version,
        text,
        embeddings,
        moderations,
        models,
        model,
        explain,
        decision,
        reload,
        overview,
        live,
        liveliness,
        liveness,
        ready,
        readiness,
        status,
        health_models,
        services,
        history,
        root,
        openapi,
        docs,
    ] = ROUTES;
    Router::new()
        .route(chat, post(completions::create).get(stored::list))
        .route(stored, get(stored::get).post(stored::update).delete(stored::delete))
        .route(stored_messages, get(stored::messages))
        .route(response_list, post(responses::create))
        .route(input_tokens, post(responses::input_tokens))
        .route(response, get(responses::get).delete(responses::delete))
        .route(cancel, post(responses::cancel))
        .route(input_items, get(responses::input_items))
        .route(messages, post(messages::create))
        .route(count_tokens, post(messages::count_tokens))
        .route(ollama_chat, post(ollama::chat))
        .route(ollama_generate, post(ollama::generate))
        .route(ollama_embed, post(ollama::embed))
        .route(ollama_embeddings, post(ollama::embed_one))
        .route(ollama_tags, get(ollama::tags))
        .route(ollama_show, post(ollama::show))
        .route(ollama_ps, get(ollama::ps))
        .route(ollama_version, get(ollama::version))
        .route(text, post(completions::create_text))
        .route(embeddings, post(embeddings::create))
        .route(moderations, post(moderations::create))
        .route(models, get(models::list))
        .route(model, get(models::get))
        .route(explain, post(admin::explain))
        .route(decision, get(admin::get))
        .route(reload, post(admin::reload))
        .route(overview, get(health::overview).options(health::options))
        .route(live, get(health::live).options(health::options))
        .route(liveliness, get(health::liveness).options(health::options))
        .route(liveness, get(health::liveness).options(health::options))
        .route(ready, get(health::ready).options(health::options))
        .route(readiness, get(health::ready).options(health::options))
        .route(status, get(health::status).options(health::options))
        .route(health_models, get(health::models).options(health::options))
        .route(services, get(health::services).options(health::options))
        .route(history, get(health::history).options(health::options))
        .route(root, get(about))
        .route(openapi, get(openapi::openapi))
        .route(docs, get(openapi::docs))
        .fallback(elsewhere)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(EdgeLayer(Arc::clone(&app)))
        .with_state(app)
}

fn app(
    config: Config,
    router: Channel,
    passthrough: Vec<(&'static str, Channel)>,
    chassis: &Chassis,
) -> Arc<App> {
    let stored = StoredCompletionsClient::new(router.clone()).max_decoding_message_size(MESSAGE_MAX_BYTES);
    let responses = ResponsesClient::new(router.clone()).max_decoding_message_size(MESSAGE_MAX_BYTES);
    let routing = RoutingClient::new(router.clone()).max_decoding_message_size(MESSAGE_MAX_BYTES);
    let router = InferenceClient::new(router).max_decoding_message_size(MESSAGE_MAX_BYTES);
    let access = Access::new(config.health.clone(), router.clone());
    let of_health = Channel::local(health::routes(&chassis.health, &access), chassis);
    // First of all: of two services with one name the first is reached, and this one hides what is to be hidden.
    let mut services = [health::HEALTH, health::STATUS].map(|name| (name, of_health.clone())).to_vec();
    services.extend(passthrough);
    let door = Door::new("facade", config.door, chassis);
    Arc::new(App {
        door,
        config,
        stored,
        responses,
        routing,
        router,
        passthrough: Passthrough::new(services),
        health: chassis.health.clone(),
        access,
        metrics: Metrics::register(chassis),
    })
}

async fn about() -> Response {
    let mut response = Response::new(Body::from(ABOUT));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Every path that is no route: a gRPC call, or nothing.
async fn elsewhere(State(app): State<Arc<App>>, request: Request) -> Response {
    if !head::is_grpc(request.headers()) {
        return Error::UnknownRoute.into_response();
    }
    let context = completions::context(request.extensions());
    app.passthrough.call(request, &context).await
}

async fn method_not_allowed() -> Error {
    Error::MethodNotAllowed
}

#[cfg(test)]
mod tests;
