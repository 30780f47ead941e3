//! What reached the scripted engine, and what became of it.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use bytes::Bytes;
use http::HeaderMap;
use serde_json::Value;
use tokio::sync::watch;

use crate::bounded;

/// A request that reached the engine. Cheap to clone; what became of it goes on being recorded.
#[derive(Clone)]
pub struct Call {
    /// Method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Headers.
    pub headers: HeaderMap,
    /// Body, as it came.
    pub body: Bytes,
    /// When it was read whole.
    pub at: Instant,
    fate: Arc<Fate>,
}

struct Fate {
    chunks: AtomicUsize,
    gone_at: Mutex<Option<Instant>>,
    ended: watch::Sender<Option<End>>,
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The script was played to its end.
    Played,
    /// The client went away before.
    ClientGone,
}

impl Call {
    pub(super) fn new(method: String, path: String, headers: HeaderMap, body: Bytes) -> Call {
        let fate =
            Fate { chunks: AtomicUsize::new(0), gone_at: Mutex::new(None), ended: watch::Sender::new(None) };
        Call { method, path, headers, body, at: Instant::now(), fate: Arc::new(fate) }
    }

    pub(super) fn wrote_chunk(&self) {
        self.fate.chunks.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn end(&self, end: End) {
        if end == End::ClientGone {
            self.fate.gone_at.lock().unwrap().get_or_insert_with(Instant::now);
        }
        self.fate.ended.send_replace(Some(end));
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("the mesh sends JSON to engines")
    }

    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// How many deltas and events were written.
    pub fn chunks(&self) -> usize {
        self.fate.chunks.load(Ordering::Relaxed)
    }

    /// When the client's connection went away, if it did before the script's end.
    pub fn gone_at(&self) -> Option<Instant> {
        *self.fate.gone_at.lock().unwrap()
    }

    /// Waits until the call has ended, and says how.
    pub async fn ended(&self) -> End {
        let mut watch = self.fate.ended.subscribe();
        let end = bounded::within("the engine's call to end", watch.wait_for(Option::is_some)).await;
        end.unwrap().unwrap()
    }
}
