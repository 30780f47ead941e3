//! What every key store must do, whatever it is made of. `open` opens the same store again and again.

use super::{Contents, KeyStore};
use crate::{
    pepper::Pepper,
    record::tests::{at, record},
};

/// Runs the whole suite against fresh stores that `fresh` makes.
pub(crate) fn check<S: KeyStore, O: FnMut() -> S>(fresh: impl Fn() -> O) {
    a_fresh_store_is_empty(fresh());
    what_was_put_is_there_after_reopening(fresh());
    a_record_replaces_the_one_with_its_id(fresh());
    the_pepper_is_remembered(fresh());
    many_writers_lose_nothing(fresh());
    a_probe_changes_nothing(fresh());
}

fn sorted(contents: Contents) -> Vec<String> {
    let mut printed: Vec<_> = contents.records.iter().map(|record| format!("{record:?}")).collect();
    printed.sort();
    printed
}

fn a_fresh_store_is_empty<S: KeyStore>(mut open: impl FnMut() -> S) {
    let contents = open().load().unwrap();
    assert!(contents.records.is_empty() && contents.pepper.is_none());
}

fn what_was_put_is_there_after_reopening<S: KeyStore>(mut open: impl FnMut() -> S) {
    let pepper = Pepper::generate().unwrap();
    let mut full = record("b");
    full.secret = pepper.digest(b"first");
    full.rotate(pepper.digest(b"second"), std::time::Duration::from_secs(9), at(3));
    full.revoked_at = Some(at(7));
    let mut bare = record("a");
    bare.principal.allowed_models.clear();
    bare.principal.limits.clear();
    bare.principal.expires_at = None;
    bare.principal.metadata.clear();
    let store = open();
    store.put(&full).unwrap();
    store.put(&bare).unwrap();
    drop(store);
    let contents = open().load().unwrap();
    let loaded = contents.records.iter().find(|record| record.principal.key_id == "b").unwrap();
    assert!(loaded.secret.matches(&pepper.digest(b"second")));
    assert!(loaded.former[0].digest.matches(&pepper.digest(b"first")));
    assert_eq!(sorted(contents), [format!("{bare:?}"), format!("{full:?}")]);
}

fn a_record_replaces_the_one_with_its_id<S: KeyStore>(mut open: impl FnMut() -> S) {
    let store = open();
    let mut changed = record("a");
    store.put(&changed).unwrap();
    changed.principal.name = "another".into();
    store.put(&changed).unwrap();
    assert_eq!(sorted(store.load().unwrap()), [format!("{changed:?}")]);
}

fn the_pepper_is_remembered<S: KeyStore>(mut open: impl FnMut() -> S) {
    let fingerprint = Pepper::generate().unwrap().fingerprint();
    open().set_pepper(&fingerprint).unwrap();
    assert!(open().load().unwrap().pepper.unwrap().matches(&fingerprint));
}

fn many_writers_lose_nothing<S: KeyStore>(mut open: impl FnMut() -> S) {
    let store = open();
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let store = &store;
            scope.spawn(move || (0..5).for_each(|n| store.put(&record(&format!("{writer}-{n}"))).unwrap()));
        }
    });
    assert_eq!(store.load().unwrap().records.len(), 20);
}

fn a_probe_changes_nothing<S: KeyStore>(mut open: impl FnMut() -> S) {
    let fingerprint = Pepper::generate().unwrap().fingerprint();
    let store = open();
    store.put(&record("a")).unwrap();
    store.set_pepper(&fingerprint).unwrap();
    for _ in 0..3 {
        store.probe_write().unwrap();
        store.probe_read().unwrap();
    }
    drop(store);
    let contents = open().load().unwrap();
    assert!(contents.pepper.as_ref().unwrap().matches(&fingerprint));
    assert_eq!(sorted(contents), [format!("{:?}", record("a"))]);
}
