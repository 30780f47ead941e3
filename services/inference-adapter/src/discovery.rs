//! Looking for models in the background: which ones engines list, on the well-known ports and where a deployment
//! stands for all of them. One list is the check of all that were found there. Free: nothing is generated or loaded.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::{FutureExt as _, StreamExt as _, future::join_all, stream};
use penstock_chassis::CheckConfig;
use penstock_proto::Reason;
use tokio::time::{Instant, timeout_at};

use crate::{
    config::Place,
    deployment::Deployment,
    engine::Listing,
    error::Fault,
    fleet::{Fleet, Replaced},
    foundry::Foundry,
    watch::{CHECKS_AT_ONCE, check},
};

/// Models of one engine that are taken over at most.
const MODELS_MAX: usize = 256;
/// Longest name of a model that is taken over, in bytes.
const MODEL_MAX_BYTES: usize = 200;

/// Intervals for which no engine may be found before its models are dropped: as long as a restart takes, at the
/// default interval a minute. Until then they are there, and DOWN.
const INTERVALS_MISSED_MAX: u32 = 12;

/// Looks for models.
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
    /// Since when no engine was found.
    missed: Mutex<Option<Instant>>,
    /// It was said that the engine wants a key.
    told: AtomicBool,
    /// Nothing was found there yet: what is there under such ids is of another place.
    fresh: AtomicBool,
}

impl From<Place> for Watched {
    fn from(place: Place) -> Self {
        Self { place, missed: Mutex::default(), told: AtomicBool::new(false), fresh: AtomicBool::new(true) }
    }
}

impl Watched {
    /// For how long no engine was found, now that none is.
    fn misses(&self, now: Instant) -> Duration {
        let mut missed = self.missed.lock().unwrap_or_else(PoisonError::into_inner);
        now.saturating_duration_since(*missed.get_or_insert(now))
    }

