//! The simulated engine: a tool for tests of load and of faults, and an engine for the first request. Its answers are
//! deterministic, come at the pace of a model, fail as often as they are told to, and say what they are: nobody may
//! take it for a model.

mod luck;
mod schema;
mod script;
mod speech;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::{FutureExt as _, StreamExt as _, future::BoxFuture};
use penstock_chassis::CallContext;
use penstock_proto::{
    Reason, Violation,
    fingerprint::fingerprint,
    inference::v1::{
        CountTokensResponse, EmbedRequest, EmbedResponse, Embedding, GenerateRequest, ModerateRequest,
        ModerateResponse, Usage, prompt::Kind,
    },
};
use tokio::time::sleep;

pub(crate) use self::luck::Rates;
use self::{
    luck::{Fate, Numbers},
    script::Script,
    speech::{Break, Plan, Speech},
};
use super::{AnswerStream, Engine};
use crate::{
    answer::Answer,
    error::{Error, Fault},
    upstream::Limits,
};

/// What every answer begins with.
const WHAT_IT_IS: &str = "This is Penstock's simulated engine, not a language model.";
/// Members of a vector at most: four times those of the longest that are in use.
const DIMENSIONS_MAX: i64 = 16_384;

/// How it answers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Settings {
    /// Until the first word.
    pub(crate) delay: Duration,
    /// Words per second from then on.
    pub(crate) tokens_per_second: f64,
    /// Words of a text, from and to; `None`: what it has to say.
    pub(crate) length: Option<(u64, u64)>,
    /// How often what goes wrong.
    pub(crate) rates: Rates,
    /// What chance follows from.
    pub(crate) seed: u64,
    /// Members of a vector.
    pub(crate) dimensions: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            delay: Duration::ZERO,
            // Readable, and slow enough to see that it streams.
            tokens_per_second: 50.0,
            length: None,
            rates: Rates::default(),
            seed: 0,
            // As small as vectors in use are.
            dimensions: 256,
        }
    }
}

/// The simulated engine.
#[derive(Debug)]
pub(crate) struct Simulated {
    settings: Settings,
    deployment: Arc<str>,
    /// Silence is noticed after the same time as that of other engines.
    limits: Limits,
    clock: fn() -> i64,
    /// Requests so far.
    asked: AtomicU64,
}

impl Simulated {
    /// `clock` gives the time in Unix seconds.
    pub(crate) fn new(settings: Settings, deployment: Arc<str>, limits: Limits, clock: fn() -> i64) -> Self {
        Self { settings, deployment, limits, clock, asked: AtomicU64::new(0) }
    }

    /// Numbers for the next request, which all follow from the seed, the request and its place in the row.
    fn numbers(&self, request: u64) -> Numbers {
        Numbers::of(&[self.settings.seed, request, self.asked.fetch_add(1, Ordering::Relaxed)])
    }

    async fn failure(&self) -> Error {
        sleep(self.settings.delay).await;
        Fault::new(Reason::EngineFailed, "the simulated engine failed, as it was told").of(&self.deployment)
    }

    async fn answer(&self, request: &GenerateRequest) -> Result<AnswerStream, Error> {
        let first = fingerprint(request).iter().take(8).fold(0, |all, byte| all << 8 | u64::from(*byte));
        let mut numbers = self.numbers(first);
        let fate = self.settings.rates.fate(&mut numbers);
        let script = Script::of(request, self.settings.length, &mut numbers)?;
        let after = |numbers: &mut Numbers| {
            let words = script.len().saturating_sub(1) as u64;
            usize::try_from(numbers.within(0, words)).unwrap_or(0)
        };
        let breaks = match fate {
            Fate::Answer => None,
            Fate::Error => return Err(self.failure().await),
            Fate::Cut => Some(Break { after: after(&mut numbers), silence: None }),
            Fate::Stall => {
                let after = after(&mut numbers);
                let silence = match (request.stream, after) {
                    (false, _) => self.limits.answer_timeout,
                    (true, 0) => self.limits.first_token_timeout,
                    (true, _) => self.limits.stall_timeout,
                };
                Some(Break { after, silence: Some(silence) })
            }
        };
        let plan = Plan {
            answer: Answer::new(request, (self.clock)()),
            deployment: Arc::clone(&self.deployment),
            stream: request.stream,
            script,
            delay: self.settings.delay,
            tokens_per_second: self.settings.tokens_per_second,
            breaks,
        };
        Ok(Speech::new(plan).boxed())
    }

