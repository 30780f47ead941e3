//! The gRPC faces of health. `tonic-health`'s own service is not used: its Watch answers NOT_FOUND for an
//! unknown service where the specification wants SERVICE_UNKNOWN on an open stream.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use penstock_proto::{
    Error, Reason,
    status::v1::{
        GetRequest, GetResponse, Report, State, WatchRequest, WatchResponse,
        status_server::{Status as StatusService, StatusServer},
    },
};
use tokio_stream::{Stream, wrappers::WatchStream};
use tonic::{Request, Response, Status, service::Routes};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse,
    health_check_response::ServingStatus,
    health_server::{Health as HealthService, HealthServer},
};

use super::Health;

/// Longest name of a service that is looked up, in bytes: no real one comes near it.
const NAME_MAX_BYTES: usize = 512;

pub(super) fn add_to(routes: Routes, health: &Health) -> Routes {
    let faces = || Faces(health.clone());
    routes.add_service(HealthServer::new(faces())).add_service(StatusServer::new(faces()))
}

#[derive(Clone)]
struct Faces(Health);

fn serving(report: &Report) -> ServingStatus {
    match report.state() {
        State::Up | State::Degraded => ServingStatus::Serving,
        State::Down | State::Unspecified => ServingStatus::NotServing,
    }
}

#[tonic::async_trait]
impl HealthService for Faces {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let service = request.into_inner().service;
        if service.len() > NAME_MAX_BYTES || !self.0.knows(&service) {
            return Err(Error::new(Reason::NotFound, "no such service").into());
        }
        let status = serving(&self.0.report()).into();
        Ok(Response::new(HealthCheckResponse { status }))
    }

    type WatchStream = Watch<HealthCheckResponse>;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let mut service = request.into_inner().service;
        if service.len() > NAME_MAX_BYTES {
            // No service has such a name, now or later: nothing of it is kept.
            service = "?".to_owned();
        }
        Ok(Response::new(Watch::new(&self.0, move |health, report| {
            let known = health.knows(&service);
            let status = if known { serving(report) } else { ServingStatus::ServiceUnknown };
            HealthCheckResponse { status: status.into() }
        })))
    }
}

#[tonic::async_trait]
impl StatusService for Faces {
    async fn get(&self, _: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        Ok(Response::new(GetResponse { report: Some((*self.0.report()).clone()) }))
    }

    type WatchStream = Watch<WatchResponse>;

    async fn watch(&self, _: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        Ok(Response::new(Watch::new(&self.0, |_, report| {
            let mut report = report.clone();
            // Not a change of state: a Watch tells of changes only.
            for component in &mut report.components {
                component.latency = None;
                component.checked_at = None;
            }
            WatchResponse { report: Some(report) }
        })))
    }
}

type View<T> = Box<dyn Fn(&Health, &Report) -> T + Send>;

/// A view of the report at once and then whenever the view changes; ends when the process shuts down.
struct Watch<T> {
    reports: WatchStream<Arc<Report>>,
    health: Health,
    view: View<T>,
    last: Option<T>,
    ending: bool,
}

impl<T> Watch<T> {
    fn new(health: &Health, view: impl Fn(&Health, &Report) -> T + Send + 'static) -> Self {
        let reports = WatchStream::new(health.subscribe());
        Self { reports, health: health.clone(), view: Box::new(view), last: None, ending: false }
    }
}

impl<T: Clone + PartialEq + Unpin> Stream for Watch<T> {
    type Item = Result<T, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        while !self.ending {
            let Some(report) = std::task::ready!(Pin::new(&mut self.reports).poll_next(cx)) else {
                return Poll::Ready(None);
            };
            self.ending = self.health.has_ended();
            let view = (self.view)(&self.health, &report);
            if self.last.as_ref() != Some(&view) {
                self.last = Some(view.clone());
                return Poll::Ready(Some(Ok(view)));
            }
        }
        Poll::Ready(None)
    }
}

#[cfg(test)]
mod tests {
    use tokio_stream::StreamExt as _;
    use tonic::Code;
    use tonic_health::pb::health_client::HealthClient;

    use super::*;
    use crate::{Channel, Chassis};

    fn client(chassis: &Chassis) -> HealthClient<Channel> {
        HealthClient::new(Channel::local(chassis.health.add_to(Routes::default()), chassis))
    }

    fn named(service: &str) -> HealthCheckRequest {
        HealthCheckRequest { service: service.to_owned() }
    }

    /// E8: as grpc.health.v1 has it.
    #[tokio::test]
    async fn unknown_names_are_not_found_by_check_and_service_unknown_by_watch() {
        let chassis = Chassis::default();
        let mut client = client(&chassis);
        chassis.health.serves("a.B");
        chassis.health.started();
        assert_eq!(client.check(named("x")).await.unwrap_err().code(), Code::NotFound);
        assert_eq!(client.check(named("a.B")).await.unwrap().into_inner().status(), ServingStatus::Serving);
        let mut watch = client.watch(named("later")).await.unwrap().into_inner();
        assert_eq!(watch.next().await.unwrap().unwrap().status(), ServingStatus::ServiceUnknown);
        chassis.health.serves("later");
        assert_eq!(watch.next().await.unwrap().unwrap().status(), ServingStatus::Serving);
    }

    #[tokio::test]
    async fn watch_speaks_at_once_and_on_every_change_and_ends_at_shutdown() {
        let chassis = Chassis::default();
        let mut watch = client(&chassis).watch(named("")).await.unwrap().into_inner();
        let mut next = async || watch.next().await.map(|status| status.unwrap().status());
        assert_eq!(next().await, Some(ServingStatus::NotServing));
        chassis.health.started();
        assert_eq!(next().await, Some(ServingStatus::Serving));
        let component = chassis.health.component("optional", false);
        component.down("gone", None);
        chassis.health.drain();
        assert_eq!(next().await, Some(ServingStatus::NotServing));
        chassis.health.end_watches();
        assert_eq!(next().await, None);
    }
}
