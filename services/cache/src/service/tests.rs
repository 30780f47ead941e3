//! The service by its generated client over the local channel.

use penstock_chassis::{
    CallContext, Channel, Chassis,
    config::{Document, Environment},
};
use penstock_proto::{
    Error as ErrorMessage, Reason,
    cache::v1::cache_client::CacheClient,
    inference::v1::{Choice, Delta, Usage},
};
use tonic::Code;

use super::*;
use crate::{Config, start};

async fn client(text: &str) -> (CacheClient<Channel>, Chassis) {
    let chassis = Chassis::default();
    let mut document = Document::parse(Some(text), Environment::default()).unwrap();
    let mut config = Config::read(&mut document.section("cache"), std::path::Path::new("unused"));
    config.objects = crate::objects::Medium::Memory;
    document.finish().unwrap();
    let routes = start(config, &chassis).await.unwrap();
    (CacheClient::new(Channel::local(routes, &chassis)), chassis)
}

fn request<T>(message: T) -> Request<T> {
    CallContext::background(Duration::from_secs(10)).request(message)
}

fn key(tenant: &str) -> Option<EntryKey> {
    Some(EntryKey { tenant: tenant.into(), fingerprint: vec![7; 32].into() })
}

fn answer(content: &str) -> GenerateChunk {
    let choice = Choice {
        delta: Some(Delta { content: Some(content.into()), ..Delta::default() }),
        finish_reason: Some("stop".into()),
        ..Choice::default()
    };
    let usage = Usage { prompt_tokens: 3, completion_tokens: 4, total_tokens: 7, ..Usage::default() };
    GenerateChunk { id: "x".into(), choices: vec![choice], usage: Some(usage), ..GenerateChunk::default() }
}

fn store(tenant: &str, answer: GenerateChunk) -> Request<StoreRequest> {
    request(StoreRequest { key: key(tenant), answer: Some(answer), ttl: None })
}

fn lookup(tenant: &str) -> Request<LookupRequest> {
    request(LookupRequest { key: key(tenant), max_age: None })
}

#[tokio::test]
async fn what_was_stored_is_found_by_its_tenant_alone() {
    let (mut client, chassis) = client("").await;
    assert!(client.lookup(lookup("a")).await.unwrap().into_inner().entry.is_none());
    assert!(client.store(store("a", answer("hello"))).await.unwrap().into_inner().stored);
    let entry = client.lookup(lookup("a")).await.unwrap().into_inner().entry.unwrap();
    assert_eq!(entry.answer, Some(answer("hello")));
    assert!(entry.age.is_some_and(|age| age.seconds < 10));
    // B10
    assert!(client.lookup(lookup("b")).await.unwrap().into_inner().entry.is_none());

    let stats = client.stats(request(StatsRequest {})).await.unwrap().into_inner();
    assert_eq!((stats.hits, stats.misses, stats.entries), (1, 2, 1));
    assert!(stats.bytes > 0);
    let text = chassis.metrics.encode().unwrap();
    for line in ["hits_total 1", "misses_total 2", "stores_total 1", "evictions_total 0", "entries 1"] {
        assert!(text.contains(&format!("penstock_cache_{line}\n")), "{line}: {text}");
    }
    let report = chassis.health.report();
    assert!(report.components.iter().any(|part| part.name == "cache/store" && !part.required));

    client.invalidate(request(InvalidateRequest { tenant: Some("a".into()) })).await.unwrap();
    assert!(client.lookup(lookup("a")).await.unwrap().into_inner().entry.is_none());
    let error = client.invalidate(request(InvalidateRequest { tenant: Some(String::new()) })).await;
    assert_eq!(error.unwrap_err().code(), Code::InvalidArgument);
}

// C11: an answer that is not whole is never cached.
#[tokio::test]
async fn what_is_not_whole_is_refused() {
    let (mut client, _chassis) = client("").await;
    let mut cut = answer("x");
    cut.choices.push(Choice::default());
    let many = GenerateChunk {
        choices: [vec![answer("x").choices[0].clone(); 150], vec![Choice::default()]].concat(),
        ..answer("x")
    };
    let negative = Some(prost_types::Duration { seconds: -1, nanos: 0 });
    let zero = Some(prost_types::Duration::default());
    let cases = [
        (StoreRequest::default(), vec!["key", "answer"]),
        (
            StoreRequest {
                key: Some(EntryKey::default()),
                answer: Some(GenerateChunk::default()),
                ttl: negative,
            },
            vec!["key.tenant", "key.fingerprint", "answer.choices", "ttl"],
        ),
        (
            StoreRequest { key: key("a"), answer: Some(cut), ttl: zero },
            vec!["answer.choices[1].finish_reason", "ttl"],
        ),
        (
            StoreRequest { key: key("a"), answer: Some(many), ttl: None },
            vec!["answer.choices[150].finish_reason"],
        ),
    ];
    for (message, fields) in cases {
        let status = client.store(request(message)).await.unwrap_err();
        let error = ErrorMessage::from(&status);
        assert_eq!((status.code(), error.reason), (Code::InvalidArgument, Reason::InvalidRequest));
        assert_eq!(error.violations.iter().map(|v| v.field.as_str()).collect::<Vec<_>>(), fields);
    }
    let stats = client.stats(request(StatsRequest {})).await.unwrap().into_inner();
    assert_eq!(stats.entries, 0);
}

#[tokio::test]
async fn a_wrong_lookup_is_refused() {
    let (mut client, _chassis) = client("").await;
    let short = Some(EntryKey { tenant: "a".repeat(257), fingerprint: vec![7; 31].into() });
    let status = client.lookup(request(LookupRequest { key: short, max_age: None })).await.unwrap_err();
    let fields: Vec<_> = ErrorMessage::from(&status).violations.into_iter().map(|v| v.field).collect();
    assert_eq!(fields, ["key.tenant", "key.fingerprint"]);
}

#[tokio::test]
async fn what_is_too_large_is_not_stored_and_no_error() {
    let (mut client, _chassis) = client("[cache]\nmax_entry_bytes = 2000\n").await;
    for length in [3_000, 5 << 20] {
        let response = client.store(store("a", answer(&"x".repeat(length)))).await.unwrap();
        assert!(!response.into_inner().stored);
    }
    assert!(client.lookup(lookup("a")).await.unwrap().into_inner().entry.is_none());
}
