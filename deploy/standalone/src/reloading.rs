//! What of the configuration changes while the process runs, and what has to wait for the next start.

use std::time::Duration;

use anyhow::Context as _;
use penstock_chassis::{
    CallContext, Channel, Chassis, Live, Reloader,
    config::{Mistakes, changed_sections},
    reload::{Configuration, Outcome, Reloaded, Source, live},
};
use penstock_inference_adapter::Configured;
use penstock_proto::{
    Error,
    adapter::v1::{ReloadRequest, deployments_client::DeploymentsClient},
};
use penstock_router::Routing;
use tonic::Code;

use crate::settings::{Read, Settings};

/// The sections that are taken over while the process runs.
const LIVE: [&str; 3] = ["auto", "deployments", "models"];
/// How long the adapter may take to read its copy of the file: it looks at places that are new.
const ADAPTER_TIMEOUT: Duration = Duration::from_secs(10);

/// Reads the file again for the services of this process.
#[derive(Debug)]
pub(crate) struct Reloading {
    read: Read,
    deployments: Option<Source<Configured>>,
    routing: Option<Source<Routing>>,
    /// The adapter of a router, where it is another process.
    adapter: Option<Channel>,
}

impl Reloading {
    /// For a process with this configuration, of which no service takes anything over yet.
    pub(crate) fn new(read: Read) -> Self {
        Self { read, deployments: None, routing: None, adapter: None }
    }

    /// What the adapter in this process takes over.
    pub(crate) fn of_adapter(&mut self, config: &penstock_inference_adapter::Config) -> Live<Configured> {
        let (source, live) = live(config.configured());
        self.deployments = Some(source);
        live
    }

    /// What the router in this process takes over. `adapter`: its adapter, if that is another process.
    pub(crate) fn of_router(
        &mut self,
        config: &penstock_router::Config,
        adapter: Option<&Channel>,
    ) -> Live<Routing> {
        let (source, live) = live(config.routing.clone());
        self.routing = Some(source);
        self.adapter = adapter.cloned();
        live
    }

    /// Reads again from now on. `component` is its name in health.
    pub(crate) fn start(self, component: &'static str, chassis: &Chassis) -> anyhow::Result<Reloader> {
        let file = self.read.file();
        Reloader::start(component, file, self, chassis).context("cannot listen to signals")
    }

    /// Has the adapter read its copy of the file first: no model is to point at a deployment that is not there yet. If
    /// the adapter cannot be asked it follows by itself.
    async fn adapter_first(&self) -> Result<(), Mistakes> {
        let Some(adapter) = &self.adapter else { return Ok(()) };
        let request = CallContext::background(ADAPTER_TIMEOUT).request(ReloadRequest {});
        match DeploymentsClient::new(adapter.clone()).reload(request).await {
            Err(status) if status.code() == Code::InvalidArgument => Err((&Error::from(&status)).into()),
            Err(status) => {
                tracing::warn!(code = %status.code(), "the adapter cannot be asked to read its configuration");
                Ok(())
            }
            Ok(_) => Ok(()),
        }
    }
}

impl Configuration for Reloading {
    async fn take(&mut self, text: Option<String>) -> Outcome {
        let mut needs_restart = changed_sections(self.read.text(), text.as_deref().unwrap_or_default());
        needs_restart.retain(|section| !LIVE.contains(&section.as_str()));
        let read = self.read.with(text);
        // Certificates and the like may be read from a disk that hangs.
        let settings = tokio::task::spawn_blocking(move || read.settings()).await;
        let settings: Settings = settings.map_err(|_| Mistakes::one("cannot be read: a bug of ours"))??;
        self.adapter_first().await?;
        let mut changed = false;
        if let Some(deployments) = &mut self.deployments {
            changed |= deployments.put(settings.inference_adapter.1.configured()).await?;
        }
        if let Some(routing) = &mut self.routing {
            changed |= routing.put(settings.router.1.routing).await?;
        }
        Ok(Reloaded { changed, needs_restart })
    }
}
