//! What a model can do: what at least one of its deployments can.

use penstock_proto::inference::v1::Capabilities;

/// The sum of what is known of each deployment. None: nothing is known of any.
pub(crate) fn of_all(deployments: impl Iterator<Item = Option<Capabilities>>) -> Option<Capabilities> {
    let mut all = deployments.map(Option::unwrap_or_default);
    let first = all.next()?;
    let sum = all.fold(first, |sum, other| Capabilities {
        chat: either(sum.chat, other.chat),
        completions: either(sum.completions, other.completions),
        embeddings: either(sum.embeddings, other.embeddings),
        moderations: either(sum.moderations, other.moderations),
        tools: either(sum.tools, other.tools),
        vision: either(sum.vision, other.vision),
        audio: either(sum.audio, other.audio),
        json_schema: either(sum.json_schema, other.json_schema),
        prefill: either(sum.prefill, other.prefill),
        logprobs: either(sum.logprobs, other.logprobs),
        multiple_choices: either(sum.multiple_choices, other.multiple_choices),
        reasoning: either(sum.reasoning, other.reasoning),
        context_tokens: sum.context_tokens.max(other.context_tokens),
    });
    (sum != Capabilities::default()).then_some(sum)
}

/// That nobody can is known only if it is known of all.
fn either(one: Option<bool>, other: Option<bool>) -> Option<bool> {
    match (one, other) {
        (Some(true), _) | (_, Some(true)) => Some(true),
        (Some(false), Some(false)) => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_can_is_enough_and_one_that_may_leaves_it_open() {
        let tools =
            |tools, context_tokens| Some(Capabilities { tools, context_tokens, ..Capabilities::default() });
        for (deployments, expected) in [
            (vec![], None),
            (vec![None, None], None),
            (vec![tools(None, None)], None),
            (vec![tools(Some(false), Some(8)), None, tools(Some(true), Some(4))], tools(Some(true), Some(8))),
            (vec![tools(Some(false), None), tools(Some(false), Some(4))], tools(Some(false), Some(4))),
            (vec![tools(Some(false), Some(4)), None], tools(None, Some(4))),
            (vec![tools(Some(false), None), None], None),
        ] {
            assert_eq!(of_all(deployments.iter().copied()), expected, "{deployments:?}");
        }
    }
}
