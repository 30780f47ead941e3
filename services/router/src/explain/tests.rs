//! Every veto and every strategy has words; who is asked has a place.

use std::{collections::HashSet, sync::Arc};

use penstock_proto::{
    adapter::v1::{Breaker, Price},
    inference::v1::{Capabilities, GenerateRequest, Tool},
    router::v1::{AttemptKind, Match},
    status::v1::State,
};

use super::*;
use crate::{config::ModelConfig, decision::Candidate, decisions::Decisions, needs::Needs};

fn deployment(id: &str) -> Deployment {
    Deployment { id: id.into(), state: State::Up, ..Deployment::default() }
}

fn considered(deployment: Deployment, vetoes: Vetoes) -> Considered {
    let candidate = Candidate { model: "m".into(), deployment: Arc::new(deployment) };
    Considered { candidate, score: None, vetoes, weight: 1.0, priority: 1 }
}

fn told(considered: Vec<Considered>) -> DecisionMessage {
    let model = "m".into();
    let decision =
        Decision { model, considered, prompt_tokens: 900, completion_tokens: 200, ..Decision::default() };
    dry_run(&decision, None, Instant::now())
}

#[test]
fn every_veto_has_a_name_and_words_of_its_own() {
    let mut codes = HashSet::new();
    let mut details = HashSet::new();
    let mut all = 0;
    for (veto, code) in VETOES {
        let message = told(vec![considered(deployment("a"), veto)]);
        let [candidate] = message.candidates.as_slice() else { panic!("{message:?}") };
        let [veto_message] = candidate.vetoes.as_slice() else { panic!("{candidate:?}") };
        assert_eq!((veto_message.code.as_str(), candidate.place), (code, 0));
        assert!(codes.insert(code) && details.insert(veto_message.detail.clone()), "{veto_message:?}");
        all |= veto.0;
    }
    assert_eq!(all, 0b1_1111_1111, "each bit is named");
    let both = considered(deployment("a"), Vetoes(Vetoes::TAG.0 | Vetoes::LACKS.0));
    let message = told(vec![both]);
    let codes: Vec<_> = message.candidates[0].vetoes.iter().map(|veto| veto.code.as_str()).collect();
    assert_eq!(codes, ["LACKS", "TAG"]);
}

#[tokio::test(start_paused = true)]
async fn the_words_hold_the_numbers() {
    let request = GenerateRequest { tools: vec![Tool::default()], ..GenerateRequest::default() };
    let capabilities =
        Capabilities { tools: Some(false), context_tokens: Some(1024), ..Capabilities::default() };
    let deployment = Deployment {
        capabilities: Some(capabilities),
        lacks: Needs::unmet(Some(&capabilities)),
        breaker: Breaker::Open,
        retry_at: Some(Instant::now() + Duration::from_millis(12_340)),
        tags: vec!["eu".into(), "gpu".into()],
        price: Some(Price { input: 2.0, output: 10.0 }),
        ..deployment("a")
    };
    deployment.load.times(false).first_content(Duration::from_millis(340));
    let vetoes = Vetoes(VETOES.iter().fold(0, |all, (veto, _)| all | veto.0));
    let decision = Decision {
        needs: Needs::of(&request),
        considered: vec![considered(deployment, vetoes)],
        prompt_tokens: 900,
        completion_tokens: 200,
        ..Decision::default()
    };
    let message = dry_run(&decision, None, Instant::now());
    let details: Vec<_> = message.candidates[0].vetoes.iter().map(|veto| veto.detail.as_str()).collect();
    assert_eq!(
        details,
        [
            "the API key may not use the model `m`",
            "it is known to lack tools",
            "a prompt of about 900 tokens does not fit into its context; it holds 1024",
            "it lacks a tag that x-penstock-tags asks for; it has eu, gpu",
            "0.003800 US dollars are more than x-penstock-max-cost allows",
            "its first token, expected after 340 ms, comes later than x-penstock-max-latency allows",
            "it failed too often and is left alone for another 12.3 s",
            "its weight is 0",
            "enough others come before it",
        ]
    );
    assert_eq!(message.needs, ["tools"]);
    assert_eq!(message.candidates[0].cost_usd, Some(0.0038));
    assert_eq!(message.candidates[0].breaker(), Breaker::Open);
}

