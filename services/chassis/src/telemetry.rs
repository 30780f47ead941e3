//! Logs, and traces by OTLP if an endpoint is set. Logs go to standard error: a line for a person, or JSON.

use std::{io::IsTerminal as _, time::Duration};

use opentelemetry::{KeyValue, trace::TracerProvider as _};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use tracing_subscriber::{
    EnvFilter, Layer as _, filter::filter_fn, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

use crate::config::Document;

/// How long the last spans may take to leave at the end: a lost collector must not hold the exit.
const FLUSH_LIMIT: Duration = Duration::from_secs(2);

/// How a process tells what it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TelemetryConfig {
    log: String,
    json: bool,
    otlp_endpoint: Option<String>,
}

/// Telemetry cannot be set up.
#[derive(Debug, thiserror::Error)]
#[error("telemetry.otlp_endpoint cannot be used: {0}")]
pub struct TelemetryError(#[from] opentelemetry_otlp::ExporterBuildError);

impl TelemetryConfig {
    /// Reads the section `[telemetry]`. `OTEL_EXPORTER_OTLP_ENDPOINT` is the default of the endpoint.
    pub fn read(document: &mut Document) -> Self {
        let from_environment = document.environment().get("OTEL_EXPORTER_OTLP_ENDPOINT").map(str::to_owned);
        let mut section = document.section("telemetry");
        let log = section.string("log").unwrap_or_else(|| "info".to_owned());
        if let Err(error) = EnvFilter::try_new(&log) {
            section.mistake(
                "log",
                format!("is not a filter such as \"info\" or \"penstock_router=debug\": {error}"),
            );
        }
        let json = section.choice("log_format", &[("human", false), ("json", true)], false);
        let otlp_endpoint =
            section.string("otlp_endpoint").or(from_environment).filter(|text| !text.is_empty());
        if otlp_endpoint.as_deref().is_some_and(|text| !text.starts_with("http://")) {
            section.mistake("otlp_endpoint", "must start with http:// (gRPC without TLS)");
        }
        Self { log, json, otlp_endpoint }
    }

    /// Starts telemetry for the process. `service` names it in traces.
    ///
    /// # Errors
    /// The endpoint is not one.
    pub fn start(&self, service: &'static str) -> Result<Telemetry, TelemetryError> {
        let filter = EnvFilter::try_new(&self.log).unwrap_or_else(|_| EnvFilter::new("info"));
        let logs = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
        let logs = if self.json {
            logs.json().flatten_event(true).with_span_list(false).boxed()
        } else {
            // Colours are for a person at a terminal, not for a file.
            logs.compact().with_target(false).with_ansi(std::io::stderr().is_terminal()).boxed()
        };
        let provider =
            self.otlp_endpoint.as_deref().map(|endpoint| provider(endpoint, service)).transpose()?;
        // Our own spans only: what libraries trace is not part of a request.
        let traces = provider.as_ref().map(|provider| {
            tracing_opentelemetry::layer()
                .with_tracer(provider.tracer("penstock"))
                .with_filter(filter_fn(|metadata| metadata.target().starts_with("penstock")))
        });
        // Fails if a subscriber is set already: in tests, where the first one serves as well.
        let _ = tracing_subscriber::registry().with(logs.with_filter(filter)).with(traces).try_init();
        Ok(Telemetry { provider })
    }
}

fn provider(endpoint: &str, service: &'static str) -> Result<SdkTracerProvider, TelemetryError> {
    let exporter = SpanExporter::builder().with_tonic().with_endpoint(endpoint).build()?;
    let resource = Resource::builder()
        .with_service_name(service)
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build())
}

/// Running telemetry; end it with [`Telemetry::stop`].
#[derive(Debug)]
pub struct Telemetry {
    provider: Option<SdkTracerProvider>,
}

impl Telemetry {
    /// Sends what is left, at most two seconds.
    pub async fn stop(self) {
        let Some(provider) = self.provider else { return };
        // Blocks, and fails if the collector is gone: spans are lost then, nothing else.
        let _ = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(FLUSH_LIMIT)).await;
    }
}
