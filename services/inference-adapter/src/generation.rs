//! Trying whether deployments generate: opt-in, for a check that exercises credential, name and model, which no list
//! shows. One token from time to time where no caller's request has just shown the same, within a day's budget of
//! tokens; never in a caller's place, never for a model that has to be loaded first or makes no texts.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use futures_util::{StreamExt as _, stream};
use penstock_chassis::{CallContext, Tasks};
use penstock_proto::{
    Reason,
    inference::v1::{
        Capabilities, ChatInput, GenerateRequest, Message, Prompt, TextInput, TextList,
        generate_request::Input, message::Content, prompt::Kind,
    },
};
use tokio::time::{Instant, sleep, timeout};

use crate::{
    budget::Budget, config::GenerationProbe, deployment::Deployment, fleet::Fleet, metrics::EngineMetrics,
    tally::Tally,
};

/// Generations that run at once.
const AT_ONCE: usize = 4;
/// The pause between two looks at what is due: at most this, so that what has just been found is soon tried.
const LOOK_MAX: Duration = Duration::from_secs(1);
/// Tokens that the first generation of a deployment may take: a template puts some around the prompt. Later ones
/// take as many as the one before. Only an engine that counts more of the same prompt can pass the day's budget.
const FIRST_TOKENS: u64 = 64;
/// What is asked: short, and harmless in any log.
const PROMPT: &str = "ping";

/// Tries whether deployments generate.
#[derive(Debug)]
pub(crate) struct Generations {
    config: GenerationProbe,
    fleet: Fleet,
    metrics: EngineMetrics,
    budget: Mutex<Budget>,
    known: Mutex<HashMap<Arc<str>, Known>>,
}

/// What is remembered of a deployment.
#[derive(Clone, Copy, Debug)]
struct Known {
    /// When it was last tried, or could not be.
    tried: Instant,
    /// The last one said something of the deployment, and nothing good.
    failed: bool,
    tokens: u64,
}

impl Generations {
    pub(crate) fn new(config: GenerationProbe, fleet: Fleet, metrics: EngineMetrics) -> Self {
        let budget = Mutex::new(Budget::new(config.tokens_per_day));
        Self { config, fleet, metrics, budget, known: Mutex::default() }
    }

    /// Tries what is due, until the process stops.
    pub(crate) fn start(self, tasks: &Tasks) {
        let stopping = tasks.stopping();
        let trying = async move {
            loop {
                let now = Instant::now();
                let table = self.fleet.table();
                self.forget(table.all());
                let due: Vec<_> = table.all().iter().filter(|one| self.is_due(one, now)).collect();
                stream::iter(due).for_each_concurrent(AT_ONCE, |one| self.try_out(one)).await;
                sleep(self.config.interval.min(LOOK_MAX)).await;
            }
        };
        tasks.spawn("generation probe", async move {
            stopping.run_until_cancelled(trying).await;
        });
    }

    fn is_due(&self, deployment: &Deployment, now: Instant) -> bool {
        let interval = self.config.interval;
        deployment.generation_probe
            // One that is not in memory would push out another that is in use.
            && deployment.loaded() != Some(false)
            && input(&deployment.capabilities()).is_some()
            && deployment.generation_due(interval, now).is_some_and(|due| due <= now)
            // One that said nothing of the deployment is not repeated at once either.
            && self.known(deployment).is_none_or(|known| known.failed || now >= known.tried + interval)
    }

    /// One generation; skipped without a word where there is no room, or no token left.
    async fn try_out(&self, deployment: &Arc<Deployment>) {
        let Some(input) = input(&deployment.capabilities()) else { return };
        if deployment.admission.is_full() {
            self.metrics.generation_probe("no_place");
            return self.note(deployment, false, None);
        }
        let request = request(deployment, input);
        let tally = Tally::new(request.clone());
        let expected = self.known(deployment).map_or(FIRST_TOKENS, |known| known.tokens);
        let Some(reserved) = self.budget().reserve(expected, SystemTime::now()) else {
            self.over_cap();
            return self.note(deployment, false, None);
        };
        let outcome = timeout(self.config.timeout, generate(deployment, &request, self.config.timeout)).await;
        let outcome = outcome.unwrap_or(Err(Reason::EngineTimeout));
        let (prompt, _) = tally.count();
        let guess = u64::try_from(prompt).unwrap_or(FIRST_TOKENS).saturating_add(1);
        let used = match outcome {
            Ok(Some(tokens)) => tokens,
            Err(reason) if is_free(reason) => 0,
            Ok(None) | Err(_) => guess,
        };
        self.budget().settle(&reserved, used);
        self.metrics.generation_probe(outcome.map_or_else(Reason::as_str, |_| "ok"));
        self.metrics.generation_probe_tokens(used);
        if let Err(reason) = outcome {
            let (id, reason) = (&deployment.id, reason.as_str());
            tracing::info!(deployment = %id, reason, "a generation that was to show health failed");
        }
        let outcome = outcome.map(drop);
        self.fleet.generated(deployment, outcome, (self.config.interval, self.config.timeout));
        self.note(deployment, outcome.is_err_and(Deployment::blames), Some(used).filter(|used| *used > 0));
    }

