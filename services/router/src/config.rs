//! The router's configuration: `[router]`, `[[models]]` and `[auto]`.

mod auto;
mod models;
pub(crate) mod pattern;
mod retrying;
mod routing;

use std::time::Duration;

use penstock_chassis::{
    DoorConfig,
    config::{Document, Section},
};

pub use self::retrying::Retrying;
#[cfg(test)]
pub(crate) use self::routing::Affinity;
pub(crate) use self::routing::{AfterCommit, Hedge, HoldBack};
pub use self::routing::{AutoConfig, ModelConfig, Routing, Strategy, Target};
use crate::caps::Caps;

/// Where the services are that the router calls, as `http://host:port[,host:port…]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoints {
    /// `router.auth`
    pub auth: String,
    /// `router.rate_limiter`
    pub rate_limiter: String,
    /// `router.cache`
    pub cache: String,
    /// `router.inference_adapter`
    pub inference_adapter: String,
}

/// Which answers may come from the cache if the caller says nothing about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheMode {
    /// Only those of requests with temperature 0 or a seed.
    Deterministic,
    /// All.
    All,
    /// None, whatever the caller says.
    Off,
}

/// What happens to requests while the rate-limiter cannot be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimiterFailure {
    /// They pass, and are counted.
    Open,
    /// They are refused.
    Closed,
}

/// The router's configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where the services are.
    pub endpoints: Endpoints,
    /// Which answers may come from the cache.
    pub cache_mode: CacheMode,
    /// What happens without the rate-limiter.
    pub limiter_failure: LimiterFailure,
    /// How long auth lets principals be remembered, which is `auth.memo_ttl`: for so long its loss only degrades.
    pub remembered: Duration,
    /// How long auth may take.
    pub auth_timeout: Duration,
    /// How long the rate-limiter may take.
    pub limiter_timeout: Duration,
    /// How long the cache may take before it counts as a miss.
    pub cache_timeout: Duration,
    /// How long storing an answer may hold back its end.
    pub store_timeout: Duration,
    /// Most responses that are made while nobody waits for them; 0: none.
    pub background_max: usize,
    /// How long each of them may take.
    pub background_timeout: Duration,
    /// Tokens to reserve for the answer of a request that sets no maximum.
    pub default_completion_tokens: u64,
    /// Most deployments asked for one request.
    pub attempts: usize,
    /// What bounds further attempts.
    pub retrying: Retrying,
    /// How many requests may be in progress.
    pub door: DoorConfig,
    /// How long a decision can be looked up.
    pub decisions_ttl: Duration,
    /// Most decisions that can be looked up; 0: none.
    pub decisions_max: usize,
    /// What one request may ask for.
    pub caps: Caps,
    /// What may change while the process runs.
    pub routing: Routing,
}

