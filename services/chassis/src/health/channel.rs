//! A background check of another service through its own `penstock.status.v1`.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use penstock_proto::status::v1::{GetRequest, Report, State, status_client::StatusClient};
use tokio::time::Instant;

use super::{Check, CheckConfig, Health, Outcome, effect};
use crate::{CallContext, Channel, Tasks};

/// Components that are named where more are not well: more would not be read.
const NAMED_MAX: usize = 5;

impl Health {
    /// Checks the service behind `channel` in the background and reports it as the component `name`. For the time
    /// of `grace` its loss only degrades: the process can do without it for so long.
    pub fn watch_channel(
        &self,
        name: &'static str,
        required: bool,
        grace: Duration,
        channel: &Channel,
        tasks: &Tasks,
    ) {
        let client = StatusClient::new(channel.clone());
        let last_seen = Arc::new(Mutex::new(None));
        let misses = Arc::new(AtomicU32::new(0));
        let failures = self.check_config(name, CheckConfig::inside()).failures;
        self.run(Check::service(name).required(required), tasks, move |component, timeout| {
            let (mut client, last_seen, misses) =
                (client.clone(), Arc::clone(&last_seen), Arc::clone(&misses));
            async move {
                let seen = || last_seen.lock().unwrap_or_else(PoisonError::into_inner);
                let in_grace = seen().is_some_and(|at: Instant| at.elapsed() < grace);
                let lost = |ailment: String| {
                    if in_grace { Outcome::Degraded(ailment) } else { Outcome::Down(ailment) }
                };
                let call = CallContext::background(timeout);
                let report = match client.get(call.request(GetRequest {})).await {
                    Ok(answer) => answer.into_inner().report.unwrap_or_default(),
                    Err(status) => {
                        // As the state itself: one lost answer makes nothing unknown.
                        if misses.fetch_add(1, Ordering::Relaxed).saturating_add(1) >= failures {
                            component.deaf();
                        }
                        return lost(format!("cannot be asked: {}", status.code()));
                    }
                };
                misses.store(0, Ordering::Relaxed);
                let (state, ailment) = (report.state(), what_ails(&report));
                component.heard(report.components);
                match state {
                    State::Up | State::Degraded => {
                        *seen() = Some(Instant::now());
                        if state == State::Up { Outcome::Up } else { Outcome::Degraded(ailment) }
                    }
                    State::Down | State::Unspecified => lost(ailment),
                }
            }
        });
    }
}

/// The parts of a service that make it unwell.
pub(super) fn what_ails(report: &Report) -> String {
    if report.draining {
        return "shutting down".to_owned();
    }
    let own = report.components.iter().filter(|component| component.part_of.is_empty());
    let names: Vec<_> = own
        .filter(|component| effect(component) != State::Up)
        .map(|component| component.name.as_str())
        .collect();
    let named = names.iter().take(NAMED_MAX).copied().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMED_MAX) {
        0 if names.is_empty() && report.starting => "starting".to_owned(),
        0 if names.is_empty() => "not well".to_owned(),
        0 => format!("not well: {named}"),
        more => format!("not well: {named} and {more} more"),
    }
}

#[cfg(test)]
mod tests;
