//! What makes a key's particulars valid. Every violation is named, not just the first.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, SystemTime},
};

use penstock_proto::Violation;

use crate::record::{Limit, Scope, Unit};

/// Longest name and tenant, in characters: what fits into a line of a table.
const NAME_MAX_CHARS: usize = 100;
/// Most entries of a key's model list, and the longest of them (as long as model names may be).
const MODELS_MAX: usize = 256;
const MODEL_MAX_BYTES: usize = 256;
/// Most limits of a key: each is a bucket to take from in every request.
const LIMITS_MAX: usize = 16;
/// Largest limit: beyond 2^53 - 1 numbers are not exact in JSON, nor in the arithmetic of buckets.
const LIMIT_MAX: u64 = (1 << 53) - 1;
/// The periods that a limit may have.
const PER_MIN: Duration = Duration::from_secs(1);
const PER_MAX: Duration = Duration::from_secs(31 * 86_400);
/// Most labels of a key, and the longest name and value: they travel with every usage record.
const LABELS_MAX: usize = 32;
const LABEL_MAX_BYTES: usize = 64;
const LABEL_VALUE_MAX_BYTES: usize = 512;
/// Longest grace period of a rotation.
const GRACE_MAX: Duration = Duration::from_secs(30 * 86_400);
/// Grace period of a rotation that names none.
const GRACE_DEFAULT: Duration = Duration::from_secs(3600);
/// 9999-12-31T23:59:59Z, the last moment that a protobuf timestamp can have.
const LAST_MOMENT: Duration = Duration::from_secs(253_402_300_799);

/// A value that may not be one: absent, or given and out of what the type can say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Given<T> {
    Absent,
    Nonsense,
    Value(T),
}

/// A limit as a caller wrote it.
#[derive(Clone, Debug)]
pub(crate) struct RawLimit {
    /// `None`: not set, or not known.
    pub(crate) unit: Option<Unit>,
    pub(crate) limit: u64,
    pub(crate) per: Given<Duration>,
    pub(crate) burst: Option<u64>,
}

/// Collects violations.
#[derive(Debug, Default)]
pub(crate) struct Check(Vec<Violation>);

impl Check {
    /// Every violation, if there is one.
    pub(crate) fn finish(self) -> Result<(), Vec<Violation>> {
        if self.0.is_empty() { Ok(()) } else { Err(self.0) }
    }

    fn add(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.0.push(Violation::new(field, message));
    }

    pub(crate) fn key_id(&mut self, id: &str) {
        if id.is_empty() {
            self.add("key_id", "is required");
        }
    }

    pub(crate) fn name(&mut self, name: String) -> String {
        if name.trim().is_empty() {
            self.add("name", "is required");
        } else if name.chars().count() > NAME_MAX_CHARS {
            self.add("name", format!("is longer than {NAME_MAX_CHARS} characters"));
        } else if name.chars().any(char::is_control) {
            self.add("name", "must not contain control characters");
        }
        name
    }

    pub(crate) fn tenant(&mut self, tenant: String) -> String {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if !(1..=NAME_MAX_CHARS).contains(&tenant.len()) || !tenant.bytes().all(allowed) {
            let message = format!("must be 1 to {NAME_MAX_CHARS} characters of a-z, A-Z, 0-9, '.', '_', '-'");
            self.add("tenant", message);
        }
        tenant
    }

    /// Without repetitions; none means `inference`.
    pub(crate) fn scopes(&mut self, names: &[String]) -> Vec<Scope> {
        let mut scopes = Vec::new();
        for (index, name) in names.iter().enumerate() {
            match Scope::parse(name) {
                Some(scope) if !scopes.contains(&scope) => scopes.push(scope),
                Some(_) => {}
                None => {
                    let known: Vec<_> = Scope::ALL.iter().map(|scope| scope.as_str()).collect();
                    self.add(format!("scopes[{index}]"), format!("must be one of {}", known.join(", ")));
                    // One is enough: a list of any length must not become an answer of that length.
                    break;
                }
            }
        }
        if names.is_empty() { vec![Scope::Inference] } else { scopes }
    }

    pub(crate) fn models(&mut self, models: Vec<String>) -> Vec<String> {
        if models.len() > MODELS_MAX {
            self.add("allowed_models", format!("must have at most {MODELS_MAX} entries"));
            return Vec::new();
        }
        for (index, model) in models.iter().enumerate() {
            let stem = model.strip_suffix('*').unwrap_or(model);
            let message = if model.is_empty() || model.len() > MODEL_MAX_BYTES {
                format!("must be 1 to {MODEL_MAX_BYTES} bytes")
            } else if stem.contains('*') {
                "may have `*` at its end only".to_owned()
            } else if model.chars().any(char::is_control) {
                "must not contain control characters".to_owned()
            } else {
                continue;
            };
            self.add(format!("allowed_models[{index}]"), message);
        }
        models
    }

