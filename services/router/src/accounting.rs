//! What is done about an answer once it has ended, off the hot path: the reservation is settled, the answer
//! stored, the request logged and counted. Records come from drop guards, so that nothing is forgotten.

use std::{sync::Arc, task::Poll, time::Duration};

use futures_util::{StreamExt as _, stream};
use penstock_chassis::{CallContext, Channel, Chassis};
use penstock_proto::{
    Reason,
    auth::v1::Principal,
    cache::v1::{EntryKey, StoreRequest, cache_client::CacheClient},
    inference::v1::{GenerateChunk, Usage},
    ratelimit::v1::{SettleRequest, rate_limiter_client::RateLimiterClient},
    router::v1::AttemptKind,
};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::Registry,
};
use tokio::{sync::mpsc, time::Instant};

use crate::decisions::Trail;

/// Most records that wait: a second of very heavy load. Beyond it they are dropped and counted.
const QUEUE: usize = 8192;
/// Records worked on side by side, so that one slow call does not hold the others up.
const SIDE_BY_SIDE: usize = 64;
/// How long settling or storing may take.
const TIMEOUT: Duration = Duration::from_secs(1);
/// Values of the cache's verdict on a request.
pub(crate) const HIT: &str = "hit";
pub(crate) const MISS: &str = "miss";
pub(crate) const BYPASS: &str = "bypass";
/// Bytes of text that make a token, on average, where an engine gave no usage.
pub(crate) const BYTES_PER_TOKEN: usize = 4;
/// Upper edges of the first-content histogram, in seconds.
const FIRST_CONTENT_EDGES: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0];

/// What is known of a request, from its admission to its end.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) context: CallContext,
    pub(crate) principal: Arc<Principal>,
    /// Name of the model, as registered.
    pub(crate) model: Arc<str>,
    /// Who gave the answer; empty: nobody, or the cache.
    pub(crate) deployment: String,
    pub(crate) stream: bool,
    pub(crate) cache: &'static str,
    pub(crate) fallbacks: usize,
    /// To settle; empty: nothing is reserved.
    pub(crate) reservation: String,
    /// Estimated tokens of the prompt.
    pub(crate) prompt_tokens: u64,
    /// Bytes of text that the caller got.
    pub(crate) delivered_bytes: usize,
    /// As the engine counted.
    pub(crate) usage: Option<Usage>,
    /// `None`: the caller left.
    pub(crate) outcome: Option<Result<(), Reason>>,
    /// The decision, where its end is noted.
    pub(crate) trail: Trail,
    /// Where to store the answer.
    pub(crate) key: Option<EntryKey>,
    /// The whole answer, if it may be stored.
    pub(crate) answer: Option<GenerateChunk>,
    pub(crate) started: Instant,
    pub(crate) first_content_after: Option<Duration>,
}

impl Account {
    /// Notes the moment of the first content, once.
    pub(crate) fn first_content(&mut self) {
        if self.first_content_after.is_none() {
            self.first_content_after = Some(self.started.elapsed());
        }
    }

    /// What the request cost: as the engine counted, else estimated from the prompt and what the caller got;
    /// nothing if no engine began to answer, or if the cache gave it.
    pub(crate) fn tokens(&self) -> u64 {
        if self.cache == HIT {
            return 0;
        }
        match &self.usage {
            Some(usage) => u64::try_from(usage.total_tokens).unwrap_or(0),
            None if self.deployment.is_empty() => 0,
            None => self.prompt_tokens + self.delivered_bytes.div_ceil(BYTES_PER_TOKEN) as u64,
        }
    }

    fn outcome_name(&self) -> &'static str {
        match self.outcome {
            Some(Ok(())) => "OK",
            Some(Err(reason)) => reason.as_str(),
            None => Reason::Cancelled.as_str(),
        }
    }
}

/// An account that is handed to the accounting when it is dropped, at whatever moment.
#[derive(Debug)]
pub(crate) struct Record {
    account: Option<Account>,
    accounting: Accounting,
}

impl Record {
    /// The account, until the drop.
    pub(crate) fn account(&mut self) -> Option<&mut Account> {
        self.account.as_mut()
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if let Some(account) = self.account.take() {
            self.accounting.take(account);
        }
    }
}

/// An account and how long its request took.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) account: Account,
    took: Duration,
}

