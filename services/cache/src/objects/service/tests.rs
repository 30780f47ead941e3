//! The service by its generated client over the local channel.

use std::time::Duration;

use penstock_chassis::{CallContext, Channel, Chassis, Health};
use penstock_proto::{
    Error as ErrorMessage, Reason, cache::v1::objects_client::ObjectsClient, status::v1::State,
};
use prometheus_client::metrics::counter::Counter;
use tonic::service::Routes;

use super::{
    super::{Bounds, EmbeddedObjectStore, Held, Medium, Page, Probe, contract},
    *,
};

type Client = ObjectsClient<Channel>;

fn serve(store: Arc<dyn ObjectStore>) -> (Client, Chassis) {
    let chassis = Chassis::default();
    let measures = Arc::new(Measures::register(&chassis, &store, Counter::default()));
    let service = ObjectsService { store, measures, clock: || 1000 };
    let routes = Routes::new(penstock_proto::cache::v1::objects_server::ObjectsServer::new(service));
    (ObjectsClient::new(Channel::local(routes, &chassis)), chassis)
}

fn client(bounds: Bounds) -> Client {
    serve(Arc::new(EmbeddedObjectStore::open(&Medium::Memory, bounds, Counter::default()).unwrap())).0
}

fn request<T>(message: T) -> Request<T> {
    CallContext::background(Duration::from_secs(10)).request(message)
}

fn object(id: &str) -> ObjectMessage {
    let pairs = vec![MetadataPair { key: "k".into(), value: "v".into() }];
    ObjectMessage {
        id: id.into(),
        created: 900,
        model: "m".into(),
        metadata: Some(Metadata { pairs }),
        content: "content".into(),
    }
}

fn put(tenant: &str, object: ObjectMessage) -> Request<PutRequest> {
    request(PutRequest { tenant: tenant.into(), kind: "chat.completion".into(), object: Some(object) })
}

fn key(tenant: &str, id: &str) -> Option<ObjectKey> {
    Some(ObjectKey { tenant: tenant.into(), kind: "chat.completion".into(), id: id.into() })
}

fn reason<T: std::fmt::Debug>(answer: Result<T, Status>) -> (Reason, Vec<String>) {
    let error = ErrorMessage::from(&answer.unwrap_err());
    (error.reason, error.violations.into_iter().map(|violation| violation.field).collect())
}

#[tokio::test]
async fn the_life_of_an_object() {
    let mut client = client(contract::BOUNDS);
    client.put(put("t", object("a"))).await.unwrap();
    assert_eq!(reason(client.put(put("t", object("a"))).await).0, Reason::Conflict);
    let get = |tenant, id| request(GetRequest { key: key(tenant, id) });
    let got = client.get(get("t", "a")).await.unwrap().into_inner().object.unwrap();
    assert_eq!(got, object("a"));
    let pairs = vec![MetadataPair { key: "x".into(), value: "y".into() }];
    let metadata = Some(Metadata { pairs });
    let update = UpdateRequest { key: key("t", "a"), metadata: metadata.clone() };
    let updated = client.update(request(update)).await.unwrap().into_inner().object.unwrap();
    assert_eq!(updated, ObjectMessage { metadata: metadata.clone(), ..object("a") });
    let list = ListRequest {
        tenant: "t".into(),
        kind: "chat.completion".into(),
        metadata,
        ..ListRequest::default()
    };
    let page = client.list(request(list.clone())).await.unwrap().into_inner();
    assert_eq!((page.objects, page.has_more), (vec![updated], false));
    let unknown = ListRequest { after: Some("b".into()), ..list };
    assert_eq!(reason(client.list(request(unknown)).await), (Reason::InvalidRequest, vec!["after".into()]));
    let long = "x".repeat(300);
    for (tenant, id) in [("u", "a"), ("t", "b"), ("t", ""), ("t", &long)] {
        assert_eq!(reason(client.get(get(tenant, id)).await).0, Reason::NotFound, "{tenant} {id}");
    }
    client.delete(request(DeleteRequest { key: key("t", "a") })).await.unwrap();
    assert_eq!(reason(client.get(get("t", "a")).await).0, Reason::NotFound);
    assert_eq!(
        reason(client.delete(request(DeleteRequest { key: key("t", "a") })).await).0,
        Reason::NotFound
    );
}

