//! Background tasks of a process: named, logged when they panic, told to stop, waited for.

use std::{future::Future, panic::AssertUnwindSafe, time::Duration};

use futures_util::FutureExt as _;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// The background tasks of a process. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    answers: TaskTracker,
    draining: CancellationToken,
    stopping: CancellationToken,
    aborting: CancellationToken,
    killing: CancellationToken,
}

impl Tasks {
    /// Runs `task` until it ends or the process stops. A task that loops must end when
    /// [`Tasks::stopping`] is cancelled, or be dropped at any await without harm.
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let killing = self.killing.clone();
        self.tracker.spawn(async move {
            let caught = AssertUnwindSafe(task).catch_unwind();
            if let Some(Err(_)) = killing.run_until_cancelled(caught).await {
                tracing::error!(task = name, "background task panicked");
            }
        });
    }

    /// Runs `task` as an answer that nobody waits for: as those that somebody waits for, it may finish within the
    /// drain limit. It must end soon after [`Tasks::aborting`] is cancelled.
    pub fn spawn_answer(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let answer = self.answers.token();
        self.spawn(name, async move {
            let _answer = answer;
            task.await;
        });
    }

    /// Waits for those answers.
    pub(crate) async fn answered(&self) {
        self.answers.close();
        self.answers.wait().await;
    }

    /// Cancelled when the process stops accepting: streams that never end by themselves, such as those that
    /// watch something, end then, or they would hold the drain to its limit.
    pub fn draining(&self) -> CancellationToken {
        self.draining.clone()
    }

    /// Cancelled when the process begins to shut down its services: after the last request, before the exit.
    pub fn stopping(&self) -> CancellationToken {
        self.stopping.clone()
    }

    /// Cancelled when the drain limit is reached: streams that still run are cut, with an error. Background tasks
    /// go on: what was cut is still accounted for.
    pub fn aborting(&self) -> CancellationToken {
        self.aborting.clone()
    }

    /// Tells every task to stop and waits for them, at most `limit`; then drops what is left.
    pub async fn stop(&self, limit: Duration) {
        self.stopping.cancel();
        self.tracker.close();
        if tokio::time::timeout(limit, self.tracker.wait()).await.is_err() {
            self.killing.cancel();
            self.tracker.wait().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn stop_waits_for_those_that_listen_and_drops_the_others() {
        let tasks = Tasks::default();
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let stopping = tasks.stopping();
        tasks.spawn("listens", async move {
            stopping.cancelled().await;
            let _ = sender.send("ended well");
        });
        tasks.spawn("deaf", std::future::pending());
        tasks.spawn("panics", async { panic!("contained") });
        tasks.spawn_answer("panics too", async { panic!("contained") });
        tasks.answered().await;
        tasks.aborting().cancel();
        tokio::task::yield_now().await;
        tasks.stop(Duration::from_secs(1)).await;
        assert_eq!(receiver.await, Ok("ended well"));
    }

    #[tokio::test(start_paused = true)]
    async fn answers_are_waited_for_and_other_tasks_are_not() {
        let tasks = Tasks::default();
        tasks.spawn("deaf", std::future::pending());
        let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
        tasks.spawn_answer("an answer", async move { drop(receiver.await) });
        let short = Duration::from_secs(1);
        assert!(tokio::time::timeout(short, tasks.answered()).await.is_err());
        drop(sender);
        assert!(tokio::time::timeout(short, tasks.answered()).await.is_ok());
    }
}