    fn found(&self) {
        *self.missed.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// What a look at a place found.
#[derive(Debug)]
enum Look {
    /// These models; which of them are in memory, where the engine says so; how long the list took.
    Models { all: Vec<String>, running: Option<Vec<String>>, latency: Duration },
    /// No engine, or one that says nothing of its models.
    Nothing(Fault),
    /// An engine that did not answer in time: what was there may still be.
    Unclear(Fault),
}

impl Discovery {
    /// Looks for models at these places from now on; what is remembered of those that stay stays. `at_most` is how
    /// long the first look at new ones is waited for.
    pub(crate) async fn move_to(&mut self, places: Vec<Place>, at_most: Duration) {
        let mut before = std::mem::take(&mut self.places);
        if before.iter().map(|watched| &watched.place).eq(&places) {
            self.places = before;
            return;
        }
        for place in places {
            let known = before.iter().position(|watched| watched.place == place);
            self.places.push(known.map_or_else(|| place.into(), |known| before.swap_remove(known)));
        }
        self.look(at_most).await;
    }

    /// Looks again and again. May be dropped at any time.
    pub(crate) async fn run(&self) {
        if self.places.is_empty() {
            return std::future::pending().await;
        }
        loop {
            let looked = Instant::now();
            // The list shows that they are there, not what they can do.
            let table = self.fleet.table();
            let unknown = table.all().iter().filter(|one| one.discovered && one.is_unknown());
            let check = |one: &Arc<Deployment>| check(Arc::clone(one), &self.fleet, self.timeout);
            stream::iter(unknown).for_each_concurrent(CHECKS_AT_ONCE, check).await;
            self.wait(looked).await;
            self.look(self.timeout).await;
        }
    }

    /// Waits until the next look is due: after the interval, or sooner if one of the found models is not well.
    async fn wait(&self, looked: Instant) {
        let retry = CheckConfig::engine().retry.min(self.interval);
        loop {
            let table = self.fleet.table();
            let due = table.all().iter().filter(|one| one.discovered).filter_map(|one| one.due()).min();
            let latest = looked + self.interval;
            let due = due.map_or(latest, |due| due.clamp(looked + retry, latest));
            // Woken: a request has failed, and it may be due sooner.
            if timeout_at(due, self.foundry.failed.notified()).await.is_err() {
                return;
            }
        }
    }

    /// Looks at every place, side by side, and takes over what is there.
    async fn look(&self, at_most: Duration) {
        let looks = join_all(self.places.iter().map(|place| self.look_at(place, at_most))).await;
        let before = self.fleet.table();
        let configured: HashSet<_> =
            before.all().iter().filter(|one| !one.discovered).map(|one| &one.id).collect();
        let mut after: Vec<Arc<Deployment>> = Vec::new();
        for (watched, look) in self.places.iter().zip(looks) {
            let prefix = prefix(&watched.place);
            let known = before.all().iter().filter(|one| one.discovered && one.id.starts_with(&prefix));
            match look {
                Look::Nothing(_) if watched.misses(Instant::now()) > self.interval * INTERVALS_MISSED_MAX => {
                }
                Look::Nothing(fault) | Look::Unclear(fault) => {
                    let heard = Err(fault);
                    after.extend(known.cloned().inspect(|one| self.heard(one, &heard, Duration::ZERO)));
                }
                Look::Models { all, running, latency } => {
                    watched.found();
                    let fresh = watched.fresh.swap(false, Ordering::Relaxed);
                    for model in all {
                        let loaded = running.as_ref().map(|running| running.contains(&model));
                        let id: Arc<str> = format!("{prefix}{model}").into();
                        if configured.contains(&id) {
                            continue;
                        }
                        let known = before.all().iter().filter(|_| !fresh);
                        // Two places may be one engine, spelled in two ways: one deployment, or its model has no
                        // only one.
                        let same = known.chain(&after).find(|one| one.id == id).cloned();
                        let one = same.or_else(|| self.foundry.found(&watched.place, id, model));
                        after.extend(one.inspect(|one| {
                            one.is_loaded(loaded);
                            self.heard(one, &Ok(()), latency);
                        }));
                    }
                }
            }
        }
        let Replaced { appeared, vanished } = self.fleet.replace(true, after, Instant::now());
        if appeared > 0 || !vanished.is_empty() {
            self.foundry.dismiss(&vanished);
            tracing::info!(appeared, vanished = vanished.len(), "models of engines changed");
        }
    }

    /// Takes a look at its place as the check of a deployment that was found there.
    fn heard(&self, deployment: &Deployment, outcome: &Result<(), Fault>, latency: Duration) {
        self.fleet.checked(deployment, outcome, latency);
    }

    async fn look_at(&self, watched: &Watched, at_most: Duration) -> Look {
        let engine = &watched.place.engine;
        let nothing = || Fault::bad_answer("the engine lists no models");
        let Some(Listing { url, read, running }) = engine.kind.listing(&engine.endpoint) else {
            return Look::Nothing(nothing());
        };
        let headers = engine.kind.headers(engine.api_key.as_deref());
        let get = |url, at_most| {
            let began = Instant::now();
            self.foundry.http.get(url, &headers, at_most).map(move |answer| (answer, began.elapsed()))
        };
        // Side by side, and a little shorter: it must not cost the list of all.
        let in_memory = async { read(&get(running?, at_most.mul_f32(0.9)).await.0.ok()?) };
        let ((list, latency), running) = futures_util::future::join(get(url, at_most), in_memory).await;
        match list {
            Ok(body) => {
                watched.told.store(false, Ordering::Relaxed);
                let models = |all| Look::Models { all: sane(all), running, latency };
                read(&body).map_or_else(|| Look::Nothing(nothing()), models)
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
    use penstock_chassis::config::{Document, Environment};

    use super::*;
    use crate::{config::Config, engine::Kind};

    #[test]
    fn ids_name_the_host_unless_it_is_this_machine() {
        let mut document = Document::parse(None, Environment::of([("", ""); 0])).unwrap();
        let mut section = document.section("inference_adapter");
        let usual = Config::read(&mut section, &mut document).deployments.remove(0).terms;
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
            let place = Place::at(kind, endpoint.parse().unwrap(), &usual);
            assert_eq!(prefix(&place), expected, "{endpoint}");
            assert_eq!(prefix(&Place { id: Some("gpu".into()), ..place }), "gpu/");
        }
    }
}
