//! The channel that every client of a service is made with: local or remote, the same type and the same
//! behaviour. Deadlines hold, panics stay where they are, and what the transport says becomes UNAVAILABLE.

mod balancer;
mod remote;
mod replica;

use std::{
    convert::Infallible,
    fmt,
    task::{Context, Poll},
};

use http::{Request, Response};
use tonic::{body::Body, service::Routes};
use tower::{BoxError, Service, ServiceExt as _, util::BoxCloneSyncService};

use crate::{Chassis, stack::ServerStack};

/// A client's way to a service. Cheap to clone.
#[derive(Clone)]
pub struct Channel(BoxCloneSyncService<Request<Body>, Response<Body>, BoxError>);

impl Channel {
    /// A channel to a service in this process: its routes in the server stack, no socket.
    pub fn local(routes: Routes, chassis: &Chassis) -> Self {
        let stack = ServerStack::new(routes.prepare(), chassis, true);
        Self(BoxCloneSyncService::new(stack.map_err(|never: Infallible| match never {})))
    }

    /// Says whether `endpoint` is one, without making a channel.
    ///
    /// # Errors
    /// It is not of the form that [`Channel::remote`] takes.
    pub fn check(endpoint: &str) -> Result<(), InvalidEndpoint> {
        balancer::authorities(endpoint).map(drop)
    }

    /// A channel to a service elsewhere: `endpoint` is `http://host:port`, or `http://host:port,host:port,…`.
    /// Nothing is connected yet. Calls are spread over all addresses that the names have, now and later.
    ///
    /// # Errors
    /// The endpoint is not of that form.
    pub fn remote(endpoint: &str, chassis: &Chassis) -> Result<Self, InvalidEndpoint> {
        let balancer = balancer::Balancer::start(endpoint, &chassis.tasks)?;
        Ok(Self(BoxCloneSyncService::new(balancer)))
    }
}

/// An endpoint that is not `http://host:port`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not of the form http://host:port[,host:port…]")]
pub struct InvalidEndpoint(String);

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel").finish_non_exhaustive()
    }
}

impl Service<Request<Body>> for Channel {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future =
        <BoxCloneSyncService<Request<Body>, Response<Body>, BoxError> as Service<Request<Body>>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        self.0.call(request)
    }
}
