//! gRPC on the HTTP port.

use axum::{body::Body, http::Request};
use futures_util::StreamExt as _;
use penstock_proto::{
    Error, Reason,
    inference::v1::{GenerateRequest, ListModelsRequest, inference_client::InferenceClient},
};
use tonic::Code;
use tower::ServiceExt as _;

use super::scripted::{Facade, SERVICE, Script, answer};

/// A gRPC client that speaks to the facade's routes.
macro_rules! client {
    ($facade:expr) => {{
        let routes =
            $facade.routes.clone().map_request(|request: Request<tonic::body::Body>| request.map(Body::new));
        InferenceClient::new(routes)
    }};
}

#[tokio::test]
async fn a_call_passes_both_ways_with_its_trailers() {
    let facade = Facade::new(answer());
    let mut request =
        tonic::Request::new(GenerateRequest { model: "m".into(), ..GenerateRequest::default() });
    request.metadata_mut().insert("authorization", "Bearer k".parse().unwrap());
    request.metadata_mut().insert("x-penstock-deployment", "gpu-a".parse().unwrap());
    request.metadata_mut().insert("x-request-id", "req-1".parse().unwrap());
    let response = client!(facade).generate(request).await.unwrap();
    assert_eq!(response.metadata().get("x-request-id").unwrap(), "req-1");
    let messages: Vec<_> = response.into_inner().map(Result::unwrap).collect().await;
    assert_eq!(messages.len(), 2);
    let seen = facade.seen.generate.lock().unwrap();
    assert_eq!(seen[0].0.model, "m");
    assert_eq!(seen[0].1["authorization"], "Bearer k");
    assert_eq!(seen[0].1["x-request-id"], "req-1");
    assert!(!seen[0].1.contains_key("x-penstock-deployment"));
}

#[tokio::test]
async fn an_error_passes_with_its_details() {
    let cut = || tonic::Status::from(Error::new(Reason::EngineCut, "cut"));
    let refused = client!(Facade::new(Script::Refuse(cut()))).generate(GenerateRequest::default()).await;
    assert_eq!(Error::from(&refused.unwrap_err()).reason, Reason::EngineCut);
    let broken =
        client!(Facade::new(Script::Break(vec![], cut()))).generate(GenerateRequest::default()).await;
    let last = broken.unwrap().into_inner().next().await.unwrap();
    assert_eq!(Error::from(&last.unwrap_err()).reason, Reason::EngineCut);
    let missing = ListModelsRequest { model: Some("none".into()) };
    let missing = client!(Facade::new(answer())).list_models(missing).await.unwrap_err();
    assert_eq!(Error::from(&missing).reason, Reason::ModelNotFound);
}

/// A16, B8: services that are not listed do not exist here.
#[tokio::test]
async fn any_other_grpc_path_is_unimplemented() {
    let facade = Facade::new(answer());
    for path in [
        "/penstock.auth.v1.Keys/Create".to_owned(),
        format!("/{SERVICE}"),
        format!("/{SERVICE}/"),
        format!("/{SERVICE}/Generate/x"),
        format!("/{SERVICE}/Unknown"),
        format!("//{SERVICE}/Generate"),
        "/none".to_owned(),
    ] {
        let request = Request::post(&path).header("content-type", "application/grpc").body(Body::empty());
        let answer = facade.send(request.unwrap()).await;
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.header("grpc-status"), (Code::Unimplemented as i32).to_string(), "{path}");
        assert_eq!(answer.header("content-type"), "application/grpc", "{path}");
        assert_eq!(answer.body, "");
    }
}

#[tokio::test]
async fn grpc_web_is_not_taken_for_grpc() {
    let facade = Facade::new(answer());
    for kind in ["application/grpc-web", "application/grpc-web-text+proto", "application/grpcx"] {
        let request = Request::post(format!("/{SERVICE}/Generate")).header("content-type", kind);
        let answer = facade.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!(answer.header("grpc-status"), "12", "{kind}");
    }
    assert!(facade.seen.generate.lock().unwrap().is_empty());
}
