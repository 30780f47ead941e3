//! A streamed answer that is being read. What one wake-up finds on the socket becomes one message; nothing
//! waits for more. A hand-written stream: no task, no queue, so that dropping it closes the connection.

use std::{
    future::Future as _,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::Stream;
use penstock_proto::{
    Reason,
    inference::v1::{GenerateChunk, GenerateResponse},
};
use prometheus_client::metrics::counter::Counter;
use reqwest::Body;
use tokio::time::{Instant, Sleep, sleep_until};

use super::{Limits, next_data, silent};
use crate::{
    answer::Answer,
    engine::{Dialect, Frame, Reader},
    error::{Error, Fault},
    frames::Frames as _,
};

/// Bytes that go into one message at most: it stays far below what gRPC takes, and other calls get a turn.
const MESSAGE_MAX_BYTES: usize = 64 << 10;
/// How long the end of the body is waited for after the engine said that it is done: so the connection can be
/// used again. It comes with the last frame or right after it.
const TAIL_TIMEOUT: Duration = Duration::from_millis(20);
/// Bytes after the end that are read, for the same purpose.
const TAIL_MAX_BYTES: usize = 4 << 10;
/// Frames of one answer that are skipped because they cannot be read: some engines let a log line slip in.
/// What has more of them is not an answer.
const MALFORMED_MAX: u32 = 16;

/// A streamed answer.
pub(super) struct Reading<D: Dialect> {
    body: Body,
    frames: D::Frames,
    reader: D::Reader,
    answer: Answer,
    deployment: Arc<str>,
    /// Frames that could not be read, and where they are counted.
    malformed: u32,
    counter: Counter,
    state: State,
    stall_timeout: Duration,
    /// The moment after which the engine counts as silent.
    deadline: Instant,
    /// Set to `deadline`, or earlier: a token moves the deadline, and the timer only when it fires.
    timer: Pin<Box<Sleep>>,
}

#[derive(Debug)]
enum State {
    /// Chunks may come.
    Open,
    /// All is said; the body's end is still to come, within that many bytes.
    Tail(usize),
    /// The answer broke; this is still to be said.
    Broken(Fault),
    Ended,
}

impl<D: Dialect> Reading<D> {
    pub(super) fn new(
        body: Body,
        answer: Answer,
        deployment: Arc<str>,
        counter: Counter,
        limits: Limits,
        first_token_deadline: Instant,
    ) -> Self {
        Self {
            body,
            frames: D::Frames::new(limits.frame_max_bytes),
            reader: D::Reader::default(),
            answer,
            deployment,
            malformed: 0,
            counter,
            state: State::Open,
            stall_timeout: limits.stall_timeout,
            deadline: first_token_deadline,
            timer: Box::pin(sleep_until(first_token_deadline)),
        }
    }

    /// Takes what there is on the socket.
    fn read(&mut self, cx: &mut Context<'_>, chunks: &mut Vec<GenerateChunk>) {
        let mut bytes = 0;
        while matches!(self.state, State::Open) && bytes < MESSAGE_MAX_BYTES {
            let taken = match next_data(&mut self.body, cx) {
                Poll::Ready(Some(Ok(data))) => {
                    bytes += data.len();
                    self.take(&data, chunks)
                }
                // Where all was said nothing is lost with the connection: it is as if the engine had closed it.
                Poll::Ready(Some(Err(cut))) => self.cease(chunks).map_err(|_| cut),
                Poll::Ready(None) => self.take_end(chunks),
                Poll::Pending => return,
            };
            if let Err(fault) = taken {
                self.state = State::Broken(self.verdict(fault));
            }
        }
        if matches!(self.state, State::Open) && chunks.is_empty() {
            // Comments only, and more to read: others get a turn, then we go on.
            cx.waker().wake_by_ref();
        }
    }

    fn take(&mut self, data: &[u8], chunks: &mut Vec<GenerateChunk>) -> Result<(), Fault> {
        let Self { frames, reader, answer, malformed, state, .. } = self;
        frames.feed(data, |frame| take_frame(frame, reader, answer, malformed, state, chunks))
    }

    fn take_end(&mut self, chunks: &mut Vec<GenerateChunk>) -> Result<(), Fault> {
        let Self { frames, reader, answer, malformed, state, .. } = self;
        frames.finish(|frame| take_frame(frame, reader, answer, malformed, state, chunks))?;
        if matches!(self.state, State::Open) {
            self.cease(chunks)?;
        }
        self.state = State::Ended;
        Ok(())
    }

    /// Ends an answer that is whole though the engine did not say so.
    fn cease(&mut self, chunks: &mut Vec<GenerateChunk>) -> Result<(), Fault> {
        self.answer.cease(chunks)?;
        self.state = State::Ended;
        Ok(())
    }

    /// What is wrong with an answer that broke: without an end, what could not be read may have been the end.
    fn verdict(&self, fault: Fault) -> Fault {
        match fault.reason {
            Reason::EngineCut if self.malformed > 0 => {
                Fault::bad_answer("the engine sent frames that cannot be read, and no end")
            }
            _ => fault,
        }
    }

    /// Moves the deadline after a message. The timer is touched only where it would fire too late.
    fn heard(&mut self) {
        if !self.answer.has_begun() {
            return;
        }
        let deadline = Instant::now() + self.stall_timeout;
        self.deadline = deadline;
        if self.timer.deadline() > deadline {
            self.timer.as_mut().reset(deadline);
        }
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.timer.as_mut().poll(cx).is_ready() {
            if self.deadline <= Instant::now() {
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(self.deadline);
        }
        Poll::Pending
    }

    /// Reads on to the end of the body, for a short time, so that the connection can be used again.
    fn poll_tail(&mut self, cx: &mut Context<'_>, mut left: usize) -> Poll<()> {
        while let Poll::Ready(data) = next_data(&mut self.body, cx) {
            match data {
                Some(Ok(data)) if data.len() < left => left -= data.len(),
                _ => return Poll::Ready(()),
            }
        }
        self.state = State::Tail(left);
        self.poll_timer(cx)
    }
}

fn take_frame(
    frame: &[u8],
    reader: &mut impl Reader,
    answer: &mut Answer,
    malformed: &mut u32,
    state: &mut State,
    chunks: &mut Vec<GenerateChunk>,
) -> Result<(), Fault> {
    if !matches!(state, State::Open) {
        return Ok(()); // what follows the end is not for anybody (C5)
    }
    let chunk = match reader.frame(frame) {
        Ok(Frame::Piece(chunk)) => return answer.take(chunk, chunks),
        Ok(Frame::Last(chunk)) => Some(chunk),
        Ok(Frame::Done) => None,
        Err(fault) if fault.reason == Reason::EngineBadAnswer && *malformed < MALFORMED_MAX => {
            *malformed += 1;
            return Ok(());
        }
        Err(fault) => return Err(fault),
    };
    if let Some(chunk) = chunk {
        answer.take(chunk, chunks)?;
    }
    answer.end(chunks)?;
    *state = State::Tail(TAIL_MAX_BYTES);
    Ok(())
}

impl<D: Dialect> Stream for Reading<D> {
    type Item = Result<GenerateResponse, Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            match &mut this.state {
                State::Open => {
                    let mut chunks = Vec::new();
                    this.read(cx, &mut chunks);
                    if let State::Tail(_) = this.state {
                        this.deadline = Instant::now() + TAIL_TIMEOUT;
                        this.timer.as_mut().reset(this.deadline);
                    }
                    if !chunks.is_empty() {
                        if matches!(this.state, State::Open) {
                            this.heard();
                        }
                        return Poll::Ready(Some(Ok(GenerateResponse { chunks })));
                    }
                    if !matches!(this.state, State::Open) {
                        continue;
                    }
                    std::task::ready!(this.poll_timer(cx));
                    if this.cease(&mut chunks).is_err() {
                        this.state = State::Broken(silent());
                    }
                    if !chunks.is_empty() {
                        return Poll::Ready(Some(Ok(GenerateResponse { chunks })));
                    }
                }
                State::Tail(left) => {
                    let left = *left;
                    std::task::ready!(this.poll_tail(cx, left));
                    this.state = State::Ended;
                }
                State::Broken(_) => {
                    if let State::Broken(fault) = std::mem::replace(&mut this.state, State::Ended) {
                        return Poll::Ready(Some(Err(fault.of(&this.deployment))));
                    }
                }
                State::Ended => return Poll::Ready(None),
            }
        }
    }
}

impl<D: Dialect> Drop for Reading<D> {
    fn drop(&mut self) {
        if self.malformed > 0 {
            self.counter.inc_by(u64::from(self.malformed));
            let (deployment, frames) = (&*self.deployment, self.malformed);
            tracing::warn!(deployment, frames, "skipped frames of an answer that cannot be read");
        }
    }
}

impl<D: Dialect> std::fmt::Debug for Reading<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reading").field("deployment", &self.deployment).finish_non_exhaustive()
    }
}
