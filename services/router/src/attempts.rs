//! Asks one deployment after the other until one gives its first content: the commit point. Before it a
//! failure that the reason table lets fall back is invisible; after it the answer is that deployment's.

use penstock_chassis::{CallContext, Channel};
use penstock_proto::{
    Error, Reason,
    inference::v1::{Choice, GenerateRequest, GenerateResponse, inference_client::InferenceClient},
    metadata::{DEPLOYMENT, QUEUE, TENANT, TOKENS},
    router::v1::AttemptKind,
};
use tonic::{Request, Status, Streaming};

use crate::{
    decision::{Candidate, Route},
    decisions::Trail,
    resume::Resumed,
};

/// Most messages held back before the first content: roles and empty deltas, a handful in practice.
const HELD_BACK_MAX: usize = 64;

/// What every attempt of a request needs to know of it.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) context: CallContext,
    /// Who waits for a place on a deployment.
    pub(crate) tenant: String,
    /// Where the attempts are noted.
    pub(crate) trail: Trail,
}

/// How a deployment is to be asked.
#[derive(Clone, Debug)]
pub(crate) struct Asking<'a> {
    pub(crate) caller: &'a Caller,
    pub(crate) candidate: &'a Candidate,
    /// Estimated tokens, prompt and answer together.
    pub(crate) tokens: u64,
    /// It may wait for a place there: there is nowhere else to go.
    pub(crate) may_queue: bool,
}

/// What deployments are asked.
pub(crate) trait Ask: Clone + Default + Send {
    /// The answer at its commit point.
    type Answer: Send;

    /// Puts it to the adapter, under the name that the answer is to carry.
    fn ask(
        self,
        adapter: InferenceClient<Channel>,
        asking: &Asking<'_>,
    ) -> impl Future<Output = Result<Self::Answer, Status>> + Send;
}

/// An answer at its commit point.
#[derive(Debug)]
pub(crate) struct Begun<A> {
    /// Who gives it.
    pub(crate) candidate: Candidate,
    /// The answer.
    pub(crate) answer: A,
    /// How many failed before it.
    pub(crate) failures: usize,
    /// Where else the request may go, if the answer breaks.
    pub(crate) left: Route,
}

/// A streamed answer at its commit point: what came up to the first content, and what is still to come.
pub(crate) type Stream = (Vec<GenerateResponse>, Streaming<GenerateResponse>);

/// Puts requests to deployments. One per router, cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Dispatch {
    pub(crate) adapter: InferenceClient<Channel>,
    /// Most deployments asked for one request.
    pub(crate) attempts: usize,
    /// Counts answers that broke and were gone on with.
    pub(crate) resumed: Resumed,
}

impl Dispatch {
    /// Asks the candidates of a route in turn.
    ///
    /// # Errors
    /// That of the last candidate asked, and how many failed.
    pub(crate) async fn begin<R: Ask>(
        &self,
        caller: &Caller,
        mut request: R,
        mut route: Route,
    ) -> Result<Begun<R::Answer>, (Error, usize)> {
        let mut failures = 0;
        let mut last = Error::new(Reason::ModelUnavailable, "no deployment of the model is available");
        let mut candidates = std::mem::take(&mut route.candidates);
        leave_out(&mut candidates, self.attempts);
        let most = candidates.len();
        let mut candidates = candidates.into_iter();
        let mut index = 0;
        while let Some(candidate) = candidates.next() {
            if caller.context.remaining().is_some_and(|left| left.is_zero()) {
                last = Error::new(Reason::DeadlineExceeded, "the deadline passed");
                break;
            }
            // The last attempt takes the request: most requests have but one, and a prompt may be large.
            index += 1;
            let message = if index == most { std::mem::take(&mut request) } else { request.clone() };
            let asking = Asking { caller, candidate: &candidate, tokens: route.tokens, may_queue: true };
            match self.one(&asking, message, AttemptKind::First).await {
                Ok(answer) => {
                    route.candidates = candidates.collect();
                    return Ok(Begun { candidate, answer, failures, left: route });
                }
                Err(error) => {
                    last = error;
                    failures += 1;
                    if !last.reason.remedy().fallback {
                        break;
                    }
                }
            }
        }
        Err((last, failures))
    }

