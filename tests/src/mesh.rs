//! Runs the real binary, as one process or as six, on ports and in a folder of its own. Waits until it says
//! that it is ready, ends it by pid, and searches everything that it said for what must never be said.

mod breaks;
mod configuration;
mod process;
mod topology;

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

pub use breaks::{Disk, Impostor, Imposture};
use configuration::with_addresses;
pub use configuration::{deployment, model, one_model};
use process::command_with_small_disk;
pub use process::{Process, binary, command};
use topology::Ports;
pub use topology::{Service, Topology};

use crate::{
    Client, ENGINE_CANARY, ENGINE_KEY, Engine, PROMPT_CANARY,
    bounded::{LONG, within},
};

/// The credential that the tests give as `PENSTOCK_ADMIN_KEY`: a sentence, as the design allows.
pub const ADMIN_KEY: &str = "canary admin key of the tests 27d0";

/// How to start.
pub struct Plan {
    topology: Topology,
    config: Option<String>,
    environment: Vec<(String, String)>,
    secrets: Vec<String>,
    small_disk: Option<Service>,
    second: Option<Service>,
}

/// A running Penstock.
pub struct Mesh {
    topology: Topology,
    ports: Ports,
    folder: TempDir,
    environment: Vec<(String, String)>,
    has_config: bool,
    processes: BTreeMap<Service, Process>,
    secrets: Vec<String>,
    small_disk: Option<Service>,
    second: Option<(Service, Process)>,
}

impl Plan {
    /// With this configuration; the addresses are added to it.
    pub fn new(topology: Topology, config: &str) -> Plan {
        let environment = [("PENSTOCK_ADMIN_KEY", ADMIN_KEY), ("ENGINE_KEY", ENGINE_KEY)];
        Plan {
            topology,
            config: Some(config.to_owned()),
            environment: environment.map(|(name, value)| (name.into(), value.into())).into(),
            secrets: [ADMIN_KEY, ENGINE_KEY, PROMPT_CANARY, ENGINE_CANARY].map(str::to_owned).into(),
            small_disk: None,
            second: None,
        }
    }

    /// This service gets a small disk of its own for its data, which `Mesh::disk` fills.
    #[must_use]
    pub fn small_disk(mut self, service: Service) -> Plan {
        self.small_disk = Some(service);
        self
    }

    /// Runs this service twice; whoever calls it knows both addresses. For a mesh only.
    #[must_use]
    pub fn twice(mut self, service: Service) -> Plan {
        self.second = Some(service);
        self
    }

    /// Without a file and without a key, as a newcomer starts it.
    pub fn bare() -> Plan {
        let mut plan = Plan::new(Topology::Standalone, "");
        plan.config = None;
        plan.environment.clear();
        plan
    }

    /// With a further environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Plan {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Starts it and waits until it is ready.
    pub async fn start(self) -> Mesh {
        let mut mesh = self.start_unready();
        mesh.ready().await;
        mesh
    }

    /// Starts it and waits for nothing.
    pub fn start_unready(self) -> Mesh {
        let ports = Ports::take();
        let folder = tempfile::Builder::new().prefix("penstock-test-").tempdir().unwrap();
        if let Some(config) = &self.config {
            let config = with_addresses(config, self.topology, &ports, self.second);
            fs::write(folder.path().join("penstock.toml"), config).unwrap();
        }
        let mut mesh = Mesh {
            topology: self.topology,
            ports,
            folder,
            environment: self.environment,
            has_config: self.config.is_some(),
            processes: BTreeMap::new(),
            secrets: self.secrets,
            small_disk: self.small_disk,
            second: None,
        };
        for service in mesh.processes_of_topology() {
            mesh.spawn(*service);
        }
        mesh.second = self.second.map(|service| (service, mesh.start_second(service)));
        mesh
    }
}

impl Mesh {
    /// Starts `topology` with this configuration and waits until it is ready.
    pub async fn start(topology: Topology, config: &str) -> Mesh {
        Plan::new(topology, config).start().await
    }

    /// As `start`, with one model `test-model` (alias `test-alias`) on `engine`, and `more` configuration.
    pub async fn over(topology: Topology, engine: &Engine, more: &str) -> Mesh {
        Mesh::start(topology, &format!("{more}\n{}", one_model(engine))).await
    }

    /// How the services run.
    pub fn topology(&self) -> Topology {
        self.topology
    }

