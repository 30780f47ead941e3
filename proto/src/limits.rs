//! The rate-limit headers of an answer, in OpenAI's spelling, made of the states of all buckets that apply:
//! the tightest request limit and the tightest token limit speak for the rest.

use std::{cmp::Ordering, time::Duration};

use crate::{
    metadata,
    ratelimit::v1::{LimitState, Unit},
};

/// The headers that tell `states`: for each unit the limit with the least share left, and of equals the one
/// that takes longest to be full again. No header for a unit that nothing limits.
pub fn headers(states: &[LimitState]) -> Vec<(&'static str, String)> {
    let mut headers = Vec::with_capacity(6);
    let kinds = [
        (Unit::Requests, [metadata::LIMIT_REQUESTS, metadata::REMAINING_REQUESTS, metadata::RESET_REQUESTS]),
        (Unit::Tokens, [metadata::LIMIT_TOKENS, metadata::REMAINING_TOKENS, metadata::RESET_TOKENS]),
    ];
    for (unit, [limit, remaining, reset]) in kinds {
        let Some(tightest) =
            states.iter().filter(|state| state.unit() == unit).min_by(|a, b| tightness(a, b))
        else {
            continue;
        };
        headers.push((limit, tightest.limit.to_string()));
        headers.push((remaining, tightest.remaining.to_string()));
        headers.push((reset, go_duration(reset_after(tightest))));
    }
    headers
}

fn tightness(a: &LimitState, b: &LimitState) -> Ordering {
    let left_of_a = u128::from(a.remaining) * u128::from(b.limit);
    let left_of_b = u128::from(b.remaining) * u128::from(a.limit);
    left_of_a.cmp(&left_of_b).then_with(|| reset_after(b).cmp(&reset_after(a)))
}

fn reset_after(state: &LimitState) -> Duration {
    // A negative span comes from no service of ours; it counts as none.
    state.reset_after.and_then(|span| Duration::try_from(span).ok()).unwrap_or_default()
}

/// `span` as Go prints a `time.Duration`, rounded up to whole milliseconds: `0s`, `12ms`, `3.5s`, `6m0s`,
/// `1h2m3.5s`. Go's finer units hold a letter that is not ASCII.
fn go_duration(span: Duration) -> String {
    let millis = span.as_nanos().div_ceil(1_000_000);
    if millis == 0 {
        return "0s".to_owned();
    }
    if millis < 1000 {
        return format!("{millis}ms");
    }
    let (seconds, millis) = (millis / 1000, millis % 1000);
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let fraction = format!(".{millis:03}");
    let fraction = fraction.trim_end_matches(['0', '.']);
    match (hours, minutes) {
        (0, 0) => format!("{seconds}{fraction}s"),
        (0, _) => format!("{minutes}m{seconds}{fraction}s"),
        _ => format!("{hours}h{minutes}m{seconds}{fraction}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(unit: Unit, limit: u64, remaining: u64, reset: Duration) -> LimitState {
        LimitState {
            unit: unit.into(),
            limit,
            remaining,
            reset_after: prost_types::Duration::try_from(reset).ok(),
            ..LimitState::default()
        }
    }

    #[test]
    fn durations_are_printed_as_go_prints_them() {
        let cases = [
            (0, "0s"),
            (1, "1ms"),
            (12_000_000, "12ms"),
            (999_000_001, "1s"),
            (1_000_000_000, "1s"),
            (3_500_000_000, "3.5s"),
            (10_000_000_000, "10s"),
            (10_050_000_000, "10.05s"),
            (360_000_000_000, "6m0s"),
            (3_600_000_000_000, "1h0m0s"),
            (3_723_500_000_000, "1h2m3.5s"),
            (31 * 86_400_000_000_000, "744h0m0s"),
        ];
        for (nanos, text) in cases {
            assert_eq!(go_duration(Duration::from_nanos(nanos)), text);
        }
    }

    #[test]
    fn the_tightest_of_each_unit_speaks() {
        let second = Duration::from_secs(1);
        let states = [
            state(Unit::Requests, 1000, 500, second),
            state(Unit::Requests, 60, 6, 54 * second),
            state(Unit::Tokens, 100, 0, second),
            state(Unit::Tokens, 100_000, 0, 60 * second),
            state(Unit::Unspecified, 1, 0, second),
        ];
        let expected = [
            ("x-ratelimit-limit-requests", "60"),
            ("x-ratelimit-remaining-requests", "6"),
            ("x-ratelimit-reset-requests", "54s"),
            ("x-ratelimit-limit-tokens", "100000"),
            ("x-ratelimit-remaining-tokens", "0"),
            ("x-ratelimit-reset-tokens", "1m0s"),
        ];
        let headers = headers(&states);
        assert!(headers.iter().map(|(name, value)| (*name, value.as_str())).eq(expected), "{headers:?}");
    }

    #[test]
    fn what_is_not_limited_has_no_headers() {
        assert!(headers(&[]).is_empty());
        let headers = headers(&[state(Unit::Tokens, u64::MAX, u64::MAX, Duration::ZERO)]);
        assert_eq!(headers.len(), 3);
        assert_eq!(headers[2], ("x-ratelimit-reset-tokens", "0s".to_owned()));
    }
}
