//! Moments and spans as every body of ours writes them.

use prost_types::{Duration, Timestamp};
use serde::{Serialize, Serializer};

/// A moment as RFC 3339, to the millisecond: what clients' libraries read.
pub(crate) struct At(pub(crate) Timestamp);

impl Serialize for At {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let nanos = self.0.nanos / 1_000_000 * 1_000_000;
        serializer.collect_str(&Timestamp { seconds: self.0.seconds, nanos })
    }
}

/// A span in milliseconds; `None` for none, or one before its beginning.
pub(crate) fn millis(span: Option<&Duration>) -> Option<f64> {
    let span = std::time::Duration::try_from(*span?).ok()?;
    // Whole microseconds: more digits than that are noise.
    Some((span.as_secs_f64() * 1e6).round() / 1e3)
}
