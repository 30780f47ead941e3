//! One replica of a service: its connection, its load, and what is known of its health.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::{Request, Response};
use tokio::time::{Instant, sleep};
use tokio_stream::StreamExt as _;
use tonic::{
    Code,
    body::Body,
    transport::{Channel, Endpoint},
};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tower::{Service as _, ServiceExt as _};

use crate::{Tasks, server::STREAMS_MAX};

/// A connection inside a data centre is there at once or not at all.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// A silent partition is noticed after the sum of the two; TCP alone takes minutes.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// What one answer may have under way before its caller has read it, in bytes: the least that HTTP/2 begins with,
/// and more than a token needs. It is also what a caller that does not read costs.
const STREAM_WINDOW: u32 = 64 << 10;
/// What all answers together may: so much that no number of callers that do not read stops the others, up to what
/// the other side allows at once.
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * STREAMS_MAX;
/// The pause after a first failure, and the longest that it grows to by doubling.
const EJECTION: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

#[derive(Debug)]
pub(super) struct Replica {
    pub(super) address: SocketAddr,
    channel: Channel,
    in_flight: Arc<AtomicUsize>,
    serving: AtomicBool,
    ejection: Mutex<Ejection>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Ejection {
    failures: u32,
    until: Option<Instant>,
    /// One call tries whether the replica is back.
    on_trial: bool,
}

/// Why a call got no answer.
#[derive(Debug)]
pub(super) enum SendError {
    /// The call's own time was over.
    TimedOut,
    /// The replica cannot be reached, or was lost.
    Lost(tonic::transport::Error),
}

/// Whether tonic's own timer of the call ended it: it runs beside ours and may be the first.
fn timed_out(error: &tonic::transport::Error) -> bool {
    let mut source = Some(error as &dyn std::error::Error);
    while let Some(error) = source {
        if error.is::<tonic::TimeoutExpired>() {
            return true;
        }
        source = error.source();
    }
    false
}

/// Counts a call as running on a replica until it is dropped.
#[derive(Debug)]
pub(super) struct Load(Arc<AtomicUsize>);

impl Drop for Load {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Replica {
    /// A replica at `address`; its health is watched until it leaves the set.
    pub(super) fn start(address: SocketAddr, tasks: &Tasks) -> Arc<Self> {
        // An address always makes a valid URI; should it not, the calls fail and say so.
        let endpoint = Endpoint::from_shared(format!("http://{address}"))
            .unwrap_or_else(|_| Endpoint::from_static("http://[::]:0"))
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW);
        let replica = Arc::new(Self {
            address,
            channel: endpoint.connect_lazy(),
            in_flight: Arc::default(),
            serving: AtomicBool::new(true),
            ejection: Mutex::default(),
        });
        tasks
            .spawn("replica health", watch(Arc::downgrade(&replica), replica.channel.clone(), tasks.clone()));
        replica
    }

    pub(super) fn is_serving(&self) -> bool {
        self.serving.load(Ordering::Relaxed)
    }

