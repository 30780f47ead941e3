//! The command against a real auth service on a socket.

use std::path::Path;

use clap::Parser;
use penstock_auth::Config;
use penstock_chassis::Chassis;
use secrecy::SecretString;
use serde_json::Value;
use tokio_stream::wrappers::TcpListenerStream;

use super::*;

const SECRET: &str = "correct horse battery staple";

#[derive(Debug, Parser)]
struct Command {
    #[command(flatten)]
    keys: Keys,
}

/// The address of a fresh auth service.
async fn serve(data_dir: &Path) -> String {
    let chassis = Chassis::default();
    let config = Config {
        data_dir: data_dir.to_owned(),
        memo_ttl: Duration::from_secs(1),
        admin_key: Some(SecretString::from(SECRET)),
    };
    let routes = penstock_auth::start(config, &chassis).await.unwrap().routes;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    chassis.tasks.spawn("server", async move {
        let server = tonic::transport::Server::builder().add_routes(routes);
        server.serve_with_incoming(TcpListenerStream::new(listener)).await.unwrap();
    });
    address
}

async fn keys(address: &str, arguments: &[&str]) -> Result<String, String> {
    let arguments = [&["keys", "--addr", address], arguments].concat();
    let command = Command::try_parse_from(arguments).map_err(|error| error.to_string())?;
    let environment = Environment::of([(ADMIN_KEY, SECRET)]);
    command.keys.answer(&environment, SystemTime::now()).await.map_err(|error| format!("{error:#}"))
}

#[tokio::test]
async fn a_key_is_made_listed_changed_rotated_and_revoked() {
    let directory = tempfile::tempdir().unwrap();
    let address = serve(directory.path()).await;
    let json = |text: Result<String, String>| -> Value { serde_json::from_str(&text.unwrap()).unwrap() };
    let create = [
        "create",
        "--json",
        "--name",
        "ci",
        "--tenant",
        "acme",
        "--scope",
        "inference",
        "--model",
        "llama*",
        "--limit",
        "requests=60/1m/10",
        "--expires-in",
        "30d",
        "--metadata",
        "team=blue",
    ];
    let made = json(keys(&address, &create).await);
    assert!(made["secret"].as_str().unwrap().starts_with("sk-penstock-"));
    assert_eq!((&made["tenant"], &made["limits"][0]["burst"]), (&"acme".into(), &10.into()));
    let id = made["key_id"].as_str().unwrap();
    assert!(keys(&address, &["list"]).await.unwrap().contains(id));
    let updated = json(keys(&address, &["update", id, "--name", "new", "--all-models", "--json"]).await);
    assert_eq!((&updated["name"], &updated["allowed_models"]), (&"new".into(), &Value::Array(vec![])));
    assert_eq!(updated["limits"], made["limits"], "what is not named stays");
    let rotated = json(keys(&address, &["rotate", id, "--grace-period", "5m", "--json"]).await);
    assert_ne!(rotated["secret"], made["secret"]);
    assert!(keys(&address, &["revoke", id]).await.unwrap().contains("revoked"));
    assert!(json(keys(&address, &["get", id, "--json"]).await)["revoked_at"].is_string());
}

#[tokio::test]
async fn refusals_are_in_words_with_every_violation() {
    let directory = tempfile::tempdir().unwrap();
    let address = serve(directory.path()).await;
    let error = keys(&address, &["create", "--name", "", "--tenant", "a/b"]).await.unwrap_err();
    assert!(error.contains("\n  name: ") && error.contains("\n  tenant: "), "{error}");
    assert_eq!(keys(&address, &["get", "nobody"]).await.unwrap_err(), "there is no key with this id");
    let file = directory.path().join("key");
    std::fs::write(&file, "not the admin key\n").unwrap();
    let file = file.to_str().unwrap();
    let error = keys(&address, &["list", "--admin-key-file", file]).await.unwrap_err();
    assert!(error.contains("not valid") && !error.contains("admin key\n"), "{error}");
    std::fs::write(file, format!("{SECRET}\n")).unwrap();
    keys(&address, &["list", "--admin-key-file", file]).await.unwrap();
}

#[tokio::test]
async fn what_is_missing_is_said() {
    let error = keys("http://127.0.0.1:1", &["list"]).await.unwrap_err();
    assert!(error.contains("cannot reach Penstock at http://127.0.0.1:1"), "{error}");
    for address in ["https://127.0.0.1:4000", "127.0.0.1:4000", "", "http://"] {
        let error = keys(address, &["list"]).await.unwrap_err();
        assert!(error.contains("is not an address"), "{address}: {error}");
    }
    let command = Command::try_parse_from(["keys", "list"]).unwrap();
    let error = command.keys.answer(&Environment::default(), SystemTime::now()).await.unwrap_err();
    assert!(error.to_string().contains(ADMIN_KEY));
    keys("http://127.0.0.1:1", &["create"]).await.unwrap_err();
    keys("http://127.0.0.1:1", &["create", "--name", "a", "--limit", "60"]).await.unwrap_err();
}
