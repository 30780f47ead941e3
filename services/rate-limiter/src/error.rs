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

/// For people: rounded up to milliseconds, or to seconds from ten of them on.
fn span(span: Duration) -> String {
    let grain = if span < Duration::from_secs(10) { 1_000_000 } else { 1_000_000_000 };
    let nanos = span.as_nanos().div_ceil(grain).saturating_mul(grain);
    let nanos = u64::try_from(nanos).unwrap_or(u64::MAX);
    humantime::format_duration(Duration::from_nanos(nanos)).to_string()
}
