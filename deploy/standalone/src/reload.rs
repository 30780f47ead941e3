//! `penstock reload`: has a running Penstock read its configuration again.

use clap::Args;
use penstock_chassis::config::Environment;
use penstock_proto::router::v1::ReloadResponse;
use serde_json::json;

use crate::{
    CONFIGURATION,
    explain::{Session, Target, Trouble, UNASKED, print, say},
};

/// Have a running Penstock read its configuration again.
///
/// The key needs the scope `admin`. Exits with 0 if the file is in force, 2 if it has mistakes, which are then named
/// and change nothing, 3 if Penstock cannot be asked.
#[derive(Args, Debug)]
pub(crate) struct Reload {
    #[command(flatten)]
    target: Target,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Reload {
    /// Asks, shows, and says with which code to exit.
    pub(crate) async fn run(self) -> u8 {
        let name = "reload";
        let session = match Session::new(&self.target, &Environment::of_process()) {
            Ok(session) => session,
            Err(error) => return say(name, &error, CONFIGURATION),
        };
        match session.reload().await {
            Ok(answer) => print(name, &self.shown(&answer), 0),
            Err(Trouble::Refused(error)) => say(name, &error, CONFIGURATION),
            Err(Trouble::Unasked(error)) => say(name, &error, UNASKED),
        }
    }

    fn shown(&self, answer: &ReloadResponse) -> String {
        let ReloadResponse { changed, needs_restart } = answer;
        if self.json {
            return format!("{:#}\n", json!({"changed": changed, "needs_restart": needs_restart}));
        }
        let what = if *changed { "the new configuration is in force" } else { "nothing has changed" };
        let rest = match needs_restart.as_slice() {
            [] => String::new(),
            sections => format!("; read only at a start, and changed: {}", sections.join(", ")),
        };
        format!("{what}{rest}\n")
    }
}
