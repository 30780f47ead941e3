//! Which changes are worth telling: a new state must last before it is told, a recovery is told of what was told,
//! and what changes together is told together. No I/O; time is an argument.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::{Duration, SystemTime},
};

use penstock_proto::status::v1::{Component, Report, State};
use tokio::time::Instant;

use crate::notice::{Change, Kind, clean};

/// Names that are followed at most: as many as a report has, and those that it had before.
const NAMES_MAX: usize = 25_000;

/// How long things must last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// A new state, before it is told.
    pub after: Duration,
    /// The state of something that was never UP: it may still be starting.
    pub grace: Duration,
}

impl Patience {
    /// How much longer to wait for what else changes for the same reason.
    fn gather(self) -> Duration {
        (self.after / 5).min(Duration::from_secs(5))
    }
}

/// A moment by both clocks: spans are measured by the one, people are told the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) instant: Instant,
    pub(crate) clock: SystemTime,
}

/// The memory of what was told.
#[derive(Debug)]
pub(crate) struct Debounce {
    patience: Patience,
    tracks: HashMap<String, Track>,
    names_max: usize,
}

/// What is known of one component.
#[derive(Debug)]
struct Track {
    kind: Kind,
    /// It was UP once: its start is over.
    was_up: bool,
    degraded: Level,
    down: Level,
    /// Since when it has not been in the report.
    gone: Option<Instant>,
}

/// Whether a component is at least so bad. Two of them, so that one that swings between DOWN and DEGRADED is told
/// as DEGRADED, and not passed over because no state lasts.
#[derive(Debug)]
struct Level {
    now: bool,
    told: bool,
    at: Moment,
    /// What was said when this was the state.
    detail: String,
}

impl Level {
    fn new(at: Moment) -> Self {
        Self { now: false, told: false, at, detail: String::new() }
    }

    fn set(&mut self, now: bool, at: Moment, since: SystemTime) {
        if self.now != now {
            self.now = now;
            self.at = Moment { instant: at.instant, clock: since };
        }
    }
}

impl Track {
    fn new(kind: Kind, at: Moment) -> Self {
        Self { kind, was_up: false, degraded: Level::new(at), down: Level::new(at), gone: None }
    }

    fn see(&mut self, state: State, detail: &str, at: Moment, since: SystemTime) {
        self.was_up |= state == State::Up;
        self.gone = None;
        let wait = |level: &mut Level, now: bool| level.set(now, at, since);
        wait(&mut self.degraded, state != State::Up);
        wait(&mut self.down, state == State::Down);
        let level = match state {
            State::Degraded => &mut self.degraded,
            State::Down => &mut self.down,
            State::Up | State::Unspecified => return,
        };
        if level.detail != detail {
            level.detail = clean(detail);
        }
    }

    fn told(&self) -> State {
        match (self.degraded.told, self.down.told) {
            (_, true) => State::Down,
            (true, false) => State::Degraded,
            (false, false) => State::Up,
        }
    }

    fn wait(&self, patience: Patience) -> Duration {
        if self.was_up { patience.after } else { patience.after.max(patience.grace) }
    }

    /// When the first of what is not told yet has lasted.
    fn due(&self, patience: Patience) -> Option<Instant> {
        let wait = self.wait(patience);
        if let Some(gone) = self.gone {
            return Some(gone + patience.after);
        }
        let levels = [&self.degraded, &self.down].into_iter();
        levels.filter(|level| level.now != level.told).map(|level| level.at.instant + wait).min()
    }

    /// Takes what has lasted by `now` as told.
    fn settle(&mut self, now: Instant, patience: Patience) -> Option<(State, State, String, SystemTime)> {
        let (from, wait) = (self.told(), self.wait(patience));
        let mut since = None;
        for level in [&mut self.degraded, &mut self.down] {
            if level.now != level.told && level.at.instant + wait <= now {
                level.told = level.now;
                since = Some(level.at.clock);
            }
        }
        let to = self.told();
        let detail = match to {
            State::Down => self.down.detail.clone(),
            State::Degraded => self.degraded.detail.clone(),
            State::Up | State::Unspecified => String::new(),
        };
        since.filter(|_| from != to).map(|since| (from, to, detail, since))
    }
}

impl Debounce {
    pub(crate) fn new(patience: Patience) -> Self {
        Self { patience, tracks: HashMap::new(), names_max: NAMES_MAX }
    }

    /// Notes a report. One of a process that is starting or shutting down says nothing: that is no fault.
    pub(crate) fn see(&mut self, report: &Report, at: Moment) {
        if report.draining || report.starting {
            return;
        }
        let overall = Component { state: report.state, ..Component::default() };
        let mut names = HashSet::with_capacity(report.components.len() + 1);
        for component in std::iter::once(&overall).chain(&report.components) {
            names.insert(component.name.as_str());
            self.see_one(component, at);
        }
        for (name, track) in &mut self.tracks {
            if !names.contains(name.as_str()) && track.gone.is_none() {
                track.gone = Some(at.instant);
            }
        }
        self.tracks.retain(|_, track| track.gone.is_none() || track.told() != State::Up);
    }

    fn see_one(&mut self, component: &Component, at: Moment) {
        if component.state() == State::Unspecified {
            // Nobody can say: the last word stands. It is still in the report.
            if let Some(track) = self.tracks.get_mut(&component.name) {
                track.gone = None;
            }
            return;
        }
        if !self.tracks.contains_key(&component.name) {
            if self.tracks.len() >= self.names_max {
                return;
            }
            self.tracks.insert(component.name.clone(), Track::new(Kind::of(component), at));
        }
        let since = component.since.and_then(|since| SystemTime::try_from(since).ok()).unwrap_or(at.clock);
        if let Some(track) = self.tracks.get_mut(&component.name) {
            track.see(component.state(), &component.detail, at, since);
        }
    }

    /// When to call `take`: what changes a little later than the first goes with it.
    pub(crate) fn due(&self) -> Option<Instant> {
        let first = self.tracks.values().filter_map(|track| track.due(self.patience)).min();
        first.map(|first| first + self.patience.gather())
    }

    /// What is to be told, by name; empty before `due`.
    pub(crate) fn take(&mut self, at: Moment) -> BTreeMap<String, Change> {
        let mut news = BTreeMap::new();
        if self.due().is_none_or(|due| due > at.instant) {
            return news;
        }
        let patience = self.patience;
        self.tracks.retain(|name, track| {
            let gone = track.gone.is_some_and(|gone| gone + patience.after <= at.instant);
            let told = if gone {
                let detail = "no longer in the report".to_owned();
                Some((track.told(), State::Unspecified, detail, at.clock))
            } else if track.gone.is_some() {
                None
            } else {
                track.settle(at.instant, patience)
            };
            if let Some((from, to, detail, since)) = told {
                let change = Change { kind: track.kind, from, to, detail, since };
                news.insert(name.clone(), change);
            }
            !gone
        });
        news
    }
}

#[cfg(test)]
mod tests;
