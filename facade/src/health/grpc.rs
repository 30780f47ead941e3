//! Health over gRPC on the facade's port. `status.v1` shows what HTTP shows to the same caller; `grpc.health.v1`
//! needs no key, but names of models are for those who may see them.

use std::{pin::Pin, sync::Arc, time::Duration};

use axum::http::HeaderMap;
use futures_util::{Stream, StreamExt as _, stream};
use penstock_chassis::{CallContext, HEALTH_NAME_MAX_BYTES, Health, MODEL_PREFIX, Watch};
use penstock_proto::{
    Error, Reason,
    status::v1::{
        Component, GetRequest, GetResponse, Kind, ListChangesRequest, ListChangesResponse, Report,
        WatchRequest, WatchResponse,
        status_server::{Status as StatusService, StatusServer},
    },
};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};
use tonic::{Request, Response, Status, metadata::MetadataMap, service::Routes};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse,
    health_check_response::ServingStatus,
    health_server::{Health as HealthService, HealthServer},
};

use super::{
    access::{Access, REMEMBERED, Sight},
    config::{Face, Public},
    view::View,
};

/// Name of the service with two states.
pub(crate) const HEALTH: &str = "grpc.health.v1.Health";
/// Name of the service with three.
pub(crate) const STATUS: &str = "penstock.status.v1.Status";

/// Longest that a call waits to learn what its key is worth, whatever its own deadline.
const PATIENCE: Duration = Duration::from_secs(1);

/// Both services.
pub(crate) fn routes(health: &Health, access: &Access) -> Routes {
    let faces = || Faces { health: health.clone(), access: access.clone() };
    Routes::default().add_service(HealthServer::new(faces())).add_service(StatusServer::new(faces()))
}

#[derive(Clone)]
struct Faces {
    health: Health,
    access: Access,
}

/// Who calls: what was sent along, and how long there is time.
#[derive(Clone)]
struct Caller {
    headers: HeaderMap,
    context: CallContext,
}

impl Caller {
    fn of<T>(request: &Request<T>) -> Self {
        Self { headers: headers(request.metadata()), context: CallContext::of(request) }
    }

    /// The same later on, when the time of its call says nothing any more.
    fn again(&self) -> Self {
        Self { headers: self.headers.clone(), context: CallContext::background(PATIENCE) }
    }
}

fn headers(metadata: &MetadataMap) -> HeaderMap {
    metadata.clone().into_headers()
}

impl Faces {
    /// What the caller sees of `status.v1`.
    async fn sight(&self, caller: &Caller) -> Result<Sight, Status> {
        let report = self.health.report();
        let Caller { headers, context } = caller;
        let sight = self.access.admit(Face::Grpc, headers, context, &report).await;
        sight.map_err(|error| Error::from(&error).into())
    }

    /// Whether the caller may ask for this name: other names than those of models are nobody's secret.
    async fn may_ask(&self, caller: &Caller, service: &str) -> bool {
        if !service.starts_with(MODEL_PREFIX) || self.access.public() == Public::Full {
            return true;
        }
        let report = self.health.report();
        let model = Component { name: service.to_owned(), kind: Kind::Model.into(), ..Component::default() };
        let sight = self.access.key(&caller.headers, &caller.context, &report).await;
        sight.is_some_and(|sight| View::new(&report, &sight).shows(&model))
    }
}

#[tonic::async_trait]
impl HealthService for Faces {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let caller = Caller::of(&request);
        let service = request.into_inner().service;
        let status = match self.may_ask(&caller, &service).await {
            true => self.health.serving(&self.health.report(), &service),
            false => None,
        };
        let status = status.ok_or_else(|| Error::new(Reason::NotFound, "no such service"))?;
        Ok(Response::new(HealthCheckResponse { status: status.into() }))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let caller = Caller::of(&request);
        let mut service = request.into_inner().service;
        if service.len() > HEALTH_NAME_MAX_BYTES {
            // Nothing of it is kept.
            service = "?".to_owned();
        }
        let may_ask = self.may_ask(&caller, &service).await;
        let name = service.clone();
        let statuses = self.health.watch(move |health, report| {
            health.serving(report, &name).unwrap_or(ServingStatus::ServiceUnknown)
        })?;
        let look_again = look_again();
        let faces = self.clone();
        let watcher =
            NameWatcher { faces, caller, service, may_ask, statuses, status: None, sent: None, look_again };
        let statuses = stream::unfold(watcher, |mut watcher| async move {
            let next = watcher.next().await?;
            Some((next, watcher))
        });
        Ok(Response::new(Box::pin(statuses)))
    }
}

