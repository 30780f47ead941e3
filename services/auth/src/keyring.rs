//! All keys, in memory and in the store. Reading never waits for the store; a change is made durable first,
//! then visible, then told to whoever watches. Calls that change something block.

mod changes;

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::SystemTime,
};

use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::broadcast;

pub(crate) use self::changes::{Draft, Edit};
use crate::{
    Error,
    key::Credential,
    pepper::{Digest, Pepper},
    record::{Principal, Record, Refusal, Scope},
    store::{Contents, KeyStore},
};

/// Public id of the admin key that the environment gives. No stored key can have it.
pub(crate) const ADMIN_ID: &str = "admin-env";
/// Tenant of keys that name none.
pub(crate) const DEFAULT_TENANT: &str = "default";
/// Changes that a watcher may be behind by. A script that revokes hundreds of keys at once fits; who lags
/// more is told so and starts anew.
const CHANGES_BEHIND_MAX: usize = 1024;

type Records = HashMap<String, Arc<Record>>;

/// Who a credential stands for, and until when.
#[derive(Debug)]
pub(crate) struct Verdict {
    pub(crate) principal: Principal,
    /// When the credential ends by itself; `None`: never.
    pub(crate) until: Option<SystemTime>,
}

/// How a store is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StoreState {
    /// It can be written and read.
    Works,
    /// It can be read.
    Unwritable,
    /// It can be written.
    Unreadable,
    /// It can be neither read nor written.
    Lost,
}

struct Admin {
    digest: Digest,
    principal: Principal,
}

/// Every key.
pub(crate) struct Keyring {
    store: Box<dyn KeyStore>,
    pepper: Pepper,
    admin: Option<Admin>,
    records: RwLock<Records>,
    /// Held by whoever changes something, from looking at the records until the change is visible.
    writing: Mutex<()>,
    changes: broadcast::Sender<String>,
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring").field("store", &self.store).finish_non_exhaustive()
    }
}

impl Keyring {
    /// A keyring over what the store holds. `admin_key`: the admin key that is not in the store.
    pub(crate) fn new(
        store: Box<dyn KeyStore>,
        contents: Contents,
        pepper: Pepper,
        admin_key: Option<&SecretString>,
    ) -> Self {
        let records = contents.records.into_iter();
        let records = records.map(|record| (record.principal.key_id.clone(), Arc::new(record))).collect();
        let admin = admin_key.map(|key| Admin {
            digest: pepper.digest(key.expose_secret().as_bytes()),
            principal: admin_principal(),
        });
        Self {
            store,
            pepper,
            admin,
            records: RwLock::new(records),
            writing: Mutex::new(()),
            changes: broadcast::Sender::new(CHANGES_BEHIND_MAX),
        }
    }

    /// Who presents this credential.
    ///
    /// # Errors
    /// The cause, for metrics and logs; callers are never told.
    pub(crate) fn authenticate(&self, credential: SecretString, now: SystemTime) -> Result<Verdict, Refusal> {
        let credential = Credential::of(credential).ok_or(Refusal::Malformed)?;
        let digest = self.pepper.digest(credential.text().expose_secret().as_bytes());
        if let Some(admin) = self.admin.as_ref().filter(|admin| admin.digest.matches(&digest)) {
            return Ok(Verdict { principal: admin.principal.clone(), until: None });
        }
        let id = credential.id().ok_or(Refusal::Malformed)?;
        let record = self.get(id).ok_or(Refusal::Unknown)?;
        let until = record.verify(&digest, now)?;
        Ok(Verdict { principal: record.principal.clone(), until })
    }

    /// The key with this id.
    pub(crate) fn get(&self, id: &str) -> Option<Arc<Record>> {
        self.read(|records| records.get(id).cloned())
    }

    /// Every key, oldest first.
    pub(crate) fn list(&self) -> Vec<Arc<Record>> {
        let mut all: Vec<_> = self.read(|records| records.values().cloned().collect());
        all.sort_by(|a, b| (a.created_at, &a.principal.key_id).cmp(&(b.created_at, &b.principal.key_id)));
        all
    }

    /// The ids of keys that change from now on.
    pub(crate) fn watch(&self) -> broadcast::Receiver<String> {
        self.changes.subscribe()
    }

    /// How the store is, by a write that changes no key and a read.
    pub(crate) fn probe_store(&self) -> StoreState {
        let written = {
            let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
            self.store.probe_write()
        };
        match (written, self.store.probe_read()) {
            (Ok(()), Ok(())) => StoreState::Works,
            (Ok(()), Err(_)) => StoreState::Unreadable,
            (Err(_), Ok(())) => StoreState::Unwritable,
            (Err(_), Err(_)) => StoreState::Lost,
        }
    }

    /// Whether anybody can manage keys now.
    pub(crate) fn has_admin(&self, now: SystemTime) -> bool {
        self.admin.is_some() || self.has_stored_admin_beside("", now)
    }

    /// Whether the store holds an admin key that is good now, other than the one with this id.
    fn has_stored_admin_beside(&self, id: &str, now: SystemTime) -> bool {
        self.read(|records| {
            records.values().any(|record| record.principal.key_id != id && record.is_live_admin(now))
        })
    }

    fn read<T>(&self, look: impl FnOnce(&Records) -> T) -> T {
        look(&self.records.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes a record durable, then visible. The caller holds `writing`.
    fn commit(&self, record: Record) -> Result<Arc<Record>, Error> {
        self.store.put(&record)?;
        let record = Arc::new(record);
        let id = record.principal.key_id.clone();
        self.records.write().unwrap_or_else(PoisonError::into_inner).insert(id, Arc::clone(&record));
        Ok(record)
    }
}

fn admin_principal() -> Principal {
    Principal {
        key_id: ADMIN_ID.to_owned(),
        tenant: DEFAULT_TENANT.to_owned(),
        name: "admin key of the environment".to_owned(),
        scopes: vec![Scope::Admin, Scope::Inference],
        allowed_models: Vec::new(),
        limits: Vec::new(),
        expires_at: None,
        metadata: std::collections::BTreeMap::new(),
    }
}

#[cfg(test)]
pub(crate) mod tests;
