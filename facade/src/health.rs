//! Health for those outside: HTTP faces and gRPC, all of them views of the chassis' one report. Who has no key
//! sees what the configuration says, never an address or a text of an engine; who has one sees its models. Faces
//! that need no key wait for nobody.

mod access;
mod bodies;
mod config;
mod faces;
mod grpc;
mod query;
mod view;

pub use self::config::{Face, HealthConfig, Public};
pub(crate) use self::{
    access::Access,
    faces::{history, live, liveness, models, options, overview, ready, services, status},
    grpc::{HEALTH, STATUS, routes},
};
