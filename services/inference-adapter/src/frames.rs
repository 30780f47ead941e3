//! Cutting an engine's byte stream into frames, one JSON text each. Knows neither JSON nor HTTP. What one
//! read gave is cut in place; only what a read left unfinished is copied, and that is bounded.

mod ndjson;
mod sse;

pub(crate) use ndjson::Ndjson;
pub(crate) use sse::Sse;

/// A frame is longer than the bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooLong;

/// Cuts a byte stream into frames.
pub(crate) trait Frames: Send + Unpin + 'static {
    /// A splitter whose unfinished frame holds at most `max` bytes.
    fn new(max: usize) -> Self;

    /// Takes what one read gave and calls `on_frame` for each frame that is whole now.
    ///
    /// # Errors
    /// A frame is too long, or `on_frame` refuses one; the splitter is of no use then.
    fn feed<E: From<TooLong>>(
        &mut self,
        bytes: &[u8],
        on_frame: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E>;

    /// Takes the end of the stream.
    ///
    /// # Errors
    /// `on_frame` refuses the last frame.
    fn finish<E: From<TooLong>>(&mut self, on_frame: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E>;
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{Frames, TooLong};

    /// Frames of `bytes` when they come in pieces that end at `cuts`.
    pub(crate) fn cut<F: Frames>(bytes: &[u8], cuts: &[usize], max: usize) -> Result<Vec<Vec<u8>>, TooLong> {
        let mut frames = F::new(max);
        let mut seen = Vec::new();
        let mut from = 0;
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
        cuts.sort_unstable();
        cuts.push(bytes.len());
        for to in cuts {
            frames.feed(&bytes[from..to], |frame| {
                seen.push(frame.to_vec());
                Ok::<_, TooLong>(())
            })?;
            from = to;
        }
        frames.finish(|frame| {
            seen.push(frame.to_vec());
            Ok::<_, TooLong>(())
        })?;
        Ok(seen)
    }
}
