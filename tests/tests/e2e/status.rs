//! `penstock status`: the tree, the JSON, the exit codes, and what it shows while things break and come back.

use penstock_tests::{
    Engine, Mesh, Service, Topology, both,
    bounded::until,
    engine::Refused,
    mesh::{self, Process, deployment, model},
};
use rustix::process::Signal;
use serde_json::Value;

/// Runs `penstock status` at a service with the key of the tests.
async fn status(mesh: &Mesh, service: Service, arguments: &[&str]) -> (i32, String, String) {
    let address = format!("http://{}", mesh.address(service));
    let arguments = [&["status", "--addr", &address], arguments].concat();
    let (code, output, errors) = mesh::run(&arguments, &[("PENSTOCK_API_KEY", mesh.key())]).await;
    assert!(!format!("{output}{errors}").contains(mesh.key()), "{output}{errors}");
    (code, output, errors)
}

async fn json(mesh: &Mesh, service: Service) -> Value {
    let (_, output, errors) = status(mesh, service, &["--json"]).await;
    serde_json::from_str(&output).unwrap_or_else(|error| panic!("{error}: {output}{errors}"))
}

fn component<'a>(report: &'a Value, name: &str) -> Option<&'a Value> {
    report["components"].as_array()?.iter().find(|component| component["name"] == name)
}

async fn all_well(mesh: &Mesh) -> Value {
    until("the facade to be UP", async || {
        let report = json(mesh, Service::Facade).await;
        (report["state"] == "UP").then_some(report)
    })
    .await
}

/// `penstock status --watch`, what it says in files.
fn watching(mesh: &Mesh, name: &str, arguments: &[&str]) -> Process {
    let address = format!("http://{}", mesh.address(Service::Facade));
    let mut command = mesh::command([&["status", "--addr", &address, "--watch"], arguments].concat());
    command.env("PENSTOCK_API_KEY", mesh.key());
    Process::start(command, mesh.folder(), name)
}

/// The newest whole line of NDJSON.
fn newest(watching: &Process) -> Option<Value> {
    let output = watching.output();
    let (whole, _) = output.rsplit_once('\n')?;
    serde_json::from_str(whole.lines().last()?).unwrap()
}

both! {
    async fn the_mesh_is_a_tree_with_exit_code_0(topology: Topology) {
        let (engine, refused) = (Engine::start().await, Refused::new());
        let config = [
            deployment("main", &engine.v1()), model("test-model", &["main"], ""),
            deployment("lost", &refused.v1()), model("lost-model", &["lost"], ""),
        ];
        let mesh = Mesh::start(topology, &config.concat()).await;
        let text = until("the loss to be seen", async || {
            let (code, text, errors) = status(&mesh, Service::Facade, &[]).await;
            assert_eq!((code, errors.as_str()), (0, ""), "{text}");
            let is = |name: &str, states: &[&str]| {
                let of = |line: &&str| line.split_once("─ ").is_some_and(|(_, rest)| rest.split(' ').next() == Some(name));
                text.lines().find(of).is_some_and(|line| states.iter().any(|state| line.starts_with(state)))
            };
            let services = ["router", "auth", "cache", "rate-limiter", "inference-adapter", "auth/store"];
            let settled = services.iter().all(|service| is(service, &["✓ UP ", "! DEGRADED "]))
                && is("main", &["✓ UP"])
                && is("lost", &["✗ DOWN"]);
            (text.starts_with("! DEGRADED  facade ") && settled).then_some(text)
        }).await;
        // Not a terminal: no colours, nothing that moves a cursor; and nothing of an engine's address.
        assert!(!text.contains('\u{1b}'), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= 120), "{text}");
        assert!(!text.contains(&engine.address().port().to_string()), "{text}");
    }
}

