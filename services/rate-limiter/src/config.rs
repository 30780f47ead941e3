//! Configuration of the rate-limiter: the section `[rate_limiter]` and the array `[[limits]]`.

use std::time::Duration;

use penstock_chassis::config::{Document, Section};

use crate::{
    bucket::Spec,
    rules::{Rule, Scope, Unit},
};

/// Shortest period of a limit: below it a limit is a pace, which depths and clocks of callers blur.
pub(crate) const PER_MIN: Duration = Duration::from_secs(1);
/// Longest period of a limit: a month.
pub(crate) const PER_MAX: Duration = Duration::from_secs(31 * 86_400);

/// Configuration of the rate-limiter.
#[derive(Clone, Debug)]
pub struct Config {
    /// After this time a reservation that nobody settled lapses.
    pub(crate) reservation_ttl: Duration,
    /// Buckets kept at most, but for those in debt.
    pub(crate) max_buckets: usize,
    /// The limits, one for each unit.
    pub(crate) limits: Vec<Rule>,
}

impl Config {
    /// Reads `section` (`[rate_limiter]`) and `[[limits]]`; mistakes are noted in the document.
    pub fn read(section: &mut Section, document: &mut Document) -> Self {
        // 65 minutes: no call may take longer than an hour, and the router settles right after it. What lapses
        // too early is counted by its estimate.
        let minute = Duration::from_secs(60);
        let reservation_ttl = section.duration("reservation_ttl", 65 * minute, minute..=1440 * minute);
        // 100 000: about 30 MB if as many keys are in use at once.
        let max_buckets = section.integer("max_buckets", 100_000, 100..=10_000_000);
        let limits = document.sections("limits").iter_mut().flat_map(read_limit).collect();
        Self { reservation_ttl, max_buckets: usize::try_from(max_buckets).unwrap_or(usize::MAX), limits }
    }
}

fn read_limit(section: &mut Section) -> Vec<Rule> {
    const SCOPES: [(&str, Scope); 4] =
        [("key", Scope::Key), ("tenant", Scope::Tenant), ("model", Scope::Model), ("mesh", Scope::Mesh)];
    if !section.has("applies_to") {
        section.mistake("applies_to", "is required: key, tenant, model or mesh");
    }
    let scope = section.choice("applies_to", &SCOPES, Scope::Mesh);
    let only = section.string("name");
    match &only {
        Some(_) if scope == Scope::Mesh => {
            section.mistake("name", "has no meaning with applies_to = \"mesh\"")
        }
        Some(name) if name.is_empty() => section.mistake("name", "must not be empty"),
        _ => {}
    }
    let units = [("requests", Unit::Requests), ("tokens", Unit::Tokens)];
    let mut rules = Vec::with_capacity(units.len());
    for (key, unit) in units {
        if let Some(mut table) = section.optional_table(key) {
            rules.push(Rule { scope, only: only.clone(), unit, spec: read_spec(&mut table) });
        }
    }
    if rules.is_empty() {
        section.mistake("", "needs `requests` or `tokens`, such as requests = { per = \"1m\", limit = 60 }");
    }
    rules
}

fn read_spec(table: &mut Section) -> Spec {
    for key in ["per", "limit"] {
        if !table.has(key) {
            table.mistake(key, "is required");
        }
    }
    // A TOML integer holds no more.
    let most = i64::MAX.unsigned_abs();
    let per = table.duration("per", PER_MIN, PER_MIN..=PER_MAX);
    let limit = table.integer("limit", 1, 1..=most);
    let burst = table.has("burst").then(|| table.integer("burst", limit, 1..=most));
    Spec::new(limit, per, burst)
}

#[cfg(test)]
mod tests {
    use penstock_chassis::config::Environment;

    use super::*;

    fn read(text: &str) -> (Config, Vec<String>) {
        let mut document = Document::parse(Some(text), Environment::default()).unwrap();
        let mut section = document.section("rate_limiter");
        let config = Config::read(&mut section, &mut document);
        drop(section);
        let mistakes = document.finish().err().map_or_else(Vec::new, |mistakes| mistakes.0);
        (config, mistakes.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn nothing_is_limited_by_default() {
        let (config, mistakes) = read("");
        assert_eq!((config.limits.len(), mistakes.len()), (0, 0));
        assert_eq!((config.reservation_ttl, config.max_buckets), (Duration::from_secs(65 * 60), 100_000));
    }

    #[test]
    fn a_reservation_outlives_a_call_to_an_engine() {
        for (ttl, good) in [("59s", false), ("1m", true), ("1d", true), ("25h", false)] {
            let (_, mistakes) = read(&format!("[rate_limiter]\nreservation_ttl = '{ttl}'\n"));
            assert_eq!(mistakes.is_empty(), good, "{ttl}: {mistakes:?}");
        }
    }

    #[test]
    fn limits_are_read_one_rule_for_each_unit() {
        let (config, mistakes) = read(
            "[rate_limiter]\nreservation_ttl = '1h'\nmax_buckets = 1000\n\
             [[limits]]\napplies_to = 'key'\nrequests = { per = '1m', limit = 60, burst = 10 }\n\
             tokens = { per = '1m', limit = 100_000 }\n\
             [[limits]]\napplies_to = 'tenant'\nname = 'acme'\ntokens = { per = '1d', limit = 5 }\n",
        );
        assert_eq!(mistakes, Vec::<String>::new());
        let minute = Duration::from_secs(60);
        let rule =
            |scope, only: Option<&str>, unit, spec| Rule { scope, only: only.map(str::to_owned), unit, spec };
        let expected = [
            rule(Scope::Key, None, Unit::Requests, Spec::new(60, minute, Some(10))),
            rule(Scope::Key, None, Unit::Tokens, Spec::new(100_000, minute, None)),
            rule(Scope::Tenant, Some("acme"), Unit::Tokens, Spec::new(5, 1440 * minute, None)),
        ];
        assert_eq!(config.limits, expected);
    }

    #[test]
    fn every_mistake_is_reported() {
        let (_, mistakes) = read(
            "[[limits]]\n\
             [[limits]]\napplies_to = 'user'\nrequests = { per = '1m', limt = 60 }\n\
             [[limits]]\napplies_to = 'mesh'\nname = 'x'\ntokens = { per = '32d', limit = 0, burst = 0 }\n",
        );
        let expected = [
            "limits[0].applies_to: is required",
            "limits[0]: needs `requests` or `tokens`",
            "limits[1].applies_to: is \"user\"",
            "limits[1].requests.limit: is required",
            "limits[1].requests.limt: is not a known key",
            "limits[2].name: has no meaning",
            "limits[2].tokens.per: must be from",
            "limits[2].tokens.limit: must be from 1",
            "limits[2].tokens.burst: must be from 1",
        ];
        for expected in expected {
            assert!(mistakes.iter().any(|mistake| mistake.contains(expected)), "{expected}: {mistakes:#?}");
        }
        assert_eq!(mistakes.len(), expected.len(), "{mistakes:#?}");
    }
}
