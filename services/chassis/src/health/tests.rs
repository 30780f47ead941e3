//! The registry: what becomes of the process by its components, and who is told of it.

use super::*;

fn started() -> Health {
    let health = Health::default();
    health.started();
    health
}

#[test]
fn the_worst_required_component_wins_an_optional_one_can_only_degrade() {
    let health = started();
    let required = health.component("a", Kind::Part, true);
    let optional = health.component("b", Kind::Part, false);
    assert_eq!(health.report().state(), State::Down, "never checked");
    required.up(None);
    assert_eq!(health.report().state(), State::Up);
    optional.down("gone", None);
    assert_eq!(health.report().state(), State::Degraded);
    required.down("gone", None);
    assert_eq!(health.report().state(), State::Down);
    required.up(None);
    drop(optional);
    assert_eq!(health.report().state(), State::Up);
}

#[test]
fn an_old_handle_has_no_say_over_a_newer_one() {
    let health = started();
    let old = health.component("a", Kind::Part, true);
    let new = health.component("a", Kind::Part, true);
    new.up(None);
    old.down("gone", None);
    drop(old);
    assert_eq!(health.report().state(), State::Up);
    assert_eq!(health.report().components.len(), 1);
}

#[test]
fn not_ready_before_the_start_nor_while_draining() {
    let health = Health::default();
    assert_eq!((health.report().state(), health.report().starting), (State::Down, true));
    health.started();
    assert_eq!((health.report().state(), health.report().starting), (State::Up, false));
    health.drain();
    let report = health.report();
    assert_eq!((report.state(), report.readiness(), report.draining), (State::Down, State::Down, true));
}

#[test]
fn readiness_looks_only_at_what_it_is_to_look_at() {
    let config = HealthConfig::of_text("[health]\n[[health.checks]]\nname = 'a'\nreadiness = false");
    let health = Health::new("router", config);
    health.started();
    health.component("a", Kind::Part, true).down("gone", None);
    let kept = health.component("a", Kind::Part, true);
    kept.down("gone", None);
    let report = health.report();
    assert_eq!((report.state(), report.readiness()), (State::Down, State::Up));
}

#[test]
fn what_others_said_is_unknown_once_they_cannot_be_asked() {
    let health = started();
    let router = health.component("router", Kind::Service, true);
    let part =
        |state: State| ComponentReport { name: "auth".into(), state: state.into(), ..Default::default() };
    router.heard(vec![part(State::Up)]);
    router.up(None);
    assert_eq!(health.report().components[0].part_of, "router");
    router.deaf();
    let report = health.report();
    assert_eq!(
        (report.components[0].name.as_str(), report.components[0].state()),
        ("auth", State::Unspecified)
    );
}

#[test]
fn what_was_heard_is_not_logged_as_own_and_may_be_much() {
    let health = started();
    let router = health.component("router", Kind::Service, true);
    let parts = |state: State| -> Vec<ComponentReport> {
        let part = |n| ComponentReport {
            name: format!("model/{n:05}"),
            state: state.into(),
            ..ComponentReport::default()
        };
        (0..5000).map(part).collect()
    };
    for state in [State::Up, State::Down, State::Up] {
        router.heard(parts(state));
    }
    assert_eq!(health.history(usize::MAX).len(), 1000, "bounded, however much changes at once");
    let registry = health.lock();
    let change = |name: &str| Change { name: name.into(), ..Change::default() };
    let own = registry.own_of(vec![change("model/00007"), change("router"), change("")]);
    let names: Vec<_> = own.iter().map(|change| change.name.as_str()).collect();
    assert_eq!(names, ["router", ""]);
}

#[test]
fn who_is_told_of_a_change_finds_it_in_the_report() {
    let health = started();
    let component = health.component("a", Kind::Part, false);
    let changes = health.changes();
    let watcher = std::thread::spawn({
        let (health, mut changes) = (health.clone(), changes);
        move || {
            let mut seen = 0;
            while seen < 200 {
                if changes.has_changed().unwrap() {
                    let told = changes.borrow_and_update().components[0].detail.clone();
                    let told: u32 = told.parse().unwrap_or_default();
                    let found: u32 = health.report().components[0].detail.parse().unwrap_or_default();
                    assert!(found >= told, "{found} {told}");
                    seen = told;
                }
            }
        }
    });
    for n in 1..=200 {
        component.degraded(n.to_string(), None);
    }
    watcher.join().unwrap();
}
