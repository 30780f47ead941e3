//! An HTTP client that hides nothing: a connection for each request, so that dropping the answer is hanging
//! up; every event as it arrives; every wait bounded.

use std::{net::SocketAddr, time::Instant};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, Request, Response, header};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinHandle,
};

use crate::{PROMPT_CANARY, bounded::within};

/// A caller of one facade.
#[derive(Clone)]
pub struct Client {
    address: SocketAddr,
    headers: HeaderMap,
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
}

/// A chat request for `model` whose prompt holds the canary.
pub fn chat(model: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": format!("{PROMPT_CANARY} hello")}]})
}

/// `body` as a request for a stream.
pub fn streamed(mut body: Value) -> Value {
    body["stream"] = json!(true);
    body
}

/// `body` with these members laid over it.
pub fn with(mut body: Value, members: Value) -> Value {
    body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    body
}

impl Client {
    /// A caller without a key.
    pub fn new(address: SocketAddr) -> Client {
        Client { address, headers: HeaderMap::new() }
    }

    /// The same caller with this key.
    #[must_use]
    pub fn with_key(self, key: &str) -> Client {
        self.with_header("authorization", &format!("Bearer {key}"))
    }

    /// The same caller with a further header.
    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: &str) -> Client {
        self.headers.insert(name, value.parse().unwrap());
        self
    }

    /// GET `path`.
    pub async fn get(&self, path: &str) -> Answer {
        self.request(Method::GET, path, Bytes::new()).await
    }

    /// `POST /v1/chat/completions`, the whole answer.
    pub async fn chat(&self, body: &Value) -> Answer {
        self.post("/v1/chat/completions", body.to_string()).await
    }

    /// `POST /v1/chat/completions`, event by event. The answer must be a stream.
    pub async fn stream(&self, body: &Value) -> Events {
        self.stream_of("/v1/chat/completions", body).await
    }

    /// `POST` of a request for a stream, event by event. The answer must be a stream.
    pub async fn stream_of(&self, path: &str, body: &Value) -> Events {
        let events = self.send(Method::POST, path, streamed(body.clone()).to_string()).await.head().await;
        if events.status != 200 {
            let status = events.status;
            panic!("not a stream but {status}: {:?}", events.whole().await);
        }
        events
    }

    /// POST `body` as JSON.
    pub async fn post(&self, path: &str, body: impl Into<Bytes>) -> Answer {
        self.request(Method::POST, path, body).await
    }

    /// Any request, the whole answer.
    pub async fn request(&self, method: Method, path: &str, body: impl Into<Bytes>) -> Answer {
        self.send(method, path, body).await.head().await.whole().await
    }

    /// Sends a request and does not wait for the answer.
    pub async fn send(&self, method: Method, path: &str, body: impl Into<Bytes>) -> Pending {
        let what = format!("{method} {path}");
        within(&what, self.try_send(method, path, body)).await.unwrap_or_else(|e| panic!("{what}: {e}"))
    }

    /// As `send`, for when nobody may be listening.
    ///
    /// # Errors
    /// The connection was refused or broke.
    pub async fn try_send(
        &self,
        method: Method,
        path: &str,
        body: impl Into<Bytes>,
    ) -> Result<Pending, Box<dyn std::error::Error + Send + Sync>> {
        let body = body.into();
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let connection = Connection(tokio::spawn(async move {
            connection.await.ok();
        }));
        let mut request = Request::builder().method(method).uri(path);
        let headers = request.headers_mut().unwrap();
        headers.insert(header::HOST, self.address.to_string().parse().unwrap());
        if !body.is_empty() {
            headers.insert(header::CONTENT_TYPE, "application/json".parse().unwrap());
        }
        headers.extend(self.headers.clone());
        let request = request.body(Full::new(body))?;
        let response = tokio::spawn(async move { sender.send_request(request).await });
        Ok(Pending { response: Aborting(response), connection })
    }

    /// Sends these bytes as they are and reads until the other side closes, or until `enough` of the answer.
    pub async fn raw(&self, bytes: &[u8], enough: impl Fn(&[u8]) -> bool) -> Vec<u8> {
        within("the answer to raw bytes", async {
            let mut stream = TcpStream::connect(self.address).await.unwrap();
            // The other side may answer and close before it has read everything.
            let (mut read, mut write) = stream.split();
            let mut answer = Vec::new();
            let sending = async {
                write.write_all(bytes).await.ok();
                std::future::pending::<()>().await;
            };
            let reading =
                async { while !enough(&answer) && read.read_buf(&mut answer).await.unwrap_or(0) > 0 {} };
            tokio::select! { () = sending => {}, () = reading => {} }
            answer
        })
        .await
    }
}

/// Closes the connection when it is dropped.
struct Connection(JoinHandle<()>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct Aborting<T>(JoinHandle<T>);

impl<T> Drop for Aborting<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A request whose answer has not begun. Dropping it hangs up.
pub struct Pending {
    response: Aborting<hyper::Result<Response<Incoming>>>,
    connection: Connection,
}

impl Pending {
    /// Waits for the head of the answer.
    pub async fn head(self) -> Events {
        let error = "the connection broke before the head of an answer";
        self.try_head().await.expect(error)
    }

    /// As `head`, for when the other side may be gone.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn try_head(mut self) -> hyper::Result<Events> {
        let response = within("the head of an answer", &mut self.response.0).await.unwrap()?;
        let (head, body) = response.into_parts();
        Ok(Events {
            status: head.status.as_u16(),
            headers: head.headers,
            body,
            buffer: BytesMut::new(),
            _connection: self.connection,
        })
    }

    /// Hangs up, and says when.
    pub fn hang_up(self) -> Instant {
        let now = Instant::now();
        drop(self);
        now
    }
}

