//! Measures of the cache: what was found, stored and evicted, and how much it holds.

use std::{fmt, sync::Arc};

use penstock_chassis::Metrics;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{counter::Counter, gauge::ConstGauge},
};

use crate::store::Store;

/// Counts of the cache. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) hits: Counter,
    pub(crate) misses: Counter,
    pub(crate) stores: Counter,
    pub(crate) evictions: Counter,
}

impl Counts {
    /// Registers the counts and the sizes of `store`.
    pub(crate) fn register(&self, metrics: &Metrics, store: &Arc<Store>) {
        let sizes = Box::new(Sizes(Arc::clone(store)));
        let counters = [
            ("penstock_cache_hits", "Look-ups that found an answer", &self.hits),
            ("penstock_cache_misses", "Look-ups that did not", &self.misses),
            ("penstock_cache_stores", "Answers stored", &self.stores),
            ("penstock_cache_evictions", "Answers that had to go, or found no room", &self.evictions),
        ];
        metrics.register(|registry| {
            for (name, help, counter) in counters {
                registry.register(name, help, counter.clone());
            }
            registry.register_collector(sizes);
        });
    }
}

#[derive(Debug)]
struct Sizes(Arc<Store>);

impl Collector for Sizes {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let size = self.0.size();
        let gauges = [
            ("penstock_cache_entries", "Answers kept, approximately", size.entries),
            ("penstock_cache_bytes", "Bytes kept, approximately", size.bytes),
        ];
        for (name, help, value) in gauges {
            let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        Ok(())
    }
}
