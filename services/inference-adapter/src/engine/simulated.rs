//! The simulated engine: a deterministic answer that says what it is, at the pace of a model. It is there so
//! that a first request is answered and tests have an engine; nobody may take it for a model.

use std::{
    future::Future as _,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{FutureExt as _, Stream, StreamExt as _, future::BoxFuture};
use penstock_chassis::CallContext;
use penstock_proto::inference::v1::{
    Choice, Delta, EmbedRequest, EmbedResponse, GenerateChunk, GenerateRequest, GenerateResponse,
    ModerateRequest, ModerateResponse, StopSequences, Usage, generate_request::Input, message::Content,
    stop_sequences::Kind,
};
use tokio::time::{Instant, Sleep, sleep_until};

use super::{AnswerStream, Engine};
use crate::{
    answer::Answer,
    error::{Error, Fault},
};

/// What every answer begins with.
const WHAT_IT_IS: &str = "This is Penstock's simulated engine, not a language model.";
/// Characters of the last message that are repeated: enough to see that it came through.
const REPEATED_MAX_CHARS: usize = 500;
/// Choices that are made at most, as many as a request may ask for.
const CHOICES_MAX: i64 = 128;

/// How fast it answers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Pace {
    /// Until the first word.
    pub(crate) delay: Duration,
    /// Words per second from then on.
    pub(crate) tokens_per_second: f64,
}

/// The simulated engine.
#[derive(Debug)]
pub(crate) struct Simulated {
    pace: Pace,
    deployment: Arc<str>,
    clock: fn() -> i64,
}

impl Simulated {
    /// `clock` gives the time in Unix seconds.
    pub(crate) fn new(pace: Pace, deployment: Arc<str>, clock: fn() -> i64) -> Self {
        Self { pace, deployment, clock }
    }
}

impl Engine for Simulated {
    fn generate<'a>(
        &'a self,
        request: &'a GenerateRequest,
        _: &'a CallContext,
    ) -> BoxFuture<'a, Result<AnswerStream, Error>> {
        let script = Script::of(request);
        let speech = Speech {
            answer: Answer::new(request, (self.clock)()),
            deployment: Arc::clone(&self.deployment),
            stream: request.stream,
            pace: self.pace,
            began: Instant::now(),
            timer: Box::pin(sleep_until(Instant::now() + self.pace.delay)),
            script,
            said: 0,
            ended: false,
        };
        std::future::ready(Ok(speech.boxed())).boxed()
    }

    fn embed<'a>(
        &'a self,
        _: &'a EmbedRequest,
        _: &'a CallContext,
    ) -> BoxFuture<'a, Result<EmbedResponse, Error>> {
        std::future::ready(Err(Error::NotOffered("this engine makes no vectors"))).boxed()
    }

    fn moderate<'a>(
        &'a self,
        _: &'a ModerateRequest,
        _: &'a CallContext,
    ) -> BoxFuture<'a, Result<ModerateResponse, Error>> {
        std::future::ready(Err(Error::NotOffered("this engine judges nothing"))).boxed()
    }

    fn check(&self, _timeout: Duration) -> BoxFuture<'_, Result<(), Fault>> {
        std::future::ready(Ok(())).boxed()
    }
}

/// What is to be said.
#[derive(Debug, PartialEq)]
struct Script {
    words: Vec<String>,
    finish_reason: &'static str,
    choices: i64,
    prompt_tokens: i64,
}

