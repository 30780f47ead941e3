//! Looks at every face of health of a mesh at once: gRPC, HTTP and metrics, on the facade and on the router. It
//! finds where they contradict each other; `Expected` says how they are to be. Nothing is asserted at a glance:
//! `show` looks until all of them agree, or fails and says who says what.

mod http;
mod look;

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use penstock_proto::status::v1::{Component, Report, State};
use serde_json::Value;
use tonic_health::pb::health_check_response::ServingStatus;

use crate::{ENGINE_CANARY, ENGINE_KEY, Mesh, PROMPT_CANARY, Topology, bounded::LONG, mesh::ADMIN_KEY};

/// The faces of a process by gRPC and its gauges.
#[derive(Clone, Debug)]
pub struct Process {
    /// By `penstock.status.v1`, with a key.
    pub report: Report,
    /// By `grpc.health.v1`, under each name that was asked for.
    pub serving: BTreeMap<String, ServingStatus>,
    /// `penstock_service_state` of the service.
    pub gauge: Option<i64>,
    /// `penstock_component_state` by component.
    pub components: BTreeMap<String, i64>,
    /// `penstock_model_state` by model.
    pub models: BTreeMap<String, i64>,
}

/// Everything that says how a mesh is, seen once.
#[derive(Clone, Debug)]
pub struct Faces {
    /// The facade; standalone: the only process.
    pub facade: Process,
    /// The router, if it answers.
    pub router: Option<Process>,
    /// HTTP status and body by path, with a key.
    pub http: BTreeMap<&'static str, (u16, Value)>,
    /// The same without a key.
    pub anonymous: BTreeMap<&'static str, (u16, Value)>,
}

/// How the faces are to be.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    facade: Option<State>,
    router: Option<State>,
    silent_router: bool,
    components: Vec<(String, State)>,
}

impl Expected {
    /// The facade, and the router with it, are in this state.
    pub fn mesh(state: State) -> Expected {
        Expected { facade: Some(state), router: Some(state), ..Expected::default() }
    }

    /// The facade is in this state, and the router does not answer.
    pub fn without_router(state: State) -> Expected {
        Expected { facade: Some(state), silent_router: true, ..Expected::default() }
    }

    /// And a component, as the router sees it (as the facade does if it does not answer), is in this one.
    #[must_use]
    pub fn and(mut self, component: &str, state: State) -> Expected {
        self.components.push((component.into(), state));
        self
    }

