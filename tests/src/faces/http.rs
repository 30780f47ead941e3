//! Where the faces by HTTP contradict the report that they are views of.

use penstock_proto::status::v1::State;

use super::{Faces, differs, word};

impl Faces {
    pub(super) fn contradictions_of_http(&self, wrong: &mut Vec<String>) {
        let (state, ready) = (self.facade.report.state(), self.facade.report.readiness());
        let code = |state: State| if state == State::Down { 503 } else { 200 };
        for (who, faces) in [("a key", &self.http), ("anybody", &self.anonymous)] {
            let mut told = |path: &str, member: &str, code: u16, state: &str| {
                let (status, body) = &faces[path];
                differs(wrong, &format!("{path} for {who}"), *status, code);
                differs(wrong, &format!("{member} of {path} for {who}"), body[member].as_str(), Some(state));
            };
            told("/health", "state", code(state), word(state));
            told("/health/ready", "state", code(ready), word(ready));
            told("/health/readiness", "state", code(ready), word(ready));
            told("/health/status", "status", faces["/health/status"].0, word(state));
            told("/health/live", "status", 200, "alive");
            for path in ["/health", "/health/ready", "/health/status"] {
                let members = if path == "/health/ready" { "checks" } else { "components" };
                for (name, told) in faces[path].1[members].as_object().into_iter().flatten() {
                    let state = word(self.facade.state(name));
                    differs(
                        wrong,
                        &format!("{path} of {name} for {who}"),
                        told["status"].as_str(),
                        Some(state),
                    );
                }
            }
            let health = &faces["/health"].1;
            for (list, count) in
                [("healthy_endpoints", "healthy_count"), ("unhealthy_endpoints", "unhealthy_count")]
            {
                let length = health[list].as_array().map(|list| list.len() as u64);
                differs(wrong, &format!("{count} for {who}"), health[count].as_u64(), length);
            }
        }
        self.contradictions_of_lists(wrong);
    }

    fn contradictions_of_lists(&self, wrong: &mut Vec<String>) {
        let (status, models) = &self.http["/health/models"];
        if !self.key_counts() {
            // Only where nobody is left who could judge the key.
            let excused = self.state("auth") != State::Up || self.facade.state("router") == State::Down;
            return differs(wrong, "/health/models", *status, if excused { 503 } else { 200 });
        }
        let listed = models["models"].as_array().cloned().unwrap_or_default();
        let known: Vec<_> =
            self.facade.report.components.iter().filter(|one| one.name.starts_with("model/")).collect();
        differs(wrong, "the number of models at /health/models", listed.len(), known.len());
        for model in &listed {
            let name = model["name"].as_str().unwrap_or_default();
            let state = word(self.facade.state(&format!("model/{name}")));
            differs(wrong, &format!("/health/models of {name}"), model["status"].as_str(), Some(state));
            for deployment in model["deployments"].as_array().into_iter().flatten() {
                let id = deployment["id"].as_str().unwrap_or_default();
                let state = word(self.facade.state(&format!("deployment/{id}")));
                differs(
                    wrong,
                    &format!("/health/models of {id}"),
                    deployment["status"].as_str(),
                    Some(state),
                );
            }
        }
        for service in self.http["/health/services"].1["services"].as_array().into_iter().flatten() {
            let name = service["name"].as_str().unwrap_or_default();
            let state = word(self.facade.state(name));
            differs(wrong, &format!("/health/services of {name}"), service["status"].as_str(), Some(state));
        }
    }
}
