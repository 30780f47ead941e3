//! Auth: turns credentials into principals and manages API keys. Known keys are answered from memory; a change
//! is durable before it is visible, and told at once to whoever memoises verdicts. Only keyed hashes are kept.
//! It enforces no limit and knows no model: it only says what a key may do.

mod check;
mod config;
mod error;
#[cfg(fuzzing)]
pub mod fuzzing;
mod key;
mod keyring;
mod pepper;
mod record;
mod service;
mod start;
mod store;

use std::sync::Arc;

use penstock_chassis::Chassis;
use penstock_proto::auth::v1::{auth_server::AuthServer, keys_server::KeysServer};
use secrecy::SecretString;
use tonic::service::Routes;

pub use config::Config;
pub use error::Error;

use crate::service::{AuthService, Clock, KeysService, Verdicts, Writes};

/// A service that has started.
#[derive(Debug)]
pub struct Started {
    /// `penstock.auth.v1.Auth` and `penstock.auth.v1.Keys`.
    pub routes: Routes,
    /// The key made at the very first start, if no admin key was set: to be shown once.
    pub first_key: Option<SecretString>,
}

/// Opens the keys in the data directory and serves them.
///
/// # Errors
/// The data directory cannot be used; the error says why and what to do.
pub async fn start(config: Config, chassis: &Chassis) -> Result<Started, Error> {
    start_at(config, chassis, service::clock).await
}

async fn start_at(config: Config, chassis: &Chassis, clock: Clock) -> Result<Started, Error> {
    let Config { data_dir, memo_ttl, admin_key } = config;
    let now = clock();
    let opened = tokio::task::spawn_blocking(move || start::open(&data_dir, admin_key.as_ref(), now));
    let (keyring, first_key) = opened.await.unwrap_or(Err(Error::Cut))?;
    let keyring = Arc::new(keyring);
    let verdicts = Verdicts::register(&chassis.metrics);
    let auth = AuthService {
        keyring: Arc::clone(&keyring),
        memo_ttl,
        verdicts: verdicts.clone(),
        tasks: chassis.tasks.clone(),
        clock,
    };
    let keys = KeysService { writes: Writes::start(keyring, chassis), verdicts, clock };
    let routes = Routes::new(AuthServer::new(auth)).add_service(KeysServer::new(keys));
    Ok(Started { routes, first_key })
}

#[cfg(test)]
mod tests;
