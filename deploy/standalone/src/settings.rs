//! The whole configuration: every section of the file, read by the service that it belongs to. Each process
//! reads all of it, so that a mistake is found by whichever process comes first.

use std::path::{Path, PathBuf};

use clap::Args;
use penstock_chassis::{
    Channel, HealthConfig, ServerConfig, ShutdownConfig, TelemetryConfig,
    config::{Document, Environment, Mistakes, Section},
};

use crate::topology::Service;

/// The file that is read if it is there and none is named.
const DEFAULT_FILE: &str = "penstock.toml";

/// What there is to be checked, by its name in health.
const CHECKED: [&str; 18] = [
    "auth",
    "auth/configuration",
    "auth/store",
    "cache",
    "cache/configuration",
    "cache/objects",
    "cache/store",
    "configuration",
    "deployment/",
    "facade/configuration",
    "inference-adapter",
    "inference-adapter/configuration",
    "models",
    "rate-limiter",
    "rate-limiter/configuration",
    "rate-limiter/store",
    "router",
    "router/configuration",
];

/// Options of the commands that start services.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Options {
    /// Configuration file (default: penstock.toml, if there is one)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Address to listen on, such as 127.0.0.1:4000
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// Where the keys and the stored completions are (default: penstock-data)
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
}

/// A checked configuration.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) telemetry: TelemetryConfig,
    pub(crate) shutdown: ShutdownConfig,
    pub(crate) health: HealthConfig,
    pub(crate) alerts: penstock_alerts::Config,
    pub(crate) facade: (ServerConfig, penstock_facade::Config),
    /// Where the router is, for a facade of its own.
    pub(crate) facade_router: String,
    pub(crate) router: (ServerConfig, penstock_router::Config),
    pub(crate) auth: (ServerConfig, penstock_auth::Config),
    pub(crate) rate_limiter: (ServerConfig, penstock_rate_limiter::Config),
    pub(crate) cache: (ServerConfig, penstock_cache::Config),
    pub(crate) inference_adapter: (ServerConfig, penstock_inference_adapter::Config),
}

impl Options {
    /// The file to read: the one named, else the default one if it is there.
    pub(crate) fn file(&self) -> Option<PathBuf> {
        let default = || Some(PathBuf::from(DEFAULT_FILE)).filter(|file| file.exists());
        self.config.clone().or_else(default)
    }

    /// Reads the file, for everything or for this service.
    pub(crate) fn read(self, service: Option<Service>) -> Result<Read, Mistakes> {
        let file = self.file();
        let text = file.as_deref().map(Document::text_of).transpose()?;
        Ok(Read { options: Self { config: file, ..self }, service, text })
    }
}

/// The text of a configuration, and what it is read for.
#[derive(Clone, Debug)]
pub(crate) struct Read {
    /// The file is one that was there.
    options: Options,
    /// `--listen` speaks of it, and only the one that speaks to engines needs their keys. `None`: all.
    service: Option<Service>,
    text: Option<String>,
}

impl Read {
    /// The same with another text.
    pub(crate) fn with(&self, text: Option<String>) -> Self {
        Self { text, ..self.clone() }
    }

    /// The file, and what it says.
    pub(crate) fn file(&self) -> Option<(PathBuf, String)> {
        self.options.config.clone().zip(self.text.clone())
    }

    /// What the file says; nothing if there is none.
    pub(crate) fn text(&self) -> &str {
        self.text.as_deref().unwrap_or_default()
    }

    /// Checks everything.
    pub(crate) fn settings(&self) -> Result<Settings, Mistakes> {
        let Self { options, service, text } = self;
        let mut document = Document::parse(text.as_deref(), Environment::of_process())?;
        let listener = service.unwrap_or(Service::Facade).section();
        if service.is_some_and(|service| service != Service::InferenceAdapter) {
            document.without_secrets();
        }
        if let Some(address) = &options.listen {
            document.set("--listen", &[listener, "listen"], address);
        }
        if let Some(directory) = &options.data_dir {
            for service in ["auth", "cache"] {
                document.set("--data-dir", &[service, "data_dir"], directory);
            }
        }
        Settings::read(document, *service)
    }
}

