//! Those who are told of alerts, inside the test: a webhook and a mail server. They keep what they get, and fail or
//! hang as they are told to.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use base64::Engine as _;
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};

use crate::bounded::until;

/// A request that reached a webhook.
#[derive(Clone, Debug)]
pub struct Posted {
    /// Method and path.
    pub line: String,
    /// Headers, their names in small letters.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Posted {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("a body of JSON")
    }

    /// A header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// What a webhook does with a request.
#[derive(Clone, Copy, Debug)]
pub enum Reply {
    /// Answers with this status.
    Status(u16),
    /// Says nothing, for ever.
    Silence,
}

/// A running webhook; dropping it closes its port and every connection.
pub struct Webhook {
    address: SocketAddr,
    posted: Arc<Mutex<Vec<Posted>>>,
    server: JoinHandle<()>,
}

impl Webhook {
    /// A webhook that answers with `first`, one after the other, and from then on with `then`.
    pub async fn replying(first: impl IntoIterator<Item = Reply>, then: Reply) -> Webhook {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let posted = Arc::new(Mutex::new(Vec::new()));
        let mut first: VecDeque<Reply> = first.into_iter().collect();
        let kept = Arc::clone(&posted);
        let server = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let reply = first.pop_front().unwrap_or(then);
                connections.spawn(answer(stream, reply, Arc::clone(&kept)));
            }
        });
        Webhook { address, posted, server }
    }

    /// A webhook that takes everything.
    pub async fn start() -> Webhook {
        Webhook::replying([], Reply::Status(200)).await
    }

    /// Its address, with this path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Everything that came.
    pub fn posted(&self) -> Vec<Posted> {
        self.posted.lock().unwrap().clone()
    }

    /// Waits for the first request that `fits`.
    pub async fn wait(&self, what: &str, fits: impl Fn(&Posted) -> bool) -> Posted {
        until(what, async || self.posted().into_iter().find(|posted| fits(posted))).await
    }
}

impl Drop for Webhook {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Reads one request, keeps it and answers.
async fn answer(stream: TcpStream, reply: Reply, kept: Arc<Mutex<Vec<Posted>>>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    let mut headers = Vec::new();
    loop {
        let mut header = String::new();
        stream.read_line(&mut header).await?;
        let Some((name, value)) = header.trim_end().split_once(": ") else { break };
        headers.push((name.to_ascii_lowercase(), value.to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length").map_or("0", |(_, value)| value);
    let mut body = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut body).await?;
    kept.lock().unwrap().push(Posted { line: line.trim_end().to_owned(), headers, body });
    match reply {
        Reply::Status(status) => {
            // A redirect must not be followed, whatever the status.
            let head = format!(
                "HTTP/1.1 {status} Told\r\nlocation: /elsewhere\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            );
            stream.write_all(head.as_bytes()).await
        }
        Reply::Silence => std::future::pending().await,
    }
}

/// A letter that reached the mail server.
#[derive(Clone, Debug)]
pub struct Letter {
    /// Who sent it: `MAIL FROM`.
    pub from: String,
    /// To whom: each `RCPT TO`.
    pub to: Vec<String>,
    /// User and password of the session, if there was a login.
    pub login: Option<(String, String)>,
    /// Headers and body, lines unfolded, soft breaks undone.
    pub text: String,
}

/// A running mail server without TLS; dropping it closes its port.
pub struct MailServer {
    address: SocketAddr,
    letters: Arc<Mutex<Vec<Letter>>>,
    server: JoinHandle<()>,
}

impl MailServer {
    /// A mail server that takes everything.
    pub async fn start() -> MailServer {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let letters = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&letters);
        let server = tokio::spawn(async move {
            let mut sessions = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                sessions.spawn(session(stream, Arc::clone(&kept)));
            }
        });
        MailServer { address, letters, server }
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Everything that came.
    pub fn letters(&self) -> Vec<Letter> {
        self.letters.lock().unwrap().clone()
    }

    /// Waits for the first letter that `fits`.
    pub async fn wait(&self, what: &str, fits: impl Fn(&Letter) -> bool) -> Letter {
        until(what, async || self.letters().into_iter().find(|letter| fits(letter))).await
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// One SMTP session (RFC 5321), as far as a client that sends letters goes.
async fn session(stream: TcpStream, kept: Arc<Mutex<Vec<Letter>>>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut letter = Letter { from: String::new(), to: Vec::new(), login: None, text: String::new() };
    stream.write_all(b"220 mail.test ESMTP\r\n").await?;
    let mut line = String::new();
    while stream.read_line(&mut line).await? > 0 {
        let command = line.trim_end().to_owned();
        line.clear();
        let address = || command.split(['<', '>']).nth(1).unwrap_or_default().to_owned();
        let reply = match command.split([' ', ':']).next().unwrap_or_default() {
            "EHLO" => "250-mail.test\r\n250-8BITMIME\r\n250 AUTH PLAIN\r\n",
            "AUTH" => {
                letter.login = login(&command);
                "235 welcome\r\n"
            }
            "MAIL" => {
                letter.from = address();
                "250 ok\r\n"
            }
            "RCPT" => {
                letter.to.push(address());
                "250 ok\r\n"
            }
            "DATA" => {
                stream.write_all(b"354 go on\r\n").await?;
                let mut text = String::new();
                while !text.ends_with("\r\n.\r\n") && stream.read_line(&mut text).await? > 0 {}
                letter.text = text.replace("=\r\n", "").replace("\r\n ", " ");
                kept.lock().unwrap().push(letter.clone());
                "250 kept\r\n"
            }
            "QUIT" => {
                stream.write_all(b"221 bye\r\n").await?;
                return Ok(());
            }
            _ => "250 ok\r\n",
        };
        stream.write_all(reply.as_bytes()).await?;
    }
    Ok(())
}

/// User and password of `AUTH PLAIN …` (RFC 4616).
fn login(command: &str) -> Option<(String, String)> {
    let encoded = command.strip_prefix("AUTH PLAIN ")?;
    let plain = base64::engine::general_purpose::STANDARD.decode(encoded).ok()?;
    let text = String::from_utf8(plain).ok()?;
    let mut parts = text.split('\0').skip(1).map(str::to_owned);
    Some((parts.next()?, parts.next()?))
}
