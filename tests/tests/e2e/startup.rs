//! Start-up and the end of a process, asked in all ways: Check, Watch and `penstock probe` say the same. A start
//! that takes its time is no failure, and whoever drains says so before the port closes.

use std::{collections::BTreeSet, fs, io::Write as _, net::SocketAddr, process::Command};

use penstock_proto::auth::v1::CreateRequest;
use penstock_tests::{
    Engine, Mesh, Service, Topology, both,
    bounded::{until, within},
    client::chat,
    grpc::{channel, create_key},
    mesh,
};
use tokio::net::TcpStream;
use tonic::Streaming;
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse,
    health_check_response::ServingStatus::{self, NotServing, Serving},
    health_client::HealthClient,
};

/// Names that say the same as the whole server does.
fn names(service: Service, topology: Topology) -> BTreeSet<&'static str> {
    let services = if topology == Topology::Mesh { &[service][..] } else { &Service::ALL[..] };
    services.iter().flat_map(|service| service.grpc_names()).copied().chain(["", "readiness"]).collect()
}

async fn check(address: SocketAddr, name: &str) -> ServingStatus {
    let mut health = HealthClient::new(channel(address).await);
    let request = HealthCheckRequest { service: name.into() };
    let answer = within("Health.Check", health.check(request)).await;
    answer.unwrap_or_else(|status| panic!("{name}: {status}")).into_inner().status()
}

async fn watch(address: SocketAddr, name: &str) -> Streaming<HealthCheckResponse> {
    let mut health = HealthClient::new(channel(address).await);
    let request = HealthCheckRequest { service: name.into() };
    within("Health.Watch", health.watch(request)).await.unwrap().into_inner()
}

async fn next(watch: &mut Streaming<HealthCheckResponse>) -> ServingStatus {
    within("a status", watch.message()).await.unwrap().unwrap().status()
}

/// All three ways, on connections of their own.
async fn all_say(address: SocketAddr, name: &str, expected: ServingStatus) {
    assert_eq!(check(address, name).await, expected, "{name:?}");
    assert_eq!(next(&mut watch(address, name).await).await, expected, "{name:?}");
    let (address, name) = (format!("-addr={address}"), format!("-service={name}"));
    let (code, _, errors) = mesh::run(&["probe", &address, &name], &[]).await;
    let expected = if expected == Serving { 0 } else { 4 };
    assert_eq!(code, expected, "{name}: {errors}");
}

both! {
    /// Whoever drains says so under every name, takes new connections and serves, until the delay is over.
    async fn draining_is_said_in_all_ways_before_the_port_closes(topology: Topology) {
        let engine = Engine::start().await;
        let mut mesh = Mesh::over(topology, &engine, "[shutdown]\nreadiness_delay = \"1m\"\n").await;
        for service in mesh.processes_of_topology() {
            let address = mesh.address(*service);
            let names = names(*service, topology);
            for name in names.iter().copied().chain(["liveness", "startup"]) {
                until(&format!("{name:?} to serve"), async || (check(address, name).await == Serving).then_some(())).await;
                all_say(address, name, Serving).await;
            }
            let mut watches = Vec::new();
            for name in &names {
                let mut watch = watch(address, name).await;
                assert_eq!(next(&mut watch).await, Serving);
                watches.push(watch);
            }
            let mut alive = watch(address, "liveness").await;
            assert_eq!(next(&mut alive).await, Serving);

            mesh.process(*service).terminate();
            for watch in &mut watches {
                assert_eq!(next(watch).await, NotServing);
            }
            for name in &names {
                all_say(address, name, NotServing).await;
            }
            for name in ["liveness", "startup"] {
                all_say(address, name, Serving).await;
            }
            assert!(TcpStream::connect(address).await.is_ok());
            if *service == Service::Facade {
                assert_eq!(mesh.client().chat(&chat("test-model")).await.text(), "Hello, world!");
            }
            // A second signal means: now. The streams that are left end, and none of them holds it.
            mesh.process(*service).terminate();
            mesh.process(*service).exit().await;
            // It was alive to the end.
            assert!(!matches!(within("the end", alive.message()).await, Ok(Some(_))));
        }
    }
}

both! {
    /// The store of the keys takes its time to open: asked for health the process answers that it starts, and is
    /// alive; all other calls wait for it.
    async fn a_slow_start_is_told_from_a_failure(topology: Topology) {
        let engine = Engine::start().await;
        let mut mesh = Mesh::over(topology, &engine, "").await;
        let address = mesh.address(Service::Auth);
        mesh.kill(Service::Auth);
        // A pipe in place of the file: whoever opens it waits until somebody writes.
        let file = mesh.folder().join("data/auth.pepper");
        let pepper = fs::read(&file).unwrap();
        fs::remove_file(&file).unwrap();
        assert!(Command::new("mkfifo").arg(&file).status().unwrap().success());

        mesh.restart(Service::Auth);
        until("the port to be open", async || TcpStream::connect(address).await.ok().map(drop)).await;
        for name in names(Service::Auth, topology).into_iter().chain(["startup"]) {
            all_say(address, name, NotServing).await;
        }
        all_say(address, "liveness", Serving).await;
        let mut startup = watch(address, "startup").await;
        assert_eq!(next(&mut startup).await, NotServing);
        if topology == Topology::Mesh {
            let (code, text, errors) = mesh::run(&["status", "--addr", &format!("http://{address}")], &[]).await;
            assert!(code == 1 && text.contains("\n  starting"), "{code}: {text}{errors}");
        }
        let key = CreateRequest { name: "made while it started".into(), ..CreateRequest::default() };
        let call = tokio::spawn(create_key(address, mesh.key(), key));

        let written = tokio::task::spawn_blocking(move || {
            fs::File::options().write(true).open(&file).and_then(|mut pipe| pipe.write_all(&pepper))
        });
        within("the pipe to be read", written).await.unwrap().unwrap();
        assert_eq!(next(&mut startup).await, Serving);
        let made = within("the call that waited", call).await.unwrap();
        assert!(made.secret.starts_with("sk-penstock-"));
        mesh.ready().await;
        for name in ["startup", "readiness", "liveness", ""] {
            all_say(address, name, Serving).await;
        }
    }
}
