//! Whether a peer takes what is sent to it. A connection whose socket stays full, or an HTTP/2 stream whose window
//! does, is cut after a while: behind it an engine waits, and holds a place that others need.

use std::{
    future::Future,
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use hyper::rt::Executor;
use hyper_util::rt::TokioExecutor;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::sleep,
};

tokio::task_local! {
    /// Of the HTTP/2 stream that is being polled: each has a task of its own.
    static STREAM: Taking;
}

/// Counts the waits for a peer to take more: odd as long as one lasts. One task writes it, another may look on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Taking(Arc<AtomicUsize>);

impl Taking {
    fn set(&self, waits: bool) {
        let count = self.0.load(Ordering::Relaxed);
        if (count % 2 == 1) != waits {
            self.0.store(count.wrapping_add(1), Ordering::Relaxed);
        }
    }

    /// Until a single wait has lasted for `span`, twice as long at most.
    pub(crate) async fn stalled(&self, span: Duration) {
        let mut seen = self.0.load(Ordering::Relaxed);
        loop {
            sleep(span).await;
            let now = self.0.load(Ordering::Relaxed);
            if now == seen && now % 2 == 1 {
                return;
            }
            seen = now;
        }
    }
}

/// Notes that the HTTP/2 stream of this task has a frame to send, or that it has sent all it had.
pub(crate) fn stream_waits(waits: bool) {
    // Over HTTP/1 there is none: the socket says it all.
    let _ = STREAM.try_with(|stream| stream.set(waits));
}

/// Runs the HTTP/2 streams of a connection, each until it ends or nothing of it has been taken for this long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Streams(pub(crate) Duration);

impl<F> Executor<F> for Streams
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, stream: F) {
        let (taking, span) = (Taking::default(), self.0);
        TokioExecutor::new().execute(async move {
            tokio::select! {
                biased;
                _ = STREAM.scope(taking.clone(), stream) => {}
                () = taking.stalled(span) => tracing::debug!("a stream that nobody reads is cut"),
            }
        });
    }
}

/// A socket that notes whether its peer takes what is written.
#[derive(Debug)]
pub(crate) struct Sending<S> {
    inner: S,
    taking: Taking,
}

impl<S> Sending<S> {
    pub(crate) fn new(inner: S, taking: Taking) -> Self {
        Self { inner, taking }
    }

    fn note<T>(&self, outcome: Poll<T>) -> Poll<T> {
        self.taking.set(outcome.is_pending());
        outcome
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Sending<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Sending<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.note(outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.inner).poll_write_vectored(cx, slices);
        self.note(outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _, duplex},
        time::timeout,
    };

    use super::*;

    const SPAN: Duration = Duration::from_secs(5);

    #[tokio::test(start_paused = true)]
    async fn a_socket_is_stalled_only_while_one_and_the_same_write_waits() {
        let (near, mut far) = duplex(8);
        let taking = Taking::default();
        let mut near = Sending::new(near, taking.clone());
        assert!(timeout(10 * SPAN, taking.stalled(SPAN)).await.is_err(), "there is nothing to take");
        near.write_all(b"12345678").await.unwrap();
        assert!(timeout(10 * SPAN, taking.stalled(SPAN)).await.is_err(), "it has taken all");
        let writing = near.write_all(b"a long text that is taken byte by byte");
        let slowly = async {
            for _ in 0..20 {
                sleep(SPAN * 9 / 10).await;
                far.read_u8().await.unwrap();
            }
        };
        tokio::select! {
            _ = writing => panic!("nobody has read so much"),
            () = taking.stalled(SPAN) => panic!("it goes on"),
            () = slowly => {}
        }
        let writing = near.write_all(b"more");
        tokio::select! {
            _ = writing => panic!("nobody reads"),
            stalled = timeout(2 * SPAN, taking.stalled(SPAN)) => stalled.unwrap(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_is_dropped_once_nothing_of_it_is_taken() {
        let (ended, mut end) = tokio::sync::mpsc::channel::<&str>(3);
        let run = |name: &'static str, waits: bool, lasts: Duration| {
            let ended = ended.clone();
            Streams(SPAN).execute(async move {
                stream_waits(waits);
                sleep(lasts).await;
                let _ = ended.send(name).await;
            });
        };
        run("nobody reads", true, 10 * SPAN);
        run("the engine is slow", false, 10 * SPAN);
        run("taken after a while", true, SPAN / 2);
        drop(ended);
        assert_eq!(end.recv().await, Some("taken after a while"));
        assert_eq!(end.recv().await, Some("the engine is slow"));
        assert_eq!(end.recv().await, None);
        // Outside of any stream it says nothing to nobody.
        stream_waits(true);
    }
}
