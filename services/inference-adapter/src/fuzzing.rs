//! Doors for the fuzz targets in `tests/fuzz`. Not there in any other build.

use penstock_proto::inference::v1::{GenerateChunk, GenerateRequest};

use crate::{
    engine::{Dialect, Frame, Ollama, OpenAi, Reader as _, Target},
    frames::{Frames, Ndjson, Sse, TooLong},
};

/// Frames of `pieces`, each of which is what one read gave; `None` if one has more than `max` bytes.
fn frames<F: Frames>(pieces: &[&[u8]], max: usize) -> Option<Vec<Vec<u8>>> {
    let mut frames = F::new(max);
    let mut seen = Vec::new();
    let mut keep = |frame: &[u8]| -> Result<(), TooLong> {
        seen.push(frame.to_vec());
        Ok(())
    };
    for piece in pieces {
        frames.feed(piece, &mut keep).ok()?;
    }
    frames.finish(&mut keep).ok()?;
    Some(seen)
}

/// Data of server-sent events.
pub fn sse(pieces: &[&[u8]], max: usize) -> Option<Vec<Vec<u8>>> {
    frames::<Sse>(pieces, max)
}

/// Lines of newline-delimited JSON.
pub fn ndjson(pieces: &[&[u8]], max: usize) -> Option<Vec<Vec<u8>>> {
    frames::<Ndjson>(pieces, max)
}

/// What OpenAI-compatible engines and Ollama are asked for `request`; nothing of one that cannot be asked.
pub fn write_requests(request: &GenerateRequest) -> Vec<Vec<u8>> {
    let Ok(endpoint) = reqwest::Url::parse("http://engine") else { return Vec::new() };
    let target = Target::of("fuzz".into(), endpoint, "engine-model".into());
    let asked = [OpenAi::generate(request, &target), Ollama::generate(request, &target)];
    asked.into_iter().filter_map(|ask| Some(ask.ok()?.body)).collect()
}

/// Reads a frame as each dialect does; nothing of what it refuses.
pub fn read_frames(frame: &[u8]) -> Vec<GenerateChunk> {
    let read = [
        <OpenAi as Dialect>::Reader::default().frame(frame),
        <Ollama as Dialect>::Reader::default().frame(frame),
    ];
    read.into_iter()
        .filter_map(|frame| match frame {
            Ok(Frame::Piece(chunk) | Frame::Last(chunk)) => Some(chunk),
            Ok(Frame::Done) | Err(_) => None,
        })
        .collect()
}
