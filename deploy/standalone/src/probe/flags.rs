//! The flags of grpc_health_probe, parsed as Go's `flag` package does it: one dash or two, `-flag value` and
//! `-flag=value`, the last one wins. Knows nothing of connections. clap cannot do single-dash words.

use std::{ffi::OsString, time::Duration};

mod duration;

/// What to probe and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Flags {
    pub(super) addr: String,
    pub(super) service: String,
    pub(super) connect_timeout: Duration,
    pub(super) rpc_timeout: Duration,
    pub(super) user_agent: String,
    pub(super) rpc_headers: Vec<(String, String)>,
    pub(super) verbose: bool,
    /// Absent: plaintext.
    pub(super) tls: Option<Tls>,
}

/// How to speak TLS. An empty string means that the flag was not given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tls {
    pub(super) no_verify: bool,
    pub(super) ca_cert: String,
    pub(super) client_cert: String,
    pub(super) client_key: String,
    pub(super) server_name: String,
}

/// What the arguments ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Request {
    Probe(Box<Flags>),
    Version,
}

/// Why the arguments cannot be used, as grpc_health_probe words it where it has the case.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    /// The usage is to be shown as well.
    #[error("{0}")]
    Syntax(String),
    #[error("error: {0}")]
    Contradiction(String),
    /// `-h` or `-help`: usage only.
    #[error("")]
    Help,
}

