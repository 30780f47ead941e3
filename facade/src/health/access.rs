//! Who may see what of health. A key is checked by the router, as for every request: what it may list it may see
//! the health of. The answer is remembered for a while, so that pollers cost nothing.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::http::{HeaderMap, header::AUTHORIZATION};
use penstock_chassis::{CallContext, Channel};
use penstock_proto::{
    inference::v1::{ListModelsRequest, inference_client::InferenceClient},
    status::v1::{Component, Report, State},
};
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use super::config::{Face, HealthConfig, Public};
use crate::{error::Error, head::Forwarded};

/// How long the router may take to judge a key: a poller waits no longer than that.
const ASK_TIMEOUT: Duration = Duration::from_secs(1);
/// How long its answer counts: a key that was revoked sees states for so much longer.
pub(super) const REMEMBERED: Duration = Duration::from_secs(15);
/// Keys that are remembered: pollers are few.
const REMEMBERED_MAX: usize = 1000;

/// The models that a key may use.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Models {
    names: HashSet<String>,
    aliases: HashMap<String, String>,
}

impl Models {
    pub(super) fn contains(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// The name of the model that has this name or alias.
    pub(super) fn name<'a>(&'a self, name: &'a str) -> &'a str {
        self.aliases.get(name).map_or(name, String::as_str)
    }
}

/// What a caller may see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Sight {
    /// It has no key.
    Public(Public),
    /// It has one, for these models.
    Key(Arc<Models>),
}

/// Keys by their hashes: what they may use, and until when that counts.
type Remembered = HashMap<[u8; 32], (Instant, Arc<Models>)>;

/// Says who may see what. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Access {
    config: Arc<HealthConfig>,
    router: InferenceClient<Channel>,
    remembered: Arc<Mutex<Remembered>>,
}

impl Access {
    pub(crate) fn new(config: HealthConfig, router: InferenceClient<Channel>) -> Self {
        Self { config: Arc::new(config), router, remembered: Arc::default() }
    }

    /// What anybody sees.
    pub(super) fn public(&self) -> Public {
        self.config.public
    }

    /// What a caller with these headers sees on a face. Without a credential it waits for nobody.
    ///
    /// # Errors
    /// The face needs a key and there is none, or nobody can say what it is worth; or the key is wrong.
    pub(super) async fn admit(
        &self,
        face: Face,
        headers: &HeaderMap,
        context: &CallContext,
        report: &Report,
    ) -> Result<Sight, Error> {
        let needs_key = self.config.need_key.contains(&face);
        let public = Sight::Public(self.public());
        if !headers.contains_key(AUTHORIZATION) {
            return if needs_key { Err(Error::NoCredential) } else { Ok(public) };
        }
        match self.models(headers, context, report).await {
            Ok(models) => Ok(Sight::Key(models)),
            // Nobody can say what the key is worth: then it is worth nothing, and no reason to be silent.
            Err(Error::KeyUnchecked) if !needs_key => Ok(public),
            Err(error) => Err(error),
        }
    }

    /// What a caller with these headers sees if it has a good key; `None`: it has none.
    pub(super) async fn key(
        &self,
        headers: &HeaderMap,
        context: &CallContext,
        report: &Report,
    ) -> Option<Sight> {
        let given = headers.contains_key(AUTHORIZATION);
        let models = if given { self.models(headers, context, report).await.ok() } else { None };
        models.map(Sight::Key)
    }

    /// The models that the caller's key may use.
    async fn models(
        &self,
        headers: &HeaderMap,
        context: &CallContext,
        report: &Report,
    ) -> Result<Arc<Models>, Error> {
        let forwarded = Forwarded::read(headers)?;
        forwarded.expect_credential()?;
        let hash = hash(headers);
        if let Some(models) = self.recall(&hash) {
            return Ok(models);
        }
        if is_deaf(report) {
            return Err(Error::KeyUnchecked);
        }
        let mut call = context.with_timeout(ASK_TIMEOUT).request(ListModelsRequest { model: None });
        forwarded.put(call.metadata_mut());
        let answer = self.router.clone().list_models(call).await.map_err(|status| {
            let failed = penstock_proto::Error::from(&status).reason.http_status() >= 500;
            if failed { Error::KeyUnchecked } else { Error::from(status) }
        })?;
        let mut models = Models::default();
        for model in answer.into_inner().models {
            models.aliases.extend(model.aliases.into_iter().map(|alias| (alias, model.id.clone())));
            models.names.insert(model.id);
        }
        let models = Arc::new(models);
        self.remember(hash, &models);
        Ok(models)
    }

    fn recall(&self, hash: &[u8; 32]) -> Option<Arc<Models>> {
        let remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        let (until, models) = remembered.get(hash)?;
        (Instant::now() < *until).then(|| Arc::clone(models))
    }

    fn remember(&self, hash: [u8; 32], models: &Arc<Models>) {
        let now = Instant::now();
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        if remembered.len() >= REMEMBERED_MAX {
            remembered.retain(|_, (until, _)| now < *until);
        }
        if remembered.len() < REMEMBERED_MAX {
            remembered.insert(hash, (now + REMEMBERED, Arc::clone(models)));
        }
    }
}

fn hash(headers: &HeaderMap) -> [u8; 32] {
    let credential = headers.get(AUTHORIZATION).map(|value| value.as_bytes()).unwrap_or_default();
    Sha256::digest(credential).into()
}

/// The router, as the facade's health names it.
const ROUTER: &str = "router";

/// Whether the router is known not to answer, nothing of what it stands on being known any more: then nobody waits
/// for it. One that is down and says so can still tell what a key is worth.
fn is_deaf(report: &Report) -> bool {
    let is_down = |one: &Component| one.name == ROUTER && one.state() == State::Down;
    let mut parts = report.components.iter().filter(|component| component.part_of == ROUTER);
    report.components.iter().any(is_down) && parts.all(|part| part.state() == State::Unspecified)
}
