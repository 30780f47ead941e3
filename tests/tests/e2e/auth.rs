//! Keys: made, used, limited to what they may do, rotated, revoked at once, and kept only as a hash.

use std::{fs, path::Path, time::Instant};

use penstock_proto::auth::v1::{
    CreateRequest, GetRequest, ListRequest, RotateRequest, keys_client::KeysClient,
};
use penstock_tests::{
    Engine, Mesh, Service, Topology, both,
    bounded::{until, within},
    client::chat,
    grpc::{channel, create_key, keyed, reason, revoke_key},
};
use tonic::Code;

fn named(name: &str) -> CreateRequest {
    CreateRequest { name: name.into(), ..CreateRequest::default() }
}

/// Whether any file below `folder` holds `secret`.
fn on_disk(folder: &Path, secret: &str) -> bool {
    fs::read_dir(folder).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return on_disk(&path, secret);
        }
        fs::read(path).unwrap().windows(secret.len()).any(|window| window == secret.as_bytes())
    })
}

both! {
    async fn a_key_is_made_used_and_revoked_at_once(topology: Topology) {
        let engine = Engine::start().await;
        let mut mesh = Mesh::over(topology, &engine, "").await;
        let auth = mesh.address(Service::Auth);
        let made = create_key(auth, mesh.key(), named("laptop")).await;
        mesh.keep_secret(&made.secret);
        let key_id = made.key.unwrap().principal.unwrap().key_id;
        assert!(made.secret.starts_with(&format!("sk-penstock-{key_id}-")));
        let client = mesh.anonymous().with_key(&made.secret);
        // Twice: the second time from the router's memory.
        for _ in 0..2 {
            assert_eq!(client.chat(&chat("test-model")).await.text(), "Hello, world!");
        }
        revoke_key(auth, mesh.key(), &key_id).await;
        let revoked = Instant::now();
        until("the key to be refused", async || {
            (client.chat(&chat("test-model")).await.status == 401).then_some(())
        }).await;
        assert!(revoked.elapsed().as_millis() < 1000, "revoked, and used {:?} later", revoked.elapsed());
        client.chat(&chat("test-model")).await.problem(401, "invalid_api_key");
        // Revoking again changes nothing.
        revoke_key(auth, mesh.key(), &key_id).await;
        let mut keys = KeysClient::new(channel(auth).await);
        let listed = within("Keys.Get", keys.get(keyed(mesh.key(), GetRequest { key_id }))).await.unwrap();
        assert!(listed.into_inner().key.unwrap().revoked_at.is_some());
    }
}

both! {
    async fn keys_outlive_a_restart_and_are_stored_only_as_a_hash(topology: Topology) {
        let engine = Engine::start().await;
        let mut mesh = Mesh::over(topology, &engine, "").await;
        let made = create_key(mesh.address(Service::Auth), mesh.key(), named("durable")).await;
        mesh.keep_secret(&made.secret);
        // F12: durable when it is answered, not when it is convenient.
        mesh.kill(Service::Auth);
        assert!(!on_disk(mesh.folder(), &made.secret), "the secret is on disk in clear");
        assert!(!on_disk(mesh.folder(), made.secret.rsplit('-').next().unwrap()), "the secret's part is on disk");
        mesh.restart(Service::Auth);
        let client = mesh.anonymous().with_key(&made.secret);
        mesh.ready().await;
        until("the key to be known again", async || {
            (client.chat(&chat("test-model")).await.status == 200).then_some(())
        }).await;
    }
}

both! {
    async fn only_admins_manage_keys(topology: Topology) {
        let engine = Engine::start().await;
        let mut mesh = Mesh::over(topology, &engine, "").await;
        let auth = mesh.address(Service::Auth);
        let user = create_key(auth, mesh.key(), named("user")).await.secret;
        mesh.keep_secret(&user);
        let mut keys = KeysClient::new(channel(auth).await);
        let refused = keys.create(keyed(&user, named("more"))).await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::PermissionDenied, "PERMISSION_DENIED"));
        let refused = keys.list(keyed("wrong", ListRequest {})).await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Unauthenticated, "INVALID_API_KEY"));
        let refused = keys.list(ListRequest {}).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated);
        let listed = keys.list(keyed(mesh.key(), ListRequest {})).await.unwrap().into_inner().keys;
        assert_eq!(listed.len(), 1);
    }
}

both! {
    async fn scopes_say_what_a_key_is_for(topology: Topology) {
        let engine = Engine::start().await;
        let mut mesh = Mesh::over(topology, &engine, "").await;
        let request = CreateRequest { scopes: vec!["admin".into()], ..named("admin only") };
        let admin = create_key(mesh.address(Service::Auth), mesh.key(), request).await.secret;
        mesh.keep_secret(&admin);
        let client = mesh.anonymous().with_key(&admin);
        client.chat(&chat("test-model")).await.problem(403, "permission_denied");
        assert_eq!(engine.calls().len(), 0);
        let mut keys = KeysClient::new(channel(mesh.address(Service::Auth)).await);
        assert!(keys.list(keyed(&admin, ListRequest {})).await.is_ok());
    }
}