    /// Asks one candidate, once.
    ///
    /// # Errors
    /// It gave no answer.
    pub(crate) async fn one<R: Ask>(
        &self,
        asking: &Asking<'_>,
        request: R,
        kind: AttemptKind,
    ) -> Result<R::Answer, Error> {
        let noted = asking.caller.trail.begin(asking.candidate, kind);
        match request.ask(self.adapter.clone(), asking).await {
            Ok(answer) => {
                noted.end("OK");
                Ok(answer)
            }
            Err(status) => {
                let error = Error::from(&status);
                noted.end(error.reason.as_str());
                let (deployment, reason) = (asking.candidate.id(), error.reason.as_str());
                tracing::info!(deployment, reason, "a deployment gave no answer");
                Err(error)
            }
        }
    }
}

/// Keeps `most` candidates in their order; where some have to go, those that are known not to work go first, so
/// that they do not take the place of a fallback that works.
fn leave_out(candidates: &mut Vec<Candidate>, most: usize) {
    let mut spare = candidates.len().saturating_sub(most);
    let mut index = candidates.len();
    while spare > 0 && index > 0 {
        index -= 1;
        if candidates.get(index).is_some_and(|candidate| candidate.deployment.is_down()) {
            candidates.remove(index);
            spare -= 1;
        }
    }
    candidates.truncate(most);
}

impl Ask for GenerateRequest {
    type Answer = Stream;

    async fn ask(
        mut self,
        mut adapter: InferenceClient<Channel>,
        asking: &Asking<'_>,
    ) -> Result<Stream, Status> {
        self.model = asking.candidate.model.to_string();
        let mut answer = adapter.generate(asking.addressed(self)?).await?.into_inner();
        let mut held_back = Vec::new();
        while held_back.len() < HELD_BACK_MAX {
            let Some(message) = answer.message().await? else { break };
            let commits = message.chunks.iter().flat_map(|chunk| &chunk.choices).any(has_content);
            held_back.push(message);
            if commits {
                break;
            }
        }
        Ok((held_back, answer))
    }
}

impl Asking<'_> {
    /// `message` as a call that the candidate is to answer.
    pub(crate) fn addressed<T>(&self, message: T) -> Result<Request<T>, Status> {
        let mut request = self.caller.context.request(message);
        let deployment = self.candidate.id().parse().map_err(|_| {
            Status::from(Error::new(Reason::Internal, "the deployment's id cannot be sent as metadata"))
        })?;
        let metadata = request.metadata_mut();
        metadata.insert(DEPLOYMENT, deployment);
        metadata.insert(TOKENS, self.tokens.into());
        // A tenant that metadata cannot hold waits with the nameless ones.
        if let Ok(tenant) = self.caller.tenant.parse() {
            metadata.insert(TENANT, tenant);
        }
        if !self.may_queue {
            metadata.insert(QUEUE, tonic::metadata::MetadataValue::from_static("no"));
        }
        Ok(request)
    }
}

/// Whether a caller has something of the answer in hand once it has this.
fn has_content(choice: &Choice) -> bool {
    let filled = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    choice.finish_reason.is_some()
        || choice.delta.as_ref().is_some_and(|delta| {
            filled(&delta.content)
                || filled(&delta.refusal)
                || filled(&delta.reasoning)
                || !delta.tool_calls.is_empty()
                || delta.function_call.is_some()
                || !delta.extensions.is_empty()
        })
}

#[cfg(test)]
mod tests {
    use penstock_proto::{
        inference::v1::{Delta, FunctionCall, ToolCall},
        status::v1::State,
    };

    use super::*;
    use crate::registry::Deployment;

    #[test]
    fn those_that_are_down_do_not_take_the_place_of_a_fallback() {
        let candidate = |id: &str, down| {
            let state = if down { State::Down } else { State::Up };
            let deployment = Deployment { id: id.into(), state, ..Deployment::default() };
            Candidate { model: "m".into(), deployment: deployment.into() }
        };
        let left = |most| {
            let all = [("up", false), ("down", true), ("lost", true), ("fallback", false), ("gone", true)];
            let mut candidates: Vec<_> = all.map(|(id, down)| candidate(id, down)).into();
            leave_out(&mut candidates, most);
            candidates.into_iter().map(|candidate| candidate.id().to_owned()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(left(9), "up down lost fallback gone");
        assert_eq!(left(4), "up down lost fallback");
        assert_eq!(left(3), "up down fallback");
        assert_eq!(left(2), "up fallback");
        assert_eq!(left(1), "up");
    }

    #[test]
    fn roles_and_empty_deltas_do_not_commit_content_does() {
        let choice = |delta| Choice { delta: Some(delta), ..Choice::default() };
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
}
