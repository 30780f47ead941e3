//! Opens a gRPC connection and says that it is open only once the server has spoken HTTP/2. A port that
//! accepts and stays silent, speaks something else, or refuses our certificate is a failed connection.

use std::{
    error::Error as StdError,
    io,
    net::{Ipv4Addr, Ipv6Addr},
    sync::{Arc, Mutex},
};

use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::oneshot,
};
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};

use super::{flags::Flags, preface::Prefaced, tls};

/// Where to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Target {
    Tcp {
        /// Empty: this machine.
        host: String,
        port: u16,
    },
    Unix(std::path::PathBuf),
}

/// Everything that is checked before the first byte is sent.
pub(super) struct Connector {
    target: Target,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    endpoint: Endpoint,
}

/// Why a connector cannot be made: a mistake in the arguments.
#[derive(Debug, thiserror::Error)]
pub(super) enum Mistake {
    #[error("error: {0}")]
    Argument(String),
    #[error("failed to initialize tls credentials. error={0}")]
    Tls(#[from] tls::Error),
}

/// A byte stream of whatever kind.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Connector {
    /// Reads files and checks names, connects to nothing.
    pub(super) fn new(flags: &Flags) -> Result<Self, Mistake> {
        let bad_address =
            || Mistake::Argument(format!("-addr is not host:port or unix:///path: {:?}", flags.addr));
        let target = Target::parse(&flags.addr).ok_or_else(bad_address)?;
        let authority = target.authority();
        // The scheme of the endpoint only tells tonic that TLS is none of its business.
        let endpoint = Endpoint::from_shared(format!("http://{authority}")).map_err(|_| bad_address())?;
        let scheme = if flags.tls.is_some() { "https" } else { "http" };
        let origin = format!("{scheme}://{authority}").parse::<Uri>().map_err(|_| bad_address())?;
        let endpoint = endpoint
            .origin(origin)
            .user_agent(flags.user_agent.as_str())
            .map_err(|_| Mistake::Argument("-user-agent is not a header value".to_owned()))?;
        let tls = match &flags.tls {
            None => None,
            Some(tls) => {
                let name = if tls.server_name.is_empty() { target.host() } else { &tls.server_name };
                let name = ServerName::try_from(name.to_owned())
                    .map_err(|_| Mistake::Argument(format!("not a server name: {name:?}")))?;
                Some((TlsConnector::from(Arc::new(tls::config(tls)?)), name))
            }
        };
        Ok(Self { target, tls, endpoint })
    }

    /// Connects: transport, TLS, HTTP/2. The caller bounds the time.
    pub(super) async fn connect(self) -> Result<Channel, Box<dyn StdError + Send + Sync>> {
        let mut stream = self.target.open().await?;
        if let Some((tls, name)) = self.tls {
            stream = Box::new(tls.connect(name, stream).await?);
        }
        let (spoken, heard) = oneshot::channel();
        let stream = Mutex::new(Some(TokioIo::new(Prefaced::new(stream, spoken))));
        let once = tower::service_fn(move |_: Uri| {
            let taken = stream.lock().map_or(None, |mut stream| stream.take());
            // tonic would connect again by itself: the probe is about this one connection.
            std::future::ready(taken.ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected)))
        });
        let channel = self.endpoint.connect_with_connector(once).await?;
        match heard.await {
            Ok(spoken) => spoken.map_err(io::Error::from)?,
            Err(_) => return Err(io::Error::from(io::ErrorKind::ConnectionAborted).into()),
        }
        Ok(channel)
    }
}

impl Target {
    fn parse(addr: &str) -> Option<Target> {
        if let Some(path) = addr.strip_prefix("unix:") {
            // gRPC's naming: `unix:path`, `unix:/path`, `unix:///path`.
            let path = path.strip_prefix("//").unwrap_or(path);
            return (!path.is_empty()).then(|| Target::Unix(path.into()));
        }
        let addr =
            addr.strip_prefix("dns:///").or_else(|| addr.strip_prefix("passthrough:///")).unwrap_or(addr);
        let (host, port) = addr.rsplit_once(':')?;
        let port = port.parse().ok()?;
        let host = match host.strip_prefix('[') {
            Some(host) => {
                let host = host.strip_suffix(']')?;
                host.parse::<Ipv6Addr>().ok()?;
                host
            }
            None if host.contains([':', '/', '@', ' ']) => return None,
            None => host,
        };
        Some(Target::Tcp { host: host.to_owned(), port })
    }

    /// Whose certificate is expected.
    fn host(&self) -> &str {
        match self {
            Target::Tcp { host, .. } if !host.is_empty() => host,
            _ => "localhost",
        }
    }

    /// The `:authority` of the requests.
    fn authority(&self) -> String {
        match self {
            Target::Tcp { port, .. } if self.host().contains(':') => format!("[{}]:{port}", self.host()),
            Target::Tcp { port, .. } => format!("{}:{port}", self.host()),
            Target::Unix(_) => self.host().to_owned(),
        }
    }

    async fn open(&self) -> io::Result<Box<dyn Stream>> {
        match self {
            Target::Tcp { host, port } => {
                let stream = if host.is_empty() {
                    // Not the name: a container from scratch has no /etc/hosts to look it up in.
                    match TcpStream::connect((Ipv4Addr::LOCALHOST, *port)).await {
                        Ok(stream) => stream,
                        Err(v4) => TcpStream::connect((Ipv6Addr::LOCALHOST, *port)).await.map_err(|_| v4)?,
                    }
                } else {
                    TcpStream::connect((host.as_str(), *port)).await?
                };
                stream.set_nodelay(true)?;
                Ok(Box::new(stream))
            }
            #[cfg(unix)]
            Target::Unix(path) => Ok(Box::new(tokio::net::UnixStream::connect(path).await?)),
            #[cfg(not(unix))]
            Target::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let tcp = |host: &str, port| Some(Target::Tcp { host: host.to_owned(), port });
        let unix = |path: &str| Some(Target::Unix(path.into()));
        let table = [
            ("a:1", tcp("a", 1)),
            (":4000", tcp("", 4000)),
            ("127.0.0.1:1", tcp("127.0.0.1", 1)),
            ("[::1]:1", tcp("::1", 1)),
            ("dns:///a:1", tcp("a", 1)),
            ("unix:///tmp/s", unix("/tmp/s")),
            ("unix:/tmp/s", unix("/tmp/s")),
            ("unix:s", unix("s")),
            ("", None),
            ("a", None),
            ("a:", None),
            ("a:65536", None),
            ("a:http", None),
            ("::1:1", None),
            ("[a]:1", None),
            ("[::1:1", None),
            ("http://a:1", None),
            ("user@a:1", None),
            ("unix:", None),
        ];
        for (addr, target) in table {
            assert_eq!(Target::parse(addr), target, "{addr:?}");
        }
    }

    #[test]
    fn authorities() {
        for (addr, authority) in
            [("a:1", "a:1"), (":1", "localhost:1"), ("[::1]:1", "[::1]:1"), ("unix:///s", "localhost")]
        {
            assert_eq!(Target::parse(addr).unwrap().authority(), authority);
        }
    }
}
