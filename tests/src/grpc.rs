//! Callers by gRPC: channels, the key in the metadata, and what a status carries.

use std::net::SocketAddr;

use penstock_proto::{
    auth::v1::{CreateRequest, CreateResponse, RevokeRequest, keys_client::KeysClient},
    inference::v1::{
        ChatInput, GenerateRequest, Message, generate_request::Input, inference_client::InferenceClient,
        message::Content,
    },
    status::v1::{GetRequest, State, status_client::StatusClient},
};
use tonic::{
    Request, Status,
    metadata::MetadataValue,
    transport::{Channel, Endpoint},
};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_types::StatusExt as _;

use crate::{
    PROMPT_CANARY,
    bounded::{LONG, within},
};

/// A channel to a service that is there.
pub async fn channel(address: SocketAddr) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap().timeout(LONG);
    within("a gRPC connection", endpoint.connect()).await.unwrap_or_else(|e| panic!("{address}: {e}"))
}

/// A client of `Inference` without any policy of its own.
pub async fn inference(address: SocketAddr) -> InferenceClient<Channel> {
    InferenceClient::new(channel(address).await)
}

/// `message` as a request with this key.
pub fn keyed<T>(key: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let value = MetadataValue::try_from(format!("Bearer {key}")).unwrap();
    request.metadata_mut().insert("authorization", value);
    request
}

/// A chat request whose prompt holds the canary, as `client::chat` has it.
pub fn chat(model: &str) -> GenerateRequest {
    let message = Message {
        role: "user".into(),
        content: Some(Content::Text(format!("{PROMPT_CANARY} hello"))),
        ..Message::default()
    };
    GenerateRequest {
        model: model.into(),
        input: Some(Input::Chat(ChatInput { messages: vec![message] })),
        ..GenerateRequest::default()
    }
}

/// Makes a key.
pub async fn create_key(address: SocketAddr, admin: &str, key: CreateRequest) -> CreateResponse {
    let mut keys = KeysClient::new(channel(address).await);
    within("Keys.Create", keys.create(keyed(admin, key))).await.expect("a key is made").into_inner()
}

/// Revokes a key.
pub async fn revoke_key(address: SocketAddr, admin: &str, key_id: &str) {
    let mut keys = KeysClient::new(channel(address).await);
    let request = RevokeRequest { key_id: key_id.into() };
    within("Keys.Revoke", keys.revoke(keyed(admin, request))).await.expect("the key is revoked");
}

/// The reason that a status of ours carries.
pub fn reason(status: &Status) -> String {
    let details = status.get_error_details();
    let info = details.error_info().unwrap_or_else(|| panic!("no ErrorInfo: {status:?}"));
    assert_eq!(info.domain, "penstock");
    info.reason.clone()
}

/// Whether the service of that name at `address` is there and says that it is serving.
pub async fn is_serving(address: SocketAddr, service: &str) -> bool {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap().timeout(LONG);
    let Ok(channel) = endpoint.connect().await else { return false };
    let request = HealthCheckRequest { service: service.into() };
    let answer = HealthClient::new(channel).check(request).await;
    answer.is_ok_and(|answer| answer.into_inner().status() == ServingStatus::Serving)
}

/// Whether the process at `address` reports each of these components as UP.
pub async fn all_up(address: SocketAddr, components: &[&str]) -> bool {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap().timeout(LONG);
    let Ok(channel) = endpoint.connect().await else { return false };
    let Ok(answer) = StatusClient::new(channel).get(GetRequest {}).await else { return false };
    let report = answer.into_inner().report.unwrap_or_default();
    components.iter().all(|name| report.components.iter().any(|c| c.name == *name && c.state() == State::Up))
}
