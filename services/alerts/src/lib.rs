//! Alerts: tells people by webhook, e-mail and log event when something has got worse for a while, and when it is
//! well again. It listens to the health of the process that sees all (the facade's); it judges nothing by itself, keeps
//! nothing on disk, and delays nobody: a target that hangs costs one task and no memory. It is no replacement for
//! Prometheus, which also notices when this process is gone: `deploy/prometheus/` has the rules for that.

mod config;
mod courier;
mod debounce;
mod email;
mod error;
mod mailbox;
mod notice;
mod webhook;

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use penstock_chassis::{Health, Metrics, Tasks};
use penstock_proto::status::v1::State;
use tokio::time::{Instant, sleep_until};

pub use crate::{config::Config, debounce::Patience, error::Error};
use crate::{
    courier::{Courier, Outcomes},
    debounce::{Debounce, Moment},
    mailbox::Mailbox,
    notice::{Change, Sender, is_worse, title, word},
};

/// Tells of the changes of `health` in the background until the process stops.
///
/// # Errors
/// A client of a target cannot be built.
pub fn start(config: Config, health: &Health, metrics: &Metrics, tasks: &Tasks) -> Result<(), Error> {
    let outcomes = Outcomes::register(metrics);
    let report = health.report();
    let sender = Sender { service: report.service.clone(), version: report.version.clone() };
    let mut mailboxes = Vec::new();
    for target in config.targets {
        let (courier, mailbox) = Courier::new(target, &outcomes)?;
        mailboxes.push(mailbox);
        let (stopping, sender) = (tasks.stopping(), sender.clone());
        tasks.spawn("alert courier", async move {
            stopping.run_until_cancelled(courier.run(sender)).await;
        });
    }
    let (stopping, health) = (tasks.stopping(), health.clone());
    tasks.spawn("alerts", async move {
        stopping.run_until_cancelled(watch(health, Debounce::new(config.patience), mailboxes)).await;
    });
    Ok(())
}

/// Listens to `health`, and puts what has lasted into the mailboxes.
async fn watch(health: Health, mut debounce: Debounce, mailboxes: Vec<Arc<Mailbox>>) {
    // Nothing waits: the first change wakes.
    const LONG: Duration = Duration::from_secs(3600);
    let mut changes = health.changes();
    loop {
        let report = Arc::clone(&changes.borrow_and_update());
        debounce.see(&report, now());
        let due = debounce.due().unwrap_or_else(|| Instant::now() + LONG);
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            () = sleep_until(due) => {}
        }
        let news = debounce.take(now());
        if !news.is_empty() {
            log(&news);
            mailboxes.iter().for_each(|mailbox| mailbox.add(&news));
        }
    }
}

fn now() -> Moment {
    Moment { instant: Instant::now(), clock: SystemTime::now() }
}

/// Says the changes in the log: for those who alert by what stands there.
fn log(news: &BTreeMap<String, Change>) {
    for (name, change) in news {
        let (component, state, detail) = (title(name), word(change.to), change.detail.as_str());
        let since = humantime::format_rfc3339_millis(change.since).to_string();
        if change.to != State::Unspecified && is_worse(change.from, change.to) {
            tracing::warn!(target: "penstock::alerts", component, state, since, detail, "alert");
        } else {
            tracing::info!(target: "penstock::alerts", component, state, since, detail, "resolved");
        }
    }
}
