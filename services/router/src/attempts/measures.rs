//! What is counted of further attempts. The attempts themselves are counted by the accounting, from the trail.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

#[derive(Clone, Debug, Default)]
pub(super) struct Measures {
    pub(super) exhausted: Counter,
    hedges: Family<HedgeLabels, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HedgeLabels {
    outcome: &'static str,
}

impl Measures {
    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "Attempts that were not made because the retry budget was used up";
        registry.register("penstock_retry_budget_exhausted", help, self.exhausted.clone());
        let help = "Deployments asked beside one that was slow to begin";
        registry.register("penstock_hedges", help, self.hedges.clone());
    }

    /// A hedge `won`, `lost` or `failed`.
    pub(super) fn hedge(&self, outcome: &'static str) {
        self.hedges.get_or_create(&HedgeLabels { outcome }).inc();
    }
}
