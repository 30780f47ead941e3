//! How models are: the cases by name, and by property over any states of any deployments.

use proptest::prelude::*;

use super::*;
use crate::config::{ModelConfig, Routing, Target};

const ALL: [State; 4] = [State::Unspecified, State::Up, State::Degraded, State::Down];

fn model(name: &str, deployments: &[&str], fallbacks: &[&str]) -> ModelConfig {
    let target = |id: &&str| Target { id: (*id).into(), weight: 1.0, priority: 1 };
    ModelConfig {
        name: name.into(),
        aliases: vec![format!("{name}-alias")],
        deployments: deployments.iter().map(target).collect(),
        fallbacks: fallbacks.iter().map(ToString::to_string).collect(),
        ..ModelConfig::default()
    }
}

fn deployment(id: &str, state: State) -> Deployment {
    Deployment { id: id.into(), state: state.into(), ..Deployment::default() }
}

fn of(models: &[ModelConfig], reported: &[Deployment]) -> Vec<Component> {
    components(&Registry::new(&Routing { models: models.to_vec(), auto: None }, &[]), reported, State::Down)
}

fn state_of(models: &[ModelConfig], states: &[(&str, State)]) -> (State, String) {
    let reported: Vec<_> = states.iter().map(|(id, state)| deployment(id, *state)).collect();
    let models = of(models, &reported);
    (models[0].state(), models[0].detail.clone())
}

#[test]
fn up_if_all_are_degraded_if_some_are_down_if_none_is() {
    let models = [model("m", &["a", "b"], &[])];
    let state = |a, b| state_of(&models, &[("a", a), ("b", b)]);
    assert_eq!(state(State::Up, State::Up), (State::Up, String::new()));
    assert_eq!(
        state(State::Down, State::Up),
        (State::Degraded, "deployment a: does not work; 1 of 2 left".into())
    );
    assert_eq!(
        state(State::Up, State::Degraded),
        (State::Degraded, "deployment b: not well; 2 of 2 left".into())
    );
    assert_eq!(
        state(State::Down, State::Down),
        (State::Down, "deployment a: does not work; none of 2 left".into())
    );
    assert_eq!(state(State::Unspecified, State::Unspecified), (State::Unspecified, String::new()));
    assert_eq!(state(State::Unspecified, State::Up), (State::Up, String::new()));
    assert_eq!(state(State::Unspecified, State::Down).0, State::Degraded, "the other one may work");
}

#[test]
fn a_fallback_that_is_left_degrades_and_one_that_falls_back_itself_does_not_count() {
    let models = [model("m", &["a"], &["n"]), model("n", &["b"], &["o"]), model("o", &["c"], &[])];
    let state = |b| state_of(&models, &[("a", State::Down), ("b", b), ("c", State::Up)]);
    let (left, detail) = state(State::Up);
    assert_eq!(
        (left, detail.as_str()),
        (State::Degraded, "deployment a: does not work; none of 1 left, falls back to n")
    );
    // A request for `m` asks `a` and `b`, and nobody else.
    assert_eq!(state(State::Down).0, State::Down);
}

#[test]
fn models_that_fall_back_to_each_other_are_judged_too() {
    let models = [model("m", &["a"], &["n"]), model("n", &["b"], &["m"])];
    assert_eq!(state_of(&models, &[("a", State::Down), ("b", State::Down)]).0, State::Down);
    assert_eq!(state_of(&models, &[("a", State::Down), ("b", State::Up)]).0, State::Degraded);
}

#[test]
fn what_a_model_stands_on_is_named_and_aliases_are_no_models() {
    let models = of(&[model("m", &["a", "b"], &["n"]), model("n", &["c"], &[])], &[]);
    let names: Vec<_> = models.iter().map(|model| model.name.as_str()).collect();
    assert_eq!(names, ["model/m", "model/n"]);
    assert_eq!(models[0].stands_on, ["deployment/a", "deployment/b", "model/n"]);
    assert_eq!((models[0].kind(), models[0].required), (Kind::Model, false));
}

