//! Balances calls over the replicas of a service. tonic's own balancer never ejects a dead replica and waits
//! for ever when there is none; this one ejects, finds its way back, and fails fast.

use std::{
    net::SocketAddr,
    sync::{Arc, Weak},
    task::{Context, Poll},
    time::Duration,
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, Response, Uri, request::Parts};
use http_body_util::{BodyExt as _, Full, Limited};
use penstock_proto::{Error, Reason};
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval, timeout_at},
};
use tokio_util::sync::CancellationToken;
use tonic::{Status, body::Body};
use tower::{BoxError, Service};

use super::{
    InvalidEndpoint,
    remote::RemoteBody,
    replica::{Replica, SendError},
};
use crate::{
    CallContext, MESSAGE_MAX_BYTES, Tasks,
    limits::{MAX_TIMEOUT, deadline_exceeded},
};

/// How often names are resolved again: new replicas get work within seconds.
const RESOLVE_INTERVAL: Duration = Duration::from_secs(3);
/// How long the first calls wait for the first resolution.
const FIRST_RESOLUTION: Duration = Duration::from_secs(2);
/// A call is tried on another replica once, and only while nothing has been received.
const ATTEMPTS: usize = 2;

#[derive(Clone, Debug)]
pub(super) struct Balancer(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// `host:port`, one or more.
    authorities: Vec<String>,
    replicas: ArcSwap<Vec<Arc<Replica>>>,
    resolved: watch::Sender<bool>,
    aborting: CancellationToken,
}

impl Balancer {
    pub(super) fn start(endpoint: &str, tasks: &Tasks) -> Result<Self, InvalidEndpoint> {
        let authorities = authorities(endpoint)?;
        let resolved = watch::Sender::new(false);
        let shared = Arc::new(Shared {
            authorities,
            replicas: ArcSwap::default(),
            resolved,
            aborting: tasks.aborting(),
        });
        // Addresses need no resolution: they are there from the start and never change.
        let addresses = shared.authorities.iter().map(|authority| authority.parse());
        match addresses.collect::<Result<Vec<SocketAddr>, _>>() {
            Ok(addresses) => shared.apply(addresses, tasks),
            Err(_) => tasks.spawn("resolver", resolve(Arc::downgrade(&shared), tasks.clone())),
        }
        Ok(Self(shared))
    }
}

/// Resolves again and again, until the channel is gone.
async fn resolve(shared: Weak<Shared>, tasks: Tasks) {
    let stopping = tasks.stopping();
    let look_ups = async {
        let mut ticks = interval(RESOLVE_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let Some(shared) = shared.upgrade() else { return };
            let mut addresses = Vec::new();
            let mut failed = false;
            for authority in &shared.authorities {
                match tokio::net::lookup_host(authority).await {
                    Ok(found) => addresses.extend(found),
                    Err(error) => {
                        tracing::debug!(authority, %error, "name does not resolve");
                        failed = true;
                    }
                }
            }
            // A failed look-up says nothing about the replicas: none is taken away by it.
            if failed {
                addresses.extend(shared.replicas.load().iter().map(|replica| replica.address));
            }
            shared.apply(addresses, &tasks);
            // Found or not: nobody waits for a second look-up.
            shared.resolved.send_replace(true);
        }
    };
    stopping.run_until_cancelled(look_ups).await;
}

/// The `host:port` of an endpoint.
pub(super) fn authorities(endpoint: &str) -> Result<Vec<String>, InvalidEndpoint> {
    let list = endpoint.strip_prefix("http://").map(|list| list.trim_end_matches('/'));
    let authorities: Vec<_> = list.unwrap_or_default().split(',').map(str::to_owned).collect();
    let all = authorities.iter().all(|authority| is_authority(authority));
    if all { Ok(authorities) } else { Err(InvalidEndpoint(endpoint.to_owned())) }
}

/// `host:port` and nothing else.
fn is_authority(text: &str) -> bool {
    let uri = format!("http://{text}").parse::<Uri>();
    uri.is_ok_and(|uri| {
        uri.authority().is_some_and(|a| a == text && a.port().is_some() && !text.contains('@'))
    })
}

impl Shared {
    fn apply(&self, mut addresses: Vec<SocketAddr>, tasks: &Tasks) {
        addresses.sort_unstable();
        addresses.dedup();
        let before = self.replicas.load();
        let unchanged = before.iter().map(|replica| replica.address).eq(addresses.iter().copied());
        if addresses.is_empty() || unchanged {
            return;
        }
        let replicas = addresses.into_iter().map(|address| {
            let known = before.iter().find(|replica| replica.address == address);
            known.cloned().unwrap_or_else(|| Replica::start(address, tasks))
        });
        self.replicas.store(Arc::new(replicas.collect()));
        self.resolved.send_replace(true);
    }

