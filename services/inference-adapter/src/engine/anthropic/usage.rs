//! Tokens as the Messages API counts them: what its cache had or got is not among the input.

use penstock_proto::inference::v1::{Extension, Usage};
use serde::Deserialize;
use serde_json::json;

use crate::json::read::Count;

/// Tokens, as far as they are known.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Counted {
    input_tokens: Count,
    cache_creation_input_tokens: Count,
    cache_read_input_tokens: Count,
    output_tokens: Count,
    output_tokens_details: Option<OutputDetails>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
struct OutputDetails {
    thinking_tokens: Count,
}

impl Counted {
    /// Takes over what is known later: the numbers are totals.
    pub(super) fn update(&mut self, later: Counted) {
        let newer = |old: Count, new: Count| Count(new.0.or(old.0));
        *self = Counted {
            input_tokens: newer(self.input_tokens, later.input_tokens),
            cache_creation_input_tokens: newer(
                self.cache_creation_input_tokens,
                later.cache_creation_input_tokens,
            ),
            cache_read_input_tokens: newer(self.cache_read_input_tokens, later.cache_read_input_tokens),
            output_tokens: newer(self.output_tokens, later.output_tokens),
            output_tokens_details: later.output_tokens_details.or(self.output_tokens_details),
        };
    }

    /// `None`: the engine said nothing.
    pub(super) fn usage(self) -> Option<Usage> {
        let number = |count: Count| count.0.unwrap_or_default().max(0);
        let (input, output) = (self.input_tokens.0?, number(self.output_tokens));
        let (read, written) =
            (number(self.cache_read_input_tokens), number(self.cache_creation_input_tokens));
        // What the cache had, or got, is not among the input tokens here.
        let prompt_tokens = input.max(0).saturating_add(read).saturating_add(written);
        let details =
            |name: &str, json: serde_json::Value| Extension { name: name.into(), json: json.to_string() };
        let mut extensions = vec![details(
            "prompt_tokens_details",
            json!({"cached_tokens": read, "cache_write_tokens": written}),
        )];
        if let Some(thought) = self.output_tokens_details {
            let thought = json!({"reasoning_tokens": number(thought.thinking_tokens)});
            extensions.push(details("completion_tokens_details", thought));
        }
        Some(Usage {
            prompt_tokens,
            completion_tokens: output,
            total_tokens: prompt_tokens.saturating_add(output),
            estimated: false,
            extensions,
        })
    }
}
