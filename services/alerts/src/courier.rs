//! Brings notices to one target: one after the other, so many an hour, each with some attempts. What cannot be
//! delivered goes back and is told later, together with what has come meanwhile.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, SystemTime},
};

use penstock_chassis::Metrics;
use prometheus_client::metrics::{counter::Counter, family::Family};
use tokio::time::{Instant, sleep, sleep_until};

use crate::{
    config::{Target, Way},
    email::Email,
    error::{Error, Failure},
    mailbox::Mailbox,
    notice::{Notice, Sender},
    webhook::Webhook,
};

/// Attempts for one notice.
const ATTEMPTS: u32 = 4;
/// Before the second attempt, with jitter; twice as long before each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause that a target may ask for by Retry-After.
const PAUSE_MAX: Duration = Duration::from_secs(300);
/// After all attempts have failed; doubled as long as nothing goes through, up to `PAUSE_MAX`.
const LONG_PAUSE: Duration = Duration::from_secs(30);
const HOUR: Duration = Duration::from_secs(3600);

/// Notices by target and outcome.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcomes(Family<[(&'static str, String); 2], Counter>);

impl Outcomes {
    pub(crate) fn register(metrics: &Metrics) -> Self {
        let outcomes = Self::default();
        let help = "Attempts to send a notice, by target and outcome: sent, failed (tried again), rejected (given up)";
        metrics.register(|registry| registry.register("penstock_alerts_sent", help, outcomes.0.clone()));
        outcomes
    }

    fn of(&self, target: &str, outcome: &'static str) -> Counter {
        self.0.get_or_create_owned(&[("target", target.to_owned()), ("outcome", outcome.to_owned())])
    }
}

/// How notices get to a target.
#[derive(Debug)]
enum Post {
    Webhook(Webhook),
    Email(Box<Email>),
}

impl Post {
    async fn deliver(&self, notice: &Notice) -> Result<(), Failure> {
        match self {
            Self::Webhook(webhook) => webhook.deliver(notice).await,
            Self::Email(email) => email.deliver(notice).await,
        }
    }
}

/// Brings notices to one target.
#[derive(Debug)]
pub(crate) struct Courier {
    name: String,
    post: Post,
    mailbox: Arc<Mailbox>,
    allowance: Allowance,
    outcomes: [Counter; 3],
}

impl Courier {
    /// A courier, and the mailbox that it empties.
    pub(crate) fn new(target: Target, outcomes: &Outcomes) -> Result<(Self, Arc<Mailbox>), Error> {
        let name = target.name;
        let post = match target.way {
            Way::Webhook(config) => Post::Webhook(Webhook::new(config, target.timeout)?),
            Way::Email(config) => Post::Email(Box::new(Email::new(&name, config, target.timeout)?)),
        };
        let mailbox = Arc::new(Mailbox::new(target.filter));
        let outcomes = ["sent", "failed", "rejected"].map(|outcome| outcomes.of(&name, outcome));
        let allowance = Allowance::new(target.max_per_hour);
        Ok((Self { name, post, mailbox: Arc::clone(&mailbox), allowance, outcomes }, mailbox))
    }

    /// Delivers until it is dropped.
    pub(crate) async fn run(mut self, sender: Sender) {
        let mut long_pause = LONG_PAUSE;
        loop {
            self.mailbox.has_news().await;
            sleep_until(self.allowance.next(Instant::now())).await;
            let waiting = self.mailbox.take();
            if waiting.changes.is_empty() {
                // Taken back while there was no allowance.
                self.mailbox.put_back(waiting);
                continue;
            }
            self.allowance.use_one(Instant::now());
            let notice = Notice::new(&waiting.changes, waiting.skipped, SystemTime::now(), &sender);
            match self.deliver(&notice).await {
                Ok(()) => long_pause = LONG_PAUSE,
                Err(failure) if failure.again => {
                    let (target, reason) = (self.name.as_str(), failure.what.as_str());
                    tracing::error!(
                        target_name = target,
                        reason,
                        "an alert was not delivered; it will be told later"
                    );
                    self.mailbox.put_back(waiting);
                    sleep(long_pause.max(failure.retry_after.unwrap_or_default().min(PAUSE_MAX))).await;
                    long_pause = (long_pause * 2).min(PAUSE_MAX);
                }
                Err(failure) => {
                    let (target, reason) = (self.name.as_str(), failure.what.as_str());
                    tracing::error!(
                        target_name = target,
                        reason,
                        "an alert was refused by its target and is lost"
                    );
                    self.mailbox.lose(waiting);
                }
            }
        }
    }

    async fn deliver(&self, notice: &Notice) -> Result<(), Failure> {
        let [sent, failed, rejected] = &self.outcomes;
        let mut attempt = 1;
        loop {
            let failure = match self.post.deliver(notice).await {
                Ok(()) => {
                    sent.inc();
                    return Ok(());
                }
                Err(failure) => failure,
            };
            if failure.again {
                failed.inc()
            } else {
                rejected.inc()
            };
            if !failure.again || attempt == ATTEMPTS {
                return Err(failure);
            }
            tracing::warn!(
                target_name = self.name,
                attempt,
                reason = failure.what,
                "an alert was not delivered yet"
            );
            sleep(pause(attempt, failure.retry_after, fastrand::f64())).await;
            attempt += 1;
        }
    }
}

/// The pause after an attempt: what the target asked for, else longer each time, with jitter (0 to 1): replicas must
/// not come together.
fn pause(attempt: u32, retry_after: Option<Duration>, jitter: f64) -> Duration {
    let usual = FIRST_PAUSE * 2_u32.saturating_pow(attempt.saturating_sub(1));
    let usual = usual.mul_f64(0.5 + jitter.clamp(0.0, 1.0));
    retry_after.map_or(usual, |asked| asked.max(usual)).min(PAUSE_MAX)
}

/// So many notices in any hour.
#[derive(Debug)]
struct Allowance {
    max: usize,
    used: VecDeque<Instant>,
}

impl Allowance {
    fn new(max: usize) -> Self {
        Self { max, used: VecDeque::new() }
    }

    /// When the next notice may go.
    fn next(&self, now: Instant) -> Instant {
        match self.used.front() {
            Some(oldest) if self.used.len() >= self.max => (*oldest + HOUR).max(now),
            _ => now,
        }
    }

    fn use_one(&mut self, now: Instant) {
        if self.used.len() >= self.max {
            self.used.pop_front();
        }
        self.used.push_back(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_hour_has_so_many_notices_and_no_more() {
        let mut allowance = Allowance::new(2);
        let begin = Instant::now();
        let mut sent = Vec::new();
        for _ in 0..5 {
            sleep_until(allowance.next(Instant::now())).await;
            allowance.use_one(Instant::now());
            sent.push(begin.elapsed().as_secs() / 60);
            sleep(10 * FIRST_PAUSE).await;
        }
        assert_eq!(sent, [0, 0, 60, 60, 120]);
    }

    #[test]
    fn pauses_grow_and_respect_what_was_asked_for() {
        let seconds = |attempt, asked: Option<u64>, jitter| {
            pause(attempt, asked.map(Duration::from_secs), jitter).as_secs_f64()
        };
        assert_eq!([seconds(1, None, 0.5), seconds(2, None, 0.5), seconds(3, None, 0.5)], [1.0, 2.0, 4.0]);
        assert_eq!([seconds(1, None, 0.0), seconds(1, None, 1.0)], [0.5, 1.5]);
        assert_eq!([seconds(1, Some(7), 0.5), seconds(1, Some(1_000_000), 0.5)], [7.0, 300.0]);
    }
}