    /// Looks until the faces are so and agree, or fails with what is wrong.
    pub async fn show(&self, mesh: &Mesh, when: &str) -> Faces {
        // A failure at generating weighs for a while, and recovery takes several checks.
        let deadline = tokio::time::Instant::now() + 2 * LONG;
        loop {
            let faces = Faces::look(mesh, self.silent_router).await;
            let mut wrong = faces.differences(self);
            wrong.extend(faces.contradictions());
            if wrong.is_empty() {
                return faces;
            }
            let wrong = wrong.join("\n");
            assert!(tokio::time::Instant::now() < deadline, "{when}:\n{wrong}\n{}", faces.told());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

fn is_serving(state: State) -> ServingStatus {
    match state {
        State::Up | State::Degraded => ServingStatus::Serving,
        State::Down => ServingStatus::NotServing,
        State::Unspecified => ServingStatus::Unknown,
    }
}

fn word(state: State) -> &'static str {
    match state {
        State::Unspecified => "UNKNOWN",
        State::Up => "UP",
        State::Degraded => "DEGRADED",
        State::Down => "DOWN",
    }
}

fn number(state: State) -> Option<i64> {
    (state != State::Unspecified).then(|| i64::from(i32::from(state)) - 1)
}

/// What is said, if it is not what is to be said.
fn differs<T: PartialEq + std::fmt::Debug>(wrong: &mut Vec<String>, what: &str, said: T, expected: T) {
    if said != expected {
        wrong.push(format!("{what} says {said:?}, not {expected:?}"));
    }
}

impl Process {
    /// The state of a component. `UNSPECIFIED`: it is not there.
    pub fn state(&self, component: &str) -> State {
        self.component(component).map_or(State::Unspecified, Component::state)
    }

    /// A component.
    pub fn component(&self, name: &str) -> Option<&Component> {
        self.report.components.iter().find(|component| component.name == name)
    }

    fn contradictions(&self, wrong: &mut Vec<String>) {
        let (report, service) = (&self.report, &self.report.service);
        let what = |name: &str| format!("grpc.health.v1 of {service} for {name:?}");
        for (name, said) in &self.serving {
            let expected = match name.as_str() {
                "" => is_serving(report.state()),
                "readiness" => is_serving(report.readiness()),
                "liveness" | "startup" => ServingStatus::Serving,
                model => is_serving(self.state(model)),
            };
            differs(wrong, &what(name), *said, expected);
        }
        differs(wrong, &format!("the gauge of {service}"), self.gauge, number(report.state()));
        for component in report.components.iter().filter(|component| component.part_of.is_empty()) {
            let (name, state) = (&component.name, number(component.state()));
            differs(
                wrong,
                &format!("{service}'s gauge of {name}"),
                self.components.get(name).copied(),
                state,
            );
            if let Some(model) = name.strip_prefix("model/") {
                differs(wrong, &format!("the gauge of {name}"), self.models.get(model).copied(), state);
            }
        }
    }
}

impl Faces {
    /// The state of a component as the router sees it; as the facade does if the router does not answer.
    pub fn state(&self, component: &str) -> State {
        self.router.as_ref().unwrap_or(&self.facade).state(component)
    }

    /// The body of an HTTP face, as a caller with a key gets it.
    pub fn body(&self, path: &str) -> &Value {
        &self.http[path].1
    }

    /// Whether the facade's report must hold the component: it is reduced while nobody can judge the key.
    fn facade_shows(&self, component: &str) -> bool {
        self.key_counts() || self.facade.component(component).is_some()
    }

    fn key_counts(&self) -> bool {
        self.http["/health/models"].0 == 200
    }

    fn differences(&self, expected: &Expected) -> Vec<String> {
        let mut wrong = Vec::new();
        if let Some(state) = expected.facade {
            differs(&mut wrong, "the facade", self.facade.report.state(), state);
        }
        if let (Some(state), false) = (expected.router, expected.silent_router) {
            differs(
                &mut wrong,
                "the router",
                self.router.as_ref().map(|one| one.report.state()),
                Some(state),
            );
        }
        for (name, state) in &expected.components {
            differs(&mut wrong, name, self.state(name), *state);
        }
        wrong
    }

    /// Where the faces contradict each other.
    fn contradictions(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        self.facade.contradictions(&mut wrong);
        if let Some(router) = &self.router {
            router.contradictions(&mut wrong);
            // What the router says of its components is what the facade heard, as far as the key is known to it.
            for component in router.report.components.iter().filter(|one| self.facade_shows(&one.name)) {
                let what = format!("{} at the facade", component.name);
                differs(&mut wrong, &what, self.facade.state(&component.name), component.state());
            }
        }
        self.contradictions_of_http(&mut wrong);
        self.leaks(&mut wrong);
        wrong
    }

    /// Nobody is told a secret, a text of an engine or an address, and who has no key nothing of models.
    fn leaks(&self, wrong: &mut Vec<String>) {
        const NEVER: [&str; 5] = [PROMPT_CANARY, ENGINE_CANARY, ENGINE_KEY, ADMIN_KEY, "127.0.0.1"];
        const WITH_A_KEY: [&str; 4] = ["test-model", "other-model", "deployment/", "model/"];
        for (path, (_, body)) in self.http.iter().chain(&self.anonymous) {
            let found = NEVER.iter().filter(|secret| body.to_string().contains(**secret));
            wrong.extend(found.map(|secret| format!("{path} shows {secret}")));
        }
        for (path, (_, body)) in &self.anonymous {
            let found = WITH_A_KEY.iter().filter(|secret| body.to_string().contains(**secret));
            wrong.extend(found.map(|secret| format!("{path} shows {secret} without a key")));
        }
    }

    /// What each said, for people.
    fn told(&self) -> String {
        let mut told = String::new();
        for process in std::iter::once(&self.facade).chain(&self.router) {
            writeln!(told, "{}: {}", process.report.service, word(process.report.state())).ok();
            for one in &process.report.components {
                let parts = (word(one.state()), &one.part_of, &one.detail);
                writeln!(told, "  {} {} (of {:?}): {}", one.name, parts.0, parts.1, parts.2).ok();
            }
        }
        for (path, (status, body)) in &self.http {
            writeln!(told, "{path}: {status} {body}").ok();
        }
        told
    }
}

/// Faces of a process that answers for everything have no router beside them.
fn has_router(mesh: &Mesh) -> bool {
    mesh.topology() == Topology::Mesh
}
