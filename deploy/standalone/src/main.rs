//! The `penstock` binary: everything in one process (`up`), one service of the mesh (`serve`), and the tools
//! that go with them. Without a command it is `up`.

mod banner;
mod caller;
mod keys;
mod probe;
mod reloading;
mod settings;
mod status;
mod topology;

use std::{
    ffi::OsString,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use penstock_chassis::config::Mistakes;

use crate::{
    reloading::Reloading,
    settings::{Options, Settings},
    topology::Service,
};

/// Exit code of a configuration with mistakes.
const CONFIGURATION: u8 = 2;

/// A gRPC-first gateway to language models.
#[derive(Debug, Parser)]
#[command(version, about, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    options: Options,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run everything in one process (the default)
    Up(Options),
    /// Run one service of the mesh
    Serve {
        /// Which one
        service: Service,
        #[command(flatten)]
        options: Options,
    },
    /// Check a configuration file; every mistake is named with its line
    CheckConfig {
        /// The file
        file: PathBuf,
    },
    /// Manage API keys of a running Penstock
    Keys(keys::Keys),
    /// Show how a running Penstock is: its services, their stores, engines and models
    Status(status::Status),
    /// Ask a gRPC server for its health; flags and exit codes are those of `grpc_health_probe`
    #[command(disable_help_flag = true)]
    Probe {
        /// As of `grpc_health_probe`: -addr, -service, -connect-timeout, -rpc-timeout, -tls, …
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
}

fn main() -> ExitCode {
    // Go's flags have one dash, which clap does not take: they are read elsewhere.
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let command = if arguments.get(1).is_some_and(|argument| argument == "probe") {
        Command::Probe { arguments: arguments.into_iter().skip(2).collect() }
    } else {
        let cli = Cli::parse_from(arguments);
        cli.command.unwrap_or(Command::Up(cli.options))
    };
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("cannot start: {error}")),
    };
    let code = runtime.block_on(run(command));
    // A name look-up that was given up must not hold the exit.
    runtime.shutdown_background();
    code
}

async fn run(command: Command) -> ExitCode {
    let outcome = match command {
        Command::Up(options) => match load(options.clone(), None) {
            Ok((settings, reloading)) => topology::up(settings, reloading).await,
            Err(mistakes) => return explain(options.file().as_deref(), &mistakes),
        },
        Command::Serve { service, options } => match load(options.clone(), Some(service)) {
            Ok((settings, reloading)) => topology::serve(service, settings, reloading).await,
            Err(mistakes) => return explain(options.file().as_deref(), &mistakes),
        },
        Command::CheckConfig { file } => {
            return match Settings::of_file(&file) {
                Ok(_) => say(&format!("{}: no mistakes", file.display())),
                Err(mistakes) => explain(Some(&file), &mistakes),
            };
        }
        Command::Keys(keys) => keys.run().await,
        Command::Status(status) => return ExitCode::from(status.run().await),
        Command::Probe { arguments } => {
            return u8::try_from(probe::run(arguments).await).map_or(ExitCode::FAILURE, ExitCode::from);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&format!("{error:#}")),
    }
}

/// What to start with, and what reads it again.
fn load(options: Options, service: Option<Service>) -> Result<(Settings, Reloading), Mistakes> {
    let read = options.read(service)?;
    Ok((read.settings()?, Reloading::new(read)))
}

fn explain(file: Option<&Path>, mistakes: &Mistakes) -> ExitCode {
    let file = file.map_or_else(|| "configuration".to_owned(), |file| file.display().to_string());
    let mut stderr = io::stderr();
    for mistake in &mistakes.0 {
        // Nobody is left to tell if standard error is gone.
        let _ = writeln!(stderr, "{file}: {mistake}");
    }
    ExitCode::from(CONFIGURATION)
}

fn say(text: &str) -> ExitCode {
    match writeln!(io::stdout(), "{text}") {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn fail(text: &str) -> ExitCode {
    let _ = writeln!(io::stderr(), "penstock: {text}");
    ExitCode::FAILURE
}
