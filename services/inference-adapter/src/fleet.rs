//! The deployments that there are, by id and by model, and what happens on each: requests in flight, health.
//! The table is replaced as a whole when models come and go; running requests keep theirs.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, SystemTime},
};

use penstock_chassis::Component;
use penstock_proto::{Reason, inference::v1::Capabilities, status::v1::State};
use prometheus_client::metrics::histogram::Histogram;
use tokio::{sync::watch, time::Instant};

use crate::{
    capabilities::over,
    engine::Engine,
    error::{Error, Fault},
    evidence::Evidence,
};

/// One model on one engine.
pub(crate) struct Deployment {
    pub(crate) id: Arc<str>,
    /// Dialect of the engine.
    pub(crate) dialect: &'static str,
    /// Name that the engine knows the model by.
    pub(crate) model: String,
    pub(crate) discovered: bool,
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) first_token: Histogram,
    pub(crate) component: Component,
    pub(crate) evidence: Mutex<Evidence>,
    pub(crate) in_flight: AtomicU32,
    pub(crate) max_in_flight: u32,
    /// What the file says that the model can do, and what the dialect implies.
    pub(crate) declared: Capabilities,
    pub(crate) implied: Capabilities,
    /// What was last reported of it.
    pub(crate) reported: Mutex<Capabilities>,
    /// The engine has been asked what the model can do.
    pub(crate) looked: AtomicBool,
}

impl fmt::Debug for Deployment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deployment")
            .field("id", &self.id)
            .field("engine", &self.engine)
            .finish_non_exhaustive()
    }
}

