//! One process of the real binary: its logs in files, ended by its pid when it is dropped.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};

use super::breaks::WITH_SMALL_DISK;
use crate::bounded::until;

/// A running (or ended) process.
pub struct Process {
    child: Child,
    output: PathBuf,
    errors: PathBuf,
}

/// Path of the binary: `PENSTOCK_BIN`, else the one that was built beside this test.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("PENSTOCK_BIN") {
        return path.into();
    }
    let own = std::env::current_exe().unwrap();
    let beside = own.ancestors().skip(1).map(|folder| folder.join("penstock")).find(|path| path.is_file());
    beside.expect("no penstock binary beside the tests: run tests/run, or cargo build first")
}

/// A command of the binary in an environment that holds nothing by chance.
pub fn command<A: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = A>) -> Command {
    let mut command = Command::new(binary());
    command.args(arguments).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("RUST_BACKTRACE", "1").stdin(Stdio::null());
    command
}

/// As `command`, with a small disk at `data`.
pub(super) fn command_with_small_disk(data: &Path, arguments: Vec<String>) -> Command {
    let penstock = command(arguments);
    let [unshare, wrapper @ ..] = WITH_SMALL_DISK;
    let mut command = Command::new(unshare);
    command.args(wrapper).arg(data).arg(penstock.get_program()).args(penstock.get_args());
    command.env_clear().stdin(Stdio::null());
    command.envs(penstock.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command
}

impl Process {
    /// Starts `command`; what it says goes to `<name>.out` and `<name>.err` in `folder`, behind what is there.
    pub fn start(mut command: Command, folder: &Path, name: &str) -> Process {
        let file = |ending: &str| {
            let path = folder.join(format!("{name}.{ending}"));
            let file = File::options().create(true).append(true).open(&path).unwrap();
            (path, file)
        };
        let ((output, out), (errors, err)) = (file("out"), file("err"));
        let child = command.stdout(out).stderr(err).spawn().expect("the penstock binary starts");
        Process { child, output, errors }
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it said, on both streams.
    pub fn said(&self) -> String {
        format!("{}{}", self.output(), fs::read_to_string(&self.errors).unwrap_or_default())
    }

    /// What it said on its standard output.
    pub fn output(&self) -> String {
        fs::read_to_string(&self.output).unwrap_or_default()
    }

    /// Whether it has ended, and how.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Ends it at once, as `kill -9` does.
    pub fn kill(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }

    /// Asks it to end.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().cast_signed()).unwrap();
        kill_process(pid, signal).expect("the process is there");
    }

    /// Waits until it has ended.
    pub async fn exit(&mut self) -> ExitStatus {
        let what = format!("process {} to end", self.pid());
        until(&what, async || self.child.try_wait().unwrap()).await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
