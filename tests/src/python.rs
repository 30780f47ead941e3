//! Runs the Python checks: real clients that nobody on this project wrote, from the venv of `tests/run`.

use std::{path::Path, process::Output, time::Duration};

use tokio::process::Command;

use crate::Mesh;

/// Longest run of a script: starting Python and compiling the contract takes seconds on a busy machine.
const RUN_MAX: Duration = Duration::from_secs(90);

/// Runs `tests/python/<script>` against `mesh`; it must exit with 0.
pub async fn run(script: &str, mesh: &Mesh, environment: &[(&str, &str)]) -> Output {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = folder.join(".venv/bin/python");
    assert!(python.exists(), "no Python environment for the tests: run tests/run");
    let output = Command::new(python)
        .arg(folder.join("python").join(script))
        .env("PENSTOCK_BASE_URL", mesh.base_url())
        .env("PENSTOCK_KEY", mesh.key())
        .env("PENSTOCK_GRPC", mesh.grpc().to_string())
        .env("PENSTOCK_PROTO", folder.join("../proto"))
        .envs(environment.iter().copied())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(RUN_MAX, output).await.expect("the script ends").expect("python runs");
    assert!(
        output.status.success(),
        "{script}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    output
}
