//! The dialect of the legacy completions: what a client's JSON means in the contract, and how answers are written.
//! It knows neither HTTP nor gRPC.

pub(crate) mod answer;
pub(crate) mod prompt;
pub(crate) mod request;
