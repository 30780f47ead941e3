//! The routes, from HTTP to a scripted router behind a local channel and back.

mod errors;
mod grpc;
mod health;
mod routes;
pub(crate) mod scripted;
