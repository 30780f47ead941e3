//! The service as its callers see it: generated clients over a local channel, a real store in a directory.

use std::{collections::HashSet, path::Path, task::Poll, time::Duration};

use penstock_chassis::Channel;
use penstock_proto::{
    Reason,
    auth::v1::{
        AuthenticateRequest, AuthenticateResponse, CreateRequest, GetRequest, KeyLimits, ListRequest,
        RevokeRequest, RotateRequest, UpdateRequest, WatchRevocationsRequest, WatchRevocationsResponse,
        auth_client::AuthClient, keys_client::KeysClient,
    },
    ratelimit::v1::{Limit, Unit},
    status::v1::State,
};
use secrecy::ExposeSecret as _;
use tonic::{Code, Request, Status, Streaming};

use super::*;
use crate::record::tests::at;

const ADMIN_KEY: &str = "correct horse battery staple";
const MEMO_TTL: Duration = Duration::from_secs(30);

struct Mesh {
    auth: AuthClient<Channel>,
    keys: KeysClient<Channel>,
    chassis: Chassis,
    first_key: Option<String>,
}

async fn mesh(data_dir: &Path, admin_key: Option<&str>) -> Mesh {
    let chassis = Chassis::default();
    let admin_key = admin_key.map(SecretString::from);
    let config = Config { data_dir: data_dir.to_owned(), memo_ttl: MEMO_TTL, admin_key };
    let started = start_at(config, &chassis, || at(1000)).await.unwrap();
    chassis.health.started();
    let channel = Channel::local(started.routes, &chassis);
    Mesh {
        auth: AuthClient::new(channel.clone()),
        keys: KeysClient::new(channel),
        chassis,
        first_key: started.first_key.map(|key| key.expose_secret().to_owned()),
    }
}

impl Mesh {
    async fn is_up(&self) {
        while self.chassis.health.report().state() != State::Up {
            tokio::task::yield_now().await;
        }
    }

    async fn ask(&self, credential: &str) -> Result<AuthenticateResponse, Status> {
        let request = AuthenticateRequest { credential: credential.to_owned() };
        Ok(self.auth.clone().authenticate(request).await?.into_inner())
    }

    /// The id and the secret of a new key.
    async fn create(&self, request: CreateRequest) -> Result<(String, String), Status> {
        let made = self.keys.clone().create(by(ADMIN_KEY, request)).await?.into_inner();
        Ok((made.key.unwrap().principal.unwrap().key_id, made.secret))
    }

    async fn watch(&self) -> Streaming<WatchRevocationsResponse> {
        let mut events =
            self.auth.clone().watch_revocations(WatchRevocationsRequest {}).await.unwrap().into_inner();
        assert_eq!(event(&mut events).await, "", "it says at once that it listens");
        events
    }
}

async fn event(events: &mut Streaming<WatchRevocationsResponse>) -> String {
    events.message().await.unwrap().expect("the stream goes on").key_id
}

fn by<T>(credential: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let value = format!("Bearer {credential}").parse().unwrap();
    request.metadata_mut().insert(penstock_proto::metadata::AUTHORIZATION, value);
    request
}

fn named(name: &str) -> CreateRequest {
    CreateRequest { name: name.into(), ..CreateRequest::default() }
}

fn reason(status: &Status) -> Reason {
    penstock_proto::Error::from(status).reason
}

#[tokio::test]
async fn the_first_key_works_and_outlives_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let first = mesh(directory.path(), None).await;
    let key = first.first_key.clone().unwrap();
    let principal = first.ask(&key).await.unwrap().principal.unwrap();
    assert_eq!(principal.scopes, ["admin", "inference"]);
    assert_eq!((principal.tenant.as_str(), principal.name.as_str()), ("default", "first key"));
    let made = first.keys.clone().create(by(&key, named("a"))).await.unwrap().into_inner();
    let id = made.key.unwrap().principal.unwrap().key_id;
    first.keys.clone().revoke(by(&key, RevokeRequest { key_id: id })).await.unwrap();
    // The check of the store has it open, too, until the tasks have stopped; a probe that runs is waited for.
    first.is_up().await;
    first.chassis.tasks.stop(Duration::from_secs(5)).await;
    drop(first);

    let second = mesh(directory.path(), None).await;
    assert!(second.first_key.is_none());
    assert_eq!(second.ask(&key).await.unwrap().principal, Some(principal));
    assert_eq!(second.ask(&made.secret).await.unwrap_err().code(), Code::Unauthenticated);
    let listed = second.keys.clone().list(by(&key, ListRequest {})).await.unwrap().into_inner().keys;
    assert_eq!(listed.iter().filter(|key| key.revoked_at.is_some()).count(), 1);
}

