//! A report as one caller may see it. A model is for keys that may use it, a deployment for keys that may use one
//! of its models; a reason that could name what is hidden is hidden with it. Pure.

use std::collections::HashSet;

use penstock_chassis::{DEPLOYMENT_PREFIX, MODEL_PREFIX};
use penstock_proto::status::v1::{Change, Component, Kind, Report, State};

use super::{access::Sight, config::Public};

/// What a component is, by its name too: what has the name of a model is never shown as something else.
pub(super) fn kind(name: &str, kind: Kind) -> Kind {
    if name.starts_with(MODEL_PREFIX) {
        Kind::Model
    } else if name.starts_with(DEPLOYMENT_PREFIX) {
        Kind::Deployment
    } else {
        kind
    }
}

/// A model's name without what all of them begin with.
pub(super) fn model_name(component: &str) -> &str {
    component.strip_prefix(MODEL_PREFIX).unwrap_or(component)
}

/// A deployment's name without what all of them begin with.
pub(super) fn deployment_name(component: &str) -> &str {
    component.strip_prefix(DEPLOYMENT_PREFIX).unwrap_or(component)
}

/// The name of a model or a deployment without what all of them begin with.
fn bare_name(component: &str) -> &str {
    deployment_name(model_name(component))
}

/// The component of that name: reports are sorted.
pub(super) fn find<'a>(report: &'a Report, name: &str) -> Option<&'a Component> {
    let index = report.components.binary_search_by(|one| one.name.as_str().cmp(name)).ok()?;
    report.components.get(index)
}

/// The state of a report; one that says nothing is no invitation.
pub(super) fn state_of(report: &Report) -> State {
    match report.state() {
        State::Unspecified => State::Down,
        state => state,
    }
}

/// A report as a caller sees it.
#[derive(Debug)]
pub(super) struct View<'a> {
    pub(super) report: &'a Report,
    sight: &'a Sight,
    /// Nothing is hidden.
    whole: bool,
    /// The deployments of its models, by the names of their components.
    deployments: HashSet<&'a str>,
}

impl<'a> View<'a> {
    pub(super) fn new(report: &'a Report, sight: &'a Sight) -> Self {
        let mut view = Self { report, sight, whole: false, deployments: HashSet::new() };
        match sight {
            Sight::Public(public) => view.whole = *public == Public::Full,
            Sight::Key(models) => {
                let of_kind = |wanted| report.components.iter().filter(move |one| kind_of(one) == wanted);
                let (seen, hidden): (Vec<_>, Vec<_>) =
                    of_kind(Kind::Model).partition(|model| models.contains(model_name(&model.name)));
                // Who may use every model may see everything. Without any model there is nothing to tell by.
                let none_to_hide = seen.is_empty() && of_kind(Kind::Deployment).next().is_none();
                view.whole = hidden.is_empty() && (!seen.is_empty() || none_to_hide);
                let names = seen.iter().flat_map(|model| &model.stands_on).map(String::as_str);
                view.deployments = names.filter(|name| name.starts_with(DEPLOYMENT_PREFIX)).collect();
            }
        }
        view
    }

    /// Whether it sees models at all.
    pub(super) fn sees_models(&self) -> bool {
        self.whole || matches!(self.sight, Sight::Key(_))
    }

    /// Whether it sees latencies and times.
    pub(super) fn sees_measures(&self) -> bool {
        self.sees_models()
    }

    /// Whether it sees the component, with its state.
    pub(super) fn shows(&self, component: &Component) -> bool {
        self.shows_name(&component.name, component.kind())
    }

    fn shows_name(&self, name: &str, of_kind: Kind) -> bool {
        let model = |name| matches!(self.sight, Sight::Key(models) if models.contains(model_name(name)));
        match kind(name, of_kind) {
            _ if self.whole => true,
            Kind::Model => model(name),
            Kind::Deployment => self.deployments.contains(name),
            _ => *self.sight != Sight::Public(Public::Summary),
        }
    }

    /// The components that it sees.
    pub(super) fn components(&self) -> impl Iterator<Item = &'a Component> {
        self.report.components.iter().filter(|component| self.shows(component))
    }

    /// Every model, or those that it sees if it sees any. The others have no name for it.
    pub(super) fn models(&self) -> impl Iterator<Item = &'a Component> {
        let models = self.report.components.iter().filter(|one| kind_of(one) == Kind::Model);
        models.filter(|model| !self.sees_models() || self.shows(model))
    }

    /// What is wrong with the component, if it may know.
    pub(super) fn detail(&self, component: &'a Component) -> Option<&'a str> {
        let told = match kind_of(component) {
            _ if self.whole => true,
            // It may tell of a fallback.
            Kind::Model => {
                let mut hidden =
                    component.stands_on.iter().filter(|name| !self.shows_name(name, Kind::Model));
                self.shows(component) && !hidden.any(|name| component.detail.contains(model_name(name)))
            }
            Kind::Deployment => self.shows(component),
            // It names what else is not well.
            _ => false,
        };
        Some(component.detail.as_str()).filter(|detail| told && !detail.is_empty())
    }

    /// What it sees of the changes. Of what is gone nobody can say for whom it was: a model that no key lists any
    /// more is shown to none, nor a reason that names it.
    pub(super) fn changes(&self, changes: Vec<Change>) -> Vec<Change> {
        if self.sight == &Sight::Public(Public::Full) {
            return changes;
        }
        let (mut seen, hidden): (Vec<_>, Vec<_>) =
            changes.into_iter().partition(|change| self.shows_change(&change.name, change.kind()));
        let hidden: HashSet<&str> = hidden.iter().map(|change| bare_name(&change.name)).collect();
        for change in &mut seen {
            let of_deployment = kind(&change.name, change.kind()) == Kind::Deployment;
            let told = of_deployment || self.whole && !hidden.iter().any(|name| change.detail.contains(name));
            if !told {
                change.detail.clear();
            }
        }
        seen
    }

    fn shows_change(&self, name: &str, of_kind: Kind) -> bool {
        match (kind(name, of_kind), self.sight) {
            (Kind::Model, Sight::Key(models)) => models.contains(model_name(name)),
            (Kind::Deployment, _) if self.whole => find(self.report, name).is_some(),
            _ => self.shows_name(name, of_kind),
        }
    }

    /// What it sees of the report.
    pub(super) fn reduced(&self) -> Report {
        let components = self.components().map(|component| {
            let mut seen = component.clone();
            seen.detail = self.detail(component).unwrap_or_default().to_owned();
            seen.stands_on.retain(|name| self.shows_name(name, Kind::Unspecified));
            if !self.sees_measures() {
                (seen.latency, seen.checked_at, seen.since, seen.last_success_at) = (None, None, None, None);
            }
            seen
        });
        let Report { state, draining, readiness, starting, started_at, .. } = *self.report;
        Report {
            state,
            draining,
            version: self.report.version.clone(),
            components: components.collect(),
            readiness,
            starting,
            service: self.report.service.clone(),
            started_at,
        }
    }
}

pub(super) fn kind_of(component: &Component) -> Kind {
    kind(&component.name, component.kind())
}
