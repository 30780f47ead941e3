//! Follows what the adapter reports of its deployments, and keeps the registry up to date with it.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use penstock_chassis::{Channel, Chassis};
use penstock_proto::{
    adapter::v1::{WatchRequest, WatchResponse, deployments_client::DeploymentsClient},
    status::v1::{Kind, State},
};
use tokio::time::sleep;
use tokio_stream::StreamExt as _;

use crate::{
    config::ModelConfig,
    registry::{Deployment, Registry},
};

/// The pause before the deployments are watched again.
const WATCH_PAUSE: Duration = Duration::from_millis(200);

/// The registry, kept up to date in the background. While the adapter says nothing the last one stays.
pub(crate) fn follow(
    adapter: &Channel,
    configured: Vec<ModelConfig>,
    chassis: &Chassis,
) -> Arc<ArcSwap<Registry>> {
    let registry = Arc::new(ArcSwap::from_pointee(Registry::new(&configured, &[])));
    let kept = Arc::clone(&registry);
    let mut client = DeploymentsClient::new(adapter.clone());
    let stopping = chassis.tasks.stopping();
    // Required: before the first report nobody knows what is offered.
    let component = chassis.health.component("models", Kind::Part, true);
    let watching = async move {
        loop {
            if let Ok(reports) = client.watch(WatchRequest {}).await {
                let mut reports = reports.into_inner();
                while let Some(Ok(report)) = reports.next().await {
                    kept.store(Arc::new(Registry::new(&configured, &read(report))));
                    component.up(None);
                }
            }
            sleep(WATCH_PAUSE).await;
        }
    };
    chassis.tasks.spawn("deployments", async move {
        stopping.run_until_cancelled(watching).await;
    });
    registry
}

fn read(report: WatchResponse) -> Vec<Deployment> {
    let deployments = report.deployments.into_iter().map(|deployment| Deployment {
        down: deployment.state() == State::Down,
        discovered: deployment.discovered,
        id: deployment.id,
        engine: deployment.engine,
        model: deployment.model,
        capabilities: deployment.capabilities,
    });
    deployments.collect()
}
