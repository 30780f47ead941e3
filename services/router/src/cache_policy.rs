//! Which requests the cache is asked about, and which answers it is given: configuration, and what the caller
//! says in `Cache-Control` (RFC 9111, section 5.2.1).

use std::time::Duration;

use penstock_proto::inference::v1::GenerateRequest;

use crate::config::CacheMode;

/// What the caller says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Directives {
    no_cache: bool,
    no_store: bool,
    only_if_cached: bool,
    max_age: Option<Duration>,
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Ask the cache first.
    pub(crate) look_up: bool,
    /// Give the answer to the cache.
    pub(crate) store: bool,
    /// Give no answer but the cache's.
    pub(crate) only_if_cached: bool,
    /// Oldest answer that the caller takes.
    pub(crate) max_age: Option<Duration>,
}

impl Plan {
    pub(crate) fn is_used(&self) -> bool {
        self.look_up || self.store
    }
}

impl Directives {
    /// Directives that are not known are ignored, as the RFC has it. `None`: not directives at all.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut directives = Self::default();
        for directive in text.split(',').map(str::trim).filter(|directive| !directive.is_empty()) {
            let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
            match name.to_ascii_lowercase().as_str() {
                "no-cache" => directives.no_cache = true,
                "no-store" => directives.no_store = true,
                "only-if-cached" => directives.only_if_cached = true,
                "max-age" => {
                    let seconds: u32 = value.trim_matches('"').parse().ok()?;
                    directives.max_age = Some(Duration::from_secs(seconds.into()));
                }
                _ => {}
            }
        }
        Some(directives)
    }

    /// For answers that are never kept: nothing is looked up or stored, and a caller that takes nothing else is
    /// told so.
    pub(crate) fn without_cache(self) -> Plan {
        Plan { look_up: false, store: false, only_if_cached: self.only_if_cached, max_age: None }
    }

    /// `max-age` says that the caller takes an answer that was given before: it opts in whatever the request.
    pub(crate) fn plan(self, mode: CacheMode, request: &GenerateRequest) -> Plan {
        let deterministic = request.temperature == Some(0.0) || request.seed.is_some();
        let opted_in = self.max_age.is_some() || self.only_if_cached;
        let cached = match mode {
            CacheMode::Off => false,
            CacheMode::All => true,
            CacheMode::Deterministic => deterministic || opted_in,
        };
        let too_young = self.max_age == Some(Duration::ZERO);
        Plan {
            look_up: cached && !self.no_cache && !self.no_store && !too_young,
            store: cached && !self.no_store,
            only_if_cached: self.only_if_cached,
            max_age: self.max_age,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(directives: &str, mode: CacheMode, temperature: Option<f64>) -> (bool, bool) {
        let request = GenerateRequest { temperature, ..GenerateRequest::default() };
        let plan = Directives::parse(directives).unwrap().plan(mode, &request);
        (plan.look_up, plan.store)
    }

    #[test]
    fn by_default_only_deterministic_requests_are_cached() {
        let mode = CacheMode::Deterministic;
        assert_eq!(plan("", mode, None), (false, false));
        assert_eq!(plan("", mode, Some(0.7)), (false, false));
        assert_eq!(plan("", mode, Some(0.0)), (true, true));
        assert_eq!(plan("max-age=60", mode, Some(0.7)), (true, true));
        assert_eq!(plan("", CacheMode::All, Some(0.7)), (true, true));
        assert_eq!(plan("max-age=60", CacheMode::Off, Some(0.0)), (false, false));
    }

    #[test]
    fn directives_narrow_what_is_done() {
        let mode = CacheMode::All;
        assert_eq!(plan("no-cache", mode, None), (false, true));
        assert_eq!(plan("No-Store", mode, None), (false, false));
        assert_eq!(plan("max-age=0", mode, None), (false, true));
        assert_eq!(plan("no-transform, max-stale=5", mode, None), (true, true));
        assert_eq!(Directives::parse("max-age=soon"), None);
    }
}
