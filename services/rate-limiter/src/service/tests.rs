//! The service by its generated client over the local channel.

use std::time::Duration;

use penstock_chassis::{
    CallContext, Channel, Chassis,
    config::{Document, Environment},
};
use penstock_proto::{
    Error, Reason, metadata, ratelimit::v1::rate_limiter_client::RateLimiterClient, status::v1::State,
};
use tonic::Code;

use super::*;
use crate::{Config, start};

const LIMITS: &str = "[[limits]]\napplies_to = 'key'\nrequests = { per = '1d', limit = 2 }\n\
                      tokens = { per = '1d', limit = 1000 }\n";

fn client(text: &str) -> (RateLimiterClient<Channel>, Chassis) {
    let chassis = Chassis::default();
    let mut document = Document::parse(Some(text), Environment::default()).unwrap();
    let mut section = document.section("rate_limiter");
    let config = Config::read(&mut section, &mut document);
    drop(section);
    document.finish().unwrap();
    let routes = start(config, &chassis);
    (RateLimiterClient::new(Channel::local(routes, &chassis)), chassis)
}

fn request<T>(message: T) -> Request<T> {
    CallContext::background(Duration::from_secs(10)).request(message)
}

fn subject() -> Option<SubjectMessage> {
    Some(SubjectMessage { key_id: "k".into(), tenant: "t".into(), model: "m".into(), ..Default::default() })
}

fn reserve(tokens: u64) -> Request<ReserveRequest> {
    request(ReserveRequest { subject: subject(), tokens })
}

#[tokio::test]
async fn reserves_settles_and_refuses_with_what_a_caller_needs() {
    let (mut client, chassis) = client(LIMITS);
    let first = client.reserve(reserve(300)).await.unwrap().into_inner();
    assert_eq!(
        first.limits.iter().map(|limit| limit.name.as_str()).collect::<Vec<_>>(),
        ["key.requests", "key.tokens"]
    );
    assert_eq!(first.limits[1].remaining, 700);
    for _ in 0..2 {
        let settle = SettleRequest { reservation_id: first.reservation_id.clone(), tokens: 0 };
        client.settle(request(settle)).await.unwrap();
    }
    let peeked = client.peek(request(PeekRequest { subject: subject() })).await.unwrap().into_inner();
    assert_eq!((peeked.limits[0].remaining, peeked.limits[1].remaining), (1, 1000));

    client.reserve(reserve(1)).await.unwrap();
    let status = client.reserve(reserve(1)).await.unwrap_err();
    let error = Error::from(&status);
    assert_eq!((status.code(), error.reason), (Code::ResourceExhausted, Reason::RateLimitExceeded));
    let wait = error.retry_after.unwrap();
    assert!(!wait.is_zero() && wait <= Duration::from_secs(43_200), "{wait:?}");
    assert!(error.message.contains("key.requests of 2 requests per 1d"), "{}", error.message);
    let header = |name| status.metadata().get(name).and_then(|value| value.to_str().ok());
    assert_eq!(header(metadata::LIMIT_REQUESTS), Some("2"));
    assert_eq!(header(metadata::REMAINING_REQUESTS), Some("0"));
    assert_eq!(header(metadata::REMAINING_TOKENS), Some("999"));
    assert!(header(metadata::RESET_REQUESTS).is_some_and(|reset| reset.ends_with('s')));

    let text = chassis.metrics.encode().unwrap();
    assert!(text.contains("penstock_ratelimit_decisions_total{verdict=\"admitted\"} 2"), "{text}");
    assert!(text.contains("penstock_ratelimit_decisions_total{verdict=\"limited\"} 1"), "{text}");
    assert!(text.contains("penstock_ratelimit_reservations 1"), "{text}");
    chassis.health.started();
    let report = chassis.health.report();
    assert!(report.components.iter().any(|part| part.name == "rate-limiter/store" && part.required));
}

#[tokio::test]
async fn a_request_that_can_never_pass_is_told_so() {
    let (mut client, _chassis) = client(LIMITS);
    let status = client.reserve(reserve(1001)).await.unwrap_err();
    let error = Error::from(&status);
    assert_eq!((error.reason, error.retry_after), (Reason::RequestExceedsLimit, None));
    for part in ["1001 tokens", "key.tokens", "1000"] {
        assert!(error.message.contains(part), "{}", error.message);
    }
    assert!(status.metadata().contains_key(metadata::LIMIT_TOKENS));
}

#[tokio::test]
async fn without_limits_there_is_nothing_to_settle() {
    let (mut client, _chassis) = client("");
    let answer = client.reserve(reserve(u64::MAX)).await.unwrap().into_inner();
    assert_eq!(answer, ReserveResponse::default());
    for reservation_id in ["", "no id of ours", "00000000-0000-0000-0000-000000000000"] {
        let settle = SettleRequest { reservation_id: reservation_id.into(), tokens: 1 };
        client.settle(request(settle)).await.unwrap();
    }
}

#[tokio::test]
async fn limits_of_the_key_itself_count() {
    let (mut client, _chassis) = client("");
    let limit = Limit {
        unit: UnitMessage::Tokens.into(),
        limit: 100,
        per: Some(prost_types::Duration { seconds: 3600, nanos: 0 }),
        burst: Some(50),
    };
    let subject = SubjectMessage { key_id: "k".into(), key_limits: vec![limit], ..Default::default() };
    let message = ReserveRequest { subject: Some(subject), tokens: 40 };
    let answer = client.reserve(request(message.clone())).await.unwrap().into_inner();
    assert_eq!((answer.limits[0].name.as_str(), answer.limits[0].remaining), ("key.own.tokens", 10));
    let error = Error::from(&client.reserve(request(message)).await.unwrap_err());
    assert_eq!(error.reason, Reason::RateLimitExceeded);
}

#[tokio::test]
async fn wrong_messages_are_refused_field_by_field() {
    let (mut client, _chassis) = client(LIMITS);
    let subject = SubjectMessage {
        tenant: "t".repeat(257),
        key_limits: vec![Limit { burst: Some(0), ..Limit::default() }],
        ..Default::default()
    };
    for (subject, fields) in [
        (None, vec!["subject"]),
        (
            Some(subject),
            vec![
                "subject.tenant",
                "subject.key_limits[0].unit",
                "subject.key_limits[0].limit",
                "subject.key_limits[0].burst",
                "subject.key_limits[0].per",
            ],
        ),
        (
            Some(SubjectMessage { key_limits: vec![Limit::default(); 17], ..Default::default() }),
            vec!["subject.key_limits"],
        ),
    ] {
        let status = client.reserve(request(ReserveRequest { subject, tokens: 1 })).await.unwrap_err();
        let violations = Error::from(&status).violations;
        assert_eq!(violations.iter().map(|v| v.field.as_str()).collect::<Vec<_>>(), fields);
    }
}

#[tokio::test(start_paused = true)]
async fn health_says_when_limits_are_forgotten_and_when_no_more() {
    let text = format!("[rate_limiter]\nmax_buckets = 100\n{LIMITS}");
    let (mut client, chassis) = client(&text);
    let becomes = async |wanted: State| {
        let state = || {
            let report = chassis.health.report();
            report.components.iter().find(|part| part.name == "rate-limiter/store").map(|part| part.state())
        };
        while state() != Some(wanted) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    becomes(State::Up).await;
    for number in 0..60 {
        let subject = SubjectMessage { key_id: format!("k{number}"), ..Default::default() };
        client.reserve(request(ReserveRequest { subject: Some(subject), tokens: 1 })).await.unwrap();
    }
    becomes(State::Degraded).await;
    becomes(State::Up).await;
}
