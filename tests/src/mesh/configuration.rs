//! Configuration of a mesh under test: where its services are, its deployments and models.

use std::collections::BTreeMap;

use super::{Service, Topology, topology::Ports};
use crate::Engine;

/// Adds to each section of `config` where its service listens and finds the others.
pub(super) fn with_addresses(
    config: &str,
    topology: Topology,
    ports: &Ports,
    second: Option<Service>,
) -> String {
    let mut added: BTreeMap<String, String> = BTreeMap::new();
    let services = if topology == Topology::Mesh { &Service::ALL[..] } else { &[Service::Facade] };
    for service in services {
        let (listen, metrics) = (ports.listen(*service), ports.metrics(*service));
        let lines = format!("listen = \"{listen}\"\nmetrics_listen = \"{metrics}\"\n");
        added.insert(service.section(), lines);
    }
    if topology == Topology::Mesh {
        let address = |service: Service| match second == Some(service) {
            true => format!("\"http://{},{}\"", ports.listen(service), ports.second_listen()),
            false => format!("\"http://{}\"", ports.listen(service)),
        };
        *added.entry("facade".into()).or_default() += &format!("router = {}\n", address(Service::Router));
        let others = [Service::Auth, Service::RateLimiter, Service::Cache, Service::InferenceAdapter];
        let lines: String =
            others.iter().map(|other| format!("{} = {}\n", other.section(), address(*other))).collect();
        *added.entry("router".into()).or_default() += &lines;
    }
    for (section, defaults) in [
        ("telemetry", [("log", "\"debug\""), ("log_format", "\"json\"")]),
        ("shutdown", [("readiness_delay", "\"50ms\""), ("drain_limit", "\"10s\"")]),
    ] {
        for (key, value) in defaults {
            let given = config.lines().any(|line| line.trim_start().starts_with(&format!("{key} ")));
            if !given {
                *added.entry(section.into()).or_default() += &format!("{key} = {value}\n");
            }
        }
    }
    let mut merged = String::new();
    for line in config.lines() {
        merged += &format!("{line}\n");
        let section = line.trim().strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        if let Some(lines) = section.and_then(|section| added.remove(section)) {
            merged += &lines;
        }
    }
    for (section, lines) in added {
        merged += &format!("[{section}]\n{lines}");
    }
    merged
}

/// Configuration of one model `test-model` (alias `test-alias`) on `engine`. What breaks is told at once: what the
/// engine does is what the caller hears.
pub fn one_model(engine: &Engine) -> String {
    format!(
        "{}{}",
        deployment("main", &engine.v1()),
        model("test-model", &["main"], "aliases = [\"test-alias\"]\nafter_commit = \"error\"")
    )
}

/// Configuration of an OpenAI-compatible deployment.
pub fn deployment(id: &str, endpoint: &str) -> String {
    format!(
        "[[deployments]]\nid = \"{id}\"\nengine = \"openai\"\nendpoint = \"{endpoint}\"\n\
         model = \"engine-model\"\napi_key_env = \"ENGINE_KEY\"\n"
    )
}

/// Configuration of a model.
pub fn model(name: &str, deployments: &[&str], more: &str) -> String {
    format!("[[models]]\nname = \"{name}\"\ndeployments = {deployments:?}\n{more}\n")
}