    pub(crate) fn limits(&mut self, limits: &[RawLimit]) -> Vec<Limit> {
        if limits.len() > LIMITS_MAX {
            self.add("limits", format!("must have at most {LIMITS_MAX} entries"));
            return Vec::new();
        }
        limits.iter().enumerate().filter_map(|(index, limit)| self.limit(index, limit)).collect()
    }

    fn limit(&mut self, index: usize, raw: &RawLimit) -> Option<Limit> {
        let range = 1..=LIMIT_MAX;
        let unit = raw.unit;
        if unit.is_none() {
            self.add(format!("limits[{index}].unit"), "must be UNIT_REQUESTS or UNIT_TOKENS");
        }
        if !range.contains(&raw.limit) {
            self.add(format!("limits[{index}].limit"), format!("must be from 1 to {LIMIT_MAX}"));
        }
        if raw.burst.is_some_and(|burst| !range.contains(&burst)) {
            self.add(format!("limits[{index}].burst"), format!("must be from 1 to {LIMIT_MAX}"));
        }
        let per = match raw.per {
            Given::Value(per) if (PER_MIN..=PER_MAX).contains(&per) => per,
            Given::Value(_) | Given::Absent | Given::Nonsense => {
                self.add(format!("limits[{index}].per"), "must be from 1 second to 31 days");
                return None;
            }
        };
        Some(Limit { unit: unit?, limit: raw.limit, per, burst: raw.burst })
    }

    pub(crate) fn expires_at(&mut self, end: Given<SystemTime>, now: SystemTime) -> Option<SystemTime> {
        match end {
            Given::Absent => None,
            Given::Value(end) if end > now && end <= SystemTime::UNIX_EPOCH + LAST_MOMENT => Some(end),
            Given::Value(_) | Given::Nonsense => {
                self.add("expires_at", "must be in the future, and before the year 10000");
                None
            }
        }
    }

    pub(crate) fn metadata(&mut self, labels: HashMap<String, String>) -> BTreeMap<String, String> {
        if labels.len() > LABELS_MAX {
            self.add("metadata", format!("must have at most {LABELS_MAX} entries"));
            return BTreeMap::new();
        }
        let labels: BTreeMap<_, _> = labels.into_iter().collect();
        let wrong = labels.iter().any(|(name, value)| {
            name.is_empty() || name.len() > LABEL_MAX_BYTES || value.len() > LABEL_VALUE_MAX_BYTES
        });
        if wrong {
            let message = format!(
                "must have names of 1 to {LABEL_MAX_BYTES} bytes and values of at most {LABEL_VALUE_MAX_BYTES} bytes"
            );
            self.add("metadata", message);
        }
        labels
    }

