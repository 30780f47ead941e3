//! What of the configuration may change while the adapter runs: which deployments there are. Two are equal if nothing
//! that they say differs, keys included.

use std::ops::Deref;

use secrecy::{ExposeSecret as _, SecretString};

use super::{DeploymentConfig, EngineConfig, Place};

/// The deployments that there are.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Configured {
    pub(crate) deployments: Vec<DeploymentConfig>,
    /// Where to look for engines; empty: nowhere.
    pub(crate) discover: Vec<Place>,
}

impl Configured {
    /// Whether any deployment is to be tried from time to time if it generates. `usual`: where it does not say.
    pub(crate) fn asks_for_generations(&self, usual: bool) -> bool {
        let places = self.discover.iter().map(|place| place.generation_probe);
        let mut all = self.deployments.iter().map(|deployment| deployment.generation_probe).chain(places);
        all.any(|said| said.unwrap_or(usual))
    }

    /// Whether any engine is reached over TLS.
    pub(crate) fn needs_tls(&self) -> bool {
        let configured = self.deployments.iter().filter_map(|deployment| match &deployment.engine {
            EngineConfig::Remote(remote) => Some(&remote.endpoint),
            EngineConfig::Mesh { .. } | EngineConfig::Simulated(_) => None,
        });
        configured
            .chain(self.discover.iter().map(|place| &place.engine.endpoint))
            .any(|url| url.scheme() == "https")
    }
}

/// The key of an engine: never shown, and equal to another one of the same text.
#[derive(Clone, Debug)]
pub(crate) struct Key(SecretString);

impl Key {
    pub(super) fn new(key: String) -> Self {
        Self(key.into())
    }
}

impl Deref for Key {
    type Target = SecretString;

    fn deref(&self) -> &SecretString {
        &self.0
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.expose_secret() == other.expose_secret()
    }
}
