//! What every store of objects must do, whatever it is made of. `Fresh` makes stores and opens them again.

use std::time::Duration;

use super::{Bounds, Head, Object, ObjectStore, Place, Probe, Query};
use crate::Error;

/// Makes stores for the suite.
pub(super) trait Fresh {
    type Store: ObjectStore;

    /// An empty store.
    fn fresh(&self, bounds: Bounds) -> Self::Store;

    /// The same store, as a process finds it that starts after this one has ended.
    fn reopened(&self, store: Self::Store) -> Self::Store;
}

pub(super) const BOUNDS: Bounds = Bounds {
    max_bytes: 1 << 20,
    max_bytes_per_tenant: 1 << 20,
    max_entry_bytes: 100_000,
    ttl: Duration::from_secs(1000),
};

const KIND: &str = "chat.completion";

/// Runs the whole suite.
pub(super) async fn check(made: &impl Fresh) {
    what_was_put_is_there_after_reopening(made).await;
    nothing_is_overwritten(made).await;
    tenants_and_kinds_do_not_meet(made).await;
    lists_have_an_order_pages_and_filters(made).await;
    metadata_is_replaced_as_a_whole(made).await;
    what_is_deleted_is_gone(made).await;
    what_is_too_old_is_gone_before_it_is_swept(made).await;
    size_is_bounded_and_the_oldest_go_first(made).await;
    one_tenant_does_not_push_out_another(made).await;
    many_writers_lose_nothing(made).await;
    a_probe_is_no_object(made).await;
}

pub(super) fn place(tenant: &str, id: &str) -> Place {
    Place { tenant: tenant.into(), kind: KIND.into(), id: id.into() }
}

pub(super) fn object(id: &str, created: u64) -> Object {
    let metadata = vec![("k".to_owned(), id.to_owned())];
    let head = Head { created, model: "m".into(), metadata };
    Object { id: id.into(), head, content: format!("content of {id}").into() }
}

pub(super) async fn put(store: &impl ObjectStore, tenant: &str, object: Object) -> Result<(), Error> {
    let now = object.head.created;
    store.put(tenant.into(), KIND.into(), object, now).await
}

pub(super) fn all(tenant: &str) -> Query {
    Query { tenant: tenant.into(), kind: KIND.into(), limit: 100, ..Query::default() }
}

pub(super) async fn ids(store: &impl ObjectStore, query: Query, now: u64) -> (Vec<String>, bool) {
    let page = store.list(query, now).await.unwrap();
    (page.objects.into_iter().map(|object| object.id).collect(), page.has_more)
}

async fn what_was_put_is_there_after_reopening<F: Fresh>(made: &F) {
    let store = made.fresh(BOUNDS);
    let empty = Object { head: Head { created: 2, ..Head::default() }, content: "".into(), ..object("b", 2) };
    put(&store, "t", object("a", 1)).await.unwrap();
    put(&store, "t", empty.clone()).await.unwrap();
    let held = store.held();
    let store = made.reopened(store);
    assert_eq!(store.get(place("t", "a"), 3).await.unwrap(), object("a", 1));
    assert_eq!(store.get(place("t", "b"), 3).await.unwrap(), empty);
    assert_eq!((store.held(), held.objects), (held, 2));
}

async fn nothing_is_overwritten<F: Fresh>(made: &F) {
    let store = made.fresh(BOUNDS);
    put(&store, "t", object("a", 1)).await.unwrap();
    let other = Object { content: "other".into(), ..object("a", 9) };
    assert!(matches!(put(&store, "t", other.clone()).await, Err(Error::Conflict)));
    assert_eq!(store.get(place("t", "a"), 9).await.unwrap(), object("a", 1));
    // What is too old is not there, swept or not.
    let later = Object { head: Head { created: 1001, ..other.head.clone() }, ..other };
    put(&store, "t", later.clone()).await.unwrap();
    assert_eq!(store.get(place("t", "a"), 1001).await.unwrap(), later);
    assert_eq!(store.held().objects, 1);
}

async fn tenants_and_kinds_do_not_meet<F: Fresh>(made: &F) {
    let store = made.fresh(BOUNDS);
    for tenant in ["t", "T", "tt", "t\0"] {
        put(&store, tenant, object("same", 1)).await.unwrap();
    }
    store.put("t".into(), "response".into(), object("same", 1), 1).await.unwrap();
    store.delete(place("t", "same"), 1).await.unwrap();
    assert!(matches!(store.get(place("t", "same"), 1).await, Err(Error::NotFound)));
    assert_eq!(ids(&store, all("t"), 1).await.0, Vec::<String>::new());
    for tenant in ["T", "tt", "t\0"] {
        assert_eq!(ids(&store, all(tenant), 1).await.0, ["same"]);
        store.get(place(tenant, "same"), 1).await.unwrap();
    }
    let response = Place { kind: "response".into(), ..place("t", "same") };
    store.get(response.clone(), 1).await.unwrap();
    for stranger in ["", "x", "t\0\0"] {
        let elsewhere = Place { tenant: stranger.into(), ..response.clone() };
        assert!(matches!(store.get(elsewhere.clone(), 1).await, Err(Error::NotFound)));
        assert!(matches!(store.update(elsewhere.clone(), vec![], 1).await, Err(Error::NotFound)));
        assert!(matches!(store.delete(elsewhere, 1).await, Err(Error::NotFound)));
    }
}

