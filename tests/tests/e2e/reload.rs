//! The configuration is read again without losing a request (H2): by a signal, by a call, because the file has
//! changed; and a wrong one changes nothing.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use penstock_proto::{
    router::v1::{ReloadRequest, ReloadResponse, routing_client::RoutingClient},
    status::v1::{Component, GetRequest, State, status_client::StatusClient},
};
use penstock_tests::{
    Client, Engine, Mesh, Script, Service, Topology, both,
    bounded::{until, within},
    client::chat,
    grpc::{channel, keyed, reason},
    mesh::{ADMIN_KEY, deployment, model},
};
use rustix::process::Signal;
use tokio::task::JoinHandle;
use tonic::Status;

async fn reload(mesh: &Mesh) -> Result<ReloadResponse, Status> {
    let mut routing = RoutingClient::new(channel(mesh.grpc()).await);
    let answer = within("Routing.Reload", routing.reload(keyed(ADMIN_KEY, ReloadRequest {}))).await;
    answer.map(tonic::Response::into_inner)
}

/// The router's word on its configuration.
async fn configuration(mesh: &Mesh) -> Component {
    let name = match mesh.topology() {
        Topology::Standalone => "configuration",
        Topology::Mesh => "router/configuration",
    };
    let mut status = StatusClient::new(channel(mesh.address(Service::Router)).await);
    let answer = within("Status.Get", status.get(keyed(ADMIN_KEY, GetRequest {}))).await.unwrap();
    let report = answer.into_inner().report.unwrap();
    report.components.into_iter().find(|one| one.name == name).unwrap_or_else(|| panic!("no {name}"))
}

async fn until_it_is(mesh: &Mesh, state: State) -> Component {
    until(&format!("the configuration to be {state:?}"), async || {
        Some(configuration(mesh).await).filter(|component| component.state() == state)
    })
    .await
}

/// Waits until `model` answers what the file now says, and not 404.
async fn until_it_answers(client: &Client, model: &str) {
    until(&format!("{model} to answer"), async || {
        (client.chat(&chat(model)).await.status == 200).then_some(())
    })
    .await;
}

/// Reads the metrics of the router for readings of this outcome.
async fn counted(mesh: &Mesh, outcome: &str) -> u64 {
    let name = format!("penstock_config_reloads_total{{outcome=\"{outcome}\"}} ");
    let metrics = mesh.metrics(Service::Router).await;
    metrics.lines().find_map(|line| line.strip_prefix(&name)?.parse().ok()).unwrap_or(0)
}

/// Callers that ask for `test-model` again and again, plain and streamed, and for whom nothing may fail.
struct Callers {
    stopped: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    loops: Vec<JoinHandle<()>>,
}