    pub(super) fn load(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Whether calls may go there: not ejected, or its pause is over and one call may try.
    pub(super) fn admits(&self, now: Instant) -> bool {
        self.ejection().until.is_none_or(|until| until <= now)
    }

    /// Takes the trial of a pause that is over, so that only one call tries. False: it is taken.
    pub(super) fn claim(&self, now: Instant) -> bool {
        let mut ejection = self.ejection();
        match ejection.until {
            None => true,
            Some(until) if until > now => false,
            Some(_) => {
                ejection.until = Some(now + pause(ejection.failures));
                ejection.on_trial = true;
                true
            }
        }
    }

    /// Takes a trial before the pause is over, for where nobody else is left: one call, and not sooner than the
    /// first pause after the last failure, so that what is dead is not hammered.
    pub(super) fn claim_early(&self, now: Instant) -> bool {
        let mut ejection = self.ejection();
        let pause = pause(ejection.failures);
        let Some(until) = ejection.until else { return true };
        if ejection.on_trial || now + pause < until + EJECTION.0 {
            return false;
        }
        ejection.until = Some(now + pause);
        ejection.on_trial = true;
        true
    }

    /// Sends a request there. The load counts until it is dropped.
    ///
    /// # Errors
    /// The transport failed before anything was received, and the replica is ejected for a while; or the call's
    /// time was over, which says nothing about the replica.
    pub(super) async fn send(&self, request: Request<Body>) -> Result<(Response<Body>, Load), SendError> {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        let load = Load(Arc::clone(&self.in_flight));
        let mut channel = self.channel.clone();
        let outcome = match channel.ready().await {
            Ok(channel) => channel.call(request).await,
            Err(error) => Err(error),
        };
        match outcome {
            Ok(response) => {
                self.reinstate();
                Ok((response, load))
            }
            Err(error) if timed_out(&error) => Err(SendError::TimedOut),
            Err(error) => {
                self.eject();
                Err(SendError::Lost(error))
            }
        }
    }

    fn eject(&self) {
        let now = Instant::now();
        let mut ejection = self.ejection();
        // The calls that were lost together are one failure.
        if !ejection.on_trial && ejection.until.is_some_and(|until| until > now) {
            return;
        }
        ejection.on_trial = false;
        ejection.failures = ejection.failures.saturating_add(1);
        ejection.until = Some(now + pause(ejection.failures));
        tracing::debug!(replica = %self.address, failures = ejection.failures, "replica ejected");
    }

    /// Ejects it for the longest pause.
    #[cfg(test)]
    pub(super) fn fail_often(&self) {
        *self.ejection() =
            Ejection { failures: 9, until: Some(Instant::now() + EJECTION.1), on_trial: false };
    }

    fn reinstate(&self) {
        *self.ejection() = Ejection::default();
    }

    fn ejection(&self) -> std::sync::MutexGuard<'_, Ejection> {
        self.ejection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn pause(failures: u32) -> Duration {
    let (first, longest) = EJECTION;
    first.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(longest)
}

/// Watches the replica's own word on its health. This is also how an ejected replica finds its way back.
async fn watch(replica: Weak<Replica>, channel: Channel, tasks: Tasks) {
    let stopping = tasks.stopping();
    let mut client = HealthClient::new(channel);
    let watching = async {
        let mut failures = 0;
        while replica.strong_count() > 0 {
            match client.watch(HealthCheckRequest::default()).await {
                Ok(answer) => {
                    failures = 0;
                    let mut states = answer.into_inner();
                    while let Some(Ok(state)) = states.next().await {
                        let Some(replica) = replica.upgrade() else { return };
                        replica.serving.store(state.status() == ServingStatus::Serving, Ordering::Relaxed);
                        replica.reinstate();
                    }
                }
                // Serves, and does not speak of health.
                Err(status) if status.code() == Code::Unimplemented => return,
                Err(_) => {}
            }
            failures += 1;
            sleep(pause(failures)).await;
        }
    };
    stopping.run_until_cancelled(watching).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let pauses: Vec<_> = (1..=8).map(|failures| pause(failures).as_millis()).collect();
        assert_eq!(pauses, [50, 100, 200, 400, 800, 1600, 2000, 2000]);
        assert_eq!(pause(u32::MAX), EJECTION.1);
    }

    #[tokio::test(start_paused = true)]
    async fn after_the_pause_one_call_may_try() {
        let replica = Replica::start("127.0.0.1:1".parse().unwrap(), &Tasks::default());
        let at = Instant::now();
        assert!(replica.admits(at));
        replica.eject();
        assert!(!replica.admits(at));
        let later = at + Duration::from_millis(50);
        assert!(replica.admits(later));
        assert!(replica.claim(later));
        assert!(!replica.claim(later) && !replica.admits(later), "the trial is taken");
        replica.eject();
        replica.eject();
        assert_eq!(replica.ejection().failures, 2, "the trial failed; what was lost with it counts no more");
        replica.reinstate();
        assert!(replica.admits(later));
    }
}
