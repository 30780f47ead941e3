//! The two topologies, from the same libraries: everything in one process by in-process channels, or one
//! service by sockets. What a service is made of stands in its own library; here it is only wired.

use std::time::Duration;

use anyhow::Context as _;
use penstock_chassis::{Channel, Chassis, Opening, Process, ServerConfig, server, with_reflection};
use tonic::service::Routes;

use crate::{banner, reloading::Reloading, settings::Settings};

const HEALTH: &str = "grpc.health.v1.Health";
const STATUS: &str = "penstock.status.v1.Status";
const INFERENCE: &str = "penstock.inference.v1.Inference";
const STORED: &str = "penstock.inference.v1.StoredCompletions";
const RESPONSES: &str = "penstock.inference.v1.Responses";
const ROUTING: &str = "penstock.router.v1.Routing";
const KEYS: &str = "penstock.auth.v1.Keys";
/// What the router serves.
const ROUTED: [&str; 4] = [INFERENCE, STORED, RESPONSES, ROUTING];
const REFLECTION: [&str; 2] =
    ["grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"];

/// A service that can run as a process of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Service {
    /// HTTP: OpenAI's API in, gRPC out
    Facade,
    /// The front door: policy, models, fallback
    Router,
    /// API keys
    Auth,
    /// Token buckets
    RateLimiter,
    /// Whole answers by the exact request, and the stored ones
    Cache,
    /// Speaks to engines
    InferenceAdapter,
}

impl Service {
    /// Every service.
    const ALL: [Self; 6] =
        [Self::Facade, Self::Router, Self::Auth, Self::RateLimiter, Self::Cache, Self::InferenceAdapter];

    /// Its section of the configuration.
    pub(crate) const fn section(self) -> &'static str {
        match self {
            Service::Facade => "facade",
            Service::Router => "router",
            Service::Auth => "auth",
            Service::RateLimiter => "rate_limiter",
            Service::Cache => "cache",
            Service::InferenceAdapter => "inference_adapter",
        }
    }

    /// Its name in health and metrics.
    const fn title(self) -> &'static str {
        match self {
            Service::Facade => "facade",
            Service::Router => "router",
            Service::Auth => "auth",
            Service::RateLimiter => "rate-limiter",
            Service::Cache => "cache",
            Service::InferenceAdapter => "inference-adapter",
        }
    }

    /// Its configuration in health, where it has a process of its own: others hear of it.
    const fn configuration(self) -> &'static str {
        match self {
            Service::Facade => "facade/configuration",
            Service::Router => "router/configuration",
            Service::Auth => "auth/configuration",
            Service::RateLimiter => "rate-limiter/configuration",
            Service::Cache => "cache/configuration",
            Service::InferenceAdapter => "inference-adapter/configuration",
        }
    }

    /// Its name in traces.
    const fn name(self) -> &'static str {
        match self {
            Service::Facade => "penstock-facade",
            Service::Router => "penstock-router",
            Service::Auth => "penstock-auth",
            Service::RateLimiter => "penstock-rate-limiter",
            Service::Cache => "penstock-cache",
            Service::InferenceAdapter => "penstock-inference-adapter",
        }
    }

    /// The gRPC services that it serves, health and the like apart.
    const fn serves(self) -> &'static [&'static str] {
        match self {
            Service::Facade | Service::Router => &ROUTED,
            Service::Auth => &["penstock.auth.v1.Auth", KEYS],
            Service::RateLimiter => &["penstock.ratelimit.v1.RateLimiter"],
            Service::Cache => &["penstock.cache.v1.Cache", "penstock.cache.v1.Objects"],
            Service::InferenceAdapter => &[INFERENCE, "penstock.adapter.v1.Deployments"],
        }
    }

    /// The faces of health that it shows while it starts.
    const fn early(self) -> &'static [&'static str] {
        match self {
            // Its port is open to everybody: what a report tells them is for the facade to say, once it can.
            Service::Facade => &[HEALTH],
            _ => &[HEALTH, STATUS],
        }
    }
}

