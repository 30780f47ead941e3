//! An engine on a real socket that does what a script says and notes what reached it.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use penstock_chassis::Tasks;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::Notify,
};
use tokio_stream::StreamExt as _;

/// What the engine does next.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// Writes this.
    Write(String),
    /// Waits until the test says go.
    Wait,
    /// Waits until the client has closed the connection, and says so.
    Hold,
    /// Closes the connection.
    Close,
}

#[derive(Debug)]
pub(super) struct Scripted {
    pub(super) address: SocketAddr,
    /// The test lets a waiting script go on.
    pub(super) go: Notify,
    /// A held connection was closed by the client.
    pub(super) gone: Notify,
    /// A request has arrived.
    pub(super) arrived: Notify,
    seen: Mutex<Vec<(usize, String)>>,
}

impl Scripted {
    fn posts(&self) -> Vec<(usize, String)> {
        self.seen
            .lock()
            .unwrap()
            .iter()
            .filter(|(_, text)| text.starts_with("POST") && !is_free(text))
            .cloned()
            .collect()
    }

    pub(super) fn generations(&self) -> usize {
        self.posts().len()
    }

    pub(super) fn generation_connections(&self) -> usize {
        let mut connections: Vec<_> = self.posts().iter().map(|(connection, _)| *connection).collect();
        connections.dedup();
        connections.len()
    }

    /// Waits until a request to generate has arrived.
    pub(super) async fn generation(&self) {
        while self.generations() == 0 {
            self.arrived.notified().await;
        }
    }

    pub(super) fn last(&self) -> String {
        self.posts().last().unwrap().1.clone()
    }
}

pub(super) async fn start(
    tasks: &Tasks,
    script: impl Fn(&str) -> Vec<Step> + Send + Sync + 'static,
) -> Arc<Scripted> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let scripted = Arc::new(Scripted {
        address: listener.local_addr().unwrap(),
        go: Notify::new(),
        gone: Notify::new(),
        arrived: Notify::new(),
        seen: Mutex::default(),
    });
    let (engine, inner, script) = (Arc::clone(&scripted), tasks.clone(), Arc::new(script));
    tasks.spawn("scripted engine", async move {
        let mut connections = tokio_stream::wrappers::TcpListenerStream::new(listener);
        let mut number = 0;
        while let Some(Ok(stream)) = connections.next().await {
            number += 1;
            let (engine, script) = (Arc::clone(&engine), Arc::clone(&script));
            inner.spawn("scripted connection", async move {
                serve(stream, number, &engine, &*script).await;
            });
        }
    });
    scripted
}

async fn serve(mut stream: TcpStream, number: usize, engine: &Scripted, script: &impl Fn(&str) -> Vec<Step>) {
    while let Some(seen) = read_request(&mut stream).await {
        let steps = script(&seen);
        engine.seen.lock().unwrap().push((number, seen));
        engine.arrived.notify_one();
        for step in steps {
            match step {
                Step::Write(text) => {
                    if stream.write_all(text.as_bytes()).await.is_err() {
                        return;
                    }
                }
                Step::Wait => engine.go.notified().await,
                Step::Hold => {
                    while matches!(stream.read(&mut [0; 64]).await, Ok(1..)) {}
                    engine.gone.notify_one();
                    return;
                }
                Step::Close => return,
            }
        }
    }
}

async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut seen = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&seen).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                return Some(text);
            }
        }
        if stream.read_buf(&mut seen).await.ok()? == 0 {
            return None;
        }
    }
}

/// Whether a request costs nothing: checks, lists, descriptions.
pub(super) fn is_free(seen: &str) -> bool {
    seen.starts_with("GET") || seen.starts_with("POST /api/show")
}