/// B1, B4: nobody learns why.
#[tokio::test]
async fn every_refusal_reads_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let mesh = mesh(directory.path(), Some(ADMIN_KEY)).await;
    let (id, revoked) = mesh.create(named("revoked")).await.unwrap();
    mesh.keys.clone().revoke(by(ADMIN_KEY, RevokeRequest { key_id: id.clone() })).await.unwrap();
    let forged = key::new_key(&id, [1; key::SECRET_RANDOM]);
    let unknown = key::new_key("aaaaaaaaaaaa", [1; key::SECRET_RANDOM]);
    let long = "x".repeat(100_000);
    let mut seen = HashSet::new();
    for credential in
        ["", "sk-", "a wrong admin key", &long, &revoked, forged.expose_secret(), unknown.expose_secret()]
    {
        let status = mesh.ask(credential).await.unwrap_err();
        assert_eq!(reason(&status), Reason::InvalidApiKey);
        seen.insert((status.code() as i32, status.message().to_owned(), status.details().to_vec()));
    }
    assert_eq!(seen.len(), 1);
    let metrics = mesh.chassis.metrics.encode().unwrap();
    for verdict in ["malformed", "unknown", "wrong_secret", "revoked", "accepted"] {
        assert!(
            metrics.contains(&format!("penstock_auth_verdicts_total{{verdict=\"{verdict}\"}}")),
            "{metrics}"
        );
    }
}

#[tokio::test]
async fn a_verdict_is_never_valid_beyond_the_end_of_the_key() {
    let directory = tempfile::tempdir().unwrap();
    let mesh = mesh(directory.path(), Some(ADMIN_KEY)).await;
    let valid_for = |answer: AuthenticateResponse| answer.valid_for.unwrap().seconds;
    assert_eq!(valid_for(mesh.ask(ADMIN_KEY).await.unwrap()), 30);
    for (end, expected) in [(1010, 10), (1030, 30), (9000, 30)] {
        let request = CreateRequest { expires_at: Some(at(end).into()), ..named("short") };
        let (id, secret) = mesh.create(request).await.unwrap();
        assert_eq!(valid_for(mesh.ask(&secret).await.unwrap()), expected);
        let grace_period = Some(prost_types::Duration { seconds: 5, nanos: 0 });
        let rotate = RotateRequest { key_id: id, grace_period };
        let rotated = mesh.keys.clone().rotate(by(ADMIN_KEY, rotate)).await.unwrap().into_inner();
        assert_eq!(valid_for(mesh.ask(&secret).await.unwrap()), 5, "in its grace period");
        assert_eq!(valid_for(mesh.ask(&rotated.secret).await.unwrap()), expected);
    }
}

#[tokio::test]
async fn only_admins_manage_keys() {
    let directory = tempfile::tempdir().unwrap();
    let mesh = mesh(directory.path(), Some(ADMIN_KEY)).await;
    let (key_id, secret) = mesh.create(named("plain")).await.unwrap();
    let mut keys = mesh.keys.clone();
    for (credential, expected) in [("wrong", Reason::InvalidApiKey), (&secret, Reason::PermissionDenied)] {
        let id = || key_id.clone();
        let refusals = [
            // Even what is not valid is not looked at before the caller is known.
            keys.create(by(credential, CreateRequest::default())).await.unwrap_err(),
            keys.get(by(credential, GetRequest { key_id: id() })).await.unwrap_err(),
            keys.list(by(credential, ListRequest {})).await.unwrap_err(),
            keys.update(by(credential, UpdateRequest::default())).await.unwrap_err(),
            keys.rotate(by(credential, RotateRequest { key_id: id(), grace_period: None }))
                .await
                .unwrap_err(),
            keys.revoke(by(credential, RevokeRequest { key_id: id() })).await.unwrap_err(),
        ];
        assert_eq!(refusals.map(|status| reason(&status)), [expected; 6]);
    }
    assert_eq!(reason(&keys.list(ListRequest {}).await.unwrap_err()), Reason::InvalidApiKey);
    mesh.ask(&secret).await.unwrap();
}

#[tokio::test]
async fn every_violation_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let mesh = mesh(directory.path(), Some(ADMIN_KEY)).await;
    let request = CreateRequest {
        tenant: Some("a/b".into()),
        scopes: vec!["root".into()],
        allowed_models: vec!["*a".into()],
        limits: vec![Limit::default()],
        expires_at: Some(at(999).into()),
        ..CreateRequest::default()
    };
    let error = penstock_proto::Error::from(&mesh.create(request).await.unwrap_err());
    assert_eq!(error.reason, Reason::InvalidRequest);
    let fields: Vec<_> = error.violations.iter().map(|violation| violation.field.as_str()).collect();
    assert_eq!(
        fields,
        [
            "name",
            "tenant",
            "scopes[0]",
            "allowed_models[0]",
            "limits[0].unit",
            "limits[0].limit",
            "limits[0].per",
            "expires_at"
        ]
    );
    let mut keys = mesh.keys.clone();
    let missing = keys.get(by(ADMIN_KEY, GetRequest::default())).await.unwrap_err();
    assert_eq!(reason(&missing), Reason::InvalidRequest);
    let unknown = keys.get(by(ADMIN_KEY, GetRequest { key_id: "x".into() })).await.unwrap_err();
    assert_eq!(reason(&unknown), Reason::NotFound);
}

