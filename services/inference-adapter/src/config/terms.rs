//! On what terms a deployment is asked: how long things may take, how much at once, when it is left alone, and what
//! its operator says of it. `[inference_adapter]` has the terms of those that say nothing themselves.

use std::{ops::RangeInclusive, time::Duration};

use penstock_chassis::config::Section;
use penstock_proto::adapter::v1::Price;

use super::{HOUR, MILLISECOND};
use crate::{admission::AdmissionConfig, breaker::BreakerConfig, engine::Kind, upstream::Limits};

const SECOND: Duration = Duration::from_secs(1);
/// How long anything may be waited for.
const SPANS: RangeInclusive<Duration> = Duration::from_millis(10)..=HOUR;
/// Longest tag, in bytes: callers name them in metadata.
const TAG_MAX_BYTES: usize = 64;
/// US dollars per million tokens at most: more is a mistake.
const PRICE_MAX: f64 = 1e6;

/// The terms of a deployment.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Terms {
    pub(crate) limits: Limits,
    pub(crate) admission: AdmissionConfig,
    pub(crate) tags: Vec<String>,
    pub(crate) price: Option<Price>,
    /// How long the engine takes to load the model. `None`: that is to be seen.
    pub(crate) load_time: Option<Duration>,
}

impl Terms {
    /// Those of `[inference_adapter]`.
    pub(super) fn usual(section: &mut Section) -> Self {
        let mut breaker = section.table("breaker");
        let admission = AdmissionConfig {
            breaker: BreakerConfig {
                // Some dozens of seconds: long enough to hold several slow answers.
                window: breaker.duration("window", 30 * SECOND, 100 * MILLISECOND..=HOUR),
                // Fewer are bad luck.
                minimum_calls: whole(breaker.integer("minimum_calls", 5, 1..=1_000_000)),
                failure_rate: breaker.float("failure_rate", 0.5, 0.01..=1.0),
                // An engine that was restarted answers again within seconds.
                open: breaker.duration("open", 5 * SECOND, SPANS),
                // What fails for long is asked once in a minute, which costs nobody much.
                open_max: breaker.duration("open_max", 60 * SECOND, SPANS),
                // Two: one may be luck.
                probes: whole(breaker.integer("probes", 2, 1..=1000)),
            },
            // More streams than any engine batches; keeps one engine from taking the adapter's memory.
            max_concurrent: whole(section.integer("max_streams_per_deployment", 1024, 1..=1_000_000)),
            // Each holds a request in memory; who comes later is better off elsewhere.
            queue_max: size(section.integer("queue_max", 256, 0..=100_000)),
            // Longer than most answers take, shorter than callers' patience.
            queue_timeout: section.duration("queue_timeout", 30 * SECOND, SPANS),
        };
        check(&mut breaker, &admission.breaker);
        Self { limits: limits(section), admission, tags: Vec::new(), price: None, load_time: None }
    }

    /// The same for an engine of this kind of which nobody says more.
    pub(super) fn of(&self, kind: Kind) -> Self {
        let mut terms = self.clone();
        if let Some(first_token) = first_token_timeout(kind) {
            terms.limits.first_token_timeout = first_token;
            terms.limits.answer_timeout = terms.limits.answer_timeout.max(first_token);
        }
        terms
    }

    /// Those of a deployment, and where it says nothing these.
    pub(super) fn read(&self, section: &mut Section, kind: Kind) -> Self {
        let mut limits = self.of(kind).limits;
        // Another mesh and the simulated engine are not connected to by HTTP.
        if !matches!(kind, Kind::Penstock | Kind::Simulated) {
            limits.connect_timeout = section.duration("connect_timeout", limits.connect_timeout, SPANS);
        }
        let waits_longer = section.has("first_token_timeout");
        limits.first_token_timeout =
            section.duration("first_token_timeout", limits.first_token_timeout, SPANS);
        if waits_longer {
            // A plain answer waits for its first token, too.
            limits.answer_timeout = self.limits.answer_timeout.max(limits.first_token_timeout);
        }
        limits.answer_timeout = section.duration("answer_timeout", limits.answer_timeout, SPANS);
        limits.stall_timeout = section.duration("stall_timeout", limits.stall_timeout, SPANS);
        limits.total_timeout = section.duration("total_timeout", limits.total_timeout, SPANS);
        Self {
            limits,
            admission: self.admission(section),
            tags: tags(section),
            price: section.optional_table("price").map(|mut price| Price {
                input: price.float("input", 0.0, 0.0..=PRICE_MAX),
                output: price.float("output", 0.0, 0.0..=PRICE_MAX),
            }),
            load_time: section
                .has("load_time")
                .then(|| section.duration("load_time", SECOND, Duration::ZERO..=HOUR)),
        }
    }

