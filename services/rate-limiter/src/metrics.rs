//! Measures of the rate-limiter: its decisions, and how much it holds (asked for when someone looks).

use std::{fmt, sync::Arc};

use penstock_chassis::Metrics;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{
        counter::{ConstCounter, Counter},
        family::Family,
        gauge::ConstGauge,
    },
};

use crate::limiter::Limiter;

/// Counts of decisions.
#[derive(Clone, Debug)]
pub(crate) struct Decisions {
    pub(crate) admitted: Counter,
    /// No limit applied.
    pub(crate) unlimited: Counter,
    /// A limit had not enough.
    pub(crate) limited: Counter,
    /// Larger than a limit ever allows.
    pub(crate) too_large: Counter,
}

impl Decisions {
    /// Registers the counts and the sizes of `limiter`.
    pub(crate) fn register(metrics: &Metrics, limiter: &Arc<Limiter>) -> Self {
        let family = Family::<[(&'static str, &'static str); 1], Counter>::default();
        let verdict = |verdict| family.get_or_create_owned(&[("verdict", verdict)]);
        let decisions = Self {
            admitted: verdict("admitted"),
            unlimited: verdict("unlimited"),
            limited: verdict("limited"),
            too_large: verdict("too_large"),
        };
        let sizes = Box::new(Sizes(Arc::clone(limiter)));
        metrics.register(|registry| {
            registry.register("penstock_ratelimit_decisions", "Requests decided on, by verdict", family);
            registry.register_collector(sizes);
        });
        decisions
    }
}

#[derive(Debug)]
struct Sizes(Arc<Limiter>);

impl Collector for Sizes {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let size = self.0.size();
        let gauges = [
            ("penstock_ratelimit_reservations", "Reservations that wait to be settled", size.reservations),
            ("penstock_ratelimit_buckets", "Buckets that are not full", size.buckets),
        ];
        for (name, help, value) in gauges {
            let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        let (name, help) = ("penstock_ratelimit_evictions", "Buckets that had to make room for others");
        let counter = ConstCounter::new(size.evictions);
        counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)
    }
}
