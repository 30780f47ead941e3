//! The gRPC faces of health. `tonic-health`'s own service is not used: its Watch answers NOT_FOUND for an
//! unknown service where the specification wants SERVICE_UNKNOWN on an open stream.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use penstock_proto::{
    Error, Reason,
    status::v1::{
        GetRequest, GetResponse, ListChangesRequest, ListChangesResponse, Report, State, WatchRequest,
        WatchResponse,
        status_server::{Status as StatusService, StatusServer},
    },
};
use tokio::sync::OwnedSemaphorePermit;
use tokio_stream::{Stream, wrappers::WatchStream};
use tonic::{Request, Response, Status, service::Routes};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse,
    health_check_response::ServingStatus,
    health_server::{Health as HealthService, HealthServer},
};

use super::{Health, LIVENESS, MODEL_PREFIX, READINESS, STARTUP};

/// Longest name of a service that is looked up, in bytes: no real one comes near it.
pub const NAME_MAX_BYTES: usize = 512;

/// `models`: whether the names of models are told to everybody.
pub(super) fn add_to(routes: Routes, health: &Health, models: bool) -> Routes {
    let faces = || Faces { health: health.clone(), models };
    routes.add_service(HealthServer::new(faces())).add_service(StatusServer::new(faces()))
}

#[derive(Clone)]
struct Faces {
    health: Health,
    models: bool,
}

impl Faces {
    /// The name that is asked for. No service has a very long one, now or later: nothing of it is kept.
    fn asked(&self, service: String) -> String {
        let hidden = !self.models && service.starts_with(MODEL_PREFIX);
        if hidden || service.len() > NAME_MAX_BYTES { "?".to_owned() } else { service }
    }
}

/// How a service is; `None`: there is none of this name. The empty name is the whole server.
fn serving(health: &Health, report: &Report, service: &str) -> Option<ServingStatus> {
    let state = match service {
        _ if service.len() > NAME_MAX_BYTES => return None,
        LIVENESS => State::Up,
        READINESS => report.readiness(),
        STARTUP if report.starting => State::Down,
        STARTUP => State::Up,
        model if model.starts_with(MODEL_PREFIX) => {
            // By name, as they are sorted.
            let index = report.components.binary_search_by(|one| one.name.as_str().cmp(model)).ok()?;
            report.components.get(index)?.state()
        }
        "" => report.state(),
        service => health.serves_now(service).then(|| report.state())?,
    };
    Some(match state {
        State::Up | State::Degraded => ServingStatus::Serving,
        State::Down => ServingStatus::NotServing,
        State::Unspecified => ServingStatus::Unknown,
    })
}

impl Health {
    /// How the service of that name is by `report`, in the two states of `grpc.health.v1`. `None`: there is none.
    pub fn serving(&self, report: &Report, service: &str) -> Option<ServingStatus> {
        serving(self, report, service)
    }

    /// A view of the report at once and whenever the view changes, until the process shuts down.
    ///
    /// # Errors
    /// Too many streams watch already.
    pub fn watch<T>(
        &self,
        view: impl Fn(&Health, &Arc<Report>) -> T + Send + 'static,
    ) -> Result<Watch<T>, Status> {
        let room = Arc::clone(&self.inner.watches).try_acquire_owned().map_err(|_| {
            Error::new(
                Reason::Overloaded,
                "too many streams watch health here: end some, or raise health.watches_max",
            )
        })?;
        Ok(Watch::new(self, room, view))
    }
}

#[tonic::async_trait]
impl HealthService for Faces {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let service = self.asked(request.into_inner().service);
        let status = serving(&self.health, &self.health.report(), &service);
        let status = status.ok_or_else(|| Error::new(Reason::NotFound, "no such service"))?;
        Ok(Response::new(HealthCheckResponse { status: status.into() }))
    }

    type WatchStream = Watch<HealthCheckResponse>;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let service = self.asked(request.into_inner().service);
        let watch = self.health.watch(move |health, report| {
            let status = serving(health, report, &service).unwrap_or(ServingStatus::ServiceUnknown);
            HealthCheckResponse { status: status.into() }
        })?;
        Ok(Response::new(watch))
    }
}

#[tonic::async_trait]
impl StatusService for Faces {
    async fn get(&self, _: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        Ok(Response::new(GetResponse { report: Some((*self.health.report()).clone()) }))
    }

    type WatchStream = Watch<WatchResponse>;

    async fn watch(&self, _: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let watch = self.health.watch(|_, report| WatchResponse { report: Some(Report::clone(report)) })?;
        Ok(Response::new(watch))
    }

    async fn list_changes(
        &self,
        request: Request<ListChangesRequest>,
    ) -> Result<Response<ListChangesResponse>, Status> {
        let limit = match request.into_inner().limit {
            0 => usize::MAX,
            limit => usize::try_from(limit).unwrap_or(usize::MAX),
        };
        Ok(Response::new(ListChangesResponse { changes: self.health.history(limit) }))
    }
}

type View<T> = Box<dyn Fn(&Health, &Arc<Report>) -> T + Send>;

/// A view of the report at once and then whenever the view changes; ends when the process shuts down.
pub struct Watch<T> {
    reports: WatchStream<Arc<Report>>,
    health: Health,
    view: View<T>,
    last: Option<T>,
    ending: bool,
    _room: OwnedSemaphorePermit,
}

impl<T> fmt::Debug for Watch<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("ending", &self.ending).finish_non_exhaustive()
    }
}

impl<T> Watch<T> {
    fn new(
        health: &Health,
        room: OwnedSemaphorePermit,
        view: impl Fn(&Health, &Arc<Report>) -> T + Send + 'static,
    ) -> Self {
        let reports = WatchStream::new(health.changes());
        Self { reports, health: health.clone(), view: Box::new(view), last: None, ending: false, _room: room }
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
mod tests;