impl Config {
    /// Reads `[router]` and `[[models]]`. `deployments` are the ids that exist; `id/` stands
    /// for all that begin so.
    pub fn read(section: &mut Section, document: &mut Document, deployments: &[String]) -> Self {
        let milliseconds = Duration::from_millis;
        let timeouts = milliseconds(1)..=Duration::from_secs(60);
        let local = |port: u16| format!("http://127.0.0.1:{port}");
        Self {
            endpoints: Endpoints {
                auth: section.string("auth").unwrap_or_else(|| local(4002)),
                rate_limiter: section.string("rate_limiter").unwrap_or_else(|| local(4003)),
                cache: section.string("cache").unwrap_or_else(|| local(4004)),
                inference_adapter: section.string("inference_adapter").unwrap_or_else(|| local(4005)),
            },
            cache_mode: section.choice(
                "cache_mode",
                &[
                    ("deterministic", CacheMode::Deterministic),
                    ("all", CacheMode::All),
                    ("off", CacheMode::Off),
                ],
                CacheMode::Deterministic,
            ),
            limiter_failure: section.choice(
                "limiter_failure",
                &[("open", LimiterFailure::Open), ("closed", LimiterFailure::Closed)],
                LimiterFailure::Open,
            ),
            // Not a setting of the router: whoever reads `[auth]` puts its own in.
            remembered: Duration::ZERO,
            // Long enough for a restart of the callee and the channel's second attempt.
            auth_timeout: section.duration("auth_timeout", milliseconds(2000), timeouts.clone()),
            // Side calls have small budgets: they must not cost more than they are worth.
            limiter_timeout: section.duration("limiter_timeout", milliseconds(500), timeouts.clone()),
            cache_timeout: section.duration("cache_timeout", milliseconds(100), timeouts.clone()),
            // Some fsyncs on a busy disk, and a restart of the callee. What the caller has left bounds it, too.
            store_timeout: section.duration("store_timeout", milliseconds(2000), timeouts),
            // Each holds its request and its answer in memory, some hundred KiB as a rule, 64 MiB at worst.
            background_max: usize::try_from(section.integer("background_max", 64, 0..=10_000)).unwrap_or(64),
            // Nobody is there who would give up: the longest answers of today's models, and some more.
            background_timeout: section.duration(
                "background_timeout",
                Duration::from_secs(600),
                Duration::from_secs(1)..=Duration::from_secs(3600),
            ),
            // A short answer: what is used beyond it is charged when it is known.
            default_completion_tokens: section.integer("default_completion_tokens", 256, 0..=1_000_000),
            // One deployment and three others: beyond that an answer would come too late anyway.
            attempts: usize::try_from(section.integer("attempts", 4, 1..=100)).unwrap_or(4),
            retrying: Retrying::read(section),
            door: DoorConfig::read(section),
            // Long enough to ask why after a complaint, short enough that it says little of who asks for what.
            decisions_ttl: section.duration(
                "decisions_ttl",
                Duration::from_secs(15 * 60),
                Duration::from_secs(1)..=Duration::from_secs(24 * 3600),
            ),
            // Seconds of heavy traffic, all of a light one's; a few megabytes at most.
            decisions_max: usize::try_from(section.integer("decisions_max", 1000, 0..=100_000))
                .unwrap_or(1000),
            caps: read_caps(section),
            routing: Routing::read(document, deployments),
        }
    }
}

fn read_caps(section: &mut Section) -> Caps {
    let default = Caps::default();
    let most = default.n_max.unsigned_abs();
    let n_max = section.integer("n_max", most, 1..=most);
    let is_capped = section.has("completion_tokens_max");
    let tokens = section.integer("completion_tokens_max", 0, 1..=u64::from(u32::MAX));
    Caps {
        n_max: i64::try_from(n_max).unwrap_or(default.n_max),
        completion_tokens_max: is_capped.then(|| i64::try_from(tokens).unwrap_or(i64::MAX)),
    }
}

#[cfg(test)]
mod tests {
    use penstock_chassis::config::Environment;

    use super::*;