async fn lists_have_an_order_pages_and_filters<F: Fresh>(made: &F) {
    let store = made.fresh(BOUNDS);
    // Not in the order of their names; two of one second.
    for (id, created) in [("c", 1), ("b", 2), ("a", 3), ("e", 3), ("d", 4)] {
        let mut object = object(id, created);
        object.head.model = if id < "c" { "first" } else { "second" }.into();
        object.head.metadata.push(("all".into(), "1".into()));
        put(&store, "t", object).await.unwrap();
    }
    put(&store, "other", object("z", 2)).await.unwrap();
    assert_eq!(ids(&store, all("t"), 5).await, (["c", "b", "a", "e", "d"].map(str::to_owned).into(), false));
    for newest_first in [false, true] {
        let mut expected = ["c", "b", "a", "e", "d"];
        if newest_first {
            expected.reverse();
        }
        for limit in 1..=6 {
            let (mut seen, mut after) = (Vec::new(), None);
            loop {
                let query = Query { limit, newest_first, after: after.take(), ..all("t") };
                let (page, has_more) = ids(&store, query, 5).await;
                assert!(page.len() == limit || !has_more);
                seen.extend(page);
                if !has_more {
                    break;
                }
                after = seen.last().cloned();
            }
            assert_eq!(seen, expected, "{limit} at once, newest first: {newest_first}");
        }
    }
    let first = Query { model: Some("first".into()), ..all("t") };
    assert_eq!(ids(&store, first.clone(), 5).await.0, ["b", "a"]);
    assert_eq!(
        ids(&store, Query { limit: 2, ..first.clone() }, 5).await,
        (vec!["b".into(), "a".into()], false)
    );
    assert_eq!(ids(&store, Query { limit: 1, ..first }, 5).await, (vec!["b".into()], true));
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let with = |metadata| Query { metadata, ..all("t") };
    assert_eq!(ids(&store, with(vec![pair("all", "1"), pair("k", "e")]), 5).await.0, ["e"]);
    assert_eq!(ids(&store, with(vec![pair("all", "2")]), 5).await.0, Vec::<String>::new());
    for stranger in ["z", "nobody", ""] {
        let query = Query { after: Some(stranger.into()), ..all("t") };
        assert!(matches!(store.list(query, 5).await, Err(Error::UnknownCursor)), "{stranger}");
    }
    // Large ones come on pages of their own, and none is left out.
    let large = made.fresh(Bounds {
        max_bytes: 1 << 30,
        max_bytes_per_tenant: 1 << 30,
        max_entry_bytes: 1 << 30,
        ..BOUNDS
    });
    for id in ["a", "b", "c"] {
        let content = vec![7; 3 << 20].into();
        put(&large, "t", Object { content, ..object(id, 1) }).await.unwrap();
    }
    assert_eq!(ids(&large, all("t"), 5).await, (vec!["a".into()], true));
    let rest = Query { after: Some("b".into()), ..all("t") };
    assert_eq!(ids(&large, rest, 5).await, (vec!["c".into()], false));
}

async fn metadata_is_replaced_as_a_whole<F: Fresh>(made: &F) {
    let store = made.fresh(BOUNDS);
    put(&store, "t", object("a", 1)).await.unwrap();
    let before = store.held();
    let long = vec![("x".to_owned(), "y".repeat(512)), ("b".to_owned(), String::new())];
    let changed = store.update(place("t", "a"), long.clone(), 2).await.unwrap();
    assert_eq!((&changed.head.metadata, &changed.content), (&long, &object("a", 1).content));
    assert_eq!(store.get(place("t", "a"), 2).await.unwrap(), changed);
    assert!(store.held().bytes - before.bytes > 512, "the weight follows");
    let store = made.reopened(store);
    let bare = store.update(place("t", "a"), object("a", 1).head.metadata, 2).await.unwrap();
    assert_eq!((bare, store.held()), (object("a", 1), before));
    assert!(matches!(store.update(place("t", "b"), vec![], 2).await, Err(Error::NotFound)));
    assert!(matches!(store.update(place("t", "a"), vec![], 1001).await, Err(Error::NotFound)));
}

async fn what_is_deleted_is_gone<F: Fresh>(made: &F) {
    let store = made.fresh(BOUNDS);
    put(&store, "t", object("a", 1)).await.unwrap();
    put(&store, "t", object("b", 1)).await.unwrap();
    store.delete(place("t", "a"), 1).await.unwrap();
    assert!(matches!(store.delete(place("t", "a"), 1).await, Err(Error::NotFound)));
    let store = made.reopened(store);
    assert!(matches!(store.get(place("t", "a"), 1).await, Err(Error::NotFound)));
    assert_eq!(ids(&store, all("t"), 1).await.0, ["b"]);
    store.delete(place("t", "b"), 1).await.unwrap();
    assert_eq!((store.held().objects, store.held().bytes), (0, 0));
    put(&store, "t", object("a", 2)).await.unwrap();
}

