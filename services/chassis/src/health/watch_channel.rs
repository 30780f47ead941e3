//! A background check of another service through its own `grpc.health.v1`.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use super::Health;
use crate::{CallContext, Channel, Tasks};

/// How often a service is asked: often enough that a loss shows within seconds, rare enough to cost nothing.
const INTERVAL: Duration = Duration::from_secs(2);
/// How long an answer may take before the service counts as lost.
const TIMEOUT: Duration = Duration::from_secs(1);

impl Health {
    /// Checks the service behind `channel` in the background and reports it as the component `name`.
    pub fn watch_channel(&self, name: &'static str, required: bool, channel: &Channel, tasks: &Tasks) {
        let component = self.component(name, required);
        let mut client = HealthClient::new(channel.clone());
        let stopping = tasks.stopping();
        let checks = async move {
            let mut ticks = interval(INTERVAL);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                let call = CallContext::background(TIMEOUT);
                let started = Instant::now();
                let answer = client.check(call.request(HealthCheckRequest::default())).await;
                let latency = Some(started.elapsed());
                match answer.map(|answer| answer.into_inner().status()) {
                    Ok(ServingStatus::Serving) => component.up(latency),
                    Ok(_) => component.down("not serving", latency),
                    Err(status) => component.down(format!("check failed: {}", status.code()), latency),
                }
            }
        };
        tasks.spawn("health check", async move {
            stopping.run_until_cancelled(checks).await;
        });
    }
}
