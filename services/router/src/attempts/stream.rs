//! A generation up to its commit point: held back until its first content, and for as long after it as the model's
//! configuration says. What breaks until then was never seen by anybody.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use penstock_chassis::Channel;
use penstock_proto::{
    Error, Reason,
    inference::v1::{Choice, Delta, GenerateRequest, GenerateResponse, inference_client::InferenceClient},
};
use prost::Message as _;
use tokio::time::{Instant, timeout_at};
use tonic::{Status, Streaming};

use super::{Ask, Asking};
use crate::{config::HoldBack, load::Busy};

/// Most messages held back before the first content: roles and empty deltas, a handful in practice.
const HELD_BACK_MAX: usize = 64;
/// Most bytes held back after it, whatever the configuration says.
const HELD_BACK_MAX_BYTES: usize = 256 << 10;

/// A streamed answer at its commit point: what came up to the first content, and what is still to come.
pub(crate) type Stream = (Vec<GenerateResponse>, Rest);

/// What is still to come of an answer. Until it is dropped its deployment has a request more to work on.
#[derive(Debug)]
pub(crate) struct Rest {
    messages: Streaming<GenerateResponse>,
    over: bool,
    _busy: Busy,
}

impl tokio_stream::Stream for Rest {
    type Item = Result<GenerateResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.over {
            return Poll::Ready(None);
        }
        let next = ready!(Pin::new(&mut self.messages).poll_next(cx));
        self.over = next.is_none();
        Poll::Ready(next)
    }
}

impl Rest {
    async fn next(&mut self) -> Result<Option<GenerateResponse>, Status> {
        tokio_stream::StreamExt::next(self).await.transpose()
    }
}

impl Ask for GenerateRequest {
    type Answer = Stream;

    async fn ask(
        mut self,
        mut adapter: InferenceClient<Channel>,
        asking: &Asking<'_>,
    ) -> Result<Stream, Status> {
        self.model = asking.candidate.model.to_string();
        let busy = asking.candidate.deployment.load.enter();
        let messages = adapter.generate(asking.addressed(self)?).await?.into_inner();
        let mut rest = Rest { messages, over: false, _busy: busy };
        let mut held_back = Vec::new();
        while held_back.len() < HELD_BACK_MAX {
            let Some(message) = rest.next().await? else {
                let message = "the engine's answer ended before it began";
                return Err(Error::new(Reason::EngineCut, message).into());
            };
            let commits = choices(&message).any(has_content);
            held_back.push(message);
            if commits {
                break;
            }
        }
        Ok((held_back, rest))
    }

    fn is_streamed(&self) -> bool {
        self.stream
    }

    async fn hold_back((mut held_back, mut rest): Stream, more: HoldBack) -> Result<Stream, Status> {
        let until = Instant::now() + more.time;
        let mut chars: usize = held_back.iter().flat_map(choices).map(chars_of).sum();
        let mut bytes: usize = held_back.iter().map(GenerateResponse::encoded_len).sum();
        while chars < more.chars && bytes < HELD_BACK_MAX_BYTES {
            // A message that was begun is not lost with the wait for it: it stays in the stream.
            let Ok(next) = timeout_at(until, rest.next()).await else { break };
            let Some(message) = next? else { break };
            chars += choices(&message).map(chars_of).sum::<usize>();
            bytes += message.encoded_len();
            held_back.push(message);
        }
        Ok((held_back, rest))
    }

    fn is_filtered((held_back, _): &Stream) -> bool {
        let all = || held_back.iter().flat_map(choices);
        all().any(|choice| choice.finish_reason.as_deref() == Some("content_filter"))
            && !all().any(|choice| choice.delta.as_ref().is_some_and(says))
    }
}

fn choices(message: &GenerateResponse) -> impl Iterator<Item = &Choice> {
    message.chunks.iter().flat_map(|chunk| &chunk.choices)
}

/// Whether a caller has something of the answer in hand once it has this.
fn has_content(choice: &Choice) -> bool {
    choice.finish_reason.is_some() || choice.delta.as_ref().is_some_and(says)
}

fn says(delta: &Delta) -> bool {
    let filled = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    filled(&delta.content)
        || filled(&delta.refusal)
        || filled(&delta.reasoning)
        || !delta.tool_calls.is_empty()
        || delta.function_call.is_some()
        || !delta.extensions.is_empty()
}

/// Characters that a caller would read of it.
fn chars_of(choice: &Choice) -> usize {
    let Some(delta) = &choice.delta else { return 0 };
    let count = |text: &Option<String>| text.as_ref().map_or(0, |text| text.chars().count());
    let functions = delta.tool_calls.iter().filter_map(|call| call.function.as_ref());
    let arguments = functions.chain(&delta.function_call).map(|function| count(&function.arguments));
    let inputs =
        delta.tool_calls.iter().filter_map(|call| call.custom.as_ref()).map(|call| count(&call.input));
    count(&delta.content)
        + count(&delta.refusal)
        + count(&delta.reasoning)
        + arguments.sum::<usize>()
        + inputs.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use penstock_proto::inference::v1::{FunctionCall, ToolCall};

    use super::*;

    fn choice(delta: Delta) -> Choice {
        Choice { delta: Some(delta), ..Choice::default() }
    }

    #[test]
    fn roles_and_empty_deltas_do_not_commit_content_does() {
        let role = Delta { role: Some("assistant".into()), content: Some(String::new()), ..Delta::default() };
        assert!(!has_content(&choice(role)));
        assert!(!has_content(&Choice::default()));
        for delta in [
            Delta { content: Some("x".into()), ..Delta::default() },
            Delta { reasoning: Some("x".into()), ..Delta::default() },
            Delta { refusal: Some("x".into()), ..Delta::default() },
            Delta { tool_calls: vec![ToolCall::default()], ..Delta::default() },
            Delta { function_call: Some(FunctionCall::default()), ..Delta::default() },
        ] {
            assert!(has_content(&choice(delta)));
        }
        assert!(has_content(&Choice { finish_reason: Some("stop".into()), ..Choice::default() }));
    }

    #[test]
    fn characters_are_counted_not_bytes_and_calls_too() {
        let call = FunctionCall { arguments: Some("{}".into()), ..FunctionCall::default() };
        let tool = ToolCall { function: Some(call), ..ToolCall::default() };
        let delta = Delta { content: Some("äöü€".into()), tool_calls: vec![tool], ..Delta::default() };
        assert_eq!(chars_of(&choice(delta)), 6);
        assert_eq!(chars_of(&Choice::default()), 0);
    }
}