    fn admission(&self, section: &mut Section) -> AdmissionConfig {
        let usual = self.admission;
        let breaker = match section.optional_table("breaker") {
            Some(mut table) => {
                let usual = usual.breaker;
                let breaker = BreakerConfig {
                    window: table.duration("window", usual.window, 100 * MILLISECOND..=HOUR),
                    minimum_calls: whole(table.integer(
                        "minimum_calls",
                        usual.minimum_calls.into(),
                        1..=1_000_000,
                    )),
                    failure_rate: table.float("failure_rate", usual.failure_rate, 0.01..=1.0),
                    open: table.duration("open", usual.open, SPANS),
                    open_max: table.duration("open_max", usual.open_max, SPANS),
                    probes: whole(table.integer("probes", usual.probes.into(), 1..=1000)),
                };
                check(&mut table, &breaker);
                breaker
            }
            None => usual.breaker,
        };
        AdmissionConfig {
            breaker,
            max_concurrent: whole(section.integer(
                "max_concurrent",
                usual.max_concurrent.into(),
                1..=1_000_000,
            )),
            queue_max: size(section.integer("queue_max", usual.queue_max as u64, 0..=100_000)),
            queue_timeout: section.duration("queue_timeout", usual.queue_timeout, SPANS),
        }
    }
}

/// How long the first token of such an engine may take, where nobody says; `None`: as for every engine. Ollama
/// loads the model with the first request, a large one from a slow disk in minutes.
fn first_token_timeout(kind: Kind) -> Option<Duration> {
    (kind == Kind::Ollama).then_some(600 * SECOND)
}

fn check(section: &mut Section, breaker: &BreakerConfig) {
    if breaker.open_max < breaker.open {
        section.mistake("open_max", "must be at least as long as open");
    }
}

fn tags(section: &mut Section) -> Vec<String> {
    let tags = section.strings("tags");
    let fits = |tag: &String| {
        (1..=TAG_MAX_BYTES).contains(&tag.len())
            && tag.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',')
    };
    if !tags.iter().all(fits) {
        let wanted = format!("must hold at most {TAG_MAX_BYTES} ASCII characters each, no spaces or commas");
        section.mistake("tags", wanted);
    }
    tags
}

fn limits(section: &mut Section) -> Limits {
    Limits {
        // A host that is there takes a connection in milliseconds, over an ocean in a second.
        connect_timeout: section.duration("connect_timeout", 2 * SECOND, SPANS),
        // Loading a large model from disk takes a minute or two.
        first_token_timeout: section.duration("first_token_timeout", 120 * SECOND, SPANS),
        // A loaded engine that says nothing for so long is stuck.
        stall_timeout: section.duration("stall_timeout", 60 * SECOND, SPANS),
        // A plain answer says nothing until all of it is generated: the facade's default deadline.
        answer_timeout: section.duration("answer_timeout", 600 * SECOND, SPANS),
        // As long as the longest request.
        total_timeout: section.duration("total_timeout", HOUR, SPANS),
        // A frame is a token, or a whole tool call; a log-probability list takes some kilobytes.
        frame_max_bytes: size(section.bytes("frame_max_bytes", 1 << 20, 1 << 10..=256 << 20)),
        // As large as the largest request that the facade takes; at most half of a gRPC message.
        answer_max_bytes: size(section.bytes("answer_max_bytes", 32 << 20, 1 << 10..=64 << 20)),
        // So many vectors of 4096 numbers, 22 bytes each at most, are 23 MB: they fit into the default above.
        // At most as many as OpenAI takes.
        embedding_batch_max: size(section.integer("embedding_batch_max", 256, 1..=2048)),
    }
}

fn whole(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn size(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
