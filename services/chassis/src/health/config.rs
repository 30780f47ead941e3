//! Configuration of health, section `[health]`: how checks are made unless the section says otherwise by name, and
//! the bounds of what is remembered.

use std::{ops::RangeInclusive, time::Duration};

use penstock_proto::status::v1::State;

use crate::config::{Document, Section};

const MILLISECOND: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3600);

/// How a check is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckConfig {
    /// The pause between two checks while all is well.
    pub interval: Duration,
    /// The pause while something is not well, or not sure: at most `interval`.
    pub retry: Duration,
    /// What takes longer has failed.
    pub timeout: Duration,
    /// What takes longer is slow. `None`: nothing is.
    pub slow_after: Option<Duration>,
    /// What slow means: DEGRADED or DOWN.
    pub slow_means: State,
    /// Failures in a row until the state gets worse.
    pub failures: u32,
    /// Slow answers in a row until it does.
    pub slows: u32,
    /// Better outcomes in a row until it gets better.
    pub recoveries: u32,
}

impl CheckConfig {
    /// Of a service or a store of the mesh.
    pub fn inside() -> Self {
        Self {
            // Often enough that a loss shows within seconds, rare enough to cost nothing.
            interval: Duration::from_secs(2),
            // A start or a recovery should show at once.
            retry: Duration::from_millis(250),
            timeout: Duration::from_secs(1),
            slow_after: Some(Duration::from_millis(100)),
            slow_means: State::Degraded,
            // One lost packet is no failure; a second one a quarter of a second later is.
            failures: 2,
            // A busy machine has slow moments.
            slows: 3,
            recoveries: 2,
        }
    }

    /// Of an engine.
    pub fn engine() -> Self {
        Self {
            interval: Duration::from_secs(5),
            // An engine that has just failed is asked soon, but not hammered.
            retry: Duration::from_secs(1),
            slow_after: Some(Duration::from_millis(500)),
            ..Self::inside()
        }
    }
}

/// What `[[health.checks]]` says of the checks with a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Rule {
    /// The name, or what it begins with.
    name: String,
    is_prefix: bool,
    interval: Option<Duration>,
    timeout: Option<Duration>,
    /// `Some(None)`: nothing is slow.
    slow_after: Option<Option<Duration>>,
    slow_means: Option<State>,
    failures: Option<u32>,
    slows: Option<u32>,
    recoveries: Option<u32>,
    required: Option<bool>,
    readiness: Option<bool>,
}

/// The configuration of health.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthConfig {
    rules: Vec<Rule>,
    /// Changes that are remembered.
    pub history_max: usize,
    /// Streams that may watch at once.
    pub watches_max: usize,
}

impl Default for HealthConfig {
    fn default() -> Self {
        Self {
            rules: Vec::new(),
            // Some hundred bytes each; days of a mesh that is well, hours of one that is not.
            history_max: 1000,
            // One per replica of each caller, and those of people; a few kilobytes each.
            watches_max: 1024,
        }
    }
}

impl HealthConfig {
    /// Reads the section `[health]`; mistakes are noted in the document. `known` are the names that there are to be
    /// checked; `deployment/` stands for all that begin so.
    pub fn read(document: &mut Document, known: &[&str]) -> Self {
        let mut section = document.section("health");
        let default = Self::default();
        let number = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        Self {
            history_max: number(section.integer("history_max", default.history_max as u64, 1..=100_000)),
            watches_max: number(section.integer("watches_max", default.watches_max as u64, 1..=100_000)),
            rules: section
                .tables("checks")
                .into_iter()
                .map(|mut rule| Rule::read(&mut rule, known))
                .collect(),
        }
    }

    /// How the check `name` is made: `usual`, and on it the rules that fit, in their order.
    pub(super) fn of(&self, name: &str, usual: CheckConfig) -> CheckConfig {
        self.fitting(name).fold(usual, |config, rule| CheckConfig {
            interval: rule.interval.unwrap_or(config.interval),
            timeout: rule.timeout.unwrap_or(config.timeout),
            slow_after: rule.slow_after.unwrap_or(config.slow_after),
            slow_means: rule.slow_means.unwrap_or(config.slow_means),
            failures: rule.failures.unwrap_or(config.failures),
            slows: rule.slows.unwrap_or(config.slows),
            recoveries: rule.recoveries.unwrap_or(config.recoveries),
            ..config
        })
    }

