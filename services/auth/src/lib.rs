//! The auth service.

mod error;
mod key;
mod pepper;
mod record;
mod store;

pub use error::Error;