impl Settings {
    /// Reads and checks a file as `penstock check-config` does.
    pub(crate) fn of_file(file: &Path) -> Result<Self, Mistakes> {
        let document = Document::parse(Some(&Document::text_of(file)?), Environment::of_process())?;
        Self::read(document, None)
    }

    fn read(mut document: Document, service: Option<Service>) -> Result<Self, Mistakes> {
        let telemetry = TelemetryConfig::read(&mut document);
        let shutdown = ShutdownConfig::read(&mut document);
        let health = HealthConfig::read(&mut document, &CHECKED);
        // The facade's health shows the whole mesh.
        let sends_alerts = service.is_none_or(|service| service == Service::Facade);
        let alerts = penstock_alerts::Config::read(&mut document, sends_alerts);

        let mut section = document.section("facade");
        let listen = ServerConfig::read(&mut section, 4000, 9400);
        let facade_router = section.string("router").unwrap_or_else(|| "http://127.0.0.1:4001".to_owned());
        let facade = (listen, penstock_facade::Config::read(&mut section));
        check_endpoints(&section, &[("router", &facade_router)]);
        drop(section);

        let mut section = document.section("inference_adapter");
        let listen = ServerConfig::read(&mut section, 4005, 9405);
        let inference_adapter =
            (listen, penstock_inference_adapter::Config::read(&mut section, &mut document));
        drop(section);

        let mut section = document.section("router");
        let listen = ServerConfig::read(&mut section, 4001, 9401);
        let deployments: Vec<_> = inference_adapter.1.deployment_ids().collect();
        let mut router = penstock_router::Config::read(&mut section, &mut document, &deployments);
        let endpoints = &router.endpoints;
        check_endpoints(
            &section,
            &[
                ("auth", &endpoints.auth),
                ("rate_limiter", &endpoints.rate_limiter),
                ("cache", &endpoints.cache),
                ("inference_adapter", &endpoints.inference_adapter),
            ],
        );
        drop(section);

        let mut section = document.section("auth");
        let listen_auth = ServerConfig::read(&mut section, 4002, 9402);
        let auth = (listen_auth, penstock_auth::Config::read(&mut section, document.environment()));
        drop(section);
        router.remembered = auth.1.memo_ttl;

        let mut section = document.section("rate_limiter");
        let listen_limiter = ServerConfig::read(&mut section, 4003, 9403);
        let rate_limiter = (listen_limiter, penstock_rate_limiter::Config::read(&mut section, &mut document));
        drop(section);

        let mut section = document.section("cache");
        let listen_cache = ServerConfig::read(&mut section, 4004, 9404);
        let cache = (listen_cache, penstock_cache::Config::read(&mut section, &auth.1.data_dir));
        drop(section);

        document.finish()?;
        Ok(Self {
            telemetry,
            shutdown,
            health,
            alerts,
            facade,
            facade_router,
            router: (listen, router),
            auth,
            rate_limiter,
            cache,
            inference_adapter,
        })
    }
}

fn check_endpoints(section: &Section, endpoints: &[(&str, &String)]) {
    for (key, endpoint) in endpoints {
        if let Err(error) = Channel::check(endpoint) {
            section.mistake(key, error.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// The router does without auth for as long as auth lets it remember verdicts.
    #[test]
    fn the_grace_of_auth_is_what_it_lets_be_remembered() {
        for (text, expected) in [("", 30), ("[auth]\nmemo_ttl = '7s'\n", 7), ("[auth]\nmemo_ttl = '0s'\n", 0)]
        {
            let document = Document::parse(Some(text), Environment::default()).unwrap();
            let settings = Settings::read(document, None).unwrap();
            assert_eq!(settings.router.1.remembered, Duration::from_secs(expected), "{text}");
        }
    }
}
