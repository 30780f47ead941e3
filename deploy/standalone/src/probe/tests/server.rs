//! Servers to probe: a scripted health service over TCP, a Unix socket or TLS, and raw sockets.

use std::sync::{Arc, Mutex};

use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    server::WebPkiClientVerifier,
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpListener,
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;
use tonic::{Request, Response, Status, service::Routes};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse,
    health_server::{Health, HealthServer},
};

/// A server that lives as long as this value.
pub(super) struct Server {
    pub(super) addr: String,
    script: Script,
    _tasks: JoinSet<()>,
    _folder: Option<TempDir>,
}

/// A health service that answers by the name asked for.
#[derive(Clone, Default)]
struct Script {
    seen: Arc<Mutex<http::HeaderMap>>,
}

#[tonic::async_trait]
impl Health for Script {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        *self.seen.lock().unwrap() = request.metadata().clone().into_headers();
        let status = match request.get_ref().service.as_str() {
            "" | "up" => 1,
            "down" => 2,
            "unknown-status" => 0,
            "odd" => 77,
            "hang" => std::future::pending().await,
            _ => return Err(Status::not_found("service not registered")),
        };
        Ok(Response::new(HealthCheckResponse { status }))
    }

    type WatchStream = tokio_stream::Empty<Result<HealthCheckResponse, Status>>;

    async fn watch(&self, _: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("not asked for by the probe"))
    }
}

async fn serve(routes: Routes, stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) {
    let service = TowerToHyperService::new(routes.prepare());
    let _ = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
}

impl Server {
    pub(super) async fn plain() -> Server {
        let script = Script::default();
        Self::tcp(Routes::new(HealthServer::new(script.clone())), script, None).await
    }

    pub(super) async fn without_health() -> Server {
        Self::tcp(Routes::default(), Script::default(), None).await
    }

    /// With a certificate of `authority`; `mutual`: asks for a client certificate of the same.
    pub(super) async fn tls(authority: &Authority, mutual: bool) -> Server {
        let script = Script::default();
        let acceptor = authority.acceptor(mutual);
        Self::tcp(Routes::new(HealthServer::new(script.clone())), script, Some(acceptor)).await
    }

    async fn tcp(routes: Routes, script: Script, tls: Option<TlsAcceptor>) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (routes, tls) = (routes.clone(), tls.clone());
                connections.spawn(async move {
                    match tls {
                        None => serve(routes, stream).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(routes, stream).await;
                            }
                        }
                    }
                });
            }
        });
        Server { addr, script, _tasks: tasks, _folder: None }
    }

    #[cfg(unix)]
    pub(super) async fn unix() -> Server {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("socket");
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        let script = Script::default();
        let routes = Routes::new(HealthServer::new(script.clone()));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                serve(routes.clone(), stream).await;
            }
        });
        Server { addr: format!("unix://{}", path.display()), script, _tasks: tasks, _folder: Some(folder) }
    }

    /// Accepts, then says `answer` once something has come and closes; `None`: stays silent.
    pub(super) async fn raw(answer: Option<&'static [u8]>) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut held = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                if let Some(answer) = answer {
                    let _ = stream.read(&mut [0; 1024]).await;
                    let _ = stream.write_all(answer).await;
                    let _ = stream.shutdown().await;
                }
                held.push(stream);
            }
        });
        Server { addr, script: Script::default(), _tasks: tasks, _folder: None }
    }

    /// The metadata of the last call.
    pub(super) fn seen(&self) -> http::HeaderMap {
        self.script.seen.lock().unwrap().clone()
    }
}

/// An address that nobody listens on.
pub(super) async fn refused() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().to_string()
}

/// A certificate authority with a folder for the files it issues.
pub(super) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

impl Authority {
    pub(super) fn new() -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "penstock probe test");
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Authority { issuer, folder: TempDir::new().unwrap() }
    }

    /// Path of the authority's own certificate.
    pub(super) fn file(&self) -> String {
        self.write("ca.pem", &self.issuer.pem())
    }

    /// Paths of a client's certificate and key.
    pub(super) fn client(&self) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::default().signed_by(&key, &self.issuer).unwrap();
        (self.write("client.pem", &certificate.pem()), self.write("client.key", &key.serialize_pem()))
    }

    fn acceptor(&self, mutual: bool) -> TlsAcceptor {
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &self.issuer).unwrap();
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = if mutual {
            let mut roots = RootCertStore::empty();
            roots.add(self.issuer.der().clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        } else {
            builder.with_no_client_auth()
        };
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut config = builder.with_single_cert(vec![certificate.der().clone()], key).unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        TlsAcceptor::from(Arc::new(config))
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }
}
