//! The bodies of the HTTP faces, written straight from the report: nothing of it is copied. What a caller may not
//! see is not there, or `null` where its clients expect the member.

mod lists;

use penstock_proto::status::v1::{Component, Kind, Report, State};
use serde::{Serialize, Serializer, ser::SerializeMap as _};

use super::view::{View, find, kind_of, state_of};
use crate::json::time::{At, millis};
pub(super) use lists::{Changes, Endpoints, ModelList, OneService, Services};

/// A member without a value.
fn none<T>(value: &Option<T>) -> bool {
    value.is_none()
}

/// How a component is, in the words of the three states.
pub(super) fn word(state: State) -> &'static str {
    match state {
        State::Unspecified => "UNKNOWN",
        State::Up => "UP",
        State::Degraded => "DEGRADED",
        State::Down => "DOWN",
    }
}

/// The same in LiteLLM's words, and one for what it does not know.
fn health(state: State) -> &'static str {
    match state {
        State::Up => "healthy",
        State::Degraded => "degraded",
        State::Down | State::Unspecified => "unhealthy",
    }
}

/// What is measured of a component, for who may see it.
#[derive(Default, Serialize)]
struct Measured {
    latency_ms: Option<f64>,
    last_check: Option<At>,
}

impl Measured {
    fn of(view: &View<'_>, component: &Component) -> Self {
        if !view.sees_measures() {
            return Self::default();
        }
        Self { latency_ms: millis(component.latency.as_ref()), last_check: component.checked_at.map(At) }
    }
}

/// A component beside its name.
#[derive(Serialize)]
struct Entry<'a> {
    status: &'static str,
    required: bool,
    #[serde(skip_serializing_if = "none")]
    latency_ms: Option<f64>,
    #[serde(skip_serializing_if = "none")]
    last_check: Option<At>,
    #[serde(skip_serializing_if = "none")]
    since: Option<At>,
    #[serde(skip_serializing_if = "none")]
    detail: Option<&'a str>,
}

/// Components by their names.
struct Components<'a> {
    view: &'a View<'a>,
    only: fn(&Component) -> bool,
}

impl Serialize for Components<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for component in self.view.components().filter(|component| (self.only)(component)) {
            let Measured { latency_ms, last_check } = Measured::of(self.view, component);
            let since = component.since.filter(|_| self.view.sees_measures()).map(At);
            let entry = Entry {
                status: word(component.state()),
                required: component.required,
                latency_ms,
                last_check,
                since,
                detail: self.view.detail(component),
            };
            map.serialize_entry(&component.name, &entry)?;
        }
        map.end()
    }
}

/// Models and their deployments have lists of their own.
fn is_of_the_mesh(component: &Component) -> bool {
    !matches!(kind_of(component), Kind::Model | Kind::Deployment)
}

/// The key store, in LiteLLM's words.
fn db(report: &Report) -> &'static str {
    match find(report, "auth/store").map_or(State::Unspecified, Component::state) {
        State::Up | State::Degraded => "connected",
        State::Down => "disconnected",
        State::Unspecified => "Not connected",
    }
}

/// Whether the component has ever worked.
fn has_worked(component: &Component) -> bool {
    component.last_success_at.is_some() || matches!(component.state(), State::Up | State::Degraded)
}

/// `/health/ready`.
#[derive(Serialize)]
pub(super) struct Ready<'a> {
    status: &'static str,
    state: &'static str,
    db: &'static str,
    db_initialized: bool,
    router_initialized: bool,
    version: &'a str,
    checks: Components<'a>,
}

impl<'a> Ready<'a> {
    pub(super) fn new(view: &'a View<'a>) -> Self {
        let report = view.report;
        let readiness = report.readiness();
        let status = match readiness {
            _ if report.draining => "draining",
            _ if report.starting => "starting",
            State::Up | State::Degraded => "healthy",
            State::Down | State::Unspecified => "unhealthy",
        };
        let models = find(report, "models").or_else(|| find(report, "router"));
        Self {
            status,
            state: if readiness == State::Unspecified { "DOWN" } else { word(readiness) },
            db: db(report),
            db_initialized: find(report, "auth/store").is_some_and(has_worked),
            router_initialized: models.is_some_and(has_worked),
            version: &report.version,
            checks: Components { view, only: |one| is_of_the_mesh(one) && !one.ignored_by_readiness },
        }
    }
}

/// `/health`.
#[derive(Serialize)]
pub(super) struct Overview<'a> {
    status: &'static str,
    state: &'static str,
    db: &'static str,
    /// There is none yet; LiteLLM's pollers expect the member.
    redis: Option<&'static str>,
    version: &'a str,
    #[serde(flatten)]
    endpoints: Endpoints<'a>,
    components: Components<'a>,
}

impl<'a> Overview<'a> {
    pub(super) fn new(view: &'a View<'a>, endpoints: Endpoints<'a>) -> Self {
        let state = state_of(view.report);
        Self {
            status: health(state),
            state: word(state),
            db: db(view.report),
            redis: None,
            version: &view.report.version,
            endpoints,
            components: Components { view, only: is_of_the_mesh },
        }
    }
}

/// `/health/status`.
#[derive(Serialize)]
pub(super) struct Status<'a> {
    status: &'static str,
    components: Components<'a>,
}

impl<'a> Status<'a> {
    pub(super) fn new(view: &'a View<'a>) -> Self {
        Self { status: word(state_of(view.report)), components: Components { view, only: |_| true } }
    }
}
