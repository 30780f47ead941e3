//! `penstock probe`: flags and exit codes of grpc_health_probe, against Penstock and against others.

use penstock_tests::{Engine, Mesh, Service, Topology, both, engine::Refused, mesh};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic_health::ServingStatus;

async fn probe(arguments: &[&str]) -> i32 {
    let (code, output, errors) = mesh::run(&[&["probe"], arguments].concat(), &[]).await;
    assert_eq!(output.trim() == "status: SERVING", code == 0, "{code}: {output}{errors}");
    assert_eq!(errors.trim().is_empty(), code == 0, "{code}: {output}{errors}");
    code
}

both! {
    async fn every_service_can_be_probed(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        for service in Service::ALL {
            let address = mesh.address(service).to_string();
            // As Kubernetes manifests write it, and as people write it.
            assert_eq!(probe(&[&format!("-addr={address}")]).await, 0);
            assert_eq!(probe(&["--addr", &address, "-connect-timeout", "5s", "-rpc-timeout=5s"]).await, 0);
            for name in service.grpc_names().iter().chain(&["liveness", "readiness", "startup"]) {
                assert_eq!(probe(&["-addr", &address, "-service", name]).await, 0, "{name}");
            }
            assert_eq!(probe(&["-addr", &address, "-service", "nobody"]).await, 3);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exit_codes_tell_what_is_wrong() {
    for wrong in [
        &[][..],
        &["-nonsense"],
        &["-addr"],
        &["-addr=x:1", "-connect-timeout=soon"],
        &["-addr=127.0.0.1:1", "-tls-no-verify"],
        &["-addr=127.0.0.1:1", "-tls", "-tls-client-cert=x"],
    ] {
        assert_eq!(probe(wrong).await, 1, "{wrong:?}");
    }
    let refused = Refused::new();
    assert_eq!(probe(&[&format!("-addr={}", refused.address())]).await, 2);
    // Accepts, and never says a word.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("-addr={}", silent.local_addr().unwrap());
    let code = probe(&[&address, "-connect-timeout=200ms", "-rpc-timeout=200ms"]).await;
    assert!([2, 3].contains(&code), "{code}");
    // An HTTP server that knows no gRPC.
    let engine = Engine::start().await;
    let code = probe(&[&format!("-addr={}", engine.address())]).await;
    assert!([2, 3].contains(&code), "{code}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn not_serving_and_unimplemented_are_told_apart() {
    let (reporter, service) = tonic_health::server::health_reporter();
    reporter.set_service_status("", ServingStatus::NotServing).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("-addr={}", listener.local_addr().unwrap());
    tokio::spawn(
        Server::builder().add_service(service).serve_with_incoming(TcpListenerStream::new(listener)),
    );
    assert_eq!(probe(&[&address]).await, 4);
    assert_eq!(probe(&[&address, "-service=nobody"]).await, 3);

    let reflection = tonic_reflection::server::Builder::configure().build_v1().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("-addr={}", listener.local_addr().unwrap());
    tokio::spawn(
        Server::builder().add_service(reflection).serve_with_incoming(TcpListenerStream::new(listener)),
    );
    assert_eq!(probe(&[&address]).await, 3);
}
