//! The chat completions dialect: what a client's JSON means in the contract, and how answers are written.
//! It knows neither HTTP nor gRPC.

pub(crate) mod answer;
pub(crate) mod chunk;
pub(crate) mod request;
pub(crate) mod stored;
