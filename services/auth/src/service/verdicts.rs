//! Counts verdicts. The cause of a refusal is for operators alone.

use penstock_chassis::Metrics;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
};

use crate::{keyring::Verdict, record::Refusal};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    verdict: &'static str,
}

/// The counter `penstock_auth_verdicts_total`.
#[derive(Clone, Debug)]
pub(crate) struct Verdicts(Family<Labels, Counter>);

impl Verdicts {
    pub(crate) fn register(metrics: &Metrics) -> Self {
        let family = Family::default();
        metrics.register(|registry| {
            registry.register("penstock_auth_verdicts", "Credentials looked at, by verdict", family.clone());
        });
        Self(family)
    }

    pub(crate) fn count(&self, verdict: &Result<Verdict, Refusal>) {
        let verdict = match verdict {
            Ok(_) => "accepted",
            Err(Refusal::Malformed) => "malformed",
            Err(Refusal::Unknown) => "unknown",
            Err(Refusal::WrongSecret) => "wrong_secret",
            Err(Refusal::Revoked) => "revoked",
            Err(Refusal::Expired) => "expired",
            Err(Refusal::Replaced) => "replaced",
        };
        self.0.get_or_create(&Labels { verdict }).inc();
    }
}
