//! Watches the first bytes that a server sends: they must be an HTTP/2 SETTINGS frame (RFC 9113 §3.4). Passes
//! everything on unchanged. Without it a connection counts as open as soon as the kernel accepts it.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::oneshot,
};

/// Length of an HTTP/2 frame's header.
const HEADER_BYTES: usize = 9;
/// Position of the type in a frame's header, and the type of SETTINGS.
const SETTINGS: (usize, u8) = (3, 4);

/// How the server began.
pub(super) type Spoken = Result<(), Silence>;

/// How a server failed to speak HTTP/2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Silence {
    #[error("the server closed the connection without speaking HTTP/2")]
    Closed,
    #[error("the server does not speak HTTP/2")]
    AnotherProtocol,
    #[error("{0}")]
    Failed(io::ErrorKind),
    /// The peer ended TLS, with this alert or reason.
    #[error("the server ended TLS: {0}")]
    Tls(TlsEnd),
}

/// Why the peer ended TLS, in few words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum TlsEnd {
    #[error("{0:?}")]
    Alert(rustls::AlertDescription),
    #[error("protocol error")]
    Other,
}

impl From<Silence> for io::Error {
    fn from(silence: Silence) -> Self {
        io::Error::other(silence)
    }
}

/// A stream whose first read bytes are looked at.
pub(super) struct Prefaced<S> {
    inner: S,
    header: Vec<u8>,
    /// Taken once the verdict is known.
    spoken: Option<oneshot::Sender<Spoken>>,
}

impl<S> Prefaced<S> {
    pub(super) fn new(inner: S, spoken: oneshot::Sender<Spoken>) -> Self {
        Self { inner, header: Vec::with_capacity(HEADER_BYTES), spoken: Some(spoken) }
    }

    fn look(&mut self, fresh: &[u8]) {
        if self.spoken.is_none() {
            return;
        }
        let missing = HEADER_BYTES.saturating_sub(self.header.len());
        self.header.extend(fresh.iter().take(missing));
        let (position, settings) = SETTINGS;
        match self.header.get(position) {
            _ if fresh.is_empty() => self.tell(Err(Silence::Closed)),
            Some(kind) if *kind != settings => self.tell(Err(Silence::AnotherProtocol)),
            _ if self.header.len() == HEADER_BYTES => self.tell(Ok(())),
            _ => {}
        }
    }

    fn tell(&mut self, verdict: Spoken) {
        if let Some(spoken) = self.spoken.take() {
            // Nobody listens any more: the time to connect is over.
            let _ = spoken.send(verdict);
        }
    }
}

fn silence(error: &io::Error) -> Silence {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::AlertReceived(alert)) => Silence::Tls(TlsEnd::Alert(*alert)),
        Some(_) => Silence::Tls(TlsEnd::Other),
        None => Silence::Failed(error.kind()),
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Prefaced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let no_room = buf.remaining() == 0;
        let result = std::task::ready!(Pin::new(&mut self.inner).poll_read(cx, buf));
        match &result {
            // No room: nothing read does not mean closed.
            Ok(()) if no_room => {}
            Ok(()) => self.look(buf.filled().get(before..).unwrap_or_default()),
            Err(error) => {
                let silence = silence(error);
                self.tell(Err(silence));
            }
        }
        Poll::Ready(result)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Prefaced<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
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
    use super::*;

    /// What is said about a server that sends these pieces and closes if `closed`.
    fn verdict(pieces: &[&[u8]], closed: bool) -> Option<Spoken> {
        let (spoken, mut heard) = oneshot::channel();
        let mut stream = Prefaced::new(tokio::io::empty(), spoken);
        for piece in pieces {
            stream.look(piece);
        }
        if closed {
            stream.look(&[]);
        }
        heard.try_recv().ok()
    }

    #[test]
    fn a_settings_frame_cut_anywhere() {
        let frame = [0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 100];
        for cut in 0..=frame.len() {
            let (head, tail) = frame.split_at(cut);
            let pieces: Vec<_> = [head, tail].into_iter().filter(|piece| !piece.is_empty()).collect();
            assert_eq!(verdict(&pieces, true), Some(Ok(())), "{cut}");
        }
        assert_eq!(verdict(&[&frame[..8]], false), None);
        assert_eq!(verdict(&[&frame[..8]], true), Some(Err(Silence::Closed)));
    }

    #[test]
    fn anything_else() {
        assert_eq!(verdict(&[], false), None);
        assert_eq!(verdict(&[], true), Some(Err(Silence::Closed)));
        assert_eq!(verdict(&[b"HTTP/1.1 400"], false), Some(Err(Silence::AnotherProtocol)));
        assert_eq!(verdict(&[b"SSH-"], false), Some(Err(Silence::AnotherProtocol)));
        assert_eq!(verdict(&[&[0, 0, 8, 7, 0, 0, 0, 0, 0]], false), Some(Err(Silence::AnotherProtocol)));
    }
}
