//! Health of a process: components report their state, everything else is a view of that one report.
//! `status.v1` shows all of it; `grpc.health.v1` says SERVING for UP and DEGRADED, else NOT_SERVING. Checks run in
//! the background: whoever asks gets the last report, whatever the dependencies do.

mod channel;
mod check;
mod component;
mod config;
mod evidence;
mod grpc;
mod journal;
mod judge;
mod metrics;
mod quiet;

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use penstock_proto::status::v1::{Change, Component as ComponentReport, Kind, Report, State};
use tokio::sync::{Semaphore, watch};
use tonic::service::Routes;

pub(crate) use self::metrics::HealthMetrics;
pub use self::{
    check::{Check, Outcome},
    component::Component,
    config::{CheckConfig, HealthConfig},
    evidence::Evidence,
    grpc::{NAME_MAX_BYTES, Watch},
    judge::Judge,
};
use self::{
    component::Entry,
    journal::Journal,
    quiet::{differ_in_looks_alone, without_looks},
};

/// Version of the program, as it stands in reports.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The name under which `grpc.health.v1` says whether the process is alive: it always is, if it answers.
const LIVENESS: &str = "liveness";
/// The name under which it says whether requests should be sent here.
const READINESS: &str = "readiness";
/// The name under which it says whether the start is over.
const STARTUP: &str = "startup";
/// What the names of models begin with, here and in reports.
pub const MODEL_PREFIX: &str = "model/";
/// What those of deployments begin with, in reports.
pub const DEPLOYMENT_PREFIX: &str = "deployment/";

/// The health of a process. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Health {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: HealthConfig,
    state: Mutex<Registry>,
    report: watch::Sender<Arc<Report>>,
    /// The report without what a look alone changes: sent on when a state or a text changes.
    changes: watch::Sender<Arc<Report>>,
    /// Room for streams that watch.
    watches: Arc<Semaphore>,
}

#[derive(Debug)]
struct Registry {
    service: &'static str,
    began: SystemTime,
    components: BTreeMap<String, Entry>,
    handles: u64,
    services: BTreeSet<String>,
    journal: Journal,
    /// The components are all there: before that the process is not ready.
    started: bool,
    draining: bool,
    ended: bool,
}

impl Default for Health {
    fn default() -> Self {
        Self::new("", HealthConfig::default())
    }
}

impl Health {
    /// The health of `service`, which has no components yet.
    pub fn new(service: &'static str, config: HealthConfig) -> Self {
        let registry = Registry {
            service,
            began: SystemTime::now(),
            components: BTreeMap::new(),
            handles: 0,
            services: BTreeSet::new(),
            journal: Journal::new(config.history_max),
            started: false,
            draining: false,
            ended: false,
        };
        let report = Arc::new(registry.report());
        let watches = Arc::new(Semaphore::new(config.watches_max));
        let changes = watch::Sender::new(Arc::new(without_looks(&report)));
        let inner = Inner {
            config,
            state: Mutex::new(registry),
            report: watch::Sender::new(report),
            changes,
            watches,
        };
        Self { inner: Arc::new(inner) }
    }

    /// The health of another service of the same process, by the same configuration.
    #[must_use]
    pub fn beside(&self, service: &'static str) -> Self {
        Self::new(service, self.inner.config.clone())
    }

