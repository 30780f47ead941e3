//! Names, stars and what was found: which model is meant, and where it runs.

use penstock_proto::auth::v1::Principal;

use super::*;
use crate::{
    choose::{Asked, choose},
    decision::Steering,
};

fn target(id: &str, weight: f64, priority: u64) -> Target {
    Target { id: id.into(), weight, priority }
}

fn model(name: &str, targets: Vec<Target>, fallbacks: &[&str]) -> ModelConfig {
    ModelConfig {
        name: name.into(),
        aliases: vec![format!("{name}-alias")],
        deployments: targets,
        fallbacks: fallbacks.iter().map(ToString::to_string).collect(),
        ..ModelConfig::default()
    }
}

fn reported(id: &str, down: bool) -> Deployment {
    let model = format!("{id}-model");
    let state = if down { State::Down } else { State::Up };
    Deployment { id: id.into(), engine: "openai".into(), model, state, ..Deployment::default() }
}

fn built(models: &[ModelConfig], reported: &[Deployment]) -> Registry {
    let reported: Vec<_> = reported.iter().cloned().map(Arc::new).collect();
    Registry::new(&Routing { models: models.to_vec(), auto: None }, &reported)
}

/// The deployments that are asked for a name, in order, of a caller who may use `allowed`; empty: all.
fn order(registry: &Registry, name: &str, allowed: &[&str]) -> Vec<String> {
    let model = registry.resolve(name).unwrap();
    let allowed_models = allowed.iter().map(ToString::to_string).collect();
    let asked = Asked {
        name,
        needs: Needs::default(),
        prompt_tokens: 0,
        completion_tokens: 0,
        principal: &Principal { allowed_models, ..Principal::default() },
        steering: &Steering::default(),
        request: None,
        counts: false,
        attempts: 8,
        all: false,
    };
    let (route, _) = choose(registry, model, &asked).unwrap();
    route.candidates.iter().map(|candidate| candidate.id().to_owned()).collect()
}

fn how(registry: &Registry, name: &str) -> Option<(String, Match)> {
    match registry.find(name) {
        Found::Model(model, how) => Some((model.name.to_string(), how)),
        _ => None,
    }
}

#[test]
fn names_and_aliases_resolve_to_one_model() {
    let registry = built(&[model("m", vec![target("a", 1.0, 1)], &[])], &[]);
    assert_eq!(registry.resolve("m").unwrap().name, registry.resolve("m-alias").unwrap().name);
}

#[test]
fn without_configured_models_deployments_are_offered_under_their_models_names() {
    let registry = built(&[], &[reported("a", false), reported("b", false)]);
    let names: Vec<_> = registry.models().map(|model| model.name.to_string()).collect();
    assert_eq!(names, ["a-model", "b-model"]);
    let configured = built(&[model("m", vec![target("a", 1.0, 1)], &[])], &[reported("a", false)]);
    assert!(configured.resolve("a-model").is_none(), "with configured models nothing is guessed");
}

#[test]
fn what_was_found_is_offered_beside_configured_models_and_never_in_their_place() {
    let found =
        |id: &str, model: &str| Deployment { model: model.into(), discovered: true, ..reported(id, false) };
    let reported = [found("gpu/x", "x"), found("lab/x", "x"), found("gpu/m", "m"), found("gpu/a", "m-alias")];
    let registry = built(&[model("m", vec![target("a", 1.0, 1)], &[])], &reported);
    let names: Vec<_> = registry.models().map(|model| model.name.to_string()).collect();
    assert_eq!(names, ["m", "x"]);
    assert_eq!(order(&registry, "m", &[]), ["a"]);
    assert_eq!(order(&registry, "m-alias", &[]), ["a"]);
    assert_eq!(order(&registry, "x", &[]).len(), 2);
}

#[test]
fn the_tag_latest_need_not_be_said_unless_the_name_without_it_means_something() {
    let found =
        |id: &str, model: &str| Deployment { model: model.into(), discovered: true, ..reported(id, false) };
    let reported = ["n:latest", "n:1b", "x:latest", "x", "m:latest", "s1:latest", ":latest"]
        .map(|model| found(&format!("o/{model}"), model));
    let starred = starred("star", &["a"], &["s*"], &[]);
    let registry = built(&[model("m", vec![target("a", 1.0, 1)], &[]), starred], &reported);
    for (asked, meant) in [
        ("n", "n:latest"),
        ("n:latest", "n:latest"),
        ("N", "n:latest"),
        ("n:1b", "n:1b"),
        ("x", "x"),
        ("m", "m"),
        ("s1", "star"),
    ] {
        assert_eq!(registry.resolve(asked).map(|model| &*model.name), Some(meant), "{asked}");
    }
    assert!(registry.resolve("").is_none());
}

