//! The deployments that there are, by id and by model. The table is replaced as a whole when models come and go;
//! running requests keep theirs.

use std::{collections::HashMap, sync::Arc, time::Duration};

use penstock_proto::Reason;
use tokio::{sync::watch, time::Instant};

use crate::{
    admission::Place,
    deployment::Deployment,
    error::{Error, Fault},
};

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
            self.0.send_modify(|_| ());
        }
    }
}