    /// The service that this is the health of.
    pub fn service(&self) -> &'static str {
        self.lock().service
    }

    /// How a check is made: `usual`, and what the configuration says for its name.
    pub fn check_config(&self, name: &str, usual: CheckConfig) -> CheckConfig {
        self.inner.config.of(name, usual)
    }

    /// Adds a component to the report, until the handle is dropped. `required`: without it the process is DOWN.
    /// The configuration may say otherwise.
    pub fn component(&self, name: impl Into<String>, kind: Kind, required: bool) -> Component {
        let name = name.into();
        let (required, readiness) = self.inner.config.weight(&name, required);
        let mut handle = 0;
        self.change(|registry| {
            registry.handles += 1;
            handle = registry.handles;
            let component = ComponentReport {
                name: name.clone(),
                required,
                kind: kind.into(),
                ignored_by_readiness: !readiness,
                ..ComponentReport::default()
            };
            registry.components.insert(name.clone(), Entry::new(handle, component));
        });
        Component::new(name, handle, self.clone())
    }

    /// Names a gRPC service that this process serves: it gets the process' health under its own name.
    pub fn serves(&self, service: impl Into<String>) {
        self.change(|registry| {
            registry.services.insert(service.into());
        });
        self.wake();
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
        self.wake();
    }

    /// The report now. Costs nothing: checks run in the background, never on the probe's time.
    pub fn report(&self) -> Arc<Report> {
        Arc::clone(&self.inner.report.borrow())
    }

    /// The report now and again whenever a state or its reason changes; without latencies and times of checks.
    pub fn changes(&self) -> watch::Receiver<Arc<Report>> {
        self.inner.changes.subscribe()
    }

    /// The changes of state that were seen, the newest first, at most `limit`.
    pub fn history(&self, limit: usize) -> Vec<Change> {
        self.lock().journal.newest(limit)
    }

    /// Adds the gRPC faces of health to `routes`: `grpc.health.v1.Health` and `penstock.status.v1.Status`.
    pub fn add_to(&self, routes: Routes) -> Routes {
        grpc::add_to(routes, self, true)
    }

    /// The same without the names of models, for a port where not everybody may ask for them.
    pub(crate) fn add_without_models_to(&self, routes: Routes) -> Routes {
        grpc::add_to(routes, self, false)
    }

    /// The components of which this process itself says how they are.
    fn own(&self) -> Vec<ComponentReport> {
        let registry = self.lock();
        registry.components.values().flat_map(Entry::own).cloned().collect()
    }

    fn serves_now(&self, service: &str) -> bool {
        self.lock().services.contains(service)
    }

    fn has_ended(&self) -> bool {
        self.lock().ended
    }

    /// Changes the registry, and tells whoever listens.
    fn change(&self, change: impl FnOnce(&mut Registry)) {
        let mut registry = self.lock();
        change(&mut registry);
        let mut report = registry.report();
        let news = registry.journal.take(&mut report, SystemTime::now());
        let own = registry.own_of(news);
        let (service, quiet) = (registry.service, registry.ended);
        let report = Arc::new(report);
        // Sent under the lock: reports never overtake one another. First to those who ask, so that who is woken finds
        // it there.
        self.inner.report.send_replace(Arc::clone(&report));
        self.inner.changes.send_if_modified(|last| {
            let changed = !differ_in_looks_alone(last, &report);
            if changed {
                *last = Arc::new(without_looks(&report));
            }
            changed
        });
        drop(registry);
        // What goes away at the end is no news.
        if !quiet {
            own.iter().for_each(|change| journal::log(service, change, &report));
        }
    }

    /// Makes those who watch look again: what they ask for may have become known, or their time be over.
    fn wake(&self) {
        self.inner.changes.send_modify(|_| ());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Registry> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registry {
    fn report(&self) -> Report {
        let own = || self.components.values().map(|entry| &entry.component);
        let worst = |components: &mut dyn Iterator<Item = &ComponentReport>| {
            components.map(effect).max().unwrap_or(State::Up)
        };
        let (mut state, mut readiness) =
            (worst(&mut own()), worst(&mut own().filter(|component| !component.ignored_by_readiness)));
        if self.draining || !self.started {
            (state, readiness) = (State::Down, State::Down);
        }
        let mut components: Vec<_> =
            self.components.values().flat_map(|entry| entry.all()).cloned().collect();
        components.sort_by(|a, b| a.name.cmp(&b.name));
        Report {
            state: state.into(),
            readiness: readiness.into(),
            draining: self.draining,
            starting: !self.started,
            version: VERSION.to_owned(),
            service: self.service.to_owned(),
            started_at: Some(self.began.into()),
            components,
        }
    }

    /// The changes of components of which this process itself says how they are. What other services say of theirs,
    /// they log.
    fn own_of(&self, mut news: Vec<Change>) -> Vec<Change> {
        if !news.is_empty() {
            let heard: HashSet<&str> = self.components.values().flat_map(Entry::heard).collect();
            news.retain(|change| !heard.contains(change.name.as_str()));
        }
        news
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

#[cfg(test)]
mod tests;