    /// The less loaded of two replicas taken at random, among those that serve; without one, among those that
    /// are not ejected. If all are ejected, one that has just come back may be among them: one call tries.
    fn pick(&self, tried: Option<&Arc<Replica>>) -> Option<Arc<Replica>> {
        let now = Instant::now();
        let replicas = self.replicas.load();
        let left = |replica: &&Arc<Replica>| tried.is_none_or(|tried| !Arc::ptr_eq(tried, replica));
        let admitted: Vec<_> = replicas.iter().filter(left).filter(|replica| replica.admits(now)).collect();
        if admitted.is_empty() {
            return replicas.iter().filter(left).find(|replica| replica.claim_early(now)).cloned();
        }
        let serving: Vec<_> = admitted.iter().copied().filter(|replica| replica.is_serving()).collect();
        let candidates = if serving.is_empty() { admitted } else { serving };
        let any = || candidates.get(fastrand::usize(..candidates.len().max(1)));
        let (one, other) = (any()?, any()?);
        let chosen = if other.load() < one.load() { other } else { one };
        // The trial of a pause that is over may have been taken in the meantime.
        let claimed = std::iter::once(chosen).chain(&candidates).find(|replica| replica.claim(now))?;
        Some(Arc::clone(claimed))
    }

    async fn wait_for_first_resolution(&self, deadline: Instant) {
        let mut resolved = self.resolved.subscribe();
        let until = deadline.min(Instant::now() + FIRST_RESOLUTION);
        let _ = timeout_at(until, resolved.wait_for(|resolved| *resolved)).await;
    }

    async fn call(&self, request: Request<Body>) -> Result<Response<Body>, Status> {
        let context = CallContext::from_rpc_headers(request.headers(), MAX_TIMEOUT);
        let deadline = context.deadline().unwrap_or_else(|| Instant::now() + MAX_TIMEOUT);
        if self.replicas.load().is_empty() {
            self.wait_for_first_resolution(deadline).await;
        }
        let (head, body) = request.into_parts();
        // Kept for the second attempt. Every request of the contract is one message.
        let body = match timeout_at(deadline, Limited::new(body, MESSAGE_MAX_BYTES).collect()).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(_)) => return Err(Error::new(Reason::RequestTooLarge, "the message is too large").into()),
            Err(_) => return Err(deadline_exceeded()),
        };
        let mut tried = None;
        for _ in 0..ATTEMPTS {
            let Some(replica) = self.pick(tried.as_ref()) else { break };
            let attempt = replica.send(rebuild(&head, &body));
            match timeout_at(deadline, attempt).await {
                // A response that ends in its headers has no body to bound.
                Ok(Ok((response, _))) if response.headers().contains_key("grpc-status") => {
                    return Ok(response);
                }
                Ok(Ok((response, load))) => {
                    return Ok(
                        response.map(|body| Body::new(RemoteBody::new(body, deadline, &self.aborting, load)))
                    );
                }
                Ok(Err(SendError::Lost(error))) => {
                    tracing::debug!(replica = %replica.address, %error, "call failed");
                    tried = Some(replica);
                }
                Ok(Err(SendError::TimedOut)) | Err(_) => {
                    return Err(deadline_exceeded());
                }
            }
        }
        Err(unavailable())
    }
}

/// What a caller is told when a service of the mesh cannot be reached.
pub(super) fn unavailable() -> Status {
    Error::new(Reason::ServiceUnavailable, "a service of the gateway cannot be reached")
        .with_retry_after(Duration::from_secs(1))
        .into()
}

fn rebuild(head: &Parts, body: &Bytes) -> Request<Body> {
    let mut request = Request::new(Body::new(Full::new(body.clone())));
    *request.method_mut() = head.method.clone();
    *request.uri_mut() = head.uri.clone();
    *request.headers_mut() = head.headers.clone();
    *request.version_mut() = head.version;
    request
}

impl Service<Request<Body>> for Balancer {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<Body>, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let shared = Arc::clone(&self.0);
        Box::pin(async move {
            Ok(match shared.call(request).await {
                Ok(response) => response,
                Err(status) => status.into_http(),
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unresolved() -> Shared {
        Shared {
            authorities: vec!["nowhere.invalid:1".into()],
            replicas: ArcSwap::default(),
            resolved: watch::Sender::new(false),
            aborting: CancellationToken::new(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_resolution_is_waited_for_within_the_deadline_and_only_once() {
        let (shared, started) = (unresolved(), Instant::now());
        shared.wait_for_first_resolution(started + Duration::from_millis(100)).await;
        assert_eq!(started.elapsed().as_millis() / 10, 10, "not beyond the call's deadline");
        // Whatever the look-up found, nobody waits for the next one.
        shared.resolved.send_replace(true);
        let before = Instant::now();
        shared.wait_for_first_resolution(before + MAX_TIMEOUT).await;
        assert_eq!(before.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn where_all_are_ejected_one_that_has_come_back_is_found_before_its_pause_is_over() {
        let (shared, tasks) = (unresolved(), Tasks::default());
        let (back, lost) = ("127.0.0.1:1".parse().unwrap(), "127.0.0.1:2".parse().unwrap());
        let (back, lost) = (Replica::start(back, &tasks), Replica::start(lost, &tasks));
        shared.replicas.store(Arc::new(vec![Arc::clone(&back), Arc::clone(&lost)]));
        back.fail_often();
        assert!(Arc::ptr_eq(&shared.pick(None).unwrap(), &lost), "one that works is preferred");
        assert!(shared.pick(Some(&lost)).is_none(), "it has just failed");
        tokio::time::advance(Duration::from_millis(50)).await;
        assert!(Arc::ptr_eq(&shared.pick(Some(&lost)).unwrap(), &back));
        assert!(shared.pick(Some(&lost)).is_none(), "one call tries, not all");
    }
}
