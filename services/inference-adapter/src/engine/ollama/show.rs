//! What Ollama says of a model (`POST /api/show`): asked once, before the first request, and free.

use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::HashMap;

/// The context where neither the deployment nor the model's own parameters say: holds a conversation with tools, and
/// takes a gigabyte beside a model of eight billion. The whole context of a modern model would not fit into
/// most machines.
pub(crate) const DEFAULT_CONTEXT_TOKENS: u64 = 8192;

/// What is known of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    /// Tokens of context to ask for.
    pub(crate) context_tokens: u64,
    /// Whether it can reason; `None`: an older Ollama, which does not say.
    pub(crate) thinks: Option<bool>,
    /// Whether its reasoning has levels.
    pub(crate) has_levels: bool,
}

/// Reads the answer; `None`: it is none.
pub(super) fn read(body: &[u8]) -> Option<Shown> {
    #[derive(Deserialize)]
    struct Show<'a> {
        parameters: Option<String>,
        #[serde(borrow, default)]
        model_info: HashMap<String, &'a RawValue>,
        capabilities: Option<Vec<String>>,
    }
    let show: Show<'_> = serde_json::from_slice(body).ok()?;
    let architecture = show.model_info.get("general.architecture");
    let architecture = architecture.and_then(|json| serde_json::from_str::<String>(json.get()).ok());
    let architecture = architecture.unwrap_or_default();
    let longest = show.model_info.get(&format!("{architecture}.context_length"));
    let longest = longest.and_then(|json| json.get().parse::<u64>().ok()).filter(|tokens| *tokens > 0);
    let parameter = show.parameters.as_deref().and_then(num_ctx);
    let fallback = longest.map_or(DEFAULT_CONTEXT_TOKENS, |longest| longest.min(DEFAULT_CONTEXT_TOKENS));
    Some(Shown {
        context_tokens: parameter.unwrap_or(fallback),
        thinks: show.capabilities.map(|all| all.iter().any(|one| one == "thinking")),
        has_levels: architecture == "gptoss",
    })
}

/// `num_ctx` of the parameters: lines of a name and a value.
fn num_ctx(parameters: &str) -> Option<u64> {
    let value = parameters.lines().find_map(|line| line.trim().strip_prefix("num_ctx"))?;
    value.trim().parse().ok().filter(|tokens| *tokens > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_context_is_the_models_parameter_else_a_default_that_it_can_hold() {
        let context = |json: &str| read(json.as_bytes()).map(|shown| shown.context_tokens);
        let info = r#""model_info":{"general.architecture":"llama","llama.context_length":131072,"x":null}"#;
        assert_eq!(context(&format!("{{{info}}}")), Some(8192));
        assert_eq!(
            context(&format!(r#"{{"parameters":"stop  \"x\"\nnum_ctx     32768",{info}}}"#)),
            Some(32768)
        );
        assert_eq!(
            context(r#"{"model_info":{"general.architecture":"bert","bert.context_length":512}}"#),
            Some(512)
        );
        assert_eq!(context("{}"), Some(8192));
        assert_eq!(context("[]"), None);
    }

    #[test]
    fn what_a_model_can_think_is_told_if_ollama_tells_it() {
        let shown = |json: &str| read(json.as_bytes()).unwrap();
        assert_eq!(shown("{}").thinks, None);
        assert_eq!(shown(r#"{"capabilities":["completion"]}"#).thinks, Some(false));
        let levels = shown(r#"{"capabilities":["thinking"],"model_info":{"general.architecture":"gptoss"}}"#);
        assert_eq!((levels.thinks, levels.has_levels), (Some(true), true));
    }
}
