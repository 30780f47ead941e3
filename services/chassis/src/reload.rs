//! Reading the configuration again while the process runs: on SIGHUP, when the file has changed, or when somebody
//! asks. One task does it, one reading at a time; all who ask meanwhile get the outcome of the next. A file with a
//! mistake is refused whole: every mistake is told, what was in force stays.

mod live;
mod outcomes;
mod watched;

use std::{future::Future, io, path::PathBuf, time::Duration};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{mpsc, oneshot},
    time::{Instant, MissedTickBehavior, interval},
};

pub use self::live::{Live, Source, Update, live};
use self::{outcomes::Outcomes, watched::Watched};
use crate::{Chassis, config::Mistakes};

/// How often the file is looked at. What is new is taken at the second look that finds it, so that a file that is
/// being written is not read in the middle.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// When a text that was refused is tried again: the reason may stand elsewhere, such as in the adapter's copy of the
/// file, which may come after ours.
const RETRY: Duration = Duration::from_secs(30);
/// Most who wait for the next reading; more wait for room.
const WAITING_MAX: usize = 16;

/// What a reading that found no mistake has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// Something is in force now that was not before.
    pub changed: bool,
    /// Sections that differ from what they were at the start of the process, and are read only then.
    pub needs_restart: Vec<String>,
}

/// What came of a reading.
pub type Outcome = Result<Reloaded, Mistakes>;

/// What is read again.
pub trait Configuration: Send + 'static {
    /// Checks `text`, the whole file, and puts what has changed in force; does nothing if there is any mistake.
    fn take(&mut self, text: Option<String>) -> impl Future<Output = Outcome> + Send;
}

/// Has the configuration read again. Cheap to clone. The default one has nothing to read.
#[derive(Clone, Debug, Default)]
pub struct Reloader(Option<mpsc::Sender<oneshot::Sender<Outcome>>>);

impl Reloader {
    /// Reads again from now on, until the process stops. `component` is its name in health; `file` is what is read,
    /// with the text that is in force.
    ///
    /// # Errors
    /// Signals cannot be listened to.
    pub fn start(
        component: &'static str,
        file: Option<(PathBuf, String)>,
        configuration: impl Configuration,
        chassis: &Chassis,
    ) -> io::Result<Self> {
        let (asked, asks) = mpsc::channel(WAITING_MAX);
        let reading = Reading {
            hangup: signal(SignalKind::hangup())?,
            asks,
            watched: file.map(|(path, text)| Watched::new(path, text)),
            outcomes: Outcomes::start(component, chassis),
            retry: None,
            configuration,
        };
        let stopping = chassis.tasks.stopping();
        chassis.tasks.spawn("configuration", async move {
            stopping.run_until_cancelled(reading.run()).await;
        });
        Ok(Self(Some(asked)))
    }

    /// Reads the configuration again, now, and says what came of it when it is in force. Dropping the call does not
    /// stop the reading.
    ///
    /// # Errors
    /// Every mistake; nothing has changed.
    pub async fn reload(&self) -> Outcome {
        let Some(reading) = &self.0 else { return Ok(Reloaded::default()) };
        let (done, outcome) = oneshot::channel();
        let stopping = || Mistakes::one("the process is stopping: it reads no configuration any more");
        reading.send(done).await.map_err(|_| stopping())?;
        outcome.await.unwrap_or_else(|_| Err(stopping()))
    }
}

struct Reading<C> {
    hangup: Signal,
    asks: mpsc::Receiver<oneshot::Sender<Outcome>>,
    watched: Option<Watched>,
    outcomes: Outcomes,
    /// When the text that was refused is tried again.
    retry: Option<Instant>,
    configuration: C,
}

/// Why it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    /// Somebody wants it.
    Asked,
    /// The file has changed.
    Changed,
    /// It has not, and was refused.
    Refused,
}

impl<C: Configuration> Reading<C> {
    async fn run(mut self) {
        let mut looks = interval(LOOK_INTERVAL);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let mut waiting = Vec::new();
            let cause = tokio::select! {
                Some(ask) = self.asks.recv() => {
                    waiting.push(ask);
                    Cause::Asked
                }
                Some(()) = self.hangup.recv() => Cause::Asked,
                _ = looks.tick() => match self.look().await {
                    Some(cause) => cause,
                    None => continue,
                },
            };
            // Whoever has asked until now is answered by this reading, whoever asks later by the next.
            while let Ok(ask) = self.asks.try_recv() {
                waiting.push(ask);
            }
            let outcome = self.read(cause).await;
            for ask in waiting {
                // Who asked may be gone.
                let _ = ask.send(outcome.clone());
            }
        }
    }

    /// Looks at the file; why to read it, if it is to be read.
    async fn look(&mut self) -> Option<Cause> {
        let watched = self.watched.as_mut()?;
        if watched.has_changed().await {
            return Some(Cause::Changed);
        }
        let due = self.retry.is_some_and(|at| at <= Instant::now());
        (due && watched.is_settled()).then_some(Cause::Refused)
    }

    async fn read(&mut self, cause: Cause) -> Outcome {
        let text = match &mut self.watched {
            Some(watched) if cause == Cause::Asked => watched.read().await.map(Some),
            Some(watched) => watched.settled().map(Some),
            None => Ok(None),
        };
        let is_there = text.is_ok();
        let outcome = match text {
            Ok(text) => self.configuration.take(text).await,
            Err(mistakes) => Err(mistakes),
        };
        self.retry = (is_there && outcome.is_err()).then(|| Instant::now() + RETRY);
        self.outcomes.tell(&outcome, cause == Cause::Refused);
        outcome
    }
}

#[cfg(test)]
mod tests;
