//! What has changed its state, and since when each component has had its own. Bounded.

use std::{
    collections::{HashMap, VecDeque},
    time::SystemTime,
};

use penstock_proto::status::v1::{Change, Kind, Report, State};
use prost_types::Timestamp;

use super::channel::what_ails;

/// The changes that are remembered, and the last word on every component.
#[derive(Debug)]
pub(super) struct Journal {
    changes: VecDeque<Change>,
    max: usize,
    /// The last state that was known, and since when. The process itself has the empty name.
    known: HashMap<String, (State, Timestamp)>,
}

impl Journal {
    pub(super) fn new(max: usize) -> Self {
        Self { changes: VecDeque::new(), max, known: HashMap::new() }
    }

    /// The newest first, at most `limit`.
    pub(super) fn newest(&self, limit: usize) -> Vec<Change> {
        self.changes.iter().rev().take(limit).cloned().collect()
    }

    /// Notes what is new in a report, and writes into it since when each component has had its state. A component
    /// of which nothing is known any more has not changed: what counts is the last word.
    pub(super) fn take(&mut self, report: &mut Report, now: SystemTime) -> Vec<Change> {
        let at: Timestamp = now.into();
        let mut news = Vec::new();
        let overall =
            if report.starting || self.waits_for(report) { State::Unspecified } else { report.state() };
        let why = if report.draining { "shutting down" } else { "" };
        self.look("", Kind::Unspecified, overall, why, at, &mut news);
        for component in &mut report.components {
            let (kind, state) = (component.kind(), component.state());
            let since = self.look(&component.name, kind, state, &component.detail, at, &mut news);
            // Who was there when it happened knows better.
            component.since = component.since.or(since);
        }
        if self.known.len() > 2 * (report.components.len() + 1) {
            let names: std::collections::HashSet<&str> =
                report.components.iter().map(|component| component.name.as_str()).collect();
            self.known.retain(|name, _| name.is_empty() || names.contains(name.as_str()));
        }
        for change in &news {
            if self.changes.len() >= self.max {
                self.changes.pop_front();
            }
            self.changes.push_back(change.clone());
        }
        news
    }

    /// Whether nothing can be said of the process yet: something that it needs has never been looked at.
    fn waits_for(&self, report: &Report) -> bool {
        let mut own = report.components.iter().filter(|component| component.part_of.is_empty());
        !report.draining
            && !self.known.contains_key("")
            && own.any(|component| component.required && component.state() == State::Unspecified)
    }

    fn look(
        &mut self,
        name: &str,
        kind: Kind,
        state: State,
        detail: &str,
        at: Timestamp,
        news: &mut Vec<Change>,
    ) -> Option<Timestamp> {
        if state == State::Unspecified {
            return None;
        }
        let known = self.known.get(name).copied();
        if let Some((last, since)) = known
            && last == state
        {
            return Some(since);
        }
        self.known.insert(name.to_owned(), (state, at));
        // The first word that all is well is no news.
        if known.is_some() || state != State::Up {
            let from = known.map_or(State::Unspecified, |(last, _)| last);
            news.push(Change {
                name: name.to_owned(),
                kind: kind.into(),
                from: from.into(),
                to: state.into(),
                detail: detail.to_owned(),
                at: Some(at),
            });
        }
        Some(at)
    }
}

/// Says a change in the log: in one process there are several services.
pub(super) fn log(service: &str, change: &Change, report: &Report) {
    let name = |state: State| match state {
        State::Unspecified => "UNKNOWN",
        state => state.as_str_name().trim_start_matches("STATE_"),
    };
    let (component, detail) = match change.name.as_str() {
        "" if change.to() == State::Up => ("the process", String::new()),
        "" => ("the process", what_ails(report)),
        component => (component, change.detail.clone()),
    };
    let (from, state) = (name(change.from()), name(change.to()));
    // Who shuts a process down knows.
    if is_worse(change) && !report.draining {
        tracing::warn!(service, component, from, state, detail, "health changed");
    } else {
        tracing::info!(service, component, from, state, detail, "health changed");
    }
}

/// Whether somebody should look. That not all is there yet at the start is no reason to.
fn is_worse(change: &Change) -> bool {
    change.from() != State::Unspecified && change.to() > change.from()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use penstock_proto::status::v1::Component;

    use super::*;

    fn report(state: State) -> Report {
        let component = Component { name: "auth".into(), state: state.into(), ..Component::default() };
        Report { state: State::Up.into(), components: vec![component], ..Report::default() }
    }

    #[test]
    fn changes_are_noted_once_and_what_is_unknown_for_a_while_has_not_changed() {
        let mut journal = Journal::new(10);
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        assert!(journal.take(&mut report(State::Up), at(1)).is_empty(), "the first word that all is well");
        assert!(journal.take(&mut report(State::Unspecified), at(2)).is_empty());
        let mut same = report(State::Up);
        assert!(journal.take(&mut same, at(3)).is_empty());
        assert_eq!(same.components[0].since, Some(at(1).into()));
        let news = journal.take(&mut report(State::Down), at(4));
        assert_eq!(news.len(), 1);
        assert_eq!((news[0].from(), news[0].to(), news[0].at), (State::Up, State::Down, Some(at(4).into())));
        assert!(journal.take(&mut report(State::Down), at(5)).is_empty());
    }

    #[test]
    fn nothing_is_said_of_the_process_until_what_it_needs_was_looked_at() {
        let mut journal = Journal::new(10);
        let needs = |state: State, process: State| {
            let mut report = report(state);
            report.state = process.into();
            report.components[0].required = true;
            report
        };
        assert!(journal.take(&mut needs(State::Unspecified, State::Down), UNIX_EPOCH).is_empty());
        assert!(journal.take(&mut needs(State::Up, State::Up), UNIX_EPOCH).is_empty());
        let news = journal.take(&mut needs(State::Unspecified, State::Down), UNIX_EPOCH);
        assert_eq!(news.len(), 1, "what is lost later is news: {news:?}");
    }

    #[test]
    fn to_get_better_is_no_reason_to_look() {
        let change =
            |from: State, to: State| Change { from: from.into(), to: to.into(), ..Change::default() };
        assert!(
            is_worse(&change(State::Up, State::Degraded)) && is_worse(&change(State::Degraded, State::Down))
        );
        assert!(
            !is_worse(&change(State::Down, State::Degraded)) && !is_worse(&change(State::Down, State::Up))
        );
        assert!(!is_worse(&change(State::Unspecified, State::Down)), "at the start");
    }

    #[test]
    fn the_oldest_changes_are_forgotten_first() {
        let mut journal = Journal::new(2);
        for state in [State::Up, State::Down, State::Up, State::Degraded] {
            journal.take(&mut report(state), UNIX_EPOCH);
        }
        let kept: Vec<_> = journal.newest(9).iter().map(Change::to).collect();
        assert_eq!(kept, [State::Degraded, State::Up]);
        assert_eq!(journal.newest(1).len(), 1);
    }
}
