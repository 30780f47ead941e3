//! The probe against real sockets: every exit code, over plaintext, TLS and mutual TLS.

mod server;

use super::*;
use server::{Authority, Server};

/// Exit code, standard output, standard error.
async fn probed(line: &[&str]) -> (i32, String, String) {
    let (mut out, mut log) = (Vec::new(), Vec::new());
    let code = probe(line.iter().map(OsString::from).collect(), &mut out, &mut log).await;
    (code, String::from_utf8(out).unwrap(), String::from_utf8(log).unwrap())
}

#[tokio::test]
async fn serving_is_0() {
    let server = Server::plain().await;
    let (code, out, log) = probed(&["-addr", &server.addr]).await;
    assert_eq!((code, out.as_str(), log.as_str()), (0, "status: SERVING\n", ""));
    let (code, ..) = probed(&[&format!("--addr={}", server.addr), "--service=up"]).await;
    assert_eq!(code, 0);
    let port = server.addr.rsplit_once(':').unwrap().1;
    assert_eq!(probed(&["-addr", &format!(":{port}")]).await.0, 0);
    assert_eq!(probed(&["-addr", &format!("localhost:{port}")]).await.0, 0);
}

#[tokio::test]
async fn verbose_says_what_happens_and_no_header_value() {
    let server = Server::plain().await;
    let line = ["-addr", &server.addr, "-v", "-rpc-header=authorization: Bearer secret"];
    let (code, out, log) = probed(&line).await;
    assert_eq!((code, out.as_str()), (0, "status: SERVING\n"));
    for part in
        ["parsed options:", "establishing connection", "connection established (took ", "time elapsed: "]
    {
        assert!(log.contains(part), "{log}");
    }
    assert!(log.contains("authorization") && !log.contains("secret"), "{log}");
}

#[tokio::test]
async fn user_agent_headers_and_timeout_reach_the_server() {
    let server = Server::plain().await;
    let line = ["-addr", &server.addr, "-user-agent=me", "-rpc-header=x-one: 1", "-rpc-header=x-one: 2"];
    assert_eq!(probed(&line).await.0, 0);
    let seen = server.seen();
    let values: Vec<_> = seen.get_all("x-one").iter().collect();
    assert_eq!(values, ["1", "2"]);
    assert!(seen["user-agent"].to_str().unwrap().starts_with("me"), "{seen:?}");
    assert_eq!(seen["grpc-timeout"], "1000000u");
}

#[tokio::test]
async fn wrong_arguments_are_1() {
    let (code, out, log) = probed(&[]).await;
    assert_eq!((code, out.as_str(), log.as_str()), (1, "", "error: -addr not specified\n"));
    let (code, out, log) = probed(&["-bogus"]).await;
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(log.starts_with("flag provided but not defined: -bogus\nUsage of penstock probe:\n"), "{log}");
    for line in [
        &["-addr=nowhere"][..],
        &["-addr=a:1", "-rpc-header=bad name: x"],
        &["-addr=a:1", "-rpc-header=x: \u{7f}"],
        &["-addr=a:1", "-user-agent=\n"],
        &["-addr=a:1", "-tls", "-tls-server-name=_ _"],
        &["-addr=a:1", "-tls", "-tls-ca-cert=/does/not/exist"],
        &["-addr=a:1", "-tls", "-tls-client-cert=/does/not/exist", "-tls-client-key=/does/not/exist"],
    ] {
        let (code, out, log) = probed(line).await;
        assert_eq!((code, out.as_str()), (1, ""), "{line:?}: {log}");
        assert!(!log.is_empty(), "{line:?}");
    }
}

#[tokio::test]
async fn version_is_0() {
    let (code, out, _) = probed(&["-version"]).await;
    assert_eq!((code, out), (0, format!("penstock {}\n", env!("CARGO_PKG_VERSION"))));
}

#[tokio::test]
async fn no_connection_is_2() {
    let refused = server::refused().await;
    let (code, out, log) = probed(&["-addr", &refused]).await;
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(log.starts_with(&format!("error: failed to connect service at \"{refused}\": ")), "{log}");
}

/// A port that accepts and says nothing must not hang the probe (faults E2, I5).
#[tokio::test]
async fn a_silent_server_is_2() {
    let server = Server::raw(None).await;
    for tls in [&[][..], &["-tls", "-tls-no-verify"]] {
        let mut line = vec!["-addr", &server.addr, "-connect-timeout=50ms"];
        line.extend(tls);
        let (code, _, log) = probed(&line).await;
        let expected = format!("timeout: failed to connect service \"{}\" within 50ms\n", server.addr);
        assert_eq!((code, log), (2, expected));
    }
}

#[tokio::test]
async fn another_protocol_is_2() {
    let server = Server::raw(Some(b"HTTP/1.1 400 Bad Request\r\n\r\n")).await;
    let (code, _, log) = probed(&["-addr", &server.addr]).await;
    assert_eq!(code, 2, "{log}");
    assert!(log.contains("the server does not speak HTTP/2"), "{log}");
    let server = Server::raw(Some(b"")).await;
    let (code, _, log) = probed(&["-addr", &server.addr]).await;
    assert_eq!(code, 2, "{log}");
}