impl Script {
    fn of(request: &GenerateRequest) -> Self {
        let messages = match &request.input {
            Some(Input::Chat(chat)) => chat.messages.as_slice(),
            Some(Input::Text(_)) | None => &[],
        };
        let text = |content: &Option<Content>| match content {
            Some(Content::Text(text)) => text.clone(),
            Some(Content::Parts(parts)) => {
                parts.parts.iter().filter_map(|part| part.text.as_deref()).collect::<Vec<_>>().join(" ")
            }
            None => String::new(),
        };
        let prompt_tokens: usize =
            messages.iter().map(|message| text(&message.content).split_whitespace().count()).sum();
        let last = messages.iter().rev().find(|message| message.role == "user");
        let last: String = last
            .map(|message| text(&message.content))
            .unwrap_or_default()
            .chars()
            .take(REPEATED_MAX_CHARS)
            .collect();
        let full = format!("{WHAT_IT_IS} You said: {last}");
        let (full, mut finish_reason) = (stopped(full, request.stop.as_ref()), "stop");
        let mut words: Vec<String> = full.split_inclusive(' ').map(str::to_owned).collect();
        let most = request.max_completion_tokens.or(request.max_tokens).unwrap_or(i64::MAX);
        let most = usize::try_from(most).unwrap_or(0);
        if words.len() > most {
            words.truncate(most);
            finish_reason = "length";
        }
        Self {
            words,
            finish_reason,
            choices: request.n.unwrap_or(1).clamp(1, CHOICES_MAX),
            prompt_tokens: i64::try_from(prompt_tokens).unwrap_or(i64::MAX),
        }
    }

    fn usage(&self) -> Usage {
        let completion_tokens =
            i64::try_from(self.words.len()).unwrap_or(i64::MAX).saturating_mul(self.choices);
        Usage {
            prompt_tokens: self.prompt_tokens,
            completion_tokens,
            total_tokens: self.prompt_tokens.saturating_add(completion_tokens),
            estimated: true,
            ..Usage::default()
        }
    }

    /// A piece of every choice.
    fn piece(&self, text: String, finish_reason: Option<&str>) -> impl Iterator<Item = GenerateChunk> {
        let finish_reason = finish_reason.map(str::to_owned);
        (0..self.choices).map(move |index| {
            let delta = Delta { content: Some(text.clone()), ..Delta::default() };
            let finish_reason = finish_reason.clone();
            let choice = Choice { index, delta: Some(delta), finish_reason, ..Choice::default() };
            GenerateChunk { choices: vec![choice], ..GenerateChunk::default() }
        })
    }
}

/// `text` up to the first stop sequence.
fn stopped(mut text: String, stop: Option<&StopSequences>) -> String {
    let stops = match stop.and_then(|stop| stop.kind.as_ref()) {
        Some(Kind::Text(text)) => std::slice::from_ref(text),
        Some(Kind::List(list)) => list.values.as_slice(),
        None => &[],
    };
    let first =
        stops.iter().filter(|stop| !stop.is_empty()).filter_map(|stop| text.find(stop.as_str())).min();
    if let Some(at) = first {
        text.truncate(at);
    }
    text
}

/// An answer that is being said.
#[derive(Debug)]
struct Speech {
    answer: Answer,
    deployment: Arc<str>,
    stream: bool,
    pace: Pace,
    began: Instant,
    timer: Pin<Box<Sleep>>,
    script: Script,
    said: usize,
    ended: bool,
}

impl Speech {
    /// When the word of that number is due.
    fn due(&self, word: usize) -> Instant {
        #[allow(clippy::cast_precision_loss)] // an answer has some hundred words
        let seconds = word as f64 / self.pace.tokens_per_second;
        self.began + self.pace.delay + Duration::try_from_secs_f64(seconds).unwrap_or_default()
    }

    fn speak(&mut self) -> Result<Vec<GenerateChunk>, Fault> {
        let mut chunks = Vec::new();
        if !self.stream {
            let pieces = self.script.piece(self.script.words.concat(), Some(self.script.finish_reason));
            let choices = pieces.flat_map(|chunk| chunk.choices).collect();
            self.answer.take(GenerateChunk { choices, ..GenerateChunk::default() }, &mut chunks)?;
            self.said = self.script.words.len();
        }
        let now = Instant::now();
        while let Some(word) = self.script.words.get(self.said).filter(|_| self.due(self.said) <= now) {
            for piece in self.script.piece(word.clone(), None) {
                self.answer.take(piece, &mut chunks)?;
            }
            self.said += 1;
        }
        if self.said == self.script.words.len() {
            if self.stream {
                for piece in self.script.piece(String::new(), Some(self.script.finish_reason)) {
                    self.answer.take(piece, &mut chunks)?;
                }
            }
            let usage = Some(self.script.usage());
            self.answer.take(GenerateChunk { usage, ..GenerateChunk::default() }, &mut chunks)?;
            self.answer.end(&mut chunks)?;
            self.ended = true;
        }
        Ok(chunks)
    }
}

