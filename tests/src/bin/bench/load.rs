//! The load: callers with one connection each, one request after the other.

use std::{
    fmt,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use memchr::memmem;
use tokio::net::TcpStream;

use crate::api::Api;

/// What is asked for, and counted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Whole answers; a unit is a request.
    Plain,
    /// Streams; a unit is an event with text.
    Stream,
}

/// A load.
#[derive(Clone, Copy)]
pub(crate) struct Load<'a> {
    pub(crate) api: Api,
    pub(crate) kind: Kind,
    pub(crate) address: SocketAddr,
    pub(crate) model: &'a str,
    pub(crate) key: Option<&'a str>,
    pub(crate) callers: usize,
    pub(crate) total: usize,
    /// Number of the first question: two loads that begin at the same one share answers in the cache.
    pub(crate) first: usize,
}

/// What it took.
pub(crate) struct Result {
    /// Requests or events.
    pub(crate) units: usize,
    /// Median time of a request (plain) or until the first text of a stream.
    pub(crate) median: Duration,
    per_second: f64,
    kind: Kind,
}

impl Load<'_> {
    pub(crate) async fn run(self) -> Result {
        let next = Arc::new(AtomicUsize::new(0));
        let start = Instant::now();
        let callers = (0..self.callers).map(|_| self.caller(Arc::clone(&next)));
        let done = futures_util::future::join_all(callers).await;
        let elapsed = start.elapsed().as_secs_f64();
        let units = done.iter().map(|(units, _)| units).sum();
        let mut times: Vec<Duration> = done.into_iter().flat_map(|(_, times)| times).collect();
        times.sort();
        let median = times[times.len() / 2];
        Result { units, median, per_second: units as f64 / elapsed, kind: self.kind }
    }

    async fn caller(self, next: Arc<AtomicUsize>) -> (usize, Vec<Duration>) {
        let stream = TcpStream::connect(self.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        let connection = tokio::spawn(connection);
        let (mut units, mut times) = (0, Vec::new());
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= self.total {
                break;
            }
            let (more, time) = self.one(&mut sender, self.first + number).await;
            units += more;
            times.push(time);
        }
        drop(sender);
        connection.await.ok();
        (units, times)
    }

    async fn one(&self, sender: &mut SendRequest<Full<Bytes>>, number: usize) -> (usize, Duration) {
        let stream = self.kind == Kind::Stream;
        // Each prompt is another one: the cache is asked and never helps.
        let body = self.api.body(self.model, stream, number);
        let mut request = Request::post(self.api.path())
            .header(header::HOST, "bench")
            .header(header::CONTENT_TYPE, "application/json");
        if let Some(key) = self.key {
            request = request.header(header::AUTHORIZATION, format!("Bearer {key}"));
        }
        let start = Instant::now();
        sender.ready().await.unwrap();
        let response = sender.send_request(request.body(Full::new(body.into())).unwrap()).await.unwrap();
        assert_eq!(response.status(), 200);
        let mut body = response.into_body();
        if !stream {
            body.collect().await.unwrap();
            return (1, start.elapsed());
        }
        let (piece, end) = (self.api.piece(), self.api.end());
        let (mut events, mut first, mut whole, mut tail) = (0, None, false, Vec::new());
        while let Some(frame) = body.frame().await {
            let data = frame.unwrap().into_data().unwrap_or_default();
            events += memmem::find_iter(&data, piece).count();
            if events > 0 {
                first.get_or_insert_with(|| start.elapsed());
            }
            tail.extend_from_slice(&data);
            whole |= memmem::find(&tail, end).is_some();
            tail.drain(..tail.len().saturating_sub(end.len()));
        }
        assert!(whole, "a stream was not whole");
        (events, first.unwrap())
    }
}

impl Result {
    /// Whether as many events came as were sent; a few may be cut by the ends of frames.
    pub(crate) fn whole(&self, sent: usize) -> std::result::Result<(), String> {
        if self.units + sent / 100 >= sent {
            Ok(())
        } else {
            Err(format!("{} of {sent} chunks arrived", self.units))
        }
    }
}

impl fmt::Display for Result {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, time) = match self.kind {
            Kind::Plain => ("requests", "median"),
            Kind::Stream => ("chunks", "first text"),
        };
        write!(f, "{:.0} {unit}/s, {time} {:.2} ms", self.per_second, self.median.as_secs_f64() * 1e3)
    }
}
