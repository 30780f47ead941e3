//! What can be done to keys. Each change is one critical section: look, decide, make durable, make visible.

use std::{
    collections::BTreeMap,
    sync::{Arc, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use secrecy::{ExposeSecret as _, SecretString};

use super::{DEFAULT_TENANT, Keyring};
use crate::{
    Error, key,
    record::{Limit, Principal, Record, Scope},
};

/// Most keys that are kept, revoked ones included: about 50 MB of memory.
const KEYS_MAX: usize = 100_000;
/// Most secrets of one key that are good beside the current one. Each costs a comparison per authentication.
const FORMER_SECRETS_MAX: usize = 8;

/// A key to make. Checked already.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    pub(crate) name: String,
    pub(crate) tenant: String,
    pub(crate) scopes: Vec<Scope>,
    pub(crate) allowed_models: Vec<String>,
    pub(crate) limits: Vec<Limit>,
    pub(crate) expires_at: Option<SystemTime>,
    pub(crate) metadata: BTreeMap<String, String>,
}

/// What to change of a key; `None`: leave it. Checked already.
#[derive(Clone, Debug, Default)]
pub(crate) struct Edit {
    pub(crate) name: Option<String>,
    pub(crate) allowed_models: Option<Vec<String>>,
    pub(crate) limits: Option<Vec<Limit>>,
}

impl Keyring {
    /// Makes a key. Its secret is nowhere but in the answer.
    pub(crate) fn create(&self, draft: Draft, now: SystemTime) -> Result<(Arc<Record>, SecretString), Error> {
        let writing = self.begin();
        self.add(draft, now, &writing)
    }

    /// The key of a newcomer: made if there is no other way in, that is, at the first start without an admin key.
    pub(crate) fn create_first(&self, now: SystemTime) -> Result<Option<SecretString>, Error> {
        let writing = self.begin();
        if self.admin.is_some() || self.read(|records| !records.is_empty()) {
            return Ok(None);
        }
        let draft = Draft {
            name: "first key".to_owned(),
            tenant: DEFAULT_TENANT.to_owned(),
            scopes: vec![Scope::Admin, Scope::Inference],
            allowed_models: Vec::new(),
            limits: Vec::new(),
            expires_at: None,
            metadata: BTreeMap::new(),
        };
        self.add(draft, now, &writing).map(|(_, secret)| Some(secret))
    }

    /// Changes the fields given.
    pub(crate) fn update(&self, id: &str, edit: Edit) -> Result<Arc<Record>, Error> {
        self.change(id, |record| {
            if record.revoked_at.is_some() {
                return Err(Error::Conflict("the key is revoked"));
            }
            let principal = &mut record.principal;
            let before = principal.clone();
            principal.name = edit.name.unwrap_or_else(|| before.name.clone());
            principal.allowed_models = edit.allowed_models.unwrap_or_else(|| before.allowed_models.clone());
            principal.limits = edit.limits.unwrap_or_else(|| before.limits.clone());
            Ok(*principal != before)
        })
    }

    /// Gives the key another secret; the old one stays good for `grace`.
    pub(crate) fn rotate(
        &self,
        id: &str,
        grace: Duration,
        now: SystemTime,
    ) -> Result<(Arc<Record>, SecretString), Error> {
        let secret = key::new_key(id, random()?);
        let record = self.change(id, |record| {
            record.check_alive(now).map_err(|_| Error::Conflict("the key is revoked or has expired"))?;
            record.rotate(self.pepper.digest(secret.expose_secret().as_bytes()), grace, now);
            if record.former.len() > FORMER_SECRETS_MAX {
                return Err(Error::Conflict(
                    "too many old secrets of this key are in their grace period; rotate with a shorter one",
                ));
            }
            Ok(true)
        })?;
        Ok((record, secret))
    }

    /// Ends a key for good. Again: the same answer, and nothing happens.
    pub(crate) fn revoke(&self, id: &str, now: SystemTime) -> Result<Arc<Record>, Error> {
        self.change(id, |record| {
            if record.revoked_at.is_some() {
                return Ok(false);
            }
            let locks_out =
                record.is_live_admin(now) && self.admin.is_none() && !self.has_stored_admin_beside(id, now);
            if locks_out {
                return Err(Error::Conflict(
                    "this is the last admin key, and PENSTOCK_ADMIN_KEY is not set: without it nobody could \
                     manage keys. Create another admin key first",
                ));
            }
            record.revoked_at = Some(now);
            Ok(true)
        })
    }

    fn begin(&self) -> MutexGuard<'_, ()> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(
        &self,
        draft: Draft,
        now: SystemTime,
        _writing: &MutexGuard<'_, ()>,
    ) -> Result<(Arc<Record>, SecretString), Error> {
        if self.read(|records| records.len() >= KEYS_MAX) {
            return Err(Error::Conflict("the key store is full"));
        }
        let id = loop {
            let id = key::new_id(random()?);
            if self.get(&id).is_none() {
                break id;
            }
        };
        let secret = key::new_key(&id, random()?);
        let record = self.commit(Record {
            principal: Principal {
                key_id: id,
                tenant: draft.tenant,
                name: draft.name,
                scopes: draft.scopes,
                allowed_models: draft.allowed_models,
                limits: draft.limits,
                expires_at: draft.expires_at,
                metadata: draft.metadata,
            },
            created_at: now,
            revoked_at: None,
            secret: self.pepper.digest(secret.expose_secret().as_bytes()),
            former: Vec::new(),
        })?;
        Ok((record, secret))
    }

    /// Applies `edit`; false from it: there is nothing to change.
    fn change(
        &self,
        id: &str,
        edit: impl FnOnce(&mut Record) -> Result<bool, Error>,
    ) -> Result<Arc<Record>, Error> {
        let _writing = self.begin();
        let current = self.get(id).ok_or(Error::NotFound)?;
        let mut changed = (*current).clone();
        if !edit(&mut changed)? {
            return Ok(current);
        }
        let changed = self.commit(changed)?;
        // Fails only if nobody watches.
        let _ = self.changes.send(id.to_owned());
        Ok(changed)
    }
}

fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(Error::Random)?;
    Ok(bytes)
}
