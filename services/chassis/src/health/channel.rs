//! A background check of another service through its own `penstock.status.v1`.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use penstock_proto::status::v1::{GetRequest, Report, State, status_client::StatusClient};
use tokio::time::Instant;

use super::{Check, Health, Outcome};
use crate::{CallContext, Channel, Tasks};

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
        self.run(Check::service(name).required(required), tasks, move |component, timeout| {
            let (mut client, last_seen) = (client.clone(), Arc::clone(&last_seen));
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
                        component.deaf();
                        return lost(format!("cannot be asked: {}", status.code()));
                    }
                };
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

/// The parts of a service that are not well.
fn what_ails(report: &Report) -> String {
    if report.draining {
        return "shutting down".to_owned();
    }
    let own = report.components.iter().filter(|component| component.part_of.is_empty());
    let names: Vec<_> = own
        .filter(|component| component.state() != State::Up)
        .map(|component| component.name.as_str())
        .collect();
    match names.is_empty() {
        true if report.starting => "starting".to_owned(),
        true => "not well".to_owned(),
        false => format!("not well: {}", names.join(", ")),
    }
}