    pub(crate) fn grace_period(&mut self, grace: Given<Duration>) -> Duration {
        match grace {
            Given::Absent => GRACE_DEFAULT,
            Given::Value(grace) if grace <= GRACE_MAX => grace,
            Given::Value(_) | Given::Nonsense => {
                self.add("grace_period", "must be from 0 seconds to 30 days");
                GRACE_DEFAULT
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::at;

    fn fields(check: impl FnOnce(&mut Check)) -> Vec<String> {
        let mut found = Check::default();
        check(&mut found);
        found.finish().err().unwrap_or_default().into_iter().map(|violation| violation.field).collect()
    }

    fn limit(unit: Option<Unit>, limit: u64, per: Given<Duration>, burst: Option<u64>) -> RawLimit {
        RawLimit { unit, limit, per, burst }
    }

    #[test]
    fn names_have_1_to_100_characters() {
        for good in ["a", &"ä".repeat(100), "with spaces"] {
            assert!(fields(|c| drop(c.name(good.into()))).is_empty(), "{good}");
        }
        for bad in ["", "  ", &"a".repeat(101), "a\nb"] {
            assert_eq!(fields(|c| drop(c.name(bad.into()))), ["name"], "{bad}");
        }
    }

    #[test]
    fn tenants_have_an_alphabet() {
        for good in ["a", "A-z_0.9", &"a".repeat(100)] {
            assert!(fields(|c| drop(c.tenant(good.into()))).is_empty(), "{good}");
        }
        for bad in ["", "a b", "a/b", "ä", "a\n", "a:b", "*", &"a".repeat(101)] {
            assert_eq!(fields(|c| drop(c.tenant(bad.into()))), ["tenant"], "{bad}");
        }
    }

    #[test]
    fn scopes_are_known_and_counted_once() {
        let mut check = Check::default();
        assert_eq!(check.scopes(&[]), [Scope::Inference]);
        let twice = ["admin", "admin", "inference"].map(str::to_owned);
        assert_eq!(check.scopes(&twice), [Scope::Admin, Scope::Inference]);
        assert!(check.finish().is_ok());
        assert_eq!(fields(|c| drop(c.scopes(&["admin".into(), "root".into()]))), ["scopes[1]"]);
        assert_eq!(fields(|c| drop(c.scopes(&["ADMIN".into()]))), ["scopes[0]"]);
    }

    #[test]
    fn models_may_end_in_a_star() {
        let models = |models: &[&str]| {
            fields(|c| drop(c.models(models.iter().map(|model| (*model).to_owned()).collect())))
        };
        assert!(models(&["*", "llama*", "meta-llama/Llama-3.2-3B"]).is_empty());
        let bad = ["", "a*b", "**", "a\r\n", &"m".repeat(257)];
        assert_eq!(models(&bad), (0..5).map(|n| format!("allowed_models[{n}]")).collect::<Vec<_>>());
        assert_eq!(models(&["a"; 257]), ["allowed_models"]);
    }

    #[test]
    fn limits_are_sane() {
        let second = Given::Value(PER_MIN);
        let good = [
            limit(Some(Unit::Requests), 1, second, None),
            limit(Some(Unit::Tokens), LIMIT_MAX, Given::Value(PER_MAX), Some(1)),
        ];
        assert!(fields(|c| assert_eq!(c.limits(&good).len(), 2)).is_empty());
        let bad = [
            limit(None, 0, Given::Absent, Some(0)),
            limit(Some(Unit::Tokens), u64::MAX, Given::Nonsense, Some(u64::MAX)),
            limit(Some(Unit::Tokens), 1, Given::Value(PER_MIN - Duration::from_nanos(1)), None),
            limit(Some(Unit::Tokens), 1, Given::Value(PER_MAX + Duration::from_nanos(1)), None),
        ];
        let found = fields(|c| drop(c.limits(&bad)));
        let named = ["unit", "limit", "burst", "per"].map(|field| format!("limits[0].{field}"));
        assert_eq!(found[..4], named);
        assert_eq!(
            found[4..],
            ["limits[1].limit", "limits[1].burst", "limits[1].per", "limits[2].per", "limits[3].per"]
        );
        assert_eq!(fields(|c| drop(c.limits(&vec![good[0].clone(); 17]))), ["limits"]);
    }

    #[test]
    fn the_end_is_in_the_future() {
        let end = |end| fields(|c| _ = c.expires_at(end, at(100)));
        assert!(end(Given::Absent).is_empty());
        assert!(end(Given::Value(at(101))).is_empty());
        for bad in [Given::Nonsense, Given::Value(at(100)), Given::Value(at(0)), Given::Value(at(1 << 40))] {
            assert_eq!(end(bad), ["expires_at"], "{bad:?}");
        }
    }

    #[test]
    fn labels_are_bounded() {
        let labels = |count: usize, name: &str, value: &str| {
            let labels = (0..count).map(|n| (format!("{name}{n}"), value.to_owned())).collect();
            fields(|c| drop(c.metadata(labels)))
        };
        assert!(labels(32, "team", "blue").is_empty());
        assert_eq!(labels(33, "team", "blue"), ["metadata"]);
        assert_eq!(labels(1, &"n".repeat(64), ""), ["metadata"]);
        assert_eq!(labels(1, "n", &"v".repeat(513)), ["metadata"]);
    }

    #[test]
    fn grace_has_a_default_and_an_end() {
        let mut check = Check::default();
        assert_eq!(check.grace_period(Given::Absent), GRACE_DEFAULT);
        assert_eq!(check.grace_period(Given::Value(Duration::ZERO)), Duration::ZERO);
        assert_eq!(check.grace_period(Given::Value(GRACE_MAX)), GRACE_MAX);
        assert!(check.finish().is_ok());
        let too_long = Given::Value(GRACE_MAX + Duration::from_secs(1));
        assert_eq!(fields(|c| _ = c.grace_period(too_long)), ["grace_period"]);
        assert_eq!(fields(|c| _ = c.grace_period(Given::Nonsense)), ["grace_period"]);
    }
}
