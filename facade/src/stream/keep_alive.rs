//! When a stream has been silent for too long. Proxies on the way close what says nothing: a comment, which every
//! reader of events skips, keeps it open. One timer for a stream, which a chunk does not touch.

use std::{
    future::Future as _,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};

use crate::config::Config;

/// The silence of one stream.
#[derive(Debug)]
pub(super) struct KeepAlive {
    period: Option<Duration>,
    /// The moment after which the stream counts as silent.
    due: Option<Instant>,
    /// Set to `due`, or earlier: what is said moves `due`, and the timer only when it fires.
    timer: Option<Pin<Box<Sleep>>>,
}

impl KeepAlive {
    /// For a stream that was asked for now.
    pub(super) fn start(config: &Config) -> Self {
        let mut this = Self { period: config.keep_alive_period, due: None, timer: None };
        this.expect_within(config.keep_alive_delay);
        this
    }

    /// Something was said.
    pub(super) fn heard(&mut self) {
        self.expect_within(self.period);
    }

    fn expect_within(&mut self, silence: Option<Duration>) {
        self.due = silence.map(|silence| Instant::now() + silence);
        match (&mut self.timer, self.due) {
            (Some(timer), Some(due)) if timer.deadline() > due => timer.as_mut().reset(due),
            (None, Some(due)) => self.timer = Some(Box::pin(sleep_until(due))),
            _ => {}
        }
    }

    /// Ready once the stream has been silent for too long.
    pub(super) fn poll_silent(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let (Some(due), Some(timer)) = (self.due, &mut self.timer) else { return Poll::Pending };
        while timer.as_mut().poll(cx).is_ready() {
            if due <= Instant::now() {
                return Poll::Ready(());
            }
            timer.as_mut().reset(due);
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests;
