//! Breaks running services for real: freezes their processes, fills their disks, and puts something that talks
//! nonsense where a service was. Everything can be put right again.

use std::{
    fs::{self, File},
    io::Write as _,
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::Instant,
};

use rustix::process::Signal;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};

use super::{Mesh, Service};
use crate::bounded::LONG;

impl Mesh {
    /// Freezes a service: connections stay and are taken, and nobody answers (E2).
    pub fn freeze(&mut self, service: Service) {
        let process = self.process(service);
        process.signal(Signal::STOP);
        // It takes a moment until every thread has stopped.
        let status = format!("/proc/{}/status", process.pid());
        let stopped = || fs::read_to_string(&status).is_ok_and(|status| status.contains("State:\tT"));
        let since = Instant::now();
        while !stopped() {
            assert!(since.elapsed() < LONG, "{} does not stop", service.name());
            std::thread::yield_now();
        }
    }

    /// Lets a frozen service go on.
    pub fn thaw(&mut self, service: Service) {
        self.process(service).signal(Signal::CONT);
    }

    /// The folder of data of a service that has a disk of its own, as its process sees it.
    pub fn disk(&mut self, service: Service) -> Disk {
        let root = PathBuf::from(format!("/proc/{}/root", self.process(service).pid()));
        let data = self.folder().join("data");
        Disk { folder: root.join(data.strip_prefix("/").unwrap_or(&data)) }
    }
}

/// The small disk of one process.
pub struct Disk {
    folder: PathBuf,
}

impl Disk {
    fn ballast(&self) -> PathBuf {
        self.folder.join("ballast")
    }

    /// Takes every byte that is left.
    pub fn fill(&self) {
        let mut ballast = File::create(self.ballast()).expect("the disk of the process is there");
        for size in [1 << 16, 1 << 12, 1] {
            while ballast.write_all(&vec![0; size]).is_ok() {}
        }
    }

    /// Gives it back.
    pub fn free(&self) {
        fs::remove_file(self.ballast()).expect("the disk was filled");
    }
}

/// The command that runs another one with a small disk of its own; the path and the other one follow: a
/// tmpfs in a mount namespace, which nobody else sees and which ends with the process. A namespace of users goes
/// with it, so that this takes no privileges. (A limit on the size of files would hit the log as well, and is
/// another error than that of a full disk.)
pub(super) const WITH_SMALL_DISK: [&str; 6] = [
    "unshare",
    "--map-root-user",
    "--mount",
    "sh",
    "-c",
    "mkdir -p \"$0\" && mount -t tmpfs -o size=8m penstock-test \"$0\" && exec \"$@\"",
];

/// What stands where a service was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Impostor {
    /// Takes connections and never says a word.
    Silent,
    /// Answers everything with noise.
    Noise,
    /// Answers everything as a web server does.
    Web,
}

/// An impostor on a port; dropping it closes the port and every connection.
pub struct Imposture {
    server: JoinHandle<()>,
    address: SocketAddr,
}

impl Imposture {
    /// Puts an impostor on a free port (0) or on that of a service that is gone.
    pub async fn start(address: SocketAddr, impostor: Impostor) -> Imposture {
        let listener =
            crate::bounded::until("the port", async || TcpListener::bind(address).await.ok()).await;
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(play(impostor, stream));
            }
        });
        Imposture { server, address }
    }

    /// Leaves the port to somebody else.
    pub async fn leave(mut self) {
        self.server.abort();
        (&mut self.server).await.ok();
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Imposture {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn play(impostor: Impostor, mut stream: TcpStream) {
    let page = format!("<html>{}</html>", crate::ENGINE_CANARY);
    let web =
        format!("HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {}\r\n\r\n{page}", page.len());
    let noise: Arc<[u8]> = (0..4096_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let mut buffer = [0; 4096];
    while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {
        let said = match impostor {
            Impostor::Silent => Ok(()),
            Impostor::Noise => stream.write_all(&noise).await,
            Impostor::Web => stream.write_all(web.as_bytes()).await,
        };
        if said.is_err() {
            return;
        }
    }
}
