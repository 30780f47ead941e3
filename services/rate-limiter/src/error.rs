//! Why the rate-limiter does not do what it is asked to, and how a caller is told.

use std::time::Duration;

use penstock_proto::{Reason, Violation, limits};
use tonic::{Status, metadata::MetadataValue};

use crate::{limiter::Refusal, rules::Unit, service::state_of};

/// An answer other than yes.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The message is wrong: a bug of the service that sent it.
    #[error("the message is not valid")]
    Invalid(Vec<Violation>),
    /// A limit has not enough.
    #[error("the limit {} refuses", .0.by.name)]
    Refused(Box<Refusal>),
}

impl From<Error> for Status {
    fn from(error: Error) -> Status {
        match error {
            Error::Invalid(violations) => penstock_proto::Error::invalid(violations).into(),
            Error::Refused(refusal) => refused(&refusal),
        }
    }
}

/// The refusal, with the rate-limit headers of an answer as metadata: a caller needs them most here.
fn refused(refusal: &Refusal) -> Status {
    let by = &refusal.by;
    let unit = match by.unit {
        Unit::Requests => "requests",
        Unit::Tokens => "tokens",
    };
    let error = match refusal.retry_after {
        Some(wait) => {
            let (limit, per) = (by.spec.limit(), span(by.spec.per()));
            let message = format!(
                "the rate limit {} of {limit} {unit} per {per} is exceeded: needed {}, left {}; try again in {}",
                by.name,
                refusal.needed,
                by.remaining,
                span(wait),
            );
            penstock_proto::Error::new(Reason::RateLimitExceeded, message).with_retry_after(wait)
        }
        None => {
            let message = format!(
                "the request needs {} {unit}, and the rate limit {} allows {} at once: it can never pass",
                refusal.needed,
                by.name,
                by.spec.depth(),
            );
            penstock_proto::Error::new(Reason::RequestExceedsLimit, message)
        }
    };
    let mut status = Status::from(error);
    let states: Vec<_> = refusal.levels.iter().map(state_of).collect();
    for (name, value) in limits::headers(&states) {
        if let Ok(value) = MetadataValue::try_from(value) {
            status.metadata_mut().insert(name, value);
        }
    }
    status
}

/// For people: `31d`, `1h 30m`, `59s`, `250ms`; rounded up to milliseconds, or to seconds from ten of them on.
fn span(span: Duration) -> String {
    let grain = if span < Duration::from_secs(10) { 1_000_000 } else { 1_000_000_000 };
    let mut millis = span.as_nanos().div_ceil(grain) * (grain / 1_000_000);
    let mut parts = Vec::new();
    for (unit, size) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)] {
        if millis >= size {
            parts.push(format!("{}{unit}", millis / size));
            millis %= size;
        }
    }
    if parts.is_empty() { "0s".to_owned() } else { parts.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_short_and_never_too_short() {
        let cases = [
            (0, "0s"),
            (1, "1ms"),
            (1_500_000_000, "1s 500ms"),
            (9_999_999_999, "10s"),
            (59_000_000_001, "1m"),
            (5_400_000_000_000, "1h 30m"),
            (31 * 86_400_000_000_000, "31d"),
        ];
        for (nanos, text) in cases {
            assert_eq!(span(Duration::from_nanos(nanos)), text);
        }
        assert!(span(Duration::MAX).ends_with('s'));
    }
}
