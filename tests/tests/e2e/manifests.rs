//! What deploy/ asks of the processes that it starts: every probe names what the process really answers for, on the
//! port where it listens.

use std::{fs, path::Path};

use penstock_tests::{Engine, Mesh, Service, Topology, bounded::until, grpc::is_serving, mesh};
use yaml_rust2::{Yaml, YamlLoader};

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(path)).expect(path)
}

fn service(name: &str) -> Service {
    Service::ALL.into_iter().find(|service| service.name() == name).expect(name)
}

/// The port on which a service listens by the configuration beside the manifests.
fn port(config: &str, service: Service) -> i64 {
    let section = format!("[{}]\n", service.section());
    let lines = config.split_once(&section).expect(&section).1;
    let listen = lines.lines().find_map(|line| line.strip_prefix("listen = ")).expect("listen");
    listen.trim_matches('"').rsplit(':').next().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubernetes_probes_name_what_the_processes_answer_for() {
    let engine = Engine::start().await;
    let mesh = Mesh::over(Topology::Mesh, &engine, "").await;
    let config = read("kubernetes/base/penstock.toml");
    for service in Service::ALL {
        let manifest = read(&format!("kubernetes/base/{}.yaml", service.name()));
        let documents = YamlLoader::load_from_str(&manifest).unwrap();
        let deployment = documents.iter().find(|one| one["kind"].as_str() == Some("Deployment")).unwrap();
        let pod = &deployment["spec"]["template"]["spec"];
        let container = &pod["containers"][0];
        assert_eq!(container["args"][1].as_str(), Some(service.name()));
        for (probe, name) in
            [("startupProbe", "startup"), ("readinessProbe", "readiness"), ("livenessProbe", "liveness")]
        {
            let grpc = &container[probe]["grpc"];
            assert_eq!(grpc["service"].as_str(), Some(name), "{probe} of {}", service.name());
            assert_eq!(grpc["port"].as_i64(), Some(port(&config, service)), "{probe} of {}", service.name());
            until(&format!("{probe} of {}", service.name()), async || {
                is_serving(mesh.address(service), name).await.then_some(())
            })
            .await;
        }
        // A start has its time, and a pod that drains is not killed in the middle of it.
        let startup = &container["startupProbe"];
        let (every, times) = (startup["periodSeconds"].as_i64(), startup["failureThreshold"].as_i64());
        assert!(every.unwrap() * times.unwrap() >= 60, "{startup:?}");
        assert!(pod["terminationGracePeriodSeconds"].as_i64() > Some(65), "{}", service.name());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compose_asks_for_what_the_processes_answer_for() {
    let engine = Engine::start().await;
    let mesh = Mesh::over(Topology::Mesh, &engine, "").await;
    let config = read("compose/penstock.toml");
    let documents = YamlLoader::load_from_str(&read("compose/compose.yaml")).unwrap();
    let services = documents[0]["services"].as_hash().unwrap();
    assert_eq!(services.len(), Service::ALL.len());
    for (name, container) in services {
        let service = service(name.as_str().unwrap());
        assert_eq!(container["command"][1].as_str(), Some(service.name()));
        let test = container["healthcheck"]["test"].as_vec().unwrap();
        let words: Vec<&str> = test.iter().map(|word: &Yaml| word.as_str().unwrap()).collect();
        assert_eq!(words[..3], ["CMD", "/usr/local/bin/penstock", "probe"], "{words:?}");
        let address = format!("-addr=:{}", port(&config, service));
        assert_eq!(words[3], address, "{words:?}");
        // As it stands there, only that the port is one of the test.
        let here = format!("-addr={}", mesh.address(service));
        let arguments = [&["probe", &here], &words[4..]].concat();
        until(&format!("the probe of {}", service.name()), async || {
            let (code, _, errors) = mesh::run(&arguments, &[]).await;
            assert!([0, 4].contains(&code), "{}: {code}: {errors}", service.name());
            (code == 0).then_some(())
        })
        .await;
    }
}
