//! What is drawn, to the letter (`golden/*.txt`), and that any report at all can be drawn.

use std::time::{Duration, UNIX_EPOCH};

use penstock_proto::status::v1::{Change, Kind};
use proptest::prelude::*;
use prost_types::Timestamp;

use super::*;

/// 2026-01-01T00:00:00Z.
const NOW: u64 = 1_767_225_600;

fn style(width: usize) -> Style {
    Style { width, colour: false, now: UNIX_EPOCH + Duration::from_secs(NOW) }
}

fn ago(seconds: i64) -> Option<Timestamp> {
    Some(Timestamp { seconds: NOW.cast_signed() - seconds, nanos: 0 })
}

/// As the parts of a mesh report themselves.
fn component(kind: Kind, name: &str, part_of: &str, state: State, detail: &str) -> Component {
    Component {
        name: name.into(),
        state: state.into(),
        detail: detail.into(),
        latency: (state != State::Unspecified)
            .then_some(prost_types::Duration { seconds: 0, nanos: 1_240_000 }),
        checked_at: ago(2),
        kind: kind.into(),
        part_of: part_of.into(),
        since: ago(200),
        ..Component::default()
    }
}

fn model(name: &str, state: State, detail: &str, stands_on: &[&str]) -> Component {
    let stands_on = stands_on.iter().map(ToString::to_string).collect();
    let mut model = component(Kind::Model, &format!("model/{name}"), "models", state, detail);
    (model.latency, model.stands_on) = (None, stands_on);
    model
}

fn report(state: State, components: Vec<Component>) -> Report {
    Report {
        state: state.into(),
        readiness: state.into(),
        service: "facade".into(),
        version: "0.1.0".into(),
        started_at: ago(11_530),
        components,
        ..Report::default()
    }
}

fn mesh() -> Report {
    let (up, down, degraded) = (State::Up, State::Down, State::Degraded);
    let deployment = |name: &str, state, detail| {
        component(Kind::Deployment, &format!("deployment/{name}"), "inference-adapter", state, detail)
    };
    let service = |name: &str, state, detail| component(Kind::Service, name, "router", state, detail);
    let mut components = vec![
        component(Kind::Service, "router", "", degraded, "not well: inference-adapter, models"),
        service("auth", up, ""),
        component(Kind::Store, "auth/store", "auth", up, ""),
        service("cache", State::Unspecified, "cannot be asked"),
        service("inference-adapter", degraded, "not well: deployment/gpu-b"),
        service("rate-limiter", up, ""),
        component(Kind::Part, "models", "router", degraded, "1 of 3 models is DOWN: small"),
        deployment("gpu-a", up, ""),
        deployment("gpu-b", down, "no connection: the engine's port is closed, or its machine is not there"),
        deployment("idle", up, ""),
        model(
            "llama",
            degraded,
            "1 of 2 deployments is DOWN",
            &["deployment/gpu-a", "deployment/gpu-b", "model/tiny"],
        ),
        model("small", down, "no deployment is left", &["deployment/gpu-b", "deployment/gone"]),
        model("tiny", up, "", &["deployment/gpu-a", "model/llama"]),
    ];
    components.sort_by(|a, b| a.name.cmp(&b.name));
    report(degraded, components)
}

