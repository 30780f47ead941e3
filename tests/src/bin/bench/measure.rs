//! CPU time of processes, from the scheduler's own count in nanoseconds.

use std::{fs, time::Duration};

use penstock_tests::Mesh;

/// CPU time of all processes of a mesh so far.
pub(crate) fn cpu_of(mesh: &Mesh) -> Duration {
    mesh.pids().map(cpu_of_process).sum()
}

fn cpu_of_process(pid: u32) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("the process runs");
    let nanoseconds = tasks.filter_map(|task| {
        let schedstat = fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        schedstat.split_whitespace().next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanoseconds.sum())
}