#[test]
fn latency_is_that_of_the_best_deployment_and_times_are_the_latest() {
    let at = |seconds| Some(Timestamp { seconds, nanos: 0 });
    let timed = |id: &str, state, millis, checked| Deployment {
        latency: Duration::from_millis(millis).try_into().ok(),
        checked_at: at(checked),
        last_success_at: at(checked - 1),
        ..deployment(id, state)
    };
    let reported = [
        timed("a", State::Down, 1, 30),
        timed("b", State::Up, 20, 10),
        timed("c", State::Up, 10, 20),
        timed("d", State::Degraded, 2, 5),
    ];
    let model = of(&[model("m", &["a", "b", "c", "d"], &[])], &reported).remove(0);
    assert_eq!(model.latency, Duration::from_millis(10).try_into().ok());
    assert_eq!((model.checked_at, model.last_success_at), (at(30), at(29)));
}

#[test]
fn a_deployment_that_gets_no_traffic_says_nothing_about_its_model() {
    let mut models = [model("m", &["a", "idle"], &[])];
    models[0].deployments[1].weight = 0.0;
    assert_eq!(state_of(&models, &[("a", State::Up), ("idle", State::Down)]).0, State::Up);
    assert_eq!(state_of(&models, &[("a", State::Down), ("idle", State::Up)]).0, State::Down);
}

#[test]
fn what_was_not_found_is_unknown_at_first_and_missing_later() {
    let registry = Registry::new(&Routing { models: vec![model("m", &["gpu/x"], &[])], auto: None }, &[]);
    assert_eq!(components(&registry, &[], State::Unspecified)[0].state(), State::Unspecified);
    let missing = &components(&registry, &[], State::Down)[0];
    let expected = "deployment gpu/x: its engine does not offer it; none of 1 left";
    assert_eq!((missing.state(), missing.detail.as_str()), (State::Down, expected));
    assert_eq!(unreachable(&registry)[0].state(), State::Down);
}

#[test]
fn the_summary_names_a_few() {
    let model = |name: &str, state: State| Component {
        name: format!("model/{name}"),
        state: state.into(),
        ..Component::default()
    };
    assert_eq!(summary(&[]).0, State::Degraded);
    assert_eq!(summary(&[model("a", State::Up), model("b", State::Unspecified)]), (State::Up, String::new()));
    let ill: Vec<_> = ["a", "b", "c", "d", "e"].map(|name| model(name, State::Down)).into();
    assert_eq!(summary(&ill), (State::Degraded, "not well: a, b, c and 2 more".into()));
}

proptest! {
    /// Whatever the adapter says: each model is there once, in order, and its state is what its deployments and its
    /// fallbacks allow.
    #[test]
    fn states_follow_from_deployments(
        states in proptest::collection::vec(0..4_usize, 5),
        wiring in proptest::collection::vec((1..32_u8, 0..8_u8), 3),
    ) {
        let ids = ["a", "b", "c", "d", "e"];
        let names = ["m0", "m1", "m2"];
        let models: Vec<_> = wiring.iter().zip(names).map(|((targets, fallbacks), name)| {
            let chosen = |all: &[&'static str], bits: u8| -> Vec<&'static str> {
                all.iter().enumerate().filter(|(n, _)| bits >> n & 1 == 1).map(|(_, id)| *id).collect()
            };
            model(name, &chosen(&ids, *targets), &chosen(&names, *fallbacks))
        }).collect();
        let reported: Vec<_> = ids.iter().zip(&states).map(|(id, n)| deployment(id, ALL[*n])).collect();
        let found = of(&models, &reported);
        prop_assert_eq!(found.len(), models.len());
        for (model, found) in models.iter().zip(&found) {
            prop_assert_eq!(&found.name, &format!("model/{}", model.name));
            let of = |model: &ModelConfig| -> Vec<State> {
                let index = |target: &Target| ids.iter().position(|id| *id == target.id).unwrap();
                model.deployments.iter().map(|target| ALL[states[index(target)]]).collect()
            };
            let own = of(model);
            let left = own.iter().any(|state| *state != State::Down);
            let fallback = models.iter().any(|other| {
                model.fallbacks.contains(&other.name) && of(other).iter().any(|state| *state != State::Down)
            });
            match found.state() {
                State::Unspecified => prop_assert!(own.iter().all(|state| *state == State::Unspecified)),
                State::Up => {
                    prop_assert!(own.iter().all(|state| matches!(state, State::Up | State::Unspecified)));
                    prop_assert!(own.contains(&State::Up));
                }
                State::Degraded => prop_assert!(left || fallback),
                State::Down => prop_assert!(!left && !fallback),
            }
            prop_assert_eq!(found.detail.is_empty(), matches!(found.state(), State::Up | State::Unspecified));
        }
    }
}
