//! Telling what came of readings: in the log, in the metrics, in health.

use std::{
    sync::atomic::AtomicU64,
    time::{SystemTime, UNIX_EPOCH},
};

use penstock_proto::status::v1::Kind;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
};

use super::Outcome;
use crate::{Chassis, Component, config::Mistakes};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    outcome: &'static str,
}

#[derive(Debug)]
pub(super) struct Outcomes {
    reloads: Family<Labels, Counter>,
    last_success: Gauge<f64, AtomicU64>,
    component: Component,
    /// When what is in force was read.
    read_at: SystemTime,
    /// The sections of which was last said that they need a restart.
    needs_restart: Vec<String>,
    /// The mistakes of the last reading.
    refused: Option<Mistakes>,
}

impl Outcomes {
    /// The start itself was a reading that found no mistake.
    pub(super) fn start(component: &'static str, chassis: &Chassis) -> Self {
        let this = Self {
            reloads: Family::default(),
            last_success: Gauge::default(),
            component: chassis.health.component(component, Kind::Part, false),
            read_at: SystemTime::now(),
            needs_restart: Vec::new(),
            refused: None,
        };
        chassis.metrics.register(|registry| {
            registry.register(
                "penstock_config_reloads",
                "Times that the configuration was read again, by outcome",
                this.reloads.clone(),
            );
            registry.register(
                "penstock_config_last_success_timestamp_seconds",
                "When the configuration that is in force was read",
                this.last_success.clone(),
            );
        });
        this.well();
        this
    }

    /// `again`: nobody asked and nothing has changed; then what was said before is only counted.
    pub(super) fn tell(&mut self, outcome: &Outcome, again: bool) {
        let known = again && outcome.as_ref().err() == self.refused.as_ref();
        self.refused = outcome.as_ref().err().cloned();
        match outcome {
            Err(_) if known => {}
            Ok(reloaded) => {
                self.read_at = SystemTime::now();
                self.well();
                if reloaded.changed {
                    tracing::info!("the configuration was read again and is in force");
                } else {
                    tracing::info!("the configuration was read again: nothing to change");
                }
                if reloaded.needs_restart != self.needs_restart && !reloaded.needs_restart.is_empty() {
                    let sections = reloaded.needs_restart.join(", ");
                    tracing::warn!(sections, "sections have changed that are read only at the start");
                }
                self.needs_restart.clone_from(&reloaded.needs_restart);
            }
            Err(mistakes) => {
                for mistake in &mistakes.0 {
                    tracing::warn!(%mistake, "the configuration is refused: what was in force stays");
                }
                let noun = if mistakes.0.len() == 1 { "mistake" } else { "mistakes" };
                let (count, read_at) = (mistakes.0.len(), humantime::format_rfc3339_seconds(self.read_at));
                let detail =
                    format!("the file has {count} {noun}; the configuration of {read_at} is in force");
                self.component.degraded(detail, None);
            }
        }
        let outcome = match outcome {
            Ok(reloaded) if reloaded.changed => "applied",
            Ok(_) => "unchanged",
            Err(_) => "refused",
        };
        self.reloads.get_or_create(&Labels { outcome }).inc();
    }

    fn well(&self) {
        self.component.up(None);
        let since = self.read_at.duration_since(UNIX_EPOCH).unwrap_or_default();
        self.last_success.set(since.as_secs_f64().floor());
    }
}
