//! What a model can do: as the file declares it, as its engine says it, as its dialect implies it; what stands
//! first wins. Of each capability: yes, no, or nobody said.

use penstock_chassis::config::Section;
use penstock_proto::inference::v1::Capabilities;

use crate::engine::Kind;

macro_rules! merge {
    ($upper:ident, $lower:ident: $($field:ident),*) => {
        Capabilities { $($field: $upper.$field.or($lower.$field),)* }
    };
}

/// What `upper` says, and where it says nothing, what `lower` says.
pub(crate) fn over(upper: &Capabilities, lower: &Capabilities) -> Capabilities {
    merge!(upper, lower: chat, completions, embeddings, moderations, tools, vision, audio, json_schema, prefill,
        logprobs, multiple_choices, reasoning, context_tokens)
}

/// What every engine of the kind can do, or none, whatever its model.
pub(crate) fn implied(kind: Kind) -> Capabilities {
    let (yes, no) = (Some(true), Some(false));
    match kind {
        Kind::Anthropic => Capabilities {
            chat: yes,
            completions: no,
            embeddings: no,
            moderations: no,
            audio: no,
            logprobs: no,
            multiple_choices: no,
            prefill: yes,
            ..Capabilities::default()
        },
        Kind::Ollama => {
            Capabilities { moderations: no, multiple_choices: no, prefill: yes, ..Capabilities::default() }
        }
        // llama-server gave one choice for years; a newer one is declared: `multiple_choices = true`.
        Kind::LlamaCpp => {
            Capabilities { moderations: no, multiple_choices: no, prefill: yes, ..Capabilities::default() }
        }
        Kind::Vllm => Capabilities { moderations: no, prefill: yes, ..Capabilities::default() },
        Kind::OpenAi | Kind::Penstock | Kind::Simulated => Capabilities::default(),
    }
}

/// Reads `capabilities = { tools = true, … }` of a deployment.
pub(crate) fn read(section: &mut Section) -> Capabilities {
    let Some(mut table) = section.optional_table("capabilities") else { return Capabilities::default() };
    let mut flag = |key: &str| {
        let given = table.has(key);
        let said = table.boolean(key, false);
        given.then_some(said)
    };
    Capabilities {
        chat: flag("chat"),
        completions: flag("completions"),
        embeddings: flag("embeddings"),
        moderations: flag("moderations"),
        tools: flag("tools"),
        vision: flag("vision"),
        audio: flag("audio"),
        json_schema: flag("json_schema"),
        prefill: flag("prefill"),
        logprobs: flag("logprobs"),
        multiple_choices: flag("multiple_choices"),
        reasoning: flag("reasoning"),
        context_tokens: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_first_wins_and_nothing_said_says_nothing() {
        let declared = Capabilities { tools: Some(false), ..Capabilities::default() };
        let found = Capabilities { tools: Some(true), vision: Some(true), ..Capabilities::default() };
        let both = over(&declared, &over(&found, &implied(Kind::Anthropic)));
        assert_eq!((both.tools, both.vision, both.logprobs), (Some(false), Some(true), Some(false)));
        assert_eq!((both.json_schema, both.context_tokens), (None, None));
        assert_eq!(implied(Kind::OpenAi), Capabilities::default());
        // Whoever goes on from what another one said must be known to do so.
        for kind in [Kind::Vllm, Kind::LlamaCpp, Kind::Ollama, Kind::Anthropic] {
            assert_eq!(implied(kind).prefill, Some(true), "{kind:?}");
        }
    }
}
