//! The choice: who is asked first, who is not asked at all, and what is said when nobody is left.

mod properties;

use std::{collections::HashMap, time::Duration};

use penstock_proto::{
    adapter::v1::{Breaker, Price},
    inference::v1::{Capabilities, ChatInput, Message, generate_request::Input, message::Content},
    metadata,
    status::v1::State,
};

use super::*;
use crate::{
    config::{Affinity, ModelConfig, Routing, Strategy, Target},
    load::{Busy, Load},
};

/// A model `m` and what is asked of it.
#[derive(Clone)]
struct Case {
    model: ModelConfig,
    others: Vec<ModelConfig>,
    deployments: Vec<Deployment>,
    steering: Steering,
    needs: Needs,
    request: Option<GenerateRequest>,
    counts: bool,
    allowed: Vec<String>,
}

fn deployment(id: &str) -> Deployment {
    Deployment { id: id.into(), state: State::Up, ..Deployment::default() }
}

fn target(id: &str, weight: f64, priority: u64) -> Target {
    Target { id: id.into(), weight, priority }
}

fn model(name: &str, targets: &[Target]) -> ModelConfig {
    ModelConfig { name: name.into(), deployments: targets.to_vec(), ..ModelConfig::default() }
}

fn chat(text: String, max_tokens: Option<i64>) -> GenerateRequest {
    let message = Message { role: "user".into(), content: Some(Content::Text(text)), ..Message::default() };
    let input = Some(Input::Chat(ChatInput { messages: vec![message] }));
    GenerateRequest { input, max_tokens, ..GenerateRequest::default() }
}

fn price(dollars: f64) -> Option<Price> {
    Some(Price { input: dollars, output: dollars })
}

fn context(tokens: i64) -> Option<Capabilities> {
    Some(Capabilities { context_tokens: Some(tokens), ..Capabilities::default() })
}

impl Case {
    fn new(strategy: Strategy, targets: &[Target]) -> Self {
        Self {
            model: ModelConfig { strategy, ..model("m", targets) },
            others: Vec::new(),
            deployments: targets.iter().map(|target| deployment(&target.id)).collect(),
            steering: Steering::default(),
            needs: Needs::CHAT,
            request: None,
            counts: false,
            allowed: Vec::new(),
        }
    }

    fn even(strategy: Strategy, count: usize) -> Self {
        let targets: Vec<_> = (0..count).map(|n| target(&format!("d{n}"), 1.0, 1)).collect();
        Self::new(strategy, &targets)
    }

    fn at(&mut self, id: &str) -> &mut Deployment {
        if !self.deployments.iter().any(|one| one.id == id) {
            self.deployments.push(deployment(id));
        }
        self.deployments.iter_mut().find(|one| one.id == id).unwrap()
    }

    fn registry(&self) -> Registry {
        let models = std::iter::once(&self.model).chain(&self.others).cloned().collect();
        let reported: Vec<_> = self.deployments.iter().cloned().map(Arc::new).collect();
        Registry::new(&Routing { models, auto: None }, &reported)
    }

