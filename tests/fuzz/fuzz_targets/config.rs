//! The configuration: whatever the file says, it is taken or refused with mistakes that name a place.
#![no_main]

use libfuzzer_sys::fuzz_target;
use penstock_chassis::{
    ServerConfig, ShutdownConfig, TelemetryConfig,
    config::{Document, Environment},
};

fuzz_target!(|text: &str| {
    let Ok(mut document) = Document::parse(Some(text), Environment::default()) else { return };
    let _ = (TelemetryConfig::read(&mut document), ShutdownConfig::read(&mut document));
    let mut section = document.section("facade");
    let _ = ServerConfig::read(&mut section, 4000, 9400);
    let _ = penstock_facade::Config::read(&mut section);
    drop(section);
    let mut section = document.section("inference_adapter");
    let adapter = penstock_inference_adapter::Config::read(&mut section, &mut document);
    drop(section);
    let mut section = document.section("router");
    let deployments: Vec<_> = adapter.deployment_ids().collect();
    let _ = penstock_router::Config::read(&mut section, &mut document, &deployments);
    drop(section);
    if let Err(mistakes) = document.finish() {
        assert!(!mistakes.0.is_empty() && !mistakes.to_string().is_empty());
    }
});