    /// The services that have a process of their own.
    pub fn processes_of_topology(&self) -> &'static [Service] {
        match self.topology {
            Topology::Standalone => &[Service::Facade],
            Topology::Mesh => &Service::ALL,
        }
    }

    fn holder(&self, service: Service) -> Service {
        if self.topology == Topology::Mesh { service } else { Service::Facade }
    }

    fn spawn(&mut self, service: Service) {
        let process = Process::start(self.command(service), self.folder.path(), service.name());
        self.processes.insert(service, process);
    }

    /// A second process of a service: the same configuration, ports of its own.
    fn start_second(&self, service: Service) -> Process {
        let mut command = self.command(service);
        let section = service.section().to_uppercase();
        command.env(format!("PENSTOCK_{section}__LISTEN"), self.ports.second_listen().to_string());
        command.env(format!("PENSTOCK_{section}__METRICS_LISTEN"), self.ports.second_metrics().to_string());
        Process::start(command, self.folder.path(), &format!("{}-2", service.name()))
    }

    fn command(&self, service: Service) -> Command {
        let mut arguments = match self.topology {
            Topology::Standalone => vec!["up".into()],
            Topology::Mesh => vec!["serve".into(), service.name().to_owned()],
        };
        let path = |name: &str| self.folder.path().join(name).display().to_string();
        if self.has_config {
            arguments.extend(["--config".into(), path("penstock.toml")]);
        } else {
            arguments.extend(["--listen".into(), self.ports.listen(Service::Facade).to_string()]);
        }
        arguments.extend(["--data-dir".into(), path("data")]);
        let mut command = match self.small_disk == Some(service) {
            true => command_with_small_disk(&self.folder.path().join("data"), arguments),
            false => command(arguments),
        };
        command.envs(self.environment.iter().cloned()).current_dir(self.folder.path());
        if !self.has_config {
            let metrics = self.ports.metrics(Service::Facade).to_string();
            command.env("PENSTOCK_FACADE__METRICS_LISTEN", metrics);
        }
        command
    }

    /// Waits until every process says that it is ready; fails with their logs.
    pub async fn ready(&mut self) {
        let deadline = tokio::time::Instant::now() + LONG;
        for service in self.processes_of_topology() {
            while !self.is_ready(*service).await {
                let ended = self.processes.get_mut(service).and_then(Process::ended);
                if ended.is_some() || tokio::time::Instant::now() > deadline {
                    let state = ended.map_or("is not ready".into(), |status| format!("ended: {status}"));
                    panic!("{} {state}\n{}", service.name(), self.everything_said());
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
    }

    async fn is_ready(&self, service: Service) -> bool {
        if service == Service::Facade {
            let client = Client::new(self.address(service));
            return match client.try_send(http::Method::GET, "/health/ready", "").await {
                Ok(pending) => pending.try_head().await.is_ok_and(|answer| answer.status == 200),
                Err(_) => false,
            };
        }
        let address = self.address(service);
        // A router serves without its limiter and its cache; tests want to begin with both.
        if self.second.as_ref().is_some_and(|(second, _)| *second == service)
            && !crate::grpc::is_serving(self.ports.second_listen(), "").await
        {
            return false;
        }
        let whole =
            service != Service::Router || crate::grpc::all_up(address, &["rate-limiter", "cache"]).await;
        whole && crate::grpc::is_serving(address, "").await
    }

    /// Where a service listens. Standalone: the one port, which takes gRPC too.
    pub fn address(&self, service: Service) -> SocketAddr {
        self.ports.listen(self.holder(service))
    }

    /// Where a service's metrics are.
    pub fn metrics_address(&self, service: Service) -> SocketAddr {
        self.ports.metrics(self.holder(service))
    }

    /// What to give an OpenAI SDK as `base_url`.
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address(Service::Facade))
    }

    /// Where gRPC callers go.
    pub fn grpc(&self) -> SocketAddr {
        self.address(Service::Router)
    }

    /// A key that may do everything.
    pub fn key(&self) -> &'static str {
        ADMIN_KEY
    }

    /// A caller with that key.
    pub fn client(&self) -> Client {
        self.anonymous().with_key(ADMIN_KEY)
    }

    /// A caller without a key.
    pub fn anonymous(&self) -> Client {
        Client::new(self.address(Service::Facade))
    }

    /// The folder of data, configuration and logs.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The process that holds a service.
    pub fn process(&mut self, service: Service) -> &mut Process {
        let holder = self.holder(service);
        self.processes.get_mut(&holder).expect("the service runs")
    }

    /// What must not be found in anything that the processes say, beside what is known.
    pub fn keep_secret(&mut self, secret: &str) {
        self.secrets.push(secret.into());
    }

    /// Ends a service as `kill -9` does.
    pub fn kill(&mut self, service: Service) {
        self.process(service).kill();
    }

    /// The second process of the service that runs twice.
    pub fn second(&mut self) -> &mut Process {
        &mut self.second.as_mut().expect("a service runs twice").1
    }

    /// Starts the second process again after its end.
    pub fn restart_second(&mut self) {
        let service = self.second.as_ref().expect("a service runs twice").0;
        self.second = Some((service, self.start_second(service)));
    }

    /// Puts this configuration in the place of the file, in one piece; the addresses are added to it.
    pub fn rewrite(&self, config: &str) {
        let second = self.second.as_ref().map(|(service, _)| *service);
        let config = with_addresses(config, self.topology, &self.ports, second);
        let (file, aside) = (self.folder.path().join("penstock.toml"), self.folder.path().join("aside.toml"));
        fs::write(&aside, config).unwrap();
        fs::rename(aside, file).unwrap();
    }

    /// Starts a service that was ended, where it was.
    pub fn restart(&mut self, service: Service) {
        let holder = self.holder(service);
        self.spawn(holder);
    }

    /// Where the second process of the service that runs twice listens.
    pub fn second_address(&self) -> SocketAddr {
        self.ports.second_listen()
    }

    /// Asks every process to end and says how each did.
    pub async fn stop(&mut self) -> Vec<(Service, ExitStatus)> {
        for process in self.processes.values() {
            process.terminate();
        }
        self.ends().await
    }

    /// Waits for the end of every process, which others have brought about, and says how each ended.
    pub async fn ends(&mut self) -> Vec<(Service, ExitStatus)> {
        let mut ends = Vec::new();
        for (service, process) in &mut self.processes {
            ends.push((*service, process.exit().await));
        }
        ends
    }

    /// The JSON log lines of the process that holds a service.
    pub fn log(&self, service: Service) -> Vec<Value> {
        let said = self.processes.get(&self.holder(service)).map_or_else(String::new, Process::said);
        said.lines()
            .filter(|line| line.starts_with('{'))
            .filter_map(|l| serde_json::from_str(l).ok())
            .collect()
    }

    /// Everything that every process said.
    pub fn everything_said(&self) -> String {
        self.processes
            .iter()
            .chain(self.second.as_ref().map(|(service, process)| (service, process)))
            .map(|(service, process)| format!("--- {}\n{}", service.name(), process.said()))
            .collect()
    }

    /// The metrics of the process that holds a service, as text.
    pub async fn metrics(&self, service: Service) -> String {
        let answer = Client::new(self.metrics_address(service)).get("/metrics").await;
        assert_eq!(answer.status, 200);
        String::from_utf8(answer.body.to_vec()).unwrap()
    }

    /// Waits until a process has said `what`.
    pub async fn says(&self, service: Service, what: &str) {
        let process = &self.processes[&self.holder(service)];
        crate::bounded::until(what, async || process.said().contains(what).then_some(())).await;
    }

    /// Process ids.
    pub fn pids(&self) -> impl Iterator<Item = u32> {
        self.processes.values().map(Process::pid)
    }

    /// Memory of all processes that is in use, in bytes.
    pub fn resident_bytes(&self) -> u64 {
        self.pids().map(resident_bytes).sum()
    }
}

/// Memory of a process that is in use, in bytes.
pub fn resident_bytes(pid: u32) -> u64 {
    let status = fs::read_to_string(PathBuf::from(format!("/proc/{pid}/status"))).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or_default() * 1024
}

impl Drop for Mesh {
    fn drop(&mut self) {
        for process in self.processes.values_mut() {
            process.kill();
        }
        let said = self.everything_said();
        if std::thread::panicking() {
            eprintln!("{said}");
            return;
        }
        for line in said.lines() {
            assert!(!line.contains("panicked at"), "a process panicked: {line}");
            for secret in &self.secrets {
                assert!(!line.contains(secret.as_str()), "a process says {secret}: {line}");
            }
        }
    }
}

/// Runs a command of the binary to its end: exit code, standard output, standard error.
pub async fn run(arguments: &[&str], environment: &[(&str, &str)]) -> (i32, String, String) {
    let mut command = tokio::process::Command::from(command(arguments));
    command.envs(environment.iter().copied()).kill_on_drop(true);
    let output = within(&format!("penstock {}", arguments.join(" ")), command.output()).await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}