#[test]
fn a_mesh_is_drawn_as_a_tree() {
    let report = mesh();
    let text = style(100).report("http://127.0.0.1:4000", &report);
    assert_eq!(text, include_str!("golden/mesh.txt"), "\n{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 100));
}

#[test]
fn a_narrow_terminal_gets_the_reasons_below() {
    let text = style(80).report("http://127.0.0.1:4000", &mesh());
    assert_eq!(text, include_str!("golden/narrow.txt"), "\n{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 80));
}

#[test]
fn colours_change_nothing_else() {
    let colourful = Style { colour: true, ..style(100) }.report("http://127.0.0.1:4000", &mesh());
    let mut plain = String::new();
    for (number, part) in colourful.split('\u{1b}').enumerate() {
        plain.push_str(if number == 0 { part } else { part.split_once('m').unwrap().1 });
    }
    assert_ne!(colourful, plain);
    assert_eq!(plain, include_str!("golden/mesh.txt"));
}

#[test]
fn the_head_says_what_happens_to_the_process() {
    let of = |change: &dyn Fn(&mut Report)| {
        let mut report = report(State::Down, Vec::new());
        change(&mut report);
        style(100).report("http://x", &report)
    };
    let text = of(&|report| report.starting = true);
    assert_eq!(
        text,
        "✗ DOWN  facade 0.1.0 at http://x, up for 3h 12m\n  starting: not all parts are in place yet\n"
    );
    assert!(of(&|report| report.draining = true).contains("  draining: "));
    assert!(of(&|report| report.readiness = State::Up.into()).contains("  readiness is UP\n"));
    assert_eq!(style(80).report("http://x", &Report::default()), "? UNKNOWN  penstock at http://x\n");
}

#[test]
fn what_was_seen_once_is_not_called_never_checked() {
    let mut own = component(Kind::Service, "router", "", State::Unspecified, "");
    (own.checked_at, own.since) = (None, None);
    let theirs = Component { part_of: "router".into(), name: "auth".into(), ..own.clone() };
    let text = style(100).report("http://127.0.0.1:4000", &report(State::Down, vec![own, theirs]));
    let reason = |name: &str| text.lines().find(|line| line.contains(name)).unwrap();
    assert!(reason(" router ").ends_with("never checked"), "{text}");
    assert!(reason(" auth ").ends_with("not known at present"), "{text}");
}

#[test]
fn what_does_not_fit_is_counted_and_what_ails_comes_first() {
    let mut components: Vec<_> = (0..3000)
        .map(|n| component(Kind::Deployment, &format!("deployment/{n:04}"), "a", State::Up, ""))
        .collect();
    components[2999].state = State::Down.into();
    components[1500].state = State::Degraded.into();
    let text = style(80).report("http://x", &report(State::Degraded, components));
    let lines: Vec<_> = text.lines().collect();
    assert!(lines[4].starts_with("✗ DOWN      ├─ 2999"), "{text}");
    assert!(lines[5].starts_with("! DEGRADED  ├─ 1500"), "{text}");
    assert_eq!(lines.last(), Some(&"            └─ … and 2950 more: 2950 UP"), "{text}");
}

#[test]
fn names_and_reasons_cannot_act_on_the_terminal() {
    let components = vec![component(Kind::Part, "a\u{1b}[2J\u{202e}", "", State::Down, "b\r\n\u{9b}31m")];
    let mut report = report(State::Down, components);
    report.service = "c\u{7}".into();
    let text = style(100).report("http://x", &report);
    assert!(
        text.chars().all(|letter| letter == '\n' || !letter.is_control()) && !text.contains('\u{202e}'),
        "{text}"
    );
    assert!(text.contains("a\\u{1b}[2J\\u{202e}"), "{text}");
}

#[test]
fn changes_are_drawn_the_newest_first() {
    let change = |name: &str, from: State, to: State, detail: &str, seconds| Change {
        name: name.into(),
        from: from.into(),
        to: to.into(),
        detail: detail.into(),
        at: ago(seconds),
        ..Change::default()
    };
    let long =
        "a reason that is so long that it cannot stand on the line of the change itself, and is put below";
    let changes = [
        change("", State::Degraded, State::Up, "", 1),
        change("cache", State::Up, State::Degraded, "slow: 140 ms", 30),
        change("cache", State::Unspecified, State::Up, long, 60),
    ];
    let text = style(80).changes(&changes);
    assert_eq!(text, include_str!("golden/changes.txt"), "\n{text}");
    assert!(style(80).changes(&[]).ends_with("  none\n"));
}

fn any_component() -> impl Strategy<Value = Component> {
    // Few names, so that they meet in circles, twice, and as parts of what is not there.
    let name =
        || prop_oneof![Just(String::new()), "[a-e]", "(model|deployment)/[a-c]", "\\PC{0,90}", ".{0,5}"];
    let moment = || {
        prop::option::of(
            (any::<i64>(), any::<i32>()).prop_map(|(seconds, nanos)| Timestamp { seconds, nanos }),
        )
    };
    let span =
        (any::<i64>(), any::<i32>()).prop_map(|(seconds, nanos)| prost_types::Duration { seconds, nanos });
    let stands_on = prop::collection::vec(name(), 0..6);
    (name(), name(), -1..5i32, -1..7i32, ".{0,200}", prop::option::of(span), (moment(), moment()), stands_on)
        .prop_map(|(name, part_of, state, kind, detail, latency, (since, checked_at), stands_on)| Component {
            name,
            part_of,
            state,
            kind,
            detail,
            latency,
            since,
            checked_at,
            stands_on,
            ..Component::default()
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_report_is_drawn(components in prop::collection::vec(any_component(), 0..40), width in 0..300usize) {
        let report = Report { components, started_at: ago(-5), ..Report::default() };
        let text = style(width).report("http://127.0.0.1:4000", &report);
        prop_assert!(text.chars().all(|letter| letter == '\n' || !letter.is_control()));
        // Each component is there, in one section or another.
        let rows = sections(&report).iter().map(|section| section.rows.len()).sum::<usize>();
        let is_used = |name: &str| report.components.iter().any(|one| {
            one.kind() == Kind::Model && one.stands_on.iter().any(|ground| ground == name)
        });
        let expected = report.components.iter()
            .filter(|one| one.kind() != Kind::Deployment || !is_used(&one.name))
            .count();
        prop_assert!(rows >= expected, "{} rows of {}", rows, expected);
    }
}

/// A name for each of so many components; each part of the one before, the first of the last.
#[test]
fn a_circle_of_thousands_ends_and_is_bounded() {
    let count = 20_000;
    let circle = (0..count).map(|n| {
        let part_of = format!("c{:05}", (n + count - 1) % count);
        let mut one = component(Kind::Part, &format!("c{n:05}"), &part_of, State::Up, "");
        one.stands_on = (0..20).map(|k| format!("model/{}", (n + k) % count)).collect();
        one
    });
    let models = (0..count).map(|n| {
        let others: Vec<_> = (0..20).map(|k| format!("model/{}", (n + k) % count)).collect();
        model(&n.to_string(), State::Down, "gone", &others.iter().map(String::as_str).collect::<Vec<_>>())
    });
    let report = report(State::Down, circle.chain(models).collect());
    let text = style(120).report("http://x", &report);
    assert!(text.lines().count() < 1500, "{} lines", text.lines().count());
}
