//! Follows what the adapter reports of its deployments, and keeps up to date with it: the registry, by which
//! deployments are chosen, and the health of every model.

use std::{
    collections::{BTreeMap, HashMap},
    future::Future,
    pin::pin,
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use penstock_chassis::{CallContext, Channel, Chassis, Component, Health, Live, reload::Update};
use penstock_proto::{
    adapter::v1::{
        Deployment as DeploymentReport, ListRequest, WatchRequest, WatchResponse,
        deployments_client::DeploymentsClient,
    },
    status::v1::{Kind, State},
};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_stream::StreamExt as _;
use tonic::Streaming;

use crate::{
    config::Routing,
    load::Load,
    model_health,
    needs::Needs,
    registry::{Deployment, Registry},
};

/// The pause before the deployments are watched again, if that has just failed.
const WATCH_PAUSE: Duration = Duration::from_millis(200);
/// How often the adapter is asked how long its checks take: it tells by itself only of changes of state.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// How long such a look may take.
const LOOK_TIMEOUT: Duration = Duration::from_secs(1);
/// How long after its first report the adapter may still be finding what is configured.
const FINDING: Duration = Duration::from_secs(5);
/// The check of the adapter, by its name in health.
const ADAPTER: &str = "inference-adapter";

type Client = DeploymentsClient<Channel>;
/// Names with the models that have them.
type Ambiguous = BTreeMap<String, Vec<Arc<str>>>;

/// The registry, kept up to date in the background. While the adapter says nothing the last one stays.
/// `live`: how requests are routed from the next change on.
pub(crate) fn follow(
    adapter: &Channel,
    routing: Routing,
    live: Live<Routing>,
    chassis: &Chassis,
) -> Arc<ArcSwap<Registry>> {
    let registry = Arc::new(ArcSwap::from_pointee(Registry::new(&routing, &[])));
    let health = chassis.health.clone();
    // Required: before the first report nobody knows what is offered.
    let models = health.component("models", Kind::Part, true);
    models.parts(model_health::components(&registry.load(), &[], State::Unspecified));
    let follower = Follower {
        client: DeploymentsClient::new(adapter.clone()),
        routing,
        live,
        loads: HashMap::new(),
        registry: Arc::clone(&registry),
        health,
        models,
        reported: Vec::new(),
        ambiguous: Ambiguous::new(),
        first: None,
        lost: false,
    };
    let stopping = chassis.tasks.stopping();
    chassis.tasks.spawn("deployments", async move {
        stopping.run_until_cancelled(follower.run()).await;
    });
    registry
}

struct Follower {
    client: Client,
    routing: Routing,
    live: Live<Routing>,
    /// What this router sees of each deployment that is reported: it outlives the reports.
    loads: HashMap<String, Arc<Load>>,
    registry: Arc<ArcSwap<Registry>>,
    health: Health,
    models: Component,
    /// What was reported last.
    reported: Vec<DeploymentReport>,
    /// The names of which was last said that only upper and lower case tell them apart.
    ambiguous: Ambiguous,
    /// When the first report came.
    first: Option<Instant>,
    /// The check of the adapter said, when that was last looked at, that it is lost.
    lost: bool,
}

impl Follower {
    async fn run(mut self) {
        loop {
            let began = Instant::now();
            let mut client = self.client.clone();
            if let Ok(reports) = self.meanwhile(client.watch(WatchRequest {})).await {
                self.listen(reports.into_inner()).await;
            }
            self.show_loss();
            // A watch that lasted has lost its replica of the adapter: another one is asked at once.
            if began.elapsed() < WATCH_PAUSE {
                self.meanwhile(sleep(WATCH_PAUSE)).await;
            }
        }
    }

    /// Waits for `what`; changes of the configuration wait for nothing.
    async fn meanwhile<T>(&mut self, what: impl Future<Output = T>) -> T {
        let mut what = pin!(what);
        loop {
            tokio::select! {
                done = &mut what => return done,
                update = self.live.next() => self.turn(update).await,
            }
        }
    }

    /// Routes as the configuration has it now, by the latest word of the adapter: what it has just learnt may not
    /// have come yet.
    async fn turn(&mut self, update: Update<Routing>) {
        self.routing = update.next.clone();
        let request = CallContext::background(LOOK_TIMEOUT).request(ListRequest {});
        match self.client.list(request).await {
            Ok(answer) => self.take(answer.into_inner().deployments),
            Err(_) => self.build(),
        }
    }

    /// Takes report after report until the stream ends, and looks in between.
    async fn listen(&mut self, mut reports: Streaming<WatchResponse>) {
        let mut looks = interval(LOOK_INTERVAL);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        looks.reset();
        let mut health = self.health.changes();
        self.lost = self.is_lost();
        loop {
            tokio::select! {
                report = reports.next() => match report {
                    Some(Ok(report)) => self.take(report.deployments),
                    _ => return,
                },
                Ok(()) = health.changed() => self.follow_check(),
                _ = looks.tick() => self.look().await,
                update = self.live.next() => self.turn(update).await,
            }
        }
    }

    fn take(&mut self, deployments: Vec<DeploymentReport>) {
        self.reported = deployments;
        self.first.get_or_insert_with(Instant::now);
        self.build();
    }

    /// Makes the registry out of the configuration and the last report.
    fn build(&mut self) {
        let deployments = &self.reported;
        self.loads.retain(|id, _| deployments.iter().any(|deployment| deployment.id == *id));
        let loads = &mut self.loads;
        let now = Instant::now();
        let read: Vec<_> = deployments
            .iter()
            .map(|report| {
                let load = Arc::clone(loads.entry(report.id.clone()).or_default());
                Arc::new(read(report, load, now))
            })
            .collect();
        let registry = Registry::new(&self.routing, &read);
        self.warn(registry.ambiguous());
        self.registry.store(Arc::new(registry));
        self.show();
    }

    /// Says which names are ambiguous, once: the registry is built anew with every report.
    fn warn(&mut self, ambiguous: Ambiguous) {
        let new = ambiguous.iter().filter(|(name, models)| self.ambiguous.get(*name) != Some(*models));
        for (name, models) in new {
            let models = models.join(", ");
            tracing::warn!(
                name,
                models,
                "only upper and lower case tell models apart: callers must write it"
            );
        }
        self.ambiguous = ambiguous;
    }

    /// Refreshes what changes with every check. States are left to the watch: another replica of the adapter may
    /// see an engine otherwise, and a model must not waver between the two.
    async fn look(&mut self) {
        let request = CallContext::background(LOOK_TIMEOUT).request(ListRequest {});
        if let Ok(answer) = self.client.list(request).await
            && self.first.is_some()
        {
            freshen(&mut self.reported, answer.into_inner().deployments);
            self.show();
        }
    }

    fn show(&self) {
        let found = self.first.is_some_and(|first| first.elapsed() >= FINDING);
        let missing = if found { State::Down } else { State::Unspecified };
        let models = model_health::components(&self.registry.load(), &self.reported, missing);
        let (state, detail) = model_health::summary(&models);
        self.models.parts(models);
        self.models.set(state, detail, None);
    }

    /// An adapter that hangs does not end its watch: its check says so first, and that it goes on.
    fn follow_check(&mut self) {
        let lost = self.is_lost();
        if lost == self.lost {
            return;
        }
        self.lost = lost;
        match lost {
            true => self.show_loss(),
            false if self.first.is_some() => self.show(),
            false => {}
        }
    }

    fn is_lost(&self) -> bool {
        let report = self.health.report();
        report.components.iter().any(|one| one.name == ADAPTER && one.state() == State::Down)
    }

    /// The watch has ended, or hangs. That alone says little: it may have moved from one replica to another.
    fn show_loss(&self) {
        if self.is_lost() && self.first.is_some() {
            self.models.parts(model_health::unreachable(&self.registry.load()));
            self.models.down(model_health::UNREACHABLE, None);
        }
    }
}

/// Takes over the latencies and the times of `fresh`, where both say the same state.
fn freshen(reported: &mut [DeploymentReport], fresh: Vec<DeploymentReport>) {
    let mut fresh: std::collections::HashMap<_, _> =
        fresh.into_iter().map(|deployment| (deployment.id.clone(), deployment)).collect();
    for known in reported {
        if let Some(fresh) = fresh.remove(&known.id)
            && fresh.state == known.state
        {
            known.latency = fresh.latency;
            known.checked_at = fresh.checked_at;
            known.last_success_at = fresh.last_success_at;
            known.detail = fresh.detail;
        }
    }
}

/// A report, received at `now`.
fn read(report: &DeploymentReport, load: Arc<Load>, now: Instant) -> Deployment {
    let span = |span: Option<prost_types::Duration>| span.and_then(|span| Duration::try_from(span).ok());
    Deployment {
        id: report.id.clone(),
        engine: report.engine.clone(),
        model: report.model.clone(),
        state: report.state(),
        breaker: report.breaker(),
        retry_at: span(report.retry_after).map(|after| now + after),
        capabilities: report.capabilities,
        lacks: Needs::unmet(report.capabilities.as_ref()),
        discovered: report.discovered,
        tags: report.tags.clone(),
        price: report.price,
        loaded: report.loaded,
        load_time: span(report.load_time),
        max_concurrent: report.max_concurrent,
        counts_tokens: report.counts_tokens,
        load,
    }
}

#[cfg(test)]
mod tests;