#[tonic::async_trait]
impl StatusService for Faces {
    async fn get(&self, request: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        let sight = self.sight(&Caller::of(&request)).await?;
        let report = View::new(&self.health.report(), &sight).reduced();
        Ok(Response::new(GetResponse { report: Some(report) }))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<WatchResponse, Status>> + Send>>;

    async fn watch(&self, request: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let caller = Caller::of(&request);
        let sight = self.sight(&caller).await?;
        let reports = self.health.watch(|_, report| Arc::clone(report))?;
        let watcher = Watcher::new(self.clone(), caller, sight, reports);
        let reports = stream::unfold(watcher, |mut watcher| async move {
            let next = watcher.next().await?;
            Some((next, watcher))
        });
        Ok(Response::new(Box::pin(reports)))
    }

    async fn list_changes(
        &self,
        request: Request<ListChangesRequest>,
    ) -> Result<Response<ListChangesResponse>, Status> {
        let sight = self.sight(&Caller::of(&request)).await?;
        if let Sight::Public(public) = sight
            && public != Public::Full
        {
            return Err(Error::from(&crate::Error::NoCredential).into());
        }
        let limit = match request.into_inner().limit {
            0 => usize::MAX,
            limit => usize::try_from(limit).unwrap_or(usize::MAX),
        };
        let report = self.health.report();
        let mut changes = View::new(&report, &sight).changes(self.health.history(usize::MAX));
        changes.truncate(limit);
        Ok(Response::new(ListChangesResponse { changes }))
    }
}

/// When to look at a watcher's key again.
fn look_again() -> Interval {
    let mut look_again = interval_at(Instant::now() + REMEMBERED, REMEMBERED);
    look_again.set_missed_tick_behavior(MissedTickBehavior::Delay);
    look_again
}

/// Someone who watches one name. That of a model is told as long as the key may use it, and from then on when it may.
struct NameWatcher {
    faces: Faces,
    caller: Caller,
    service: String,
    may_ask: bool,
    statuses: Watch<ServingStatus>,
    status: Option<ServingStatus>,
    sent: Option<ServingStatus>,
    look_again: Interval,
}

impl NameWatcher {
    /// The next status that differs for this caller.
    async fn next(&mut self) -> Option<Result<HealthCheckResponse, Status>> {
        loop {
            tokio::select! {
                status = self.statuses.next() => match status? {
                    Ok(status) => self.status = Some(status),
                    Err(status) => return Some(Err(status)),
                },
                _ = self.look_again.tick() => {
                    self.may_ask = self.faces.may_ask(&self.caller.again(), &self.service).await;
                }
            }
            let Some(status) = self.status else { continue };
            let seen = if self.may_ask { status } else { ServingStatus::ServiceUnknown };
            if self.sent != Some(seen) {
                self.sent = Some(seen);
                return Some(Ok(HealthCheckResponse { status: seen.into() }));
            }
        }
    }
}

/// Someone who watches: the key is looked at again and again, for streams outlive keys and models.
struct Watcher {
    faces: Faces,
    caller: Caller,
    sight: Sight,
    reports: Watch<Arc<Report>>,
    report: Option<Arc<Report>>,
    sent: Option<Report>,
    look_again: Interval,
    ended: bool,
}

impl Watcher {
    fn new(faces: Faces, caller: Caller, sight: Sight, reports: Watch<Arc<Report>>) -> Self {
        let look_again = look_again();
        Self { faces, caller, sight, reports, report: None, sent: None, look_again, ended: false }
    }

    /// The next report that differs for this caller.
    async fn next(&mut self) -> Option<Result<WatchResponse, Status>> {
        while !self.ended {
            tokio::select! {
                report = self.reports.next() => match report? {
                    Ok(report) => self.report = Some(report),
                    Err(status) => return Some(Err(status)),
                },
                _ = self.look_again.tick() => {
                    match self.faces.sight(&self.caller.again()).await {
                        Ok(sight) => self.sight = sight,
                        Err(status) => {
                            self.ended = true;
                            return Some(Err(status));
                        }
                    }
                }
            }
            let Some(report) = &self.report else { continue };
            let seen = View::new(report, &self.sight).reduced();
            if self.sent.as_ref() != Some(&seen) {
                self.sent = Some(seen.clone());
                return Some(Ok(WatchResponse { report: Some(seen) }));
            }
        }
        None
    }
}
