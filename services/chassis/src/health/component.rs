//! The handle by which a part of the process says how it is, and what it is made of.

use std::{
    mem,
    time::{Duration, SystemTime},
};

use penstock_proto::status::v1::{Component as ComponentReport, State};

use super::Health;

/// Most parts of one component that are taken over: a mesh with more models than this shows the first.
const PARTS_MAX: usize = 10_000;

/// A component as the registry has it.
#[derive(Debug)]
pub(super) struct Entry {
    /// The handle that reports it.
    handle: u64,
    pub(super) component: ComponentReport,
    /// What it is made of: its own state says already what follows from theirs.
    parts: Vec<ComponentReport>,
    /// The parts are what another service reported.
    elsewhere: bool,
}

impl Entry {
    pub(super) fn new(handle: u64, component: ComponentReport) -> Self {
        Self { handle, component, parts: Vec::new(), elsewhere: false }
    }

    /// The component and its parts.
    pub(super) fn all(&self) -> impl Iterator<Item = &ComponentReport> {
        std::iter::once(&self.component).chain(&self.parts)
    }

    /// The component, and those of its parts that this process judges.
    pub(super) fn own(&self) -> impl Iterator<Item = &ComponentReport> {
        let parts = if self.elsewhere { &[] } else { self.parts.as_slice() };
        std::iter::once(&self.component).chain(parts)
    }

    /// The names of the parts that another service told of.
    pub(super) fn heard(&self) -> impl Iterator<Item = &str> {
        let parts = if self.elsewhere { self.parts.as_slice() } else { &[] };
        parts.iter().map(|part| part.name.as_str())
    }
}

/// The handle of a component: it leaves the report when this is dropped. If the name was taken over by a newer
/// handle, this one has no say any more.
#[derive(Debug)]
pub struct Component {
    name: String,
    handle: u64,
    health: Health,
}

impl Component {
    pub(super) fn new(name: String, handle: u64, health: Health) -> Self {
        Self { name, handle, health }
    }

    /// It works. `latency`: how long the check took, if it was measured.
    pub fn up(&self, latency: Option<Duration>) {
        self.set(State::Up, String::new(), latency);
    }

    /// It works with a loss. `detail` is for operators: never an upstream's text.
    pub fn degraded(&self, detail: impl Into<String>, latency: Option<Duration>) {
        self.set(State::Degraded, detail.into(), latency);
    }

    /// It does not work. `detail` is for operators: never an upstream's text.
    pub fn down(&self, detail: impl Into<String>, latency: Option<Duration>) {
        self.set(State::Down, detail.into(), latency);
    }

    /// It is in this state. UNSPECIFIED says nothing.
    pub fn set(&self, state: State, detail: String, latency: Option<Duration>) {
        self.note(state, detail, latency, SystemTime::now(), state != State::Down);
    }

    /// As `set`, of a state that was confirmed at this time. `works`: by something that worked.
    pub fn set_at(
        &self,
        state: State,
        detail: String,
        latency: Option<Duration>,
        at: SystemTime,
        works: bool,
    ) {
        self.note(state, detail, latency, at, works);
    }

    /// As `set`, by a check. `works`: it has just worked, whatever its state is until the next checks agree.
    pub(super) fn checked(&self, state: State, detail: String, latency: Option<Duration>, works: bool) {
        self.note(state, detail, latency, SystemTime::now(), works);
    }

    fn note(&self, state: State, detail: String, latency: Option<Duration>, at: SystemTime, works: bool) {
        if state == State::Unspecified {
            return;
        }
        self.entry(|entry| {
            let now = at.into();
            let component = &mut entry.component;
            component.state = state.into();
            component.detail = detail;
            component.latency = latency.and_then(|latency| latency.try_into().ok());
            component.checked_at = Some(now);
            if works {
                component.last_success_at = Some(now);
            }
        });
    }

    /// It is no part of the report any more, whoever still holds it.
    pub fn leave(&self) {
        self.health.change(|registry| {
            if registry.components.get(&self.name).is_some_and(|entry| entry.handle == self.handle) {
                registry.components.remove(&self.name);
            }
        });
    }

    /// What it is made of, all of it anew, as this process sees it. Its own state has to say what follows.
    pub fn parts(&self, parts: Vec<ComponentReport>) {
        self.replace(parts, false);
    }

    /// What another service says of its components: they become parts of this one.
    pub(super) fn heard(&self, parts: Vec<ComponentReport>) {
        self.replace(parts, true);
    }

    /// The other service cannot be asked: of what it has told, nothing is known any more.
    pub(super) fn deaf(&self) {
        self.entry(|entry| {
            for part in &mut entry.parts {
                part.state = State::Unspecified.into();
                part.detail = "cannot be asked".to_owned();
                part.latency = None;
                part.since = None;
            }
        });
    }

    fn replace(&self, mut parts: Vec<ComponentReport>, elsewhere: bool) {
        parts.truncate(PARTS_MAX);
        for part in parts.iter_mut().filter(|part| part.part_of.is_empty()) {
            part.part_of.clone_from(&self.name);
        }
        self.entry(|entry| {
            entry.parts = mem::take(&mut parts);
            entry.elsewhere = elsewhere;
        });
    }

    fn entry(&self, change: impl FnOnce(&mut Entry)) {
        self.health.change(|registry| {
            if let Some(entry) = registry.components.get_mut(&self.name)
                && entry.handle == self.handle
            {
                change(entry);
            }
        });
    }
}

impl Drop for Component {
    fn drop(&mut self) {
        self.leave();
    }
}
