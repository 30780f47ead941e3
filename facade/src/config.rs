//! The facade's settings, section `[facade]`. Where it listens is read by whoever serves it.

use std::time::Duration;

use penstock_chassis::{DoorConfig, MESSAGE_MAX_BYTES, config::Section};

use crate::health::HealthConfig;

/// Settings of the facade.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Largest request body, in bytes.
    pub body_max_bytes: usize,
    /// Longest a request body may take to arrive.
    pub body_timeout: Duration,
    /// Longest a request may take in all: the default, and the most that `X-Request-Timeout` may ask for.
    pub request_timeout: Duration,
    /// How long the head of a stream waits for the first token before a comment goes out. None: until it comes.
    pub keep_alive_delay: Option<Duration>,
    /// How long a stream may be silent before a comment goes out. None: for ever.
    pub keep_alive_period: Option<Duration>,
    /// How long a client may take nothing of what is sent to it before its connection is cut.
    pub write_timeout: Duration,
    /// How many requests may be in progress.
    pub door: DoorConfig,
    /// Who sees what of health.
    pub health: HealthConfig,
}

/// Shortest silence that is bridged: below it comments would be a load of their own.
const SILENCE_MIN: Duration = Duration::from_millis(10);

impl Default for Config {
    fn default() -> Self {
        Self {
            // A 20 MB image in base64 and a long conversation fit.
            body_max_bytes: 32 << 20,
            // A body of that size at 4 Mbit/s; a slower one holds memory for nothing.
            body_timeout: Duration::from_secs(60),
            // What OpenAI's SDKs wait by default.
            request_timeout: Duration::from_secs(600),
            // A quarter of what balancers allow by default (60 s): three may be lost. Most first tokens come
            // earlier, and then the head still tells a failure by its status.
            keep_alive_delay: Some(Duration::from_secs(15)),
            keep_alive_period: Some(Duration::from_secs(15)),
            // Longer than a pause of a reader that means to go on; an engine waits for it all the while.
            write_timeout: Duration::from_secs(300),
            door: DoorConfig::default(),
            health: HealthConfig::default(),
        }
    }
}

impl Config {
    /// Reads the section; mistakes are collected in the document.
    pub fn read(section: &mut Section) -> Self {
        let default = Self::default();
        let second = Duration::from_secs(1);
        // Half of what a gRPC message may hold: what is taken here must get through the mesh.
        let most = (MESSAGE_MAX_BYTES / 2) as u64;
        let body_max = section.bytes("body_max_bytes", default.body_max_bytes as u64, 1024..=most);
        Self {
            // At most a GiB, so that it fits even where a pointer has 32 bits.
            body_max_bytes: usize::try_from(body_max).unwrap_or(default.body_max_bytes),
            body_timeout: section.duration("body_timeout", default.body_timeout, second..=second * 3600),
            request_timeout: section.duration(
                "request_timeout",
                default.request_timeout,
                second..=second * 3600,
            ),
            keep_alive_delay: silence(section, "keep_alive_delay", default.keep_alive_delay),
            keep_alive_period: silence(section, "keep_alive_period", default.keep_alive_period),
            write_timeout: section.duration("write_timeout", default.write_timeout, second..=second * 3600),
            door: DoorConfig::read(section),
            health: HealthConfig::read(&mut section.table("health")),
        }
    }
}

/// A span after which a comment goes out; `0s`: never.
fn silence(section: &mut Section, key: &str, default: Option<Duration>) -> Option<Duration> {
    let default = default.unwrap_or_default();
    let span = section.duration(key, default, Duration::ZERO..=Duration::from_secs(3600));
    if !span.is_zero() && span < SILENCE_MIN {
        section.mistake(key, format!("must be 0s, for never, or at least {} ms", SILENCE_MIN.as_millis()));
    }
    (!span.is_zero()).then_some(span)
}

#[cfg(test)]
mod tests {
    use penstock_chassis::config::{Document, Environment};

    use super::*;

    #[test]
    fn an_empty_section_is_the_default_and_mistakes_are_noted() {
        let mut document = Document::parse(Some(""), Environment::default()).unwrap();
        assert_eq!(Config::read(&mut document.section("facade")), Config::default());
        let text = "[facade]\nbody_max_bytes = '1 MiB'\nbody_timeout = '5s'\nrequest_timeout = '2h'";
        let mut document = Document::parse(Some(text), Environment::default()).unwrap();
        let config = Config::read(&mut document.section("facade"));
        assert_eq!((config.body_max_bytes, config.body_timeout), (1 << 20, Duration::from_secs(5)));
        assert!(document.finish().unwrap_err().to_string().contains("line 4: facade.request_timeout"));
        let text = "[facade]\nkeep_alive_delay = '0s'\nkeep_alive_period = '1ms'";
        let mut document = Document::parse(Some(text), Environment::default()).unwrap();
        assert_eq!(Config::read(&mut document.section("facade")).keep_alive_delay, None);
        assert!(document.finish().unwrap_err().to_string().contains("line 3: facade.keep_alive_period"));
    }
}