both! {
    async fn json_is_one_document_with_words_and_moments(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        let report = all_well(&mesh).await;
        assert_eq!((&report["service"], &report["reachable"]), (&"facade".into(), &true.into()));
        assert_eq!((&report["starting"], &report["draining"]), (&false.into(), &false.into()));
        let store = component(&report, "auth/store").unwrap();
        assert_eq!((&store["kind"], &store["part_of"]), (&"store".into(), &"auth".into()));
        let router = component(&report, "router").unwrap();
        assert_eq!((&router["kind"], &router["required"]), (&"service".into(), &true.into()));
        assert!(router["latency_ms"].is_number() && router["checked_at"].as_str().unwrap().ends_with('Z'));
        let (code, output, _) = status(&mesh, Service::Facade, &["--json", "--history"]).await;
        let with_changes: Value = serde_json::from_str(&output).unwrap();
        assert!(code == 0 && with_changes["changes"].is_array(), "{output}");
    }
}

both! {
    /// Every service of the mesh tells of itself.
    async fn any_service_can_be_asked(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        all_well(&mesh).await;
        for service in mesh.processes_of_topology() {
            let report = json(&mesh, *service).await;
            assert_eq!(report["service"], service.name());
        }
        if topology == Topology::Mesh {
            // Inside of the mesh without a key.
            let address = format!("http://{}", mesh.address(Service::Router));
            let (code, text, _) = mesh::run(&["status", "--addr", &address], &[]).await;
            assert!(code == 0 && text.contains("auth/store"), "{text}");
        }
    }
}

both! {
    async fn what_is_wrong_is_an_exit_code_with_a_remedy(topology: Topology) {
        let engine = Engine::start().await;
        let mut mesh = Mesh::over(topology, &engine, "[shutdown]\nreadiness_delay = \"10s\"\n").await;
        let address = format!("http://{}", mesh.address(Service::Facade));
        for wrong in [&["--addr", "somewhere"][..], &["--history", "many"], &["--nonsense"], &["--key-file", "none"]] {
            let (code, output, errors) = mesh::run(&[&["status"], wrong].concat(), &[]).await;
            assert_eq!((code, output.as_str()), (2, ""), "{wrong:?}: {errors}");
            assert!(!errors.is_empty(), "{wrong:?}");
        }
        let wrong_key = [("PENSTOCK_API_KEY", "wrong key of the tests 9f1c")];
        let (code, output, errors) = mesh::run(&["status", "--addr", &address], &wrong_key).await;
        assert!([0, 3].contains(&code), "{code}: {output}{errors}");
        assert!(!format!("{output}{errors}").contains("9f1c"), "{output}{errors}");
        assert!(code == 0 || errors.contains("--key-file"), "{errors}");
        // A port that is Penstock's and tells no state.
        let metrics = format!("http://{}", mesh.metrics_address(Service::Facade));
        let (code, _, errors) = mesh::run(&["status", "--addr", &metrics], &[]).await;
        assert!(code == 3 && errors.contains("--addr"), "{code}: {errors}");

        mesh.process(Service::Facade).terminate();
        let text = until("the draining to be seen", async || {
            let (code, text, _) = status(&mesh, Service::Facade, &[]).await;
            (code == 1).then_some(text)
        }).await;
        assert!(text.starts_with("✗ DOWN  facade ") && text.contains("\n  draining"), "{text}");
        // A second signal means: now.
        mesh.process(Service::Facade).terminate();
        mesh.process(Service::Facade).exit().await;
        let (code, output, errors) = mesh::run(&["status", "--addr", &address], &[]).await;
        assert_eq!((code, output.as_str()), (3, ""), "{errors}");
        assert!(errors.contains(&format!("cannot reach Penstock at {address}")) && errors.contains("is it running"));
    }
}