    fn read(text: &str) -> (Config, Vec<String>) {
        let mut document = Document::parse(Some(text), Environment::default()).unwrap();
        let mut section = document.section("router");
        let config = Config::read(&mut section, &mut document, &["a".into(), "b".into()]);
        drop(section);
        let mistakes = document.finish().err().map_or_else(Vec::new, |mistakes| mistakes.0);
        (config, mistakes.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn deployments_are_ids_or_tables() {
        let text = "[[models]]\nname='m'\ndeployments=['a', {id='b', weight=2, priority=3}]";
        let (config, mistakes) = read(text);
        assert_eq!(mistakes, Vec::<String>::new());
        assert_eq!(
            config.routing.models[0].deployments,
            [
                Target { id: "a".into(), weight: 1.0, priority: 1 },
                Target { id: "b".into(), weight: 2.0, priority: 3 },
            ]
        );
    }

    #[test]
    fn caps_are_openais_unless_they_are_lower() {
        assert_eq!(read("").0.caps, Caps { n_max: 128, completion_tokens_max: None });
        let (config, mistakes) = read("[router]\nn_max = 4\ncompletion_tokens_max = 8192");
        assert_eq!(mistakes, Vec::<String>::new());
        assert_eq!(config.caps, Caps { n_max: 4, completion_tokens_max: Some(8192) });
        let (_, mistakes) = read("[router]\nn_max = 129\ncompletion_tokens_max = 0");
        assert_eq!(mistakes.len(), 2, "{mistakes:?}");
    }

    #[test]
    fn what_nobody_waits_for_is_bounded() {
        let (config, _) = read("");
        assert_eq!((config.background_max, config.background_timeout), (64, Duration::from_secs(600)));
        let (config, mistakes) = read("[router]\nbackground_max = 0\nbackground_timeout = '1h'");
        assert_eq!(mistakes, Vec::<String>::new());
        assert_eq!((config.background_max, config.background_timeout), (0, Duration::from_secs(3600)));
        let (_, mistakes) = read("[router]\nbackground_max = 10001\nbackground_timeout = '61m'");
        assert_eq!(mistakes.len(), 2, "{mistakes:?}");
    }

    #[test]
    fn every_mistake_in_models_is_named() {
        let text = "[[models]]\nname='m'\naliases=['x']\ndeployments=['z']\nfallbacks=['n', 'gone']\n\
                    [[models]]\nname='n'\naliases=['m']\ndeployments=['a']\nfallbacks=['m']\n\
                    [[models]]\ndeployments=[]\nstrategy='guess'\n";
        let (_, mistakes) = read(text);
        assert_eq!(
            mistakes,
            [
                "line 4: models[0].deployments[0].id: \"z\" is not the id of a deployment",
                "line 5: models[0].fallbacks: \"n\" falls back to \"m\" itself",
                "line 5: models[0].fallbacks: \"gone\" is not the name of a model",
                "line 8: models[1].aliases: \"m\" is the name of another model already",
                "line 10: models[1].fallbacks: \"m\" falls back to \"n\" itself",
                "line 11: models[2].name: is required",
                "line 12: models[2].deployments: must name at least one deployment",
                "line 13: models[2].strategy: is \"guess\"; must be one of \"weighted\", \"least-latency\", \
                 \"least-busy\", \"cheapest\", \"round-robin\", \"affinity\", \"loaded-first\", \"priority\"",
            ]
        );
    }

    fn mistakes(text: &str) -> Vec<String> {
        read(text).1
    }

    #[test]
    fn every_key_of_a_model_is_read() {
        let text = "[[models]]\nname='m'\naliases=['gpt-4*']\ndeployments=['a']\nstrategy='affinity'\n\
                    affinity={prefix_bytes=64, load_factor=2}\nfallbacks=['n']\ncontext_fallbacks=['n']\n\
                    filter_fallbacks=['n']\nhedge='p95'\nhold_back={chars=40, time='200ms'}\nafter_commit='replay'\n\
                    [[models]]\nname='n'\ndeployments=['b']\nhedge='300ms'\n";
        let (config, mistakes) = read(text);
        assert_eq!(mistakes, Vec::<String>::new());
        let expected = ModelConfig {
            name: "m".into(),
            aliases: vec!["gpt-4*".into()],
            deployments: vec![Target { id: "a".into(), weight: 1.0, priority: 1 }],
            strategy: Strategy::Affinity,
            affinity: Affinity { prefix_bytes: 64, load_factor: 2.0 },
            fallbacks: vec!["n".into()],
            context_fallbacks: vec!["n".into()],
            filter_fallbacks: vec!["n".into()],
            hedge: Some(routing::Hedge::P95),
            hold_back: routing::HoldBack { chars: 40, time: Duration::from_millis(200) },
            after_commit: routing::AfterCommit::Replay,
        };
        assert_eq!(config.routing.models[0], expected);
        let after = routing::Hedge::After(Duration::from_millis(300));
        assert_eq!(config.routing.models[1].hedge, Some(after));
    }

    #[test]
    fn mistakes_in_stars_chains_and_options_are_named() {
        for (text, mistake) in [
            ("name='a*b*'\ndeployments=['a*']", "line 2: models[0].name: \"a*b*\" has more than one *"),
            (
                "name='m'\ndeployments=['a*']",
                "line 3: models[0].deployments[0].id: \"a*\" has a *, and the model's name has none",
            ),
            (
                "name='m*'\ndeployments=['a']",
                "line 3: models[0].deployments[0].id: \"a\" must have one *, as the model's name has one",
            ),
            (
                "name='m*'\naliases=['x']\ndeployments=['a*']",
                "line 3: models[0].aliases: \"x\" must have a *, as the model's name has one",
            ),
            (
                "name='m'\ndeployments=['a','a']",
                "line 3: models[0].deployments[1].id: \"a\" is a deployment of the model already",
            ),
            (
                "name='m'\ndeployments=['a']\naffinity={}",
                "line 4: models[0].affinity: means nothing without strategy = \"affinity\"",
            ),
            (
                "name='m'\ndeployments=['a']\ncontext_fallbacks=['m']",
                "line 4: models[0].context_fallbacks: \"m\" is the model itself",
            ),
            (
                "name='m'\ndeployments=['a']\nfilter_fallbacks=['x*']",
                "line 4: models[0].filter_fallbacks: \"x*\" has a *, and the model's name has none",
            ),
            ("name='m'\ndeployments=['a']\nhold_back={}", "line 4: models[0].hold_back.chars: is required"),
            (
                "name='m'\ndeployments=['a']\nhedge='p99'",
                "line 4: models[0].hedge: is not a duration such as \"30s\": expected number at 0",
            ),
        ] {
            assert_eq!(mistakes(&format!("[[models]]\n{text}")), [mistake], "{text}");
        }
        let circle = "[[models]]\nname='m'\ndeployments=['a']\ncontext_fallbacks=['n/x']\n\
                      [[models]]\nname='n/*'\ndeployments=['a*']\ncontext_fallbacks=['m']\nfallbacks=['m']\n";
        assert_eq!(
            mistakes(circle),
            [
                "line 4: models[0].context_fallbacks: \"n/x\" falls back to \"m\" itself",
                "line 8: models[1].context_fallbacks: \"m\" falls back to \"n/*\" itself",
            ]
        );
        let twice = "[[models]]\nname='m*'\ndeployments=['a*']\n[[models]]\nname='n'\naliases=['m*']\ndeployments=['a']";
        assert_eq!(
            mistakes(twice),
            ["line 6: models[1].aliases: \"m*\" is the name of another model already"]
        );
    }

    #[test]
    fn auto_is_nothing_unless_it_is_configured() {
        assert_eq!(read("").0.routing.auto, None);
        let models = "[[models]]\nname='m'\ndeployments=['a']\n";
        let text = format!("[auto]\nsimple='m'\nmedium='m'\ncomplex='m'\nsimple_keywords=['Say']\n{models}");
        let (config, mistakes) = read(&text);
        assert_eq!(mistakes, Vec::<String>::new());
        let auto = config.routing.auto.unwrap();
        assert_eq!((auto.complex.as_str(), auto.simple_keywords), ("m", vec!["say".to_owned()]));
        let (_, mistakes) =
            read(&format!("[auto]\nsimple='x'\nmedium='m'\nmedium_tokens=9\ncomplex_tokens=8\n{models}"));
        assert_eq!(
            mistakes,
            [
                "line 1: auto.complex: is required",
                "line 2: auto.simple: \"x\" is not the name of a model",
                "line 5: auto.complex_tokens: must not be less than medium_tokens",
            ]
        );
    }
}