/// Shown for `-help` and after mistakes of syntax.
pub(super) const USAGE: &str = "\
Usage of penstock probe:
  -addr string
        (required) host:port to connect, or unix:///path
  -connect-timeout duration
        timeout for establishing connection (default 1s)
  -rpc-header value
        additional RPC header in 'name: value' format; may be given more than once
  -rpc-timeout duration
        timeout for health check rpc (default 1s)
  -service string
        service name to check (default: \"\")
  -tls
        use TLS (default: false, INSECURE plaintext transport)
  -tls-ca-cert string
        (with -tls, optional) file containing trusted certificates for verifying server
  -tls-client-cert string
        (with -tls, optional) client certificate for authenticating to the server (requires -tls-client-key)
  -tls-client-key string
        (with -tls) client private key for authenticating to the server (requires -tls-client-cert)
  -tls-no-verify
        (with -tls) don't verify the certificate (INSECURE) presented by the server (default: false)
  -tls-server-name string
        (with -tls) override the hostname used to verify the server certificate
  -user-agent string
        user-agent header value of health check requests (default \"grpc_health_probe\")
  -v    verbose logs
  -version
        print version and exit
Exit: 0 serving, 1 wrong arguments, 2 connection failed, 3 rpc failed, 4 not serving
";

/// Every value as it was given, before the flags are checked against one another.
struct Raw {
    addr: String,
    service: String,
    connect_timeout: Duration,
    rpc_timeout: Duration,
    user_agent: String,
    rpc_headers: Vec<(String, String)>,
    verbose: bool,
    version: bool,
    gzip: bool,
    alts: bool,
    spiffe: bool,
    with_tls: bool,
    tls: Tls,
}

/// Parses the arguments that follow `probe`.
pub(super) fn parse(arguments: Vec<OsString>) -> Result<Request, Refusal> {
    let mut raw = Raw {
        addr: String::new(),
        service: String::new(),
        connect_timeout: Duration::from_secs(1),
        rpc_timeout: Duration::from_secs(1),
        user_agent: "grpc_health_probe".to_owned(),
        rpc_headers: Vec::new(),
        verbose: false,
        version: false,
        gzip: false,
        alts: false,
        spiffe: false,
        with_tls: false,
        tls: Tls::default(),
    };
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        let argument = text(argument)?;
        let Some((name, value)) = split(&argument)? else {
            // Go stops parsing here and the original ignores the rest: a typo would go unnoticed.
            return Err(Refusal::Syntax(format!("unexpected argument: {argument}")));
        };
        if let Some(flag) = raw.boolean(name) {
            *flag = value.map_or(Ok(true), |value| boolean(name, value))?;
        } else if Raw::takes_value(name) {
            let value = match value {
                Some(value) => value.to_owned(),
                None => match arguments.next() {
                    Some(next) => text(next)?,
                    None => return Err(Refusal::Syntax(format!("flag needs an argument: -{name}"))),
                },
            };
            raw.set(name, value)?;
        } else if matches!(name, "h" | "help") {
            return Err(Refusal::Help);
        } else {
            return Err(Refusal::Syntax(format!("flag provided but not defined: -{name}")));
        }
    }
    raw.check()
}

impl Raw {
    fn boolean(&mut self, name: &str) -> Option<&mut bool> {
        Some(match name {
            "v" => &mut self.verbose,
            "version" => &mut self.version,
            "gzip" => &mut self.gzip,
            "alts" => &mut self.alts,
            "spiffe" => &mut self.spiffe,
            "tls" => &mut self.with_tls,
            "tls-no-verify" => &mut self.tls.no_verify,
            _ => return None,
        })
    }

    fn takes_value(name: &str) -> bool {
        const NAMES: [&str; 10] = [
            "addr",
            "service",
            "connect-timeout",
            "rpc-timeout",
            "user-agent",
            "rpc-header",
            "tls-ca-cert",
            "tls-client-cert",
            "tls-client-key",
            "tls-server-name",
        ];
        NAMES.contains(&name)
    }

    fn set(&mut self, name: &str, value: String) -> Result<(), Refusal> {
        match name {
            "addr" => self.addr = value,
            "service" => self.service = value,
            "connect-timeout" => self.connect_timeout = span(name, &value)?,
            "rpc-timeout" => self.rpc_timeout = span(name, &value)?,
            "user-agent" => self.user_agent = value,
            "rpc-header" => self.rpc_headers.push(header(&value)?),
            "tls-ca-cert" => self.tls.ca_cert = value,
            "tls-client-cert" => self.tls.client_cert = value,
            "tls-client-key" => self.tls.client_key = value,
            _ => self.tls.server_name = value,
        }
        Ok(())
    }

    fn check(self) -> Result<Request, Refusal> {
        let refuse = |message: &str| Err(Refusal::Contradiction(message.to_owned()));
        let tls = &self.tls;
        if self.version {
            return Ok(Request::Version);
        }
        if self.addr.is_empty() {
            return refuse("-addr not specified");
        }
        for (name, timeout) in [("connect", self.connect_timeout), ("rpc", self.rpc_timeout)] {
            if timeout.is_zero() {
                return refuse(&format!("-{name}-timeout must be greater than zero (specified: 0s)"));
            }
        }
        if self.gzip {
            return refuse("-gzip is not supported by this probe: health answers are a few bytes");
        }
        if self.alts {
            return refuse("-alts is not supported by this probe: it needs Google Cloud");
        }
        if self.spiffe {
            return refuse("-spiffe is not supported by this probe: use -tls with certificate files");
        }
        if !self.with_tls {
            let given = [
                ("-tls-no-verify", tls.no_verify),
                ("-tls-ca-cert", !tls.ca_cert.is_empty()),
                ("-tls-client-cert", !tls.client_cert.is_empty()),
                ("-tls-client-key", !tls.client_key.is_empty()),
                ("-tls-server-name", !tls.server_name.is_empty()),
            ];
            if let Some((name, _)) = given.iter().find(|(_, given)| *given) {
                return refuse(&format!("specified {name} without specifying -tls"));
            }
        }
        match (tls.client_cert.is_empty(), tls.client_key.is_empty()) {
            (false, true) => return refuse("specified -tls-client-cert without specifying -tls-client-key"),
            (true, false) => return refuse("specified -tls-client-key without specifying -tls-client-cert"),
            _ => {}
        }
        if tls.no_verify && !tls.ca_cert.is_empty() {
            return refuse("cannot specify -tls-ca-cert with -tls-no-verify (CA cert would not be used)");
        }
        if tls.no_verify && !tls.server_name.is_empty() {
            return refuse(
                "cannot specify -tls-server-name with -tls-no-verify (server name would not be used)",
            );
        }
        Ok(Request::Probe(Box::new(Flags {
            addr: self.addr,
            service: self.service,
            connect_timeout: self.connect_timeout,
            rpc_timeout: self.rpc_timeout,
            user_agent: self.user_agent,
            rpc_headers: self.rpc_headers,
            verbose: self.verbose,
            tls: self.with_tls.then_some(self.tls),
        })))
    }
}

/// Name and value of `-name`, `--name`, `-name=value`; `None` if it is no flag.
fn split(argument: &str) -> Result<Option<(&str, Option<&str>)>, Refusal> {
    let Some(rest) = argument.strip_prefix("--").or_else(|| argument.strip_prefix('-')) else {
        return Ok(None);
    };
    let (name, value) = rest.split_once('=').map_or((rest, None), |(name, value)| (name, Some(value)));
    if name.is_empty() || name.starts_with('-') {
        return Err(Refusal::Syntax(format!("bad flag syntax: {argument}")));
    }
    Ok(Some((name, value)))
}

fn text(argument: OsString) -> Result<String, Refusal> {
    argument.into_string().map_err(|_| Refusal::Syntax("an argument is not UTF-8".to_owned()))
}

fn boolean(name: &str, value: &str) -> Result<bool, Refusal> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(Refusal::Syntax(format!("invalid boolean value {value:?} for -{name}: parse error"))),
    }
}

fn span(name: &str, value: &str) -> Result<Duration, Refusal> {
    match duration::parse(value) {
        Some(span) => Ok(span),
        None if value.starts_with('-') && duration::parse(value.trim_start_matches('-')).is_some() => {
            let message = format!("-{name} must be greater than zero (specified: {value})");
            Err(Refusal::Contradiction(message))
        }
        None => Err(Refusal::Syntax(format!("invalid value {value:?} for flag -{name}: parse error"))),
    }
}

fn header(value: &str) -> Result<(String, String), Refusal> {
    let Some((name, text)) = value.split_once(':').filter(|(name, _)| !name.trim().is_empty()) else {
        // The value may be a credential: it is not repeated.
        let message = "invalid value for flag -rpc-header: invalid RPC header, expected 'key: value'";
        return Err(Refusal::Syntax(message.to_owned()));
    };
    Ok((name.trim().to_ascii_lowercase(), text.trim_start().to_owned()))
}

#[cfg(test)]
mod tests;
