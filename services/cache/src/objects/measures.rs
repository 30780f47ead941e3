//! Measures of the store of objects, and whether it works: as metrics and in health.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use penstock_chassis::{Component, Metrics};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{counter::Counter, gauge::ConstGauge},
};

use super::ObjectStore;
use crate::Error;

/// What the outcomes of calls say about the store.
#[derive(Debug)]
pub(crate) struct Measures {
    component: Component,
    broken: AtomicBool,
}

impl Measures {
    /// Registers the sizes of `store`, and `evicted`. `component` stands for the store in health.
    pub(crate) fn register(
        metrics: &Metrics,
        store: &Arc<dyn ObjectStore>,
        evicted: Counter,
        component: Component,
    ) -> Self {
        component.up(None);
        let sizes = Box::new(Sizes(Arc::clone(store)));
        metrics.register(|registry| {
            let help = "Stored objects that had to go for others";
            registry.register("penstock_objects_evicted", help, evicted);
            registry.register_collector(sizes);
        });
        Self { component, broken: AtomicBool::new(false) }
    }

    /// Takes note of how a call ended.
    pub(crate) fn note<T>(&self, outcome: Result<T, Error>) -> Result<T, Error> {
        match &outcome {
            Err(Error::Store(source)) => {
                tracing::error!(error = source, "the store of objects cannot be used");
                if !self.broken.swap(true, Ordering::Relaxed) {
                    self.component.degraded("cannot be written: nothing new is stored", None);
                }
            }
            // Only a change shows that it works again: the background makes one.
            Err(Error::Damaged(detail)) => tracing::error!(detail, "a stored object is damaged"),
            _ => {}
        }
        outcome
    }

    /// Takes note that the store could be written.
    pub(crate) fn works(&self) {
        if self.broken.swap(false, Ordering::Relaxed) {
            tracing::info!("the store of objects can be written again");
            self.component.up(None);
        }
    }
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
