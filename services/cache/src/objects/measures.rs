//! Measures of the store of objects, and whether it works: as metrics and in health.

use std::{fmt, sync::Arc};

use penstock_chassis::{Chassis, Check, Evidence, Metrics, Outcome};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{counter::Counter, gauge::ConstGauge},
};

use super::{ObjectStore, Probe};
use crate::Error;

/// What the outcomes of calls say about the store.
#[derive(Debug)]
pub(crate) struct Measures {
    health: Evidence,
}

impl Measures {
    /// Registers the sizes of `store`, and `evicted`, and checks the store from now on.
    pub(crate) fn register(chassis: &Chassis, store: &Arc<dyn ObjectStore>, evicted: Counter) -> Self {
        register_sizes(&chassis.metrics, store, evicted);
        let probed = Arc::clone(store);
        let health = chassis.health.check(Check::file("cache/objects"), &chassis.tasks, move || {
            let store = Arc::clone(&probed);
            async move { outcome(store.probe().await) }
        });
        Self { health }
    }

    /// Takes note of how a call ended.
    pub(crate) fn note<T>(&self, outcome: Result<T, Error>) -> Result<T, Error> {
        match &outcome {
            Err(Error::Store(source)) => {
                tracing::error!(error = source, "the store of objects cannot be used");
                self.health.failed(self::outcome(Probe::Unwritable));
            }
            // Only a change shows that it works again: the background makes one.
            Err(Error::Damaged(detail)) => tracing::error!(detail, "a stored object is damaged"),
            _ => {}
        }
        outcome
    }

    /// Takes note that the store could be written.
    pub(crate) fn works(&self) {
        self.health.works();
    }
}

/// What the state of the store means for the cache.
fn outcome(probe: Probe) -> Outcome {
    match probe {
        Probe::Works => Outcome::Up,
        Probe::Unwritable => Outcome::Degraded("cannot be written: nothing new is stored".to_owned()),
        Probe::Unreadable => Outcome::Down("cannot be read: nothing stored is found".to_owned()),
        Probe::Hangs => Outcome::Down("an earlier check has not come back yet".to_owned()),
    }
}

fn register_sizes(metrics: &Metrics, store: &Arc<dyn ObjectStore>, evicted: Counter) {
    let sizes = Box::new(Sizes(Arc::clone(store)));
    metrics.register(|registry| {
        let help = "Stored objects that had to go for others";
        registry.register("penstock_objects_evicted", help, evicted);
        registry.register_collector(sizes);
    });
}

#[derive(Debug)]
struct Sizes(Arc<dyn ObjectStore>);

impl Collector for Sizes {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let held = self.0.held();
        let gauges = [
            ("penstock_objects", "Objects stored", held.objects),
            ("penstock_objects_bytes", "Bytes of the objects stored", held.bytes),
        ];
        for (name, help, value) in gauges {
            let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        Ok(())
    }
}