impl Callers {
    fn start(client: &Client) -> Callers {
        let (stopped, answered) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let one = |streams: bool| {
            let (client, stopped, answered) = (client.clone(), Arc::clone(&stopped), Arc::clone(&answered));
            tokio::spawn(async move {
                while !stopped.load(Ordering::Relaxed) {
                    if streams {
                        let events = client.stream(&chat("test-model")).await.rest().await;
                        assert_eq!(events.last().map(String::as_str), Some("[DONE]"), "{events:?}");
                        assert!(!events.concat().contains("\"error\""), "{events:?}");
                    } else {
                        let answer = client.chat(&chat("test-model")).await;
                        assert_eq!((answer.status, answer.text().as_str()), (200, "Hello, world!"));
                    }
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            })
        };
        let loops = vec![one(true), one(false), one(true)];
        Callers { stopped, answered, loops }
    }

    /// Waits until each has had some more answers.
    async fn go_on(&self) {
        let before = self.answered.load(Ordering::Relaxed);
        until("more answers", async || (self.answered.load(Ordering::Relaxed) >= before + 12).then_some(()))
            .await;
    }

    /// Every request so far was answered.
    async fn stop(self) -> usize {
        self.go_on().await;
        self.stopped.store(true, Ordering::Relaxed);
        for one in self.loops {
            within("the callers to end", one).await.expect("no request failed");
        }
        self.answered.load(Ordering::Relaxed)
    }
}

both! {
    async fn under_load_models_come_move_and_go_and_no_request_fails(topology: Topology) {
        let (old, new) = (Engine::start().await, Engine::start().await);
        let first = [deployment("a", &old.v1()), model("test-model", &["a"], "aliases = [\"test-alias\"]")];
        let mesh = Mesh::start(topology, &first.concat()).await;
        let client = mesh.client();
        old.answering(|body| match body["messages"][0]["content"].as_str() {
            Some("slow") => Script::gated(["slow", "ly"]),
            _ => Script::default(),
        });
        let mut slow = chat("test-alias");
        slow["messages"][0]["content"] = "slow".into();
        old.open(1);
        let mut running = client.stream(&slow).await;
        assert_eq!(running.next_text().await, "slow");
        let callers = Callers::start(&client);
        callers.go_on().await;

        // A model comes, an alias goes.
        let second = [first[0].clone(), deployment("b", &new.v1()), model("test-model", &["a"], ""), model("new-model", &["b"], "")];
        mesh.rewrite(&second.concat());
        assert_eq!(reload(&mesh).await.unwrap(), ReloadResponse { changed: true, needs_restart: Vec::new() });
        assert_eq!(client.chat(&chat("new-model")).await.text(), "Hello, world!");
        assert_eq!(new.calls().len(), 1);
        client.chat(&chat("test-alias")).await.problem(404, "model_not_found");
        assert!(!reload(&mesh).await.unwrap().changed, "nothing new");

        // Its deployment moves to another engine under its name; then another one takes its place, and it is gone.
        let third = [deployment("a", &new.v1()), model("test-model", &["a"], "")];
        mesh.rewrite(&third.concat());
        assert!(reload(&mesh).await.unwrap().changed);
        client.chat(&chat("new-model")).await.problem(404, "model_not_found");
        let (asked, moved) = (old.calls().len(), new.calls().len());
        callers.go_on().await;
        assert!(new.calls().len() > moved);
        // Those under way when it was read may still have come to the old one.
        assert!(old.calls().len() <= asked + 3, "{} {asked}", old.calls().len());
        for (id, engine) in [("c", &old), ("d", &new), ("c", &old)] {
            let before = engine.calls().len();
            mesh.rewrite(&[deployment(id, &engine.v1()), model("test-model", &[id], "")].concat());
            assert!(reload(&mesh).await.unwrap().changed);
            callers.go_on().await;
            assert!(engine.calls().len() > before);
        }
        // Weights: nobody is asked for more than the file says.
        let two = [deployment("c", &old.v1()), deployment("d", &new.v1())].concat();
        let weights = |c: u32, d: u32| format!("{two}[[models]]\nname = \"test-model\"\ndeployments = [{{ id = \"c\", weight = {c} }}, {{ id = \"d\", weight = {d} }}]\n");
        mesh.rewrite(&weights(0, 1));
        assert!(reload(&mesh).await.unwrap().changed);
        let asked = old.calls().len();
        callers.go_on().await;
        assert!(old.calls().len() <= asked + 3);

        let answered = callers.stop().await;
        assert!(answered > 60, "{answered}");
        // The stream that began before all of it is still with its engine.
        old.open(2);
        assert_eq!(running.next_text().await, "ly");
        assert_eq!(running.rest().await.last().map(String::as_str), Some("[DONE]"));
        assert_eq!(counted(&mesh, "refused").await, 0);
    }
}

both! {
    async fn a_signal_and_the_file_alone_do_as_well(topology: Topology) {
        let engine = Engine::start().await;
        let first = [deployment("a", &engine.v1()), model("test-model", &["a"], "")];
        let mut mesh = Mesh::start(topology, &first.concat()).await;
        let client = mesh.client();
        let callers = Callers::start(&client);
        // Nobody is told: the deployment goes with its model, and the callers' gets another one.
        let second = [deployment("b", &engine.v1()), model("test-model", &["b"], ""), model("by-file", &["b"], "")];
        mesh.rewrite(&second.concat());
        until_it_answers(&client, "by-file").await;
        // A text that only looks different, and a section that is read at the start alone.
        let third = [second.concat(), model("by-signal", &["b"], ""), "[cache]\nttl = \"1h\"\n".into()];
        mesh.rewrite(&third.concat());
        mesh.process(Service::Router).signal(Signal::HUP);
        until_it_answers(&client, "by-signal").await;
        assert_eq!(reload(&mesh).await.unwrap().needs_restart, ["cache"]);
        mesh.says(Service::Router, "read only at the start").await;
        assert!(mesh.process(Service::Router).ended().is_none());
        // Whatever reads nothing again must not die of it.
        for service in mesh.processes_of_topology() {
            mesh.process(*service).signal(Signal::HUP);
            mesh.says(*service, "the configuration was read again").await;
        }
        callers.stop().await;
        assert!(counted(&mesh, "applied").await >= 2 && counted(&mesh, "refused").await == 0);
    }
}

both! {
    async fn a_wrong_file_is_refused_whole_and_a_good_one_heals(topology: Topology) {
        let engine = Engine::start().await;
        let good = [deployment("a", &engine.v1()), model("test-model", &["a"], "")].concat();
        let mesh = Mesh::start(topology, &good).await;
        let client = mesh.client();
        let callers = Callers::start(&client);
        assert_eq!(configuration(&mesh).await.state(), State::Up);
        // A new model that is right, and three mistakes.
        let wrong = format!(
            "{good}{}[[models]]\nname = \"test-model\"\ndeployments = [\"gone\"]\nweight = 1\n",
            model("new-model", &["a"], "")
        );
        mesh.rewrite(&wrong);
        let refusal = reload(&mesh).await.unwrap_err();
        assert_eq!((refusal.code(), reason(&refusal).as_str()), (tonic::Code::InvalidArgument, "INVALID_REQUEST"));
        assert!(refusal.message().starts_with("the configuration has 3 mistakes: "), "{refusal:?}");
        let error = penstock_proto::Error::from(&refusal);
        let text = std::fs::read_to_string(mesh.folder().join("penstock.toml")).unwrap();
        let line = |what: &str| text.lines().enumerate().filter(|(_, line)| line.starts_with(what)).last().unwrap().0 + 1;
        let expected = [
            ("models[2].name", line("name = \"test-model\""), "\"test-model\" is the name of another model already"),
            ("models[2].deployments[0].id", line("deployments = [\"gone\"]"), "\"gone\" is not the id of a deployment"),
            ("models[2].weight", line("weight = 1"), "is not a known key"),
        ];
        assert_eq!(error.violations.len(), 3, "{error:?}");
        for (violation, (key, line, message)) in error.violations.iter().zip(expected) {
            assert_eq!(violation.field, key);
            assert!(violation.message.starts_with(&format!("line {line}: {message}")), "{violation:?}");
            mesh.says(Service::Router, &format!("line {line}: {key}: ")).await;
        }
        // Nothing has changed, and it can be seen.
        client.chat(&chat("new-model")).await.problem(404, "model_not_found");
        let component = until_it_is(&mesh, State::Degraded).await;
        assert!(!component.required);
        assert!(component.detail.starts_with("the file has 3 mistakes; the configuration of 20"), "{component:?}");
        assert!(counted(&mesh, "refused").await >= 1 && counted(&mesh, "applied").await == 0);
        assert_eq!(client.get("/health/ready").await.status, 200, "requests go on");

        // Half a file, no file: likewise.
        let path = mesh.folder().join("penstock.toml");
        std::fs::write(&path, &text[..text.len() - 12]).unwrap();
        assert!(reload(&mesh).await.is_err());
        std::fs::remove_file(&path).unwrap();
        let refusal = reload(&mesh).await.unwrap_err();
        assert!(refusal.message().contains("cannot read the file"), "{refusal:?}");
        callers.go_on().await;

        mesh.rewrite(&[good, model("new-model", &["a"], "")].concat());
        until_it_answers(&client, "new-model").await;
        let component = until_it_is(&mesh, State::Up).await;
        assert_eq!(component.detail, "");
        callers.stop().await;
    }
}

both! {
    /// Whoever may not is not told what is wrong with the file either.
    async fn only_operators_have_it_read(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        let request = penstock_proto::auth::v1::CreateRequest {
            name: "somebody".into(),
            scopes: vec!["inference".into()],
            ..Default::default()
        };
        let made = penstock_tests::grpc::create_key(mesh.address(Service::Auth), ADMIN_KEY, request).await;
        let mut routing = RoutingClient::new(channel(mesh.grpc()).await);
        let refused = routing.reload(keyed(&made.secret, ReloadRequest {})).await.unwrap_err();
        assert_eq!(reason(&refused), "PERMISSION_DENIED");
        let refused = routing.reload(ReloadRequest {}).await.unwrap_err();
        assert_eq!(reason(&refused), "INVALID_API_KEY");
        assert_eq!(counted(&mesh, "unchanged").await, 0, "nothing was read");
    }
}
