//! A background check of another service through its own `penstock.status.v1`.

use std::time::Duration;

use penstock_proto::status::v1::{GetRequest, Report, State, status_client::StatusClient};
use tokio::time::{Instant, sleep};

use super::Health;
use crate::{CallContext, Channel, Tasks};

/// How often a service is asked: often enough that a loss shows within seconds, rare enough to cost nothing.
const INTERVAL: Duration = Duration::from_secs(2);
/// How often one is asked that is not well: a start or a recovery should show at once.
const INTERVAL_NOT_WELL: Duration = Duration::from_millis(250);
/// How long an answer may take before the service counts as lost.
const TIMEOUT: Duration = Duration::from_secs(1);

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
        let component = self.component(name, required);
        let mut client = StatusClient::new(channel.clone());
        let stopping = tasks.stopping();
        let checks = async move {
            let mut last_seen = None;
            loop {
                let call = CallContext::background(TIMEOUT);
                let started = Instant::now();
                let answer = client.get(call.request(GetRequest {})).await;
                let latency = Some(started.elapsed());
                let report = answer.map(|answer| answer.into_inner().report.unwrap_or_default());
                component
                    .parts(report.as_ref().map_or_else(|_| Vec::new(), |report| report.components.clone()));
                let well = report.as_ref().is_ok_and(|report| report.state() == State::Up);
                let ailment = match report {
                    Ok(report) if matches!(report.state(), State::Up | State::Degraded) => {
                        last_seen = Some(Instant::now());
                        if well {
                            component.up(latency)
                        } else {
                            component.degraded(what_ails(&report), latency)
                        }
                        None
                    }
                    Ok(report) => Some(what_ails(&report)),
                    Err(status) => Some(format!("cannot be asked: {}", status.code())),
                };
                if let Some(ailment) = ailment {
                    if last_seen.is_some_and(|at: Instant| at.elapsed() < grace) {
                        component.degraded(ailment, latency);
                    } else {
                        component.down(ailment, latency);
                    }
                }
                sleep(if well { INTERVAL } else { INTERVAL_NOT_WELL }).await;
            }
        };
        tasks.spawn("health check", async move {
            stopping.run_until_cancelled(checks).await;
        });
    }
}

/// The parts of a service that are not well.
fn what_ails(report: &Report) -> String {
    if report.draining {
        return "shutting down".to_owned();
    }
    let ailing = report.components.iter().filter(|component| component.state() != State::Up);
    let names: Vec<_> = ailing.map(|component| component.name.as_str()).collect();
    if names.is_empty() { "starting".to_owned() } else { format!("not well: {}", names.join(", ")) }
}
