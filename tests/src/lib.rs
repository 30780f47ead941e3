//! What the end-to-end tests stand on: an engine that does as it is told, a harness that runs the real
//! binary in either topology, and small clients that hide nothing. Not a product: it may print and panic.

// A test that cannot go on should stop loudly: what is linted against in services is right here.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    missing_debug_implementations
)]

pub mod apis;
pub mod bounded;
pub mod client;
pub mod clients;
pub mod collector;
pub mod contract;
pub mod engine;
pub mod exact;
pub mod faces;
pub mod golden;
pub mod grpc;
pub mod inbox;
pub mod mesh;
pub mod outcome;

pub use client::{Answer, Client, Events};
pub use engine::{Engine, Script, Step};
pub use mesh::{Mesh, Service, Topology};

/// Stands in every prompt of the tests; must never be seen in a log, an error or a metric.
pub const PROMPT_CANARY: &str = "canary-prompt-5c1f";
/// Stands in texts and errors of the scripted engine; must never be seen in a log or an error.
pub const ENGINE_CANARY: &str = "canary-engine-b07d";
/// The credential that the mesh presents to engines; must never be seen anywhere else.
pub const ENGINE_KEY: &str = "canary-engine-key-91e4";

/// One test as two: the same steps over both topologies.
#[macro_export]
macro_rules! both {
    ($(#[doc = $doc:literal])* async fn $name:ident($topology:ident: Topology) $body:block) => {
        mod $name {
            #[allow(unused_imports)]
            use super::*;

            $(#[doc = $doc])*
            async fn run($topology: Topology) $body

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn standalone() {
                run(Topology::Standalone).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn mesh() {
                run(Topology::Mesh).await;
            }
        }
    };
}
