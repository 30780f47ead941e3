//! The real binary between real clients and a scripted engine. Each scenario runs over both topologies; the
//! modules are themes. Numbers such as C8 are those of the project's catalogue of faults.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    missing_docs
)]

mod auth;
mod bad_input;
mod cache;
mod cancel;
mod chat;
mod chat_shapes;
mod clients;
mod clients_embeddings;
mod completions;
mod config;
mod embeddings;
mod engine_faults;
mod fallback;
mod golden;
mod grpc_callers;
mod health;
mod identity;
mod lifecycle;
mod limits;
mod memory;
mod models;
mod moderations;
mod observability;
mod probe;
mod recovery;
mod refusals;
mod zero_config;
