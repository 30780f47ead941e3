//! The gRPC faces by their generated clients over the local channel.

use std::time::Duration;

use penstock_proto::status::v1::{Component, Kind, status_client::StatusClient};
use tokio_stream::StreamExt as _;
use tonic::Code;
use tonic_health::pb::health_client::HealthClient;

use super::*;
use crate::{Channel, Chassis, HealthConfig};

fn client(chassis: &Chassis) -> HealthClient<Channel> {
    HealthClient::new(Channel::local(chassis.health.add_to(Routes::default()), chassis))
}

fn named(service: &str) -> HealthCheckRequest {
    HealthCheckRequest { service: service.to_owned() }
}

/// E8: as grpc.health.v1 has it.
#[tokio::test]
async fn unknown_names_are_not_found_by_check_and_service_unknown_by_watch() {
    let chassis = Chassis::default();
    let mut client = client(&chassis);
    chassis.health.serves("a.B");
    chassis.health.started();
    assert_eq!(client.check(named("x")).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(client.check(named("a.B")).await.unwrap().into_inner().status(), ServingStatus::Serving);
    let mut watch = client.watch(named("later")).await.unwrap().into_inner();
    assert_eq!(watch.next().await.unwrap().unwrap().status(), ServingStatus::ServiceUnknown);
    chassis.health.serves("later");
    assert_eq!(watch.next().await.unwrap().unwrap().status(), ServingStatus::Serving);
}

/// As an open port has it during the start: nor does a watch that began then ever tell.
#[tokio::test]
async fn names_of_models_can_be_left_out() {
    let chassis = Chassis::default();
    chassis.health.serves("a.B");
    let routes = chassis.health.add_without_models_to(Routes::default());
    let mut client = HealthClient::new(Channel::local(routes, &chassis));
    let mut watch = client.watch(named("model/m")).await.unwrap().into_inner();
    assert_eq!(watch.next().await.unwrap().unwrap().status(), ServingStatus::ServiceUnknown);
    let models = chassis.health.component("models", Kind::Part, true);
    models.parts(vec![Component { name: "model/m".into(), state: 1, ..Component::default() }]);
    models.up(None);
    chassis.health.started();
    assert_eq!(client.check(named("model/m")).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(client.check(named("a.B")).await.unwrap().into_inner().status(), ServingStatus::Serving);
    assert_eq!(asked(&mut self::client(&chassis), "model/m").await, Some(ServingStatus::Serving));
    chassis.health.end_watches();
    assert!(watch.next().await.is_none(), "nothing more was told");
}

#[tokio::test]
async fn watch_speaks_at_once_and_on_every_change_and_ends_at_shutdown() {
    let chassis = Chassis::default();
    let mut watch = client(&chassis).watch(named("")).await.unwrap().into_inner();
    let mut next = async || watch.next().await.map(|status| status.unwrap().status());
    assert_eq!(next().await, Some(ServingStatus::NotServing));
    chassis.health.started();
    assert_eq!(next().await, Some(ServingStatus::Serving));
    let component = chassis.health.component("optional", Kind::Part, false);
    component.down("gone", None);
    chassis.health.drain();
    assert_eq!(next().await, Some(ServingStatus::NotServing));
    chassis.health.end_watches();
    assert_eq!(next().await, None);
}

fn status(chassis: &Chassis) -> StatusClient<Channel> {
    StatusClient::new(Channel::local(chassis.health.add_to(Routes::default()), chassis))
}

async fn asked(client: &mut HealthClient<Channel>, service: &str) -> Option<ServingStatus> {
    match client.check(named(service)).await {
        Ok(answer) => Some(answer.into_inner().status()),
        Err(status) => {
            assert_eq!(status.code(), Code::NotFound, "{status:?}");
            None
        }
    }
}

fn model(name: &str, state: State) -> Component {
    Component {
        name: format!("model/{name}"),
        kind: Kind::Model.into(),
        state: state.into(),
        ..Component::default()
    }
}

#[tokio::test]
async fn liveness_readiness_and_startup_have_names() {
    use ServingStatus::{NotServing, Serving};
    let config = HealthConfig::of_text("[health]\n[[health.checks]]\nname = 'a'\nreadiness = false");
    let chassis = Chassis::named("router", config);
    let mut client = client(&chassis);
    let mut all = async || {
        let mut found = Vec::new();
        for name in ["liveness", "startup", "readiness", ""] {
            found.push(asked(&mut client, name).await.unwrap());
        }
        found
    };
    assert_eq!(all().await, [Serving, NotServing, NotServing, NotServing], "starting");
    chassis.health.started();
    assert_eq!(all().await, [Serving, Serving, Serving, Serving]);
    let ignored = chassis.health.component("a", Kind::Part, true);
    ignored.down("gone", None);
    assert_eq!(all().await, [Serving, Serving, Serving, NotServing], "readiness does not look at it");
    let looked_at = chassis.health.component("b", Kind::Part, true);
    looked_at.down("gone", None);
    assert_eq!(all().await, [Serving, Serving, NotServing, NotServing]);
    drop((ignored, looked_at));
    chassis.health.drain();
    assert_eq!(all().await, [Serving, Serving, NotServing, NotServing], "draining");
}

#[tokio::test]
async fn models_have_names_and_come_and_go_in_a_watch() {
    use ServingStatus::{NotServing, ServiceUnknown, Serving, Unknown};
    let chassis = Chassis::default();
    chassis.health.started();
    let mut client = client(&chassis);
    let mut watch = client.watch(named("model/m")).await.unwrap().into_inner();
    let mut next = async || watch.next().await.unwrap().unwrap().status();
    assert_eq!(next().await, ServiceUnknown);
    let models = chassis.health.component("models", Kind::Part, false);
    for (state, expected) in [
        (State::Unspecified, Unknown),
        (State::Down, NotServing),
        (State::Degraded, Serving),
        (State::Down, NotServing),
        (State::Up, Serving),
    ] {
        models.parts(vec![model("a", State::Up), model("m", state), model("z", State::Down)]);
        assert_eq!(next().await, expected);
        assert_eq!(asked(&mut client, "model/m").await, Some(expected));
    }
    assert_eq!(asked(&mut client, "model/n").await, None);
    assert_eq!(asked(&mut client, "model/").await, None);
    assert_eq!(asked(&mut client, "models").await, None, "a component is no service");
    models.parts(Vec::new());
    assert_eq!(next().await, ServiceUnknown);
}

#[tokio::test]
async fn names_of_a_megabyte_are_unknown_like_others() {
    let chassis = Chassis::default();
    let mut client = client(&chassis);
    for name in ["x".repeat(1 << 20), format!("model/{}", "x".repeat(1 << 20)), "x".repeat(513)] {
        let status = client.check(named(&name)).await.unwrap_err();
        assert_eq!(status.code(), Code::NotFound);
        assert!(status.message().len() < 100, "{}", status.message().len());
        let mut watch = client.watch(named(&name)).await.unwrap().into_inner();
        assert_eq!(watch.next().await.unwrap().unwrap().status(), ServingStatus::ServiceUnknown);
    }
}

#[tokio::test]
async fn watches_are_bounded_and_those_that_end_make_room() {
    let chassis = Chassis::named("router", HealthConfig::of_text("[health]\nwatches_max = 3"));
    let (mut client, mut status) = (client(&chassis), status(&chassis));
    for _ in 0..3 {
        let first = client.watch(named("")).await.unwrap();
        let other = client.watch(named("x")).await.unwrap();
        let mut third = status.watch(WatchRequest {}).await.unwrap().into_inner();
        third.next().await.unwrap().unwrap();
        for refused in
            [client.watch(named("")).await.map(drop), status.watch(WatchRequest {}).await.map(drop)]
        {
            let refused = refused.unwrap_err();
            assert_eq!(refused.code(), Code::Unavailable);
            assert!(refused.message().contains("health.watches_max"), "{refused:?}");
        }
        assert_eq!(asked(&mut client, "liveness").await, Some(ServingStatus::Serving), "who asks gets in");
        drop((first, other, third));
    }
}

#[tokio::test(start_paused = true)]
async fn watches_tell_of_changes_and_not_of_looks() {
    let chassis = Chassis::default();
    chassis.health.started();
    let component = chassis.health.component("a", Kind::Part, false);
    component.up(Some(Duration::from_millis(1)));
    let mut watch = status(&chassis).watch(WatchRequest {}).await.unwrap().into_inner();
    let first = watch.next().await.unwrap().unwrap().report.unwrap();
    assert_eq!((first.components[0].state(), &first.components[0].latency), (State::Up, &None));
    for millis in 2..50 {
        component.up(Some(Duration::from_millis(millis)));
        let silent = tokio::time::timeout(Duration::from_secs(1), watch.next()).await;
        assert!(silent.is_err(), "{silent:?}");
    }
    assert_eq!(chassis.health.report().components[0].latency, Duration::from_millis(49).try_into().ok());
    component.degraded("slow", None);
    let next = watch.next().await.unwrap().unwrap().report.unwrap();
    assert_eq!((next.state(), next.components[0].detail.as_str()), (State::Degraded, "slow"));
    component.degraded("slower", None);
    let next = watch.next().await.unwrap().unwrap().report.unwrap();
    assert_eq!(next.components[0].detail, "slower", "a reason is news, too");
}

#[tokio::test]
async fn changes_are_listed_the_newest_first_and_as_many_as_wanted() {
    let chassis = Chassis::named("router", HealthConfig::of_text("[health]\nhistory_max = 4"));
    chassis.health.started();
    let component = chassis.health.component("a", Kind::Store, false);
    component.up(None);
    component.down("gone", None);
    component.up(None);
    let mut status = status(&chassis);
    let mut list = async |limit| {
        let answer = status.list_changes(ListChangesRequest { limit }).await.unwrap().into_inner();
        answer
            .changes
            .iter()
            .map(|change| (change.name.clone(), change.from(), change.to()))
            .collect::<Vec<_>>()
    };
    let (name, all) = ("a".to_owned(), String::new());
    let expected = [
        (all.clone(), State::Degraded, State::Up),
        (name.clone(), State::Down, State::Up),
        (all, State::Up, State::Degraded),
        (name, State::Up, State::Down),
    ];
    let mut found = list(0).await;
    // Of one moment, in any order.
    found[..2].sort_unstable();
    found[2..].sort_unstable();
    let mut wanted = expected.to_vec();
    wanted[..2].sort_unstable();
    wanted[2..].sort_unstable();
    assert_eq!(found, wanted);
    assert_eq!(list(1).await.len(), 1);
    component.down("gone", None);
    assert_eq!(list(0).await.len(), 4, "bounded by history_max");
    assert_eq!(list(u32::MAX).await.len(), 4);
    let change = chassis.health.history(9).into_iter().find(|change| change.name == "a").unwrap();
    assert_eq!((change.kind(), change.detail.as_str(), change.at.is_some()), (Kind::Store, "gone", true));
}
