//! Plays one script on one connection.

use std::io;

use tokio::{io::AsyncWriteExt as _, net::tcp::OwnedWriteHalf};

use super::{Call, Head, Script, Shared, Step, dialect::Voice, wire};

/// What happens to the connection after a script.
#[derive(PartialEq, Eq)]
pub(super) enum After {
    KeepAlive,
    Close,
}

pub(super) struct Play<'a> {
    pub(super) shared: &'a Shared,
    pub(super) script: &'a Script,
    pub(super) voice: Voice,
    pub(super) call: &'a Call,
    pub(super) write: &'a mut OwnedWriteHalf,
}

impl Play<'_> {
    /// An error means that the client has gone.
    pub(super) async fn run(mut self) -> io::Result<After> {
        for step in &self.script.before_head {
            if self.pause_or_break(step).await {
                return Ok(After::Close);
            }
        }
        match &self.script.head {
            Head::Close => Ok(After::Close),
            Head::Status { status, headers, body } => {
                self.write.write_all(&wire::whole(*status, headers, body.as_bytes())).await?;
                Ok(After::KeepAlive)
            }
            Head::Raw(bytes) => {
                self.write.write_all(bytes).await?;
                self.raw().await
            }
            Head::Ok if self.voice.stream => self.stream().await,
            Head::Ok | Head::AlwaysPlain => self.plain().await,
        }
    }

    async fn stream(&mut self) -> io::Result<After> {
        wire::chunked_head(self.write, self.voice.stream_content_type()).await?;
        for step in &self.script.steps {
            if self.pause_or_break(step).await {
                return Ok(After::Close);
            }
            let bytes = match step {
                Step::Raw(bytes) => Some(bytes.clone()),
                step => self.voice.event(step).map(String::into_bytes),
            };
            if let Some(bytes) = bytes {
                wire::chunk(self.write, &bytes).await?;
                self.call.wrote_chunk();
            }
        }
        wire::last_chunk(self.write).await?;
        Ok(After::KeepAlive)
    }

    async fn raw(&mut self) -> io::Result<After> {
        for step in &self.script.steps {
            if self.pause_or_break(step).await {
                break;
            }
            if let Step::Raw(bytes) = step {
                self.write.write_all(bytes).await?;
                self.call.wrote_chunk();
            }
        }
        Ok(After::Close)
    }

    async fn plain(&mut self) -> io::Result<After> {
        let answer = wire::whole(200, &[], &self.voice.plain(&self.script.steps));
        for step in &self.script.steps {
            if matches!(step, Step::Cut | Step::Reset) {
                // All but the last byte: the length that was promised is not kept.
                self.write.write_all(&answer[..answer.len() - 1]).await?;
            }
            if self.pause_or_break(step).await {
                return Ok(After::Close);
            }
        }
        self.write.write_all(&answer).await?;
        self.call.wrote_chunk();
        Ok(After::KeepAlive)
    }

    /// Plays steps that say nothing; true: the connection is to be closed now.
    async fn pause_or_break(&mut self, step: &Step) -> bool {
        match step {
            Step::Wait(span) => tokio::time::sleep(*span).await,
            Step::Gate => self.shared.gate.acquire().await.unwrap().forget(),
            Step::Stall => std::future::pending().await,
            Step::Cut => return true,
            Step::Reset => {
                self.write.as_ref().set_zero_linger().ok();
                return true;
            }
            _ => {}
        }
        false
    }
}