/// Takes records in. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Accounting {
    queue: mpsc::Sender<Ended>,
    dropped: Counter,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    model: Arc<str>,
    outcome: &'static str,
    cache: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ModelLabels {
    model: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AttemptLabels {
    model: Arc<str>,
    deployment: String,
    kind: &'static str,
    outcome: &'static str,
}

#[derive(Debug)]
struct Measures {
    requests: Family<RequestLabels, Counter>,
    tokens: Family<ModelLabels, Counter>,
    first_content: Family<ModelLabels, Histogram, fn() -> Histogram>,
    fallbacks: Family<ModelLabels, Counter>,
    attempts: Family<AttemptLabels, Counter>,
}

impl Default for Measures {
    fn default() -> Self {
        Self {
            requests: Family::default(),
            tokens: Family::default(),
            first_content: Family::new_with_constructor(|| Histogram::new(FIRST_CONTENT_EDGES)),
            fallbacks: Family::default(),
            attempts: Family::default(),
        }
    }
}

impl Accounting {
    /// Starts the accounting.
    pub(crate) fn start(rate_limiter: &Channel, cache: &Channel, chassis: &Chassis) -> Self {
        let (queue, mut ended) = mpsc::channel(QUEUE);
        let (measures, dropped) = (Measures::default(), Counter::default());
        chassis.metrics.register(|registry| {
            measures.register(registry);
            let help = "Records dropped because too many waited";
            registry.register("penstock_accounting_dropped", help, dropped.clone());
        });
        let (limiter, cache) =
            (RateLimiterClient::new(rate_limiter.clone()), CacheClient::new(cache.clone()));
        let stopping = chassis.tasks.stopping();
        chassis.tasks.spawn("accounting", async move {
            let mut stopped = Box::pin(stopping.cancelled());
            // What is in the queue when the process stops is still worked off.
            let records = stream::poll_fn(move |cx| {
                if Future::poll(stopped.as_mut(), cx) == Poll::Ready(()) {
                    ended.close();
                }
                ended.poll_recv(cx)
            });
            let (measures, limiter, cache) = (&measures, &limiter, &cache);
            let work = async |ended: Ended| {
                measures.record(&ended.account);
                log(&ended);
                settle(limiter, ended.account, cache).await;
            };
            records.for_each_concurrent(SIDE_BY_SIDE, work).await;
        });
        Self { queue, dropped }
    }

    /// A record of a request.
    pub(crate) fn record(&self, account: Account) -> Record {
        Record { account: Some(account), accounting: self.clone() }
    }

    fn take(&self, mut account: Account) {
        // Dropped before its end: by the deadline, or because the caller left.
        if account.outcome.is_none() && account.context.remaining().is_some_and(|left| left.is_zero()) {
            account.outcome = Some(Err(Reason::DeadlineExceeded));
        }
        account.trail.end(account.outcome_name());
        let took = account.started.elapsed();
        if self.queue.try_send(Ended { account, took }).is_err() {
            self.dropped.inc();
        }
    }
}

impl Measures {
    fn register(&self, registry: &mut Registry) {
        registry.register("penstock_requests", "Requests by model and outcome", self.requests.clone());
        registry.register("penstock_tokens", "Tokens charged", self.tokens.clone());
        let help = "Time until the first content";
        registry.register("penstock_first_content_seconds", help, self.first_content.clone());
        registry.register("penstock_fallbacks", "Deployments that gave no answer", self.fallbacks.clone());
        let help = "Requests to deployments, by what they were for and what came of them";
        registry.register("penstock_attempts", help, self.attempts.clone());
    }

    fn record(&self, account: &Account) {
        let model = ModelLabels { model: Arc::clone(&account.model) };
        let (outcome, cache) = (account.outcome_name(), account.cache);
        let labels = RequestLabels { model: Arc::clone(&account.model), outcome, cache };
        self.requests.get_or_create(&labels).inc();
        self.tokens.get_or_create(&model).inc_by(account.tokens());
        if let Some(after) = account.first_content_after {
            self.first_content.get_or_create(&model).observe(after.as_secs_f64());
        }
        if account.fallbacks > 0 {
            self.fallbacks.get_or_create(&model).inc_by(account.fallbacks as u64);
        }
        account.trail.each_attempt(|attempt| {
            let labels = AttemptLabels {
                model: Arc::clone(&attempt.candidate.model),
                deployment: attempt.candidate.id().to_owned(),
                kind: kind_name(attempt.kind),
                outcome: attempt.outcome.unwrap_or_default(),
            };
            self.attempts.get_or_create(&labels).inc();
        });
    }
}

/// What an attempt was for, as metrics call it.
fn kind_name(kind: AttemptKind) -> &'static str {
    match kind {
        AttemptKind::Unspecified => "unspecified",
        AttemptKind::First => "first",
        AttemptKind::Retry => "retry",
        AttemptKind::Failover => "failover",
        AttemptKind::Fallback => "fallback",
        AttemptKind::Hedge => "hedge",
        AttemptKind::Continue => "continue",
        AttemptKind::Replay => "replay",
    }
}