    async fn vectors(&self, request: &EmbedRequest) -> Result<EmbedResponse, Error> {
        let length = request.dimensions.unwrap_or(self.settings.dimensions.cast_signed());
        if !(1..=DIMENSIONS_MAX).contains(&length) {
            let message = format!("must be from 1 to {DIMENSIONS_MAX}");
            return Err(Error::Unsupported(vec![Violation::new("dimensions", message)]));
        }
        let texts = texts(request);
        let of_all = texts.iter().fold(0, |all, text| Numbers::of_text(all, text).next());
        if self.settings.rates.fate(&mut self.numbers(of_all)) == Fate::Error {
            return Err(self.failure().await);
        }
        sleep(self.settings.delay).await;
        let words: usize = texts.iter().map(|text| text.split_whitespace().count()).sum();
        let tokens = i64::try_from(words.max(1)).unwrap_or(i64::MAX);
        let vector = |text: &String| Embedding { values: unit_vector(self.settings.seed, text, length) };
        Ok(EmbedResponse {
            model: request.model.clone(),
            embeddings: texts.iter().map(vector).collect(),
            usage: Some(Usage { prompt_tokens: tokens, total_tokens: tokens, ..Usage::default() }),
            extensions: Vec::new(),
        })
    }
}

/// The texts of a request; tokens are texts of numbers.
fn texts(request: &EmbedRequest) -> Vec<String> {
    let numbers = |values: &[i64]| values.iter().map(i64::to_string).collect::<Vec<_>>().join(" ");
    match request.input.as_ref().and_then(|input| input.kind.as_ref()) {
        Some(Kind::Text(text)) => vec![text.clone()],
        Some(Kind::Texts(texts)) => texts.values.clone(),
        Some(Kind::Tokens(list)) => vec![numbers(&list.values)],
        Some(Kind::TokenLists(lists)) => lists.values.iter().map(|list| numbers(&list.values)).collect(),
        None => Vec::new(),
    }
}

/// A vector of length 1 that follows from the text.
fn unit_vector(seed: u64, text: &str, length: i64) -> Vec<f32> {
    let mut numbers = Numbers::of_text(seed, text);
    let values: Vec<f64> = (0..length).map(|_| numbers.fraction() - 0.5).collect();
    let norm = values.iter().map(|value| value * value).sum::<f64>().sqrt().max(f64::MIN_POSITIVE);
    #[allow(clippy::cast_possible_truncation)] // vectors are f32
    values.into_iter().map(|value| (value / norm) as f32).collect()
}

impl Engine for Simulated {
    fn generate<'a>(
        &'a self,
        request: &'a GenerateRequest,
        _: &'a CallContext,
    ) -> BoxFuture<'a, Result<AnswerStream, Error>> {
        self.answer(request).boxed()
    }

    fn embed<'a>(
        &'a self,
        request: &'a EmbedRequest,
        _: &'a CallContext,
    ) -> BoxFuture<'a, Result<EmbedResponse, Error>> {
        self.vectors(request).boxed()
    }

    fn moderate<'a>(
        &'a self,
        _: &'a ModerateRequest,
        _: &'a CallContext,
    ) -> BoxFuture<'a, Result<ModerateResponse, Error>> {
        std::future::ready(Err(Error::NotOffered("this engine judges nothing"))).boxed()
    }

    fn counts(&self) -> bool {
        true
    }

    fn count<'a>(
        &'a self,
        request: &'a GenerateRequest,
        _: &'a CallContext,
    ) -> BoxFuture<'a, Result<Option<CountTokensResponse>, Error>> {
        let input_tokens = script::prompt_tokens(request);
        std::future::ready(Ok(Some(CountTokensResponse { input_tokens, estimated: false }))).boxed()
    }

    fn check(&self, _timeout: Duration) -> BoxFuture<'_, Result<Duration, Fault>> {
        std::future::ready(Ok(Duration::ZERO)).boxed()
    }
}

#[cfg(test)]
mod tests;