impl Stream for Speech {
    type Item = Result<GenerateResponse, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if this.ended {
            return Poll::Ready(None);
        }
        let next = if this.stream { this.due(this.said) } else { this.due(this.script.words.len()) };
        if this.timer.deadline() != next {
            this.timer.as_mut().reset(next);
        }
        std::task::ready!(this.timer.as_mut().poll(cx));
        let chunks = this.speak();
        this.ended |= chunks.is_err();
        let message = chunks.map(|chunks| GenerateResponse { chunks });
        Poll::Ready(Some(message.map_err(|fault| fault.of(&this.deployment))))
    }
}

#[cfg(test)]
mod tests {
    use penstock_proto::inference::v1::{ChatInput, Message};

    use super::*;

    fn request(stream: bool) -> GenerateRequest {
        let message = Message {
            role: "user".into(),
            content: Some(Content::Text("ping pong".into())),
            ..Message::default()
        };
        GenerateRequest {
            model: "m".into(),
            input: Some(Input::Chat(ChatInput { messages: vec![message] })),
            stream,
            ..GenerateRequest::default()
        }
    }

    async fn answer(request: GenerateRequest) -> Vec<GenerateChunk> {
        let engine = Simulated::new(
            Pace { delay: Duration::from_millis(100), tokens_per_second: 10.0 },
            "d".into(),
            || 5,
        );
        let stream =
            engine.generate(&request, &CallContext::background(Duration::from_secs(60))).await.unwrap();
        stream.map(|message| message.unwrap().chunks).concat().await
    }

    fn texts(chunks: &[GenerateChunk], index: i64) -> String {
        let choices = chunks.iter().flat_map(|chunk| &chunk.choices).filter(|choice| choice.index == index);
        choices.filter_map(|choice| choice.delta.as_ref()?.content.as_deref()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn it_says_what_it_is_and_says_the_same_streamed_and_plain() {
        let began = Instant::now();
        let (streamed, plain) = (answer(request(true)).await, answer(request(false)).await);
        assert_eq!(texts(&plain, 0), format!("{WHAT_IT_IS} You said: ping pong"));
        assert_eq!(texts(&streamed, 0), texts(&plain, 0));
        assert_eq!(plain.len(), 1);
        let usage = plain[0].usage.as_ref().unwrap();
        assert_eq!((usage.prompt_tokens, usage.completion_tokens, usage.estimated), (2, 13, true));
        assert_eq!(streamed.last().unwrap().usage.as_ref(), Some(usage));
        assert!(began.elapsed() >= Duration::from_millis(2400), "paced");
    }

    #[tokio::test(start_paused = true)]
    async fn it_keeps_to_limits_stops_and_choices() {
        let short = answer(GenerateRequest { max_tokens: Some(2), n: Some(2), ..request(true) }).await;
        assert_eq!((texts(&short, 0).as_str(), texts(&short, 1).as_str()), ("This is ", "This is "));
        let finish: Vec<_> =
            short.iter().flat_map(|c| &c.choices).filter_map(|c| c.finish_reason.as_deref()).collect();
        assert_eq!(finish, ["length", "length"]);
        let stop = Some(StopSequences { kind: Some(Kind::Text(" engine".into())) });
        let cut = answer(GenerateRequest { stop, ..request(false) }).await;
        assert_eq!(texts(&cut, 0), "This is Penstock's simulated");
    }
}