    /// Whether the process is DOWN without the component, and whether readiness looks at it.
    pub(super) fn weight(&self, name: &str, required: bool) -> (bool, bool) {
        self.fitting(name).fold((required, true), |(required, readiness), rule| {
            (rule.required.unwrap_or(required), rule.readiness.unwrap_or(readiness))
        })
    }

    fn fitting<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Rule> {
        self.rules.iter().filter(move |rule| match rule.is_prefix {
            true => name.starts_with(&rule.name),
            false => name == rule.name,
        })
    }

    #[cfg(test)]
    pub(crate) fn of_text(text: &str) -> Self {
        let mut document = Document::parse(Some(text), crate::config::Environment::default()).unwrap();
        // Names of the tests.
        let known = ["a", "b", "s", "auth", "auth/store", "cache/redis", "deployment/"];
        let config = Self::read(&mut document, &known);
        document.finish().unwrap();
        config
    }
}

impl Rule {
    fn read(section: &mut Section, known: &[&str]) -> Self {
        let given = section.required_string("name");
        let (name, is_prefix) = match given.strip_suffix('*') {
            Some(prefix) => (prefix.to_owned(), true),
            None => (given.clone(), false),
        };
        let fits = |known: &&str| {
            *known == given
                || known.ends_with('/') && name.starts_with(known)
                || is_prefix && known.starts_with(&name)
        };
        if !given.is_empty() && !known.iter().any(fits) {
            section.mistake("name", format!("is \"{given}\"; there is {}", known.join(", ")));
        }
        let span = |section: &mut Section, key: &str, range: RangeInclusive<Duration>| {
            section.has(key).then(|| section.duration(key, *range.start(), range))
        };
        let count = |section: &mut Section, key: &str| {
            let number = section.has(key).then(|| section.integer(key, 1, 1..=1000));
            number.and_then(|number| u32::try_from(number).ok())
        };
        let flag = |section: &mut Section, key: &str| section.has(key).then(|| section.boolean(key, true));
        let slow_after = span(section, "slow_after", Duration::ZERO..=HOUR);
        let words = [("degraded", State::Degraded), ("down", State::Down)];
        Self {
            interval: span(section, "interval", 10 * MILLISECOND..=24 * HOUR),
            timeout: span(section, "timeout", 10 * MILLISECOND..=HOUR),
            // 0s: nothing is slow.
            slow_after: slow_after.map(|span| Some(span).filter(|span| !span.is_zero())),
            slow_means: section
                .has("slow_means")
                .then(|| section.choice("slow_means", &words, State::Degraded)),
            failures: count(section, "failures"),
            slows: count(section, "slows"),
            recoveries: count(section, "recoveries"),
            required: flag(section, "required"),
            readiness: flag(section, "readiness"),
            name,
            is_prefix,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Environment;

    #[test]
    fn rules_change_what_they_name_and_later_ones_win() {
        let config = HealthConfig::of_text(
            "[health]\nhistory_max = 5\n[[health.checks]]\nname = 'deployment/*'\nslow_after = '2s'\nfailures = 3\n\
             [[health.checks]]\nname = 'deployment/a'\nslow_after = '0s'\nslow_means = 'down'\nrequired = true\nreadiness = false",
        );
        assert_eq!(config.history_max, 5);
        let usual = CheckConfig::engine();
        assert_eq!(config.of("auth", usual), usual);
        let b = config.of("deployment/b", usual);
        assert_eq!((b.slow_after, b.failures), (Some(Duration::from_secs(2)), 3));
        let a = config.of("deployment/a", usual);
        assert_eq!((a.slow_after, a.slow_means, a.failures), (None, State::Down, 3));
        assert_eq!(config.weight("deployment/a", false), (true, false));
        assert_eq!(config.weight("deployment/b", false), (false, true));
    }

    #[test]
    fn mistakes_are_noted_with_their_lines() {
        let text = "[health]\n[[health.checks]]\nslow_means = 'bad'\ninterval = '1ms'\ncolour = 1";
        let mut document = Document::parse(Some(text), Environment::default()).unwrap();
        HealthConfig::read(&mut document, &["auth"]);
        let mistakes = document.finish().unwrap_err().to_string();
        for expected in ["health.checks[0].name", "line 3", "line 4", "colour"] {
            assert!(mistakes.contains(expected), "{expected}: {mistakes}");
        }
    }
}
