//! What `/api/show` says of a model: what it was made for, and how long its context may be.

use penstock_proto::inference::v1::Capabilities;
use serde_json::Value;

/// Reads an answer of `/api/show`; what is of another shape than expected says nothing.
pub(super) fn read(body: &[u8]) -> Capabilities {
    let Ok(show) = serde_json::from_slice::<Value>(body) else { return Capabilities::default() };
    let info = show.get("model_info").and_then(Value::as_object);
    let context_tokens = info.and_then(|info| {
        let length = info.iter().find(|(name, _)| name.ends_with(".context_length"))?.1;
        length.as_i64().filter(|tokens| *tokens > 0)
    });
    // Versions before 0.6.4 do not say.
    let Some(capabilities) = show.get("capabilities").and_then(Value::as_array) else {
        return Capabilities { context_tokens, ..Capabilities::default() };
    };
    let has = |name: &str| capabilities.iter().any(|one| one == name);
    Capabilities {
        chat: Some(has("completion")),
        // A model that answers makes vectors too: only yes is certain.
        embeddings: has("embedding").then_some(true),
        tools: Some(has("tools")),
        vision: Some(has("vision")),
        audio: has("audio").then_some(true),
        reasoning: Some(has("thinking")),
        context_tokens,
        ..Capabilities::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_model_was_made_for_is_read() {
        let said = read(
            br#"{"capabilities":["completion","tools"],"model_info":{"general.architecture":"llama",
            "llama.context_length":131072}}"#,
        );
        assert_eq!((said.chat, said.tools, said.vision), (Some(true), Some(true), Some(false)));
        assert_eq!((said.embeddings, said.context_tokens), (None, Some(131_072)));
        let embedder = read(br#"{"capabilities":["embedding"]}"#);
        assert_eq!((embedder.chat, embedder.embeddings), (Some(false), Some(true)));
    }

    #[test]
    fn what_is_not_said_stays_open() {
        let old = read(br#"{"model_info":{"qwen2.context_length":32768}}"#);
        assert_eq!(old, Capabilities { context_tokens: Some(32_768), ..Capabilities::default() });
        for odd in ["", "[]", "{}", r#"{"capabilities":7,"model_info":[]}"#] {
            assert_eq!(read(odd.as_bytes()), Capabilities::default(), "{odd}");
        }
    }
}