    /// Says once a day that there is nothing left.
    fn over_cap(&self) {
        self.metrics.generation_probe("over_cap");
        if self.budget().is_news() {
            let hours = Budget::left_of_day(SystemTime::now()).as_secs().div_ceil(3600);
            tracing::warn!(
                hours,
                "the day's tokens for generations that show health are used up: none for so many hours, raise \
                 inference_adapter.generation_probe.tokens_per_day"
            );
        }
    }

    /// Remembers that it was tried, and what that took.
    fn note(&self, deployment: &Deployment, failed: bool, tokens: Option<u64>) {
        let mut all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let before = all.get(&deployment.id).map_or(FIRST_TOKENS, |known| known.tokens);
        let known = Known { tried: Instant::now(), failed, tokens: tokens.unwrap_or(before) };
        all.insert(Arc::clone(&deployment.id), known);
    }

    /// Forgets deployments that are gone.
    fn forget(&self, there: &[Arc<Deployment>]) {
        let mut all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|id, _| there.binary_search_by(|one| one.id.cmp(id)).is_ok());
    }

    fn known(&self, deployment: &Deployment) -> Option<Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&deployment.id).copied()
    }

    fn budget(&self) -> std::sync::MutexGuard<'_, Budget> {
        self.budget.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Generates; tokens by the engine's count, if it counts.
async fn generate(
    deployment: &Deployment,
    request: &GenerateRequest,
    at_most: Duration,
) -> Result<Option<u64>, Reason> {
    let context = CallContext::background(at_most);
    let reason = |error: crate::Error| error.reason();
    let mut answer = deployment.engine.generate(request, &context).await.map_err(reason)?;
    let mut tokens = None;
    while let Some(message) = answer.next().await {
        let usage = message.map_err(reason)?.chunks.into_iter().filter_map(|chunk| chunk.usage).next_back();
        let counted = usage.filter(|usage| usage.prompt_tokens > 0);
        let counted = counted.map(|usage| usage.prompt_tokens.saturating_add(usage.completion_tokens));
        tokens = counted.and_then(|counted| u64::try_from(counted).ok()).or(tokens);
    }
    Ok(tokens)
}

/// Reasons for which no engine has generated anything.
fn is_free(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::EngineUnreachable
            | Reason::EngineCredentials
            | Reason::EngineModelMissing
            | Reason::EngineRejected
            | Reason::EngineOverloaded
            | Reason::ModelLoading
            | Reason::InvalidRequest
            | Reason::Unsupported
            | Reason::NotOffered
    )
}

/// What a model is asked that can do this; `None`: it makes no texts.
fn input(can: &Capabilities) -> Option<Input> {
    let other = can.embeddings == Some(true) || can.moderations == Some(true);
    let chats = can.chat.unwrap_or(!other && can.completions != Some(true));
    let continues = can.completions.unwrap_or(false);
    if chats {
        let content = Some(Content::Text(PROMPT.to_owned()));
        let message = Message { role: "user".to_owned(), content, ..Message::default() };
        Some(Input::Chat(ChatInput { messages: vec![message] }))
    } else if continues {
        let prompt = Prompt { kind: Some(Kind::Texts(TextList { values: vec![PROMPT.to_owned()] })) };
        Some(Input::Text(TextInput { prompt: Some(prompt), ..TextInput::default() }))
    } else {
        None
    }
}

fn request(deployment: &Deployment, input: Input) -> GenerateRequest {
    let continues = matches!(input, Input::Text(_));
    GenerateRequest {
        model: deployment.model.clone(),
        input: Some(input),
        // The older name is the only one that there is for texts.
        max_tokens: continues.then_some(1),
        max_completion_tokens: (!continues).then_some(1),
        ..GenerateRequest::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_makes_texts_is_asked_for_texts() {
        let can = Capabilities::default();
        let (yes, no) = (Some(true), Some(false));
        for chat in [can, Capabilities { chat: yes, embeddings: yes, ..can }] {
            assert!(matches!(input(&chat), Some(Input::Chat(_))), "{chat:?}");
        }
        for text in [
            Capabilities { completions: yes, ..can },
            Capabilities { chat: no, completions: yes, embeddings: yes, ..can },
        ] {
            assert!(matches!(input(&text), Some(Input::Text(_))), "{text:?}");
        }
        for none in [
            Capabilities { embeddings: yes, ..can },
            Capabilities { moderations: yes, ..can },
            Capabilities { chat: no, ..can },
            Capabilities { chat: no, completions: no, embeddings: yes, ..can },
        ] {
            assert_eq!(input(&none), None, "{none:?}");
        }
    }
}