/// B5
#[tokio::test]
async fn every_change_is_told_to_every_watcher_and_holds_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let mesh = mesh(directory.path(), Some(ADMIN_KEY)).await;
    let (mut one, mut two) = (mesh.watch().await, mesh.watch().await);
    let (id, secret) = mesh.create(named("a")).await.unwrap();
    let mut keys = mesh.keys.clone();
    let limit = Limit {
        unit: Unit::Tokens.into(),
        limit: 7,
        per: Some(prost_types::Duration { seconds: 60, nanos: 0 }),
        burst: None,
    };
    let update = UpdateRequest {
        key_id: id.clone(),
        limits: Some(KeyLimits { limits: vec![limit] }),
        ..UpdateRequest::default()
    };
    keys.update(by(ADMIN_KEY, update)).await.unwrap();
    assert_eq!([event(&mut one).await, event(&mut two).await], [id.clone(), id.clone()]);
    assert_eq!(mesh.ask(&secret).await.unwrap().principal.unwrap().limits, [limit]);

    let rotate = RotateRequest { key_id: id.clone(), grace_period: None };
    let rotated = keys.rotate(by(ADMIN_KEY, rotate)).await.unwrap().into_inner().secret;
    assert_eq!([event(&mut one).await, event(&mut two).await], [id.clone(), id.clone()]);
    for secret in [&secret, &rotated] {
        mesh.ask(secret).await.unwrap();
    }

    keys.revoke(by(ADMIN_KEY, RevokeRequest { key_id: id.clone() })).await.unwrap();
    assert_eq!([event(&mut one).await, event(&mut two).await], [id.clone(), id]);
    for secret in [&secret, &rotated] {
        assert_eq!(reason(&mesh.ask(secret).await.unwrap_err()), Reason::InvalidApiKey);
    }
}

#[tokio::test]
async fn watches_end_when_the_process_stops() {
    let directory = tempfile::tempdir().unwrap();
    let mesh = mesh(directory.path(), Some(ADMIN_KEY)).await;
    let mut events = mesh.watch().await;
    mesh.chassis.tasks.draining().cancel();
    assert!(events.message().await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn revoking_at_once_by_many_is_one_revocation() {
    let directory = tempfile::tempdir().unwrap();
    let mesh = mesh(directory.path(), Some(ADMIN_KEY)).await;
    let (id, secret) = mesh.create(named("a")).await.unwrap();
    let mut events = mesh.watch().await;
    let revocations = (0..50).map(|_| {
        let (mut keys, request) = (mesh.keys.clone(), RevokeRequest { key_id: id.clone() });
        async move { keys.revoke(by(ADMIN_KEY, request)).await.unwrap().into_inner().key.unwrap() }
    });
    let revoked = futures_util::future::join_all(revocations).await;
    assert!(revoked.iter().all(|key| key == &revoked[0] && key.revoked_at.is_some()));
    assert!(mesh.ask(&secret).await.is_err());
    assert_eq!(event(&mut events).await, id);
    let (other, _) = mesh.create(named("b")).await.unwrap();
    mesh.keys.clone().revoke(by(ADMIN_KEY, RevokeRequest { key_id: other.clone() })).await.unwrap();
    assert_eq!(event(&mut events).await, other, "the first was told once");
}

/// A durable revocation that nobody sees until the next start would be worse than none.
#[tokio::test]
async fn a_change_whose_caller_leaves_is_made_as_a_whole() {
    let directory = tempfile::tempdir().unwrap();
    let mesh = mesh(directory.path(), Some(ADMIN_KEY)).await;
    let (id, secret) = mesh.create(named("a")).await.unwrap();
    let mut events = mesh.watch().await;
    let mut keys = mesh.keys.clone();
    let mut call = Box::pin(keys.revoke(by(ADMIN_KEY, RevokeRequest { key_id: id.clone() })));
    let polled = std::future::poll_fn(|context| Poll::Ready(call.as_mut().poll(context).is_pending())).await;
    assert!(polled, "the write is under way");
    drop(call);
    assert_eq!(event(&mut events).await, id);
    assert!(mesh.ask(&secret).await.is_err());
}

#[tokio::test]
async fn the_last_admin_key_stays() {
    let directory = tempfile::tempdir().unwrap();
    let mesh = mesh(directory.path(), None).await;
    let key = mesh.first_key.clone().unwrap();
    let key_id = mesh.ask(&key).await.unwrap().principal.unwrap().key_id;
    let status = mesh.keys.clone().revoke(by(&key, RevokeRequest { key_id })).await.unwrap_err();
    assert_eq!(reason(&status), Reason::Conflict);
    assert!(status.message().contains("last admin key"));
    mesh.ask(&key).await.unwrap();
}

#[tokio::test]
async fn the_store_is_a_required_component() {
    let directory = tempfile::tempdir().unwrap();
    let mesh = mesh(directory.path(), Some(ADMIN_KEY)).await;
    mesh.is_up().await;
    let report = mesh.chassis.health.report();
    let store = report.components.iter().find(|component| component.name == "auth/store").unwrap();
    assert!(store.required);
    assert_eq!((store.state(), report.state()), (State::Up, State::Up));
}
