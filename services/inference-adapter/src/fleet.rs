//! The deployments that there are, by id and by model. The table is replaced as a whole when models come and go;
//! running requests keep theirs.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use penstock_proto::Reason;
use tokio::{sync::watch, time::Instant};

use crate::{
    admission::Place,
    deployment::Deployment,
    error::{Error, Fault},
};

/// How long a deployment that is gone still answers those that choose it: a router may have an older copy of the file,
/// which Kubernetes brings to every node within a minute and a half.
const KEPT: Duration = Duration::from_secs(120);

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

    /// Whether there is a deployment of that id.
    pub(crate) fn has(&self, id: &str) -> bool {
        self.by_id.contains_key(id)
    }

    /// Whether the deployment is the only one that has its model.
    pub(crate) fn is_only(&self, deployment: &Deployment) -> bool {
        self.by_model.get(&deployment.model).is_some_and(Option::is_some)
    }
}

/// Deployments that are gone, and since when.
type Gone = HashMap<Arc<str>, (Instant, Arc<Deployment>)>;

/// The deployments that there are. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fleet {
    table: Arc<watch::Sender<Arc<Table>>>,
    /// Routers may not know yet that these are.
    gone: Arc<Mutex<Gone>>,
}

/// What has changed by a replacement.
#[derive(Debug, Default)]
pub(crate) struct Replaced {
    /// Deployments that were not there, by their ids.
    pub(crate) appeared: usize,
    pub(crate) vanished: Vec<Arc<Deployment>>,
}

impl Fleet {
    /// The table now.
    pub(crate) fn table(&self) -> Arc<Table> {
        Arc::clone(&self.table.borrow())
    }

    /// The table now, and again on every change.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Arc<Table>> {
        self.table.subscribe()
    }

    /// Puts `these` in the place of all that are configured, or of all that were `discovered`. Where both have an id,
    /// the configured one has it. Those that vanish are found by their ids for `KEPT`, and not listed.
    pub(crate) fn replace(&self, discovered: bool, these: Vec<Arc<Deployment>>, now: Instant) -> Replaced {
        let mut replaced = Replaced::default();
        self.table.send_if_modified(|table| {
            let others = table.all.iter().filter(|one| one.discovered != discovered).cloned();
            let mut all: Vec<_> = others.chain(these).collect();
            all.sort_by_key(|one| one.discovered);
            let mut ids = HashSet::new();
            all.retain(|one| ids.insert(Arc::clone(&one.id)));
            let next = Table::of(all);
            let same = |(a, b): (&Arc<Deployment>, &Arc<Deployment>)| Arc::ptr_eq(a, b);
            if next.all.len() == table.all.len() && next.all.iter().zip(&table.all).all(same) {
                return false;
            }
            replaced.appeared = ids.iter().filter(|id| !table.by_id.contains_key(*id)).count();
            replaced.vanished = table.all.iter().filter(|one| !ids.contains(&one.id)).cloned().collect();
            let vanished = replaced.vanished.iter();
            self.gone().extend(vanished.map(|one| (Arc::clone(&one.id), (now, Arc::clone(one)))));
            *table = Arc::new(next);
            true
        });
        replaced
    }

    /// Whether there is a deployment of that id, or was one within the last `KEPT`.
    pub(crate) fn knows(&self, id: &str) -> bool {
        self.table.borrow().has(id) || self.gone().contains_key(id)
    }

    /// Lets go of those that have been gone for `KEPT`.
    pub(crate) fn let_go(&self, now: Instant) -> Vec<Arc<Deployment>> {
        let mut gone = self.gone();
        let old = gone.extract_if(|_, (since, _)| now.saturating_duration_since(*since) >= KEPT);
        old.map(|(_, (_, deployment))| deployment).collect()
    }

    /// The deployment that is to answer: the one that was chosen, else the one of that name, else the only one
    /// that has that model.
    ///
    /// # Errors
    /// There is none, or the chosen one is gone.
    pub(crate) fn find(&self, chosen: Option<&str>, model: &str) -> Result<Arc<Deployment>, Error> {
        let table = self.table.borrow();
        if let Some(id) = chosen {
            let gone = || self.gone().get(id).map(|(_, deployment)| Arc::clone(deployment));
            return table.by_id.get(id).cloned().or_else(gone).ok_or_else(|| Error::Gone(id.to_owned()));
        }
        let found = table.by_id.get(model).or_else(|| table.by_model.get(model)?.as_ref());
        found.cloned().ok_or_else(|| Error::NoDeployment(model.to_owned()))
    }

    /// Takes the outcome of a request as evidence.
    pub(crate) fn judge(&self, deployment: &Deployment, place: &mut Place, outcome: Result<(), Reason>) {
        if deployment.judge(place, outcome) {
            self.announce(deployment);
        }
    }

    /// Takes the beginning of an answer as evidence.
    pub(crate) fn heard(&self, deployment: &Deployment, place: &mut Place) {
        if deployment.heard(place) {
            self.announce(deployment);
        }
    }

    /// Takes note of a breaker whose time is over.
    pub(crate) fn turned(&self, deployment: &Deployment, now: Instant) {
        if deployment.turned(now) {
            self.announce(deployment);
        }
    }

    /// Takes the outcome of a generation that was made to see whether it can.
    pub(crate) fn generated(
        &self,
        deployment: &Deployment,
        outcome: Result<(), Reason>,
        timing: (Duration, Duration),
    ) {
        deployment.generated(outcome, timing);
        self.announce(deployment);
    }

    /// Takes the outcome of a check as evidence.
    pub(crate) fn checked(&self, deployment: &Deployment, outcome: &Result<(), Fault>, latency: Duration) {
        deployment.checked(outcome, latency);
        self.announce(deployment);
    }

    /// Tells whoever watches, if there is something to tell.
    fn announce(&self, deployment: &Deployment) {
        if deployment.has_news() {
            self.table.send_modify(|_| ());
        }
    }

    fn gone(&self) -> MutexGuard<'_, Gone> {
        self.gone.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
