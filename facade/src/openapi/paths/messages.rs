//! Operations of Anthropic's API.

use serde_json::Value;

/// Its paths.
pub(super) fn paths() -> Vec<(&'static str, Value)> {
    Vec::new()
}
