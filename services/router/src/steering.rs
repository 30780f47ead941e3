//! What a caller says about the way of a request, by metadata. What cannot be meant is refused, never ignored: who
//! sets a ceiling relies on it.

use std::{str::FromStr, time::Duration};

use penstock_proto::{
    Error, Violation,
    metadata::{MAX_COST, MAX_LATENCY, SESSION, TAGS},
};
use tonic::metadata::MetadataMap;

use crate::decision::Steering;

/// Longest name of a session, in bytes: some ids joined.
const SESSION_MAX_BYTES: usize = 256;
/// Most tags, and bytes of one.
const TAGS_MAX: usize = 16;
const TAG_MAX_BYTES: usize = 64;
/// Most US dollars that a ceiling makes sense for.
const COST_MAX: f64 = 1e6;
/// The longest request takes an hour.
const LATENCY_MAX_MS: u64 = 3_600_000;

impl Steering {
    /// What the metadata of a call says.
    ///
    /// # Errors
    /// Every key whose value cannot be meant is named.
    pub(crate) fn of(caller: &MetadataMap) -> Result<Self, Error> {
        let mut reader = Reader { caller, violations: Vec::new() };
        let steering = Self {
            session: reader.read(SESSION, "must have 1 to 256 bytes", |text| {
                (1..=SESSION_MAX_BYTES).contains(&text.len()).then(|| text.to_owned())
            }),
            tags: reader
                .read(TAGS, "must be at most 16 names of 1 to 64 bytes, separated by commas", tags)
                .unwrap_or_default(),
            max_cost: reader.read(MAX_COST, "must be a number of US dollars from 0 to 1000000", |text| {
                f64::from_str(text).ok().filter(|cost| (0.0..=COST_MAX).contains(cost))
            }),
            max_latency: reader.read(MAX_LATENCY, "must be whole milliseconds from 1 to 3600000", |text| {
                let latency = u64::from_str(text).ok()?;
                (1..=LATENCY_MAX_MS).contains(&latency).then(|| Duration::from_millis(latency))
            }),
        };
        if reader.violations.is_empty() { Ok(steering) } else { Err(Error::invalid(reader.violations)) }
    }
}

struct Reader<'a> {
    caller: &'a MetadataMap,
    violations: Vec<Violation>,
}

impl Reader<'_> {
    fn read<T>(&mut self, key: &str, what: &'static str, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        let mut values = self.caller.get_all(key).iter();
        let value = values.next()?;
        if values.next().is_some() {
            self.violations.push(Violation::new(key, "must be said once"));
            return None;
        }
        let parsed = value.to_str().ok().and_then(|text| parse(text.trim()));
        if parsed.is_none() {
            self.violations.push(Violation::new(key, what));
        }
        parsed
    }
}

fn tags(text: &str) -> Option<Vec<String>> {
    let mut tags: Vec<_> = text.split(',').map(|tag| tag.trim().to_owned()).collect();
    tags.sort();
    tags.dedup();
    let sane = tags.len() <= TAGS_MAX && tags.iter().all(|tag| (1..=TAG_MAX_BYTES).contains(&tag.len()));
    sane.then_some(tags)
}

#[cfg(test)]
mod tests {
    use tonic::metadata::{MetadataKey, MetadataValue};

    use super::*;

    fn read(pairs: &[(&'static str, &str)]) -> Result<Steering, Vec<String>> {
        let mut caller = MetadataMap::new();
        for (key, value) in pairs {
            caller.append(MetadataKey::from_static(key), MetadataValue::try_from(*value).unwrap());
        }
        Steering::of(&caller).map_err(|error| error.violations.into_iter().map(|v| v.field).collect())
    }

    #[test]
    fn what_is_said_is_read() {
        assert_eq!(read(&[]), Ok(Steering::default()));
        let all = [(SESSION, "s"), (TAGS, "gpu, eu,eu"), (MAX_COST, "0.01"), (MAX_LATENCY, "250")];
        let expected = Steering {
            session: Some("s".into()),
            tags: vec!["eu".into(), "gpu".into()],
            max_cost: Some(0.01),
            max_latency: Some(Duration::from_millis(250)),
        };
        assert_eq!(read(&all), Ok(expected));
    }

    #[test]
    fn what_cannot_be_meant_is_refused_by_its_key() {
        let long = "x".repeat(257);
        let many = (0..17).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
        for (key, value) in [
            (SESSION, ""),
            (SESSION, long.as_str()),
            (TAGS, ""),
            (TAGS, "eu,,gpu"),
            (TAGS, many.as_str()),
            (MAX_COST, "-1"),
            (MAX_COST, "NaN"),
            (MAX_COST, "inf"),
            (MAX_COST, "cheap"),
            (MAX_LATENCY, "0"),
            (MAX_LATENCY, "1.5"),
            (MAX_LATENCY, "3600001"),
        ] {
            assert_eq!(read(&[(key, value)]), Err(vec![key.to_owned()]), "{key}: {value}");
        }
        assert_eq!(read(&[(MAX_COST, "1"), (MAX_COST, "2")]), Err(vec![MAX_COST.to_owned()]));
        let two = [(MAX_COST, "x"), (MAX_LATENCY, "x"), (SESSION, "s")];
        assert_eq!(read(&two).unwrap_err().len(), 2, "every one of them");
    }
}