#[tokio::test]
async fn every_violation_is_named() {
    let mut client = client(contract::BOUNDS);
    let nothing = PutRequest::default();
    assert_eq!(
        reason(client.put(request(nothing)).await),
        (
            Reason::InvalidRequest,
            ["tenant", "kind", "object.id", "object.model", "object.created"].map(str::to_owned).into()
        )
    );
    for created in [-1, 0, 1000 + 3601, i64::MAX] {
        let future = ObjectMessage { created, ..object("a") };
        assert_eq!(reason(client.put(put("t", future)).await).1, ["object.created"]);
    }
    let list = ListRequest { limit: Some(101), ..ListRequest::default() };
    assert_eq!(reason(client.list(request(list)).await).1, ["tenant", "kind", "limit"]);
    let pair = MetadataPair { key: "k".repeat(65), value: String::new() };
    let update = UpdateRequest { key: key("t", "a"), metadata: Some(Metadata { pairs: vec![pair] }) };
    assert_eq!(reason(client.update(request(update)).await).1, [format!("metadata.{}", "k".repeat(64))]);
    let large = ObjectMessage { content: vec![0; 100_001].into(), ..object("large") };
    assert_eq!(reason(client.put(put("t", large)).await).0, Reason::RequestTooLarge);
}

/// A store that does not work.
#[derive(Debug)]
struct Broken;

fn broken<T>() -> Result<T, Error> {
    Err(Error::Store("disk full".into()))
}

#[tonic::async_trait]
impl ObjectStore for Broken {
    async fn put(&self, _: String, _: String, _: Object, _: u64) -> Result<(), Error> {
        broken()
    }
    async fn get(&self, _: Place, _: u64) -> Result<Object, Error> {
        Err(Error::NotFound)
    }
    async fn list(&self, _: Query, _: u64) -> Result<Page, Error> {
        Ok(Page::default())
    }
    async fn update(&self, _: Place, _: Vec<(String, String)>, _: u64) -> Result<Object, Error> {
        broken()
    }
    async fn delete(&self, _: Place, _: u64) -> Result<(), Error> {
        Ok(())
    }
    async fn sweep(&self, _: u64) -> Result<(), Error> {
        broken()
    }
    async fn probe(&self) -> Probe {
        Probe::Works
    }
    fn held(&self) -> Held {
        Held::default()
    }
}

fn state(health: &Health) -> State {
    health.report().components.iter().find(|component| component.name == "cache/objects").unwrap().state()
}

/// F12: a full disk is seen in health, its end too, and the caller is told to come again.
#[tokio::test]
async fn a_store_that_cannot_be_written_degrades_until_it_can() {
    let (mut client, chassis) = serve(Arc::new(Broken));
    while state(&chassis.health) != State::Up {
        tokio::task::yield_now().await;
    }
    let status = client.put(put("t", object("a"))).await.unwrap_err();
    assert!(!status.message().contains("disk full"), "{status:?}");
    assert_eq!(ErrorMessage::from(&status).reason, Reason::ServiceUnavailable);
    assert_eq!(state(&chassis.health), State::Degraded);
    assert_eq!(reason(client.get(request(GetRequest { key: key("t", "a") })).await).0, Reason::NotFound);
    assert_eq!(state(&chassis.health), State::Degraded, "that it can be read says nothing");
    client.delete(request(DeleteRequest { key: key("t", "a") })).await.unwrap();
    assert_eq!(state(&chassis.health), State::Up);
}
