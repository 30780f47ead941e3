//! Drawings as they come out, and nothing in a name that moves a cursor.

use penstock_proto::{
    router::v1::{Classification, Veto},
    status::v1::State,
};

use super::*;

fn span(milliseconds: u64) -> Option<prost_types::Duration> {
    Duration::from_millis(milliseconds).try_into().ok()
}

fn decided() -> Decision {
    let open = Candidate {
        deployment: "gpu-a".into(),
        model: "llama".into(),
        place: 1,
        score: Some(0.3403),
        score_means: "seconds to the first token".into(),
        state: State::Up.into(),
        weight: 2.5,
        priority: 1,
        in_flight: 3,
        first_token: span(340),
        cost_usd: Some(0.00123456),
        ..Candidate::default()
    };
    let vetoes = vec![
        Veto { code: "LACKS".into(), detail: "it is known to lack tools".into() },
        Veto { code: "CIRCUIT_OPEN".into(), detail: "it is left alone".into() },
    ];
    let vetoed = Candidate {
        deployment: "gpu-b".into(),
        model: "llama".into(),
        state: State::Down.into(),
        breaker: Breaker::Open.into(),
        weight: 1.0,
        priority: 2,
        vetoes,
        ..Candidate::default()
    };
    Decision {
        asked: "auto".into(),
        model: "llama".into(),
        r#match: Match::Auto.into(),
        classification: Some(Classification {
            class: "medium".into(),
            reasons: vec!["3 tools".into(), "code".into()],
        }),
        strategy: "least-latency".into(),
        needs: vec!["chat".into(), "tools".into()],
        candidates: vec![open, vetoed],
        fallbacks: vec!["small".into(), "other".into()],
        prompt_tokens: 12,
        completion_tokens: 256,
        ..Decision::default()
    }
}

#[test]
fn a_dry_run_is_drawn() {
    let limit = LimitState {
        name: "key.requests".into(),
        unit: Unit::Requests.into(),
        limit: 60,
        per: span(60_000),
        remaining: 59,
        reset_after: span(1000),
    };
    let text = explanation(&ExplainResponse { decision: Some(decided()), limits: vec![limit] });
    assert_eq!(
        text,
        "auto → llama (by what the request looks like), by least-latency\n  \
           outcome    it would be asked as follows; nothing was\n  \
           class      medium: 3 tools, code\n  \
           needs      chat, tools\n  \
           tokens     12 of the prompt, 256 of the answer, estimated\n  \
           fallbacks  small → other\n\
         \n   DEPLOYMENT  MODEL  STATE               PRIORITY  WEIGHT  SCORE   FIRST TOKEN  IN FLIGHT  COST          WHY NOT\n\
         1  gpu-a       llama  UP                  1         2.5     0.3403  340 ms       3          0.001235 USD\n\
         -  gpu-b       llama  DOWN, circuit open  2         1                            0                        LACKS: it is known to lack tools; CIRCUIT_OPEN: it is left alone\n\
         score: seconds to the first token; lower is better\n\
         \nlimits, of which nothing was taken\n  \
           key.requests  59 of 60 requests left per 1m  whole again in 1s\n"
    );
}

#[test]
fn a_decision_is_drawn_with_its_attempts() {
    let attempt = |deployment: &str, kind: AttemptKind, outcome: &str| Attempt {
        deployment: deployment.into(),
        model: "llama".into(),
        kind: kind.into(),
        started_after: span(1),
        took: span(20),
        outcome: outcome.into(),
    };
    let attempts = vec![
        attempt("gpu-b", AttemptKind::First, "ENGINE_FAILED"),
        attempt("gpu-a", AttemptKind::Failover, "OK"),
    ];
    let made =
        Decision { id: "dec-1".into(), request_id: "r".into(), attempts, outcome: "OK".into(), ..decided() };
    let text = decision(&made);
    assert!(text.contains("outcome    it was answered\n"), "{text}");
    assert!(
        text.ends_with(
            "attempts\n  DEPLOYMENT  MODEL  WHAT FOR            BEGAN AFTER  TOOK   OUTCOME\n  \
         gpu-b       llama  the first           1.0 ms       20 ms  ENGINE_FAILED\n  \
         gpu-a       llama  another deployment  1.0 ms       20 ms  OK\n"
        ),
        "{text}"
    );
}

#[test]
fn a_refusal_and_nothing_known_are_said() {
    let refused = Decision { outcome: "UNSUPPORTED".into(), candidates: vec![], ..decided() };
    let text = explanation(&ExplainResponse { decision: Some(refused), limits: vec![] });
    assert!(text.contains("it would be refused: UNSUPPORTED"), "{text}");
    assert!(text.ends_with("no deployment is known that could answer\n"), "{text}");
    assert!(decision(&Decision::default()).contains("nothing was attempted"));
}

#[test]
fn nothing_in_a_name_acts() {
    let evil = "a\u{1b}[2Jb\n\u{202e}".to_owned();
    let veto = Veto { code: evil.clone(), detail: evil.clone() };
    let candidate = Candidate {
        deployment: evil.clone(),
        model: evil.clone(),
        score: Some(1.0),
        score_means: evil.clone(),
        vetoes: vec![veto],
        ..Candidate::default()
    };
    let attempt = Attempt {
        deployment: evil.clone(),
        model: evil.clone(),
        outcome: evil.clone(),
        ..Attempt::default()
    };
    let made = Decision {
        id: evil.clone(),
        request_id: evil.clone(),
        asked: evil.clone(),
        model: evil.clone(),
        strategy: evil.clone(),
        needs: vec![evil.clone()],
        fallbacks: vec![evil.clone()],
        classification: Some(Classification { class: evil.clone(), reasons: vec![evil.clone()] }),
        candidates: vec![candidate],
        attempts: vec![attempt],
        outcome: evil.clone(),
        ..Decision::default()
    };
    let limits = vec![LimitState { name: evil, ..LimitState::default() }];
    let text = decision(&made) + &explanation(&ExplainResponse { decision: Some(made), limits });
    assert!(!text.contains(['\u{1b}', '\u{202e}']), "{text:?}");
}

#[test]
fn numbers_have_four_digits_that_say_something() {
    for (value, word) in [
        (0.0, "0"),
        (1.0, "1"),
        (0.00123456, "0.001235"),
        (12.3456, "12.35"),
        (123_456.7, "123457"),
        (-0.5, "-0.5"),
        (1e-30, "0"),
        (f64::NAN, "NaN"),
        (f64::INFINITY, "inf"),
    ] {
        assert_eq!(number(value), word);
    }
}
