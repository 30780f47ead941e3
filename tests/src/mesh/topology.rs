//! The two ways to run Penstock, the services, and where each listens.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

/// How the services run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topology {
    /// `penstock up`: one process.
    Standalone,
    /// `penstock serve …`: six processes.
    Mesh,
}

/// A service of the mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Service {
    /// REST and SSE.
    Facade,
    /// The front door by gRPC.
    Router,
    /// Keys.
    Auth,
    /// Limits.
    RateLimiter,
    /// Answers.
    Cache,
    /// Engines.
    InferenceAdapter,
}

impl Service {
    /// Every service.
    pub const ALL: [Service; 6] = [
        Service::Facade,
        Service::Router,
        Service::Auth,
        Service::RateLimiter,
        Service::Cache,
        Service::InferenceAdapter,
    ];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Service::Facade => "facade",
            Service::Router => "router",
            Service::Auth => "auth",
            Service::RateLimiter => "rate-limiter",
            Service::Cache => "cache",
            Service::InferenceAdapter => "inference-adapter",
        }
    }

    /// The name of its section in the configuration.
    pub fn section(self) -> String {
        self.name().replace('-', "_")
    }

    /// The gRPC services that it answers for, beside health, reflection and status.
    pub fn grpc_names(self) -> &'static [&'static str] {
        match self {
            Service::Facade => &[],
            Service::Router => &[
                "penstock.inference.v1.Inference",
                "penstock.inference.v1.StoredCompletions",
                "penstock.inference.v1.Responses",
                "penstock.router.v1.Routing",
            ],
            Service::Auth => &["penstock.auth.v1.Auth", "penstock.auth.v1.Keys"],
            Service::RateLimiter => &["penstock.ratelimit.v1.RateLimiter"],
            Service::Cache => &["penstock.cache.v1.Cache", "penstock.cache.v1.Objects"],
            Service::InferenceAdapter => {
                &["penstock.inference.v1.Inference", "penstock.adapter.v1.Deployments"]
            }
        }
    }

    fn offset(self) -> u16 {
        Service::ALL.iter().position(|service| *service == self).unwrap() as u16
    }
}

/// Ports that nobody else has: a block below the range that the system hands out, held by a UDP socket that
/// vanishes with the process, so that tests in other processes cannot take the same.
pub(super) struct Ports {
    base: u16,
    _held: UdpSocket,
}

impl Ports {
    const FIRST: u16 = 20_000;
    const BLOCK: u16 = 16;
    const BLOCKS: u16 = 750;

    pub(super) fn take() -> Ports {
        let start = (std::process::id() % u32::from(Ports::BLOCKS)) as u16;
        (0..Ports::BLOCKS)
            .map(|n| Ports::FIRST + (start + n) % Ports::BLOCKS * Ports::BLOCK)
            .find_map(|base| {
                let held = UdpSocket::bind((Ipv4Addr::LOCALHOST, base)).ok()?;
                let free = (base..base + Ports::BLOCK)
                    .all(|port| std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok());
                free.then_some(Ports { base, _held: held })
            })
            .expect("a block of free ports")
    }

    pub(super) fn listen(&self, service: Service) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.base + service.offset()).into()
    }

    pub(super) fn metrics(&self, service: Service) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.base + 6 + service.offset()).into()
    }

    /// Of a service that runs twice.
    pub(super) fn second_listen(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.base + 12).into()
    }

    pub(super) fn second_metrics(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.base + 13).into()
    }
}