/// Runs everything in this process.
pub(crate) async fn up(settings: Settings, mut reloading: Reloading) -> anyhow::Result<()> {
    let telemetry = settings.telemetry.start("penstock")?;
    let chassis = Chassis::named(Service::Facade.title(), settings.health);
    let (listen, facade) = settings.facade;
    // First of all: a port that is taken must not cost a key that nobody has seen.
    let listener = server::listen(listen.listen, "facade.listen").await?;
    let process = Process::new(chassis.clone(), settings.shutdown).with_write_timeout(facade.write_timeout);
    let deployments = reloading.of_adapter(&settings.inference_adapter.1);
    let routing = reloading.of_router(&settings.router.1, None);
    let reloader = reloading.start("configuration", &chassis)?;
    process.serve_metrics(listen.metrics_listen).await?;
    Service::ALL.iter().for_each(|service| name(*service, &chassis));
    let opening = process.open(listener, Service::Facade.early());

    let of_auth = chassis.beside(Service::Auth.title());
    let admin_key_is_set = settings.auth.1.admin_key.is_some();
    let started = penstock_auth::start(settings.auth.1, &of_auth).await?;
    // At once: the key is stored by now, and if anything fails below nobody would ever see it.
    banner::print_start(&listen, started.first_key.as_ref(), admin_key_is_set)?;
    let auth = in_process(Service::Auth, started.routes, &of_auth);
    let of_limiter = chassis.beside(Service::RateLimiter.title());
    let routes = penstock_rate_limiter::start(settings.rate_limiter.1, &of_limiter);
    let rate_limiter = in_process(Service::RateLimiter, routes, &of_limiter);
    let of_cache = chassis.beside(Service::Cache.title());
    let routes = penstock_cache::start(settings.cache.1, &of_cache).await?;
    let cache = in_process(Service::Cache, routes, &of_cache);
    let of_adapter = chassis.beside(Service::InferenceAdapter.title());
    let config = settings.inference_adapter.1;
    let routes =
        penstock_inference_adapter::start(config, deployments, reloader.clone(), &of_adapter).await?;
    let inference_adapter = in_process(Service::InferenceAdapter, routes, &of_adapter);

    let of_router = chassis.beside(Service::Router.title());
    let channels = penstock_router::Channels { auth: auth.clone(), rate_limiter, cache, inference_adapter };
    let models = banner::models(&settings.router.1, &channels.inference_adapter).await;
    let routes = penstock_router::start(settings.router.1, routing, reloader, &channels, &of_router);
    let router = in_process(Service::Router, routes, &of_router);

    penstock_alerts::start(settings.alerts, &chassis.health, &chassis.metrics, &chassis.tasks)?;
    serve_facade(opening, facade, router, vec![(KEYS, auth)], &chassis)?;
    banner::print_models(&listen, started.first_key.as_ref(), admin_key_is_set, &models)?;
    finish(process, telemetry).await
}