both! {
    /// Whoever watches sees the process go, and come back, and is asked for nothing.
    async fn watch_goes_on_over_a_restart(topology: Topology) {
        let engine = Engine::start().await;
        let mut mesh = Mesh::over(topology, &engine, "").await;
        all_well(&mesh).await;
        let (mut lines, mut text) = (watching(&mesh, "json", &["--json"]), watching(&mesh, "text", &[]));
        until("the first report", async || (newest(&lines)?["state"] == "UP").then_some(())).await;
        until("the first drawing", async || text.output().contains("✓ UP  facade").then_some(())).await;
        mesh.kill(Service::Facade);
        let lost = until("the loss", async || newest(&lines).filter(|line| line["reachable"] == false)).await;
        assert!(!lost["error"].as_str().unwrap().is_empty());
        until("the loss in words", async || text.output().contains("Trying again").then_some(())).await;
        mesh.restart(Service::Facade);
        mesh.ready().await;
        until("the return", async || (newest(&lines)?["state"] == "UP").then_some(())).await;
        until("the return in words", async || {
            let (_, after) = text.output().rsplit_once("Trying again").map(|(a, b)| (a.to_owned(), b.to_owned()))?;
            after.contains("✓ UP  facade").then_some(())
        }).await;
        for watch in [&mut lines, &mut text] {
            watch.signal(Signal::INT);
            let status = watch.exit().await;
            assert_eq!(status.code(), Some(0), "{}", watch.said());
            assert!(!watch.said().contains(mesh.key()));
        }
    }
}

/// A service that dies is seen where the mesh is looked at, with a reason, and so is its return.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watch_shows_what_dies_and_what_comes_back() {
    let engine = Engine::start().await;
    let mut mesh = Mesh::over(Topology::Mesh, &engine, "").await;
    all_well(&mesh).await;
    let mut watch = watching(&mesh, "watch", &["--json"]);
    until("the first report", async || (newest(&watch)?["state"] == "UP").then_some(())).await;
    mesh.kill(Service::Cache);
    let lost = until("the loss of the cache", async || {
        let line = newest(&watch)?;
        (line["state"] == "DEGRADED" && component(&line, "cache")?["state"] == "DOWN").then_some(line)
    })
    .await;
    let cache = component(&lost, "cache").unwrap();
    assert!(!cache["reason"].as_str().unwrap().is_empty() && cache["since"].is_string(), "{cache}");
    assert_eq!(component(&lost, "cache/store").unwrap()["state"], "UNKNOWN");
    mesh.restart(Service::Cache);
    until("the return of the cache", async || (newest(&watch)?["state"] == "UP").then_some(())).await;
    let (_, text, _) = status(&mesh, Service::Router, &["--history", "50"]).await;
    let changes = text.split("changes, the newest first").nth(1).unwrap();
    assert!(changes.contains("cache  UP → ✗ DOWN") && changes.contains("cache  DOWN → ✓ UP"), "{text}");
    watch.signal(Signal::TERM);
    assert_eq!(watch.exit().await.code(), Some(0));
}

both! {
    /// A frozen process keeps its port and its connections, and says nothing: that is not taken for silence.
    async fn a_frozen_process_is_told_from_a_quiet_one(topology: Topology) {
        let engine = Engine::start().await;
        let mut mesh = Mesh::over(topology, &engine, "").await;
        all_well(&mesh).await;
        let mut watch = watching(&mesh, "frozen", &["--json"]);
        until("the first report", async || (newest(&watch)?["state"] == "UP").then_some(())).await;
        mesh.process(Service::Facade).signal(Signal::STOP);
        let (code, output, errors) = status(&mesh, Service::Facade, &[]).await;
        assert_eq!((code, output.as_str()), (3, ""), "{errors}");
        // Which of the two depends on when the connection is given up.
        assert!(["does not answer in time", "broke"].iter().any(|words| errors.contains(words)), "{errors}");
        until("the loss", async || newest(&watch).filter(|line| line["reachable"] == false)).await;
        mesh.process(Service::Facade).signal(Signal::CONT);
        until("the return", async || newest(&watch).filter(|line| line["reachable"] == true)).await;
        watch.signal(Signal::INT);
        assert!([Some(0), Some(1)].contains(&watch.exit().await.code()));
    }
}
