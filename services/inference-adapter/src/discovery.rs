//! Looking after engines in the background: which models they list on the well-known ports, and whether those
//! that are configured are there. Both are free: nothing is generated or loaded.

use std::{collections::HashSet, sync::Arc, time::Duration};

use futures_util::future::join_all;
use penstock_chassis::Tasks;
use penstock_proto::Reason;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use crate::{
    config::{Place, first_token_timeout},
    engine::{Listing, Target},
    error::Fault,
    fleet::{Deployment, Fleet},
    foundry::Foundry,
    upstream::silent,
};

/// The first look is awaited so long at the most: the start must not wait for a port that drops packets.
const FIRST_LOOK: Duration = Duration::from_millis(250);
/// Models of one engine that are taken over at most.
const MODELS_MAX: usize = 256;
/// Longest name of a model that is taken over, in bytes.
const MODEL_MAX_BYTES: usize = 200;

/// Looks for models and after deployments.
#[derive(Debug)]
pub(crate) struct Discovery {
    pub(crate) places: Vec<Place>,
    pub(crate) interval: Duration,
    pub(crate) timeout: Duration,
    pub(crate) foundry: Foundry,
    pub(crate) fleet: Fleet,
}

/// What a look at a place found.
#[derive(Debug)]
enum Look {
    /// These models.
    Models(Vec<String>),
    /// No engine.
    Nothing,
    /// An engine that did not answer in time: what was there may still be.
    Unclear,
}

impl Discovery {
    /// Looks once, then starts to look again and again.
    pub(crate) async fn start(self, tasks: &Tasks) {
        self.look(FIRST_LOOK).await;
        let stopping = tasks.stopping();
        tasks.spawn("engine discovery", async move {
            let mut ticks = interval_at(Instant::now() + self.interval, self.interval);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            // The configured ones were not looked at yet.
            self.check().await;
            while stopping.run_until_cancelled(ticks.tick()).await.is_some() {
                self.look(self.timeout).await;
                self.check().await;
            }
        });
    }

    /// Looks at every place, side by side, and takes over what is there.
    async fn look(&self, at_most: Duration) {
        if self.places.is_empty() {
            return;
        }
        let looks = join_all(self.places.iter().map(|place| self.look_at(place, at_most))).await;
        let before = self.fleet.table();
        let mut after: Vec<Arc<Deployment>> =
            before.all().iter().filter(|one| !one.discovered).cloned().collect();
        for (place, look) in self.places.iter().zip(looks) {
            let prefix = prefix(place);
            let known = before.all().iter().filter(|one| one.discovered && one.id.starts_with(&prefix));
            match look {
                Look::Nothing => {}
                Look::Unclear => after.extend(known.cloned().inspect(|one| self.heard(one, Err(silent())))),
                Look::Models(models) => {
                    for model in models {
                        let id: Arc<str> = format!("{prefix}{model}").into();
                        let same = before.all().iter().chain(&after).find(|one| one.id == id).cloned();
                        let one = same.or_else(|| self.found(place, &id, model));
                        after.extend(one.inspect(|one| self.heard(one, Ok(()))));
                    }
                }
            }
        }
        let known: HashSet<_> = before.all().iter().map(|one| Arc::clone(&one.id)).collect();
        // Two places may be one engine, spelled in two ways: one deployment, or its model has no only one.
        let mut found = HashSet::new();
        after.retain(|one| found.insert(Arc::clone(&one.id)));
        if known != found {
            for id in known.difference(&found) {
                self.foundry.metrics.forget(id);
            }
            let (appeared, vanished) = (found.difference(&known).count(), known.difference(&found).count());
            tracing::info!(appeared, vanished, "models of engines on this machine changed");
            self.fleet.replace(after);
        }
    }

    fn found(&self, place: &Place, id: &Arc<str>, model: String) -> Option<Arc<Deployment>> {
        let target = Target {
            deployment: Arc::clone(id),
            endpoint: place.endpoint.clone(),
            model,
            context_tokens: None,
            authorization: None,
            first_token_timeout: first_token_timeout(place.kind),
            keep_alive_seconds: None,
            shown: Arc::default(),
        };
        self.foundry.remote(place.kind, target, true)
    }

    /// Takes a look at its place as the check of a deployment that was found there.
    fn heard(&self, deployment: &Deployment, outcome: Result<(), Fault>) {
        self.fleet.checked(deployment, &outcome, None);
    }

    async fn look_at(&self, place: &Place, at_most: Duration) -> Look {
        let Some(Listing { url, read }) = place.kind.listing(&place.endpoint) else { return Look::Nothing };
        match self.foundry.http.get(url, None, at_most).await {
            Ok(body) => read(&body).map_or(Look::Nothing, |models| Look::Models(sane(models))),
            Err(fault) if fault.reason == Reason::EngineTimeout => Look::Unclear,
            Err(Fault { reason: Reason::EngineOverloaded | Reason::ModelLoading, .. }) => Look::Unclear,
            Err(_) => Look::Nothing,
        }
    }

    /// Checks every deployment that is configured, side by side.
    async fn check(&self) {
        let table = self.fleet.table();
        let configured = table.all().iter().filter(|one| !one.discovered);
        join_all(configured.map(|deployment| async {
            let began = Instant::now();
            let outcome = timeout(self.timeout, deployment.engine.check(self.timeout)).await;
            let outcome = outcome.unwrap_or_else(|_| Err(silent()));
            self.fleet.checked(deployment, &outcome, Some(began.elapsed()));
        }))
        .await;
    }
}

/// What the ids of deployments at a place begin with: no host means this machine.
fn prefix(place: &Place) -> String {
    let port = place.endpoint.port_or_known_default().unwrap_or_default();
    match place.endpoint.host_str() {
        None | Some("127.0.0.1" | "[::1]" | "localhost") => format!("{}:{port}/", place.kind.name()),
        Some(host) => format!("{}:{host}:{port}/", place.kind.name()),
    }
}

/// Names that are fit to be ids; each once.
fn sane(models: Vec<String>) -> Vec<String> {
    let mut seen = HashSet::new();
    let fits = |name: &String| {
        (1..=MODEL_MAX_BYTES).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic())
    };
    models.into_iter().filter(fits).filter(|name| seen.insert(name.clone())).take(MODELS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Kind;

    #[test]
    fn ids_name_the_host_unless_it_is_this_machine() {
        for (kind, endpoint, expected) in [
            (Kind::Ollama, "http://127.0.0.1:11434", "ollama:11434/"),
            (Kind::OpenAi, "http://localhost:8000/v1", "openai:8000/"),
            (Kind::OpenAi, "http://[::1]:8000", "openai:8000/"),
            (Kind::OpenAi, "http://127.0.0.2:8000", "openai:127.0.0.2:8000/"),
            (Kind::OpenAi, "http://gpu-a:8000", "openai:gpu-a:8000/"),
            (Kind::OpenAi, "http://gpu-b:8000", "openai:gpu-b:8000/"),
            (Kind::OpenAi, "https://gpu-b", "openai:gpu-b:443/"),
            (Kind::OpenAi, "http://[fd00::1]:8000", "openai:[fd00::1]:8000/"),
        ] {
            let place = Place { kind, endpoint: endpoint.parse().unwrap() };
            assert_eq!(prefix(&place), expected, "{endpoint}");
        }
    }
}
