//! Operations on responses.

use serde_json::Value;

/// Its paths.
pub(super) fn paths() -> Vec<(&'static str, Value)> {
    Vec::new()
}
