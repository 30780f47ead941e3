//! The `penstock` binary. So far `penstock probe` only.

mod probe;

use std::process::exit;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    exit(probe::run(std::env::args_os().skip(2).collect()).await)
}