/// A request that a deployment is working on, until this is dropped.
#[derive(Debug)]
pub(crate) struct InFlight(Arc<Deployment>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Deployment {
    /// Takes a place on the deployment.
    ///
    /// # Errors
    /// All are taken.
    pub(crate) fn enter(self: &Arc<Self>) -> Result<InFlight, Error> {
        let before = self.in_flight.fetch_add(1, Ordering::Relaxed);
        let place = InFlight(Arc::clone(self));
        if before < self.max_in_flight {
            return Ok(place);
        }
        let full = Fault::new(Reason::EngineOverloaded, "all places on the engine are taken");
        Err(Fault { retry_after: Some(Duration::from_secs(1)), ..full }.of(&self.id))
    }

    /// Requests that it is working on now.
    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// State and the time of its last confirmation.
    pub(crate) fn state(&self) -> (State, Option<SystemTime>) {
        self.lock().state()
    }

    /// Takes the outcome of a request as evidence. True: the state changed.
    fn judge(&self, outcome: Result<(), Reason>) -> bool {
        let well = match outcome {
            Ok(()) => true,
            Err(reason) if reason.remedy().breaker => false,
            Err(_) => return false,
        };
        let changed = self.lock().request(well, Instant::now(), SystemTime::now());
        match outcome {
            _ if !changed => {}
            Ok(()) => self.component.up(None),
            Err(reason) => self.component.down(reason.title(), None),
        }
        changed
    }

    /// Takes the outcome of a check as evidence. True: the state changed.
    fn checked(&self, outcome: &Result<(), Fault>, latency: Option<Duration>) -> bool {
        let found = match outcome {
            Ok(()) => State::Up,
            Err(fault) if matches!(fault.reason, Reason::EngineOverloaded | Reason::ModelLoading) => {
                State::Degraded
            }
            Err(_) => State::Down,
        };
        let (changed, now) = {
            let mut evidence = self.lock();
            (evidence.check(found, Instant::now(), SystemTime::now()), evidence.state().0)
        };
        if now == found {
            let detail = outcome.as_ref().err().map_or("", |fault| fault.reason.title());
            match found {
                State::Up => self.component.up(latency),
                State::Degraded => self.component.degraded(detail, latency),
                _ => self.component.down(detail, latency),
            }
        }
        changed
    }

    /// What the model can do there: as declared, else as the engine says, else as its dialect implies.
    pub(crate) fn capabilities(&self) -> Capabilities {
        over(&self.declared, &over(&self.engine.capabilities(), &self.implied))
    }

    /// True: what it can do is not what was last reported.
    fn learnt(&self) -> bool {
        let now = self.capabilities();
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *reported, now) != now
    }

    /// Whether the engine is still to be asked what the model can do.
    pub(crate) fn is_unknown(&self) -> bool {
        !self.looked.load(Ordering::Relaxed)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Evidence> {
        self.evidence.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All deployments at one moment.
#[derive(Debug, Default)]
pub(crate) struct Table {
    /// Sorted by id.
    all: Vec<Arc<Deployment>>,
    by_id: HashMap<Arc<str>, Arc<Deployment>>,
    /// `None`: several deployments have the model.
    by_model: HashMap<String, Option<Arc<Deployment>>>,
}

impl Table {
    fn of(mut all: Vec<Arc<Deployment>>) -> Self {
        all.sort_by(|a, b| a.id.cmp(&b.id));
        let by_id = all.iter().map(|one| (Arc::clone(&one.id), Arc::clone(one))).collect();
        let mut by_model: HashMap<String, Option<Arc<Deployment>>> = HashMap::new();
        for one in &all {
            by_model
                .entry(one.model.clone())
                .and_modify(|only| *only = None)
                .or_insert_with(|| Some(Arc::clone(one)));
        }
        Self { all, by_id, by_model }
    }

    /// All deployments, sorted by id.
    pub(crate) fn all(&self) -> &[Arc<Deployment>] {
        &self.all
    }

    /// Whether the deployment is the only one that has its model.
    pub(crate) fn is_only(&self, deployment: &Deployment) -> bool {
        self.by_model.get(&deployment.model).is_some_and(Option::is_some)
    }
}

/// The deployments that there are. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Fleet(Arc<watch::Sender<Arc<Table>>>);

impl Fleet {
    pub(crate) fn new(deployments: Vec<Arc<Deployment>>) -> Self {
        Self(Arc::new(watch::Sender::new(Arc::new(Table::of(deployments)))))
    }

    /// The table now.
    pub(crate) fn table(&self) -> Arc<Table> {
        Arc::clone(&self.0.borrow())
    }

    /// The table now, and again on every change.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Arc<Table>> {
        self.0.subscribe()
    }

    /// Puts other deployments in the place of those that are there.
    pub(crate) fn replace(&self, deployments: Vec<Arc<Deployment>>) {
        self.0.send_replace(Arc::new(Table::of(deployments)));
    }

    /// The deployment that is to answer: the one that was chosen, else the one of that name, else the only one
    /// that has that model.
    ///
    /// # Errors
    /// There is none, or the chosen one is gone.
    pub(crate) fn find(&self, chosen: Option<&str>, model: &str) -> Result<Arc<Deployment>, Error> {
        let table = self.0.borrow();
        if let Some(id) = chosen {
            return table.by_id.get(id).cloned().ok_or_else(|| Error::Gone(id.to_owned()));
        }
        let found = table.by_id.get(model).or_else(|| table.by_model.get(model)?.as_ref());
        found.cloned().ok_or_else(|| Error::NoDeployment(model.to_owned()))
    }

    /// Takes the outcome of a request as evidence.
    pub(crate) fn judge(&self, deployment: &Deployment, outcome: Result<(), Reason>) {
        if deployment.judge(outcome) {
            self.0.send_modify(|_| ());
        }
    }

    /// Takes the outcome of a check as evidence.
    pub(crate) fn checked(
        &self,
        deployment: &Deployment,
        outcome: &Result<(), Fault>,
        latency: Option<Duration>,
    ) {
        let (changed, learnt) = (deployment.checked(outcome, latency), deployment.learnt());
        if changed || learnt {
            self.0.send_modify(|_| ());
        }
    }
}
