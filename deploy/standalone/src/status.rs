//! `penstock status`: how a running Penstock and everything that it stands on is, as a tree in the terminal or as
//! JSON, once or as long as somebody looks on.

mod draw;
mod json;
mod screen;
mod source;
mod tree;
mod watch;
mod words;

use std::{
    io::{self, IsTerminal as _, Write as _},
    path::PathBuf,
    time::SystemTime,
};

use anyhow::Context as _;
use clap::Args;
use penstock_chassis::config::Environment;
use penstock_proto::status::v1::State;

pub(crate) use self::words::{latency, plain, state};
use self::{
    screen::Screen,
    source::Source,
    watch::{End, watch},
};
use crate::caller::{self, ADMIN_KEY, API_KEY, Bearer, DEFAULT_ADDRESS};

/// Exit code of a process that is UP or DEGRADED.
const SERVES: u8 = 0;
/// Exit code of one that is DOWN.
const DOWN: u8 = 1;
/// Exit code of arguments that make no sense.
const ARGUMENTS: u8 = 2;
/// Exit code of one that cannot be asked.
const UNASKED: u8 = 3;

/// What a report without details means.
const HINT: &str = "Callers with a key see more: give one by --key-file or in PENSTOCK_API_KEY.";
/// Said below a report without details to who gave a key.
const HINT_KEY: &str = "No details: the key may not see them, or nobody can judge it at present.";

/// Show how a running Penstock is: its services, their stores, engines and models.
///
/// Exits with 0 if it is UP or DEGRADED, 1 if it is DOWN, 2 for wrong arguments, 3 if it cannot be asked.
#[derive(Args, Debug)]
pub(crate) struct Status {
    /// Address of Penstock: of the facade, or of any service.
    #[arg(long, value_name = "URL", default_value = DEFAULT_ADDRESS)]
    addr: String,
    /// File that holds a key; without it, the environment variable PENSTOCK_API_KEY or PENSTOCK_ADMIN_KEY is used.
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Print JSON; with --watch one line for each report.
    #[arg(long)]
    json: bool,
    /// Go on until Ctrl-C, whatever happens to Penstock.
    #[arg(long)]
    watch: bool,
    /// Show the last changes of state as well: 20, or so many; 0 for all that are remembered.
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "20")]
    history: Option<u32>,
    /// No colours; they are only for terminals, and NO_COLOR turns them off, too.
    #[arg(long)]
    no_color: bool,
}

impl Status {
    /// Asks, shows, and says with which code to exit.
    pub(crate) async fn run(self) -> u8 {
        let environment = Environment::of_process();
        let mut source = match self.source(&environment) {
            Ok(source) => source,
            Err(error) => return refuse(&format!("{error:#}"), ARGUMENTS),
        };
        let mut screen = self.screen(&source, &environment);
        if self.watch {
            return match watch(&mut source, &mut screen, self.history).await {
                Ok(End::Seen) => screen.state().map_or(UNASKED, code),
                Ok(End::Refused(trouble)) => refuse(&trouble.to_string(), UNASKED),
                Ok(End::Output(error)) | Err(error) => refuse(&format!("cannot go on: {error}"), UNASKED),
            };
        }
        let shown = match source.ask(self.history).await {
            Ok(answer) => screen.show(answer, SystemTime::now()),
            Err(trouble) => return refuse(&trouble.to_string(), UNASKED),
        };
        match shown {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                refuse(&format!("cannot print the report: {error}"), UNASKED)
            }
            _ => screen.state().map_or(UNASKED, code),
        }
    }

    fn source(&self, environment: &Environment) -> anyhow::Result<Source> {
        let key = caller::key(self.key_file.as_deref(), environment, &[API_KEY, ADMIN_KEY])?;
        if let Some(file) = self.key_file.as_ref().filter(|_| key.is_none()) {
            anyhow::bail!("{} holds no key", file.display());
        }
        let bearer = key.as_ref().map(Bearer::new).transpose()?;
        Source::new(self.addr.clone(), bearer).context("--addr")
    }

    fn screen(&self, source: &Source, environment: &Environment) -> Screen<io::Stdout> {
        let is_set = |name: &str| environment.get(name).is_some_and(|value| !value.is_empty());
        let out = io::stdout();
        let on_terminal = out.is_terminal() && !self.json;
        let plain = self.no_color || is_set("NO_COLOR") || environment.get("TERM") == Some("dumb");
        // A terminal that cannot be drawn on gets its reports one after the other.
        let in_place = on_terminal && environment.get("TERM") != Some("dumb");
        Screen {
            out,
            json: self.json,
            colour: on_terminal && !plain,
            many: self.watch,
            window: in_place.then_some(window),
            hint: Some(if source.has_key() { HINT_KEY } else { HINT }),
            address: source.address.clone(),
            last: None,
            is_lost: false,
            entered: false,
        }
    }
}

/// Columns and rows of the terminal.
fn window() -> Option<(usize, usize)> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    // Nobody knows, says a terminal without an end.
    Some((size.ws_col.into(), size.ws_row.into())).filter(|(columns, rows)| *columns > 0 && *rows > 0)
}

fn code(state: State) -> u8 {
    match state {
        State::Up | State::Degraded => SERVES,
        State::Down | State::Unspecified => DOWN,
    }
}

fn refuse(why: &str, code: u8) -> u8 {
    // Nobody is left to tell if standard error is gone.
    let _ = writeln!(io::stderr(), "penstock status: {}", words::plain(why));
    code
}

#[cfg(test)]
mod tests;