both! {
    async fn a_rotated_key_has_a_grace_period(topology: Topology) {
        let engine = Engine::start().await;
        let mut mesh = Mesh::over(topology, &engine, "").await;
        let auth = mesh.address(Service::Auth);
        let made = create_key(auth, mesh.key(), named("rotated")).await;
        let key_id = made.key.unwrap().principal.unwrap().key_id;
        let mut keys = KeysClient::new(channel(auth).await);
        let request = RotateRequest { key_id, grace_period: None };
        let rotated = keys.rotate(keyed(mesh.key(), request)).await.unwrap().into_inner().secret;
        for secret in [made.secret, rotated] {
            mesh.keep_secret(&secret);
            let client = mesh.anonymous().with_key(&secret);
            assert_eq!(client.chat(&chat("test-model")).await.status, 200);
        }
    }
}

both! {
    /// A secret that leaked must be of no use from then on: the router's memory does not prolong it.
    async fn a_rotation_without_grace_ends_the_old_secret_at_once(topology: Topology) {
        let engine = Engine::start().await;
        let mut mesh = Mesh::over(topology, &engine, "").await;
        let auth = mesh.address(Service::Auth);
        let made = create_key(auth, mesh.key(), named("leaked")).await;
        mesh.keep_secret(&made.secret);
        let key_id = made.key.unwrap().principal.unwrap().key_id;
        let old = mesh.anonymous().with_key(&made.secret);
        assert_eq!(old.chat(&chat("test-model")).await.status, 200);
        let mut keys = KeysClient::new(channel(auth).await);
        let grace_period = Some(prost_types::Duration { seconds: 0, nanos: 0 });
        let request = RotateRequest { key_id, grace_period };
        let rotated = keys.rotate(keyed(mesh.key(), request)).await.unwrap().into_inner().secret;
        mesh.keep_secret(&rotated);
        // Waits for less than `memo_ttl`, after which any router would have forgotten it.
        until("the old secret to be refused", async || {
            (old.chat(&chat("test-model")).await.status == 401).then_some(())
        }).await;
        old.chat(&chat("test-model")).await.problem(401, "invalid_api_key");
        assert_eq!(mesh.anonymous().with_key(&rotated).chat(&chat("test-model")).await.status, 200);
    }
}

both! {
    /// B3, and typos: a key that shares all but one character with a valid one is no key.
    async fn nearly_a_key_is_no_key(topology: Topology) {
        let engine = Engine::start().await;
        let mut mesh = Mesh::over(topology, &engine, "").await;
        let secret = create_key(mesh.address(Service::Auth), mesh.key(), named("exact")).await.secret;
        mesh.keep_secret(&secret);
        assert_eq!(mesh.anonymous().with_key(&secret).chat(&chat("test-model")).await.status, 200);
        for at in [12, 20, secret.len() / 2, secret.len() - 1] {
            let mut wrong = secret.clone().into_bytes();
            wrong[at] = if wrong[at] == b'a' { b'b' } else { b'a' };
            let wrong = String::from_utf8(wrong).unwrap();
            let answer = mesh.anonymous().with_key(&wrong).chat(&chat("test-model")).await;
            answer.problem(401, "invalid_api_key");
        }
        mesh.anonymous().with_key(&secret[..20]).chat(&chat("test-model")).await.problem(401, "invalid_api_key");
    }
}

both! {
    async fn keys_are_managed_on_the_command_line(topology: Topology) {
        let engine = Engine::start().await;
        let mut mesh = Mesh::over(topology, &engine, "").await;
        let address = format!("http://{}", mesh.address(Service::Auth));
        let environment = [("PENSTOCK_ADMIN_KEY", penstock_tests::mesh::ADMIN_KEY)];
        let run = async |arguments: &[&str]| {
            let all = [&["keys"], arguments, &["--addr", &address]].concat();
            let (code, output, errors) = penstock_tests::mesh::run(&all, &environment).await;
            assert_eq!(code, 0, "{all:?}: {output}{errors}");
            output
        };
        let made = run(&["create", "--json", "--name", "cli"]).await;
        let made: serde_json::Value = serde_json::from_str(&made).unwrap();
        let secret = made["secret"].as_str().unwrap().to_owned();
        mesh.keep_secret(&secret);
        assert_eq!(mesh.anonymous().with_key(&secret).chat(&chat("test-model")).await.status, 200);
        let key_id = secret.split('-').nth(2).unwrap();
        let listed = run(&["list"]).await;
        assert!(listed.contains(key_id) && listed.contains("cli") && !listed.contains(&secret), "{listed}");
        run(&["revoke", key_id]).await;
        until("the key to be refused", async || {
            let answer = mesh.anonymous().with_key(&secret).chat(&chat("test-model")).await;
            (answer.status == 401).then_some(())
        }).await;
    }
}
