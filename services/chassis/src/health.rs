//! Health of a process: components report their state, everything else is a view of that one report.
//! `status.v1` shows all of it; `grpc.health.v1` says SERVING for UP and DEGRADED, else NOT_SERVING.

mod grpc;
mod watch_channel;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use penstock_proto::status::v1::{Component as ComponentReport, Report, State};
use tokio::sync::watch;
use tonic::service::Routes;

/// Version of the program, as it stands in reports.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The health of a process. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Health {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    state: Mutex<Registry>,
    report: watch::Sender<Arc<Report>>,
}

#[derive(Debug, Default)]
struct Registry {
    components: BTreeMap<String, Entry>,
    handles: u64,
    services: BTreeSet<String>,
    /// The components are all there: before that the process is not ready.
    started: bool,
    draining: bool,
    ended: bool,
}

#[derive(Debug)]
struct Entry {
    /// The handle that reports it.
    handle: u64,
    component: ComponentReport,
    /// What it is made of, for people: its own state says already what follows from theirs.
    parts: Vec<ComponentReport>,
}

impl Default for Health {
    fn default() -> Self {
        let report = Registry::default().report();
        Self {
            inner: Arc::new(Inner { state: Mutex::default(), report: watch::Sender::new(Arc::new(report)) }),
        }
    }
}

impl Health {
    /// Adds a component to the report, until the handle is dropped. `required`: without it the process is DOWN.
    pub fn component(&self, name: impl Into<String>, required: bool) -> Component {
        let name = name.into();
        let mut handle = 0;
        self.change(|registry| {
            registry.handles += 1;
            handle = registry.handles;
            let fresh = ComponentReport { name: name.clone(), required, ..ComponentReport::default() };
            registry.components.insert(name.clone(), Entry { handle, component: fresh, parts: Vec::new() });
        });
        Component { name, handle, health: self.clone() }
    }

    /// Names a gRPC service that this process serves: it gets the process' health under its own name.
    pub fn serves(&self, service: impl Into<String>) {
        self.change(|registry| {
            registry.services.insert(service.into());
        });
    }

    /// Says that every part is in place: until then the process is DOWN.
    pub fn started(&self) {
        self.change(|registry| registry.started = true);
    }

    /// Says that the process is shutting down: DOWN for readiness from now on.
    pub fn drain(&self) {
        self.change(|registry| registry.draining = true);
    }

    /// Ends every Watch: an open one holds the server for ever.
    pub fn end_watches(&self) {
        self.change(|registry| registry.ended = true);
    }

    /// The report now. Costs nothing: checks run in the background, never on the probe's time.
    pub fn report(&self) -> Arc<Report> {
        Arc::clone(&self.inner.report.borrow())
    }

    /// Adds the gRPC faces of health to `routes`: `grpc.health.v1.Health` and `penstock.status.v1.Status`.
    pub fn add_to(&self, routes: Routes) -> Routes {
        grpc::add_to(routes, self)
    }

    fn subscribe(&self) -> watch::Receiver<Arc<Report>> {
        self.inner.report.subscribe()
    }

    fn knows(&self, service: &str) -> bool {
        service.is_empty() || self.lock().services.contains(service)
    }

    fn has_ended(&self) -> bool {
        self.lock().ended
    }

