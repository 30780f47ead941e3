//! The scripted engine: an HTTP server inside the test that speaks OpenAI, Ollama and Anthropic, does exactly what
//! it is told (also what no proper server would do), and records what reached it and when its client went away.

mod anthropic;
mod dialect;
mod ollama;
mod play;
mod record;
mod script;
mod texts;
mod wire;

use std::{
    collections::{HashMap, VecDeque},
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::BytesMut;
use serde_json::Value;
use tokio::{
    io::AsyncWriteExt as _,
    net::{
        TcpListener, TcpSocket, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{Semaphore, watch},
    task::{JoinHandle, JoinSet},
};

pub use dialect::CREATED;
use dialect::{Dialect, Voice};
use play::{After, Play};
pub use record::{Call, End};
pub use script::{Head, Script, Step};
pub use texts::{Vectors, base64, vector_of};

use crate::bounded;

/// A running scripted engine; dropping it closes its port and every connection.
pub struct Engine {
    address: SocketAddr,
    shared: Arc<Shared>,
    accept: JoinHandle<()>,
}

/// The script for a request that has none of its own.
type Choose = Arc<dyn Fn(&Value) -> Arc<Script> + Send + Sync>;

struct Shared {
    next: Mutex<VecDeque<Script>>,
    default: Mutex<Choose>,
    models: Mutex<Vec<String>>,
    pages: Mutex<HashMap<String, (u16, Value)>>,
    shown: Mutex<Value>,
    free: Mutex<Option<Script>>,
    free_delay: Mutex<Duration>,
    calls: watch::Sender<Vec<Call>>,
    free_calls: Mutex<Vec<Call>>,
    gate: Semaphore,
}

impl Engine {
    /// An engine on a free port that answers `Hello, world!`.
    pub async fn start() -> Engine {
        Engine::start_at(SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    /// An engine on this port.
    pub async fn start_at(address: SocketAddr) -> Engine {
        Engine::on(TcpListener::bind(address).await.expect("the scripted engine's port is free"))
    }

    /// An engine on the first of these ports of this machine that nobody has.
    pub async fn start_on_one_of(ports: &[u16]) -> Engine {
        for port in ports {
            if let Ok(listener) = TcpListener::bind(("127.0.0.1", *port)).await {
                return Engine::on(listener);
            }
        }
        panic!("this test needs one of the ports {ports:?} of 127.0.0.1, and other programs have them all");
    }

    fn on(listener: TcpListener) -> Engine {
        let shared = Arc::new(Shared {
            next: Mutex::default(),
            default: Mutex::new(Arc::new(|_| Arc::default())),
            models: Mutex::new(vec!["engine-model".into()]),
            pages: Mutex::default(),
            shown: Mutex::new(ollama::show()),
            free: Mutex::default(),
            free_delay: Mutex::default(),
            calls: watch::Sender::default(),
            free_calls: Mutex::default(),
            gate: Semaphore::new(0),
        });
        let address = listener.local_addr().unwrap();
        let accept = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Engine { address, shared, accept }
    }

    /// An engine with this script for every request.
    pub async fn playing(script: Script) -> Engine {
        let engine = Engine::start().await;
        engine.always(script);
        engine
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The endpoint of its native API.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The endpoint of its OpenAI API.
    pub fn v1(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// Plays `script` for every request that has no script of its own.
    pub fn always(&self, script: Script) {
        let script = Arc::new(script);
        self.answering(move |_| Arc::clone(&script));
    }

    /// Plays what `choose` says to the body of every request that has no script of its own.
    pub fn answering<S: Into<Arc<Script>>>(&self, choose: impl Fn(&Value) -> S + Send + Sync + 'static) {
        *self.shared.default.lock().unwrap() = Arc::new(move |body| choose(body).into());
    }

    /// Plays `script` for the next request, after those that were given before.
    pub fn next(&self, script: Script) {
        self.shared.next.lock().unwrap().push_back(script);
    }

    /// Lists these models.
    pub fn serve_models<T: Into<String>>(&self, models: impl IntoIterator<Item = T>) {
        *self.shared.models.lock().unwrap() = models.into_iter().map(Into::into).collect();
    }

    /// Gives this status and body to whoever asks for `path`, whatever the method.
    pub fn serve_page(&self, path: &str, status: u16, body: Value) {
        self.shared.pages.lock().unwrap().insert(path.into(), (status, body));
    }

    /// Describes its models so, as Ollama does.
    pub fn show(&self, description: Value) {
        *self.shared.shown.lock().unwrap() = description;
    }

    /// Answers probes and lists with the head of this script, which must be a status.
    pub fn refuse_free(&self, script: Script) {
        *self.shared.free.lock().unwrap() = Some(script);
    }

    /// Answers probes and lists so late.
    pub fn delay_free(&self, delay: Duration) {
        *self.shared.free_delay.lock().unwrap() = delay;
    }

    /// Lets `times` gates pass.
    pub fn open(&self, times: usize) {
        self.shared.gate.add_permits(times);
    }

    /// Requests for answers so far; probes and lists are not among them.
    pub fn calls(&self) -> Vec<Call> {
        self.shared.calls.borrow().clone()
    }

    /// Probes, lists and everything else that asks for no answer.
    pub fn free_calls(&self) -> Vec<Call> {
        self.shared.free_calls.lock().unwrap().clone()
    }

    /// The call with this index, as soon as it is there.
    pub async fn call(&self, index: usize) -> Call {
        let mut watch = self.shared.calls.subscribe();
        let what = format!("call {index} to reach the engine");
        let calls = bounded::within(&what, watch.wait_for(|calls| calls.len() > index)).await;
        calls.unwrap()[index].clone()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.accept.abort();
    }
}

/// An address that refuses connections for as long as this lives: bound, never listening.
pub struct Refused(TcpSocket);

impl Refused {
    /// Takes a port.
    pub fn new() -> Refused {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        Refused(socket)
    }

    /// The address.
    pub fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    /// The endpoint of an OpenAI API that is not there.
    pub fn v1(&self) -> String {
        format!("http://{}/v1", self.address())
    }

    /// An engine where nothing was: the port is never let go, so that nobody else can take it in between.
    pub fn comes_up(self) -> Engine {
        // As many as tokio's own `bind` lets wait.
        Engine::on(self.0.listen(1024).expect("a bound socket can listen"))
    }
}

impl Default for Refused {
    fn default() -> Self {
        Refused::new()
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    // Dropped with this task, and with it every connection.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Ok((stream, _)) = listener.accept() => {
                stream.set_nodelay(true).ok();
                connections.spawn(serve(stream, Arc::clone(&shared)));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let (mut read, mut write) = stream.into_split();
    let mut buffer = BytesMut::new();
    while let Ok(Some(call)) = wire::read_request(&mut read, &mut buffer).await {
        let go_on = match dialect_of(&call) {
            Some(dialect) => shared.answer(dialect, call, &mut read, &mut buffer, &mut write).await,
            None => shared.answer_free(call, &mut write).await,
        };
        if !go_on {
            return;
        }
    }
}

fn dialect_of(call: &Call) -> Option<Dialect> {
    match (call.method.as_str(), call.path.as_str()) {
        ("POST", "/v1/chat/completions") => Some(Dialect::OpenAi),
        ("POST", "/v1/completions") => Some(Dialect::Texts),
        ("POST", "/v1/embeddings") => Some(Dialect::Embeddings),
        ("POST", "/v1/moderations") => Some(Dialect::Moderations),
        ("POST", "/api/chat" | "/api/generate" | "/api/embed") => Some(Dialect::Ollama),
        ("POST", "/v1/messages") => Some(Dialect::Anthropic),
        ("POST", "/tokenize" | "/v1/chat/completions/input_tokens" | "/v1/messages/count_tokens") => {
            Some(Dialect::Counts)
        }
        _ => None,
    }
}

impl Shared {
    async fn answer_free(&self, call: Call, write: &mut OwnedWriteHalf) -> bool {
        let delay = *self.free_delay.lock().unwrap();
        tokio::time::sleep(delay).await;
        let refusal = self.free.lock().unwrap().as_ref().map(|script| script.head.clone());
        if let Some(Head::Status { status, headers, body }) = refusal {
            self.free_calls.lock().unwrap().push(call);
            return write.write_all(&wire::whole(status, &headers, body.as_bytes())).await.is_ok();
        }
        let page = self.pages.lock().unwrap().get(&call.path).cloned();
        let page = page.or_else(|| match call.path.as_str() {
            "/api/show" => Some((200, self.shown.lock().unwrap().clone())),
            path => Some((200, dialect::free(path, &self.models.lock().unwrap())?)),
        });
        let answer = match page {
            Some((status, value)) => wire::whole(status, &[], value.to_string().as_bytes()),
            None => wire::whole(404, &[], b"{\"error\":\"not found\"}"),
        };
        self.free_calls.lock().unwrap().push(call);
        write.write_all(&answer).await.is_ok()
    }

    /// Plays a script for `call`; false: the connection is to be closed.
    async fn answer(
        &self,
        dialect: Dialect,
        call: Call,
        read: &mut OwnedReadHalf,
        buffer: &mut BytesMut,
        write: &mut OwnedWriteHalf,
    ) -> bool {
        let script = self.next.lock().unwrap().pop_front().map(Arc::new);
        let choose = Arc::clone(&self.default.lock().unwrap());
        let script =
            script.unwrap_or_else(|| choose(&serde_json::from_slice(&call.body).unwrap_or_default()));
        let mut number = 0;
        self.calls.send_modify(|calls| {
            calls.push(call.clone());
            number = calls.len();
        });
        let voice = Voice::new(dialect, &call, number, &script);
        let played = Play { shared: self, script: &script, voice, call: &call, write };
        let outcome = tokio::select! {
            // What was played whole is whole, even if the client leaves at that very moment.
            biased;
            outcome = played.run() => outcome,
            () = wire::gone(read, buffer) => Err(io::ErrorKind::ConnectionReset.into()),
        };
        call.end(if outcome.is_ok() { End::Played } else { End::ClientGone });
        outcome.is_ok_and(|after| after == After::KeepAlive)
    }
}