#[test]
fn who_is_asked_has_a_place_and_nobody_else() {
    let open = |id| considered(deployment(id), Vetoes::default());
    let all = vec![open("a"), considered(deployment("b"), Vetoes::LACKS), open("c")];
    let message = told(all);
    let places: Vec<_> = message.candidates.iter().map(|one| (one.place, one.vetoes.len())).collect();
    assert_eq!(places, [(1, 0), (0, 1), (2, 0)]);
}

#[test]
fn a_refusal_gives_nobody_a_place_and_says_why() {
    let decision =
        Decision { considered: vec![considered(deployment("a"), Vetoes::LACKS)], ..Decision::default() };
    let message = dry_run(&decision, Some(Reason::Unsupported), Instant::now());
    assert_eq!((message.outcome.as_str(), message.candidates[0].place), ("UNSUPPORTED", 0));
    assert_eq!(message.candidates[0].vetoes.len(), 1);
}

#[test]
fn a_score_says_what_it_means_with_every_strategy() {
    let strategies = [
        Strategy::Weighted,
        Strategy::LeastLatency,
        Strategy::LeastBusy,
        Strategy::Cheapest,
        Strategy::RoundRobin,
        Strategy::Affinity,
        Strategy::LoadedFirst,
        Strategy::Priority,
    ];
    let words: HashSet<_> = strategies.map(score_means).into();
    assert_eq!(words.len(), strategies.len());
    let scored = |score| Considered { score, ..considered(deployment("a"), Vetoes::default()) };
    let message = told(vec![scored(Some(0.5)), scored(None), scored(Some(f64::INFINITY))]);
    let means: Vec<_> = message.candidates.iter().map(|one| (one.score, one.score_means.as_str())).collect();
    assert_eq!(means, [(Some(0.5), "a draw, by weight"), (None, ""), (None, "")]);
}

#[tokio::test(start_paused = true)]
async fn what_was_kept_is_told_with_what_came_of_it() {
    let policy = ModelConfig { fallbacks: vec!["n".into()], ..ModelConfig::default() };
    let decision = Decision {
        asked: "alias".into(),
        model: "m".into(),
        how: Match::Alias,
        considered: vec![considered(deployment("a"), Vetoes::default())],
        policy: policy.into(),
        ..Decision::default()
    };
    let candidate = decision.considered[0].candidate.clone();
    let trail = Decisions::new(1, Duration::from_secs(60)).keep(decision, "req-1");
    let noted = trail.begin(&candidate, AttemptKind::First);
    let message = kept(&trail);
    assert_eq!((message.outcome.as_str(), message.attempts[0].outcome.as_str()), ("", ""));
    assert_eq!(message.attempts[0].took, None);
    tokio::time::advance(Duration::from_millis(1500)).await;
    noted.end("OK");
    trail.end("OK");
    let message = kept(&trail);
    assert_eq!((message.id.as_str(), message.request_id.as_str()), (trail.id(), "req-1"));
    assert_eq!((message.asked.as_str(), message.model.as_str()), ("alias", "m"));
    assert_eq!((message.r#match(), message.strategy.as_str()), (Match::Alias, "weighted"));
    assert_eq!((message.fallbacks, message.outcome.as_str()), (vec!["n".to_owned()], "OK"));
    assert!(message.made_at.is_some());
    let took = message.attempts[0].took.unwrap();
    assert_eq!((took.seconds, took.nanos), (1, 500_000_000));
    assert_eq!(message.attempts[0].kind(), AttemptKind::First);
}
