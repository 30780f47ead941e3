//! What a target is still to be told. Changes of the same component become one while they wait, so that a target
//! that hangs costs no memory, and nothing that is still so is lost.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::{Mutex, PoisonError},
};

use penstock_proto::status::v1::State;
use tokio::sync::Notify;

use crate::notice::{Change, Kind};

/// What a target wants to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Filter {
    pub(crate) kinds: Vec<Kind>,
    /// DEGRADED or DOWN: what is less counts as UP.
    pub(crate) min_state: State,
}

impl Filter {
    /// What is told of a state: whether it is bad enough.
    fn level(&self, state: State) -> Option<State> {
        Some(state).filter(|state| *state >= self.min_state)
    }

    fn wants(&self, change: &Change) -> bool {
        self.kinds.contains(&change.kind) && self.level(change.from) != self.level(change.to)
    }
}

/// The changes that wait.
#[derive(Debug)]
pub(crate) struct Mailbox {
    filter: Filter,
    waiting: Mutex<Waiting>,
    news: Notify,
}

/// Changes by name, and how many were taken back or lost since the last notice.
#[derive(Clone, Debug, Default)]
pub(crate) struct Waiting {
    pub(crate) changes: BTreeMap<String, Change>,
    pub(crate) skipped: u64,
}

impl Mailbox {
    pub(crate) fn new(filter: Filter) -> Self {
        Self { filter, waiting: Mutex::default(), news: Notify::new() }
    }

    /// Adds what the target wants to know of these changes.
    pub(crate) fn add(&self, changes: &BTreeMap<String, Change>) {
        let mut waiting = self.lock();
        for (name, change) in changes {
            // What waits already must say how it is now, whether or not this alone were worth telling.
            if self.filter.wants(change) || waiting.changes.contains_key(name) {
                waiting.add(name, change, &self.filter);
            }
        }
        drop(waiting);
        self.news.notify_one();
    }

    /// Waits until there is something to tell.
    pub(crate) async fn has_news(&self) {
        while self.lock().changes.is_empty() {
            self.news.notified().await;
        }
    }

    /// Takes all that waits.
    pub(crate) fn take(&self) -> Waiting {
        std::mem::take(&mut *self.lock())
    }

    /// Puts back what could not be delivered: what came meanwhile is newer.
    pub(crate) fn put_back(&self, mut old: Waiting) {
        let mut waiting = self.lock();
        let newer = std::mem::take(&mut *waiting);
        old.skipped += newer.skipped;
        for (name, change) in &newer.changes {
            old.add(name, change, &self.filter);
        }
        *waiting = old;
    }

    /// Counts changes that will never be told.
    pub(crate) fn lose(&self, lost: Waiting) {
        self.lock().skipped += lost.skipped + lost.changes.len() as u64;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// Adds a change to what waits: with an older one of the same name it becomes one, or none.
    fn add(&mut self, name: &str, change: &Change, filter: &Filter) {
        match self.changes.entry(name.to_owned()) {
            Entry::Vacant(vacant) => {
                vacant.insert(change.clone());
            }
            Entry::Occupied(mut occupied) => {
                let merged = Change { from: occupied.get().from, ..change.clone() };
                self.skipped += 1;
                if filter.wants(&merged) {
                    occupied.insert(merged);
                } else {
                    self.skipped += 1;
                    occupied.remove();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use State::{Degraded, Down, Up};
    use proptest::prelude::*;

    use super::*;

    fn mailbox(min_state: State) -> Mailbox {
        Mailbox::new(Filter { kinds: vec![Kind::Model], min_state })
    }

    fn add(mailbox: &Mailbox, name: &str, from: State, to: State) {
        let change = Change { kind: Kind::Model, from, to, detail: String::new(), since: UNIX_EPOCH };
        mailbox.add(&[(name.to_owned(), change)].into());
    }

    fn taken(mailbox: &Mailbox) -> (Vec<(State, State)>, u64) {
        let waiting = mailbox.take();
        (waiting.changes.values().map(|change| (change.from, change.to)).collect(), waiting.skipped)
    }

    #[test]
    fn what_a_target_does_not_want_it_does_not_get() {
        let only_down = mailbox(Down);
        add(&only_down, "a", Up, Degraded);
        assert_eq!(taken(&only_down), (vec![], 0));
        add(&only_down, "a", Degraded, Down);
        assert_eq!(taken(&only_down), (vec![(Degraded, Down)], 0));
        add(&only_down, "a", Down, Degraded);
        assert_eq!(taken(&only_down), (vec![(Down, Degraded)], 0));
        add(&only_down, "a", Degraded, Up);
        assert_eq!(taken(&only_down), (vec![], 0));
        let other = Mailbox::new(Filter { kinds: vec![Kind::Store], min_state: Degraded });
        add(&other, "a", Up, Down);
        assert_eq!(taken(&other), (vec![], 0));
    }

    #[test]
    fn what_waits_becomes_one_and_what_is_taken_back_is_counted() {
        let mailbox = mailbox(Degraded);
        add(&mailbox, "a", Up, Degraded);
        add(&mailbox, "a", Degraded, Down);
        assert_eq!(taken(&mailbox), (vec![(Up, Down)], 1));
        add(&mailbox, "a", Up, Down);
        add(&mailbox, "a", Down, Up);
        assert_eq!(taken(&mailbox), (vec![], 2));
    }

    #[test]
    fn what_was_put_back_is_older_than_what_came_meanwhile() {
        let mailbox = mailbox(Degraded);
        add(&mailbox, "a", Up, Down);
        let old = mailbox.take();
        add(&mailbox, "a", Down, Degraded);
        mailbox.put_back(old);
        assert_eq!(taken(&mailbox), (vec![(Up, Degraded)], 1));
        add(&mailbox, "a", Up, Down);
        let lost = mailbox.take();
        mailbox.lose(lost);
        add(&mailbox, "b", Up, Down);
        assert_eq!(taken(&mailbox), (vec![(Up, Down)], 1));
    }

    proptest! {
        /// Whenever the target takes, fails or loses nothing: it knows in the end what is so.
        #[test]
        fn the_last_word_reaches_the_target(
            steps in prop::collection::vec((0..3_usize, 0..3_u8), 1..60), down_only: bool
        ) {
            let filter = Filter { kinds: vec![Kind::Model], min_state: if down_only { Down } else { Degraded } };
            let mailbox = Mailbox::new(filter.clone());
            let (mut now, mut told) = (Up, None);
            for (state, action) in steps {
                let next = [Up, Degraded, Down][state];
                if next != now {
                    add(&mailbox, "a", now, next);
                    now = next;
                }
                let waiting = mailbox.take();
                if action == 0 {
                    if let Some(change) = waiting.changes.get("a") {
                        prop_assert_eq!(filter.level(change.from), told);
                        told = filter.level(change.to);
                    }
                } else {
                    mailbox.put_back(waiting);
                }
            }
            if let Some(change) = mailbox.take().changes.get("a") {
                told = filter.level(change.to);
            }
            prop_assert_eq!(told, filter.level(now));
        }
    }
}
