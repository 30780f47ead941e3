//! The auth service.

mod check;
mod config;
mod error;
mod key;
mod keyring;
mod pepper;
mod record;
mod store;

pub use config::Config;
pub use error::Error;