#[test]
fn lower_priority_first_those_that_are_down_last_fallbacks_after_all() {
    let models = [
        model("m", vec![target("later", 1.0, 2), target("down", 1.0, 1), target("first", 1.0, 1)], &["n"]),
        model("n", vec![target("fallback", 1.0, 1)], &[]),
    ];
    let registry = built(&models, &[reported("down", true)]);
    assert_eq!(order(&registry, "m", &[]), ["first", "later", "down", "fallback"]);
}

#[test]
fn a_model_judges_if_one_of_its_deployments_does() {
    let judging = |id: &str, judges| {
        let capabilities = Some(Capabilities { moderations: Some(judges), ..Capabilities::default() });
        Deployment { capabilities, ..reported(id, false) }
    };
    let models = [
        model("chat", vec![target("a", 1.0, 1)], &[]),
        model("judge", vec![target("a", 1.0, 1), target("b", 1.0, 1)], &[]),
    ];
    let deployments = [judging("a", false), judging("b", true)];
    for (registry, judge) in [(built(&models, &deployments), "judge"), (built(&[], &deployments), "b-model")]
    {
        let judges = |model: &&Model| model.capabilities.is_some_and(|can| can.moderations == Some(true));
        let judges: Vec<_> = registry.models().filter(judges).map(|model| model.name.to_string()).collect();
        assert_eq!(judges, [judge]);
    }
}

/// B7: a fallback never widens rights.
#[test]
fn a_fallback_that_is_not_allowed_is_not_asked() {
    let models =
        [model("m", vec![target("a", 1.0, 1)], &["secret"]), model("secret", vec![target("b", 1.0, 1)], &[])];
    let registry = built(&models, &[]);
    assert_eq!(order(&registry, "m", &["m"]), ["a"]);
}

#[test]
fn a_model_can_what_one_of_its_deployments_can_configured_or_found() {
    let able = |id: &str, tools| {
        let capabilities = Some(Capabilities { tools: Some(tools), ..Capabilities::default() });
        Deployment { model: "x".into(), capabilities, ..reported(id, false) }
    };
    let deployments = [able("a", false), able("b", true)];
    let configured = [model("x", vec![target("a", 1.0, 1)], &[])];
    for (registry, tools) in [(built(&configured, &deployments), false), (built(&[], &deployments), true)] {
        assert_eq!(registry.resolve("x").unwrap().capabilities.unwrap().tools, Some(tools));
    }
}

fn starred(name: &str, ids: &[&str], aliases: &[&str], fallbacks: &[&str]) -> ModelConfig {
    let targets = ids.iter().map(|id| target(id, 1.0, 1)).collect();
    let aliases = aliases.iter().map(ToString::to_string).collect();
    ModelConfig { aliases, ..model(name, targets, fallbacks) }
}

#[test]
fn a_name_is_looked_for_exactly_then_by_case_then_by_star() {
    let models = [
        starred("gpt-4o", &["a"], &["Best"], &[]),
        starred("other", &["b"], &["gpt-4*", "gpt-4o-mini*", "*-mini"], &[]),
        starred("mini", &["b"], &["gpt-4o-*"], &[]),
    ];
    let registry = built(&models, &[]);
    for (name, expected) in [
        ("gpt-4o", Some(("gpt-4o", Match::Name))),
        ("Best", Some(("gpt-4o", Match::Alias))),
        ("GPT-4O", Some(("gpt-4o", Match::Case))),
        ("best", Some(("gpt-4o", Match::Case))),
        ("gpt-4", Some(("other", Match::Wildcard))),
        ("gpt-4o-mini", Some(("other", Match::Wildcard))),
        ("gpt-4o-max", Some(("mini", Match::Wildcard))),
        ("x-mini", Some(("other", Match::Wildcard))),
        ("GPT-4o-Max", Some(("mini", Match::Wildcard))),
        ("gpt-3", None),
        ("", None),
    ] {
        assert_eq!(how(&registry, name), expected.map(|(name, how)| (name.to_owned(), how)), "{name}");
    }
}