    fn change(&self, change: impl FnOnce(&mut Registry)) {
        let mut registry = self.lock();
        change(&mut registry);
        let report = Arc::new(registry.report());
        // Sent under the lock: reports never overtake one another.
        self.inner.report.send_replace(report);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Registry> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registry {
    fn report(&self) -> Report {
        let worst = self.components.values().map(|entry| effect(&entry.component)).max().unwrap_or(State::Up);
        let state = if self.draining || !self.started { State::Down } else { worst };
        let all = |entry: &Entry| std::iter::once(entry.component.clone()).chain(entry.parts.clone());
        let mut components: Vec<_> = self.components.values().flat_map(all).collect();
        components.sort_by(|a, b| a.name.cmp(&b.name));
        Report { state: state.into(), draining: self.draining, version: VERSION.to_owned(), components }
    }
}

/// What a component's state means for the process: an optional one can only degrade it, and a required one
/// that was never checked counts as down.
fn effect(component: &ComponentReport) -> State {
    match (component.state(), component.required) {
        (State::Up, _) | (State::Unspecified, false) => State::Up,
        (State::Degraded, _) | (State::Down, false) => State::Degraded,
        (State::Down | State::Unspecified, true) => State::Down,
    }
}

/// The handle of a component: it leaves the report when this is dropped. If the name was taken over by a newer
/// handle, this one has no say any more.
#[derive(Debug)]
pub struct Component {
    name: String,
    handle: u64,
    health: Health,
}

impl Component {
    /// It works. `latency`: how long the check took, if it was measured.
    pub fn up(&self, latency: Option<Duration>) {
        self.set(State::Up, String::new(), latency);
    }

    /// It works with a loss. `detail` is for operators: never an upstream's text.
    pub fn degraded(&self, detail: impl Into<String>, latency: Option<Duration>) {
        self.set(State::Degraded, detail.into(), latency);
    }

    /// It does not work. `detail` is for operators: never an upstream's text.
    pub fn down(&self, detail: impl Into<String>, latency: Option<Duration>) {
        self.set(State::Down, detail.into(), latency);
    }

    /// What it is made of, as it says itself.
    fn parts(&self, parts: Vec<ComponentReport>) {
        self.health.change(|registry| {
            if let Some(entry) = registry.components.get_mut(&self.name)
                && entry.handle == self.handle
            {
                entry.parts = parts;
            }
        });
    }

    fn set(&self, state: State, detail: String, latency: Option<Duration>) {
        let mut before = State::Unspecified;
        self.health.change(|registry| {
            if let Some(Entry { handle, component, .. }) = registry.components.get_mut(&self.name)
                && *handle == self.handle
            {
                before = component.state();
                component.state = state.into();
                component.detail.clone_from(&detail);
                component.latency = latency.and_then(|latency| latency.try_into().ok());
                component.checked_at = Some(SystemTime::now().into());
            }
        });
        let name = state.as_str_name().trim_start_matches("STATE_");
        match (before, state) {
            _ if before == state => {}
            // The first word that all is well is no news.
            (State::Unspecified, State::Up) => {}
            // Neither is that not all is there yet at the start.
            (State::Unspecified, _) | (_, State::Up) => {
                tracing::info!(component = self.name, state = name, detail, "health changed");
            }
            _ => tracing::warn!(component = self.name, state = name, detail, "health changed"),
        }
    }
}

impl Drop for Component {
    fn drop(&mut self) {
        self.health.change(|registry| {
            if registry.components.get(&self.name).is_some_and(|entry| entry.handle == self.handle) {
                registry.components.remove(&self.name);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started() -> Health {
        let health = Health::default();
        health.started();
        health
    }

    #[test]
    fn the_worst_required_component_wins_an_optional_one_can_only_degrade() {
        let health = started();
        let (required, optional) = (health.component("a", true), health.component("b", false));
        assert_eq!(health.report().state(), State::Down, "never checked");
        required.up(None);
        assert_eq!(health.report().state(), State::Up);
        optional.down("gone", None);
        assert_eq!(health.report().state(), State::Degraded);
        required.down("gone", None);
        assert_eq!(health.report().state(), State::Down);
        required.up(None);
        drop(optional);
        assert_eq!(health.report().state(), State::Up);
    }

    #[test]
    fn an_old_handle_has_no_say_over_a_newer_one() {
        let health = started();
        let old = health.component("a", true);
        let new = health.component("a", true);
        new.up(None);
        old.down("gone", None);
        drop(old);
        assert_eq!(health.report().state(), State::Up);
        assert_eq!(health.report().components.len(), 1);
    }

    #[test]
    fn not_ready_before_the_start_nor_while_draining() {
        let health = Health::default();
        assert_eq!(health.report().state(), State::Down);
        health.started();
        assert_eq!(health.report().state(), State::Up);
        health.drain();
        assert_eq!((health.report().state(), health.report().draining), (State::Down, true));
    }
}
