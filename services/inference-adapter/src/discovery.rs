//! Looking after engines in the background: which models they list, on the well-known ports and where a deployment
//! stands for all of them, and whether those that are configured are there. Both are free: nothing is generated or
//! loaded.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt as _, future::join_all, stream};
use penstock_chassis::Tasks;
use penstock_proto::Reason;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use crate::{
    config::Place,
    engine::Listing,
    error::Fault,
    fleet::{Deployment, Fleet},
    foundry::Foundry,
    upstream::silent,
};

/// The first look is awaited so long at the most: the start must not wait for a port that drops packets.
const FIRST_LOOK: Duration = Duration::from_millis(250);
/// Models of one engine that are taken over at most.
const MODELS_MAX: usize = 256;
/// Checks that run at once: an engine with hundreds of models is not to be flooded.
const CHECKS_AT_ONCE: usize = 64;
/// Longest name of a model that is taken over, in bytes.
const MODEL_MAX_BYTES: usize = 200;

/// Looks in a row that may find no engine before its models are dropped: as long as a restart takes, at the default
/// interval a minute. Until then they are there, and DOWN.
const LOOKS_MISSED_MAX: u32 = 12;

/// Looks for models and after deployments.
#[derive(Debug)]
pub(crate) struct Discovery {
    pub(crate) places: Vec<Watched>,
    pub(crate) interval: Duration,
    pub(crate) timeout: Duration,
    pub(crate) foundry: Foundry,
    pub(crate) fleet: Fleet,
}

/// A place, and what is remembered of it.
#[derive(Debug)]
pub(crate) struct Watched {
    place: Place,
    /// Looks in a row that found no engine.
    missed: AtomicU32,
    /// It was said that the engine wants a key.
    told: AtomicBool,
}

impl From<Place> for Watched {
    fn from(place: Place) -> Self {
        Self { place, missed: AtomicU32::new(0), told: AtomicBool::new(false) }
    }
}

/// What a look at a place found.
#[derive(Debug)]
enum Look {
    /// These models.
    Models(Vec<String>),
    /// No engine, or one that says nothing of its models.
    Nothing(Fault),
    /// An engine that did not answer in time: what was there may still be.
    Unclear(Fault),
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
        for (watched, look) in self.places.iter().zip(looks) {
            let prefix = prefix(&watched.place);
            let known = before.all().iter().filter(|one| one.discovered && one.id.starts_with(&prefix));
            match look {
                Look::Nothing(_) if watched.missed.fetch_add(1, Ordering::Relaxed) >= LOOKS_MISSED_MAX => {}
                Look::Nothing(fault) | Look::Unclear(fault) => {
                    after.extend(known.cloned().inspect(|one| self.heard(one, Err(fault.clone()))));
                }
                Look::Models(models) => {
                    watched.missed.store(0, Ordering::Relaxed);
                    for model in models {
                        let id: Arc<str> = format!("{prefix}{model}").into();
                        let same = before.all().iter().chain(&after).find(|one| one.id == id).cloned();
                        let one = same.or_else(|| self.foundry.found(&watched.place, id, model));
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
            tracing::info!(appeared, vanished, "models of engines changed");
            self.fleet.replace(after);
        }
    }

    /// Takes a look at its place as the check of a deployment that was found there.
    fn heard(&self, deployment: &Deployment, outcome: Result<(), Fault>) {
        self.fleet.checked(deployment, &outcome, None);
    }

    async fn look_at(&self, watched: &Watched, at_most: Duration) -> Look {
        let engine = &watched.place.engine;
        let nothing = || Fault::bad_answer("the engine lists no models");
        let Some(Listing { url, read }) = engine.kind.listing(&engine.endpoint) else {
            return Look::Nothing(nothing());
        };
        let headers = engine.kind.headers(engine.api_key.as_ref());
        match self.foundry.http.get(url, &headers, at_most).await {
            Ok(body) => {
                watched.told.store(false, Ordering::Relaxed);
                read(&body).map_or_else(|| Look::Nothing(nothing()), |models| Look::Models(sane(models)))
            }
            Err(fault) if fault.reason == Reason::EngineTimeout => Look::Unclear(fault),
            Err(fault) if matches!(fault.reason, Reason::EngineOverloaded | Reason::ModelLoading) => {
                Look::Unclear(fault)
            }
            Err(fault) => {
                if fault.reason == Reason::EngineCredentials && !watched.told.swap(true, Ordering::Relaxed) {
                    let place = prefix(&watched.place);
                    tracing::warn!(
                        place,
                        "an engine wants a key, or another one: set api_key_env of a deployment"
                    );
                }
                Look::Nothing(fault)
            }
        }
    }

    /// Checks every deployment that is configured, side by side, and those that were just found: the list of a
    /// place shows that they are there, not what they can do.
    async fn check(&self) {
        let table = self.fleet.table();
        let due = table.all().iter().filter(|one| !one.discovered || one.is_unknown());
        let check = |deployment: &Arc<Deployment>| {
            let deployment = Arc::clone(deployment);
            async move {
                let began = Instant::now();
                let outcome = timeout(self.timeout, deployment.engine.check(self.timeout)).await;
                let outcome = outcome.unwrap_or_else(|_| Err(silent()));
                deployment.looked.fetch_or(outcome.is_ok(), Ordering::Relaxed);
                self.fleet.checked(&deployment, &outcome, Some(began.elapsed()));
            }
        };
        stream::iter(due).for_each_concurrent(CHECKS_AT_ONCE, check).await;
    }
}

/// What the ids of deployments at a place begin with: no host means this machine.
fn prefix(Place { id, engine, .. }: &Place) -> String {
    if let Some(id) = id {
        return format!("{id}/");
    }
    let port = engine.endpoint.port_or_known_default().unwrap_or_default();
    match engine.endpoint.host_str() {
        None | Some("127.0.0.1" | "[::1]" | "localhost") => format!("{}:{port}/", engine.kind.name()),
        Some(host) => format!("{}:{host}:{port}/", engine.kind.name()),
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
            let place = Place::at(kind, endpoint.parse().unwrap());
            assert_eq!(prefix(&place), expected, "{endpoint}");
            assert_eq!(prefix(&Place { id: Some("gpu".into()), ..place }), "gpu/");
        }
    }
}
