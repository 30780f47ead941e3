//! Takes a chunk apart that says more at once than one chunk of a stream may say: first who speaks, then what,
//! then that it ends. Clients read streams by that order.

use penstock_proto::inference::v1::{Choice, Delta, GenerateChunk};

/// Puts the pieces of `chunk` into `out`, choice by choice. What the engine said beside the choices goes with the
/// last piece.
pub(super) fn split(mut chunk: GenerateChunk, out: &mut Vec<GenerateChunk>) {
    let choices = std::mem::take(&mut chunk.choices);
    let extensions = std::mem::take(&mut chunk.extensions);
    for mut choice in choices {
        let mut delta = choice.delta.take().unwrap_or_default();
        let index = choice.index;
        let mut put = |choice: Choice| out.push(GenerateChunk { choices: vec![choice], ..chunk.clone() });
        if let Some(role) = delta.role.take() {
            let opening = Delta { role: Some(role), content: Some(String::new()), ..Delta::default() };
            put(Choice { index, delta: Some(opening), ..Choice::default() });
        }
        let finish_reason = choice.finish_reason.take();
        // Log probabilities belong to a text; what else is said of the choice, such as why it ended, to its end.
        let logprobs_json = choice.logprobs_json.take();
        delta.content.take_if(|text| text.is_empty());
        if delta != Delta::default() || logprobs_json.is_some() {
            let said = Choice { index, delta: Some(delta), logprobs_json, ..Choice::default() };
            match finish_reason {
                Some(_) => put(said),
                None => put(Choice { extensions: std::mem::take(&mut choice.extensions), ..said }),
            }
        }
        if finish_reason.is_some() {
            put(Choice { delta: Some(Delta::default()), finish_reason, ..choice });
        }
    }
    if let Some(last) = out.last_mut() {
        last.extensions = extensions;
    }
}