/// The access log: one line a request, whatever became of it.
fn log(Ended { account, took }: &Ended) {
    let mut attempts = 0;
    account.trail.each_attempt(|_| attempts += 1);
    let milliseconds = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    tracing::info!(
        request_id = account.context.request_id(),
        decision = account.trail.id(),
        key_id = account.principal.key_id,
        tenant = account.principal.tenant,
        model = &*account.model,
        deployment = account.deployment,
        stream = account.stream,
        cache = account.cache,
        attempts,
        fallbacks = account.fallbacks,
        outcome = account.outcome_name(),
        tokens = account.tokens(),
        first_content_ms = account.first_content_after.map(milliseconds),
        duration_ms = milliseconds(*took),
        "answered"
    );
}

async fn settle(limiter: &RateLimiterClient<Channel>, mut account: Account, cache: &CacheClient<Channel>) {
    let context = account.context.detached(TIMEOUT);
    if !account.reservation.is_empty() {
        let tokens = account.tokens();
        let reservation_id = std::mem::take(&mut account.reservation);
        let request = context.request(SettleRequest { reservation_id, tokens });
        if let Err(status) = limiter.clone().settle(request).await {
            // The reservation lapses: its estimate stands.
            tracing::warn!(request_id = context.request_id(), code = %status.code(), "not settled");
        }
    }
    if let (Some(key), Some(answer)) = (account.key, account.answer) {
        let request = context.request(StoreRequest { key: Some(key), answer: Some(answer), ttl: None });
        if let Err(status) = cache.clone().store(request).await {
            tracing::debug!(request_id = context.request_id(), code = %status.code(), "not stored");
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{decision::Decision, decisions::Decisions};

    /// An account of nothing yet.
    pub(crate) fn account() -> Account {
        Account {
            context: CallContext::background(TIMEOUT),
            principal: Arc::default(),
            model: "m".into(),
            deployment: "d".into(),
            stream: true,
            cache: MISS,
            fallbacks: 0,
            reservation: "r".into(),
            prompt_tokens: 10,
            delivered_bytes: 0,
            usage: None,
            outcome: None,
            trail: Decisions::new(1, Duration::from_secs(60)).keep(Decision::default(), "r"),
            key: None,
            answer: None,
            started: Instant::now(),
            first_content_after: None,
        }
    }

    /// A record, and what becomes of it.
    pub(crate) fn recorder() -> (Record, mpsc::Receiver<Ended>) {
        let (queue, ended) = mpsc::channel(1);
        let accounting = Accounting { queue, dropped: Counter::default() };
        (accounting.record(account()), ended)
    }

    #[test]
    fn a_request_costs_what_the_engine_counted_else_what_the_caller_got() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let _entered = runtime.enter();
        assert_eq!(Account { deployment: String::new(), ..account() }.tokens(), 0, "no engine answered");
        assert_eq!(Account { delivered_bytes: 9, ..account() }.tokens(), 10 + 3);
        let usage = Some(Usage { total_tokens: 42, ..Usage::default() });
        assert_eq!(Account { usage: usage.clone(), delivered_bytes: 9, ..account() }.tokens(), 42);
        assert_eq!(Account { usage, cache: HIT, ..account() }.tokens(), 0);
        // D10: never negative.
        let wrong = Some(Usage { total_tokens: -1, ..Usage::default() });
        assert_eq!(Account { usage: wrong, ..account() }.tokens(), 0);
    }
}
