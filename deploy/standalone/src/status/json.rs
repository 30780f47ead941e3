//! A report as one JSON document, for programs: names of fields stay as they are, states are words, moments are
//! RFC 3339, latencies are milliseconds, and what is not known is null.

use std::time::{Duration, SystemTime};

use penstock_proto::status::v1::{Change, Component, Report};
use serde_json::{Value, json};

use super::words;
use crate::caller::moment;

/// The report of the process at `address`, and the changes if they were asked for.
pub(super) fn report(address: &str, report: &Report, changes: Option<&[Change]>, now: SystemTime) -> Value {
    let components: Vec<_> = report.components.iter().map(component).collect();
    let mut value = json!({
        "addr": address,
        "asked_at": moment(Some(now.into())),
        "reachable": true,
        "service": some(&report.service),
        "version": some(&report.version),
        "state": words::state(report.state()),
        "readiness": words::state(report.readiness()),
        "starting": report.starting,
        "draining": report.draining,
        "started_at": moment(report.started_at),
        "uptime_seconds": words::ago(report.started_at, now).map(|span| span.as_secs()),
        "components": components,
    });
    if let (Some(changes), Some(members)) = (changes, value.as_object_mut()) {
        members.insert("changes".to_owned(), changes.iter().map(change).collect());
    }
    value
}

/// Nobody could be asked at `address`.
pub(super) fn unreachable(address: &str, error: &str, now: SystemTime) -> Value {
    json!({
        "addr": address,
        "asked_at": moment(Some(now.into())),
        "reachable": false,
        "error": error,
    })
}

fn component(component: &Component) -> Value {
    let latency = component.latency.and_then(|latency| Duration::try_from(latency).ok());
    json!({
        "name": component.name,
        "kind": words::kind(component.kind()),
        "state": words::state(component.state()),
        "required": component.required,
        "counts_for_readiness": !component.ignored_by_readiness,
        "reason": some(&component.detail),
        "latency_ms": latency.map(|latency| latency.as_micros() as f64 / 1e3),
        "since": moment(component.since),
        "checked_at": moment(component.checked_at),
        "last_success_at": moment(component.last_success_at),
        "part_of": some(&component.part_of),
        "stands_on": component.stands_on,
    })
}

fn change(change: &Change) -> Value {
    json!({
        "at": moment(change.at),
        "name": some(&change.name),
        "kind": words::kind(change.kind()),
        "from": words::state(change.from()),
        "to": words::state(change.to()),
        "reason": some(&change.detail),
    })
}

fn some(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use penstock_proto::status::v1::{Kind, State};
    use prost_types::Timestamp;

    use super::*;

    #[test]
    fn every_field_is_there_and_what_is_not_known_is_null() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(100);
        let known = Component {
            name: "deployment/a".into(),
            state: State::Degraded.into(),
            kind: Kind::Deployment.into(),
            detail: "slow".into(),
            latency: Some(prost_types::Duration { seconds: 0, nanos: 1_250_000 }),
            since: Some(Timestamp { seconds: 40, nanos: 0 }),
            part_of: "inference-adapter".into(),
            ..Component::default()
        };
        let report = Report {
            state: State::Degraded.into(),
            service: "router".into(),
            started_at: Some(Timestamp { seconds: 10, nanos: 0 }),
            components: vec![known, Component { name: "b".into(), ..Component::default() }],
            ..Report::default()
        };
        let change = Change { to: State::Up.into(), ..Change::default() };
        let value = super::report("http://x", &report, Some(&[change]), now);
        assert_eq!((&value["state"], &value["uptime_seconds"]), (&json!("DEGRADED"), &json!(90)));
        assert_eq!(value["asked_at"], "1970-01-01T00:01:40Z");
        let expected = json!({
            "name": "deployment/a", "kind": "deployment", "state": "DEGRADED", "required": false,
            "counts_for_readiness": true, "reason": "slow", "latency_ms": 1.25, "since": "1970-01-01T00:00:40Z",
            "checked_at": null, "last_success_at": null, "part_of": "inference-adapter", "stands_on": [],
        });
        assert_eq!(value["components"][0], expected);
        assert_eq!(value["components"][1]["state"], "UNKNOWN");
        assert_eq!(value["components"][1]["latency_ms"], Value::Null);
        assert_eq!(value["changes"][0]["to"], "UP");
        assert_eq!(super::report("x", &report, None, now).get("changes"), None);
    }
}
