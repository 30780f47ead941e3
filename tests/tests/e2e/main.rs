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

mod alerts;
mod apis;
mod attempts;
mod auth;
mod bad_input;
mod breaker;
mod cache;
mod cancel;
mod capabilities;
mod chat;
mod chat_shapes;
mod clients;
mod clients_embeddings;
mod clients_faces;
mod completions;
mod config;
mod counting;
mod degradation;
mod discovery;
mod draining;
mod embeddings;
mod engine_contract;
mod engine_faults;
mod engine_knowledge;
mod explain;
mod fallback;
mod fault_matrix;
mod golden;
mod grpc_callers;
mod health;
mod health_abuse;
mod health_clients;
mod health_engines;
mod health_faces;
mod health_models;
mod identity;
mod lifecycle;
mod limits;
mod manifests;
mod memory;
mod messages;
mod models;
mod moderations;
mod normal;
mod observability;
mod ollama;
mod ollama_face;
mod openapi;
mod overload;
mod probe;
mod recovery;
mod refusals;
mod reload;
mod responses;
mod responses_stored;
mod resume;
mod routing;
mod simulated;
mod slow_reader;
mod soak;
mod startup;
mod status;
mod stored;
mod streams;
mod validation;
mod zero_config;
