//! The doors of a process: one set of measures and one sampler of our own delay for all of them. The delay is how
//! late a task goes on that could go on: the wait for a worker, not for an engine.

use std::{
    sync::{Arc, Mutex, PoisonError, Weak, atomic::AtomicU64},
    time::Duration,
};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
};
use tokio::{
    task::yield_now,
    time::{Instant, sleep_until},
};

use super::{Shared, limit::Window};
use crate::Chassis;

/// Between two samples: a hundred wake-ups a second cost nothing that can be measured.
const PERIOD: Duration = Duration::from_millis(10);

/// The doors of a process. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Doors {
    all: Arc<Mutex<Vec<Weak<Shared>>>>,
    delay: Gauge<f64, AtomicU64>,
    pub(super) limit: Family<DoorLabels, Gauge>,
    pub(super) in_progress: Family<DoorLabels, Gauge>,
    pub(super) shed: Family<ShedLabels, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct DoorLabels {
    pub(super) door: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ShedLabels {
    pub(super) door: &'static str,
    pub(super) class: &'static str,
}

impl Doors {
    /// One more door that follows the delay. The first one of a process starts the sampler.
    pub(super) fn add(&self, door: &Arc<Shared>, chassis: &Chassis) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(Arc::downgrade(door));
        if all.len() > 1 {
            return;
        }
        chassis.metrics.register(|registry| {
            registry.register(
                "penstock_door_limit",
                "Requests that may be in progress at the moment",
                self.limit.clone(),
            );
            registry.register("penstock_door_in_progress", "Requests in progress", self.in_progress.clone());
            registry.register(
                "penstock_shed",
                "Requests refused because there are too many",
                self.shed.clone(),
            );
            let help = "How late tasks go on that could go on: the least of ten samples";
            registry.register("penstock_runtime_delay_seconds", help, self.delay.clone());
        });
        let (doors, stopping) = (self.clone(), chassis.tasks.stopping());
        chassis.tasks.spawn("runtime delay", async move {
            stopping.run_until_cancelled(doors.sample()).await;
        });
    }

    async fn sample(&self) {
        let mut window = Window::default();
        loop {
            let due = Instant::now() + PERIOD;
            sleep_until(due).await;
            // To the end of the queue, behind everything that is ready: a woken task may be put in front.
            yield_now().await;
            let Some(delay) = window.add(due.elapsed()) else { continue };
            self.delay.set(delay.as_secs_f64());
            let doors = self.all.lock().unwrap_or_else(PoisonError::into_inner);
            doors.iter().filter_map(Weak::upgrade).for_each(|door| door.adapt(delay));
        }
    }
}