#[tokio::test]
async fn a_failed_rpc_is_3() {
    let server = Server::plain().await;
    let (code, out, log) = probed(&["-addr", &server.addr, "-service=unknown"]).await;
    assert_eq!((code, out.as_str()), (3, ""));
    assert!(log.starts_with("error: health rpc failed: code = NotFound"), "{log}");
    let server = Server::without_health().await;
    let (code, _, log) = probed(&["-addr", &server.addr]).await;
    let expected = "error: this server does not implement the grpc health protocol (grpc.health.v1.Health)\n";
    assert_eq!((code, log.as_str()), (3, expected));
}

#[tokio::test]
async fn an_rpc_without_an_answer_is_3() {
    let server = Server::plain().await;
    let line = ["-addr", &server.addr, "-service=hang", "-connect-timeout=1m", "-rpc-timeout=50ms"];
    let (code, _, log) = probed(&line).await;
    assert_eq!((code, log.as_str()), (3, "timeout: health rpc did not complete within 50ms\n"));
}

#[tokio::test]
async fn not_serving_is_4() {
    let server = Server::plain().await;
    for (service, status) in [("down", "NOT_SERVING"), ("unknown-status", "UNKNOWN"), ("odd", "77")] {
        let (code, out, log) = probed(&["-addr", &server.addr, "-service", service]).await;
        assert_eq!((code, out.as_str()), (4, ""));
        assert_eq!(log, format!("service unhealthy (responded with {status:?})\n"));
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_unix_socket() {
    let server = Server::unix().await;
    assert_eq!(probed(&["-addr", &server.addr]).await.0, 0, "{}", server.addr);
    let (code, ..) = probed(&["-addr=unix:///does/not/exist"]).await;
    assert_eq!(code, 2);
}

#[tokio::test]
async fn tls_verifies_unless_told_not_to() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let server = Server::tls(&authority, false).await;
    let (addr, ca, wrong) = (server.addr.as_str(), authority.file(), stranger.file());
    let port = addr.rsplit_once(':').unwrap().1;
    let by_name = format!("localhost:{port}");
    let table: [(&[&str], i32); 8] = [
        (&["-addr", addr, "-tls", "-tls-ca-cert", &ca], 0),
        (&["-addr", &by_name, "-tls", "-tls-ca-cert", &ca], 0),
        (&["-addr", addr, "-tls", "-tls-ca-cert", &ca, "-tls-server-name=localhost"], 0),
        (&["-addr", addr, "-tls", "-tls-no-verify"], 0),
        (&["-addr", addr, "-tls", "-tls-ca-cert", &ca, "-tls-server-name=other.example"], 2),
        (&["-addr", addr, "-tls", "-tls-ca-cert", &wrong], 2),
        (&["-addr", addr, "-tls", "-tls-ca-cert", &ca, "-service=down"], 4),
        (&["-addr", addr], 2),
    ];
    for (line, expected) in table {
        let (code, _, log) = probed(line).await;
        assert_eq!(code, expected, "{line:?}: {log}");
    }
    let plain = Server::plain().await;
    assert_eq!(probed(&["-addr", &plain.addr, "-tls", "-tls-ca-cert", &ca]).await.0, 2);
}

#[tokio::test]
async fn mutual_tls_needs_the_right_certificate() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let server = Server::tls(&authority, true).await;
    let ca = authority.file();
    let (cert, key) = authority.client();
    let (wrong_cert, wrong_key) = stranger.client();
    let base = ["-addr", server.addr.as_str(), "-tls", "-tls-ca-cert", &ca];
    let table: [(&[&str], i32); 4] = [
        (&["-tls-client-cert", &cert, "-tls-client-key", &key], 0),
        (&[], 2),
        (&["-tls-client-cert", &wrong_cert, "-tls-client-key", &wrong_key], 2),
        // A key that is not the certificate's.
        (&["-tls-client-cert", &cert, "-tls-client-key", &wrong_key], 1),
    ];
    for (more, expected) in table {
        let line: Vec<_> = base.iter().chain(more).copied().collect();
        let (code, _, log) = probed(&line).await;
        assert_eq!(code, expected, "{more:?}: {log}");
    }
    let (_, _, log) = probed(&base).await;
    assert!(log.contains("CertificateRequired"), "{log}");
}

#[tokio::test]
async fn files_that_hold_no_certificate_are_1() {
    let authority = Authority::new();
    let (_, key) = authority.client();
    let (code, _, log) = probed(&["-addr=a:1", "-tls", "-tls-ca-cert", &key]).await;
    assert_eq!(code, 1);
    assert!(log.contains("no root CA certs parsed from file"), "{log}");
    let line = ["-addr=a:1", "-tls", "-tls-no-verify", "-tls-client-cert", &key, "-tls-client-key", &key];
    let (code, _, log) = probed(&line).await;
    assert_eq!(code, 1);
    assert!(log.contains("failed to load tls client cert/key pair"), "{log}");
}
