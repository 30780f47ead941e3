//! Go durations: `1s`, `250ms`, `1m30s`, `0.5s`, as `time.ParseDuration` reads and `String` prints them.

use std::time::Duration;

/// Longest number that is read, so that the arithmetic below cannot overflow: 18 digits fit into 60 bits.
const DIGITS_MAX: usize = 18;

/// A duration that is not negative; `None` if it is not one or does not fit.
pub(super) fn parse(text: &str) -> Option<Duration> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    let mut total: u128 = 0;
    loop {
        let (whole, after) = digits(rest);
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => digits(after),
            None => ("", after),
        };
        if (whole.is_empty() && fraction.is_empty()) || whole.len() > DIGITS_MAX {
            return None;
        }
        let (unit, after) = unit(after)?;
        total += number(whole) * unit;
        // Nanoseconds are the smallest: what stands behind 18 digits cannot matter.
        let fraction = fraction.get(..DIGITS_MAX).unwrap_or(fraction);
        let scale = fraction.bytes().fold(1u128, |scale, _| scale * 10);
        total += number(fraction) * unit / scale;
        if after.is_empty() {
            break;
        }
        rest = after;
    }
    u64::try_from(total)
        .ok()
        .filter(|nanoseconds| *nanoseconds <= i64::MAX.unsigned_abs())
        .map(Duration::from_nanos)
}

fn digits(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text.split_at(end)
}

fn number(digits: &str) -> u128 {
    digits.bytes().fold(0, |number, digit| number * 10 + u128::from(digit - b'0'))
}

/// Nanoseconds of the unit that `text` begins with, and what follows it. Longer names first.
fn unit(text: &str) -> Option<(u128, &str)> {
    const UNITS: [(&str, u128); 8] = [
        ("ns", 1),
        ("us", 1_000),
        ("µs", 1_000), // U+00B5, micro sign
        ("μs", 1_000), // U+03BC, Greek letter mu
        ("ms", 1_000_000),
        ("s", 1_000_000_000),
        ("m", 60_000_000_000),
        ("h", 3_600_000_000_000),
    ];
    UNITS.iter().find_map(|(name, unit)| Some((*unit, text.strip_prefix(name)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_durations() {
        let table = [
            ("0", 0),
            ("0s", 0),
            ("1s", 1_000_000_000),
            ("+1s", 1_000_000_000),
            ("250ms", 250_000_000),
            ("1m30s", 90_000_000_000),
            ("0.5s", 500_000_000),
            (".5s", 500_000_000),
            ("1.s", 1_000_000_000),
            ("1h2m3.5s", 3_723_500_000_000),
            ("10us", 10_000),
            ("10µs", 10_000),
            ("10μs", 10_000),
            ("7ns", 7),
            ("0.3333333333333333333333h", 1_200_000_000_000 - 1),
        ];
        for (text, nanoseconds) in table {
            assert_eq!(parse(text), Some(Duration::from_nanos(nanoseconds)), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_duration() {
        for text in
            ["", "1", "s", ".s", ".", "+", "-1s", "1s2", "1x", "1 s", "1S", "1d", "9223372037s", "1ss"]
        {
            assert_eq!(parse(text), None, "{text:?}");
        }
        assert_eq!(parse(&format!("{}h", "9".repeat(400))), None);
        assert_eq!(parse(&"999999999999999999h".repeat(50)), None);
    }
}