/// An answer that is being read. Dropping it hangs up.
pub struct Events {
    /// HTTP status.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    body: Incoming,
    buffer: BytesMut,
    _connection: Connection,
}

impl Events {
    /// The data of the next event, as soon as it is there; `None` at the end of the body.
    pub async fn next(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|window| window == b"\n\n") {
                let event = self.buffer.split_to(end + 2);
                let event = String::from_utf8(event.to_vec()).expect("events are UTF-8");
                // Some APIs name their events; the name is in the data again.
                let named = event.strip_prefix("event: ").and_then(|event| event.split_once('\n'));
                match named.map_or(event.as_str(), |(_, data)| data).trim_end().strip_prefix("data: ") {
                    Some(data) => return Some(data.to_owned()),
                    None => assert!(event.starts_with(':'), "not an event: {event:?}"),
                }
            } else if !self.more().await {
                assert!(self.buffer.is_empty(), "half an event at the end: {:?}", self.buffer);
                return None;
            }
        }
    }

    /// Waits for a comment, which must be next.
    pub async fn next_comment(&mut self) {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|window| window == b"\n\n") {
                let comment = self.buffer.split_to(end + 2);
                assert_eq!(&comment[..], b": ping\n\n", "{:?}", String::from_utf8_lossy(&comment));
                return;
            }
            assert!(self.more().await, "the body ended, and no comment came");
        }
    }

    /// The next event as JSON; it must be there and not be `[DONE]`.
    pub async fn next_json(&mut self) -> Value {
        let data = self.next().await.expect("one more event");
        serde_json::from_str(&data).unwrap_or_else(|e| panic!("{e}: {data}"))
    }

    /// The next text, past events that hold none.
    pub async fn next_text(&mut self) -> String {
        loop {
            let event = self.next_json().await;
            match event["choices"][0]["delta"]["content"].as_str() {
                Some(text) if !text.is_empty() => return text.to_owned(),
                _ => {}
            }
        }
    }

    /// Waits until the answer has said `text`, in whatever words.
    pub async fn until(&mut self, text: &str) {
        while !self.buffer.windows(text.len()).any(|window| window == text.as_bytes()) {
            assert!(self.more().await, "ended without {text:?}: {:?}", self.buffer);
        }
    }

    /// All events that are left.
    pub async fn rest(mut self) -> Vec<String> {
        let mut events = Vec::new();
        while let Some(event) = self.next().await {
            events.push(event);
        }
        events
    }

    /// The whole answer, events or not.
    pub async fn whole(mut self) -> Answer {
        while self.more().await {}
        Answer { status: self.status, headers: self.headers, body: self.buffer.freeze() }
    }

    /// Hangs up, and says when.
    pub fn hang_up(self) -> Instant {
        let now = Instant::now();
        drop(self);
        now
    }

    /// All bytes that are left, and whether the body was ended as HTTP has it.
    pub async fn bytes(mut self) -> (Bytes, bool) {
        loop {
            match self.try_more().await {
                Ok(true) => {}
                Ok(false) => return (self.buffer.freeze(), true),
                Err(_) => return (self.buffer.freeze(), false),
            }
        }
    }

    async fn more(&mut self) -> bool {
        self.try_more().await.expect("the connection broke inside a body")
    }

    async fn try_more(&mut self) -> hyper::Result<bool> {
        let frame = within("more of a body", self.body.frame()).await.transpose()?;
        let more = frame.is_some();
        if let Some(data) = frame.and_then(|frame| frame.into_data().ok()) {
            self.buffer.extend_from_slice(&data);
        }
        Ok(more)
    }
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }

    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The text of the first choice; the answer must be a success.
    pub fn text(&self) -> String {
        assert_eq!(self.status, 200, "{}", String::from_utf8_lossy(&self.body));
        self.json()["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
    }

    /// Checks the one error body: status, code, every member that every error has, and that it says nothing
    /// that it must not say. Returns it.
    pub fn problem(&self, status: u16, code: &str) -> Value {
        let text = String::from_utf8_lossy(&self.body).into_owned();
        assert_eq!(self.status, status, "{text}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{text}");
        let body = self.json();
        for member in ["type", "title", "detail", "instance"] {
            assert!(body[member].as_str().is_some_and(|s| !s.is_empty()), "no {member}: {text}");
        }
        assert_eq!(body["status"], json!(status), "{text}");
        assert_eq!(body["error"]["code"], json!(code), "{text}");
        for member in ["message", "type"] {
            assert!(body["error"][member].as_str().is_some_and(|s| !s.is_empty()), "no {member}: {text}");
        }
        assert!(body["error"].get("param").is_some(), "no param: {text}");
        assert!(body["errors"].is_array(), "no errors: {text}");
        let id = self.header("x-request-id").unwrap_or_else(|| panic!("no x-request-id: {text}"));
        assert_eq!(body["request_id"], json!(id), "{text}");
        for secret in [crate::PROMPT_CANARY, crate::ENGINE_CANARY, crate::ENGINE_KEY] {
            assert!(!text.contains(secret), "an error says {secret}: {text}");
        }
        body
    }
}
