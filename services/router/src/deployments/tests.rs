//! What a look at the adapter may change (times, and no state), and what its check means for the models.

use std::time::SystemTime;

use tonic::service::Routes;

use super::*;

#[test]
fn a_look_refreshes_times_where_both_agree_on_the_state() {
    let deployment = |id: &str, state: State| DeploymentReport {
        id: id.into(),
        state: state.into(),
        ..DeploymentReport::default()
    };
    let now = Some(SystemTime::now().into());
    let fresh = |id: &str, state: State| DeploymentReport {
        latency: Duration::from_millis(3).try_into().ok(),
        checked_at: now,
        last_success_at: now,
        detail: "slow".into(),
        ..deployment(id, state)
    };
    let mut known = [deployment("a", State::Up), deployment("b", State::Up), deployment("c", State::Down)];
    freshen(&mut known, vec![fresh("a", State::Up), fresh("b", State::Down), fresh("new", State::Up)]);
    assert_eq!(known[0], fresh("a", State::Up));
    assert_eq!(known[1], deployment("b", State::Up), "another replica sees it otherwise");
    assert_eq!(known[2], deployment("c", State::Down));
}

#[tokio::test]
async fn models_follow_the_check_of_an_adapter_that_hangs() {
    let chassis = Chassis::default();
    let health = chassis.health.clone();
    let mut follower = Follower {
        client: DeploymentsClient::new(Channel::local(Routes::default(), &chassis)),
        routing: Routing::default(),
        live: Live::default(),
        loads: HashMap::new(),
        registry: Arc::new(ArcSwap::from_pointee(Registry::new(&Routing::default(), &[]))),
        models: health.component("models", Kind::Part, true),
        health: health.clone(),
        reported: Vec::new(),
        ambiguous: Ambiguous::new(),
        first: None,
        lost: false,
    };
    let adapter = health.component(ADAPTER, Kind::Service, true);
    let model = || {
        let report = health.report();
        report.components.iter().find(|one| one.name == "model/m").map(|one| one.state())
    };
    adapter.up(None);
    let deployment = DeploymentReport {
        id: "a".into(),
        model: "m".into(),
        discovered: true,
        state: State::Up.into(),
        ..DeploymentReport::default()
    };
    follower.take(vec![deployment.clone()]);
    follower.follow_check();
    assert_eq!(model(), Some(State::Up));
    adapter.down("hangs", None);
    follower.follow_check();
    assert_eq!(model(), Some(State::Down));
    // It goes on: its word counts, though its check has not said so yet.
    follower.take(vec![deployment]);
    follower.follow_check();
    assert_eq!(model(), Some(State::Up));
    adapter.up(None);
    follower.follow_check();
    assert_eq!(model(), Some(State::Up));
}
