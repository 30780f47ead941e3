//! Looking after deployments in the background: each on its own time, which follows from what is known of it, and
//! not too many at once. Free: nothing is generated or loaded.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use penstock_chassis::Tasks;
use tokio::{
    sync::{Notify, Semaphore},
    time::{Instant, timeout, timeout_at},
};
use tokio_util::sync::DropGuard;

use crate::{deployment::Deployment, fleet::Fleet, upstream::silent};

/// Checks that run at once: an engine with hundreds of models is not to be flooded.
pub(crate) const CHECKS_AT_ONCE: usize = 64;

/// Looks after a deployment that is configured, until the guard is dropped or the process stops.
pub(crate) fn start(
    deployment: &Arc<Deployment>,
    fleet: &Fleet,
    room: &Arc<Semaphore>,
    tasks: &Tasks,
) -> DropGuard {
    let looking = look_after(Arc::clone(deployment), fleet.clone(), Arc::clone(room));
    let ended = tasks.stopping().child_token();
    let end = ended.clone().drop_guard();
    tasks.spawn("deployment check", async move {
        ended.run_until_cancelled(looking).await;
    });
    end
}

/// Tells of breakers whose time is over: they are half-open then, though nobody asks for them.
pub(crate) fn breakers(fleet: &Fleet, opened: Arc<Notify>, tasks: &Tasks) {
    let (fleet, stopping) = (fleet.clone(), tasks.stopping());
    let watching = async move {
        loop {
            let (table, now) = (fleet.table(), Instant::now());
            table.all().iter().for_each(|one| fleet.turned(one, now));
            let next = table.all().iter().filter_map(|one| one.admission.shown().open_until).min();
            let woken = opened.notified();
            match next {
                Some(next) => drop(timeout_at(next, woken).await),
                None => woken.await,
            }
        }
    };
    tasks.spawn("circuit breakers", async move {
        stopping.run_until_cancelled(watching).await;
    });
}

/// Checks the deployment whenever a check is due, and no request has shown the same.
async fn look_after(deployment: Arc<Deployment>, fleet: Fleet, room: Arc<Semaphore>) {
    loop {
        if let Some(due) = deployment.due() {
            // Woken: a request has failed, and it may be due sooner.
            let woken = timeout_at(due, deployment.wake.notified()).await.is_ok();
            if woken && Instant::now() < due {
                continue;
            }
        }
        if deployment.spare() {
            continue;
        }
        let Ok(_place) = room.acquire().await else { return };
        check(Arc::clone(&deployment), &fleet, deployment.check_timeout).await;
    }
}

/// Checks one deployment now.
pub(crate) async fn check(deployment: Arc<Deployment>, fleet: &Fleet, at_most: Duration) {
    let began = Instant::now();
    let found = timeout(at_most, deployment.engine.check(at_most)).await.unwrap_or_else(|_| Err(silent()));
    let latency = found.as_ref().map_or_else(|_| began.elapsed(), |latency| *latency);
    deployment.looked.fetch_or(found.is_ok(), Ordering::Relaxed);
    if !deployment.discovered {
        deployment.is_loaded(deployment.engine.loaded());
    }
    fleet.checked(&deployment, &found.map(drop), latency);
}
