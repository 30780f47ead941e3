//! `--watch`: follows a process, over its restarts, until somebody has seen enough.

use std::{
    collections::HashMap,
    io::{self, Write},
    time::{Duration, SystemTime},
};

use penstock_proto::status::v1::{Report, WatchResponse};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{MissedTickBehavior, interval, sleep},
};
use tonic::{Status, Streaming};

use super::{
    screen::Screen,
    source::{Answer, Source, Trouble},
};

/// How often a terminal is redrawn although nothing has changed: ages and latencies go on.
const TICK: Duration = Duration::from_secs(1);
/// The pause before somebody who went away is asked again.
const RETRY: Duration = Duration::from_secs(1);

/// Why the watching ended.
#[derive(Debug)]
pub(super) enum End {
    /// Somebody has seen enough.
    Seen,
    /// Asking again would give the same.
    Refused(Trouble),
    /// It cannot be shown any more.
    Output(io::Error),
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        // Whoever reads has seen enough, as `head` does.
        if error.kind() == io::ErrorKind::BrokenPipe { Self::Seen } else { Self::Output(error) }
    }
}

/// Shows every change until a signal comes, then leaves the screen as it was.
pub(super) async fn watch<W: Write>(
    source: &mut Source,
    screen: &mut Screen<W>,
    history: Option<u32>,
) -> io::Result<End> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let end = tokio::select! {
        Err(end) = follow(source, screen, history) => end,
        _ = interrupt.recv() => End::Seen,
        _ = terminate.recv() => End::Seen,
        _ = hangup.recv() => End::Seen,
        else => End::Seen,
    };
    match screen.leave(SystemTime::now()) {
        Ok(()) => Ok(end),
        Err(error) => Ok(End::from(error)),
    }
}

/// Goes on for ever; only an error ends it.
async fn follow<W: Write>(
    source: &mut Source,
    screen: &mut Screen<W>,
    history: Option<u32>,
) -> Result<std::convert::Infallible, End> {
    loop {
        let trouble = match source.watch().await {
            Ok(stream) => listen(source, stream, screen, history).await?,
            Err(trouble) => trouble,
        };
        source.forget();
        if matches!(trouble, Trouble::Lasting(_)) {
            return Err(End::Refused(trouble));
        }
        screen.lost(&trouble, SystemTime::now())?;
        sleep(RETRY).await;
    }
}

/// Shows what comes until nothing comes any more, and says why.
async fn listen<W: Write>(
    source: &mut Source,
    mut stream: Streaming<WatchResponse>,
    screen: &mut Screen<W>,
    history: Option<u32>,
) -> Result<Trouble, End> {
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let changed = tokio::select! {
            message = stream.message() => match message {
                Ok(Some(message)) => Some(message.report.unwrap_or_default()),
                Ok(None) => return Ok(source.trouble(&Status::unavailable(""))),
                Err(status) => return Ok(source.trouble(&status)),
            },
            _ = tick.tick(), if screen.window.is_some() => None,
        };
        // A change comes without what a look alone changes.
        let asked = match source.ask(history).await {
            Ok(answer) => answer,
            Err(trouble) => return Ok(trouble),
        };
        let answer = match changed {
            Some(report) => Answer { report: filled(report, &asked.report), ..asked },
            None => asked,
        };
        screen.show(answer, SystemTime::now())?;
    }
}

/// The report that a change brought, with latencies and times of checks from one that is a moment younger: of the
/// components that are still as the change has them.
fn filled(mut report: Report, younger: &Report) -> Report {
    let looks: HashMap<_, _> = younger.components.iter().map(|one| (one.name.as_str(), one)).collect();
    for component in &mut report.components {
        let look = looks.get(component.name.as_str());
        if let Some(look) = look.filter(|look| look.state == component.state && look.since == component.since)
        {
            component.latency = look.latency;
            component.checked_at = look.checked_at;
            component.last_success_at = look.last_success_at;
        }
    }
    report
}

#[cfg(test)]
mod tests {
    use penstock_proto::status::v1::{Component, State};
    use prost_types::Timestamp;

    use super::*;

    #[test]
    fn a_change_is_filled_only_with_looks_at_the_same_state() {
        let component = |name: &str, state: State, checked: Option<i64>| Component {
            name: name.into(),
            state: state.into(),
            checked_at: checked.map(|seconds| Timestamp { seconds, nanos: 0 }),
            ..Component::default()
        };
        let report = |components| Report { components, ..Report::default() };
        let change = report(vec![component("a", State::Down, None), component("b", State::Down, None)]);
        let younger = report(vec![component("a", State::Down, Some(1)), component("b", State::Up, Some(1))]);
        let filled = filled(change, &younger);
        assert_eq!(filled.components[0].checked_at, Some(Timestamp { seconds: 1, nanos: 0 }));
        assert_eq!((filled.components[1].checked_at, filled.components[1].state()), (None, State::Down));
    }
}
