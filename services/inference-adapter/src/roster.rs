//! The deployments that the file has, put on the fleet: at the start, and whenever the file says otherwise. What has
//! not changed stays as it is, with all that is known of it; what has is made anew, and running requests keep the
//! old one.

use std::{collections::HashMap, sync::Arc, time::Duration};

use penstock_chassis::{Live, Tasks, config::Mistakes};
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep},
};
use tokio_util::sync::DropGuard;

use crate::{
    config::{Configured, DeploymentConfig},
    deployment::Deployment,
    discovery::Discovery,
    error::Error,
    fleet::Replaced,
    foundry::Foundry,
    generation::Generations,
    upstream::Http,
    watch::{self, CHECKS_AT_ONCE},
};

/// The first look at places is awaited so long at the start: it must not wait for a port that drops packets.
const FIRST_LOOK: Duration = Duration::from_millis(250);
/// How often those are looked for that have been gone for long enough.
const LET_GO_INTERVAL: Duration = Duration::from_secs(10);

/// Puts deployments on the fleet, and takes them off.
#[derive(Debug)]
pub(crate) struct Roster {
    members: Vec<Member>,
    discovery: Discovery,
    /// Not started yet: no deployment has asked for them.
    generations: Option<Generations>,
    room: Arc<Semaphore>,
    tasks: Tasks,
}

/// A deployment, as the file has it.
#[derive(Debug)]
struct Member {
    config: DeploymentConfig,
    deployment: Arc<Deployment>,
    /// Ends the checks.
    _looking: DropGuard,
}

impl Roster {
    /// Starts with these deployments, and takes over what is `live` from then on.
    ///
    /// # Errors
    /// The HTTP client cannot be built.
    pub(crate) async fn start(
        first: Configured,
        mut live: Live<Configured>,
        discovery: Discovery,
        generations: Generations,
        tasks: &Tasks,
    ) -> Result<(), Error> {
        let mut roster = Self {
            members: Vec::new(),
            discovery,
            generations: Some(generations),
            room: Arc::new(Semaphore::new(CHECKS_AT_ONCE)),
            tasks: tasks.clone(),
        };
        roster.take(first, FIRST_LOOK).await?;
        let stopping = tasks.stopping();
        tasks.spawn("deployments", async move {
            stopping.run_until_cancelled(roster.run(&mut live)).await;
        });
        Ok(())
    }

    async fn run(&mut self, live: &mut Live<Configured>) {
        loop {
            let update = tokio::select! {
                update = live.next() => update,
                () = self.discovery.run() => continue,
                () = self.let_go() => continue,
            };
            let at_most = self.discovery.timeout;
            if let Err(error) = self.take(update.next.clone(), at_most).await {
                update.refuse(Mistakes::one(error.to_string()));
            }
        }
    }

    /// Puts these deployments in the place of the others.
    async fn take(&mut self, next: Configured, at_most: Duration) -> Result<(), Error> {
        if next.needs_tls() && !self.discovery.foundry.http.has_tls() {
            self.discovery.foundry.http = Http::new(
                self.discovery.foundry.http.limits(),
                true,
                self.discovery.foundry.metrics.clone(),
            )?;
        }
        let Discovery { foundry, fleet, .. } = &self.discovery;
        if next.asks_for_generations(foundry.generation_probe)
            && let Some(generations) = self.generations.take()
        {
            generations.start(&self.tasks);
        }
        let mut before: HashMap<_, _> =
            self.members.drain(..).map(|member| (member.config.id.clone(), member)).collect();
        let mut made = 0_usize;
        for config in next.deployments {
            let known = before.remove(&config.id).filter(|member| member.config == config);
            let member = known.or_else(|| {
                made = made.saturating_add(1);
                Member::new(config, foundry, |deployment| {
                    watch::start(deployment, fleet, &self.room, &self.tasks)
                })
            });
            self.members.extend(member);
        }
        let these = self.members.iter().map(|member| Arc::clone(&member.deployment)).collect();
        let Replaced { appeared, vanished } = fleet.replace(false, these, Instant::now());
        drop(before);
        foundry.dismiss(&vanished);
        if made > 0 || !vanished.is_empty() {
            let changed = made.saturating_sub(appeared);
            tracing::info!(appeared, changed, vanished = vanished.len(), "deployments as configured");
        }
        self.discovery.move_to(next.discover, at_most).await;
        Ok(())
    }

    /// Lets go of those that are gone for good. May be dropped at any time.
    async fn let_go(&self) {
        loop {
            sleep(LET_GO_INTERVAL).await;
            let Discovery { foundry, fleet, .. } = &self.discovery;
            let gone = fleet.let_go(Instant::now());
            let table = fleet.table();
            // What they have counted since: unless one of that name is there again.
            gone.iter().filter(|one| !table.has(&one.id)).for_each(|one| foundry.metrics.forget(&one.id));
        }
    }
}

impl Member {
    fn new(
        config: DeploymentConfig,
        foundry: &Foundry,
        look_after: impl FnOnce(&Arc<Deployment>) -> DropGuard,
    ) -> Option<Self> {
        let deployment = foundry.configured(config.clone())?;
        Some(Self { _looking: look_after(&deployment), config, deployment })
    }
}