#[test]
fn a_name_that_case_alone_does_not_tell_apart_is_ambiguous_unless_it_is_written_so() {
    let models = [starred("Llama", &["a"], &[], &[]), starred("llama", &["b"], &["LLaMa"], &[])];
    let registry = built(&models, &[]);
    assert_eq!(how(&registry, "Llama"), Some(("Llama".into(), Match::Name)));
    assert_eq!(how(&registry, "LLaMa"), Some(("llama".into(), Match::Alias)));
    let Found::Ambiguous(models) = registry.find("LLAMA") else { panic!("not ambiguous") };
    assert_eq!(models.iter().map(|model| &*model.name).collect::<Vec<_>>(), ["Llama", "llama"]);
    assert!(registry.resolve("LLAMA").is_none());
    assert_eq!(registry.ambiguous().into_keys().collect::<Vec<_>>(), ["llama"]);
    let models = [starred("one", &["a"], &["Gpt-*"], &[]), starred("two", &["b"], &["gpt-*"], &[])];
    let registry = built(&models, &[]);
    assert_eq!(how(&registry, "Gpt-4"), Some(("one".into(), Match::Wildcard)));
    assert_eq!(how(&registry, "GPT-4"), None, "either could be meant");
}

#[test]
fn a_star_stands_for_what_is_reported_and_for_nothing_else() {
    let wild = starred("llama/*", &["gpu-a/*", "gpu-b/*"], &["l-*"], &["big/*", "spare"]);
    let models = [
        wild,
        starred("big/*", &["gpu-c/*"], &[], &[]),
        starred("llama/8b-*", &["gpu-c/8b-*"], &[], &[]),
        starred("llama/own", &["own"], &[], &[]),
        starred("spare", &["own"], &[], &[]),
    ];
    let up = ["gpu-a/8b", "gpu-b/8b", "gpu-a/70b", "gpu-b/8b-it", "gpu-c/8b-it", "gpu-c/8b", "gpu-b/own"];
    let registry = built(&models, &up.map(|id| reported(id, false)));
    let names: Vec<_> = registry.models().map(|model| model.name.to_string()).collect();
    assert_eq!(
        names,
        ["big/8b", "big/8b-it", "llama/70b", "llama/8b", "llama/8b-it", "llama/own", "spare"],
        "one for each text, none with a star"
    );
    let mut asked = order(&registry, "llama/8b", &[]);
    asked[..2].sort();
    assert_eq!(asked, ["gpu-a/8b", "gpu-b/8b", "gpu-c/8b", "own"], "its star is put into its fallbacks");
    assert_eq!(order(&registry, "l-70b", &[]), ["gpu-a/70b", "own"], "a fallback that is not there is none");
    assert_eq!(order(&registry, "llama/8b-it", &[]), ["gpu-c/8b-it"], "the longer prefix is meant");
    assert_eq!(order(&registry, "llama/own", &[]), ["own"], "what is written goes before a star");
    assert_eq!(how(&registry, "llama/8b"), Some(("llama/8b".into(), Match::Wildcard)));
    for unknown in ["llama/9b", "llama/*", "llama/", "big/70b"] {
        assert!(registry.resolve(unknown).is_none(), "{unknown}");
    }
}

#[test]
fn auto_is_what_is_configured_unless_a_model_has_that_name() {
    let auto =
        AutoConfig { simple: "m".into(), medium: "m".into(), complex: "m".into(), ..AutoConfig::default() };
    let built = |name: &str, auto: Option<AutoConfig>| {
        let models = vec![starred(name, &["a"], &["d*"], &[])];
        Registry::new(&Routing { models, auto }, &[])
    };
    let registry = built("m", Some(auto.clone()));
    assert!(matches!(registry.find("auto"), Found::Auto(_)) && registry.auto().is_some());
    assert!(matches!(registry.find("dynamic"), Found::Auto(_)), "a star does not take it");
    assert!(matches!(registry.find("Auto"), Found::Auto(_)));
    let registry = built("auto", Some(auto));
    assert_eq!(how(&registry, "auto"), Some(("auto".into(), Match::Name)));
    assert!(registry.auto().is_none());
    let registry = built("m", None);
    assert!(matches!(registry.find("auto"), Found::Nothing));
    assert_eq!(how(&registry, "dynamic"), Some(("m".into(), Match::Wildcard)));
}
