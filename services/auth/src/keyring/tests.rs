//! Tests of the keyring over a store in memory that can be made to fail.

use std::{
    sync::{
        Barrier,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::sync::broadcast::error::TryRecvError;

use super::*;
use crate::{key, record::tests::at};

/// A store in memory that can be made to fail.
#[derive(Debug, Default)]
pub(crate) struct MemoryStore {
    records: Mutex<HashMap<String, Record>>,
    pub(crate) broken: AtomicBool,
    pub(crate) lost: AtomicBool,
    pub(crate) probes: AtomicU32,
}

impl KeyStore for Arc<MemoryStore> {
    fn load(&self) -> Result<Contents, Error> {
        Ok(Contents { records: self.records.lock().unwrap().values().cloned().collect(), pepper: None })
    }

    fn set_pepper(&self, _: &Digest) -> Result<(), Error> {
        if self.broken.load(Ordering::Relaxed) { Err(Error::Write("disk full".into())) } else { Ok(()) }
    }

    fn put(&self, record: &Record) -> Result<(), Error> {
        if self.broken.load(Ordering::Relaxed) {
            return Err(Error::Write("disk full".into()));
        }
        self.records.lock().unwrap().insert(record.principal.key_id.clone(), record.clone());
        Ok(())
    }

    fn probe_write(&self) -> Result<(), Error> {
        self.probes.fetch_add(1, Ordering::Relaxed);
        if self.broken.load(Ordering::Relaxed) { Err(Error::Write("disk full".into())) } else { Ok(()) }
    }

    fn probe_read(&self) -> Result<(), Error> {
        if self.lost.load(Ordering::Relaxed) { Err(Error::Write("disk gone".into())) } else { Ok(()) }
    }
}

pub(crate) const ADMIN_KEY: &str = "correct horse battery staple";

pub(crate) fn keyring(admin_key: Option<&str>) -> (Keyring, Arc<MemoryStore>) {
    let store = Arc::new(MemoryStore::default());
    let contents = store.load().unwrap();
    let admin_key = admin_key.map(SecretString::from);
    let keyring =
        Keyring::new(Box::new(store.clone()), contents, Pepper::generate().unwrap(), admin_key.as_ref());
    (keyring, store)
}

pub(crate) fn draft(scopes: &[Scope]) -> Draft {
    Draft {
        name: "a".into(),
        tenant: "acme".into(),
        scopes: scopes.to_vec(),
        allowed_models: vec![],
        limits: vec![],
        expires_at: Some(at(1000)),
        metadata: std::collections::BTreeMap::new(),
    }
}

fn ask(keyring: &Keyring, credential: &str, seconds: u64) -> Result<Verdict, Refusal> {
    keyring.authenticate(SecretString::from(credential), at(seconds))
}

#[test]
fn a_key_is_good_until_it_expires() {
    let (keyring, _) = keyring(None);
    let (record, secret) = keyring.create(draft(&[Scope::Inference]), at(1)).unwrap();
    let verdict = ask(&keyring, secret.expose_secret(), 999).unwrap();
    assert_eq!((verdict.principal, verdict.until), (record.principal.clone(), Some(at(1000))));
    assert_eq!(ask(&keyring, secret.expose_secret(), 1000).unwrap_err(), Refusal::Expired);
}

/// B1, B2, B3: nothing but the whole key is the key.
#[test]
fn what_only_resembles_a_key_is_refused() {
    let (keyring, _) = keyring(Some(ADMIN_KEY));
    let (record, secret) = keyring.create(draft(&[Scope::Inference]), at(1)).unwrap();
    let secret = secret.expose_secret();
    let id = &record.principal.key_id;
    let forged = key::new_key(id, [0; key::SECRET_RANDOM]);
    assert_eq!(ask(&keyring, forged.expose_secret(), 2).unwrap_err(), Refusal::WrongSecret);
    let unknown = key::new_key("aaaaaaaaaaaa", [0; key::SECRET_RANDOM]);
    assert_eq!(ask(&keyring, unknown.expose_secret(), 2).unwrap_err(), Refusal::Unknown);
    let upper = secret.to_uppercase();
    let spaced = format!("{secret} ");
    let long = "x".repeat(100_000);
    let cut = &secret[..secret.len() - 1];
    for wrong in ["", " ", "*", "' OR 1=1 --", "\r\n", id, cut, &upper, &spaced, &long, &ADMIN_KEY[1..]] {
        assert_eq!(ask(&keyring, wrong, 2).unwrap_err(), Refusal::Malformed, "{wrong:.60}");
    }
}

#[test]
fn the_admin_key_of_the_environment_is_known_and_never_stored() {
    let (keyring, store) = keyring(Some(ADMIN_KEY));
    let verdict = ask(&keyring, ADMIN_KEY, 1).unwrap();
    assert_eq!((verdict.principal.key_id.as_str(), verdict.principal.tenant.as_str()), (ADMIN_ID, "default"));
    assert!(verdict.principal.may(Scope::Admin) && verdict.principal.may(Scope::Inference));
    assert_eq!(verdict.until, None);
    assert!(keyring.create_first(at(1)).unwrap().is_none());
    assert!(store.records.lock().unwrap().is_empty());
    assert!(matches!(keyring.revoke(ADMIN_ID, at(1)), Err(Error::NotFound)));
}

#[test]
fn the_admin_key_may_have_the_form_of_a_key() {
    let key = key::new_key("aaaaaaaaaaaa", [3; key::SECRET_RANDOM]);
    let (keyring, _) = keyring(Some(key.expose_secret()));
    assert_eq!(ask(&keyring, key.expose_secret(), 1).unwrap().principal.key_id, ADMIN_ID);
}

#[test]
fn the_first_key_is_made_once() {
    let (keyring, _) = keyring(None);
    assert!(!keyring.has_admin(at(1)));
    let secret = keyring.create_first(at(1)).unwrap().unwrap();
    let principal = ask(&keyring, secret.expose_secret(), 1).unwrap().principal;
    assert_eq!(principal.name, "first key");
    assert!(principal.may(Scope::Admin) && principal.may(Scope::Inference));
    assert!(keyring.create_first(at(2)).unwrap().is_none());
    assert!(keyring.has_admin(at(2)));
}

/// B5: a revoked key is refused at once, and whoever memoised it is told.
#[test]
fn revoking_takes_effect_at_once_and_twice_is_once() {
    let (keyring, _) = keyring(Some(ADMIN_KEY));
    let (record, secret) = keyring.create(draft(&[Scope::Inference]), at(1)).unwrap();
    let id = &record.principal.key_id;
    let mut watcher = keyring.watch();
    assert_eq!(keyring.revoke(id, at(5)).unwrap().revoked_at, Some(at(5)));
    assert_eq!(ask(&keyring, secret.expose_secret(), 5).unwrap_err(), Refusal::Revoked);
    assert_eq!(keyring.revoke(id, at(9)).unwrap().revoked_at, Some(at(5)));
    assert_eq!(watcher.try_recv().as_ref(), Ok(id));
    assert_eq!(watcher.try_recv(), Err(TryRecvError::Empty));
    assert!(matches!(keyring.update(id, Edit::default()), Err(Error::Conflict(_))));
    assert!(matches!(keyring.rotate(id, Duration::ZERO, at(9)), Err(Error::Conflict(_))));
    assert!(matches!(keyring.revoke("nobody", at(9)), Err(Error::NotFound)));
}

/// F12: what cannot be made durable is not done, and reading goes on.
#[test]
fn what_cannot_be_stored_does_not_happen() {
    let (keyring, store) = keyring(Some(ADMIN_KEY));
    let (record, secret) = keyring.create(draft(&[Scope::Inference]), at(1)).unwrap();
    let id = &record.principal.key_id;
    let mut watcher = keyring.watch();
    store.broken.store(true, Ordering::Relaxed);
    assert!(matches!(keyring.revoke(id, at(2)), Err(Error::Write(_))));
    assert!(matches!(keyring.rotate(id, Duration::ZERO, at(2)), Err(Error::Write(_))));
    assert!(matches!(keyring.create(draft(&[]), at(2)), Err(Error::Write(_))));
    ask(&keyring, secret.expose_secret(), 3).unwrap();
    assert_eq!(keyring.list().len(), 1);
    assert_eq!(watcher.try_recv(), Err(TryRecvError::Empty));
    store.broken.store(false, Ordering::Relaxed);
    keyring.revoke(id, at(4)).unwrap();
}

#[test]
fn rotating_keeps_the_old_secret_for_the_grace_period() {
    let (keyring, _) = keyring(None);
    let (record, old) = keyring.create(draft(&[Scope::Inference]), at(1)).unwrap();
    let id = &record.principal.key_id;
    let mut watcher = keyring.watch();
    let (_, new) = keyring.rotate(id, Duration::from_secs(10), at(100)).unwrap();
    assert_eq!(watcher.try_recv().as_ref(), Ok(id));
    assert_eq!(ask(&keyring, old.expose_secret(), 105).unwrap().until, Some(at(110)));
    assert_eq!(ask(&keyring, old.expose_secret(), 110).unwrap_err(), Refusal::Replaced);
    assert_eq!(ask(&keyring, new.expose_secret(), 110).unwrap().until, Some(at(1000)));
    assert!(matches!(keyring.rotate(id, Duration::ZERO, at(1000)), Err(Error::Conflict(_))));
}

#[test]
fn old_secrets_are_bounded() {
    let (keyring, _) = keyring(None);
    let (record, _) = keyring.create(draft(&[Scope::Inference]), at(1)).unwrap();
    let id = &record.principal.key_id;
    for n in 0..8 {
        keyring.rotate(id, Duration::from_secs(100), at(100 + n)).unwrap();
    }
    assert!(matches!(keyring.rotate(id, Duration::from_secs(100), at(110)), Err(Error::Conflict(_))));
    keyring.rotate(id, Duration::ZERO, at(110)).unwrap();
}

#[test]
fn updating_changes_what_is_given_and_tells() {
    let (keyring, _) = keyring(None);
    let (record, secret) = keyring.create(draft(&[Scope::Inference]), at(1)).unwrap();
    let id = &record.principal.key_id;
    let mut watcher = keyring.watch();
    let edit = Edit { allowed_models: Some(vec!["m".into()]), ..Edit::default() };
    keyring.update(id, edit.clone()).unwrap();
    let principal = ask(&keyring, secret.expose_secret(), 2).unwrap().principal;
    assert_eq!((principal.name.as_str(), principal.allowed_models), ("a", vec!["m".to_owned()]));
    assert_eq!(watcher.try_recv().as_ref(), Ok(id));
    keyring.update(id, edit).unwrap();
    assert_eq!(watcher.try_recv(), Err(TryRecvError::Empty), "nothing changed");
}

#[test]
fn the_last_admin_key_cannot_be_revoked_unless_the_environment_has_one() {
    let (without, _) = keyring(None);
    without.create_first(at(1)).unwrap();
    let first = without.list()[0].principal.key_id.clone();
    without.create(draft(&[Scope::Inference]), at(2)).unwrap();
    assert!(matches!(without.revoke(&first, at(3)), Err(Error::Conflict(_))));
    let (second, _) = without.create(draft(&[Scope::Admin]), at(4)).unwrap();
    assert!(matches!(without.revoke(&first, at(1000)), Err(Error::Conflict(_))), "the second has expired");
    without.revoke(&first, at(5)).unwrap();
    assert!(matches!(without.revoke(&second.principal.key_id, at(6)), Err(Error::Conflict(_))));

    let (with, _) = keyring(Some(ADMIN_KEY));
    let (only, _) = with.create(draft(&[Scope::Admin]), at(1)).unwrap();
    with.revoke(&only.principal.key_id, at(2)).unwrap();
}

#[test]
fn of_two_admins_revoked_at_once_one_stays() {
    for _ in 0..50 {
        let (keyring, _) = keyring(None);
        let ids =
            [1, 2].map(|n| keyring.create(draft(&[Scope::Admin]), at(n)).unwrap().0.principal.key_id.clone());
        let start = Barrier::new(2);
        let revoked: usize = std::thread::scope(|scope| {
            let threads = ids.each_ref().map(|id| {
                scope.spawn(|| {
                    start.wait();
                    usize::from(keyring.revoke(id, at(9)).is_ok())
                })
            });
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(revoked, 1);
        assert!(keyring.has_admin(at(9)));
    }
}

#[test]
fn keys_are_listed_oldest_first() {
    let (keyring, _) = keyring(None);
    for seconds in [5, 3, 9, 1] {
        keyring.create(draft(&[Scope::Inference]), at(seconds)).unwrap();
    }
    let made: Vec<_> = keyring.list().iter().map(|record| record.created_at).collect();
    assert_eq!(made, [1, 3, 5, 9].map(at));
}
