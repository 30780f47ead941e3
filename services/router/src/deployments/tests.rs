//! What a look at the adapter may change: times, and no state.

use std::time::SystemTime;

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