/// Runs one service in this process.
pub(crate) async fn serve(
    service: Service,
    settings: Settings,
    mut reloading: Reloading,
) -> anyhow::Result<()> {
    let telemetry = settings.telemetry.start(service.name())?;
    let chassis = Chassis::named(service.title(), settings.health);
    let mut process = Process::new(chassis.clone(), settings.shutdown);
    let configuration = service.configuration();
    match service {
        Service::Facade => {
            let (listen, config) = settings.facade;
            reloading.start(configuration, &chassis)?;
            process = process.with_write_timeout(config.write_timeout);
            let opening = open(service, &listen, &process, &chassis).await?;
            let router = Channel::remote(&settings.facade_router, &chassis)?;
            penstock_alerts::start(settings.alerts, &chassis.health, &chassis.metrics, &chassis.tasks)?;
            serve_facade(opening, config, router, Vec::new(), &chassis)?;
        }
        Service::Router => {
            let (listen, config) = settings.router;
            let opening = open(service, &listen, &process, &chassis).await?;
            let channels = penstock_router::Channels {
                auth: Channel::remote(&config.endpoints.auth, &chassis)?,
                rate_limiter: Channel::remote(&config.endpoints.rate_limiter, &chassis)?,
                cache: Channel::remote(&config.endpoints.cache, &chassis)?,
                inference_adapter: Channel::remote(&config.endpoints.inference_adapter, &chassis)?,
            };
            let live = reloading.of_router(&config, Some(&channels.inference_adapter));
            let reloader = reloading.start(configuration, &chassis)?;
            let routes = penstock_router::start(config, live, reloader, &channels, &chassis);
            serve_grpc(opening, service, routes, &chassis)?;
        }
        Service::Auth => {
            let (listen, config) = settings.auth;
            reloading.start(configuration, &chassis)?;
            let opening = open(service, &listen, &process, &chassis).await?;
            let started = penstock_auth::start(config, &chassis).await?;
            serve_grpc(opening, service, started.routes, &chassis)?;
            banner::print_key(started.first_key.as_ref())?;
        }
        Service::RateLimiter => {
            let (listen, config) = settings.rate_limiter;
            reloading.start(configuration, &chassis)?;
            let opening = open(service, &listen, &process, &chassis).await?;
            let routes = penstock_rate_limiter::start(config, &chassis);
            serve_grpc(opening, service, routes, &chassis)?;
        }
        Service::Cache => {
            let (listen, config) = settings.cache;
            reloading.start(configuration, &chassis)?;
            let opening = open(service, &listen, &process, &chassis).await?;
            let routes = penstock_cache::start(config, &chassis).await?;
            serve_grpc(opening, service, routes, &chassis)?;
        }
        Service::InferenceAdapter => {
            let (listen, config) = settings.inference_adapter;
            let live = reloading.of_adapter(&config);
            let reloader = reloading.start(configuration, &chassis)?;
            let opening = open(service, &listen, &process, &chassis).await?;
            let routes = penstock_inference_adapter::start(config, live, reloader, &chassis).await?;
            serve_grpc(opening, service, routes, &chassis)?;
        }
    }
    finish(process, telemetry).await
}

async fn finish(process: Process, telemetry: penstock_chassis::Telemetry) -> anyhow::Result<()> {
    process.run().await.context("cannot listen to signals")?;
    telemetry.stop().await;
    Ok(())
}

/// Opens a service's port: how it is can be asked from now on, whatever its parts still need.
async fn open(
    service: Service,
    config: &ServerConfig,
    process: &Process,
    chassis: &Chassis,
) -> anyhow::Result<Opening> {
    let listener = server::listen(config.listen, "listen").await?;
    process.serve_metrics(config.metrics_listen).await?;
    name(service, chassis);
    let opening = process.open(listener, service.early());
    tracing::info!(service = service.name(), address = %config.listen, "listening");
    Ok(opening)
}

/// Names what the service serves, for health.
fn name(service: Service, chassis: &Chassis) {
    service.serves().iter().for_each(|name| chassis.health.serves(*name));
}

/// A service in this process, as the others see it.
fn in_process(service: Service, routes: Routes, chassis: &Chassis) -> Channel {
    name(service, chassis);
    chassis.health.started();
    Channel::local(chassis.health.add_to(routes), chassis)
}

fn serve_grpc(opening: Opening, service: Service, routes: Routes, chassis: &Chassis) -> anyhow::Result<()> {
    let listed: Vec<_> = service.serves().iter().copied().chain([HEALTH, STATUS]).collect();
    let routes = with_reflection(chassis.health.add_to(routes), &listed)?;
    opening.serve(server::grpc(routes, chassis));
    Ok(())
}

/// Serves the facade. Its port takes gRPC as well: what the router serves goes there, `others` where they say.
fn serve_facade(
    opening: Opening,
    config: penstock_facade::Config,
    router: Channel,
    others: Vec<(&'static str, Channel)>,
    chassis: &Chassis,
) -> anyhow::Result<()> {
    chassis.health.watch_channel("router", true, Duration::ZERO, &router, &chassis.tasks);
    let listed: Vec<_> =
        ROUTED.into_iter().chain([HEALTH, STATUS]).chain(others.iter().map(|(name, _)| *name)).collect();
    let reflection = Channel::local(with_reflection(Routes::default(), &listed)?, chassis);
    let mut passed = others;
    passed.extend(ROUTED.map(|name| (name, router.clone())));
    passed.extend(REFLECTION.map(|name| (name, reflection.clone())));
    opening.serve(penstock_facade::start(config, router, passed, chassis));
    Ok(())
}
