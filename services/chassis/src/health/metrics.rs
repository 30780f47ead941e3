//! Health as metrics, written when they are asked for: what each service of this process says of its own
//! components. What it heard from others those tell themselves.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use penstock_proto::status::v1::{Component, Kind, State};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{MetricType, gauge::ConstGauge},
};

use super::{Health, MODEL_PREFIX};

/// The services whose health stands in the metrics of this process. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct HealthMetrics(Arc<Mutex<Vec<Health>>>);

impl HealthMetrics {
    pub(crate) fn add(&self, health: &Health) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(health.clone());
    }
}

/// 0 UP, 1 DEGRADED, 2 DOWN; `None`: nobody knows.
fn number(state: State) -> Option<i64> {
    match state {
        State::Unspecified => None,
        State::Up => Some(0),
        State::Degraded => Some(1),
        State::Down => Some(2),
    }
}

fn seconds(component: &Component) -> Option<f64> {
    Duration::try_from(component.latency?).ok().map(|latency| latency.as_secs_f64())
}

fn last_success(component: &Component) -> Option<f64> {
    let at = SystemTime::try_from(component.last_success_at?).ok()?;
    at.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs_f64())
}

impl Collector for HealthMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let healths = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let told: Vec<(&str, State, Vec<Component>)> =
            healths.iter().map(|health| (health.service(), health.report().state(), health.own())).collect();

        let help = "State of a service: 0 UP, 1 DEGRADED, 2 DOWN (also while starting and draining)";
        let gauge = MetricType::Gauge;
        let mut family = encoder.encode_descriptor("penstock_service_state", help, None, gauge)?;
        for (service, state, _) in &told {
            if let Some(state) = number(*state) {
                ConstGauge::new(state).encode(family.encode_family(&[("service", *service)])?)?;
            }
        }
        let help = "State of a component, as a service sees it: 0 UP, 1 DEGRADED, 2 DOWN";
        let mut family = encoder.encode_descriptor("penstock_component_state", help, None, gauge)?;
        each(&told, |service, component| {
            let Some(state) = number(component.state()) else { return Ok(()) };
            let labels = [("service", service), ("component", &component.name), ("kind", kind(component))];
            ConstGauge::new(state).encode(family.encode_family(&labels)?)
        })?;
        let help = "State of a model: 0 UP, 1 DEGRADED (some deployments, or a fallback), 2 DOWN";
        let mut family = encoder.encode_descriptor("penstock_model_state", help, None, gauge)?;
        for (_, _, components) in &told {
            for component in components.iter().filter(|one| one.kind() == Kind::Model) {
                let Some(state) = number(component.state()) else { continue };
                let model = component.name.strip_prefix(MODEL_PREFIX).unwrap_or(&component.name);
                ConstGauge::new(state).encode(family.encode_family(&[("model", model)])?)?;
            }
        }
        type Measure = fn(&Component) -> Option<f64>;
        let measures: [(&str, &str, Measure); 2] = [
            ("penstock_check_latency_seconds", "How long the last check of a component took", seconds),
            ("penstock_check_last_success_timestamp_seconds", "When a component last worked", last_success),
        ];
        for (name, help, measure) in measures {
            let mut family = encoder.encode_descriptor(name, help, None, gauge)?;
            each(&told, |service, component| {
                let Some(value) = measure(component) else { return Ok(()) };
                let labels = [("service", service), ("component", component.name.as_str())];
                ConstGauge::new(value).encode(family.encode_family(&labels)?)
            })?;
        }
        Ok(())
    }
}

/// Calls `write` for every component that is no model.
fn each(
    told: &[(&str, State, Vec<Component>)],
    mut write: impl FnMut(&str, &Component) -> Result<(), fmt::Error>,
) -> Result<(), fmt::Error> {
    for (service, _, components) in told {
        for component in components.iter().filter(|one| one.kind() != Kind::Model) {
            write(service, component)?;
        }
    }
    Ok(())
}

fn kind(component: &Component) -> &'static str {
    match component.kind() {
        Kind::Unspecified => "",
        Kind::Part => "part",
        Kind::Store => "store",
        Kind::Service => "service",
        Kind::Deployment => "deployment",
        Kind::Model => "model",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Chassis;

    #[test]
    fn own_components_and_models_are_told_and_what_was_heard_is_not() {
        let chassis = Chassis::named("router", Default::default());
        let health = &chassis.health;
        health.started();
        let auth = health.component("auth", Kind::Service, true);
        auth.heard(vec![Component {
            name: "auth/store".into(),
            state: State::Up.into(),
            ..Component::default()
        }]);
        auth.down("gone", Some(Duration::from_millis(250)));
        let models = health.component("models", Kind::Part, false);
        let model = Component {
            name: "model/a\"b".into(),
            kind: Kind::Model.into(),
            state: State::Degraded.into(),
            ..Component::default()
        };
        models.parts(vec![model]);
        models.degraded("some are not well", None);
        let text = chassis.metrics.encode().unwrap();
        for line in [
            "penstock_service_state{service=\"router\"} 2",
            "penstock_component_state{service=\"router\",component=\"auth\",kind=\"service\"} 2",
            "penstock_component_state{service=\"router\",component=\"models\",kind=\"part\"} 1",
            "penstock_model_state{model=\"a\\\"b\"} 1",
            "penstock_check_latency_seconds{service=\"router\",component=\"auth\"} 0.25",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
        assert!(!text.contains("auth/store"), "{text}");
        assert!(
            !text.contains("last_success_timestamp_seconds{service=\"router\",component=\"auth\"}"),
            "{text}"
        );
    }
}
