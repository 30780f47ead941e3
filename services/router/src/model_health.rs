//! How models are, by how their deployments are: what a request for one would find now. Pure: no clock, no call.
//! A fallback counts as the router uses it: by its own deployments, never by fallbacks of its own.

use std::{collections::HashMap, time::Duration};

use penstock_chassis::{DEPLOYMENT_PREFIX, MODEL_PREFIX};
use penstock_proto::{
    adapter::v1::Deployment,
    status::v1::{Component, Kind, State},
};
use prost_types::Timestamp;

use crate::registry::{Model, Registry};

/// What is said of the models where the adapter itself is lost.
pub(crate) const UNREACHABLE: &str = "the inference-adapter cannot be reached";
/// Models that are named where several are not well; more would not be read.
const NAMED_MAX: usize = 3;

/// Every model as a component, by name. `missing`: what to think of a deployment that was not reported, DOWN
/// once the adapter had the time to find it.
pub(crate) fn components(registry: &Registry, reported: &[Deployment], missing: State) -> Vec<Component> {
    let by_id = reported.iter().map(|deployment| (deployment.id.as_str(), deployment)).collect();
    let seen = Seen { by_id, missing };
    registry.models().map(|model| seen.component(registry, model)).collect()
}

/// Every model, where the adapter itself is lost.
pub(crate) fn unreachable(registry: &Registry) -> Vec<Component> {
    let lost = |model| Component {
        state: State::Down.into(),
        detail: UNREACHABLE.to_owned(),
        ..bare(registry, model)
    };
    registry.models().map(lost).collect()
}

/// How the models are taken together, and what is wrong: one that is lost is no reason to lose the others.
pub(crate) fn summary(models: &[Component]) -> (State, String) {
    if models.is_empty() {
        return (State::Degraded, "no model is offered: configure or start an engine".to_owned());
    }
    let is_ill = |model: &&Component| matches!(model.state(), State::Degraded | State::Down);
    let ill: Vec<&str> = models
        .iter()
        .filter(is_ill)
        .map(|model| model.name.strip_prefix(MODEL_PREFIX).unwrap_or(&model.name))
        .collect();
    if ill.is_empty() {
        return (State::Up, String::new());
    }
    let named: Vec<&str> = ill.iter().take(NAMED_MAX).copied().collect();
    let more = match ill.len().saturating_sub(NAMED_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    (State::Degraded, format!("not well: {}{more}", named.join(", ")))
}

/// A model of which nothing is known, and what its state will follow from.
fn bare(registry: &Registry, model: &Model) -> Component {
    let deployments = model.deployments().map(|id| format!("{DEPLOYMENT_PREFIX}{id}"));
    let fallbacks = registry.fallbacks(model).map(|fallback| format!("{MODEL_PREFIX}{}", fallback.name));
    Component {
        name: format!("{MODEL_PREFIX}{}", model.name),
        kind: Kind::Model.into(),
        stands_on: deployments.chain(fallbacks).collect(),
        ..Component::default()
    }
}

/// What the adapter said last.
struct Seen<'a> {
    by_id: HashMap<&'a str, &'a Deployment>,
    missing: State,
}

impl Seen<'_> {
    fn component(&self, registry: &Registry, model: &Model) -> Component {
        let own = || model.deployments().filter_map(|id| self.by_id.get(id));
        let mut state = self.own_state(model);
        let mut instead = None;
        if state == State::Down {
            instead = registry.fallbacks(model).find(|fallback| self.own_state(fallback) != State::Down);
            state = if instead.is_some() { State::Degraded } else { State::Down };
        }
        let latest = |moment: fn(&Deployment) -> Option<Timestamp>| {
            own().filter_map(|deployment| moment(deployment)).max_by_key(|at| (at.seconds, at.nanos))
        };
        Component {
            state: state.into(),
            detail: self.detail(model, state, instead),
            latency: self.best_latency(model).and_then(|latency| latency.try_into().ok()),
            checked_at: latest(|deployment| deployment.checked_at),
            last_success_at: latest(|deployment| deployment.last_success_at),
            ..bare(registry, model)
        }
    }

    fn state(&self, deployment: &str) -> State {
        self.by_id.get(deployment).map_or(self.missing, |known| known.state())
    }

    /// The state by the model's own deployments, as far as anything is known of them.
    fn own_state(&self, model: &Model) -> State {
        let known =
            || model.deployments().map(|id| self.state(id)).filter(|state| *state != State::Unspecified);
        let all = |wanted: State| known().all(|state| state == wanted);
        match known().next() {
            None => State::Unspecified,
            Some(_) if all(State::Up) => State::Up,
            // One of which nothing is known yet may still turn out to work, and is asked.
            Some(_) if all(State::Down) && known().count() == model.deployments().count() => State::Down,
            Some(_) => State::Degraded,
        }
    }

    /// Of those that are best off, the one that answered the soonest.
    fn best_latency(&self, model: &Model) -> Option<Duration> {
        let timed = model.deployments().filter_map(|id| self.by_id.get(id)).filter_map(|deployment| {
            let latency = Duration::try_from(deployment.latency?).ok()?;
            let rank = match deployment.state() {
                State::Up => 0,
                State::Degraded => 1,
                State::Unspecified => 2,
                State::Down => 3,
            };
            Some((rank, latency))
        });
        timed.min().map(|(_, latency)| latency)
    }

    /// The first deployment that is not well and what is left, in our words.
    fn detail(&self, model: &Model, state: State, instead: Option<&Model>) -> String {
        if matches!(state, State::Up | State::Unspecified) {
            return String::new();
        }
        let is_ill = |id: &&str| matches!(self.state(id), State::Degraded | State::Down);
        let all = model.deployments().count();
        let left = model.deployments().filter(|id| self.state(id) != State::Down).count();
        let left = match instead {
            Some(fallback) => format!("none of {all} left, falls back to {}", fallback.name),
            None if left == 0 => format!("none of {all} left"),
            None => format!("{left} of {all} left"),
        };
        match model.deployments().find(is_ill) {
            Some(id) => format!("deployment {id}: {}; {left}", self.ailment(id)),
            None => left,
        }
    }

    fn ailment(&self, id: &str) -> &str {
        match self.by_id.get(id) {
            None => "its engine does not offer it",
            Some(known) if !known.detail.is_empty() => &known.detail,
            Some(known) if known.state() == State::Degraded => "not well",
            Some(_) => "does not work",
        }
    }
}

#[cfg(test)]
mod tests;