    fn with<T>(&self, all: bool, what: impl FnOnce(&Registry, &Model, &Asked<'_>) -> T) -> T {
        let registry = self.registry();
        let principal = Principal { allowed_models: self.allowed.clone(), ..Principal::default() };
        let asked = Asked {
            name: "m",
            needs: self.needs,
            prompt_tokens: 500,
            completion_tokens: 500,
            principal: &principal,
            steering: &self.steering,
            request: self.request.as_ref(),
            counts: self.counts,
            attempts: 8,
            all,
        };
        what(&registry, registry.resolve("m").unwrap(), &asked)
    }

    fn choose(&self) -> Result<(Route, Decision), Error> {
        self.with(false, choose)
    }

    /// Who is asked, in order.
    fn order(&self) -> Vec<String> {
        ids(&self.choose().unwrap().0.candidates)
    }

    fn first(&self) -> String {
        self.order().remove(0)
    }

    fn error(&self) -> Error {
        self.choose().unwrap_err()
    }

    /// How often each one comes first.
    fn shares(&self, times: u32) -> HashMap<String, u32> {
        self.with(false, |registry, model, asked| {
            let mut shares = HashMap::new();
            for _ in 0..times {
                let (route, _) = choose(registry, model, asked).unwrap();
                *shares.entry(route.candidates[0].id().to_owned()).or_default() += 1;
            }
            shares
        })
    }

    /// Keeps so many requests on a deployment.
    fn busy(&mut self, id: &str, requests: usize) -> Vec<Busy> {
        let load = Arc::clone(&self.at(id).load);
        (0..requests).map(|_| load.enter()).collect()
    }
}

fn ids(candidates: &[Candidate]) -> Vec<String> {
    candidates.iter().map(|candidate| candidate.id().to_owned()).collect()
}

const STRATEGIES: [Strategy; 8] = [
    Strategy::Weighted,
    Strategy::LeastLatency,
    Strategy::LeastBusy,
    Strategy::Cheapest,
    Strategy::RoundRobin,
    Strategy::Affinity,
    Strategy::LoadedFirst,
    Strategy::Priority,
];

fn open(deployment: &mut Deployment, after: Duration) {
    deployment.breaker = Breaker::Open;
    deployment.state = State::Down;
    deployment.retry_at = Some(Instant::now() + after);
}

#[test]
fn shares_follow_weights_and_weight_zero_gets_nothing() {
    let targets = [target("a", 3.0, 1), target("b", 1.0, 1), target("none", 0.0, 1)];
    for strategy in [
        Strategy::Weighted,
        Strategy::LeastLatency,
        Strategy::RoundRobin,
        Strategy::Cheapest,
        Strategy::LeastBusy,
        Strategy::LoadedFirst,
    ] {
        let shares = Case::new(strategy, &targets).shares(8000);
        let a = shares["a"];
        assert!((5700..6300).contains(&a), "{strategy:?}: {shares:?}");
        assert!(!shares.contains_key("none"), "{strategy:?}");
    }
    assert_eq!(Case::new(Strategy::Weighted, &[target("a", 0.0, 1)]).order(), ["a"], "there is nobody else");
}

#[test]
fn they_take_turns_and_a_dry_run_takes_none() {
    let mut case = Case::even(Strategy::RoundRobin, 3);
    let shares = case.shares(300);
    assert!(shares.values().all(|share| *share == 100), "{shares:?}");
    case.with(false, |registry, model, asked| {
        let next = |all| {
            let asked = Asked { all, ..*asked };
            ids(&choose(registry, model, &asked).unwrap().0.candidates)
        };
        let dry = next(true);
        assert_eq!(dry, next(true));
        assert_eq!(dry, next(false));
        let after = next(false);
        assert_eq!(after[..2], dry[1..], "one after the other");
    });
    // Who cannot be asked is skipped, and the others share what it had.
    open(case.at("d1"), Duration::from_secs(9));
    let shares = case.shares(300);
    assert_eq!((shares["d0"], shares["d2"]), (150, 150));
}

#[test]
fn a_turn_is_taken_once_for_a_request_and_only_by_who_asks_for_the_model() {
    let targets = [target("a", 1.0, 1), target("b", 1.0, 1), target("last", 1.0, 2)];
    let shares = Case::new(Strategy::RoundRobin, &targets).shares(300);
    assert_eq!((shares["a"], shares["b"]), (150, 150), "a second tier takes a turn of the first");

    let mut case = Case::even(Strategy::RoundRobin, 2);
    let fallbacks = vec!["m".to_owned()];
    case.others = vec![ModelConfig { fallbacks, ..model("n", &[target("n", 1.0, 1)]) }];
    case.at("n");
    case.with(false, |registry, model, asked| {
        let mut shares = HashMap::<_, u32>::new();
        for _ in 0..100 {
            let first = choose(registry, model, asked).unwrap().0.candidates.remove(0);
            *shares.entry(first.id().to_owned()).or_default() += 1;
            choose(registry, registry.resolve("n").unwrap(), asked).unwrap();
        }
        assert_eq!((shares["d0"], shares["d1"]), (50, 50), "requests for `n` take turns of its fallback");
    });
}

#[test]
fn the_better_of_two_is_asked_and_who_is_unknown_is_tried() {
    let mut case = Case::even(Strategy::LeastLatency, 2);
    case.at("d0").load.times(false).first_content(Duration::from_millis(100));
    assert_eq!(case.shares(50).len(), 1, "nothing is known of d1");
    assert_eq!(case.first(), "d1");
    case.at("d1").load.times(false).first_content(Duration::from_millis(300));
    assert_eq!(case.shares(50)["d0"], 50);
    let _busy = case.busy("d0", 3);
    assert_eq!(case.shares(50)["d1"], 50, "four at 100 ms are more than one at 300 ms");
    let (_, decision) = case.choose().unwrap();
    assert!(decision.considered[0].score < decision.considered[1].score);
}

#[test]
fn who_has_least_to_do_by_weight_is_asked() {
    let mut case = Case::new(Strategy::LeastBusy, &[target("a", 4.0, 1), target("b", 1.0, 1)]);
    let _three = (case.busy("a", 3), case.busy("b", 1));
    assert_eq!(case.order(), ["a", "b"]);
    let _more = case.busy("a", 2);
    assert_eq!(case.order(), ["b", "a"]);
}

#[test]
fn who_costs_least_is_asked_and_an_unknown_price_comes_last() {
    let mut case = Case::even(Strategy::Cheapest, 3);
    case.at("d1").price = price(2.0);
    case.at("d2").price = price(1.0);
    assert_eq!(case.order(), ["d2", "d1", "d0"]);
    let (_, decision) = case.choose().unwrap();
    assert_eq!(decision.considered[0].score, Some(0.001), "1000 tokens at 1 dollar for a million");
    assert_eq!(decision.considered[2].score, None);
}

#[test]
fn a_model_is_loaded_only_where_waiting_costs_more() {
    let mut case = Case::even(Strategy::LoadedFirst, 2);
    (case.at("d0").loaded, case.at("d1").loaded) = (Some(true), Some(false));
    case.at("d0").load.times(false).first_content(Duration::from_secs(5));
    assert_eq!(case.order(), ["d0", "d1"], "30 s are expected where nobody says");
    let _busy = case.busy("d0", 6);
    assert_eq!(case.order(), ["d1", "d0"], "seven at 5 s");
    case.at("d1").load_time = Some(Duration::from_secs(40));
    assert_eq!(case.order(), ["d0", "d1"]);
    case.at("d0").loaded = None;
    assert_eq!(case.order(), ["d0", "d1"], "who does not say is taken for loaded");
}

#[test]
fn the_order_of_the_file_holds() {
    let targets = [target("c", 1.0, 2), target("b", 1.0, 1), target("a", 1.0, 1)];
    let case = Case::new(Strategy::Priority, &targets);
    for _ in 0..20 {
        assert_eq!(case.order(), ["b", "a", "c"]);
    }
}

#[test]
fn a_count_of_an_engine_s_own_comes_before_an_estimate_which_needs_no_engine() {
    let mut case = Case::new(
        Strategy::Priority,
        &[target("none", 1.0, 1), target("far", 1.0, 1000), target("own", 1.0, 2)],
    );
    case.at("own").counts_tokens = true;
    case.at("far").counts_tokens = true;
    assert_eq!(case.order(), ["none", "own", "far"], "for an answer it does not matter");
    case.counts = true;
    assert_eq!(case.order(), ["own", "far", "none"]);
    case.at("far").state = State::Down;
    assert_eq!(case.order(), ["own", "none", "far"], "an estimate comes before one that is down");
    case.at("none").state = State::Down;
    assert_eq!(case.order(), ["own", "none", "far"], "and needs nobody to be there");
    for id in ["own", "none", "far"] {
        open(case.at(id), Duration::from_secs(9));
    }
    assert_eq!(case.order(), ["none"]);
    case.counts = false;
    assert_eq!(case.error().reason, Reason::CircuitOpen);
}

#[test]
fn what_is_too_long_for_everybody_is_counted() {
    let mut case = Case::even(Strategy::Priority, 1);
    case.at("d0").capabilities = context(10);
    case.request = Some(chat("word ".repeat(1000), None));
    assert_eq!(case.error().reason, Reason::ContextLengthExceeded);
    case.counts = true;
    assert_eq!(case.order(), ["d0"]);
}

fn session(case: &mut Case, session: u32) -> String {
    case.steering.session = Some(session.to_string());
    case.first()
}

#[test]
fn a_session_stays_where_it_is_and_few_move_when_one_comes_or_goes() {
    let mut case = Case::even(Strategy::Affinity, 10);
    let homes: Vec<_> = (0..1000).map(|n| session(&mut case, n)).collect();
    assert_eq!(homes, (0..1000).map(|n| session(&mut case, n)).collect::<Vec<_>>());
    let mut shares: HashMap<_, u32> = HashMap::new();
    homes.iter().for_each(|home| *shares.entry(home).or_default() += 1);
    assert!(shares.len() == 10 && shares.values().all(|share| (60..150).contains(share)), "{shares:?}");

    let mut more = Case::even(Strategy::Affinity, 11);
    let homes_of_more: Vec<_> = (0..1000).map(|n| session(&mut more, n)).collect();
    let moved: Vec<_> = homes_of_more.iter().zip(&homes).filter(|(new, old)| new != old).collect();
    assert!((50..150).contains(&moved.len()), "{}", moved.len());
    assert!(moved.iter().all(|(new, _)| *new == "d10"), "only to the new one");

    open(case.at("d3"), Duration::from_secs(9));
    for (n, home) in (0..).zip(&homes) {
        assert!(home == "d3" || *home == session(&mut case, n), "those of others stay");
    }
}

#[test]
fn prompts_that_begin_alike_go_to_one_deployment() {
    let mut case = Case::even(Strategy::Affinity, 10);
    case.model.affinity = Affinity { prefix_bytes: 16, ..Affinity::default() };
    let mut home = |text: &str| {
        case.request = Some(chat(text.into(), None));
        case.first()
    };
    let homes: std::collections::HashSet<_> =
        (0..50).map(|n| home(&format!("a system prompt {n}"))).collect();
    assert_eq!(homes.len(), 1);
    let homes: std::collections::HashSet<_> = (0..50).map(|n| home(&format!("{n} other prompt"))).collect();
    assert!(homes.len() > 5, "{homes:?}");
}

#[test]
fn those_on_probation_come_after_the_others_but_first_now_and_then() {
    for strategy in STRATEGIES {
        let mut case = Case::even(strategy, 3);
        case.steering.session = Some("s".into());
        case.at("d0").breaker = Breaker::HalfOpen;
        case.at("d0").state = State::Degraded;
        let first = case.shares(2000).get("d0").copied().unwrap_or_default();
        assert!((100..320).contains(&first), "{strategy:?}: {first}");
    }
    // Its time is over: it is on probation, although nobody has tried yet.
    let mut case = Case::new(Strategy::Priority, &[target("a", 1.0, 1), target("b", 1.0, 2)]);
    open(case.at("a"), Duration::ZERO);
    assert_eq!(case.order(), ["a", "b"], "priority goes before probation");
}

#[test]
fn tiers_hold_down_comes_last_and_fallbacks_after_all() {
    for strategy in STRATEGIES {
        let targets = [target("later", 1.0, 2), target("down", 1.0, 1), target("first", 1.0, 1)];
        let mut case = Case::new(strategy, &targets);
        case.model.fallbacks = vec!["n".into()];
        case.others = vec![model("n", &[target("fallback", 1.0, 1)])];
        case.at("down").state = State::Down;
        assert_eq!(case.order(), ["first", "later", "down", "fallback"], "{strategy:?}");
    }
}

#[test]
fn who_is_left_alone_is_not_asked_and_if_all_are_it_is_said_when_to_come_back() {
    let mut case = Case::even(Strategy::Weighted, 2);
    open(case.at("d0"), Duration::from_secs(50));
    let (route, decision) = case.choose().unwrap();
    assert_eq!(ids(&route.candidates), ["d1"]);
    assert_eq!(decision.considered[1].vetoes, Vetoes::CIRCUIT_OPEN);
    open(case.at("d1"), Duration::from_secs(20));
    let error = case.error();
    assert_eq!(error.reason, Reason::CircuitOpen);
    let after = error.retry_after.unwrap().as_secs_f64();
    assert!((19.0..=20.0).contains(&after), "the earliest: {after}");
    let (route, decision) = case.with(false, weigh);
    assert!(route.is_err());
    assert_eq!(decision.considered.len(), 2, "a decision says why all the same");
    case.model.fallbacks = vec!["n".into()];
    case.others = vec![model("n", &[target("fallback", 1.0, 1)])];
    assert_eq!(case.order(), ["fallback"]);
}

#[test]
fn nobody_is_asked_for_what_nobody_can_do_and_a_fallback_drops_nothing() {
    let mut case = Case::even(Strategy::Priority, 2);
    case.needs = Needs::IMAGES;
    case.at("d0").lacks = Needs::IMAGES;
    case.model.fallbacks = vec!["n".into()];
    case.model.filter_fallbacks = vec!["n".into()];
    case.model.context_fallbacks = vec!["n".into()];
    case.others = vec![model("n", &[target("blind", 1.0, 1), target("seeing", 1.0, 2)])];
    case.at("blind").lacks = Needs::IMAGES;
    let (route, decision) = case.choose().unwrap();
    assert_eq!(ids(&route.candidates), ["d1", "seeing"]);
    assert_eq!(ids(&route.on_filter), ["seeing"]);
    assert_eq!(ids(&route.on_context), ["seeing"]);
    let vetoed = decision.considered.iter().filter(|one| one.vetoes == Vetoes::LACKS);
    assert_eq!(vetoed.map(|one| one.candidate.id()).collect::<Vec<_>>(), ["d0", "blind"]);
    case.at("d1").lacks = Needs::IMAGES;
    case.at("seeing").lacks = Needs::IMAGES;
    let error = case.error();
    assert_eq!((error.reason, error.violations[0].field.as_str()), (Reason::Unsupported, "messages"));
}

/// B7: no chain widens rights.
#[test]
fn no_chain_widens_rights() {
    let mut case = Case::even(Strategy::Priority, 1);
    for chain in
        [&mut case.model.fallbacks, &mut case.model.context_fallbacks, &mut case.model.filter_fallbacks]
    {
        *chain = vec!["secret".into(), "open".into()];
    }
    case.others = vec![model("secret", &[target("s", 1.0, 1)]), model("open", &[target("o", 1.0, 1)])];
    let (route, _) = case.choose().unwrap();
    assert_eq!(ids(&route.candidates), ["d0", "s", "o"]);
    case.allowed = vec!["m".into(), "open".into()];
    let (route, decision) = case.choose().unwrap();
    assert_eq!(ids(&route.candidates), ["d0", "o"]);
    assert_eq!((ids(&route.on_context), ids(&route.on_filter)), (vec!["o".into()], vec!["o".into()]));
    assert!(decision.considered.iter().all(|one| one.candidate.id() != "s"));
    let (_, dry) = case.with(true, choose).unwrap();
    let secret = dry.considered.iter().find(|one| one.candidate.id() == "s").unwrap();
    assert_eq!(secret.vetoes, Vetoes::NOT_ALLOWED);
}

#[test]
fn a_prompt_goes_where_there_is_room_and_what_may_fit_is_never_refused() {
    let mut case = Case::even(Strategy::Priority, 3);
    case.at("d0").capabilities = context(1000);
    case.at("d1").capabilities = context(4000);
    // 8000 bytes are 1000 tokens at the very least.
    case.request = Some(chat("x".repeat(8000), None));
    let (route, _) = case.choose().unwrap();
    assert_eq!(ids(&route.candidates), ["d0", "d1", "d2"]);
    assert_eq!(ids(&route.on_context), ["d1"], "one of which nothing is known is no remedy");
    case.request = Some(chat("x".repeat(8008), None));
    assert_eq!(case.order(), ["d1", "d2"]);
    case.request = Some(chat("x".repeat(8000), Some(30_000)));
    assert_eq!(case.order(), ["d0", "d1", "d2"], "an engine may end an answer where its context does");
    case.request = Some(chat("x".repeat(40_000), None));
    assert_eq!(case.order(), ["d2"], "one of which nothing is known is tried");
    case.at("d2").capabilities = context(2000);
    let error = case.error();
    assert_eq!(error.reason, Reason::ContextLengthExceeded);
    for number in ["5000", "4000"] {
        assert!(error.message.contains(number), "{}", error.message);
    }
    case.model.context_fallbacks = vec!["large".into()];
    case.model.fallbacks = vec!["any".into()];
    case.others = vec![model("large", &[target("l", 1.0, 1)]), model("any", &[target("n", 1.0, 1)])];
    case.at("l").capabilities = context(6000);
    assert_eq!(case.order(), ["l", "n"]);
    case.model.fallbacks = vec!["large".into(), "any".into()];
    assert_eq!(case.order(), ["l", "n"], "nobody twice");
    case.model.fallbacks = vec!["any".into()];
    case.request = Some(chat("x".into(), None));
    let (route, _) = case.choose().unwrap();
    assert_eq!(ids(&route.candidates), ["d0", "d1", "d2", "n"], "only if it must be");
    assert_eq!(ids(&route.on_context), ["l", "d1", "d2", "n"]);
}

#[test]
fn a_caller_can_steer_and_is_told_if_that_leads_nowhere() {
    let mut case = Case::even(Strategy::Priority, 2);
    case.at("d0").tags = vec!["us".into()];
    case.at("d1").tags = vec!["eu".into(), "gpu".into()];
    case.steering.tags = vec!["eu".into(), "gpu".into()];
    assert_eq!(case.order(), ["d1"]);
    case.steering.tags = vec!["eu".into(), "us".into()];
    let fields = |error: Error| {
        assert_eq!(error.reason, Reason::Unsupported);
        error.violations.into_iter().map(|violation| violation.field).collect::<Vec<_>>()
    };
    assert_eq!(fields(case.error()), [metadata::TAGS]);

    case.steering = Steering { max_cost: Some(0.001), ..Steering::default() };
    case.at("d1").price = price(1.0);
    assert_eq!(case.order(), ["d1"], "a price that nobody knows is not below a ceiling");
    case.at("d1").price = price(2.0);
    let error = case.error();
    assert!(error.violations[0].message.contains("0.002"), "{error:?}");
    assert_eq!(fields(error), [metadata::MAX_COST]);

    case.steering = Steering { max_latency: Some(Duration::from_secs(1)), ..Steering::default() };
    case.at("d0").load.times(false).first_content(Duration::from_secs(2));
    assert_eq!(case.order(), ["d1"]);
    case.at("d1").loaded = Some(false);
    assert_eq!(fields(case.error()), [metadata::MAX_LATENCY], "it would have to be loaded");

    case.steering.tags = vec!["us".into()];
    case.at("d0").load = Arc::default();
    case.at("d0").tags = Vec::new();
    case.at("d1").tags = vec!["us".into()];
    assert_eq!(
        fields(case.error()),
        [metadata::TAGS, metadata::MAX_LATENCY],
        "each alone is met by somebody"
    );
}

#[test]
fn a_stored_decision_is_bounded_and_a_dry_run_shows_all() {
    let case = Case::even(Strategy::Weighted, 100);
    let (route, decision) = case.choose().unwrap();
    assert_eq!((route.candidates.len(), decision.considered.len()), (12, 10));
    assert!(decision.considered.iter().all(|one| one.vetoes.is_empty()));
    let (_, decision) = case.with(true, choose).unwrap();
    assert_eq!(decision.considered.len(), 100);
}

#[test]
fn a_name_that_case_does_not_tell_apart_names_only_what_the_caller_may_use() {
    let registry = {
        let mut case = Case::even(Strategy::Weighted, 1);
        case.others = ["Big", "bIg", "biG"].map(|name| model(name, &[target("d0", 1.0, 1)])).into();
        case.registry()
    };
    let error = |allowed: &[&str]| {
        let allowed_models = allowed.iter().map(ToString::to_string).collect();
        let principal = Principal { allowed_models, ..Principal::default() };
        let error = authorised(&registry, &principal, "BIG").unwrap_err();
        assert_eq!(error.reason, Reason::ModelNotFound);
        error.message.to_string()
    };
    let message = error(&["Big", "biG"]);
    assert!(message.contains("`Big`") && message.contains("`biG`") && !message.contains("bIg"), "{message}");
    assert_eq!(error(&["m"]), "the model `BIG` does not exist");
}
