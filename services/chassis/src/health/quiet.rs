//! Reports without what changes with every check: who watches is told of changes of state and of reasons only.

use penstock_proto::status::v1::{Component, Report};

/// The report without what changes with every check: a Watch tells of changes only.
pub(super) fn without_looks(report: &Report) -> Report {
    let mut report = report.clone();
    for component in &mut report.components {
        component.latency = None;
        component.checked_at = None;
        component.last_success_at = None;
    }
    report
}

/// Whether nothing changed but what changes with every check. `quiet` is without that; nothing is copied.
pub(super) fn differ_in_looks_alone(quiet: &Report, report: &Report) -> bool {
    // Names every field, so that a new one is not forgotten here.
    let Report { state, draining, version, components, readiness, starting, service, started_at } = report;
    let same = |(old, new): (&Component, &Component)| {
        let Component {
            name,
            state,
            required,
            detail,
            latency: _,
            checked_at: _,
            kind,
            part_of,
            stands_on,
            ignored_by_readiness,
            since,
            last_success_at: _,
        } = new;
        (&old.name, old.state, old.required, &old.detail, old.kind)
            == (name, *state, *required, detail, *kind)
            && (&old.part_of, &old.stands_on, old.ignored_by_readiness, old.since)
                == (part_of, stands_on, *ignored_by_readiness, *since)
    };
    (quiet.state, quiet.draining, &quiet.version) == (*state, *draining, version)
        && (quiet.readiness, quiet.starting, &quiet.service, quiet.started_at)
            == (*readiness, *starting, service, *started_at)
        && quiet.components.len() == components.len()
        && quiet.components.iter().zip(components).all(same)
}