async fn what_is_too_old_is_gone_before_it_is_swept<F: Fresh>(made: &F) {
    let store = made.fresh(BOUNDS);
    put(&store, "t", object("old", 1)).await.unwrap();
    put(&store, "u", object("young", 2)).await.unwrap();
    store.get(place("t", "old"), 1000).await.unwrap();
    store.sweep(1000).await.unwrap();
    assert_eq!(store.held().objects, 2);
    assert!(matches!(store.get(place("t", "old"), 1001).await, Err(Error::NotFound)));
    assert!(matches!(store.delete(place("t", "old"), 1001).await, Err(Error::NotFound)));
    assert_eq!(ids(&store, all("t"), 1001).await.0, Vec::<String>::new());
    let after = Query { after: Some("old".into()), ..all("t") };
    assert!(matches!(store.list(after, 1001).await, Err(Error::UnknownCursor)));
    assert_eq!(store.held().objects, 2);
    store.sweep(1001).await.unwrap();
    assert_eq!(store.held().objects, 1);
    put(&store, "t", object("new", 1002)).await.unwrap();
    assert_eq!(store.held().objects, 1, "what is put takes the place of what is too old");
    let store = made.fresh(BOUNDS);
    put(&store, "u", object("young", 2)).await.unwrap();
    store.get(place("u", "young"), 1001).await.unwrap();
}

/// G8.
async fn size_is_bounded_and_the_oldest_go_first<F: Fresh>(made: &F) {
    let bounds = Bounds { max_bytes: 20_000, max_bytes_per_tenant: 20_000, max_entry_bytes: 5000, ..BOUNDS };
    let store = made.fresh(bounds);
    for n in 0..50_u64 {
        let tenant = if n % 2 == 0 { "even" } else { "odd" };
        let content = vec![0; 2000].into();
        put(&store, tenant, Object { content, ..object(&format!("{n:02}"), n + 1) }).await.unwrap();
        assert!(store.held().bytes <= bounds.max_bytes, "{:?}", store.held());
    }
    let left = |ids: Vec<String>| ids.iter().map(|id| id.parse::<u64>().unwrap()).min().unwrap();
    let (even, odd) = (ids(&store, all("even"), 50).await.0, ids(&store, all("odd"), 50).await.0);
    assert!((7..10).contains(&(even.len() + odd.len())), "{even:?} {odd:?}");
    assert_eq!(left(even).abs_diff(left(odd)), 1, "of all the oldest went");
    let large = Object { content: vec![0; 5001].into(), ..object("large", 60) };
    assert!(matches!(put(&store, "even", large).await, Err(Error::TooLarge)));
    assert!(store.held().objects >= 7, "nothing had to go for it");
}

async fn one_tenant_does_not_push_out_another<F: Fresh>(made: &F) {
    let bounds = Bounds { max_bytes: 100_000, max_bytes_per_tenant: 10_000, ..BOUNDS };
    let store = made.fresh(bounds);
    put(&store, "modest", object("mine", 1)).await.unwrap();
    for n in 0..50_u64 {
        let greedy = Object { content: vec![0; 2000].into(), ..object(&format!("{n:02}"), n + 2) };
        // Over kinds, too: the share is the tenant's.
        let kind = if n % 2 == 0 { KIND } else { "response" };
        store.put("greedy".into(), kind.into(), greedy, n + 2).await.unwrap();
    }
    store.get(place("modest", "mine"), 60).await.unwrap();
    let response = Query { kind: "response".into(), ..all("greedy") };
    let left = [ids(&store, all("greedy"), 60).await.0, ids(&store, response, 60).await.0].concat();
    assert_eq!(left.len(), 4, "{left:?}");
    assert!(left.iter().all(|id| id.as_str() >= "46"), "{left:?}");
}

async fn many_writers_lose_nothing<F: Fresh>(made: &F) {
    let store = made.fresh(BOUNDS);
    let names: Vec<_> = (0..20).map(|n| format!("{n:02}")).collect();
    let puts = names.iter().map(|name| put(&store, "t", object(name, 1)));
    for outcome in futures_util::future::join_all(puts).await {
        outcome.unwrap();
    }
    assert_eq!(ids(&store, all("t"), 1).await.0, names);
}

async fn a_probe_is_no_object<F: Fresh>(made: &F) {
    let store = made.fresh(BOUNDS);
    assert_eq!((store.probe().await, store.held().objects), (Probe::Works, 0));
    put(&store, "t", object("a", 1)).await.unwrap();
    let held = store.held();
    assert_eq!((store.probe().await, store.held()), (Probe::Works, held));
    let store = made.reopened(store);
    assert_eq!((store.probe().await, store.held()), (Probe::Works, held));
    assert_eq!(ids(&store, all("t"), 1).await.0, ["a"]);
    assert_eq!(ids(&store, all(""), 1).await.0, Vec::<String>::new());
}
