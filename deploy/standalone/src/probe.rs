//! `penstock probe`: asks a gRPC server for its health, with the flags and the exit codes of
//! grpc_health_probe, so that a container without a shell can be probed. Every wait is bounded.

mod connect;
mod flags;
mod preface;
mod tls;

use std::{
    error::Error as StdError,
    ffi::OsString,
    io::{self, Write},
};

use tokio::time::{Instant, timeout};
use tonic::{
    Code, Status,
    metadata::{AsciiMetadataKey, BinaryMetadataKey, MetadataMap, MetadataValue},
    transport::Channel,
};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use connect::{Connector, Mistake};
use flags::{Flags, Refusal, Request};

const SERVING: i32 = 0;
const INVALID_ARGUMENTS: i32 = 1;
const CONNECTION_FAILURE: i32 = 2;
const RPC_FAILURE: i32 = 3;
const UNHEALTHY: i32 = 4;

/// Probes as the arguments that follow `probe` say; returns the exit code. Exit with it at once: a runtime that
/// is dropped would wait for a DNS look-up that was given up.
pub(crate) async fn run(arguments: Vec<OsString>) -> i32 {
    probe(arguments, &mut io::stdout(), &mut io::stderr()).await
}

async fn probe(arguments: Vec<OsString>, out: &mut dyn Write, log: &mut dyn Write) -> i32 {
    let flags = match flags::parse(arguments) {
        Ok(Request::Probe(flags)) => flags,
        Ok(Request::Version) => {
            say(out, concat!("penstock ", env!("CARGO_PKG_VERSION")));
            return SERVING;
        }
        Err(refusal) => {
            let message = refusal.to_string();
            if !message.is_empty() {
                say(log, &message);
            }
            if !matches!(refusal, Refusal::Contradiction(_)) {
                say(log, flags::USAGE.trim_end());
            }
            return INVALID_ARGUMENTS;
        }
    };
    let prepared = Connector::new(&flags).and_then(|connector| Ok((connector, metadata(&flags)?)));
    let (connector, metadata) = match prepared {
        Ok(prepared) => prepared,
        Err(mistake) => {
            say(log, &mistake.to_string());
            return INVALID_ARGUMENTS;
        }
    };
    if flags.verbose {
        say_options(log, &flags);
        say(log, "establishing connection");
    }
    let started = Instant::now();
    let channel = match timeout(flags.connect_timeout, connector.connect()).await {
        Ok(Ok(channel)) => channel,
        Ok(Err(error)) => {
            let cause = causes(error.as_ref());
            say(log, &format!("error: failed to connect service at {:?}: {cause}", flags.addr));
            return CONNECTION_FAILURE;
        }
        Err(_) => {
            let (addr, span) = (&flags.addr, flags.connect_timeout);
            say(log, &format!("timeout: failed to connect service {addr:?} within {span:?}"));
            return CONNECTION_FAILURE;
        }
    };
    let connected = started.elapsed();
    if flags.verbose {
        say(log, &format!("connection established (took {connected:?})"));
    }
    let started = Instant::now();
    match check(channel, &flags, metadata).await {
        Ok(status) if status == ServingStatus::Serving.as_str_name() => {
            if flags.verbose {
                say(log, &format!("time elapsed: connect={connected:?} rpc={:?}", started.elapsed()));
            }
            say(out, "status: SERVING");
            SERVING
        }
        Ok(status) => {
            say(log, &format!("service unhealthy (responded with {status:?})"));
            UNHEALTHY
        }
        Err(message) => {
            say(log, &message);
            RPC_FAILURE
        }
    }
}

/// The name of the status that the server answers; the error is worded for the user.
async fn check(channel: Channel, flags: &Flags, metadata: MetadataMap) -> Result<String, String> {
    let mut request = tonic::Request::new(HealthCheckRequest { service: flags.service.clone() });
    *request.metadata_mut() = metadata;
    // The server is told as well; what bounds the wait is the timeout below.
    request.set_timeout(flags.rpc_timeout);
    let deadline = Instant::now() + flags.rpc_timeout;
    let late = || format!("timeout: health rpc did not complete within {:?}", flags.rpc_timeout);
    let answer = timeout(flags.rpc_timeout, HealthClient::new(channel).check(request)).await;
    match answer {
        Ok(Ok(answer)) => {
            let number = answer.get_ref().status;
            let status = ServingStatus::try_from(number);
            Ok(status.map_or_else(|_| number.to_string(), |status| status.as_str_name().to_owned()))
        }
        Ok(Err(status)) => Err(match status.code() {
            Code::Unimplemented => {
                "error: this server does not implement the grpc health protocol (grpc.health.v1.Health)"
                    .to_owned()
            }
            Code::DeadlineExceeded => late(),
            // tonic says CANCELLED when its own timer, which reads the same header, is first.
            Code::Cancelled if Instant::now() >= deadline => late(),
            _ => format!("error: health rpc failed: {}", describe(&status)),
        }),
        Err(_) => Err(late()),
    }
}

/// The metadata of `-rpc-header`. Values of `-bin` names are sent as they are, in base64 on the wire.
fn metadata(flags: &Flags) -> Result<MetadataMap, Mistake> {
    let mut metadata = MetadataMap::new();
    for (name, value) in &flags.rpc_headers {
        let bad = || Mistake::Argument(format!("-rpc-header {name:?} is not a metadata entry"));
        if name.ends_with("-bin") {
            let key = BinaryMetadataKey::from_bytes(name.as_bytes()).map_err(|_| bad())?;
            metadata.append_bin(key, MetadataValue::from_bytes(value.as_bytes()));
        } else {
            let key = AsciiMetadataKey::from_bytes(name.as_bytes()).map_err(|_| bad())?;
            metadata.append(key, value.parse().map_err(|_| bad())?);
        }
    }
    Ok(metadata)
}

fn say_options(log: &mut dyn Write, flags: &Flags) {
    say(log, "parsed options:");
    let (connect, rpc) = (flags.connect_timeout, flags.rpc_timeout);
    say(log, &format!("> addr={} conn_timeout={connect:?} rpc_timeout={rpc:?}", flags.addr));
    if !flags.rpc_headers.is_empty() {
        // Names only: a value may be a credential.
        let names: Vec<_> = flags.rpc_headers.iter().map(|(name, _)| name.as_str()).collect();
        say(log, &format!("> headers: {}", names.join(", ")));
    }
    say(log, &format!("> tls={}", flags.tls.is_some()));
    if let Some(tls) = &flags.tls {
        say(log, &format!("  > no-verify={}", tls.no_verify));
        say(log, &format!("  > ca-cert={}", tls.ca_cert));
        say(log, &format!("  > client-cert={}", tls.client_cert));
        say(log, &format!("  > client-key={}", tls.client_key));
        say(log, &format!("  > server-name={}", tls.server_name));
    }
}

fn describe(status: &Status) -> String {
    let cause = status.source().map(|source| format!(" ({})", causes(source))).unwrap_or_default();
    format!("code = {:?} desc = {:?}{cause}", status.code(), status.message())
}

/// An error and its sources, each said once.
fn causes(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let more = error.to_string();
        if !text.ends_with(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        source = error.source();
    }
    text
}

fn say(to: &mut dyn Write, line: &str) {
    // A closed pipe must not change the exit code, which is what the caller looks at.
    let _ = writeln!(to, "{line}");
}

#[cfg(test)]
mod tests;
